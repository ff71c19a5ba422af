import { changeForm, form, randomSeed } from "../state/form";
import { gallery } from "../state/gallery";
import { server } from "../state/server";
import { useStore } from "../state/store";
import { Field } from "./field";
import { NumberField } from "./number_field";

const LARGEST_SEED = 2147483647;

// How to sample. What is left empty is the server's word.
export function SamplingFields() {
  const values = useStore(form);
  const { status, limits } = useStore(server);
  const lastSeed = useStore(gallery).pictures[0]?.body.seed;
  const defaults = status?.sd.defaults;
  const samplers = limits?.samplers ?? [];
  // A picture's text has the title of its sampler.
  const chosen = samplers.find(({ name, title }) => name === values.scheduler || title === values.scheduler)?.name ?? values.scheduler;
  const titleOf = (name: string) => samplers.find((sampler) => sampler.name === name)?.title ?? name;
  return (
    <details>
      <summary>Sampling</summary>
      <div className="row">
        <NumberField
          label="Steps"
          range={limits?.steps}
          value={values.steps}
          otherwise={defaults?.steps}
          onChange={(steps) => changeForm({ steps })}
        />
        <NumberField
          label="Guidance"
          step="any"
          range={limits?.guidance}
          value={values.guidance}
          otherwise={defaults?.guidance_scale}
          onChange={(guidance) => changeForm({ guidance })}
        />
      </div>
      <div className="row">
        <Field label="Sampler">
          {(id) => (
            <select id={id} value={chosen} onChange={(event) => changeForm({ scheduler: event.target.value })}>
              <option value="">{defaults ? `The server's, ${titleOf(defaults.scheduler)}` : "The server's"}</option>
              {chosen && !samplers.some(({ name }) => name === chosen) && <option value={chosen}>{chosen}</option>}
              {samplers.map(({ name, title }) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          )}
        </Field>
        <NumberField
          label="Clip skip"
          range={limits?.clipSkip}
          value={values.clipSkip}
          otherwise={1}
          onChange={(clipSkip) => changeForm({ clipSkip })}
        />
      </div>
      <Field label="Seed">
        {(id) => (
          <span className="joined">
            <input
              id={id}
              type="number"
              min={0}
              max={LARGEST_SEED}
              value={values.seed}
              placeholder="at random"
              onChange={(event) => changeForm({ seed: event.target.value })}
            />
            <button type="button" onClick={() => changeForm({ seed: "" })}>
              Random
            </button>
            <button type="button" onClick={() => changeForm({ seed: `${lastSeed ?? randomSeed()}` })}>
              {lastSeed === undefined ? "Fix" : "Last"}
            </button>
          </span>
        )}
      </Field>
    </details>
  );
}
