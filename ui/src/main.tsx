import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import "./app.css";
import { loadGallery } from "./state/gallery";
import { resumeJobs } from "./state/jobs";
import { loadSource } from "./state/source";

void loadGallery();
void resumeJobs();
void loadSource();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
