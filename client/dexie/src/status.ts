// How the device stands, in one object, from how its spaces stand.

import type { Phase, SpaceStatus } from "../../core/src/status.ts";
import type { Held } from "../../core/src/store.ts";

export interface Status {
  /** What matters most of all spaces: `held` before `waiting`, that before work, and `idle` where nothing is left to do. */
  phase: Phase | "paused";
  spaces: readonly SpaceStatus[];
  /** Edits that the server has not settled. */
  pending: number;
  /** During a first load: lines and bytes so far. */
  progress: { lines: number; bytes: number } | null;
  /** Why nothing is sent for a space, if so. */
  reason: (Held & { space: string }) | null;
  /** When everything was last pushed and pulled, in milliseconds by the device's clock; null: not since this page began. */
  at: number | null;
}

const ORDER: readonly Phase[] = ["closed", "held", "unsure", "waiting", "loading", "pushing", "pulling", "new", "idle"];

export function combine(spaces: readonly SpaceStatus[], isPaused: boolean, before: Status | null, now: number): Status {
  const phase = ORDER.find((one) => spaces.some((space) => space.phase === one)) ?? "new";
  const held = spaces.find((space) => space.held);
  const pending = spaces.reduce((sum, space) => sum + space.pending, 0);
  return {
    phase: isPaused ? "paused" : phase,
    spaces,
    pending,
    progress: spaces.find((space) => space.progress)?.progress ?? null,
    reason: held?.held ? { ...held.held, space: held.space } : null,
    at: phase === "idle" && pending === 0 && !isPaused ? now : (before?.at ?? null),
  };
}
