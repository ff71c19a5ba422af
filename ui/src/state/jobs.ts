// Pictures on their way. What was asked for is not lost when the server is busy, goes away or starts anew, or when the
// page is loaded again: a request carries its seed, and is sent again where the server no longer knows of it.
import { ApiError, wordsOf } from "../api/client";
import { cancelJob, fetchImage, findJob, jobEvents, submitJob } from "../api/server";
import type { GenerateBody, Job } from "../api/types";
import { readFingerprint } from "../picture/fingerprint";
import { database, tryKeep } from "./database";
import { keepPicture } from "./gallery";
import { isPassing, pause, RETRY_MS, untilTaken, type Wait } from "./patience";
import { madeOf, type Source } from "./source";
import { createStore } from "./store";

export type Phase =
  | { name: "sending" }
  | Wait
  | { name: "queued"; position: number }
  | { name: "running"; step: number; steps: number; secondsLeft: number | null }
  | { name: "fetching" }
  | { name: "failed"; why: string; needsKey: boolean };

export interface Asked {
  body: GenerateBody;
  source: Source | null;
}

export interface SavedJob extends Asked {
  id: string; // this page's own
  serverId: string | null;
  asked: number; // milliseconds since 1970
}

export interface RunningJob extends SavedJob {
  phase: Phase;
  preview: string | null;
}

export const jobs = createStore<RunningJob[]>([]);
const aborts = new Map<string, AbortController>();

function save({ id, serverId, body, source, asked }: RunningJob): void {
  void tryKeep((db) => db.put("jobs", { id, serverId, body, source, asked }));
}

function forget(id: string): void {
  void tryKeep((db) => db.delete("jobs", id));
}

function change(id: string, fields: Partial<RunningJob>): void {
  jobs.set((before) => before.map((job) => (job.id === id ? { ...job, ...fields } : job)));
  if (fields.phase?.name === "failed") forget(id);
}

function remove(id: string): void {
  aborts.delete(id);
  jobs.set((before) => before.filter((job) => job.id !== id));
  forget(id);
}

const dataUrl = (blob: Blob) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(new Error("the picture to start from cannot be read"));
    reader.readAsDataURL(blob);
  });

async function bodyToSend({ body, source }: Asked): Promise<GenerateBody> {
  return {
    ...body,
    latents: true,
    ...(source && { init_image: await dataUrl(source.image) }),
    ...(source?.mask && { mask: await dataUrl(source.mask) }),
  };
}

// Until the server has taken it; its id there.
async function submit(job: RunningJob, signal: AbortSignal): Promise<string> {
  const body = await bodyToSend(job);
  const { id } = await untilTaken(() => submitJob(body), (phase) => change(job.id, { phase }), signal);
  if (signal.aborted) {
    void cancelJob(id).catch(() => undefined);
    signal.throwIfAborted();
  }
  return id;
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
    // With what was left to the server, which may change its mind.
    body: { ...(await madeOf(blob)), ...job.body, seed: ended.seed ?? job.body.seed },
    source: job.source,
    seconds: (Date.now() - job.asked) / 1000,
    model: ended.details["X-Model"] ?? null,
    fingerprint: readFingerprint(ended.details["X-Latent-Fingerprint"]),
    storageKey: ended.details["X-LCM-Image-Key"] ?? null,
    scale: 1,
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
        save({ ...job, serverId });
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

export function askFor({ body, source }: Asked): void {
  const job: RunningJob = {
    id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`,
    serverId: null,
    body,
    source,
    asked: Date.now(),
    phase: { name: "sending" },
    preview: null,
  };
  jobs.set((before) => [...before, job]);
  save(job);
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
  save(again);
  void run(again);
}

// What was under way when the page was left.
export async function resumeJobs(): Promise<void> {
  await tryKeep(async () => {
    const saved = await (await database).getAll("jobs");
    const resumed = saved
      .sort((a, b) => a.asked - b.asked)
      .map((job): RunningJob => ({ ...job, phase: { name: "sending" }, preview: null }));
    jobs.set((before) => [...resumed, ...before]);
    for (const job of resumed) void run(job);
  });
}
