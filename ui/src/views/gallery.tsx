import { useState } from "react";
import { Field } from "../parts/field";
import { PictureGrid } from "../parts/picture_grid";
import { gallery } from "../state/gallery";
import { useStore } from "../state/store";

export function GalleryView() {
  const { loaded, pictures, error } = useStore(gallery);
  const [search, setSearch] = useState("");
  const wanted = search.trim().toLowerCase();
  const found = wanted ? pictures.filter(({ body }) => body.prompt.toLowerCase().includes(wanted)) : pictures;
  return (
    <>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
      {pictures.length > 0 && (
        <Field label="Search in prompts">
          {(id) => <input id={id} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />}
        </Field>
      )}
      {found.length > 0 ? (
        <PictureGrid pictures={found} label="Pictures" />
      ) : (
        loaded && (
          <p className="empty">{pictures.length > 0 ? "No prompt has these words." : "Nothing yet. What you make is kept in this browser."}</p>
        )
      )}
    </>
  );
}
