// The rows that a request is about to change.

import type { DBCoreKeyRange, DBCoreTable, DBCoreTransaction, PromiseExtended } from "dexie";
import { cmp, Dexie } from "./dexie.ts";
import type { Row } from "./schema.ts";

type Rows = (Row | undefined)[];

/**
 * Many rows by their keys. New rows, which most writes of many rows are, cost one request here and not one each: if the range of
 * the keys holds fewer keys than are asked for, all that stands there is read at once.
 */
export function readMany(table: DBCoreTable, trans: DBCoreTransaction, keys: unknown[]): PromiseExtended<Rows> {
  let [lower, upper] = [keys[0], keys[0]];
  for (const key of keys) {
    if (cmp(key, lower) < 0) lower = key;
    if (cmp(key, upper) > 0) upper = key;
  }
  const query = { index: table.schema.primaryKey, range: { type: 2, lower, upper } as DBCoreKeyRange };
  const found = table.query({ trans, query, values: false, limit: keys.length + 1 }) as PromiseExtended<{ result: unknown[] }>;
  return found.then(({ result: present }) => {
    if (present.length === 0) return keys.map(() => undefined);
    if (present.length > keys.length) return table.getMany({ trans, keys }) as PromiseExtended<Rows>;
    const rows = table.query({ trans, query, values: true, limit: keys.length + 1 }) as PromiseExtended<{ result: Row[] }>;
    return rows.then(({ result }) => {
      const byKey = new Map(present.map((key, i) => [nameOf(key), result[i]]));
      return keys.map((key) => byKey.get(nameOf(key)));
    });
  });
}

/** A primitive for each key, other ones for other keys. */
const nameOf = (key: unknown): unknown => (typeof key === "object" ? JSON.stringify(key) : key);

/** All rows of a range of keys, with their keys. */
export function readRange(table: DBCoreTable, trans: DBCoreTransaction, range: DBCoreKeyRange): PromiseExtended<[unknown[], Row[]]> {
  const query = { index: table.schema.primaryKey, range };
  const ask = (values: boolean) => table.query({ trans, query, values, limit: Infinity }) as PromiseExtended<{ result: unknown[] }>;
  const all = Dexie.Promise.all([ask(false), ask(true)]) as PromiseExtended<{ result: unknown[] }[]>;
  return all.then(([keys, rows]) => [keys?.result ?? [], (rows?.result ?? []) as Row[]]);
}
