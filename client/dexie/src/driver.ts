// What runs the spaces while this tab leads: the core's device, of which tests may give another.

import type { Device } from "../../core/src/device.ts";
import type { Tell } from "../../core/src/status.ts";
import type { Store } from "../../core/src/store.ts";

export type Driver = Pick<Device, "open" | "retry" | "close" | "captured" | "ahead" | "online" | "offline" | "visible" | "pause" | "resume" | "withdraw" | "signedIn" | "now" | "stop">;

export interface Lead {
  store: Store;
  term: number;
  /** The lock was taken from a leader of which a push may still arrive. */
  stolen: boolean;
  tell: (tell: Tell) => void;
  /** A commit has found another term, or a database that is closed. */
  deposed: () => void;
}
/** Spaces are opened by whoever has started it. */
export type StartDriver = (lead: Lead) => Driver;
