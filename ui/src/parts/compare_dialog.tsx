import { useState } from "react";
import type { Picture } from "../state/gallery";
import { urlOfBlob } from "../state/object_url";
import { BeforeAfter } from "./before_after";
import { Dialog } from "./dialog";
import { factsOf } from "./facts";

// Two pictures side by side or in one place, and what differs in how they were made.
export function CompareDialog({ pictures: [left, right], onClose }: { pictures: [Picture, Picture]; onClose: () => void }) {
  const [overlaid, setOverlaid] = useState(false);
  const facts = [left, right].map((picture) => new Map(factsOf(picture)));
  const names = [...new Set(facts.flatMap((each) => [...each.keys()]))];
  return (
    <Dialog label="Two pictures" className="compare" onClose={onClose}>
      {overlaid ? (
        <BeforeAfter before={urlOfBlob(left.blob)} after={urlOfBlob(right.blob)} names={["left", "right"]} />
      ) : (
        <div className="pair">
          {[left, right].map((picture) => (
            <img key={picture.id} src={urlOfBlob(picture.blob)} alt={picture.body.prompt} />
          ))}
        </div>
      )}
      <table>
        <thead>
          <tr>
            <td />
            <th scope="col">Left</th>
            <th scope="col">Right</th>
          </tr>
        </thead>
        <tbody>
          {names.map((name) => {
            const [a, b] = facts.map((each) => each.get(name) ?? "");
            return (
              <tr key={name} className={a === b ? undefined : "differs"}>
                <th scope="row">{name}</th>
                <td>{a}</td>
                <td>{b}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <div className="actions end">
        <button type="button" aria-pressed={overlaid} onClick={() => setOverlaid(!overlaid)}>
          In one place
        </button>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
