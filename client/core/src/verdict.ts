/** What an answer is, before anybody asks what it means for a push or a pull (PROTOCOL.md, Errors). */

import type { Answer } from "./requests.ts";
import type { HeldWhy } from "./store.ts";

export type Verdict =
  /** A success, or a refusal whose meaning depends on the request. */
  | "told"
  | "token"
  | "grant"
  | "late"
  /** Not carried out, and repeated later. */
  | "limited"
  /** Perhaps carried out, and repeated later. */
  | "failed"
  /** Not an answer of the protocol: perhaps carried out, and repeated later. */
  | "foreign"
  | HeldWhy;

const BY_CODE: Record<string, Verdict> = {
  out_of_order: "told", epoch_mismatch: "told", client_forked: "told", cursor_expired: "told", too_large: "told",
  unauthenticated: "token", token_expired: "token", grant_required: "grant", timeout: "late", rate_limited: "limited",
  forbidden: "forbidden", gone: "gone", storage_full: "full",
};

export function verdictOf({ status, body }: Answer): Verdict {
  if (status === 304 || (status === 200 && body)) return "told";
  // Without a problem document it says nothing about rights, whatever its status.
  if (typeof body?.code !== "string") return "foreign";
  return BY_CODE[body.code] ?? (status >= 500 ? "failed" : "bug");
}
