import type { FormEvent, KeyboardEvent } from "react";
import { Field } from "../parts/field";
import { JobCard } from "../parts/job_card";
import { PictureGrid } from "../parts/picture_grid";
import { SamplingFields } from "../parts/sampling_fields";
import { SourceField } from "../parts/source_field";
import { sizeFor, sizePresets } from "../picture/size";
import { changeForm, form, levelName, requestsOf } from "../state/form";
import { gallery } from "../state/gallery";
import { askFor, jobs } from "../state/jobs";
import { server } from "../state/server";
import { source } from "../state/source";
import { useStore } from "../state/store";

const MOST_AT_ONCE = 8;
const SHOWN = 12;

function SizeField() {
  const { size } = useStore(form);
  const { source: from } = useStore(source);
  const defaultSize = useStore(server).status?.sd.default_size ?? null;
  const presets = sizePresets(defaultSize).filter((preset) => preset.size !== defaultSize);
  let otherwise = defaultSize ? `As the model, ${defaultSize}` : "As the model";
  if (from) otherwise = `As the picture, ${sizeFor(from, defaultSize)}`;
  return (
    <Field label="Size">
      {(id) => (
        <select id={id} value={size} onChange={(event) => changeForm({ size: event.target.value })}>
          <option value="">{otherwise}</option>
          {size && !presets.some((preset) => preset.size === size) && <option value={size}>{size}</option>}
          {presets.map((preset) => (
            <option key={preset.size} value={preset.size}>
              {preset.label}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

function StyleFields() {
  const values = useStore(form);
  const styles = useStore(server).status?.sd.styles ?? [];
  const style = styles.find((candidate) => candidate.style === values.style);
  if (styles.length === 0) return null;
  return (
    <div className="row">
      <Field label="Style">
        {(id) => (
          <select id={id} value={values.style} onChange={(event) => changeForm({ style: event.target.value, level: 1 })}>
            <option value="">None</option>
            {styles.map((entry) => (
              <option key={entry.style} value={entry.style}>
                {entry.title}
              </option>
            ))}
          </select>
        )}
      </Field>
      {style && (
        <Field label={`Style strength: ${levelName(style, values.level)}`}>
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
  );
}

function RequestForm() {
  const values = useStore(form);
  const { source: from } = useStore(source);
  const defaultSize = useStore(server).status?.sd.default_size ?? null;
  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    if (!values.prompt.trim()) return;
    for (const request of requestsOf(values, from, defaultSize)) askFor(request);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  };
  return (
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
        <SizeField />
        <Field label="How many">
          {(id) => (
            <input
              id={id}
              type="number"
              min={1}
              max={MOST_AT_ONCE}
              value={values.count}
              onChange={(event) => changeForm({ count: Math.min(MOST_AT_ONCE, Math.max(1, Number(event.target.value) || 1)) })}
            />
          )}
        </Field>
      </div>
      <StyleFields />
      <SamplingFields />
      <SourceField />
      <button type="submit" className="primary" disabled={!values.prompt.trim()}>
        {values.count > 1 ? `Paint ${values.count} pictures` : "Paint"}
      </button>
    </form>
  );
}

export function CreateView() {
  const model = useStore(server).status?.sd ?? null;
  const running = useStore(jobs);
  const { pictures } = useStore(gallery);
  return (
    <div className="create">
      <RequestForm />
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
