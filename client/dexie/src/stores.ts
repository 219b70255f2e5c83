// One of our stores in one transaction, by lists.

import type { DBCoreKeyRange, DBCoreMutateRequest, DBCoreMutateResponse, DBCoreTable, DBCoreTransaction } from "dexie";

type Failures = DBCoreMutateResponse["failures"];
/** A request without the transaction in which it is made. */
type Request = DBCoreMutateRequest extends infer Any ? (Any extends DBCoreMutateRequest ? Omit<Any, "trans"> : never) : never;

export class StoreOf<Row> {
  readonly #table: DBCoreTable;
  readonly #trans: DBCoreTransaction;

  constructor(table: DBCoreTable, trans: DBCoreTransaction) {
    this.#table = table;
    this.#trans = trans;
  }

  /** Rows by their keys, each undefined where there is none. */
  async get(keys: unknown[]): Promise<(Row | undefined)[]> {
    return keys.length === 0 ? [] : this.#table.getMany({ trans: this.#trans, keys });
  }

  async #query(values: boolean, range: DBCoreKeyRange, limit: number, index = this.#table.schema.primaryKey): Promise<unknown[]> {
    return (await this.#table.query({ trans: this.#trans, query: { index, range }, values, limit })).result;
  }

  /** All rows of a range, in the order of their keys. */
  list(range = ALL, limit = Infinity): Promise<Row[]> {
    return this.#query(true, range, limit) as Promise<Row[]>;
  }

  keys(range = ALL): Promise<unknown[]> {
    return this.#query(false, range, Infinity);
  }

  /** Rows that an index gives for one value. */
  where(index: string, value: unknown): Promise<Row[]> {
    const range = { type: 1, lower: value, upper: value };
    return this.#query(true, range, Infinity, this.#table.schema.getIndexByKeyPath(index)) as Promise<Row[]>;
  }

  /** Gives the failures by the number of the row. */
  async try(request: Request): Promise<Failures> {
    return (await this.#table.mutate({ ...request, trans: this.#trans })).failures;
  }

  /** Throws the first failure: what is not written must not be taken for written. */
  async #mutate(request: Request, size: number): Promise<unknown[]> {
    if (size === 0) return [];
    const { failures, results } = await this.#table.mutate({ ...request, trans: this.#trans });
    for (const failure of Object.values(failures)) throw failure;
    return results ?? [];
  }

  /** Gives the keys of the rows. */
  add(values: readonly Row[]): Promise<unknown[]> {
    return this.#mutate({ type: "add", values }, values.length);
  }

  async put(values: readonly Row[]): Promise<void> {
    await this.#mutate({ type: "put", values }, values.length);
  }

  async delete(keys: unknown[]): Promise<void> {
    await this.#mutate({ type: "delete", keys }, keys.length);
  }

  async clear(): Promise<void> {
    await this.#mutate({ type: "deleteRange", range: ALL }, 1);
  }
}

// The numbers are those of `DBCoreRangeType`, which Dexie declares and does not export.
export const ALL: DBCoreKeyRange = { type: 3, lower: undefined, upper: undefined };
export const above = (value: unknown): DBCoreKeyRange => ({ type: 2, lower: value, lowerOpen: true, upper: undefined });
/** All keys that begin with this part: an array sorts behind every string and number. */
export const beginning = (part: string): DBCoreKeyRange => ({ type: 2, lower: [part], upper: [part, []] });
