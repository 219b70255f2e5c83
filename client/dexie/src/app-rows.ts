// The app's tables as the core sees them: encoded rows by record, written below the hooks.

import type { DBCoreMutateResponse, DBCoreTable, DBCoreTransaction } from "dexie";
import { decode } from "../../core/src/codec.ts";
import { collectionOf, idOf, type Key, keyOf, type SpaceId, type Text, type Tx, type Why } from "../../core/src/store.ts";
import { encodeRow } from "./edits.ts";
import type { Key as RowKey } from "./keys.ts";
import { ALL } from "./stores.ts";
import { PRIVATE, type Row, type Synced } from "./schema.ts";

interface Named {
  key: Key;
  id: string;
  rowKey: RowKey;
}

/** The records of one table; those that have no key there are given back. */
function inTable(synced: Synced, space: SpaceId, keys: Iterable<Key>): { named: Named[]; homeless: Key[] } {
  const [named, homeless]: [Named[], Key[]] = [[], []];
  for (const key of keys) {
    const id = idOf(key);
    const rowKey = hasRoom(synced, space, id) ? synced.keyOf(id) : undefined;
    if (rowKey === undefined) homeless.push(key);
    else named.push({ key, id, rowKey });
  }
  return { named, homeless };
}

/** Whether a row of this table can say that it belongs to this space. */
function hasRoom({ spaceProperty, keyProperty }: Synced, space: SpaceId, id: string): boolean {
  if (spaceProperty === null) return space === PRIVATE;
  return spaceProperty !== keyProperty || id === space;
}

function byCollection(keys: Iterable<Key>): Map<string, Key[]> {
  const groups = new Map<string, Key[]>();
  for (const key of keys) {
    const collection = collectionOf(key);
    const group = groups.get(collection);
    if (group) group.push(key);
    else groups.set(collection, [key]);
  }
  return groups;
}

/** Undefined: the row belongs to no space, because its property holds nothing that names one. */
function spaceOf(synced: Synced, row: Row): SpaceId | undefined {
  try {
    return synced.spaceOf(row);
  } catch {
    return undefined;
  }
}

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

  #read(synced: Synced, named: Named[]): Promise<(Row | undefined)[]> {
    const keys = named.map(({ rowKey }) => rowKey);
    return keys.length === 0 ? Promise.resolve([]) : (this.#core(synced.name).getMany({ trans: this.#trans, keys }) as Promise<(Row | undefined)[]>);
  }

  async get(space: SpaceId, keys: Key[]): Promise<(Text | null)[]> {
    const texts = new Map<Key, Text>();
    for (const [collection, group] of byCollection(keys)) {
      const synced = this.#tables.get(collection);
      if (!synced) continue;
      const { named } = inTable(synced, space, group);
      const rows = await this.#read(synced, named);
      for (const [i, { key, id }] of named.entries()) {
        const row = rows[i];
        const text = row && spaceOf(synced, row) === space ? textOf(synced, id, row) : null;
        if (text !== null) texts.set(key, text);
      }
    }
    return keys.map((key) => texts.get(key) ?? null);
  }

  async put(space: SpaceId, rows: { key: Key; value: Text }[]): Promise<{ key: Key; why: Why }[]> {
    const refused: { key: Key; why: Why }[] = [];
    const values = new Map(rows.map(({ key, value }) => [key, value]));
    if (this.#kept.size > 0) for (const key of values.keys()) this.#kept.delete(key);
    for (const [collection, group] of byCollection(values.keys())) {
      const synced = this.#tables.get(collection);
      const { named, homeless } = synced ? inTable(synced, space, group) : { named: [], homeless: group };
      for (const key of homeless) refused.push({ key, why: "unknown" });
      if (synced) refused.push(...(await this.#putInto(synced, space, named, values)));
    }
    return refused;
  }

  async #putInto(synced: Synced, space: SpaceId, named: Named[], values: Map<Key, Text>): Promise<{ key: Key; why: Why }[]> {
    const refused: { key: Key; why: Why }[] = [];
    // Only a table of several spaces can have another space's row under a key.
    const there = synced.spaceProperty === null ? [] : await this.#read(synced, named);
    const free = named.filter(({ key }, i) => {
      const row = there[i];
      if (!row || spaceOf(synced, row) === space) return true;
      refused.push({ key, why: "taken" });
      return false;
    });
    if (free.length === 0) return refused;
    const written = free.map(({ key, rowKey }) => synced.toRow(decode(values.get(key) as Text) as Row, rowKey, space));
    const failures = await this.#mutate(synced, "put", free.map(({ rowKey }) => rowKey), written);
    const failed = Object.entries(failures);
    if (failed.length === 0) return refused;
    for (const [i, error] of failed) {
      if (error?.name !== "ConstraintError") throw error;
      refused.push({ key: (free[Number(i)] as Named).key, why: "unique" });
    }
    await this.#mutate(synced, "delete", failed.map(([i]) => (free[Number(i)] as Named).rowKey));
    return refused;
  }

  async delete(space: SpaceId, keys: Key[]): Promise<void> {
    for (const [collection, group] of byCollection(keys)) {
      const synced = this.#tables.get(collection);
      if (!synced) continue;
      const { named } = inTable(synced, space, group);
      const there = synced.spaceProperty === null ? null : await this.#read(synced, named);
      const own = named.filter((_, i) => !there || (there[i] && spaceOf(synced, there[i]) === space));
      await this.#mutate(synced, "delete", own.map(({ rowKey }) => rowKey));
    }
  }

  /** All rows of a table that can sync, with the spaces that they name. */
  async list(synced: Synced): Promise<{ key: Key; space: SpaceId; value: Text }[]> {
    const table = this.#core(synced.name);
    const query = { index: table.schema.primaryKey, range: ALL };
    const ask = (values: boolean) => table.query({ trans: this.#trans, query, values, limit: Number.POSITIVE_INFINITY });
    const [{ result: keys }, { result: rows }] = [await ask(false), await ask(true)];
    const all: { key: Key; space: SpaceId; value: Text }[] = [];
    for (const [i, key] of keys.entries()) {
      const id = synced.idOrNull(key);
      const space = spaceOf(synced, rows[i] as Row);
      const value = id !== null && space !== undefined ? textOf(synced, id, rows[i] as Row) : null;
      if (value !== null) all.push({ key: keyOf(synced.name, id as string), space: space as SpaceId, value });
    }
    return all;
  }

  async keys(space: SpaceId): Promise<Key[]> {
    const all: Key[] = [];
    for (const synced of this.#tables.values()) {
      if (synced.spaceProperty === null && space !== PRIVATE) continue;
      const table = this.#core(synced.name);
      const query = { index: table.schema.primaryKey, range: ALL };
      const ask = (values: boolean) => table.query({ trans: this.#trans, query, values, limit: Number.POSITIVE_INFINITY });
      const { result: keys } = await ask(false);
      const rows = synced.spaceProperty === null ? null : ((await ask(true)).result as Row[]);
      for (const [i, key] of keys.entries()) {
        const id = synced.idOrNull(key);
        if (id === null || (rows && spaceOf(synced, rows[i] as Row) !== space)) continue;
        const name = keyOf(synced.name, id);
        if (!this.#kept.has(name)) all.push(name);
      }
    }
    return all;
  }

  /** Gives the failures by the number of the row. */
  async #mutate(synced: Synced, type: "put" | "delete", keys: RowKey[], values: Row[] = []): Promise<DBCoreMutateResponse["failures"]> {
    if (keys.length === 0) return {};
    const table = this.#core(synced.name);
    const trans = this.#trans;
    const request = type === "delete" ? { type, trans, keys: [...keys] } : { type, trans, values, ...(synced.outbound && { keys: [...keys] }) };
    const { failures, numFailures } = await table.mutate(request);
    if (numFailures > 0 && type === "delete") throw Object.values(failures)[0];
    return failures;
  }
}

/** What cannot be encoded was there before and never was synced. */
function textOf(synced: Synced, id: string, row: Row): Text | null {
  try {
    return encodeRow(synced, id, row).text;
  } catch {
    return null;
  }
}
