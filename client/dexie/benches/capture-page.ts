// Runs in the page: the same writes by plain Dexie and by Dexie with capture, in turns.

import { Dexie } from "dexie";
import { write } from "../../core/src/records.ts";
import { openCaptured, SCHEMA } from "../tests/database.ts";

export type Work = "put" | "update" | "ten" | "bulk";

const row = (id: string, n: number) => ({
  id, title: `Something to do, number ${n}`, done: n % 2, due: "2026-11-30", tags: ["home", "garden"], meta: { color: "red", order: n },
});
let made = 0;

const WORK: Record<Work, (db: Dexie) => PromiseLike<unknown>> = {
  put: (db) => db.table("todos").put(row(`p${++made}`, made)),
  update: (db) => db.table("todos").update("fixed", { title: `title ${++made}` }),
  ten: (db) =>
    db.transaction("rw", "todos", async () => {
      for (let i = 0; i < 10; i++) await db.table("todos").put(row(`t${++made}`, made));
    }),
  bulk: (db) => db.table("todos").bulkPut(Array.from({ length: 1000 }, () => row(`b${++made}`, made))),
};

async function openPlain(): Promise<Dexie> {
  const db = new Dexie(`plain-${Math.random()}`);
  db.version(1).stores(SCHEMA);
  await db.open();
  return db;
}

/** Milliseconds of each round, of plain Dexie and of capture. The outbox is emptied between rounds, as a leader would. */
export async function measure(work: Work, rounds: number, times: number): Promise<[number, number][]> {
  const [plain, { db: captured }] = [await openPlain(), await openCaptured()];
  const figures: [number, number][] = [];
  for (const db of [plain, captured]) await db.table("todos").put(row("fixed", 0));
  for (let round = -2; round < rounds; round++) {
    const took = new Map<Dexie, number>();
    for (const db of round % 2 ? [plain, captured] : [captured, plain]) {
      const from = performance.now();
      for (let i = 0; i < times; i++) await WORK[work](db);
      took.set(db, performance.now() - from);
    }
    await captured.table("_hw_outbox").clear();
    // The first rounds are for the compiler.
    if (round >= 0) figures.push([(took.get(plain) as number) / times, (took.get(captured) as number) / times]);
  }
  await plain.delete();
  await captured.delete();
  return figures;
}

/** Milliseconds for so many rows in chunks of 1,000: by plain `bulkPut`, and as the store applies a load. */
export async function measureLoad(count: number): Promise<[number, number]> {
  const [plain, { db: captured, store }] = [await openPlain(), await openCaptured()];
  const chunks = Array.from({ length: count / 1000 }, (_, chunk) => Array.from({ length: 1000 }, (_, i) => row(`l${chunk * 1000 + i}`, i)));
  const texts = chunks.map((rows) => rows.map(({ id, ...value }) => ({ key: `todos ${id}`, value: JSON.stringify(value) })));
  let from = performance.now();
  for (const rows of texts) await plain.table("todos").bulkPut(rows.map(({ key, value }) => ({ ...JSON.parse(value), id: key.slice(6) })));
  const floor = performance.now() - from;
  from = performance.now();
  for (const rows of texts) await store.commit(1, { collections: ["todos"], wake: "nothing" }, (tx) => write(tx, "~", rows));
  const applied = performance.now() - from;
  await plain.delete();
  await captured.delete();
  return [floor, applied];
}
