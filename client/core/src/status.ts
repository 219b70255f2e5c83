/** What the device tells the application. Conflicts and rejections are the rows of `notes` (store.ts). */

import type { Held, SpaceId } from "./store.ts";

export type Phase =
  /** Another tab is the leader, or the device has not begun. */
  | "new"
  | "loading"
  | "idle"
  | "pushing"
  /** A push went out and no answer came: it is repeated before anything else. */
  | "unsure"
  | "pulling"
  | "waiting"
  | "held"
  | "closed";

export interface SpaceStatus {
  space: SpaceId;
  phase: Phase;
  /** Edits that the server has not settled. */
  pending: number;
  /** During a load: lines and bytes so far. */
  progress: { lines: number; bytes: number } | null;
  held: Held | null;
  /** The database has no room for what comes; what goes out still does. */
  deviceFull: boolean;
  /** While waiting: milliseconds until it goes on, as of when this was told. */
  waitMs: number | null;
  /** The first load is complete. */
  ready: boolean;
}

/** What a space tells, beside its status: that notes have changed, and which of them are new. */
export type Tell =
  | { type: "status"; status: SpaceStatus }
  | { type: "notes"; space: SpaceId; added: number[] }
  | { type: "log"; message: string; detail?: unknown };
