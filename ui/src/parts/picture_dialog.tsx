import { reuse } from "../state/form";
import { deletePicture, fileNameOf, type Picture } from "../state/gallery";
import { askFor } from "../state/jobs";
import { urlOfBlob } from "../state/object_url";
import { server } from "../state/server";
import { startFrom } from "../state/source";
import { useStore } from "../state/store";
import { setOriginal } from "../state/upscale";
import { Dialog } from "./dialog";
import { Facts, factsOf } from "./facts";

const NEIGHBORS = [-2, -1, 1, 2];

// A picture at its full size, with what it was made of and what can be done with it.
export function PictureDialog({ picture, onClose }: { picture: Picture; onClose: () => void }) {
  const canUpscale = useStore(server).status?.superres != null;
  const go = (view: string) => {
    location.hash = view;
    onClose();
  };
  const vary = () => {
    for (const offset of NEIGHBORS) {
      const seed = (picture.body.seed ?? 0) + offset;
      if (seed >= 0) askFor({ body: { ...picture.body, seed }, source: picture.source });
    }
    go("#create");
  };
  return (
    <Dialog label={picture.body.prompt} className="picture" onClose={onClose}>
      <img src={urlOfBlob(picture.blob)} alt={picture.body.prompt} />
      <div className="side">
        <Facts facts={factsOf(picture)} />
        {picture.storageKey && (
          <p>
            <a href={`/storage/${picture.storageKey}`}>On the server</a>
          </p>
        )}
        <div className="actions">
          <a className="button" href={urlOfBlob(picture.blob)} download={fileNameOf(picture)}>
            Download
          </a>
          <button
            type="button"
            onClick={() => {
              reuse(picture);
              go("#create");
            }}
          >
            Use its settings
          </button>
          <button type="button" onClick={vary}>
            Variations
          </button>
          <button
            type="button"
            onClick={() => {
              void startFrom(picture.blob);
              go("#create");
            }}
          >
            Start from it
          </button>
          {canUpscale && (
            <button
              type="button"
              onClick={() => {
                void setOriginal(picture.blob, picture);
                go("#upscale");
              }}
            >
              Upscale
            </button>
          )}
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
          <button type="button" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}
