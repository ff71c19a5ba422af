import { BeforeAfter } from "../parts/before_after";
import { DropZone } from "../parts/drop_zone";
import { Field } from "../parts/field";
import { useCountdown } from "../parts/countdown";
import { endingOf, fileNameOf, keepPicture, type Picture } from "../state/gallery";
import { urlOfBlob } from "../state/object_url";
import { server } from "../state/server";
import { useStore } from "../state/store";
import {
  changeUpscaling,
  setOriginal,
  startUpscaling,
  stopUpscaling,
  type UpscalePhase,
  type UpscaleState,
  upscaling,
} from "../state/upscale";

const MOST_PASSES = 3;
const take = (file: Blob) => void setOriginal(file);

function Words({ phase }: { phase: UpscalePhase }) {
  const seconds = useCountdown(phase.name === "busy" ? phase.retryAt : null);
  switch (phase.name) {
    case "running":
      return "Upscaling …";
    case "busy":
      return `The queue is full; tried again in ${seconds} s`;
    case "away":
      return "The server is away; it goes on when it is back";
    default:
      return null;
  }
}

// The larger picture as one of the gallery.
function resultAsPicture({ original, picture, result }: UpscaleState): Picture {
  const body = picture?.body ?? original?.made ?? { prompt: "" };
  return {
    id: `${Date.now()}-${Math.random()}`,
    created: Date.now(),
    blob: result!.blob,
    body,
    source: picture?.source ?? null,
    seconds: picture?.seconds ?? 0,
    model: picture?.model ?? null,
    fingerprint: picture?.fingerprint ?? null,
    storageKey: null,
    scale: (picture?.scale ?? 1) * result!.scale,
  };
}

function Result({ state }: { state: UpscaleState }) {
  const { original, result } = state;
  const picture = resultAsPicture(state);
  const name = picture.body.prompt ? fileNameOf(picture) : `upscaled-${result!.scale}x.${endingOf(result!.blob)}`;
  return (
    <>
      <BeforeAfter before={urlOfBlob(original!.image)} after={urlOfBlob(result!.blob)} />
      <p className="hint">
        {`From ${original!.width} x ${original!.height} to ${original!.width * result!.scale} x ${original!.height * result!.scale} pixels, ${Math.ceil(result!.blob.size / 1000)} kB.`}
      </p>
      <div className="actions">
        <a className="button" href={urlOfBlob(result!.blob)} download={name}>
          Download
        </a>
        <button type="button" onClick={() => void keepPicture(picture)}>
          Keep in the gallery
        </button>
      </div>
    </>
  );
}

export function UpscaleView() {
  const state = useStore(upscaling);
  const { original, result, phase, passes, format } = state;
  const { status } = useStore(server);
  const scale = status?.superres?.scale;
  const isBusy = phase.name !== "idle" && phase.name !== "failed";
  if (status && !status.superres) return <p className="empty">This server has no upscaler: it was started with SUPERRES=0.</p>;
  return (
    <div className="create">
      <form
        aria-label="What to upscale"
        onSubmit={(event) => {
          event.preventDefault();
          void startUpscaling();
        }}
      >
        <DropZone label={original ? "Another picture" : "Choose a picture"} onPicture={take}>
          {original ? (
            <p className="hint">{`${original.width} x ${original.height} pixels`}</p>
          ) : (
            <p className="hint">Choose, drop or paste a PNG, JPEG or WebP, or open one of the gallery.</p>
          )}
        </DropZone>
        <div className="row">
          <Field label="Passes" hint={scale && original ? `${original.width * scale ** passes} x ${original.height * scale ** passes} pixels` : undefined}>
            {(id) => (
              <select id={id} value={passes} onChange={(event) => changeUpscaling({ passes: Number(event.target.value) })}>
                {Array.from({ length: MOST_PASSES }, (_, i) => i + 1).map((count) => (
                  <option key={count} value={count}>
                    {scale ? `${count}: ${scale ** count} times` : count}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Format">
            {(id) => (
              <select id={id} value={format} onChange={(event) => changeUpscaling({ format: event.target.value as "png" | "jpeg" })}>
                <option value="png">PNG</option>
                <option value="jpeg">JPEG</option>
              </select>
            )}
          </Field>
        </div>
        {isBusy ? (
          <button type="button" onClick={stopUpscaling}>
            Cancel
          </button>
        ) : (
          <button type="submit" className="primary" disabled={!original}>
            Upscale
          </button>
        )}
        <p className="hint" role="status">
          <Words phase={phase} />
        </p>
        {phase.name === "failed" && (
          <p className="error" role="alert">
            {phase.why}
          </p>
        )}
      </form>
      <section aria-label="The picture">
        {result ? (
          <Result state={state} />
        ) : original ? (
          <img className="alone" src={urlOfBlob(original.image)} alt="The picture to upscale" />
        ) : (
          <p className="empty">The larger picture appears here, over the one that it was made of.</p>
        )}
      </section>
    </div>
  );
}
