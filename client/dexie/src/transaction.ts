// One transaction of the core on the app's database.

import { memo } from "../../core/src/memo.ts";
import type { BaseRow, ExtraRow, Key, NewOutboxRow, NoteRow, OutboxRow, SentRow, SpaceId, SpaceRow, Tx } from "../../core/src/store.ts";
import { collectionOf } from "../../core/src/store.ts";
import { type AppRows, appRows, type Tables } from "./app-rows.ts";
import type { CapturedRow } from "./rows.ts";
import type { StoreName, Synced } from "./schema.ts";
import { type CopyOf, copyOf } from "./copy.ts";
import type { StoreOf } from "./stores.ts";

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
  app: Tables["store"];
  tables: ReadonlyMap<string, Synced>;
  /** Told before a space's row is written, in the transaction. */
  onSpace: (tx: DexieTx, row: SpaceRow) => Promise<void>;
}

export interface DexieTx extends Tx {
  rows: AppRows;
  stores: ReturnType<typeof copies>;
  keep(keys: Key[]): void;
  /** Empties a store, one of the app's too. */
  clear(name: string): Promise<void>;
  /**
   * Reads what is needed in nearly every transaction, and makes `base` rows for what has been captured since the last one, here or
   * in another tab, in the order of the outbox: of two edits of one record the first knew its synced state.
   */
  begin(): Promise<void>;
  /** Writes what the transaction has gathered. */
  end(): Promise<void>;
}

/** What is small, as this transaction sees it. */
function copies(own: Opened["own"]) {
  const copy = <Row>(name: StoreName, keyOf: (row: Row) => unknown) => copyOf(own<Row>(name), keyOf);
  const named = ({ space, key }: { space: SpaceId; key: Key }) => [space, key];
  return {
    outbox: copy<OutboxRow & Partial<CapturedRow>>("_hw_outbox", ({ seq }) => seq), sent: copy<SentRow>("_hw_sent", ({ space, n }) => [space, n]),
    base: copy<BaseRow>("_hw_base", named), extra: copy<ExtraRow>("_hw_extra", named),
    spaces: copy<SpaceRow>("_hw_spaces", ({ space }) => space), meta: copy<MetaRow>("_hw_meta", ({ key }) => key),
  };
}

/** What is asked for seldom, and as it stands in the database. */
function marksAndNotes(own: Opened["own"]): Pick<Tx, "marks" | "notes"> {
  const [marks, notes] = [own<MarkRow>("_hw_marks"), own<NoteRow>("_hw_notes")];
  return {
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
  };
}

export function openTx({ own, app, tables, onSpace }: Opened): DexieTx {
  const stores = copies(own);
  const { outbox, sent, base, extra, spaces, meta } = stores;
  const keeps = new Set<Key>();
  const rows = appRows({ tables, store: app }, keeps);
  /** How many records were kept at the beginning. */
  let kept = 0;
  /** The last of the outbox that has been absorbed, and may be gone from there. */
  let seen = 0;
  const tx: DexieTx = {
    stores, rows, ...marksAndNotes(own),
    outbox: {
      list: async (space) => (await outbox.list()).filter((row) => !space || row.space === space).sort((one, other) => one.seq - other.seq),
      last: async () => Math.max(seen, (await tx.outbox.list()).at(-1)?.seq ?? 0),
      async add(rows) {
        const seqs = (await own<NewOutboxRow>("_hw_outbox").add(rows)) as number[];
        outbox.learn(rows.map((row, i) => ({ ...row, seq: seqs[i] as number })));
        return seqs;
      },
      // What was before is in `_hw_base` by now.
      put: async (rows) => outbox.put(rows.map(({ before: _, ...row }: OutboxRow & Partial<CapturedRow>) => row)),
      delete: async (seqs) => outbox.delete(seqs),
    },
    sent: {
      list: async (space) => (await sent.list()).filter((row) => row.space === space).sort((one, other) => one.n - other.n),
      put: async (rows) => sent.put(rows),
      delete: async (space, ns) => sent.delete(ns.map((n) => [space, n])),
    },
    base: byKey(base),
    extra: {
      ...byKey(extra),
      waiting: async (collections) => (await extra.where("why", ["taken", "unique"])).filter(({ key }) => collections.includes(collectionOf(key))),
    },
    spaces: {
      // The core changes the row that it is given, and what stands in the database is still asked for.
      get: async (space) => structuredClone((await spaces.get([space]))[0]),
      list: () => spaces.list(),
      put: async (row) => {
        await onSpace(tx, row);
        spaces.put([row]);
      },
      delete: async (space) => spaces.delete([space]),
    },
    meta: {
      get: async (key) => (await meta.get([key]))[0]?.value,
      put: async (key, value) => meta.put([{ key, value }]),
    },
    keep: (keys) => keys.forEach((key) => keeps.add(key)),
    clear: (name) => ((name.startsWith("_hw_") && stores[name.slice(4) as keyof typeof stores]) || own(name)).clear(),
    async begin() {
      await Promise.all(Object.values(stores).map((store) => store.ahead()));
      for (const key of ((await tx.meta.get(KEPT)) ?? []) as Key[]) keeps.add(key);
      kept = keeps.size;
      seen = ((await tx.meta.get(ABSORBED)) as number | undefined) ?? 0;
      const fresh = ((await tx.outbox.list()) as (OutboxRow & Partial<CapturedRow>)[]).filter(({ seq }) => seq > seen);
      for (const [space, bases] of firstBases(fresh)) {
        const there = await base.get([...bases.keys()].map((key) => [space, key]));
        base.put([...bases.values()].filter((_, i) => !there[i]));
      }
      for (const key of fresh.flatMap(({ keys }) => keys)) keeps.delete(key);
      const last = fresh.at(-1);
      if (last) await tx.meta.put(ABSORBED, (seen = last.seq));
    },
    async end() {
      if (keeps.size !== kept) await tx.meta.put(KEPT, [...keeps]);
      await Promise.all([rows.end(), ...Object.values(stores).map((store) => store.write())]);
    },
  };
  return tx;
}

/** The bases that captured rows tell of, by space: of each record the first. */
export function firstBases(rows: Pick<Partial<CapturedRow> & OutboxRow, "space" | "keys" | "before">[]): Map<SpaceId, Map<Key, BaseRow>> {
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
function byKey<Row extends { space: SpaceId; key: Key }>(rows: CopyOf<Row>) {
  const named = (space: SpaceId, keys: Key[]) => keys.map((key) => [space, key]);
  return {
    get: (space: SpaceId, keys: Key[]) => rows.get(named(space, keys)),
    keys: async (space: SpaceId) => (await rows.list()).filter((row) => row.space === space).map(({ key }) => key),
    put: async (list: Row[]) => rows.put(list),
    delete: async (space: SpaceId, keys: Key[]) => rows.delete(named(space, keys)),
  };
}
