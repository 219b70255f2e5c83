// One of our stores in one transaction, by lists.

import type { DBCoreKeyRange, DBCoreTable, DBCoreTransaction } from "dexie";

/** Throws the first failure: what is not written must not be taken for written. */
async function mutate(table: DBCoreTable, request: Parameters<DBCoreTable["mutate"]>[0]): Promise<unknown[]> {
  const { numFailures, failures, results } = await table.mutate(request);
  if (numFailures > 0) throw Object.values(failures)[0];
  return results ?? [];
}

export class StoreOf<Row> {
  readonly #table: DBCoreTable;
  readonly #trans: DBCoreTransaction;

  constructor(table: DBCoreTable, trans: DBCoreTransaction) {
    this.#table = table;
    this.#trans = trans;
  }

  /** Rows by their keys, each undefined where there is none. */
  async get(keys: unknown[]): Promise<(Row | undefined)[]> {
    return keys.length === 0 ? [] : ((await this.#table.getMany({ trans: this.#trans, keys })) as (Row | undefined)[]);
  }

  /** All rows of a range, in the order of their keys. */
  async list(range: DBCoreKeyRange = ALL, limit = Number.POSITIVE_INFINITY): Promise<Row[]> {
    const query = { index: this.#table.schema.primaryKey, range };
    return (await this.#table.query({ trans: this.#trans, query, values: true, limit })).result as Row[];
  }

  async keys(range: DBCoreKeyRange = ALL): Promise<unknown[]> {
    const query = { index: this.#table.schema.primaryKey, range };
    return (await this.#table.query({ trans: this.#trans, query, values: false, limit: Number.POSITIVE_INFINITY })).result;
  }

  /** Rows that an index gives for one value. */
  async where(index: string, value: unknown): Promise<Row[]> {
    const found = this.#table.schema.getIndexByKeyPath(index);
    if (!found) throw new Error(`${this.#table.name} has no index ${index}`);
    return (await this.#table.query({ trans: this.#trans, query: { index: found, range: only(value) }, values: true })).result as Row[];
  }

  /** Gives the keys of the rows. */
  async add(rows: readonly Row[]): Promise<unknown[]> {
    return rows.length === 0 ? [] : mutate(this.#table, { type: "add", trans: this.#trans, values: rows });
  }

  async put(rows: readonly Row[]): Promise<void> {
    if (rows.length > 0) await mutate(this.#table, { type: "put", trans: this.#trans, values: rows });
  }

  async delete(keys: unknown[]): Promise<void> {
    if (keys.length > 0) await mutate(this.#table, { type: "delete", trans: this.#trans, keys });
  }
}

// The numbers are those of `DBCoreRangeType`, which Dexie declares and does not export.
export const ALL: DBCoreKeyRange = { type: 3, lower: undefined, upper: undefined };
export const only = (value: unknown): DBCoreKeyRange => ({ type: 1, lower: value, upper: value });
export const above = (value: unknown): DBCoreKeyRange => ({ type: 2, lower: value, lowerOpen: true, upper: undefined });
/** All keys that begin with this part: an array sorts behind every string and number. */
export const beginning = (part: string): DBCoreKeyRange => ({ type: 2, lower: [part], upper: [part, []] });
