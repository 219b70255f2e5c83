/** Edits that do not come by an adapter's capture: resolutions, what is retried, and tests. */

import type { Change } from "./ops.ts";
import { refold } from "./records.ts";
import { type ConflictNote, type Key, keyOf, type SpaceRow, type Tx } from "./store.ts";

export interface Edit {
  space: string;
  tx: string;
  at: number;
  changes: Change[];
  waits?: { space: string; tx: string };
}

/**
 * Captures changes as an adapter does: outbox row, bases of what had none, and the rows folded anew. Of a move the new
 * place is captured first, then the old one: else what waits for the key comes into sight in between, and counts as seen.
 */
export async function capture(tx: Tx, { space, changes, ...edit }: Edit): Promise<number> {
  const row = await tx.spaces.get(space);
  const keys = changes.map((change) => keyOf(change.collection, change.id));
  const distinct = [...new Set(keys)];
  const bases = await tx.base.get(space, distinct);
  const missing = distinct.filter((_, at) => !bases[at]);
  const rows = await tx.rows.get(space, missing);
  const extra = await tx.extra.get(space, missing);
  // What has no row is not seen: the edit rests on no copy, though there may be one that waits for its place.
  const added = missing.map((key, at) => (rows[at] == null ? { space, key, value: extra[at]?.value ?? null, fresh: true as const } : { space, key, value: rows[at] as string }));
  await tx.base.put(added);
  const texts = changes.map((change) => JSON.stringify(change));
  const [seq] = await tx.outbox.add([{ ...edit, space, ...seen(row), changes: texts, keys }]);
  await refold(tx, space, distinct);
  return seq as number;
}

/** On what an edit rests that is captured now. */
const seen = (row: SpaceRow | undefined) => ({ pos: row?.position ?? null, during: row?.load?.id ?? null });

export type Choice = "mine" | "theirs" | { key: Key; value: unknown }[];

/** Captures the resolution of a conflict: it is ordered like every edit, and survives a reload. */
export async function resolve(tx: Tx, note: ConflictNote, choice: Choice, edit: { tx: string; at: number }): Promise<void> {
  const row = await tx.spaces.get(note.space);
  const taken = typeof choice === "string" ? { take: choice } : { records: choice.map((one) => recordOf(one, note)) };
  const change = JSON.stringify({ op: "resolve", conflict: note.conflict, ...taken });
  await tx.outbox.add([{ ...edit, space: note.space, ...seen(row), changes: [change], keys: [""] }]);
  await tx.notes.put({ ...note, resolving: true });
}

function recordOf({ key, value }: { key: Key; value: unknown }, note: ConflictNote) {
  const at = key.indexOf(" ");
  const version = note.records.find((one) => one.key === key)?.version;
  const named = { collection: key.slice(0, at), id: key.slice(at + 1) };
  return { ...named, ...(value === null ? { deleted: true } : { value }), ...(version !== undefined && { base: version }) };
}
