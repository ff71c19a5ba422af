// Pictures that were made, kept in this browser (IndexedDB).
import { type DBSchema, openDB } from "idb";
import { wordsOf } from "../api/client";
import type { GenerateBody } from "../api/types";
import { createStore } from "./store";

export interface Picture {
  id: string;
  created: number; // milliseconds since 1970
  blob: Blob;
  body: GenerateBody; // that asks for it again, seed included
  seconds: number; // that it took, from the request
  model: string | null;
}

interface Schema extends DBSchema {
  pictures: { key: string; value: Picture; indexes: { created: number } };
}

const database = openDB<Schema>("dreamlab", 1, {
  upgrade(db) {
    db.createObjectStore("pictures", { keyPath: "id" }).createIndex("created", "created");
  },
});

export interface Gallery {
  loaded: boolean;
  pictures: Picture[]; // the newest first
  error: string | null;
}

export const gallery = createStore<Gallery>({ loaded: false, pictures: [], error: null });

export async function loadGallery(): Promise<void> {
  try {
    const pictures = await (await database).getAllFromIndex("pictures", "created");
    gallery.set({ loaded: true, pictures: pictures.reverse(), error: null });
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
  await (await database).delete("pictures", id);
}

// Object URLs live as long as their pictures are in the gallery: one each.
const urls = new WeakMap<Blob, string>();
export function urlOf(picture: Picture): string {
  let url = urls.get(picture.blob);
  if (!url) {
    url = URL.createObjectURL(picture.blob);
    urls.set(picture.blob, url);
  }
  return url;
}

export function fileNameOf(picture: Picture): string {
  const words = picture.body.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const kind = picture.blob.type === "image/jpeg" ? "jpg" : "png";
  return `${[...words.slice(0, 6), picture.body.seed ?? ""].join("-") || "picture"}.${kind}`;
}
