// What the form of the Create view holds, kept over visits.
import type { GenerateBody, Style } from "../api/types";
import { sizeFor } from "../picture/size";
import type { Asked } from "./jobs";
import { setSource, type Source } from "./source";
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
  clipSkip: string;
  strength: number; // of a picture to start from
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
  clipSkip: "",
  strength: 0.75,
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

// A request for each picture of the form, the seeds one after the other. defaultSize: the server's.
export function requestsOf(values: Form, source: Source | null, defaultSize: string | null): Asked[] {
  const first = values.seed === "" ? randomSeed() : Number(values.seed);
  const size = values.size || (source ? sizeFor(source, defaultSize) : "");
  return Array.from({ length: values.count }, (_, i) => ({
    source,
    body: {
      prompt: values.prompt,
      seed: first + i,
      ...(values.negative && { negative_prompt: values.negative }),
      ...(size && { size }),
      ...(values.steps && { num_inference_steps: Number(values.steps) }),
      ...(values.guidance && { guidance_scale: Number(values.guidance) }),
      ...(values.scheduler && { scheduler: values.scheduler }),
      ...(values.style && { style_lora: { style: values.style, level: values.level } }),
      ...(values.clipSkip && { clip_skip: Number(values.clipSkip) }),
      ...(source && { strength: values.strength }),
    },
  }));
}

// Fills the form with what asks for a picture again.
export function restore(body: GenerateBody): void {
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
    clipSkip: body.clip_skip?.toString() ?? "",
    strength: body.strength ?? EMPTY.strength,
    count: 1,
  });
}

// The same, with the picture that it was made from.
export function reuse({ body, source }: Asked): void {
  restore(body);
  setSource(source);
}

export const levelName = (style: Style, level: number) =>
  style.levels > 1 ? `${level} of ${style.levels}` : "on";
