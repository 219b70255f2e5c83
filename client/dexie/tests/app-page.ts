// What the pages of worker.test.ts hold: an app as anybody would write one, with the package as it is.

import { add as addition, Dexie, liveQuery } from "dexie";
import { headwater, type Status, type Sync } from "../src/index.ts";

/** The test's process gives tokens. */
declare const askToken: (user: string, reason: string) => Promise<string | null>;

let db: Dexie;
let sync: Sync;
let shown: Record<string, unknown>[] = [];
const statuses: Status[] = [];

interface Settings {
  /** Of the database. */
  name?: string;
  version?: number;
  /** Synced tables beside `todos`. */
  tables?: string[];
}

/** Rows with a `list` belong to the shared space of that id. */
export async function start(url: string, user: string, { name = "app", version = 1, tables = [] }: Settings = {}): Promise<void> {
  db = new Dexie(name);
  db.version(version).stores({ todos: "id, list", ...Object.fromEntries(tables.map((table) => [table, "id"])) });
  const collections = { todos: { space: "list" }, ...Object.fromEntries(tables.map((table) => [table, true as const])) };
  sync = headwater(db, { url, token: ({ reason }) => askToken(user, reason), collections });
  sync.status.subscribe((status) => void statuses.push(status));
  await new Promise((resolve, reject) => db.open().then(resolve, reject));
  liveQuery(() => db.table("todos").toArray() as Promise<typeof shown>).subscribe({ next: (rows) => void (shown = rows), error: () => {} });
}

const todos = () => db.table("todos");
/** What the query of the page shows, ordered by key. */
export const rows = () => shown;
export const add = (row: object): Promise<void> => Promise.resolve(todos().add(row).then(() => {}));
export const addTo = (table: string, row: object): Promise<void> => Promise.resolve(db.table(table).add(row).then(() => {}));
/** All rows of a table, asked for now. */
export const all = (table: string): Promise<Record<string, unknown>[]> => Promise.resolve(db.table(table).toArray());
export const get = (id: string): Promise<Record<string, unknown> | undefined> => Promise.resolve(todos().get(id));
export const some = (limit: number): Promise<Record<string, unknown>[]> => Promise.resolve(todos().limit(limit).toArray());
export const count = (): Promise<number> => Promise.resolve(todos().count());
export const update = (id: string, changes: object): Promise<void> => Promise.resolve(todos().update(id, changes).then(() => {}));
export const increment = (id: string): Promise<void> => update(id, { n: addition(1) });
/** With what stands in the status of the private space. */
export const status = (): Status & { ready: boolean } => ({ ...sync.status.value, ready: sync.status.value.spaces.find(({ space }) => space === "~")?.ready ?? false });
/** How many lines each status so far has told of a load. */
export const progress = () => statuses.flatMap(({ progress }) => (progress ? [progress.lines] : []));
export const conflicts = () => sync.conflicts.value.map(({ space, records }) => ({ space, records }));
export const rejected = () => sync.rejected.value.map(({ code, detail }) => ({ code, detail }));
export const resolve = (choice: "mine" | "theirs") => sync.conflicts.value[0]?.resolve(choice);
export const synced = () => sync;
/** Writes rows and deletes others as a build without the package does. */
export const past = (rows: object[], gone: string[]): Promise<void> =>
  new Promise((resolve, reject) => {
    const transaction = db.backendDB().transaction("todos", "readwrite");
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    for (const row of rows) transaction.objectStore("todos").put(row);
    for (const key of gone) transaction.objectStore("todos").delete(key);
  });
export const adopt = () => sync.adopt("todos").then(({ refused, ...told }) => ({ ...told, refused: refused.map(({ key }) => key) }));
