/** Edits that do not come by an adapter's capture: resolutions, what is retried, and tests. */

import type { Change } from "./ops.ts";
import { distinct, refold } from "./records.ts";
import { collectionOf, type BaseRow, type ConflictNote, idOf, type Key, keyOf, type SpaceRow, type Tx } from "./store.ts";

export interface Edit {
  space: string;
  tx: string;
  at: number;
  changes: Change[];
  /** `OutboxRow.early`. */
  early?: true;
  waits?: { space: string; tx: string };
}

/**
 * Captures changes as an adapter does: outbox row, bases of what had none, and the rows folded anew. Of a move the new
 * place is captured first, then the old one: else what waits for the key comes into sight in between, and counts as seen.
 */
export async function capture(tx: Tx, { space, changes, ...edit }: Edit): Promise<number> {
  const row = await tx.spaces.get(space);
  const keys = changes.map((change) => keyOf(change.collection, change.id));
  const all = distinct(keys);
  const bases = await tx.base.get(space, all);
  const missing = all.filter((_, at) => !bases[at]);
  const rows = await tx.rows.get(space, missing);
  const extra = await tx.extra.get(space, missing);
  // What has no row is not seen: the edit rests on no copy, though there may be one that waits for its place.
  const baseOf = (key: Key, at: number): BaseRow => {
    const value = rows[at] ?? null;
    return value === null ? { space, key, value: extra[at]?.value ?? null, fresh: true } : { space, key, value };
  };
  await tx.base.put(missing.map(baseOf));
  const texts = changes.map((change) => JSON.stringify(change));
  const [seq] = await tx.outbox.add([{ ...edit, space, ...seen(row), changes: texts, keys }]);
  await refold(tx, space, all);
  return seq as number;
}

/** On what an edit rests that is captured now. */
export const seen = (row: SpaceRow | undefined) => ({ pos: row?.position ?? null, during: row?.load?.id ?? null });

export type Choice = "mine" | "theirs" | { key: Key; value: unknown }[];

/** Captures the resolution of a conflict: it is ordered like every edit, and survives a reload. */
export async function resolve(tx: Tx, note: ConflictNote, choice: Choice, edit: { tx: string; at: number }): Promise<void> {
  const row = await tx.spaces.get(note.space);
  // "mine" repeats what was done, and a patch of what somebody has deleted does nothing: then the records are written as the edit left them.
  if (choice === "mine" && note.records[0] && note.records.every(({ theirs }) => theirs === null)) choice = note.records.map(({ key, mine }) => ({ key, value: mine ? JSON.parse(mine) : null }));
  const taken = typeof choice === "string" ? { take: choice } : { records: choice.map((one) => recordOf(one, note)) };
  const change = JSON.stringify({ op: "resolve", conflict: note.conflict, ...taken });
  await tx.outbox.add([{ ...edit, space: note.space, ...seen(row), changes: [change], keys: [""] }]);
  await tx.notes.put({ ...note, resolving: true });
}

function recordOf({ key, value }: { key: Key; value: unknown }, note: ConflictNote) {
  const version = note.records.find((one) => one.key === key)?.version;
  return { collection: collectionOf(key), id: idOf(key), ...(value === null ? { deleted: true } : { value }), ...(version !== undefined && { base: version }) };
}
