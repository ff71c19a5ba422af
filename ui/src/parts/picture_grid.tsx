import { useState } from "react";
import { type Picture, urlOf } from "../state/gallery";
import { PictureDialog } from "./picture_dialog";

export function PictureGrid({ pictures, label }: { pictures: Picture[]; label: string }) {
  const [openId, setOpenId] = useState<string | null>(null);
  const open = pictures.find((picture) => picture.id === openId);
  return (
    <>
      <ul className="grid" aria-label={label}>
        {pictures.map((picture) => (
          <li key={picture.id} className="card">
            <button type="button" className="open" onClick={() => setOpenId(picture.id)}>
              <span className="frame">
                <img src={urlOf(picture)} alt={picture.body.prompt} loading="lazy" />
              </span>
            </button>
          </li>
        ))}
      </ul>
      {open && <PictureDialog picture={open} onClose={() => setOpenId(null)} />}
    </>
  );
}
