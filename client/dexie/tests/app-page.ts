// What the pages of worker.test.ts hold: an app as anybody would write one, with the package as it is.

import { add as addition, Dexie, liveQuery } from "dexie";
import { headwater, type Status, type Sync } from "../src/index.ts";

/** The test's process gives tokens. */
declare const askToken: (user: string, reason: string) => Promise<string | null>;

let db: Dexie;
let sync: Sync;
let shown: Record<string, unknown>[] = [];
const statuses: Status[] = [];

/** Rows with a `list` belong to the shared space of that id. */
export async function start(url: string, user: string): Promise<void> {
  db = new Dexie("app");
  db.version(1).stores({ todos: "id, list" });
  sync = headwater(db, { url, token: ({ reason }) => askToken(user, reason), collections: { todos: { space: "list" } } });
  sync.status.subscribe((status) => void statuses.push(status));
  await new Promise((resolve, reject) => db.open().then(resolve, reject));
  liveQuery(() => db.table("todos").toArray() as Promise<typeof shown>).subscribe({ next: (rows) => void (shown = rows), error: () => {} });
}

const todos = () => db.table("todos");
/** What the query of the page shows, ordered by key. */
export const rows = () => shown;
export const add = (row: object): Promise<void> => Promise.resolve(todos().add(row).then(() => {}));
export const update = (id: string, changes: object): Promise<void> => Promise.resolve(todos().update(id, changes).then(() => {}));
export const increment = (id: string): Promise<void> => update(id, { n: addition(1) });
export const status = (): Status => sync.status.value;
/** How many lines each status so far has told of a load. */
export const progress = () => statuses.flatMap(({ progress }) => (progress ? [progress.lines] : []));
export const conflicts = () => sync.conflicts.value.map(({ space, records }) => ({ space, records }));
export const rejected = () => sync.rejected.value.map(({ code, detail }) => ({ code, detail }));
export const resolve = (choice: "mine" | "theirs") => sync.conflicts.value[0]?.resolve(choice);
export const synced = () => sync;
