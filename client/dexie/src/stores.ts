// One of our stores in one transaction, by lists.

import type { DBCoreKeyRange, DBCoreMutateRequest, DBCoreMutateResponse, DBCoreTable, DBCoreTransaction } from "dexie";

/** A request without the transaction in which it is made. */
type Request = DBCoreMutateRequest extends infer Any ? (Any extends DBCoreMutateRequest ? Omit<Any, "trans"> : never) : never;

export type StoreOf<Row> = ReturnType<typeof storeOf<Row>>;

/** `run` makes the requests, where they cannot be made at once (zone.ts). */
export function storeOf<Row>(table: DBCoreTable, trans: DBCoreTransaction, run = <T>(ask: () => Promise<T>): Promise<T> => ask()) {
  const query = async (values: boolean, range: DBCoreKeyRange, limit = Infinity, index = table.schema.primaryKey): Promise<unknown[]> =>
    (await run(() => table.query({ trans, query: { index, range }, values, limit }))).result;
  const mutate = (request: Request): Promise<DBCoreMutateResponse> => run(() => table.mutate({ ...request, trans }));
  // Throws the first failure: what is not written must not be taken for written.
  const write = async (request: Request, size = 1): Promise<unknown[]> => {
    if (size === 0) return [];
    const { failures, results } = await mutate(request);
    for (const failure of Object.values(failures)) throw failure;
    return results ?? [];
  };
  return {
    /** Rows by their keys, each undefined where there is none. */
    get: async (keys: unknown[]): Promise<(Row | undefined)[]> => (keys.length === 0 ? [] : run(() => table.getMany({ trans, keys }))),
    /** All rows of a range, in the order of their keys. */
    list: (range = ALL, limit?: number) => query(true, range, limit) as Promise<Row[]>,
    keys: (range = ALL, limit?: number) => query(false, range, limit),
    /** Rows that an index gives for one value. */
    where: (index: string, value: unknown) =>
      query(true, { type: 1, lower: value, upper: value }, Infinity, table.schema.getIndexByKeyPath(index)) as Promise<Row[]>,
    /** Writes, and gives what failed. */
    mutate,
    /** Writes, and throws what failed. */
    write,
    /** Whether an index can refuse a row. */
    isUnique: table.schema.indexes.some(({ unique }) => unique),
    /** Gives the keys of the rows. */
    add: (values: readonly Row[]) => write({ type: "add", values }, values.length),
    put: async (values: readonly Row[]) => void (await write({ type: "put", values }, values.length)),
    delete: async (keys: unknown[]) => void (await write({ type: "delete", keys }, keys.length)),
    clear: async () => void (await write({ type: "deleteRange", range: ALL })),
  };
}

// The numbers are those of `DBCoreRangeType`, which Dexie declares and does not export.
export const ALL: DBCoreKeyRange = { type: 3, lower: undefined, upper: undefined };
export const above = (value: unknown): DBCoreKeyRange => ({ type: 2, lower: value, lowerOpen: true, upper: undefined });
/** All keys that begin with this part: an array sorts behind every string and number. */
export const beginning = (part: string): DBCoreKeyRange => ({ type: 2, lower: [part], upper: [part, []] });
