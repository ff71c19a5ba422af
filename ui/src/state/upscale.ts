// The Upscale view: a picture, and a larger one made of it.
import { wordsOf } from "../api/client";
import { upscale, type Upscaled, type Upscaling } from "../api/server";
import type { Picture } from "./gallery";
import { untilTaken, type Wait } from "./patience";
import { readPicture, type Source } from "./source";
import { createStore } from "./store";

export type UpscalePhase = { name: "idle" } | { name: "running" } | Wait | { name: "failed"; why: string };

export interface UpscaleState extends Upscaling {
  original: Source | null;
  picture: Picture | null; // that the original is, where it is one of the gallery
  result: Upscaled | null;
  phase: UpscalePhase;
}

export const upscaling = createStore<UpscaleState>({
  original: null,
  picture: null,
  result: null,
  phase: { name: "idle" },
  passes: 1,
  format: "png",
});

let abort: AbortController | null = null;

function change(fields: Partial<UpscaleState>): void {
  upscaling.set((before) => ({ ...before, ...fields }));
}

export function stopUpscaling(): void {
  abort?.abort();
  abort = null;
  change({ phase: { name: "idle" } });
}

// picture: where it is one of the gallery.
export async function setOriginal(image: Blob, picture: Picture | null = null): Promise<void> {
  stopUpscaling();
  try {
    change({ original: await readPicture(image), picture, result: null });
  } catch (error) {
    change({ phase: { name: "failed", why: wordsOf(error) } });
  }
}

// How, for the next time.
export function changeUpscaling(fields: Partial<Upscaling>): void {
  change(fields);
}

export async function startUpscaling(): Promise<void> {
  const { original, passes, format } = upscaling.get();
  if (!original) return;
  stopUpscaling();
  const own = new AbortController();
  abort = own;
  const ask = () => {
    change({ phase: { name: "running" } });
    return upscale(original.image, { passes, format }, own.signal);
  };
  try {
    const result = await untilTaken(ask, (phase) => change({ phase }), own.signal);
    change({ result, phase: { name: "idle" } });
  } catch (error) {
    if (!own.signal.aborted) change({ phase: { name: "failed", why: wordsOf(error) } });
  }
}
