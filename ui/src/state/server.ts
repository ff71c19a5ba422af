// What the server is and does, asked for while someone looks.
import { ApiError } from "../api/client";
import { limits, modelsStatus } from "../api/server";
import type { Limits, ModelsStatus } from "../api/types";
import { usePolling } from "./polling";
import { createStore } from "./store";

export interface ServerState {
  status: ModelsStatus | null;
  limits: Limits | null;
  away: boolean;
  needsKey: boolean;
}

export const server = createStore<ServerState>({ status: null, limits: null, away: false, needsKey: false });

export async function refreshServer(): Promise<void> {
  try {
    const status = await modelsStatus();
    const known = server.get().limits ?? (await limits());
    server.set({ status, limits: known, away: false, needsKey: false });
  } catch (error) {
    const needsKey = error instanceof ApiError && error.status === 401;
    server.set((before) => ({ ...before, away: !needsKey, needsKey }));
  }
}

export function useServerPolling(): void {
  usePolling(() => void refreshServer());
}
