// The app's tables as the core sees them: encoded rows by record, written below the hooks.

import { attempt } from "../../core/src/attempt.ts";
import { decode } from "../../core/src/codec.ts";
import { collectionOf, idOf, type Key, keyOf, type SpaceId, type Text, type Tx, type Why } from "../../core/src/store.ts";
import { encodeRow } from "./edits.ts";
import type { Key as RowKey } from "./keys.ts";
import { PRIVATE, type Row, type Synced } from "./schema.ts";
import { ALL, above, type StoreOf } from "./stores.ts";

/** A record that has a key in its table, and the row under it, if rows are asked for. */
interface Placed<Record> {
  record: Record;
  rowKey: RowKey;
  row: Row | undefined;
  /** Another space has a row there. */
  isTaken: boolean;
}

/** Whether a row of this table can say that it belongs to this space. */
const hasRoom = ({ spaceProperty, keyProperty }: Synced, space: SpaceId, id: string): boolean =>
  spaceProperty === null ? space === PRIVATE : spaceProperty !== keyProperty || id === space;

/** Undefined: it belongs to no space, because its property holds nothing that names one. */
const spaceOf = (synced: Synced, row: Row | undefined): SpaceId | undefined => row && synced.spaceOrNone(row);

export interface Tables {
  tables: ReadonlyMap<string, Synced>;
  store: (name: string) => StoreOf<Row>;
}

/** Calls for each table with the records that have a key in it; gives those that have none. Rows are read if they are needed. */
async function place<Record extends { key: Key }>(
  { tables, store }: Tables, space: SpaceId, records: Record[], needsRows: boolean,
  each: (synced: Synced, rows: StoreOf<Row>, placed: Placed<Record>[]) => Promise<void>,
): Promise<Record[]> {
  const homeless: Record[] = [];
  for (const [collection, group] of Map.groupBy(records, ({ key }) => collectionOf(key))) {
    const synced = tables.get(collection);
    const keys = group.map(({ key }) => (synced && hasRoom(synced, space, idOf(key)) ? synced.keyOf(idOf(key)) : undefined));
    const placed = group.flatMap((record, i) => (keys[i] === undefined ? [] : [{ record, rowKey: keys[i] }]));
    homeless.push(...group.filter((_, i) => keys[i] === undefined));
    if (!synced || placed.length === 0) continue;
    const rows = store(collection);
    // Only a table of several spaces can have another space's row under a key.
    const there = needsRows || synced.spaceProperty !== null ? await rows.get(placed.map(({ rowKey }) => rowKey)) : [];
    await each(synced, rows, placed.map((one, i) => ({ ...one, row: there[i], isTaken: !!there[i] && spaceOf(synced, there[i]) !== space })));
  }
  return homeless;
}

/** The keys of all rows of a table that name records, and the rows, if they are asked for. */
async function all(synced: Synced, store: StoreOf<Row>, withRows: boolean): Promise<{ key: Key; id: string; row: Row | undefined }[]> {
  const keys = await store.keys();
  const rows = withRows ? await store.list() : [];
  return keys.flatMap((rowKey, i) => {
    const id = synced.idOrNull(rowKey);
    return id === null ? [] : [{ key: keyOf(synced.name, id), id, row: rows[i] }];
  });
}

type Rows = Tx["rows"];
export interface AppRows extends Rows {
  /** Fulfilled when everything that was asked for has been written. */
  end(): Promise<unknown>;
  /** All rows of a table that can sync, with the spaces that they name. */
  list(synced: Synced): Promise<{ key: Key; space: SpaceId; value: Text }[]>;
  /** Rows of a table with their keys, in the order of those: so many behind one, or from the first. */
  scan(synced: Synced, after: unknown, limit: number): Promise<[key: unknown, row: Row][]>;
}

/** `kept`: rows that the server does not know of and that are to stay. What is written by the core is none of them any more. */
export function appRows(tables: Tables, kept: Set<Key>): AppRows {
  const writing: Promise<unknown>[] = [];
  const later = (write: Promise<unknown>) => {
    // What fails is thrown at the end, if it is reached.
    write.catch(() => {});
    writing.push(write);
  };
  return {
    end: () => Promise.all(writing),

    async get(space, keys) {
      const texts = new Map<Key, Text | null>();
      await place(tables, space, keys.map((key) => ({ key })), true, async (synced, _, placed) => {
        for (const { record, row, isTaken } of placed) if (row && !isTaken) texts.set(record.key, textOf(synced, idOf(record.key), row));
      });
      return keys.map((key) => texts.get(key) ?? null);
    },

    async put(space, records) {
      const refused: { key: Key; why: Why }[] = [];
      const refuse = (why: Why, all: { key: Key }[]) => refused.push(...all.map(({ key }) => ({ key, why })));
      for (const { key } of records) kept.delete(key);
      const homeless = await place(tables, space, records, false, async (synced, rows, placed) => {
        refuse("taken", placed.filter(({ isTaken }) => isTaken).map(({ record }) => record));
        const free = placed.filter(({ isTaken }) => !isTaken);
        if (free.length === 0) return;
        const values = free.map(({ record, rowKey }) => synced.toRow(decode(record.value) as Row, rowKey, space));
        const keys = synced.outbound && { keys: free.map(({ rowKey }) => rowKey) };
        // Where nothing can refuse a row, nothing has to be waited for.
        if (!rows.isUnique) return later(rows.write({ type: "put", values, ...keys }));
        const { failures } = await rows.mutate({ type: "put", values, ...keys });
        const failed = Object.entries(failures).map(([i, error]) => {
          if (error?.name !== "ConstraintError") throw error;
          return free[Number(i)] as Placed<{ key: Key }>;
        });
        refuse("unique", failed.map(({ record }) => record));
        await rows.delete(failed.map(({ rowKey }) => rowKey));
      });
      refuse("unknown", homeless);
      return refused;
    },

    async delete(space, keys) {
      await place(tables, space, keys.map((key) => ({ key })), false, async (_, rows, placed) =>
        later(rows.delete(placed.filter(({ isTaken }) => !isTaken).map(({ rowKey }) => rowKey))));
    },

    async list(synced) {
      return (await all(synced, tables.store(synced.name), true)).flatMap(({ key, id, row }) => {
        const space = spaceOf(synced, row);
        const value = space === undefined ? null : textOf(synced, id, row as Row);
        return value === null ? [] : [{ key, space: space as SpaceId, value }];
      });
    },

    async scan({ name }, after, limit) {
      const store = tables.store(name);
      const range = after === undefined ? ALL : above(after);
      const rows = await store.list(range, limit);
      return (await store.keys(range, limit)).map((key, i) => [key, rows[i] as Row]);
    },

    async keys(space) {
      const found: Key[] = [];
      for (const synced of tables.tables.values()) {
        const isPrivate = synced.spaceProperty === null;
        if (isPrivate && space !== PRIVATE) continue;
        for (const { key, row } of await all(synced, tables.store(synced.name), !isPrivate)) {
          if ((isPrivate || spaceOf(synced, row) === space) && !kept.has(key)) found.push(key);
        }
      }
      return found;
    },
  };
}

/** What cannot be encoded was there before and never was synced. */
const textOf = (synced: Synced, id: string, row: Row): Text | null => attempt(() => encodeRow(synced, id, row).text) ?? null;
