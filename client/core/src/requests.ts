/** What the machine sends, and what it hears, as far as the wire decides its form. */

import { textOf } from "./positions.ts";
import type { Position, SentRow, SpaceRow, Text } from "./store.ts";

export interface Request {
  /** "conflict": the list of open conflicts. */
  kind: "push" | "pull" | "pulls" | "grant" | "conflict";
  space: string;
  /** The JSON text of the body; "" for a grant and for a list, which go by HTTP only. */
  body: Text;
  /** Where the list goes on. */
  cursor?: string;
  /** For a pull of a shared space. */
  grant?: string;
  /** The answer is wanted as lines, while they come. */
  isStream: boolean;
}

/** An answer, or that there was none. */
export interface Answer {
  /** 0: none that the page can see. */
  status: number;
  /** The parsed body of a success, or the problem document; null: not an answer of the protocol, or none was needed. */
  body: (Record<string, unknown> & { code?: string; detail?: string }) | null;
  /** Milliseconds. */
  retryAfter?: number | undefined;
  /** `Headwater-Position`. */
  position?: string | null;
  /** `Headwater-Budget`: for so many milliseconds the deployment's requests run low; NaN: they do not. */
  lowFor?: number | undefined;
}

export type Body = Answer["body"];
export const NO_ANSWER: Answer = { status: 0, body: null };

/** An answer as its carrier has it; `header`: what it says beside the body of how long to wait, in seconds. */
export function answerOf(status: number, body: Body = null, header?: string | null): Answer {
  const seconds = Number(body?.["retryAfter"] ?? header ?? Number.NaN);
  return { status, body, ...(seconds >= 0 && { retryAfter: seconds * 1000 }) };
}

/** Where requests of this kind go for a space. */
export function pathOf(kind: Request["kind"] | "live", space: string, cursor?: string): string {
  if (kind === "grant") return `/spaces/${space}/grant`;
  const query = [space === "~" ? "" : `space=${space}`, cursor ? `cursor=${cursor}` : ""].filter(Boolean).join("&");
  return `/sync/${kind}${query && "?"}${query}`;
}

/** A message of a socket that is not an answer. */
export interface Live {
  type: string;
  epoch?: string;
  version?: number;
  from?: number;
  changes?: unknown[];
}

/** The text of a push. The texts of the changes are those that were stored, whenever and however often it is sent. */
export function pushBody(row: SpaceRow, mutations: SentRow[], since: boolean, wantsGrant: boolean, onConflict?: string): Text {
  const { position } = row;
  const epoch = position?.epoch;
  const head = {
    client: row.client,
    ...(epoch && { epoch }),
    ...(since && position && { since: position.version }),
    acked: row.acked,
    ...(onConflict && { onConflict }),
    ...(wantsGrant && { wantsGrant }),
  };
  const texts = mutations.map(({ num, at, base, after, changes, withdrawn }) => {
    if (withdrawn) return `{"id":${num},"changes":[]}`;
    const rests = base && { base: base.version, ...(base.epoch !== epoch && { epoch: base.epoch }) };
    return `${JSON.stringify({ id: num, at, ...rests, ...(after && { after }) }).slice(0, -1)},"changes":${changes}}`;
  });
  return `${JSON.stringify(head).slice(0, -1)},"mutations":[${texts.join(",")}]}`;
}

/** The fields of a pull from where the client stands, or of the next page of the load under way. */
export function pullBody({ position, load }: Pick<SpaceRow, "position" | "load">, min: Position | null, isStrong: boolean): Text {
  const from = load?.since === 0 ? null : position;
  return JSON.stringify({
    ...(from && { epoch: from.epoch, since: from.version }),
    ...(min && { min: textOf(min) }),
    ...(isStrong && { consistency: "strong" }),
    ...(load?.cursor && { cursor: load.cursor }),
  });
}
