// Rows that were there before a table was synced, and what an upgrade or `populate` has written before the first load.

import { refold } from "../../core/src/records.ts";
import { collectionOf, type ExtraRow, idOf, type Key, type NewOutboxRow, type OutboxRow, type SpaceId, type SpaceRow, type Text } from "../../core/src/store.ts";
import type { CapturedRow } from "./rows.ts";
import type { Synced } from "./schema.ts";
import type { DexieTx } from "./transaction.ts";

export type Existing = "upload" | "keep" | "discard";

/** In `_hw_meta`: the names of the tables whose rows from before have been dealt with. */
const KNOWN = "tables";
/** Names the transaction of rows from before. */
const UPLOAD = "existing";
const CHUNK = 500;
const json = JSON.stringify;

/**
 * Deals with the rows of tables that were not synced before, once: in the first commit of a leader. Uploaded ones are written
 * down as creations on top of what the first load brings: those that it brings too, and that differ, become conflicts, so
 * nothing is lost. Records that have come before the app had the table are moved into it.
 */
export async function adopt(tx: DexieTx, tables: ReadonlyMap<string, Synced>, existing: Existing, at: number): Promise<void> {
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
  const position = (await tx.spaces.get(space))?.position ?? null;
  const here = new Map(come.filter((one) => one.space === space).map(({ key, value }) => [key, value]));
  for (let from = 0; from < rows.length; from += CHUNK) {
    const chunk = rows.slice(from, from + CHUNK).filter(({ key, value }) => !isSame(value, here.get(key) ?? null));
    const row: CapturedRow & NewOutboxRow = {
      space, tx: `${UPLOAD} ${table.name} ${from}`, at, pos: position, during: null, upgrade: true,
      keys: chunk.map(({ key }) => key),
      before: chunk.map(({ key }) => here.get(key) ?? null),
      changes: chunk.map(({ key, value }) => `{"op":"put","collection":${json(table.name)},"id":${json(idOf(key))},"value":${value}}`),
    };
    const free = pick(row, (key) => !here.has(key));
    const contested = row.keys.filter((key) => here.has(key)).map((key) => {
      const { changes, ...one } = pick(row, (other) => other === key);
      return { ...one, tx: `${UPLOAD} ${key}`, changes: changes.map((text) => `${text.slice(0, -1)},"base":0}`) };
    });
    await tx.outbox.add(free.keys.length > 0 ? [free, ...contested] : contested);
  }
}

function pick(row: CapturedRow, takes: (key: Key) => boolean): CapturedRow {
  const taken = row.keys.map(takes);
  const [keys, changes, before] = [row.keys, row.changes, row.before].map((list) => (list as never[]).filter((_, i) => taken[i]));
  return { ...row, keys: keys as Key[], changes: changes as Text[], before: before as (Text | null)[] };
}

/** Records that were kept aside because the app had no such table. On top of those in `edited` stands a row from before. */
async function settleIn(tx: DexieTx, come: ExtraRow[], edited: ReadonlySet<Key>): Promise<void> {
  for (const row of come) {
    const refused = edited.has(row.key) ? [] : await tx.rows.put(row.space, [row]);
    if (refused.length === 0) await tx.extra.delete(row.space, [row.key]);
    else await tx.extra.put(refused.map(({ why }) => ({ ...row, why })));
  }
}

const isSame = (left: Text, right: Text | null): boolean => left === right || (right !== null && sorted(JSON.parse(left)) === sorted(JSON.parse(right)));
const sorted = (tree: unknown): string =>
  JSON.stringify(tree, (_, value: unknown) =>
    value && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
      : value);

/** A row from before that differs from what came: a mutation of its own, because a conflict parks all of one. */
function alone({ seq: _, stale: __, ...row }: OutboxRow, key: Key, change: object): NewOutboxRow {
  // This device had no copy of what came, so the other's row is a conflict, whenever it was made.
  return { ...row, tx: `${UPLOAD} ${key}`, keys: [key], changes: [JSON.stringify({ ...change, base: 0 })] };
}

/**
 * At the end of a space's first load: proposals whose record has come are dropped. Of rows from before only those that are as
 * they came; of what `populate` has written all of them.
 */
export async function dropProposals(tx: DexieTx, row: SpaceRow): Promise<void> {
  const had = await tx.spaces.get(row.space);
  if (!row.position || had?.position) return;
  const queued = (await tx.outbox.list()) as (OutboxRow & Partial<CapturedRow>)[];
  const dropped = new Set<Key>();
  for (const one of queued) {
    if (!one.upgrade || one.space !== row.space) continue;
    const bases = await tx.base.get(row.space, one.keys);
    const isUpload = one.tx.startsWith(UPLOAD);
    const kept: OutboxRow = { ...one, keys: [], changes: [] };
    const contested: NewOutboxRow[] = [];
    for (const [i, key] of one.keys.entries()) {
      const [text, came] = [one.changes[i] as Text, bases[i]?.value ?? null];
      const change = JSON.parse(text) as { value?: unknown; base?: number };
      if (came === null) {
        kept.keys.push(key);
        kept.changes.push(text);
        continue;
      }
      dropped.add(key);
      if (isUpload && !isSame(JSON.stringify(change.value), came)) contested.push(alone(one, key, change));
    }
    await tx.outbox.add(contested);
    if (kept.keys.length > 0) await tx.outbox.put([kept]);
    else await tx.outbox.delete([one.seq]);
  }
  await refold(tx, row.space, dropped);
}
