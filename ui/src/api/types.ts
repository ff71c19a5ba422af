// What the server says and takes, as /openapi.json describes it.

export interface Style {
  style: string;
  title: string;
  levels: number;
}

export interface QueueState {
  waiting: number;
  running: number;
  max: number;
}

export interface ModelStatus {
  ready: boolean;
  error: string | null;
  mode: string | null;
  model: string | null;
  family: string | null;
  device: string | null;
  dtype: string | null;
  default_size: string | null;
  defaults: { steps: number; guidance_scale: number; scheduler: string } | null;
  styles: Style[];
  queue: QueueState;
}

export interface ModelsStatus {
  sd: ModelStatus;
  superres: { model: string; scale: number; queue: QueueState } | null;
}

export interface Modes {
  current: string | null;
  default: string | null;
  modes: { name: string; title?: string; description?: string }[];
}

export interface Memory {
  device: string | null;
  total_bytes: number;
  available_bytes: number;
  process_bytes: number;
  process_peak_bytes: number;
  gpu: {
    total_bytes: number;
    free_bytes: number;
    weights_bytes: number;
    activations_bytes: number;
    recordings_bytes: number;
    workspace_bytes: number;
    peak_bytes: number;
  } | null;
}

// The body of POST /api/jobs. Everything but the prompt may be left to the server.
export interface GenerateBody {
  prompt: string;
  negative_prompt?: string;
  size?: string;
  num_inference_steps?: number;
  guidance_scale?: number;
  scheduler?: string;
  seed?: number;
  style_lora?: { style: string; level: number };
  clip_skip?: number;
  strength?: number; // of a picture to start from
  init_image?: string; // a data URL, as is the mask
  mask?: string;
  latents?: boolean;
}

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  id: string;
  state: JobState;
  position: number;
  step: number;
  steps: number;
  step_ms: number;
  error: string | null;
  seed: number | null;
  image: string | null;
  details: Record<string, string>;
}

// What the form may hold, from the document of the interface.
export interface Limits {
  steps: { minimum: number; maximum: number };
  guidance: { minimum: number; maximum: number };
  clipSkip: { minimum: number; maximum: number };
  samplers: { name: string; title: string }[];
}
