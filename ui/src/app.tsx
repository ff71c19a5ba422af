import { useEffect, useState } from "react";
import { jobs } from "./state/jobs";
import { server, useServerPolling } from "./state/server";
import { useStore } from "./state/store";
import { CreateView } from "./views/create";
import { GalleryView } from "./views/gallery";
import { KeyForm, StatusView } from "./views/status";
import { UpscaleView } from "./views/upscale";

const VIEWS = [
  { name: "create", title: "Create", View: CreateView },
  { name: "upscale", title: "Upscale", View: UpscaleView },
  { name: "gallery", title: "Gallery", View: GalleryView },
  { name: "status", title: "Status", View: StatusView },
];

function useHash(): string {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = () => setHash(location.hash);
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return hash.slice(1);
}

export function App() {
  useServerPolling();
  const hash = useHash();
  const current = VIEWS.find((view) => view.name === hash) ?? VIEWS[0]!;
  const { status, away, needsKey } = useStore(server);
  const underWay = useStore(jobs).length;
  useEffect(() => {
    document.title = underWay > 0 ? `(${underWay}) Dream Lab` : `${current.title}: Dream Lab`;
  }, [current, underWay]);
  return (
    <>
      <header>
        <h1>Dream Lab</h1>
        <nav aria-label="Views">
          {VIEWS.map(({ name, title }) => (
            <a key={name} href={`#${name}`} aria-current={name === current.name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <p className="model">{away ? "The server is away" : (status?.sd.model ?? "")}</p>
      </header>
      <main>
        <h2 className="hidden">{current.title}</h2>
        {needsKey && (
          <section className="notice" aria-label="API key needed">
            <p>This server wants an API key.</p>
            <KeyForm />
          </section>
        )}
        {status?.sd.error && (
          <p className="error" role="alert">
            The model could not be loaded: {status.sd.error}
          </p>
        )}
        <current.View />
      </main>
    </>
  );
}
