import { useState } from "react";
import { CompareDialog } from "../parts/compare_dialog";
import { Field } from "../parts/field";
import { PictureGrid } from "../parts/picture_grid";
import { groupSimilar } from "../picture/fingerprint";
import { gallery, type Picture } from "../state/gallery";
import { useStore } from "../state/store";

// From which on two pictures are alike, as a correlation of their fingerprints.
const ALIKE = 0.8;

function Groups({ pictures }: { pictures: Picture[] }) {
  const groups = groupSimilar(pictures, (picture) => picture.fingerprint, ALIKE);
  const alone = groups.flatMap((group) => (group.length === 1 ? group : []));
  const alike = groups.filter((group) => group.length > 1);
  return (
    <>
      {alike.map((group) => (
        <section key={group[0]!.id} className="group">
          <h3>{`${group.length} alike: ${group[0]!.body.prompt}`}</h3>
          <PictureGrid pictures={group} label={`${group.length} alike`} />
        </section>
      ))}
      {alike.length === 0 && <p className="hint">No two of these pictures are alike.</p>}
      {alone.length > 0 && <PictureGrid pictures={alone} label="Like no other" />}
    </>
  );
}

type Arrangement = "all" | "groups" | "choosing";

export function GalleryView() {
  const { loaded, pictures, error } = useStore(gallery);
  const [search, setSearch] = useState("");
  const [arrangement, setArrangement] = useState<Arrangement>("all");
  const [chosen, setChosen] = useState<Picture[]>([]);
  const wanted = search.trim().toLowerCase();
  const found = wanted ? pictures.filter(({ body }) => body.prompt.toLowerCase().includes(wanted)) : pictures;

  const arrange = (next: Arrangement) => {
    setChosen([]);
    setArrangement(arrangement === next ? "all" : next);
  };
  const choose = (picture: Picture) =>
    setChosen((before) => (before.includes(picture) ? before.filter((other) => other !== picture) : [...before, picture].slice(-2)));
  const [left, right] = chosen;

  return (
    <>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
      {pictures.length > 0 && (
        <div className="tools">
          <Field label="Search in prompts">
            {(id) => <input id={id} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />}
          </Field>
          <button type="button" aria-pressed={arrangement === "groups"} onClick={() => arrange("groups")}>
            Group what is alike
          </button>
          <button type="button" aria-pressed={arrangement === "choosing"} onClick={() => arrange("choosing")}>
            Compare two
          </button>
        </div>
      )}
      {arrangement === "choosing" && (
        <p className="hint" role="status">
          {left ? "Choose the second one." : "Choose two pictures."}
        </p>
      )}
      {found.length === 0 ? (
        loaded && (
          <p className="empty">{pictures.length > 0 ? "No prompt has these words." : "Nothing yet. What you make is kept in this browser."}</p>
        )
      ) : arrangement === "groups" ? (
        <Groups pictures={found} />
      ) : arrangement === "choosing" ? (
        <PictureGrid pictures={found} label="Pictures" chosen={chosen} onChoose={choose} />
      ) : (
        <PictureGrid pictures={found} label="Pictures" />
      )}
      {left && right && <CompareDialog pictures={[left, right]} onClose={() => setChosen([])} />}
    </>
  );
}
