/** What the machine of a space hears and what it has done: its whole surface. */

import type { Page } from "./load.ts";
import type { Answer, Live, Request } from "./requests.ts";
import type { Tell } from "./status.ts";
import type { Key, OutboxRow, Scope, SpaceRow, Tx } from "./store.ts";

export interface Options {
  space: string;
  newId: () => string;
  /** `onConflict` of every push; absent: what the collection says. */
  onConflict?: "reject" | "merge" | "overwrite";
}

/** A transaction of the app that was committed here and may be sent before it is numbered: all its rows of one space. */
export interface Early {
  rows: OutboxRow[];
  /** The records of which there was no synced copy. */
  fresh: Key[];
  /** The row of the space as that transaction has read it. */
  row: SpaceRow;
}

export type Event =
  /** This tab leads; `stolen`: by taking the lock from a leader that may still have a push on its way. */
  | { type: "open"; user: string; stolen?: boolean }
  /** An edit was committed, here or in another tab: row `seq` of the outbox. */
  | { type: "captured"; seq: number; early?: Early | undefined }
  /** Somebody wants to know what is new; `strong`: what the coordinator has. */
  | { type: "poll"; strong?: boolean }
  /** The connection is back, or somebody looks. */
  | { type: "online" }
  /** There is no connection, until `online`. */
  | { type: "offline" }
  | { type: "live"; message: Live }
  | { type: "grant"; grant: string; expiresIn: number }
  | { type: "answer"; id: number; answer: Answer }
  /** A part of a stream. The answer follows when the stream has ended, or has broken off. */
  | { type: "page"; id: number; page: Page; bytes: number }
  | { type: "committed"; id: number; result: unknown }
  | { type: "failed"; id: number; error: unknown }
  | { type: "timer"; name: TimerName }
  /** A token was asked for: whose it is, or null if there is none. */
  | { type: "token"; user: string | null }
  | { type: "resume" }
  | { type: "pause" }
  /** The application gives up the mutation that is blocked. */
  | { type: "withdraw" }
  | { type: "close" };

export type TimerName = "wait" | "push" | "pull" | "full" | "budget";

export type Effect =
  | { type: "commit"; id: number; scope: Scope; body: (tx: Tx) => Promise<unknown> }
  | { type: "send"; id: number; request: Request }
  /** Nothing more of this request is wanted. */
  | { type: "abort"; id: number }
  /** After `ms` and a random part of `spread`, both in milliseconds. Replaces the timer of that name. */
  | { type: "timer"; name: TimerName; ms: number; spread: number }
  | { type: "cancel"; name: TimerName }
  /** A new token is wanted: the last one was refused. */
  | { type: "token" }
  /** Other spaces have edits that waited for this one. */
  | { type: "released" }
  | { type: "tell"; tell: Tell };
