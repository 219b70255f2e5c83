/**
 * Records in a transaction: the synced state, the pending operations on top of it, and the rows of the app, which are
 * always the one folded over the other.
 */

import { announce } from "./announced.ts";
import { type Change, fold } from "./ops.ts";
import { reaches } from "./positions.ts";
import { type BaseRow, collectionOf, type ExtraRow, type Key, keyOf, type OutboxRow, type Position, type SentRow, type SpaceRow, type Text, type Tx } from "./store.ts";

/** One change as pull, push answer and live message bring it. */
export interface Line {
  version: number;
  collection: string;
  id: string;
  value?: unknown;
  deleted?: boolean;
}

export interface Written {
  key: Key;
  value: Text | null;
}

export const distinct = <T>(all: Iterable<T>): T[] => [...new Set(all)];

export const changesOf = (row: OutboxRow | SentRow): Change[] =>
  typeof row.changes === "string" ? JSON.parse(row.changes) : row.changes.map((text) => JSON.parse(text));

export const changesOn = (row: OutboxRow | SentRow, key: Key): Change[] => changesOf(row).filter((_, at) => row.keys[at] === key);

/** Writes synced records: to the app's tables, and where they have no place there, to `extra`. */
export async function write(tx: Tx, space: string, all: Written[]): Promise<void> {
  if (all.length === 0) return;
  const gone: Key[] = [];
  const values = new Map<Key, Text>();
  const homeless: ExtraRow[] = [];
  for (const { key, value } of all) {
    if (key[0] === "$") {
      if (value !== null) homeless.push({ space, key, value, why: "unknown" });
    } else if (value === null) gone.push(key);
    else values.set(key, value);
  }
  await tx.rows.delete(space, gone);
  for (const { key, why } of await tx.rows.put(space, [...values].map(([key, value]) => ({ key, value })))) {
    if (globalThis.__PLANTED__ === "unique lost" && why === "unique") continue;
    if (globalThis.__PLANTED__ === "unknown dropped" && why === "unknown") continue;
    homeless.push({ space, key, value: values.get(key) as Text, why });
  }
  const keys = all.map(({ key }) => key);
  await tx.extra.delete(space, (await tx.extra.get(space, keys)).flatMap((row) => (row ? [row.key] : [])));
  await tx.extra.put(homeless);
  await rehouse(tx, distinct(keys.map(collectionOf)), homeless);
}

/** Tries again what found its key or a unique value taken: another row of its collection has changed. */
async function rehouse(tx: Tx, collections: string[], except: ExtraRow[]): Promise<void> {
  for (const row of await tx.extra.waiting(collections)) {
    if (except.some(({ space, key }) => space === row.space && key === row.key)) continue;
    const refused = await tx.rows.put(row.space, [row]);
    if (refused.length === 0) await tx.extra.delete(row.space, [row.key]);
  }
}

/** What is queued on one of these records. */
export const queuedOn = async (tx: Tx, space: string, keys: Set<Key>): Promise<OutboxRow[]> =>
  keys.size > 0 ? (await tx.outbox.list(space)).filter((row) => row.keys.some((key) => keys.has(key))) : [];

/** The bases that there are of these records. */
export const basesOf = async (tx: Tx, space: string, keys: Iterable<Key>): Promise<BaseRow[]> =>
  (await tx.base.get(space, distinct(keys).filter(Boolean))).filter((base) => base !== undefined);

/** The mutations of which nothing is known yet. */
export const openOf = async (tx: Tx, space: string): Promise<SentRow[]> => (await tx.sent.list(space)).filter(({ settled }) => !settled);

/** Writes the rows of records that have a base: the pending operations over it. A base without operations goes. */
export async function refold(tx: Tx, space: string, keys: Iterable<Key>): Promise<void> {
  const bases = await basesOf(tx, space, keys);
  if (bases.length === 0) return;
  const pending = new Map(bases.map((base) => [base.key, { base, isPending: false, changes: [] as Change[] }]));
  for (const row of [...(await tx.sent.list(space)), ...(await tx.outbox.list(space))]) {
    let changes: Change[] | undefined;
    row.keys.forEach((key, at) => {
      const record = pending.get(key);
      if (!record) return;
      record.isPending = true;
      // A line that is newer than a settled mutation holds it already.
      const isHeld = "settled" in row && row.settled && record.base.at && reaches(record.base.at, row.settled);
      changes ??= changesOf(row);
      if (!isHeld) record.changes.push(changes[at] as Change);
    });
  }
  const all = [...pending.values()];
  await tx.base.delete(space, all.filter(({ isPending }) => !isPending).map(({ base }) => base.key));
  await write(tx, space, all.map(({ base, changes }) => ({ key: base.key, value: fold(base.value, changes) })));
}

/**
 * Applies lines to the synced state and gives the records whose rows are to be folded anew. `isFull`: lines of a full
 * state, which count whatever the position is. Edits made during a load, or before there was a position, are marked
 * where they rest on another value.
 */
export async function applyLines(tx: Tx, row: SpaceRow, lines: Line[], epoch: string, isFull: boolean): Promise<{ keys: Key[]; touched: Key[] }> {
  const { space, position } = row;
  const latest = new Map<Key, Line>();
  for (const line of lines) {
    if (isFull || line.version > (position?.version ?? 0)) latest.set(keyOf(line.collection, line.id), line);
  }
  const keys = [...latest.keys()];
  const plain: Written[] = [];
  const changed: { row: BaseRow; value: Text | null; at: Position }[] = [];
  const bases = await tx.base.get(space, keys);
  keys.forEach((key, at) => {
    const { value, deleted, version } = latest.get(key) as Line;
    const text = deleted || value === undefined ? null : JSON.stringify(value);
    const base = bases[at];
    if (base) changed.push({ row: base, value: text, at: { epoch, version } });
    else plain.push({ key, value: text });
  });
  await rebase(tx, row, changed);
  await write(tx, space, plain);
  await announce(tx, row, keys);
  return { keys, touched: changed.map(({ row: { key } }) => key) };
}

/** Gives bases other values, and marks the edits of a load under way that rested on those that they had. */
export async function rebase(tx: Tx, { space, load }: SpaceRow, changed: { row: BaseRow; value: Text | null; at?: Position }[]): Promise<void> {
  const differ = new Set(changed.filter(({ row, value }) => row.value !== value).map(({ row }) => row.key));
  const marked = (await queuedOn(tx, space, differ)).filter(({ pos, during }) => pos === null || (during !== null && during === load?.id));
  await tx.outbox.put(marked.map((row) => ({ ...row, stale: distinct([...(row.stale ?? []), ...row.keys.filter((key) => differ.has(key))]) })));
  const first = ({ was, value }: BaseRow) => (was === undefined && globalThis.__PLANTED__ !== "base of the line" ? { was: value } : {});
  await tx.base.put(changed.map(({ row, value, at }) => ({ ...row, ...first(row), value, ...(at && { at }) })));
}

/** Drops the settled mutations that the position has reached, and gives the records they touch. */
export async function dropSettled(tx: Tx, row: SpaceRow, all = false): Promise<Key[]> {
  const { space, position } = row;
  const done = (await tx.sent.list(space)).filter(({ settled }) => settled && (all || reaches(position, settled)));
  await tx.sent.delete(space, done.map(({ n }) => n));
  const keys = done.flatMap(({ keys }) => keys);
  // What has been applied is a part of what the edits behind it rest on.
  const on = (key: Key) => done.flatMap((sent) => changesOn(sent, key));
  const bases = await basesOf(tx, space, keys);
  await tx.base.put(bases.flatMap((base) => (base.was === undefined ? [] : [{ ...base, was: fold(base.was, on(base.key)) }])));
  return keys;
}

/** What has been applied is a part of what the edits behind it rest on. */
async function restOn(tx: Tx, space: string, done: SentRow[], keys: Key[]): Promise<void> {
  const bases = (await tx.base.get(space, keys)).flatMap((base) => (base?.was === undefined ? [] : [{ ...base, was: base.was }]));
  const on = (key: Key) => done.flatMap((sent) => changesOf(sent).filter((_, at) => sent.keys[at] === key));
  if (bases.length > 0) await tx.base.put(bases.map((base) => ({ ...base, was: fold(base.was, on(base.key)) })));
}

/** How many edits the server has not settled, and the `seq` up to which they are counted. */
export interface Pending {
  pending: number;
  counted: number;
  /** Numbered mutations, with those that are settled and that no pull has reached. */
  sent: number;
}
export async function pendingOf(tx: Tx, space: string): Promise<Pending> {
  const sent = await tx.sent.list(space);
  const pending = sent.filter(({ settled }) => !settled).length + (await tx.outbox.list(space)).length;
  return { pending, counted: await tx.outbox.last(), sent: sent.length };
}

export interface Stored extends Pending {
  row: SpaceRow;
}

/** Changes the row of a space, and tells how it stands then. */
export async function change(tx: Tx, space: string, by: (row: SpaceRow) => unknown): Promise<Stored> {
  const row = (await tx.spaces.get(space)) as SpaceRow;
  await by(row);
  await tx.spaces.put(row);
  return { row, ...(await pendingOf(tx, space)) };
}
