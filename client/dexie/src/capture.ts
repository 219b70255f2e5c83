// Capture: a middleware of Dexie that writes down what the app changes, in the app's own transaction.
//
// It stands below the hooks, so it sees rows as the hooks have made them, and above observability, so what the store writes
// through the layer below it wakes `liveQuery` and is not captured. What is true is the difference between the old row and the
// new one; the app's own words (`add(1)`, `remove(["a"])`) only say how to write it down.
//
// Where the new row does not depend on the old one, the read of the old row and the write of the new one are asked for at once,
// and the outbox row follows when the old row is here. So a write waits for one answer of IndexedDB, as without capture.

import type {
  DBCore, DBCoreAddRequest, DBCoreDeleteRangeRequest, DBCoreDeleteRequest, DBCoreMutateRequest, DBCoreMutateResponse, DBCorePutRequest,
  DBCoreTable, DBCoreTransaction, PromiseExtended,
} from "dexie";
import { memo } from "../../core/src/memo.ts";
import type { SpaceId, SpaceRow } from "../../core/src/store.ts";
import { Dexie } from "./dexie.ts";
import type { Early } from "../../core/src/events.ts";
import { EarlyRows } from "./early.ts";
import { type Draft, encodeRow, outboxRows, spacesOf } from "./edits.ts";
import { readMany, readRange } from "./old.ts";
import { executeUpdates, refine, specsOf } from "./refine.ts";
import { attempt } from "../../core/src/attempt.ts";
import type { CapturedRow } from "./rows.ts";
import { PRIVATE, type Row, type Synced } from "./schema.ts";
import { ALL } from "./stores.ts";
import { tap } from "./tap.ts";

const { Promise: Later } = Dexie;
/** From this many rows on, old rows are looked for by range, which has to come before the write. */
const MANY = 20;
/** The range without keys. */
const NEVER = 4;

/** What capture knows of one transaction of the app. */
interface Pass {
  readonly tx: string;
  readonly spaces: Map<string, PromiseExtended<SpaceRow | undefined>>;
  /** Fulfilled when the rows of the earlier requests have been asked for, so that the outbox has the app's order. */
  noted: PromiseExtended<unknown>;
  /** Whether the outbox was empty at the beginning; null: nobody has asked, because nothing can be sent early. */
  vacant: PromiseExtended<boolean> | null;
  readonly early: EarlyRows;
  /** There while an earlier request still reads before it writes: the next one must not overtake it. */
  reading: PromiseExtended<unknown> | null;
}

export interface CaptureOptions {
  readonly tables: ReadonlyMap<string, Synced>;
  /** Names a transaction as no other one of any tab is named. */
  readonly newTransaction: () => string;
  /** Rows from before need not be on the server (`existing: 'keep'`). */
  readonly unsynced: boolean;
  /** The device's clock, in milliseconds. */
  readonly now: () => number;
  /** The row of a space, as the leader here knows it, if an edit that is made now may be sent before it is numbered. */
  readonly ahead?: (space: SpaceId) => SpaceRow | null;
  /** A transaction is complete that may be sent early. */
  readonly completed?: (early: Early) => void;
}

/** The middleware, and the core below it: writes through that fire no hook and are not captured, and do wake `liveQuery`. */
export function createCapture(options: CaptureOptions): ReturnType<typeof tap> {
  return tap("headwater", 1, (core) => {
    const passes = new WeakMap<DBCoreTransaction, Pass>();
    const tables = new Map<string, DBCoreTable>();
    return {
      ...core,
      transaction(stores, mode, durability) {
        const writes = mode === "readwrite" && stores.some((store) => options.tables.has(store));
        const all = writes ? [...new Set([...stores, "_hw_outbox", "_hw_spaces"])] : stores;
        const trans = core.transaction(all, mode, durability);
        // Before Dexie hears of it, and has every query run.
        if (writes) (trans as unknown as IDBTransaction).addEventListener("complete", () => {
          const early = passes.get(trans)?.early.get();
          if (early) options.completed?.(early);
        });
        return trans;
      },
      table(name) {
        const synced = options.tables.get(name);
        return synced ? memo(tables, name, () => new CapturedTable(core, synced, passes, options).table()) : core.table(name);
      },
    };
  });
}

type Answer = PromiseExtended<DBCoreMutateResponse>;
type Failures = DBCoreMutateResponse["failures"];

class CapturedTable {
  readonly #table: DBCoreTable;
  readonly #outbox: DBCoreTable;
  readonly #spaces: DBCoreTable;
  readonly #synced: Synced;
  readonly #passes: WeakMap<DBCoreTransaction, Pass>;
  readonly #options: CaptureOptions;

  constructor(core: DBCore, synced: Synced, passes: WeakMap<DBCoreTransaction, Pass>, options: CaptureOptions) {
    this.#table = core.table(synced.name);
    this.#outbox = core.table("_hw_outbox");
    this.#spaces = core.table("_hw_spaces");
    this.#synced = synced;
    this.#passes = passes;
    this.#options = options;
  }

  /** The table with capture. What reads waits, too, for a write that was asked for before and itself reads first. */
  table(): DBCoreTable {
    const table = this.#table;
    const turn = <R extends { trans: DBCoreTransaction }, T>(read: (request: R) => Promise<T>) => (request: R): Promise<T> => {
      const reading = this.#passes.get(request.trans)?.reading;
      return reading ? (reading.then(() => read(request)) as unknown as Promise<T>) : read(request);
    };
    return {
      ...table, mutate: (request) => this.mutate(request), get: turn(table.get), getMany: turn(table.getMany), query: turn(table.query),
      openCursor: turn(table.openCursor), count: turn(table.count),
    };
  }

  mutate(request: DBCoreMutateRequest): Promise<DBCoreMutateResponse> {
    const { trans } = request;
    // An upgrade of a version that did not have our stores yet.
    const { objectStoreNames } = trans as unknown as IDBTransaction;
    if (objectStoreNames && !objectStoreNames.contains("_hw_outbox")) return this.#table.mutate(request);
    const { reading } = this.#pass(trans);
    return reading ? (reading.then(() => this.mutate(request)) as Answer) : this.#begin(request);
  }

  #begin(request: DBCoreMutateRequest): Answer {
    try {
      if (request.type === "deleteRange") return this.#deleteRange(request);
      const count = request.type === "delete" ? request.keys.length : request.values.length;
      if (count === 0) return this.#table.mutate(request) as Answer;
      if (request.type === "add") return this.#add(request);
      if (request.type === "delete") return this.#delete(request);
      return this.#put(request);
    } catch (error) {
      return Later.reject(error) as Answer;
    }
  }

  #pass(trans: DBCoreTransaction): Pass {
    return memo(this.#passes, trans, () => ({ tx: this.#options.newTransaction(), spaces: new Map(), noted: Later.resolve(), vacant: null, early: new EarlyRows(), reading: null }));
  }

  /** The space's row, read in this transaction: another tab's leader may have moved it since anybody looked. */
  #space(trans: DBCoreTransaction, space: string): PromiseExtended<SpaceRow | undefined> {
    return memo(this.#pass(trans).spaces, space, () => {
      const row = this.#spaces.get({ trans, key: space }) as PromiseExtended<SpaceRow | undefined>;
      // Who needs it hears of a failure, and maybe nobody does.
      row.catch(() => {});
      return row;
    });
  }

  #keys(request: DBCoreAddRequest | DBCorePutRequest): unknown[] {
    const { extractKey } = this.#table.schema.primaryKey;
    return request.values.map((value, i) => request.keys?.[i] ?? extractKey?.(value));
  }

  #draft(id: string, old: Row | undefined, row: Row | undefined): Draft {
    return { id, old, row, value: row && encodeRow(this.#synced, id, row), refined: [] };
  }

  #add(request: DBCoreAddRequest): Answer {
    const keys = this.#keys(request);
    const drafts = request.values.map((row: Row, i) => this.#draft(this.#synced.idOf(keys[i]), undefined, row));
    return this.#write(request, Later.resolve(drafts));
  }

  #delete(request: DBCoreDeleteRequest): Answer {
    const { trans, keys } = request;
    const drafts = this.#old(trans, keys).then((old) => this.#removals(keys, old));
    return keys.length < MANY ? this.#write(request, drafts) : this.#readFirst(trans, drafts, (made) => this.#write(request, Later.resolve(made)));
  }

  #old(trans: DBCoreTransaction, keys: unknown[]): PromiseExtended<(Row | undefined)[]> {
    return keys.length < MANY ? (this.#table.getMany({ trans, keys }) as PromiseExtended<(Row | undefined)[]>) : readMany(this.#table, trans, keys);
  }

  /** All rows are read in one request, and the range is deleted in one, as without capture. */
  #deleteRange(request: DBCoreDeleteRangeRequest): Answer {
    const { trans, range } = request;
    if (range.type === NEVER) return this.#table.mutate(request) as Answer;
    return this.#write(request, readRange(this.#table, trans, range).then(([keys, rows]) => this.#removals(keys, rows)));
  }

  /** Rows from before with keys that cannot sync may be deleted: there is no such record. */
  #removals(keys: readonly unknown[], old: readonly (Row | undefined)[]): Draft[] {
    const drafts: Draft[] = [];
    for (const [i, key] of keys.entries()) {
      const id = this.#synced.idOrNull(key);
      if (id !== null && old[i] !== undefined) drafts.push(this.#draft(id, old[i], undefined));
    }
    return drafts;
  }

  #put(request: DBCorePutRequest): Answer {
    const { trans } = request;
    const values = request.values as readonly Row[];
    const keys = this.#keys(request);
    const ids = keys.map((key) => this.#synced.idOf(key));
    // `changeSpec` is there, if only as false, where Dexie has read the rows before: then they are here without asking.
    const isModify = "changeSpec" in request;
    if (!isModify && !request.updates && keys.length < MANY) {
      const drafts = values.map((row, i) => this.#draft(ids[i] as string, undefined, row));
      return this.#write(request, this.#old(trans, keys).then((rows) => chain(drafts, rows)));
    }
    // Dexie's cache of what was read holds only for whoever has just read it: an `add` since then leaves it as it was.
    const old = isModify ? (this.#table.getMany({ trans, keys, cache: "immutable" }) as PromiseExtended<(Row | undefined)[]>) : this.#old(trans, keys);
    return this.#readFirst(trans, old, (rows) => {
      const drafts = this.#meant(request, keys, ids, rows);
      const written = drafts.map((draft) => draft.row);
      return this.#write({ ...request, values: written }, Later.resolve(drafts));
    });
  }

  /** The rows that are meant, each with the one before it: that of an earlier change in this request, where there is one. */
  #meant(request: DBCorePutRequest, keys: unknown[], ids: string[], rows: (Row | undefined)[]): Draft[] {
    const specs = specsOf(request, keys);
    const executes = !!request.updates && !request.upsert;
    const drafts: Draft[] = [];
    const latest = new Map<string, Row>();
    for (const [i, id] of ids.entries()) {
      const old = latest.get(id) ?? rows[i];
      const spec = specs?.[i];
      let row = request.values[i] as Row;
      if (spec && old && executes) row = executeUpdates(old, row, spec);
      const said = spec && old ? refine(old, row, spec) : { row, refined: [] };
      latest.set(id, said.row);
      drafts.push({ ...this.#draft(id, old, said.row), refined: said.refined });
    }
    return drafts;
  }

  /** Reads, then writes. Later requests of the transaction wait, so that they cannot overtake this one. */
  #readFirst<T>(trans: DBCoreTransaction, read: PromiseExtended<T>, write: (old: T) => Answer): Answer {
    const pass = this.#pass(trans);
    // In an object, because what is waited for is that the write has been asked for, not that it is done.
    const issued = read.then((old) => ({ answer: write(old) }));
    const reading = issued
      .then(({ answer }) => void answer.catch(() => {}), () => {})
      .then(() => {
        if (pass.reading === reading) pass.reading = null;
      });
    pass.reading = reading;
    return issued.then(({ answer }) => answer) as Answer;
  }

  /** Asks for the write, and writes down the drafts when they are here and the earlier requests' have been asked for. */
  #write(request: DBCoreMutateRequest, drafts: PromiseExtended<Draft[]>): Answer {
    const { trans } = request;
    const pass = this.#pass(trans);
    for (const space of this.#spacesAhead(request)) {
      this.#space(trans, space);
      if (this.#options.ahead?.(space)) pass.vacant ??= this.#isVacant(trans);
    }
    const done = this.#table.mutate(request) as Answer;
    const noted = Later.all([drafts, pass.noted])
      .then(([made]) => this.#rows(trans, made as Draft[]))
      .then((rows) => ({ rows: this.#append(trans, rows) }));
    pass.noted = noted.catch(() => abort(trans));
    // The outbox row has to be asked for before the answer is given, because Dexie then ends a transaction of one write. It is
    // not waited for.
    return Later.all([done, noted]).then(([answer, { rows }]: [DBCoreMutateResponse, { rows: PromiseExtended<CapturedRow[]> }]) => {
      if (answer.numFailures === 0) return answer;
      return Later.all([drafts, rows])
        .then(([made, written]) => this.#correct(trans, made as Draft[], written as CapturedRow[], answer.failures))
        .then(() => answer);
    }) as Answer;
  }

  #isVacant(trans: DBCoreTransaction): PromiseExtended<boolean> {
    const query = { index: this.#outbox.schema.primaryKey, range: ALL };
    return (this.#outbox.query({ trans, query, values: false, limit: 1 }) as PromiseExtended<{ result: unknown[] }>).then(({ result }) => result.length === 0, () => false);
  }

  /** The spaces that are sure to be needed: asked for with the write, their rows are here when the old rows are. */
  #spacesAhead(request: DBCoreMutateRequest): Iterable<SpaceId> {
    if (this.#synced.spaceProperty === null) return [PRIVATE];
    if (request.type !== "add" && request.type !== "put") return [];
    return new Set((request.values as Row[]).map((row) => this.#synced.spaceOf(row)));
  }

  #rows(trans: DBCoreTransaction, drafts: Draft[]): PromiseExtended<CapturedRow[]> {
    const spaces = [...spacesOf(this.#synced, drafts)];
    const { tx, early, vacant } = this.#pass(trans);
    const known = Later.all(spaces.map((space) => this.#space(trans, space))) as PromiseExtended<(SpaceRow | undefined)[]>;
    return (Later.all([known, vacant]) as PromiseExtended<[(SpaceRow | undefined)[], boolean | null]>).then(([found, isVacant]) => {
      const known = new Map(spaces.map((space, i): [SpaceId, SpaceRow | undefined] => [space, found[i]]));
      const rows = outboxRows(this.#synced, drafts, {
        tx, at: this.#options.now(), unsynced: this.#options.unsynced, known,
        ...((trans as unknown as IDBTransaction).mode === "versionchange" && { upgrade: true }),
      });
      for (const row of rows) early.mark(row, isVacant === true, known.get(row.space), this.#options.ahead?.(row.space) ?? null);
      return rows;
    });
  }

  /** What is not written down must not stay: the transaction ends with it. */
  #append(trans: DBCoreTransaction, rows: CapturedRow[]): PromiseExtended<CapturedRow[]> {
    if (rows.length === 0) return Later.resolve(rows);
    const added = (this.#outbox.mutate({ trans, type: "add", values: rows }) as Answer).then((answer) => {
      if (answer.numFailures > 0) throw Object.values(answer.failures)[0];
      const written = rows.map((row, i): CapturedRow => ({ ...row, seq: answer.results?.[i] }));
      for (const row of written) this.#pass(trans).early.add(row);
      return written;
    });
    added.catch(() => abort(trans));
    return added;
  }

  /** Some rows were refused, by a unique index or because the key was taken, and the transaction goes on without them. */
  #correct(trans: DBCoreTransaction, drafts: Draft[], rows: CapturedRow[], failures: Failures): PromiseExtended<unknown> {
    this.#pass(trans).early.spoil();
    return this.#rows(trans, withoutRefused(drafts, failures)).then((right) => {
      const corrected = rows.map(({ seq, space, waits }) => ({ seq, ...right.find((one) => one.space === space && one.waits?.space === waits?.space) }));
      return Later.all([
        this.#outbox.mutate({ trans, type: "put", values: corrected.filter(({ space }) => space) }),
        this.#outbox.mutate({ trans, type: "delete", keys: corrected.filter(({ space }) => !space).map(({ seq }) => seq) }),
      ]);
    }) as PromiseExtended<unknown>;
  }
}

/** Ends it, if it has not ended already. */
const abort = (trans: DBCoreTransaction): void => attempt(() => trans.abort());

/** The drafts that were written, each resting on what stood there without the refused ones. */
function withoutRefused(drafts: Draft[], failures: Failures): Draft[] {
  const stood = new Map<string, Row | undefined>();
  const kept: Draft[] = [];
  for (const [i, draft] of drafts.entries()) {
    const rests = stood.has(draft.id) ? { ...draft, old: stood.get(draft.id) } : draft;
    if (i in failures) stood.set(draft.id, rests.old);
    else {
      stood.delete(draft.id);
      kept.push(rests);
    }
  }
  return kept;
}

/** Gives each draft its old row: of two for one record the second rests on the first. */
function chain(drafts: Draft[], rows: (Row | undefined)[]): Draft[] {
  const latest = new Map<string, Row | undefined>();
  return drafts.map((draft, i) => {
    const old = latest.has(draft.id) ? latest.get(draft.id) : rows[i];
    latest.set(draft.id, draft.row);
    return { ...draft, old };
  });
}
