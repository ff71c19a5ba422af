// The picture to start from, with what is to be painted anew in it.
import { wordsOf } from "../api/client";
import type { GenerateBody } from "../api/types";
import { parseParameters } from "../picture/parameters";
import { pngTexts } from "../picture/png_text";
import { database, tryKeep } from "./database";
import { createStore } from "./store";

export interface Source {
  image: Blob;
  width: number; // pixels, as it is seen: after EXIF's orientation
  height: number;
  mask: Blob | null; // a PNG of the same shape, white where it is to be painted anew
  made: GenerateBody | null; // what it was made of, where its file tells
}

export interface SourceState {
  source: Source | null;
  error: string | null;
}

export const source = createStore<SourceState>({ source: null, error: null });

const KINDS = ["image/png", "image/jpeg", "image/webp"];

// What a picture was made of, where its file tells.
export async function madeOf(image: Blob): Promise<GenerateBody | null> {
  if (image.type !== "image/png") return null;
  const texts = pngTexts(new Uint8Array(await image.arrayBuffer()));
  return parseParameters(texts.get("parameters") ?? "")?.body ?? null;
}

// Throws an Error in words.
export async function readPicture(image: Blob): Promise<Source> {
  if (!KINDS.includes(image.type)) throw new Error("That is no picture of a kind that can be used: PNG, JPEG and WebP are.");
  let size: { width: number; height: number };
  try {
    const bitmap = await createImageBitmap(image);
    size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
  } catch {
    throw new Error("This picture cannot be read: its file is damaged.");
  }
  return { image, ...size, mask: null, made: await madeOf(image) };
}

export function setSource(next: Source | null): void {
  source.set({ source: next, error: null });
  void tryKeep((db) => (next ? db.put("form", next, "source") : db.delete("form", "source")));
}

export async function startFrom(image: Blob): Promise<void> {
  try {
    setSource(await readPicture(image));
  } catch (error) {
    source.set((before) => ({ ...before, error: wordsOf(error) }));
  }
}

export async function loadSource(): Promise<void> {
  await tryKeep(async () => {
    const kept = await (await database).get("form", "source");
    if (kept && !source.get().source) source.set({ source: kept, error: null });
  });
}
