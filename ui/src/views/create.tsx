import type { FormEvent, KeyboardEvent } from "react";
import { Field } from "../parts/field";
import { JobCard } from "../parts/job_card";
import { PictureGrid } from "../parts/picture_grid";
import { bodiesOf, changeForm, form, levelName, randomSeed, sizePresets } from "../state/form";
import { gallery } from "../state/gallery";
import { askFor, jobs } from "../state/jobs";
import { server } from "../state/server";
import { useStore } from "../state/store";

const MOST_AT_ONCE = 8;
const SHOWN = 12;

interface NumberFieldProps {
  label: string;
  step?: "any";
  range?: { minimum: number; maximum: number };
  value: string; // "": the server's
  onChange: (value: string) => void;
}

function NumberField({ label, step, range, value, onChange }: NumberFieldProps) {
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          type="number"
          step={step}
          min={range?.minimum}
          max={range?.maximum}
          value={value}
          placeholder="the server's"
          onChange={(event) => onChange(event.target.value)}
        />
      )}
    </Field>
  );
}

export function CreateView() {
  const values = useStore(form);
  const { status, limits } = useStore(server);
  const running = useStore(jobs);
  const { pictures } = useStore(gallery);
  const model = status?.sd ?? null;
  const presets = sizePresets(model?.default_size ?? null);
  const style = model?.styles.find((candidate) => candidate.style === values.style);
  const lastSeed = pictures[0]?.body.seed;

  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    if (!values.prompt.trim()) return;
    for (const body of bodiesOf(values)) askFor(body);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  };

  return (
    <div className="create">
      <form onSubmit={submit} onKeyDown={onKeyDown} aria-label="What to paint">
        <Field label="Prompt" hint="(word:1.3) weighs a word. Ctrl+Enter paints.">
          {(id) => (
            <textarea
              id={id}
              rows={4}
              required
              value={values.prompt}
              placeholder="a lighthouse at dusk, watercolor"
              onChange={(event) => changeForm({ prompt: event.target.value })}
            />
          )}
        </Field>
        <Field label="Negative prompt" hint="What to keep away from; counts where guidance is over 1.">
          {(id) => (
            <textarea id={id} rows={2} value={values.negative} onChange={(event) => changeForm({ negative: event.target.value })} />
          )}
        </Field>
        <div className="row">
          <Field label="Size">
            {(id) => (
              <select id={id} value={values.size} onChange={(event) => changeForm({ size: event.target.value })}>
                <option value="">{model?.default_size ? `As the model, ${model.default_size}` : "As the model"}</option>
                {values.size && !presets.some((preset) => preset.size === values.size) && (
                  <option value={values.size}>{values.size}</option>
                )}
                {presets
                  .filter((preset) => preset.size !== model?.default_size)
                  .map((preset) => (
                    <option key={preset.size} value={preset.size}>
                      {preset.label}
                    </option>
                  ))}
              </select>
            )}
          </Field>
          <Field label="How many">
            {(id) => (
              <input
                id={id}
                type="number"
                min={1}
                max={MOST_AT_ONCE}
                value={values.count}
                onChange={(event) =>
                  changeForm({ count: Math.min(MOST_AT_ONCE, Math.max(1, Number(event.target.value) || 1)) })
                }
              />
            )}
          </Field>
        </div>
        {model && model.styles.length > 0 && (
          <div className="row">
            <Field label="Style">
              {(id) => (
                <select id={id} value={values.style} onChange={(event) => changeForm({ style: event.target.value, level: 1 })}>
                  <option value="">None</option>
                  {model.styles.map((entry) => (
                    <option key={entry.style} value={entry.style}>
                      {entry.title}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            {style && (
              <Field label={`Strength: ${levelName(style, values.level)}`}>
                {(id) => (
                  <input
                    id={id}
                    type="range"
                    min={1}
                    max={style.levels}
                    value={values.level}
                    onChange={(event) => changeForm({ level: Number(event.target.value) })}
                  />
                )}
              </Field>
            )}
          </div>
        )}
        <details>
          <summary>Sampling</summary>
          <div className="row">
            <NumberField
              label="Steps"
              range={limits?.steps}
              value={values.steps}
              onChange={(steps) => changeForm({ steps })}
            />
            <NumberField
              label="Guidance"
              step="any"
              range={limits?.guidance}
              value={values.guidance}
              onChange={(guidance) => changeForm({ guidance })}
            />
          </div>
          <Field label="Sampler">
            {(id) => (
              <select id={id} value={values.scheduler} onChange={(event) => changeForm({ scheduler: event.target.value })}>
                <option value="">The server's</option>
                {limits?.schedulers.map((name) => (
                  <option key={name} value={name}>
                    {name}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Seed">
            {(id) => (
              <span className="joined">
                <input
                  id={id}
                  type="number"
                  min={0}
                  max={2147483647}
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
        <button type="submit" className="primary" disabled={!values.prompt.trim()}>
          {values.count > 1 ? `Paint ${values.count} pictures` : "Paint"}
        </button>
      </form>
      <section aria-label="Pictures" aria-live="polite">
        {running.length > 0 && (
          <ul className="grid" aria-label="On their way">
            {running.map((job) => (
              <JobCard key={job.id} job={job} />
            ))}
          </ul>
        )}
        {pictures.length > 0 ? (
          <PictureGrid pictures={pictures.slice(0, SHOWN)} label="The latest pictures" />
        ) : (
          running.length === 0 && (
            <p className="empty">
              {model?.ready === false && !model.error ? "The model is being loaded …" : "Say what to paint; the picture appears here."}
            </p>
          )
        )}
      </section>
    </div>
  );
}
