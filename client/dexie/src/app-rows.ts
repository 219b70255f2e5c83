// The app's tables as the core sees them: encoded rows by record, written below the hooks.

import type { DBCoreTable, DBCoreTransaction } from "dexie";
import { attempt } from "../../core/src/attempt.ts";
import { decode } from "../../core/src/codec.ts";
import { collectionOf, idOf, type Key, keyOf, type SpaceId, type Text, type Why } from "../../core/src/store.ts";
import { encodeRow } from "./edits.ts";
import type { Key as RowKey } from "./keys.ts";
import { PRIVATE, type Row, type Synced } from "./schema.ts";
import { StoreOf } from "./stores.ts";

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

export class AppRows {
  readonly #tables: ReadonlyMap<string, Synced>;
  readonly #core: (name: string) => DBCoreTable;
  readonly #trans: DBCoreTransaction;
  /** Rows that the server does not know of and that are to stay. What is written by the core is none of them any more. */
  readonly #kept: Set<Key>;

  constructor(tables: ReadonlyMap<string, Synced>, core: (name: string) => DBCoreTable, trans: DBCoreTransaction, kept: Set<Key>) {
    this.#kept = kept;
    this.#tables = tables;
    this.#core = core;
    this.#trans = trans;
  }

  #store(synced: Synced): StoreOf<Row> {
    return new StoreOf(this.#core(synced.name), this.#trans);
  }

  /** Calls for each table with the records that have a key in it; gives those that have none. Rows are read if they are needed. */
  async #place<Record extends { key: Key }>(
    space: SpaceId, records: Record[], needsRows: boolean, each: (synced: Synced, store: StoreOf<Row>, placed: Placed<Record>[]) => Promise<void>,
  ): Promise<Record[]> {
    const homeless: Record[] = [];
    for (const [collection, group] of Map.groupBy(records, ({ key }) => collectionOf(key))) {
      const synced = this.#tables.get(collection);
      const keys = group.map(({ key }) => (synced && hasRoom(synced, space, idOf(key)) ? synced.keyOf(idOf(key)) : undefined));
      const placed = group.flatMap((record, i) => (keys[i] === undefined ? [] : [{ record, rowKey: keys[i] }]));
      homeless.push(...group.filter((_, i) => keys[i] === undefined));
      if (!synced || placed.length === 0) continue;
      const store = this.#store(synced);
      // Only a table of several spaces can have another space's row under a key.
      const rows = needsRows || synced.spaceProperty !== null ? await store.get(placed.map(({ rowKey }) => rowKey)) : [];
      await each(synced, store, placed.map((one, i) => ({ ...one, row: rows[i], isTaken: !!rows[i] && spaceOf(synced, rows[i]) !== space })));
    }
    return homeless;
  }

  async get(space: SpaceId, keys: Key[]): Promise<(Text | null)[]> {
    const texts = new Map<Key, Text | null>();
    await this.#place(space, keys.map((key) => ({ key })), true, async (synced, _, placed) => {
      for (const { record, row, isTaken } of placed) if (row && !isTaken) texts.set(record.key, textOf(synced, idOf(record.key), row));
    });
    return keys.map((key) => texts.get(key) ?? null);
  }

  async put(space: SpaceId, rows: { key: Key; value: Text }[]): Promise<{ key: Key; why: Why }[]> {
    const refused: { key: Key; why: Why }[] = [];
    for (const { key } of rows) this.#kept.delete(key);
    const homeless = await this.#place(space, rows, false, async (synced, store, placed) => {
      for (const { record, isTaken } of placed) if (isTaken) refused.push({ key: record.key, why: "taken" });
      const free = placed.filter(({ isTaken }) => !isTaken);
      if (free.length === 0) return;
      const values = free.map(({ record, rowKey }) => synced.toRow(decode(record.value) as Row, rowKey, space));
      const failures = Object.entries(await store.try({ type: "put", values, ...(synced.outbound && { keys: free.map(({ rowKey }) => rowKey) }) }));
      const failed = failures.map(([i, error]) => {
        if (error?.name !== "ConstraintError") throw error;
        return free[Number(i)] as Placed<{ key: Key }>;
      });
      for (const { record } of failed) refused.push({ key: record.key, why: "unique" });
      await store.delete(failed.map(({ rowKey }) => rowKey));
    });
    return [...refused, ...homeless.map(({ key }) => ({ key, why: "unknown" as const }))];
  }

  async delete(space: SpaceId, keys: Key[]): Promise<void> {
    await this.#place(space, keys.map((key) => ({ key })), false, (_, store, placed) =>
      store.delete(placed.filter(({ isTaken }) => !isTaken).map(({ rowKey }) => rowKey)));
  }

  /** The keys of all rows of a table that name records, and the rows, if they are asked for. */
  async #all(synced: Synced, withRows: boolean): Promise<{ key: Key; id: string; row: Row | undefined }[]> {
    const store = this.#store(synced);
    const keys = await store.keys();
    const rows = withRows ? await store.list() : [];
    return keys.flatMap((rowKey, i) => {
      const id = synced.idOrNull(rowKey);
      return id === null ? [] : [{ key: keyOf(synced.name, id), id, row: rows[i] }];
    });
  }

  /** All rows of a table that can sync, with the spaces that they name. */
  async list(synced: Synced): Promise<{ key: Key; space: SpaceId; value: Text }[]> {
    return (await this.#all(synced, true)).flatMap(({ key, id, row }) => {
      const space = spaceOf(synced, row);
      const value = space === undefined ? null : textOf(synced, id, row as Row);
      return value === null ? [] : [{ key, space: space as SpaceId, value }];
    });
  }

  async keys(space: SpaceId): Promise<Key[]> {
    const found: Key[] = [];
    for (const synced of this.#tables.values()) {
      const isPrivate = synced.spaceProperty === null;
      if (isPrivate && space !== PRIVATE) continue;
      for (const { key, row } of await this.#all(synced, !isPrivate)) {
        if ((isPrivate || spaceOf(synced, row) === space) && !this.#kept.has(key)) found.push(key);
      }
    }
    return found;
  }
}

/** What cannot be encoded was there before and never was synced. */
const textOf = (synced: Synced, id: string, row: Row): Text | null => attempt(() => encodeRow(synced, id, row).text) ?? null;
