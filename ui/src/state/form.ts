// What the form of the Create view holds, kept over visits.
import type { GenerateBody, Style } from "../api/types";
import { createStore } from "./store";

export interface Form {
  prompt: string;
  negative: string;
  size: string; // "": the server's
  steps: string; // "": the server's; likewise below
  guidance: string;
  scheduler: string;
  seed: string; // "": at random
  style: string; // "": none
  level: number;
  count: number;
}

const SAVED_NAME = "dreamlab.form";
const MOST_SEED = 99_999_999; // short enough to be read out and typed again

const EMPTY: Form = {
  prompt: "",
  negative: "",
  size: "",
  steps: "",
  guidance: "",
  scheduler: "",
  seed: "",
  style: "",
  level: 1,
  count: 1,
};

function saved(): Form {
  try {
    return { ...EMPTY, ...(JSON.parse(localStorage.getItem(SAVED_NAME) ?? "{}") as Partial<Form>) };
  } catch {
    return EMPTY;
  }
}

export const form = createStore<Form>(saved());

export function changeForm(fields: Partial<Form>): void {
  form.set((before) => ({ ...before, ...fields }));
  localStorage.setItem(SAVED_NAME, JSON.stringify(form.get()));
}

export const randomSeed = () => Math.floor(Math.random() * (MOST_SEED + 1));

// A request for each picture of the form, the seeds one after the other.
export function bodiesOf(values: Form): GenerateBody[] {
  const first = values.seed === "" ? randomSeed() : Number(values.seed);
  return Array.from({ length: values.count }, (_, i) => ({
    prompt: values.prompt,
    seed: first + i,
    ...(values.negative && { negative_prompt: values.negative }),
    ...(values.size && { size: values.size }),
    ...(values.steps && { num_inference_steps: Number(values.steps) }),
    ...(values.guidance && { guidance_scale: Number(values.guidance) }),
    ...(values.scheduler && { scheduler: values.scheduler }),
    ...(values.style && { style_lora: { style: values.style, level: values.level } }),
  }));
}

// The form that asks for a picture again.
export function reuse(body: GenerateBody): void {
  changeForm({
    prompt: body.prompt,
    negative: body.negative_prompt ?? "",
    size: body.size ?? "",
    steps: body.num_inference_steps?.toString() ?? "",
    guidance: body.guidance_scale?.toString() ?? "",
    scheduler: body.scheduler ?? "",
    seed: body.seed?.toString() ?? "",
    style: body.style_lora?.style ?? "",
    level: body.style_lora?.level ?? 1,
    count: 1,
  });
}

const RATIOS: [number, number, string][] = [
  [1, 1, "Square"],
  [4, 5, "Portrait 4:5"],
  [5, 4, "Landscape 5:4"],
  [2, 3, "Portrait 2:3"],
  [3, 2, "Landscape 3:2"],
  [9, 16, "Tall 9:16"],
  [16, 9, "Wide 16:9"],
];

export interface SizePreset {
  size: string;
  label: string;
}

// Sizes of about as many pixels as the model was trained for, in steps that suit it.
export function sizePresets(defaultSize: string | null): SizePreset[] {
  const [width, height] = (defaultSize ?? "512x512").split("x").map(Number);
  const area = (width ?? 512) * (height ?? 512);
  const step = area >= 512 * 512 ? 64 : 32;
  const rounded = (side: number) => Math.max(step, Math.round(side / step) * step);
  return RATIOS.map(([w, h, label]) => {
    const size = `${rounded(Math.sqrt((area * w) / h))}x${rounded(Math.sqrt((area * h) / w))}`;
    return { size, label: `${label}, ${size}` };
  });
}

export const levelName = (style: Style, level: number) =>
  style.levels > 1 ? `${level} of ${style.levels}` : "on";
