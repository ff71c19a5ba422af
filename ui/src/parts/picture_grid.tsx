import { memo, useCallback, useState } from "react";
import type { Picture } from "../state/gallery";
import { urlOfBlob } from "../state/object_url";
import { PictureDialog } from "./picture_dialog";

interface CardProps {
  picture: Picture;
  pressed: boolean | undefined;
  onPress: (picture: Picture) => void;
}

// Drawn again only when it changes: pictures on their way tell of themselves many times a second.
const Card = memo(function Card({ picture, pressed, onPress }: CardProps) {
  return (
    <li className={pressed ? "card chosen" : "card"}>
      <button type="button" className="open" aria-pressed={pressed} onClick={() => onPress(picture)}>
        <span className="frame">
          <img src={urlOfBlob(picture.blob)} alt={picture.body.prompt} loading="lazy" />
        </span>
      </button>
    </li>
  );
});

interface PictureGridProps {
  pictures: Picture[];
  label: string;
  chosen?: Picture[]; // where pictures are chosen rather than opened
  onChoose?: (picture: Picture) => void;
}

export function PictureGrid({ pictures, label, chosen, onChoose }: PictureGridProps) {
  const [openId, setOpenId] = useState<string | null>(null);
  const open = useCallback((picture: Picture) => setOpenId(picture.id), []);
  const shown = pictures.find((picture) => picture.id === openId);
  return (
    <>
      <ul className="grid" aria-label={label}>
        {pictures.map((picture) => (
          <Card key={picture.id} picture={picture} pressed={chosen?.includes(picture)} onPress={onChoose ?? open} />
        ))}
      </ul>
      {shown && <PictureDialog picture={shown} onClose={() => setOpenId(null)} />}
    </>
  );
}
