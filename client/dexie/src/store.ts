// The core's store on the app's own database.
//
// The app's tables are written below the hooks and below capture: no hook fires and nothing is captured, and `liveQuery` sees it
// in every tab. A load writes below observability too: every chunk would otherwise run every query again. Its last transaction
// then says once that everything has changed.

import type { DBCore, DBCoreTransaction, Dexie as Database, ObservabilitySet } from "dexie";
import { DeviceFull, type OutboxRow, type Scope, type SpaceRow, type Store, StoreClosed, TermOver } from "../../core/src/store.ts";
import type { LeaderRow } from "./leader.ts";
import { Dexie, RangeSet } from "./dexie.ts";
import { STORE_NAMES, type Synced } from "./schema.ts";
import { above, type StoreOf, storeOf } from "./stores.ts";
import { zone } from "./zone.ts";
import { tap } from "./tap.ts";
import { type DexieTx, type MetaRow, openTx } from "./transaction.ts";

export const LEADER = "leader";

/** Below observability, and so seen by no query. */
export const silentTap = () => tap("headwater-silent", -2);

/** What tabs query. */
const WATCHED = ["_hw_notes", "_hw_spaces"];

export interface DexieStoreOptions {
  db: Database;
  tables: ReadonlyMap<string, Synced>;
  /** Below capture, above observability. */
  below: () => DBCore;
  silent: () => DBCore;
  onSpace?: (tx: DexieTx, row: SpaceRow) => Promise<void>;
}

export class DexieStore implements Store {
  readonly #options: DexieStoreOptions;

  constructor(options: DexieStoreOptions) {
    this.#options = options;
  }

  commit<T>(term: number, scope: Scope, body: (tx: DexieTx) => Promise<T>): Promise<T> {
    return this.#transact(term, scope, body);
  }

  /** What the app does in any tab, whoever leads: it only adds to the outbox, to what is shown, or empties everything. */
  edit<T>(body: (tx: DexieTx) => Promise<T>): Promise<T> {
    return this.#transact(null, { wake: "rows" }, body);
  }

  /** What has been captured since a `seq`. */
  captured(seq: number): Promise<OutboxRow[]> {
    const { db, below } = this.#options;
    return db.transaction("r", "_hw_outbox", (tx) => storeOf<OutboxRow>(below().table("_hw_outbox"), tx.idbtrans as never).list(above(seq)));
  }

  async #transact<T>(term: number | null, scope: Scope, body: (tx: DexieTx) => Promise<T>): Promise<T> {
    const { db, tables, below, silent, onSpace = async () => {} } = this.#options;
    const collections = scope.wake === "everything" || !scope.collections ? [...tables.keys()] : scope.collections.filter((name) => tables.has(name));
    try {
      return await db.transaction("rw", [...collections, ...STORE_NAMES], (dexieTx) => {
        const trans = dexieTx.idbtrans as unknown as DBCoreTransaction;
        const run = zone();
        const through = (core: DBCore) => <Row>(name: string) => storeOf<Row>(core.table(name), trans, run);
        const [seen, unseen] = [through(below()), through(silent())];
        const app = scope.wake === "nothing" ? unseen : seen;
        // A leader knows what it writes; others ask for notes and spaces, and the leader for what others have written down.
        const own = <Row>(name: string) => (term === null || WATCHED.includes(name) ? seen<Row> : unseen<Row>)(name);
        const work = async () => {
          const tx = openTx({ own, app, tables, onSpace });
          await tx.begin();
          const leader = (await tx.meta.get(LEADER)) as LeaderRow | undefined;
          if (term !== null && leader?.term !== term) throw new TermOver(`term ${term} is over`);
          const result = await body(tx);
          await Promise.all([tx.end(), scope.wake === "everything" && this.#wakeAll(seen<MetaRow>("_hw_meta"))]);
          return result;
        };
        return new Dexie.Promise<T>((resolve, reject) => {
          Dexie.ignoreTransaction(work).then(resolve, reject);
        });
      });
    } catch (error) {
      throw known(error);
    }
  }

  /** Says with a row of ours that every synced table has changed as a whole. */
  async #wakeAll(meta: StoreOf<MetaRow>): Promise<void> {
    const { db, tables, below } = this.#options;
    const core = below();
    const mutatedParts: ObservabilitySet = {};
    for (const name of tables.keys()) {
      const { indexes } = core.table(name).schema;
      for (const part of ["", ":dels", ...indexes.map((index) => index.name ?? "")])
        mutatedParts[`idb://${db.name}/${name}/${part}`] = new RangeSet(core.MIN_KEY, core.MAX_KEY);
    }
    await meta.mutate({ type: "put", values: [{ key: "woken", value: Date.now() }], mutatedParts });
  }
}

/** What the core knows how to go on from. */
function known(error: unknown): unknown {
  if (error instanceof TermOver) return error;
  for (let one = error as { name?: string; inner?: unknown; message?: string } | undefined; one; one = one.inner as typeof one) {
    if (one.name === "QuotaExceededError") return new DeviceFull(one.message ?? "");
    if (one.name === "DatabaseClosedError" || one.name === "InvalidStateError") return new StoreClosed(one.message ?? "");
  }
  return error;
}
