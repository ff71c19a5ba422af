// The server's routes, one function each.
import { getJson, postJson, send } from "./client";
import { readEvents } from "./events";
import type { GenerateBody, Job, Limits, Memory, ModelsStatus, Modes } from "./types";

export const modelsStatus = (signal?: AbortSignal) => getJson<ModelsStatus>("/api/models/status", signal);
export const memory = (signal?: AbortSignal) => getJson<Memory>("/api/vram", signal);
export const modes = (signal?: AbortSignal) => getJson<Modes>("/api/modes", signal);
export const switchMode = (mode: string) => postJson<unknown>("/api/modes/switch", { mode });
export const submitJob = (body: GenerateBody) => postJson<Job>("/api/jobs", body);
export const findJob = (id: string) => getJson<Job>(`/api/jobs/${encodeURIComponent(id)}`);
export const cancelJob = (id: string) => send(`/api/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
export const fetchImage = async (path: string) => (await send(path)).blob();

export const metrics = async () => (await send("/metrics")).text();

export interface Upscaling {
  passes: number; // each multiplies the sides by the upscaler's scale
  format: "png" | "jpeg";
}

export interface Upscaled {
  blob: Blob;
  scale: number; // of all passes
}

export async function upscale(picture: Blob, { passes, format }: Upscaling, signal: AbortSignal): Promise<Upscaled> {
  const form = new FormData();
  form.set("file", picture, "picture");
  form.set("magnitude", `${passes}`);
  form.set("out_format", format);
  const response = await send("/superres", { method: "POST", body: form, signal });
  const perPass = Number(response.headers.get("X-SR-Scale-Per-Pass"));
  return { blob: await response.blob(), scale: perPass ** Number(response.headers.get("X-SR-Passes")) };
}

export type JobEvent = { kind: "job"; job: Job } | { kind: "preview"; step: number; image: string };

// A job's events until it has ended, or the connection has.
export async function* jobEvents(id: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
  const response = await send(`/api/jobs/${encodeURIComponent(id)}/events`, { signal });
  if (!response.body) return;
  for await (const event of readEvents(response.body)) {
    if (event.name === "preview") {
      const { step, image } = JSON.parse(event.data) as { step: number; image: string };
      yield { kind: "preview", step, image };
    } else {
      yield { kind: "job", job: JSON.parse(event.data) as Job };
    }
  }
}

interface Property {
  minimum?: number;
  maximum?: number;
  enum?: string[];
}

export async function limits(signal?: AbortSignal): Promise<Limits> {
  interface Document {
    components: { schemas: Record<string, { properties: Record<string, Property> }> };
  }
  const [document, samplers] = await Promise.all([
    getJson<Document>("/openapi.json", signal),
    getJson<{ name: string; aliases: string[] }[]>("/sdapi/v1/samplers", signal),
  ]);
  const properties = document.components.schemas.GenerateRequest?.properties ?? {};
  const range = (name: string, otherwise: [number, number]) => ({
    minimum: properties[name]?.minimum ?? otherwise[0],
    maximum: properties[name]?.maximum ?? otherwise[1],
  });
  return {
    steps: range("num_inference_steps", [1, 50]),
    guidance: range("guidance_scale", [0, 20]),
    clipSkip: range("clip_skip", [1, 12]),
    samplers: samplers.map(({ name, aliases }) => ({ name: aliases[0] ?? name, title: name })),
  };
}
