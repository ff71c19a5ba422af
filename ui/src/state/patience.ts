// Asking a server that may be busy or away until it takes what it is asked.
import { ApiError } from "../api/client";

export type Wait =
  | { name: "busy"; retryAt: number } // its queue is full; milliseconds since 1970
  | { name: "away" }; // it cannot be reached, or is starting

export const RETRY_MS = 1000;
const BUSY_SECONDS = 2;

export const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });

// Whether it may go better later.
export const isPassing = (error: unknown) => error instanceof ApiError && (error.unreachable || error.status === 503);

export async function untilTaken<T>(ask: () => Promise<T>, onWait: (wait: Wait) => void, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ApiError && error.status === 429) {
        const ms = (error.retryAfter ?? BUSY_SECONDS) * 1000;
        onWait({ name: "busy", retryAt: Date.now() + ms });
        await pause(ms, signal);
      } else if (isPassing(error)) {
        onWait({ name: "away" });
        await pause(RETRY_MS, signal);
      } else {
        throw error;
      }
    }
  }
}
