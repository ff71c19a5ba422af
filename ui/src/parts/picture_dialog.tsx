import { useEffect, useRef } from "react";
import { deletePicture, fileNameOf, type Picture, urlOf } from "../state/gallery";
import { reuse } from "../state/form";
import { askFor } from "../state/jobs";

const NEIGHBORS = [-2, -1, 1, 2];

function facts(picture: Picture): [string, string][] {
  const { body } = picture;
  const rows: [string, string | number | undefined][] = [
    ["Prompt", body.prompt],
    ["Negative prompt", body.negative_prompt],
    ["Seed", body.seed],
    ["Size", body.size],
    ["Steps", body.num_inference_steps],
    ["Guidance", body.guidance_scale],
    ["Sampler", body.scheduler],
    ["Style", body.style_lora && `${body.style_lora.style}, ${body.style_lora.level}`],
    ["Model", picture.model ?? undefined],
    ["Made", new Date(picture.created).toLocaleString()],
    ["Time", `${picture.seconds.toFixed(1)} s`],
  ];
  return rows.filter((row): row is [string, string | number] => row[1] !== undefined).map(([name, value]) => [name, `${value}`]);
}

// A picture at its full size, with what it was made of and what can be done with it.
export function PictureDialog({ picture, onClose }: { picture: Picture; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const vary = () => {
    for (const offset of NEIGHBORS) {
      const seed = (picture.body.seed ?? 0) + offset;
      if (seed >= 0) askFor({ ...picture.body, seed });
    }
    location.hash = "#create";
    onClose();
  };
  return (
    <dialog ref={dialog} className="picture" onClose={onClose} aria-label={picture.body.prompt}>
      <img src={urlOf(picture)} alt={picture.body.prompt} />
      <div className="side">
        <dl>
          {facts(picture).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        <div className="actions">
          <a className="button" href={urlOf(picture)} download={fileNameOf(picture)}>
            Download
          </a>
          <button
            type="button"
            onClick={() => {
              reuse(picture.body);
              location.hash = "#create";
              onClose();
            }}
          >
            Use its settings
          </button>
          <button type="button" onClick={vary}>
            Variations
          </button>
          <button
            type="button"
            className="danger"
            onClick={() => {
              void deletePicture(picture.id);
              onClose();
            }}
          >
            Delete
          </button>
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
      </div>
    </dialog>
  );
}
