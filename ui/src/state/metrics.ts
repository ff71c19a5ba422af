// How the server does, over the last minutes: differences of the figures of /metrics.
import { metrics } from "../api/server";
import { parseMetrics, total } from "../picture/prometheus";
import { createStore } from "./store";

interface Counted {
  time: number; // seconds
  pictures: number;
  steps: number;
  pictureSteps: number; // steps of single pictures: more than `steps` where pictures are made together
  waiting: number;
}

export interface Throughput {
  picturesPerMinute: number[]; // of the last minute, or as far back as is known
  stepsPerSecond: number[];
  together: number[]; // pictures in a step
  waiting: number[];
}

const KEPT_S = 300;
const WINDOW_S = 60;

let history: Counted[] = [];
export const throughput = createStore<Throughput>({ picturesPerMinute: [], stepsPerSecond: [], together: [], waiting: [] });

function differences(samples: Counted[]): Throughput {
  const result: Throughput = { picturesPerMinute: [], stepsPerSecond: [], together: [], waiting: [] };
  samples.forEach((now, i) => {
    const before = samples[i - 1];
    if (!before) return;
    const first = samples.find((sample) => sample.time >= now.time - WINDOW_S)!;
    const steps = now.steps - before.steps;
    result.picturesPerMinute.push((60 * (now.pictures - first.pictures)) / (now.time - first.time));
    result.stepsPerSecond.push(steps / (now.time - before.time));
    result.together.push(steps > 0 ? (now.pictureSteps - before.pictureSteps) / steps : 0);
    result.waiting.push(now.waiting);
  });
  return result;
}

export async function refreshThroughput(): Promise<void> {
  let text: string;
  try {
    text = await metrics();
  } catch {
    return;
  }
  const figures = parseMetrics(text);
  const time = Date.now() / 1000;
  const service = { service: "sd" };
  const now: Counted = {
    time,
    pictures: total(figures, "dreamlab_jobs_total", { ...service, outcome: "succeeded" }),
    steps: total(figures, "dreamlab_steps_total", service),
    pictureSteps: total(figures, "dreamlab_step_jobs_total", service),
    waiting: total(figures, "dreamlab_queue_depth", service),
  };
  // A server that was started anew counts from nothing.
  const isAnew = now.steps < (history.at(-1)?.steps ?? 0);
  history = [...(isAnew ? [] : history.filter((sample) => sample.time > time - KEPT_S)), now];
  throughput.set(differences(history));
}
