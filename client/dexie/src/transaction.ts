// One transaction of the core on the app's database.

import type { DBCoreTable, DBCoreTransaction } from "dexie";
import type { BaseRow, ExtraRow, Key, NoteRow, OutboxRow, SentRow, SpaceId, SpaceRow, Tx } from "../../core/src/store.ts";
import { collectionOf } from "../../core/src/store.ts";
import { AppRows } from "./app-rows.ts";
import type { CapturedRow } from "./rows.ts";
import type { StoreName, Synced } from "./schema.ts";
import { above, ALL, beginning, StoreOf } from "./stores.ts";

/** From here on, all rows of a space are looked at before rows are asked for one by one: mostly there are few. */
const FEW = 4;
/** The last `seq` of the outbox of which the bases stand in `_hw_base`. */
export const ABSORBED = "absorbed";
/** Records of rows from before that stay local until they change (`existing: 'keep'`): no sweep deletes them. */
export const KEPT = "kept";

interface MetaRow {
  key: string;
  value: unknown;
}
interface MarkRow {
  n?: number;
  load: string;
  keys: Key[];
}

export interface Opened {
  /** The tables through which our own stores are written: `liveQuery` sees it. */
  own: (name: string) => DBCoreTable;
  /** Those through which the app's tables are written: the same, or some that nobody watches. */
  app: (name: string) => DBCoreTable;
  trans: DBCoreTransaction;
  tables: ReadonlyMap<string, Synced>;
  kept: readonly Key[];
  /** Told before a space's row is written, in the transaction. */
  onSpace: (tx: DexieTx, row: SpaceRow) => Promise<void>;
}

export class DexieTx implements Tx {
  readonly rows: AppRows;
  readonly stores;
  readonly #own: Opened["own"];
  readonly #trans: DBCoreTransaction;
  readonly #onSpace: Opened["onSpace"];
  /** The whole outbox, once somebody has asked what touches a record. */
  #queued: OutboxRow[] | null = null;
  #absorbed = 0;

  readonly #kept: Set<Key>;
  readonly #keptBefore: number;

  constructor({ own, app, trans, tables, kept, onSpace }: Opened) {
    this.#kept = new Set(kept);
    this.#keptBefore = kept.length;
    const store = <Row>(name: StoreName) => new StoreOf<Row>(own(name), trans);
    this.stores = {
      outbox: store<OutboxRow>("_hw_outbox"), sent: store<SentRow>("_hw_sent"), base: store<BaseRow>("_hw_base"),
      extra: store<ExtraRow>("_hw_extra"), spaces: store<SpaceRow>("_hw_spaces"), marks: store<MarkRow>("_hw_marks"),
      notes: store<NoteRow>("_hw_notes"), meta: store<MetaRow>("_hw_meta"),
    };
    this.rows = new AppRows(tables, app, trans, this.#kept);
    this.#own = own;
    this.#trans = trans;
    this.#onSpace = onSpace;
  }

  async #all(): Promise<OutboxRow[]> {
    this.#queued ??= await this.stores.outbox.list();
    return this.#queued;
  }

  readonly outbox: Tx["outbox"] = {
    list: async (space, from, limit) => {
      const found: OutboxRow[] = [];
      for (let seq = from; found.length < limit; ) {
        const rows = await this.stores.outbox.list(above(seq), limit);
        for (const row of rows) if (row.space === space && found.length < limit) found.push(row);
        const last = rows.at(-1);
        if (!last || rows.length < limit) break;
        seq = last.seq;
      }
      return found;
    },
    touching: async (space, keys) => {
      if (keys.length === 0) return [];
      const wanted = new Set(keys);
      return (await this.#all()).filter((row) => row.space === space && row.keys.some((key) => wanted.has(key)));
    },
    waiting: async (space) => (await this.#all()).filter((row) => row.waits?.space === space),
    count: async (space) => (await this.#all()).filter((row) => row.space === space).length,
    last: async () => Math.max(this.#absorbed, (await this.#all()).at(-1)?.seq ?? 0),
    add: async (rows) => {
      this.#queued = null;
      return (await this.stores.outbox.add(rows as OutboxRow[])) as number[];
    },
    put: async (rows) => {
      this.#queued = null;
      // What was before is in `_hw_base` by now.
      await this.stores.outbox.put(rows.map((row) => {
        const { before: _, ...kept } = row as OutboxRow & Partial<CapturedRow>;
        return kept as OutboxRow;
      }));
    },
    delete: async (seqs) => {
      this.#queued = null;
      await this.stores.outbox.delete(seqs);
    },
  };

  readonly sent: Tx["sent"] = {
    list: (space) => this.stores.sent.list(beginning(space)),
    put: (rows) => this.stores.sent.put(rows),
    delete: (space, ns) => this.stores.sent.delete(ns.map((n) => [space, n])),
  };

  readonly base: Tx["base"] = {
    get: (space, keys) => few(this.stores.base, space, keys),
    keys: async (space) => (await this.stores.base.keys(beginning(space))).map(keyPart),
    put: (rows) => this.stores.base.put(rows),
    delete: (space, keys) => this.stores.base.delete(keys.map((key) => [space, key])),
  };

  readonly extra: Tx["extra"] = {
    get: (space, keys) => few(this.stores.extra, space, keys),
    keys: async (space) => (await this.stores.extra.keys(beginning(space))).map(keyPart),
    waiting: async (collections) => {
      const found = [...(await this.stores.extra.where("why", "taken")), ...(await this.stores.extra.where("why", "unique"))];
      return found.filter(({ key }) => collections.includes(collectionOf(key)));
    },
    put: (rows) => this.stores.extra.put(rows),
    delete: (space, keys) => this.stores.extra.delete(keys.map((key) => [space, key])),
  };

  readonly spaces: Tx["spaces"] = {
    get: async (space) => (await this.stores.spaces.get([space]))[0],
    list: () => this.stores.spaces.list(),
    put: async (row) => {
      await this.#onSpace(this, row);
      await this.stores.spaces.put([row]);
    },
    delete: (space) => this.stores.spaces.delete([space]),
  };

  readonly marks: Tx["marks"] = {
    add: async (load, keys) => {
      if (keys.length > 0) await this.stores.marks.add([{ load, keys }]);
    },
    all: async (load) => (await this.stores.marks.where("load", load)).flatMap(({ keys }) => keys),
    clear: async (load) => this.stores.marks.delete((await this.stores.marks.where("load", load)).map(({ n }) => n)),
  };

  readonly notes: Tx["notes"] = {
    list: async (space) => (await this.stores.notes.list()).filter((note) => space === undefined || note.space === space),
    add: async (note) => (await this.stores.notes.add([note as NoteRow]))[0] as number,
    put: (note) => this.stores.notes.put([note]),
    delete: (ns) => this.stores.notes.delete(ns),
  };

  readonly meta: Tx["meta"] = {
    get: async (key) => (await this.stores.meta.get([key]))[0]?.value,
    put: (key, value) => this.stores.meta.put([{ key, value }]),
  };

  keep(keys: Key[]): void {
    for (const key of keys) this.#kept.add(key);
  }

  /** Writes what the transaction has gathered. */
  async end(): Promise<void> {
    if (this.#kept.size !== this.#keptBefore) await this.meta.put(KEPT, [...this.#kept]);
  }

  /** Empties a store, one of the app's too. */
  async clear(name: string): Promise<void> {
    await this.#own(name).mutate({ type: "deleteRange", trans: this.#trans, range: ALL });
  }

  /**
   * Makes `base` rows for what has been captured since the last transaction, here or in another tab, in the order of the
   * outbox: of two edits of one record the first knew its synced state.
   */
  async absorb(absorbed: number): Promise<void> {
    const rows = (await this.stores.outbox.list(above(absorbed))) as (OutboxRow & Partial<CapturedRow>)[];
    const last = rows.at(-1);
    this.#absorbed = last?.seq ?? absorbed;
    if (!last) return;
    const firsts = new Map<SpaceId, Map<Key, BaseRow>>();
    for (const { space, keys, before } of rows) {
      for (const key of keys) this.#kept.delete(key);
      let bases = firsts.get(space);
      if (!bases) firsts.set(space, (bases = new Map()));
      for (const [i, value] of before?.entries() ?? []) {
        const key = keys[i] as Key;
        if (!bases.has(key)) bases.set(key, { space, key, value, ...(value === null && { fresh: true as const }) });
      }
    }
    for (const [space, bases] of firsts) {
      const there = await this.base.get(space, [...bases.keys()]);
      await this.base.put([...bases.values()].filter((_, i) => !there[i]));
    }
    await this.meta.put(ABSORBED, last.seq);
  }
}

const keyPart = (key: unknown): Key => (key as [SpaceId, Key])[1];

async function few<Row extends { key: Key }>(store: StoreOf<Row>, space: SpaceId, keys: Key[]): Promise<(Row | undefined)[]> {
  const oneByOne = () => store.get(keys.map((key) => [space, key]));
  if (keys.length <= FEW) return oneByOne();
  const all = await store.list(beginning(space), keys.length + 1);
  if (all.length > keys.length) return oneByOne();
  const byKey = new Map(all.map((row) => [row.key, row]));
  return keys.map((key) => byKey.get(key));
}

