// A device of the live bench: its database with one row, a query of that row, and a way to the other device. `start` is the client as
// an app uses it; `startPlain` the least by hand: the row is written, sent, and put where it arrives.

import { type Dexie, liveQuery } from "dexie";
import type { Sync } from "../src/index.ts";
import { database, opened, synced } from "./todos.ts";

const ROW = "t1";
const row = (n: number) => ({ id: ROW, title: `Something to do, number ${n}`, done: n % 2, n });

let db: Dexie;
let sync: Sync;
let write: (n: number) => Promise<unknown>;
let shown = { n: -1, at: 0 };
let waiting: { n: number; seen: (at: number) => void } | null = null;

/** Milliseconds of a clock that all pages of one machine share. */
const clock = () => performance.timeOrigin + performance.now();

function watch(): void {
  liveQuery(() => db.table("todos").get(ROW) as Promise<{ n: number } | undefined>).subscribe((found) => {
    shown = { n: found?.n ?? -1, at: clock() };
    if (waiting && waiting.n === shown.n) waiting.seen(shown.at);
  });
}

/** Reads the row and writes what has changed of it. */
async function update(n: number): Promise<void> {
  const changed = await db.table("todos").update(ROW, { title: row(n).title, done: n % 2, n });
  if (!changed) await db.table("todos").add(row(n));
}

/** Opens the database, and resolves when what others write is heard of. */
export async function start(url: string, token: string, socket = true): Promise<void> {
  db = database();
  sync = synced(db, url, token, socket);
  await opened(db);
  await sync.ready;
  await sync.now();
  write = update;
  watch();
}

/** `updates`: the row is written as `start` does it, and not put as a whole, which needs no read. */
export async function startPlain(url: string, updates: boolean): Promise<void> {
  db = database();
  await opened(db);
  const socket = new WebSocket(url.replace(/^http/, "ws"));
  socket.onmessage = ({ data }) => void db.table("todos").put(JSON.parse(data));
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  write = async (n) => {
    await (updates ? update(n) : db.table("todos").put(row(n)));
    socket.send(JSON.stringify(row(n)));
  };
  watch();
}

/** Everything is pushed and pulled. */
export const settled = (): Promise<void> => sync.now();

/** Writes the row, and gives the time at which that was asked for. */
export function change(n: number): number {
  const at = clock();
  void write(n);
  return at;
}

/** The time at which the query shows the row as it was written with this number. */
export function seen(n: number): Promise<number> {
  return new Promise((resolve, reject) => {
    if (shown.n === n) return resolve(shown.at);
    const timer = setTimeout(() => reject(new Error(`change ${n} has not come within 20 s`)), 20_000);
    waiting = {
      n,
      seen: (at) => {
        clearTimeout(timer);
        resolve(at);
      },
    };
  });
}
