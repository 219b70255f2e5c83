// Rows that were there before a table was synced, and what an upgrade or `populate` has written before the first load.

import { isObject } from "../../core/src/ops.ts";
import { withBase } from "../../core/src/load.ts";
import { refold } from "../../core/src/records.ts";
import { collectionOf, type ExtraRow, idOf, type Key, type OutboxRow, type SpaceId, type SpaceRow, type Text } from "../../core/src/store.ts";
import { putText } from "./edits.ts";
import type { CapturedRow } from "./rows.ts";
import type { Synced } from "./schema.ts";
import type { DexieTx } from "./transaction.ts";

export type Existing = "upload" | "keep" | "discard";

/** In `_hw_meta`: the names of the tables whose rows from before have been dealt with. */
const KNOWN = "tables";
/** Names the transaction of rows from before. */
const UPLOAD = "existing";
const CHUNK = 500;

/**
 * Deals with the rows of tables that were not synced before, once: in the first commit of a leader. Uploaded ones are written
 * down as creations on top of what the first load brings: those that it brings too, and that differ, become conflicts, so
 * nothing is lost. Records that have come before the app had the table are moved into it.
 */
export async function takeExisting(tx: DexieTx, tables: ReadonlyMap<string, Synced>, existing: Existing, at: number): Promise<void> {
  const known = new Set((await tx.meta.get(KNOWN)) as string[] | undefined);
  const fresh = [...tables.values()].filter(({ name }) => !known.has(name));
  if (fresh.length === 0) return;
  // What has been captured by now, by `populate` say, is no row from before.
  const queued = new Set((await tx.outbox.list()).flatMap((row) => row.keys));
  const extra = await tx.stores.extra.list();
  for (const table of fresh) {
    const rows = (await tx.rows.list(table)).filter(({ key }) => !queued.has(key));
    const come = extra.filter(({ key, why }) => why === "unknown" && collectionOf(key) === table.name);
    const bySpace = Map.groupBy(rows, ({ space }) => space);
    for (const [space, ones] of bySpace) {
      if (existing === "keep") tx.keep(ones.map(({ key }) => key));
      if (existing === "discard") await tx.rows.delete(space, ones.map(({ key }) => key));
      if (existing === "upload") await upload(tx, table, space, ones, come, at);
    }
    await settleIn(tx, come, existing === "upload" ? new Set(rows.map(({ key }) => key)) : new Set());
  }
  await tx.meta.put(KNOWN, [...tables.keys()]);
}

interface FromBefore {
  key: Key;
  value: Text;
}

async function upload(tx: DexieTx, table: Synced, space: SpaceId, rows: FromBefore[], come: ExtraRow[], at: number): Promise<void> {
  const pos = (await tx.spaces.get(space))?.position ?? null;
  const here = new Map(come.filter((one) => one.space === space).map(({ key, value }) => [key, value]));
  const rowOf = (name: string, ones: FromBefore[]): CapturedRow => ({
    space, tx: `${UPLOAD} ${name}`, at, pos, during: null, upgrade: true,
    keys: ones.map(({ key }) => key),
    before: ones.map(({ key }) => here.get(key) ?? null),
    changes: ones.map(({ key, value }) => (here.has(key) ? withBase(putText(table, idOf(key), value), 0) : putText(table, idOf(key), value))),
  });
  const free = rows.filter(({ key }) => !here.has(key));
  for (let from = 0; from < free.length; from += CHUNK) await tx.outbox.add([rowOf(`${table.name} ${from}`, free.slice(from, from + CHUNK))]);
  // What differs from what came is a mutation of its own, because a conflict parks all of one.
  const contested = rows.filter(({ key, value }) => here.has(key) && !isSame(value, here.get(key) as Text));
  await tx.outbox.add(contested.map((one) => rowOf(one.key, [one])));
}

/** Records that were kept aside because the app had no such table. On top of those in `edited` stands a row from before. */
async function settleIn(tx: DexieTx, come: ExtraRow[], edited: ReadonlySet<Key>): Promise<void> {
  for (const row of come) {
    const refused = edited.has(row.key) ? [] : await tx.rows.put(row.space, [row]);
    if (refused.length === 0) await tx.extra.delete(row.space, [row.key]);
    else await tx.extra.put(refused.map(({ why }) => ({ ...row, why })));
  }
}

export const isSame = (left: Text, right: Text): boolean => left === right || sorted(JSON.parse(left)) === sorted(JSON.parse(right));
const sorted = (tree: unknown): string =>
  JSON.stringify(tree, (_, value: unknown) =>
    isObject(value)
      ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
      : value);

/**
 * At the end of a space's first load: proposals whose record has come are dropped. Of rows from before only those that are as
 * they came; of what `populate` has written all of them.
 */
export async function dropProposals(tx: DexieTx, row: SpaceRow): Promise<void> {
  if (!row.position || (await tx.spaces.get(row.space))?.position) return;
  const queued = (await tx.outbox.list(row.space)) as (OutboxRow & Partial<CapturedRow>)[];
  const dropped: Key[] = [];
  for (const one of queued.filter(({ upgrade }) => upgrade)) {
    const came = (await tx.base.get(row.space, one.keys)).map((base) => base?.value ?? null);
    const stays = (_: unknown, i: number) => came[i] === null;
    const kept: OutboxRow = { ...one, keys: one.keys.filter(stays), changes: one.changes.filter(stays) };
    const { seq: _, stale: __, ...rest } = one;
    for (const [i, value] of came.entries()) {
      if (value === null) continue;
      const [key, text] = [one.keys[i] as Key, one.changes[i] as Text];
      dropped.push(key);
      // A row from before that differs. This device had no copy of what came, so the other's is a conflict, whenever it was made.
      const isContested = one.tx.startsWith(UPLOAD) && !isSame(JSON.stringify(JSON.parse(text).value), value);
      if (isContested) await tx.outbox.add([{ ...rest, tx: `${UPLOAD} ${key}`, keys: [key], changes: [withBase(text, 0)] }]);
    }
    if (kept.keys.length > 0) await tx.outbox.put([kept]);
    else await tx.outbox.delete([one.seq]);
  }
  await refold(tx, row.space, dropped);
}
