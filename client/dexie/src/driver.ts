// What runs the spaces while this tab leads. The core has the real one; tests have one with a server in memory.

import type { Tell } from "../../core/src/status.ts";
import type { SpaceId, Store } from "../../core/src/store.ts";

export interface Driver {
  /** An edit was committed, here or in another tab. */
  captured(space: SpaceId): void;
  /** The page is visible again, or the connection is back. */
  online(): void;
  pause(): void;
  resume(): void;
  withdraw(space: SpaceId): void;
  open(space: SpaceId): void;
  close(space: SpaceId): void;
  /** Fulfilled when everything is pushed, and what the coordinator has now is here. Rejected if a space is held. */
  now(): Promise<void>;
  /** Whatever is under way is forgotten. */
  stop(): void;
}

export interface Lead {
  store: Store;
  term: number;
  /** The lock was taken from a leader of which a push may still arrive. */
  stolen: boolean;
  tell: (tell: Tell) => void;
  /** A commit has found another term, or a database that is closed. */
  deposed: () => void;
}
export type StartDriver = (lead: Lead) => Driver;
