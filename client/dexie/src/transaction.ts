// One transaction of the core on the app's database.

import { memo } from "../../core/src/memo.ts";
import type { BaseRow, ExtraRow, Key, NoteRow, OutboxRow, SentRow, SpaceId, SpaceRow, Tx } from "../../core/src/store.ts";
import { collectionOf } from "../../core/src/store.ts";
import { type AppRows, appRows } from "./app-rows.ts";
import type { CapturedRow } from "./rows.ts";
import type { Row, StoreName, Synced } from "./schema.ts";
import { above, beginning, type StoreOf } from "./stores.ts";

/** From here on, all rows of a space are looked at before rows are asked for one by one: mostly there are few. */
const FEW = 4;
/** The last `seq` of the outbox of which the bases stand in `_hw_base`. */
export const ABSORBED = "absorbed";
/** Records of rows from before that stay local until they change (`existing: 'keep'`): no sweep deletes them. */
export const KEPT = "kept";

export interface MetaRow {
  key: string;
  value: unknown;
}
interface MarkRow {
  n?: number;
  load: string;
  keys: Key[];
}

export interface Opened {
  /** What our own stores are written through: `liveQuery` sees it. */
  own: <Row>(name: string) => StoreOf<Row>;
  /** What the app's tables are written through: the same, or something that nobody watches. */
  app: (name: string) => StoreOf<Row>;
  tables: ReadonlyMap<string, Synced>;
  kept: readonly Key[];
  /** Told before a space's row is written, in the transaction. */
  onSpace: (tx: DexieTx, row: SpaceRow) => Promise<void>;
}

export interface DexieTx extends Tx {
  rows: AppRows;
  stores: ReturnType<typeof ourStores>;
  keep(keys: Key[]): void;
  /** Empties a store, one of the app's too. */
  clear(name: string): Promise<void>;
  /**
   * Makes `base` rows for what has been captured since the last transaction, here or in another tab, in the order of the
   * outbox: of two edits of one record the first knew its synced state.
   */
  absorb(absorbed: number): Promise<void>;
  /** Writes what the transaction has gathered. */
  end(): Promise<void>;
}

function ourStores(own: Opened["own"]) {
  const store = <Row>(name: StoreName) => own<Row>(name);
  return {
    outbox: store<OutboxRow>("_hw_outbox"), sent: store<SentRow>("_hw_sent"), base: store<BaseRow>("_hw_base"),
    extra: store<ExtraRow>("_hw_extra"), spaces: store<SpaceRow>("_hw_spaces"), marks: store<MarkRow>("_hw_marks"),
    notes: store<NoteRow>("_hw_notes"), meta: store<MetaRow>("_hw_meta"),
  };
}

export function openTx({ own, app, tables, kept, onSpace }: Opened): DexieTx {
  const stores = ourStores(own);
  const { sent, extra, spaces, marks, notes, meta } = stores;
  const keeps = new Set(kept);
  const base = byKey(stores.base);
  /** The last of the outbox that has been absorbed, and may be gone from there. */
  let seen = 0;
  const tx: DexieTx = {
    stores,
    rows: appRows({ tables, store: app }, keeps),
    outbox: outboxOf(stores.outbox, () => seen),
    sent: {
      list: (space) => sent.list(beginning(space)),
      put: (rows) => sent.put(rows),
      delete: (space, ns) => sent.delete(ns.map((n) => [space, n])),
    },
    base,
    extra: {
      ...byKey(extra),
      waiting: async (collections) =>
        [...(await extra.where("why", "taken")), ...(await extra.where("why", "unique"))].filter(({ key }) => collections.includes(collectionOf(key))),
    },
    spaces: {
      get: async (space) => (await spaces.get([space]))[0],
      list: () => spaces.list(),
      put: async (row) => {
        await onSpace(tx, row);
        await spaces.put([row]);
      },
      delete: (space) => spaces.delete([space]),
    },
    marks: {
      add: async (load, keys) => void (await marks.add(keys.length > 0 ? [{ load, keys }] : [])),
      all: async (load) => (await marks.where("load", load)).flatMap(({ keys }) => keys),
      clear: async (load) => marks.delete((await marks.where("load", load)).map(({ n }) => n)),
    },
    notes: {
      list: async (space) => (await notes.list()).filter((note) => !space || note.space === space),
      add: async (note) => (await notes.add([note as NoteRow]))[0] as number,
      put: (note) => notes.put([note]),
      delete: (ns) => notes.delete(ns),
    },
    meta: {
      get: async (key) => (await meta.get([key]))[0]?.value,
      put: (key, value) => meta.put([{ key, value }]),
    },
    keep: (keys) => keys.forEach((key) => keeps.add(key)),
    clear: (name) => own(name).clear(),
    async absorb(absorbed) {
      const rows = (await stores.outbox.list(above(absorbed))) as (OutboxRow & Partial<CapturedRow>)[];
      seen = rows.at(-1)?.seq ?? absorbed;
      for (const [space, bases] of firstBases(rows)) {
        const there = await base.get(space, [...bases.keys()]);
        await base.put([...bases.values()].filter((_, i) => !there[i]));
      }
      for (const key of rows.flatMap(({ keys }) => keys)) keeps.delete(key);
      await meta.put(rows.slice(-1).map(({ seq }) => ({ key: ABSORBED, value: seq })));
    },
    end: () => meta.put(keeps.size === kept.length ? [] : [{ key: KEPT, value: [...keeps] }]),
  };
  return tx;
}

/** The whole outbox is read, once until it changes: what touches a record is asked for again and again. */
function outboxOf(store: StoreOf<OutboxRow>, seen: () => number): Tx["outbox"] {
  let all: OutboxRow[] | null = null;
  const changed = <T>(done: T): T => {
    all = null;
    return done;
  };
  const rows = async () => (all ??= await store.list());
  return {
    list: async (space) => (await rows()).filter((row) => !space || row.space === space),
    last: async () => Math.max(seen(), (await rows()).at(-1)?.seq ?? 0),
    add: async (rows) => changed((await store.add(rows as OutboxRow[])) as number[]),
    // What was before is in `_hw_base` by now.
    put: async (rows) => changed(await store.put(rows.map(({ before: _, ...row }: OutboxRow & Partial<CapturedRow>) => row as OutboxRow))),
    delete: async (seqs) => changed(await store.delete(seqs)),
  };
}

/** The bases that captured rows tell of, by space: of each record the first. */
function firstBases(rows: (OutboxRow & Partial<CapturedRow>)[]): Map<SpaceId, Map<Key, BaseRow>> {
  const firsts = new Map<SpaceId, Map<Key, BaseRow>>();
  for (const { space, keys, before = [] } of rows) {
    const bases = memo(firsts, space, () => new Map<Key, BaseRow>());
    for (const [i, value] of before.entries()) {
      const key = keys[i] as Key;
      if (!bases.has(key)) bases.set(key, { space, key, value, ...(value === null && { fresh: true as const }) });
    }
  }
  return firsts;
}

/** Rows that space and key name. */
function byKey<Row extends { key: Key }>(store: StoreOf<Row>) {
  const named = (space: SpaceId, keys: Key[]) => keys.map((key) => [space, key]);
  return {
    async get(space: SpaceId, keys: Key[]): Promise<(Row | undefined)[]> {
      const all = keys.length > FEW ? await store.list(beginning(space), keys.length + 1) : null;
      if (!all || all.length > keys.length) return store.get(named(space, keys));
      const rows = new Map(all.map((row) => [row.key, row]));
      return keys.map((key) => rows.get(key));
    },
    keys: async (space: SpaceId) => (await store.keys(beginning(space))).map((key) => (key as [SpaceId, Key])[1]),
    put: (rows: Row[]) => store.put(rows),
    delete: (space: SpaceId, keys: Key[]) => store.delete(named(space, keys)),
  };
}
