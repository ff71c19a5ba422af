// Pictures that were made, kept in this browser.
import { wordsOf } from "../api/client";
import type { GenerateBody } from "../api/types";
import { database } from "./database";
import type { Source } from "./source";
import { createStore } from "./store";

export interface Picture {
  id: string;
  created: number; // milliseconds since 1970
  blob: Blob;
  body: GenerateBody; // that asks for it again, seed included
  source: Source | null; // that it was made from
  seconds: number; // that it took, from the request
  model: string | null;
  fingerprint: Float32Array | null; // as picture/fingerprint.ts reads it
  storageKey: string | null; // of the server's storage, where it has one
  scale: number; // by which it was upscaled; 1: as it was made
}

export interface Gallery {
  loaded: boolean;
  pictures: Picture[]; // the newest first
  error: string | null;
}

export const gallery = createStore<Gallery>({ loaded: false, pictures: [], error: null });

// Those of earlier versions of this page know less.
const completed = (picture: Picture): Picture => ({
  ...picture,
  source: picture.source ?? null,
  fingerprint: picture.fingerprint ?? null,
  storageKey: picture.storageKey ?? null,
  scale: picture.scale ?? 1,
});

export async function loadGallery(): Promise<void> {
  try {
    const pictures = await (await database).getAllFromIndex("pictures", "created");
    gallery.set({ loaded: true, pictures: pictures.reverse().map(completed), error: null });
  } catch (error) {
    gallery.set({ loaded: true, pictures: [], error: `This browser keeps no pictures: ${wordsOf(error)}` });
  }
}

export async function keepPicture(picture: Picture): Promise<void> {
  gallery.set((before) => ({ ...before, pictures: [picture, ...before.pictures.filter((p) => p.id !== picture.id)] }));
  try {
    await (await database).put("pictures", picture);
  } catch (error) {
    gallery.set((before) => ({ ...before, error: `The picture is shown but could not be kept: ${wordsOf(error)}` }));
  }
}

export async function deletePicture(id: string): Promise<void> {
  gallery.set((before) => ({ ...before, pictures: before.pictures.filter((p) => p.id !== id) }));
  try {
    await (await database).delete("pictures", id);
  } catch (error) {
    gallery.set((before) => ({ ...before, error: `The picture could not be deleted: ${wordsOf(error)}` }));
  }
}

const ENDINGS: Record<string, string> = { "image/jpeg": "jpg", "image/webp": "webp" };

export const endingOf = (blob: Blob) => ENDINGS[blob.type] ?? "png";

export function fileNameOf(picture: Picture): string {
  const words = picture.body.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const parts = [...words.slice(0, 6), picture.body.seed ?? "", picture.scale > 1 ? `${picture.scale}x` : ""];
  return `${parts.filter((part) => part !== "").join("-") || "picture"}.${endingOf(picture.blob)}`;
}
