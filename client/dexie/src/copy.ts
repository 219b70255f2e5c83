// A store of ours as one transaction sees it: read with one request, changed in memory, and written with one request at the end.
//
// A request of IndexedDB takes longer than everything that the core does between two of them, and the core asks for the same few rows
// again and again.

import { ALL, type StoreOf } from "./stores.ts";

/** From here on, all rows of a store are looked at before rows are asked for one by one: mostly there are few. */
const FEW = 4;
/** So many rows are read at the beginning, which mostly are all. */
const AHEAD = 32;

export type CopyOf<Row> = ReturnType<typeof copyOf<Row>>;

export function copyOf<Row>(store: StoreOf<Row>, keyOf: (row: Row) => unknown) {
  /** By the texts of their keys; undefined: there is no such row. */
  const rows = new Map<string, Row | undefined>();
  /** The keys of what has changed, by their texts. */
  const changed = new Map<string, unknown>();
  const stored = new Set<string>();
  /** All rows of the store have been read. */
  let isWhole = false;
  const learn = (found: readonly Row[]): void => {
    for (const row of found) {
      const name = String(keyOf(row));
      stored.add(name);
      if (!rows.has(name)) rows.set(name, row);
    }
  };
  const read = async (limit = Infinity): Promise<void> => {
    const found = await store.list(ALL, limit);
    isWhole ||= found.length < limit;
    learn(found);
  };
  const set = (key: unknown, row: Row | undefined) => {
    const name = String(key);
    rows.set(name, row);
    changed.set(name, key);
  };
  return {
    /** Reads ahead, so that nothing more has to be read where the store is small. */
    ahead: () => read(AHEAD),
    async get(keys: readonly unknown[]): Promise<(Row | undefined)[]> {
      const unread = () => (isWhole ? [] : keys.filter((key) => !rows.has(String(key))));
      if (unread().length > FEW) await read(keys.length + 1);
      const asked = unread();
      for (const [i, row] of (await store.get(asked)).entries()) {
        const name = String(asked[i]);
        if (row) stored.add(name);
        rows.set(name, row);
      }
      return keys.map((key) => rows.get(String(key)));
    },
    /** All rows, in no order. */
    async list(): Promise<Row[]> {
      if (!isWhole) await read();
      return [...rows.values()].filter((row) => row !== undefined);
    },
    /** All rows that have one of these values, which an index gives. */
    async where<Name extends keyof Row & string>(index: Name, values: Row[Name][]): Promise<Row[]> {
      if (!isWhole) for (const found of await Promise.all(values.map((value) => store.where(index, value)))) learn(found);
      return [...rows.values()].flatMap((row) => (row && values.includes(row[index]) ? [row] : []));
    },
    /** Of rows that the database has by now. */
    learn,
    put(list: readonly Row[]): void {
      for (const row of list) set(keyOf(row), row);
    },
    delete(keys: readonly unknown[]): void {
      for (const key of keys) set(key, undefined);
    },
    /** Nothing is left. */
    async clear(): Promise<void> {
      rows.clear();
      changed.clear();
      stored.clear();
      isWhole = true;
      await store.clear();
    },
    /** Asks for what has changed to be written. */
    async write(): Promise<void> {
      const all = [...changed];
      changed.clear();
      const put = all.flatMap(([name]) => rows.get(name) ?? []);
      const gone = all.filter(([name]) => !rows.get(name) && (stored.has(name) || !isWhole));
      await Promise.all([store.put(put), store.delete(gone.map(([, key]) => key))]);
    },
  };
}
