// Requests to the server that the page came from, with its API key where it wants one.

const KEY_NAME = "dreamlab.key";

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: the server could not be reached
    message: string,
    readonly retryAfter: number | null = null, // seconds
  ) {
    super(message);
  }
  get unreachable(): boolean {
    return this.status === 0;
  }
  // What went wrong, and what to do about it.
  get advised(): string {
    const advice = ADVICE[this.status];
    return advice ? `${this.message.replace(/[.\s]*$/, "")}. ${advice}` : this.message;
  }
}

// Where the server's words do not say already what is allowed.
const ADVICE: Record<number, string> = {
  0: "Is it running, and is this machine connected?",
  401: "Enter its key under Status.",
  413: "A smaller picture or fewer passes may do.",
  500: "Its log says more; a smaller size may do.",
  503: "It may do so later; its log says more.",
  504: "Fewer steps or a smaller size take less time.",
};

// What to show of anything that was thrown.
export function wordsOf(error: unknown): string {
  if (error instanceof ApiError) return error.advised;
  return error instanceof Error ? error.message : String(error);
}

export function storedKey(): string {
  return localStorage.getItem(KEY_NAME) ?? "";
}

export function storeKey(key: string): void {
  if (key) localStorage.setItem(KEY_NAME, key);
  else localStorage.removeItem(KEY_NAME);
}

// The server's words of what went wrong, in one line.
async function messageOf(response: Response): Promise<string> {
  const text = await response.text().catch(() => "");
  try {
    const detail = (JSON.parse(text) as { detail?: unknown }).detail;
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail))
      return detail
        .map((entry) => {
          const { loc, msg } = entry as { loc?: unknown[]; msg?: string };
          return loc ? `${loc.slice(1).join(".")}: ${msg}` : String(msg);
        })
        .join("; ");
  } catch {
    // Not the server's own answer: a proxy's page.
  }
  return `the server answered ${response.status}`;
}

export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = storedKey();
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "the server cannot be reached");
  }
  if (response.ok) return response;
  const wait = Number(response.headers.get("Retry-After"));
  throw new ApiError(response.status, await messageOf(response), wait > 0 ? wait : null);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send(path, { signal })).json() as Promise<T>;
}

export async function postJson<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  return response.json() as Promise<T>;
}
