import { useState } from "react";
import { changeForm, form, restore } from "../state/form";
import { urlOfBlob } from "../state/object_url";
import { setSource, source, startFrom } from "../state/source";
import { useStore } from "../state/store";
import { DropZone } from "./drop_zone";
import { Field } from "./field";
import { MaskDialog } from "./mask_dialog";

const take = (file: Blob) => void startFrom(file);

// The picture to start from: which, how much of it may change, and where.
export function SourceField() {
  const { source: chosen, error } = useStore(source);
  const { strength } = useStore(form);
  const [masking, setMasking] = useState(false);
  return (
    <fieldset>
      <legend>Start from a picture</legend>
      <DropZone label={chosen ? "Another picture" : "Choose a picture"} onPicture={take}>
        {chosen ? (
          <div className="source">
            <img src={urlOfBlob(chosen.image)} alt="The picture to start from" />
            {chosen.mask && <img className="overlay" src={urlOfBlob(chosen.mask)} alt="What is to be painted anew" />}
          </div>
        ) : (
          <p className="hint">Choose, drop or paste a PNG, JPEG or WebP.</p>
        )}
      </DropZone>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
      {chosen && (
        <>
          <div className="actions">
            <button type="button" onClick={() => setMasking(true)}>
              {chosen.mask ? "Change the mask" : "Draw a mask"}
            </button>
            {chosen.mask && (
              <button type="button" onClick={() => setSource({ ...chosen, mask: null })}>
                Remove the mask
              </button>
            )}
            <button type="button" onClick={() => setSource(null)}>
              Remove the picture
            </button>
          </div>
          {chosen.made && (
            <div className="notice" role="status">
              <p>The file tells what this picture was made of.</p>
              <div className="actions">
                <button type="button" onClick={() => restore(chosen.made!)}>
                  Use its settings
                </button>
                <button
                  type="button"
                  onClick={() => {
                    restore(chosen.made!);
                    setSource(null);
                  }}
                >
                  Settings without the picture
                </button>
              </div>
            </div>
          )}
          <Field
            label={`Strength: ${strength.toFixed(2)}`}
            hint={chosen.mask ? "How much may change where the mask is." : "How much of the picture may change."}
          >
            {(id) => (
              <input
                id={id}
                type="range"
                min={0.05}
                max={1}
                step={0.05}
                value={strength}
                onChange={(event) => changeForm({ strength: Number(event.target.value) })}
              />
            )}
          </Field>
        </>
      )}
      {chosen && masking && (
        <MaskDialog
          source={chosen}
          onClose={() => setMasking(false)}
          onDone={(mask) => {
            setSource({ ...chosen, mask });
            setMasking(false);
          }}
        />
      )}
    </fieldset>
  );
}
