// A database for tests of capture: Dexie with our stores and middleware, and what was written down.

import { Dexie } from "dexie";
import type { Position } from "../../core/src/store.ts";
import { createCapture } from "../src/capture.ts";
import type { CapturedRow } from "../src/rows.ts";
import { DexieStore, silentTap } from "../src/store.ts";
import { type Collections, declareStores, readCollections } from "../src/schema.ts";

export const SCHEMA = {
  todos: "id, done, *tags",
  cards: "id, board",
  boards: "id",
  users: "id, &email",
  pairs: "[a+b]",
  counts: "id",
  loose: "",
  local: "++id",
};
const COLLECTIONS: Collections = {
  todos: true, cards: { space: "board" }, boards: { space: "id" }, users: true, pairs: true, counts: { keys: "number" }, loose: true,
};
export const POSITION: Position = { epoch: "0mwrnsa6yk3v9q2", version: 7 };

let databases = 0;

export interface Captured {
  db: Dexie;
  store: DexieStore;
  below: ReturnType<typeof createCapture>["below"];
  silent: ReturnType<typeof silentTap>["below"];
  /** The operations written down since the last call, parsed. */
  taken(): Promise<Record<string, unknown>[]>;
  rows(): Promise<CapturedRow[]>;
}

export async function openCaptured(options: { position?: Position | null; unsynced?: boolean } = {}): Promise<Captured> {
  const { position = POSITION, unsynced = false } = options;
  const db = new Dexie(`capture-${++databases}-${Math.random()}`);
  db.version(1).stores(SCHEMA);
  const tables = readCollections(db, COLLECTIONS, () => {});
  declareStores(db);
  let transactions = 0;
  const { middleware, below } = createCapture({ tables, unsynced, now: () => 1, newTransaction: () => `t${++transactions}` });
  const silent = silentTap();
  db.use(middleware);
  db.use(silent.middleware);
  await db.open();
  await db.table("_hw_meta").put({ key: "leader", value: { term: 1 } });
  const store = new DexieStore({ db, tables, below, silent: silent.below });
  if (position) {
    for (const space of ["~", "b1", "b2"]) await db.table("_hw_spaces").put({ space, position, load: null });
  }
  const rows = () => db.table<CapturedRow>("_hw_outbox").toArray();
  const taken = async () => {
    const all = await rows();
    await db.table("_hw_outbox").clear();
    return all.flatMap((row) => row.changes.map((text) => JSON.parse(text) as Record<string, unknown>));
  };
  return { db, store, below, silent: silent.below, rows, taken };
}
