/** What an answer is, before anybody asks what it means for a push or a pull (PROTOCOL.md, Errors). */

import type { Answer } from "./requests.ts";
import type { HeldWhy } from "./store.ts";

export type Verdict =
  /** A success, or a refusal whose meaning depends on the request. */
  | { is: "told"; code: string }
  | { is: "token" }
  | { is: "grant" }
  | { is: "late" }
  /** Repeated later. `foreign`: not an answer of the protocol; `isDone`: the request may have been carried out. */
  | { is: "later"; isForeign: boolean; isDone: boolean }
  | { is: "held"; why: HeldWhy };

const TOLD = ["out_of_order", "epoch_mismatch", "client_forked", "cursor_expired", "too_large"];
const HELD: Record<string, HeldWhy> = { forbidden: "forbidden", gone: "gone", storage_full: "full" };

export function verdictOf({ status, body }: Answer): Verdict {
  if (status === 304 || (status === 200 && body)) return { is: "told", code: "" };
  const code = body?.code;
  // Without a problem document it says nothing about rights, whatever its status.
  if (typeof code !== "string") return { is: "later", isForeign: true, isDone: true };
  if (TOLD.includes(code)) return { is: "told", code };
  if (code === "unauthenticated" || code === "token_expired") return { is: "token" };
  if (code === "grant_required") return { is: "grant" };
  if (code === "timeout") return { is: "late" };
  if (code === "rate_limited") return { is: "later", isForeign: false, isDone: false };
  const why = HELD[code];
  if (why) return { is: "held", why };
  return status >= 500 ? { is: "later", isForeign: false, isDone: true } : { is: "held", why: "bug" };
}
