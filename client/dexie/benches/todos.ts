// The app that the benches in Chromium measure, and how it loads its rows without Headwater.

import { Dexie } from "dexie";
import { headwater, type Sync } from "../src/index.ts";

const SCHEMA = { todos: "id, done" };
let databases = 0;

/** A database of the app, not open yet. */
export function database(): Dexie {
  const db = new Dexie(`bench-${++databases}-${Math.random()}`);
  db.version(1).stores(SCHEMA);
  return db;
}

export const synced = (db: Dexie, url: string, token: string, socket = true): Sync =>
  headwater(db, { url, token: async () => token, collections: ["todos"], socket });

/** Dexie's promises take their own way through time, which an `await` of the page must not follow. */
export const opened = (db: Dexie): Promise<void> => new Promise((resolve, reject) => db.open().then(() => resolve(), reject));

async function timed(db: Dexie, load: () => Promise<Sync | undefined>): Promise<{ ms: number; rows: number }> {
  const from = performance.now();
  const sync = await load();
  const ms = performance.now() - from;
  const rows = await db.table("todos").count();
  await sync?.close();
  await db.delete();
  return { ms, rows };
}

/** Milliseconds from before the database is opened until all that the space has is in it. */
export function firstLoad(url: string, token: string): Promise<{ ms: number; rows: number }> {
  const db = database();
  return timed(db, async () => {
    const sync = synced(db, url, token);
    await opened(db);
    await sync.ready;
    return sync;
  });
}

/** The same for the least that an app could write by hand: `fetch`, `JSON.parse` of each line, and one `bulkPut`. */
export function plainLoad(url: string, token: string): Promise<{ ms: number; rows: number }> {
  const db = database();
  return timed(db, async () => {
    const opening = opened(db);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", accept: "application/x-ndjson" };
    const answer = await fetch(`${url}/sync/pull`, { method: "POST", headers, body: "{}" });
    const rows: object[] = [];
    for (const text of (await answer.text()).split("\n")) {
      if (text === "") continue;
      const line = JSON.parse(text);
      if (line.collection === "todos") rows.push({ ...line.value, id: line.id });
    }
    await opening;
    await db.table("todos").bulkPut(rows);
    return undefined;
  });
}
