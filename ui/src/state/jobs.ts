// Pictures on their way. What was asked for is not lost when the server is busy, goes away or starts anew, or when the
// page is loaded again: a request carries its seed, and is sent again where the server no longer knows of it.
import { ApiError, wordsOf } from "../api/client";
import { cancelJob, fetchImage, findJob, jobEvents, submitJob } from "../api/server";
import type { GenerateBody, Job } from "../api/types";
import { keepPicture } from "./gallery";
import { createStore } from "./store";

export type Phase =
  | { name: "sending" }
  | { name: "busy"; retryAt: number } // the server's queue is full
  | { name: "queued"; position: number }
  | { name: "running"; step: number; steps: number; secondsLeft: number | null }
  | { name: "away" } // the server cannot be reached, or is starting
  | { name: "fetching" }
  | { name: "failed"; why: string; needsKey: boolean };

export interface RunningJob {
  id: string; // this page's own
  serverId: string | null;
  body: GenerateBody;
  asked: number; // milliseconds since 1970
  phase: Phase;
  preview: string | null;
}

const SAVED_NAME = "dreamlab.jobs";
const RETRY_MS = 1000;
const BUSY_SECONDS = 2;

export const jobs = createStore<RunningJob[]>([]);
const aborts = new Map<string, AbortController>();

function save(): void {
  const lasting = jobs.get().filter((job) => job.phase.name !== "failed");
  localStorage.setItem(
    SAVED_NAME,
    JSON.stringify(lasting.map(({ id, serverId, body, asked }) => ({ id, serverId, body, asked }))),
  );
}

function change(id: string, fields: Partial<RunningJob>): void {
  jobs.set((before) => before.map((job) => (job.id === id ? { ...job, ...fields } : job)));
  if ("serverId" in fields || fields.phase?.name === "failed") save();
}

function remove(id: string): void {
  aborts.delete(id);
  jobs.set((before) => before.filter((job) => job.id !== id));
  save();
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });

// Whether it may go better later.
const isPassing = (error: unknown) => error instanceof ApiError && (error.unreachable || error.status === 503);

// Until the server has taken it; its id there.
async function submit(job: RunningJob, signal: AbortSignal): Promise<string> {
  for (;;) {
    try {
      const { id } = await submitJob(job.body);
      if (signal.aborted) {
        void cancelJob(id).catch(() => undefined);
        signal.throwIfAborted();
      }
      return id;
    } catch (error) {
      if (error instanceof ApiError && error.status === 429) {
        const seconds = error.retryAfter ?? BUSY_SECONDS;
        change(job.id, { phase: { name: "busy", retryAt: Date.now() + seconds * 1000 } });
        await pause(seconds * 1000, signal);
      } else if (isPassing(error)) {
        change(job.id, { phase: { name: "away" } });
        await pause(RETRY_MS, signal);
      } else {
        throw error;
      }
    }
  }
}

function show(id: string, job: Job): void {
  if (job.state === "queued") {
    change(id, { phase: { name: "queued", position: job.position } });
  } else if (job.state === "running") {
    const secondsLeft = job.step > 0 ? ((job.steps - job.step) * job.step_ms) / 1000 : null;
    change(id, { phase: { name: "running", step: job.step, steps: job.steps, secondsLeft } });
  }
}

// Until the job has ended. null: the server does not know it any more.
async function follow(id: string, serverId: string, signal: AbortSignal): Promise<Job | null> {
  for (;;) {
    try {
      for await (const event of jobEvents(serverId, signal)) {
        if (event.kind === "preview") change(id, { preview: event.image });
        else if (event.job.state === "queued" || event.job.state === "running") show(id, event.job);
        else return event.job;
      }
      const job = await findJob(serverId);
      if (job.state !== "queued" && job.state !== "running") return job;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ApiError && error.status === 404) return null;
      if (error instanceof ApiError && !isPassing(error)) throw error;
    }
    change(id, { phase: { name: "away" } });
    await pause(RETRY_MS, signal);
  }
}

async function fetchFinished(job: RunningJob, ended: Job): Promise<void> {
  change(job.id, { phase: { name: "fetching" } });
  const blob = await fetchImage(ended.image ?? "");
  await keepPicture({
    id: job.id,
    created: Date.now(),
    blob,
    body: { ...job.body, seed: ended.seed ?? job.body.seed },
    seconds: (Date.now() - job.asked) / 1000,
    model: ended.details["X-Model"] ?? null,
  });
}

async function run(job: RunningJob): Promise<void> {
  const abort = new AbortController();
  aborts.set(job.id, abort);
  let serverId = job.serverId;
  try {
    for (;;) {
      if (!serverId) {
        serverId = await submit(job, abort.signal);
        change(job.id, { serverId });
      }
      const ended = await follow(job.id, serverId, abort.signal);
      serverId = null;
      if (!ended) continue;
      if (ended.state === "failed") throw new ApiError(500, ended.error ?? "the picture failed");
      if (ended.state === "done") await fetchFinished(job, ended);
      remove(job.id);
      return;
    }
  } catch (error) {
    if (abort.signal.aborted) return;
    const needsKey = error instanceof ApiError && error.status === 401;
    change(job.id, { phase: { name: "failed", why: wordsOf(error), needsKey } });
  }
}

export function askFor(body: GenerateBody): void {
  const job: RunningJob = {
    id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`,
    serverId: null,
    body,
    asked: Date.now(),
    phase: { name: "sending" },
    preview: null,
  };
  jobs.set((before) => [...before, job]);
  save();
  void run(job);
}

export function cancel(id: string): void {
  const job = jobs.get().find((candidate) => candidate.id === id);
  aborts.get(id)?.abort();
  if (job?.serverId) void cancelJob(job.serverId).catch(() => undefined);
  remove(id);
}

export function retry(id: string): void {
  const job = jobs.get().find((candidate) => candidate.id === id);
  if (!job) return;
  const again = { ...job, serverId: null, phase: { name: "sending" } as Phase };
  change(id, again);
  void run(again);
}

// What was under way when the page was left.
export function resumeJobs(): void {
  let saved: Pick<RunningJob, "id" | "serverId" | "body" | "asked">[] = [];
  try {
    saved = JSON.parse(localStorage.getItem(SAVED_NAME) ?? "[]");
  } catch {
    // Of no use; forgotten with the next save.
  }
  const resumed = saved.map((job): RunningJob => ({ ...job, phase: { name: "sending" }, preview: null }));
  jobs.set(resumed);
  for (const job of resumed) void run(job);
}
