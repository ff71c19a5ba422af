// What a picture was made of, from the text "parameters" that this server and AUTOMATIC1111's web UI write into PNGs:
//   prompt
//   Negative prompt: ...
//   Steps: 4, Sampler: LCM, CFG scale: 1, Seed: 42, Size: 1024x1024, Model: name, ...
import type { GenerateBody } from "../api/types";

export interface Parameters {
  body: GenerateBody;
  model: string | null;
}

// A value stands in JSON's quotes where it has a comma or a colon.
const FIELD = /\s*([\w ]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)/g;
const NEGATIVE = "Negative prompt:";
const SEED_END = 2 ** 31;

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value.trim();
  try {
    return JSON.parse(value) as string;
  } catch {
    return value;
  }
}

function numberOf(value: string | undefined): number | undefined {
  const number = Number(value);
  return value === undefined || value === "" || !Number.isFinite(number) ? undefined : number;
}

// null: the text is no such thing.
export function parseParameters(text: string): Parameters | null {
  const lines = text.trimEnd().split("\n");
  const last = lines.pop() ?? "";
  const fields = new Map([...last.matchAll(FIELD)].map(([, name, value]) => [name!.trim(), unquoted(value!)]));
  if (!fields.has("Steps")) return null;
  const negativeAt = lines.findIndex((line) => line.startsWith(NEGATIVE));
  const prompt = lines.slice(0, negativeAt < 0 ? undefined : negativeAt).join("\n");
  const negative = negativeAt < 0 ? "" : lines.slice(negativeAt).join("\n").slice(NEGATIVE.length).trim();

  const body: GenerateBody = { prompt };
  if (negative) body.negative_prompt = negative;
  const size = fields.get("Size");
  if (size && /^\d+x\d+$/.test(size)) body.size = size;
  const steps = numberOf(fields.get("Steps"));
  if (steps !== undefined) body.num_inference_steps = steps;
  const guidance = numberOf(fields.get("CFG scale"));
  if (guidance !== undefined) body.guidance_scale = guidance;
  const seed = numberOf(fields.get("Seed"));
  if (seed !== undefined && seed >= 0 && seed < SEED_END) body.seed = seed;
  const schedule = fields.get("Schedule type");
  const sampler = fields.get("Sampler");
  // AUTOMATIC1111 names the schedule of noise levels apart since its version 1.9.
  if (sampler) body.scheduler = schedule === "Karras" && !sampler.endsWith(" Karras") ? `${sampler} Karras` : sampler;
  const clipSkip = numberOf(fields.get("Clip skip"));
  if (clipSkip !== undefined) body.clip_skip = clipSkip;
  const strength = numberOf(fields.get("Denoising strength"));
  if (strength !== undefined) body.strength = strength;
  const style = fields.get("Style");
  if (style) body.style_lora = { style, level: numberOf(fields.get("Style level")) ?? 1 };
  return { body, model: fields.get("Model") ?? null };
}
