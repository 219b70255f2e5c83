// What is installed: the built package, its names shortened and its code minified, does what the sources do.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { Dexie } from "dexie";

// @ts-expect-error a script, without types
import { built, INTERNAL } from "../../build.mjs";
import type * as Package from "../src/index.ts";
import { fetchFrom, TOKEN } from "./app.ts";
import { Server } from "./server.ts";
import { until } from "./sync-cases.ts";

/** Beside the packages, so that it finds Dexie. */
const FOLDER = new URL("../../../node_modules/.cache/", import.meta.url);

async function load(): Promise<typeof Package> {
  const { code } = await built("dexie");
  mkdirSync(FOLDER, { recursive: true });
  const file = new URL(`headwater-built-${process.pid}.mjs`, FOLDER);
  writeFileSync(file, code);
  try {
    return await import(file.href);
  } finally {
    rmSync(file);
  }
}

test("the built package loads, captures every kind of write, pushes, merges, and shows conflicts and rejections", async () => {
  const { headwater, KeyError, newId } = await load();
  const server = new Server();
  const { fetch } = globalThis;
  globalThis.fetch = ((url: string, init: never) => fetchFrom((asked) => server.ask(asked), url, init)) as unknown as typeof fetch;
  const db = new Dexie("built");
  db.version(1).stores({ todos: "id, done", users: "id, &email", cards: "id, board" });
  server.write("todos", "old", { title: "theirs" });
  const sync = headwater(db, { url: "http://hw.test", token: async () => TOKEN, socket: false, collections: { todos: true, users: true, cards: { space: "board" } } });
  const todos = db.table("todos");
  try {
    await todos.add({ id: "a", title: "milk", n: 1, at: new Date(0), tags: new Set(["x"]) });
    await sync.ready;
    assert.equal((await todos.get("old"))?.title, "theirs");
    await todos.bulkPut([{ id: "b", n: 1 }, { id: newId(), n: 2 }]);
    await todos.update("a", { title: "bread" });
    await todos.where("id").equals("b").modify((row) => void (row.n += 1));
    await todos.delete("old");
    await assert.rejects(async () => todos.add({ id: "\n" }), KeyError);
    await sync.now();
    assert.deepEqual(server.value("todos a"), { title: "bread", n: 1, at: { $t: "Date", v: "1970-01-01T00:00:00.000Z" }, tags: { $t: "Set", v: ["x"] } });
    assert.deepEqual([server.value("todos b"), server.value("todos old")], [{ n: 2 }, undefined]);

    server.write("todos", "b", { n: 3 });
    server.rejected.add("bad");
    await todos.put({ id: "c", title: "bad" });
    await todos.update("b", { n: 4 });
    await sync.now();
    await until("it is shown", () => sync.conflicts.value.length === 1);
    await until("it is shown", () => sync.rejected.value.length === 1);
    const [conflict] = sync.conflicts.value;
    assert.deepEqual(conflict?.records.map(({ key, mine, theirs }) => [key, mine?.["n"], theirs?.["n"]]), [["b", 4, 3]]);
    assert.deepEqual(sync.rejected.value.map(({ code }) => code), ["invalid_value"]);
    await sync.rejected.value[0]?.discard();
    await conflict?.resolve("mine");
    await sync.now();
    await until("it is not shown any more", () => sync.conflicts.value.length === 0);
    await until("it is not shown any more", () => sync.rejected.value.length === 0);
    assert.deepEqual([await todos.get("c"), sync.status.value.phase, sync.status.value.pending], [undefined, "idle", 0]);
    await sync.forget();
    assert.equal(await todos.count(), 0);
  } finally {
    await sync.close();
    db.close();
    globalThis.fetch = fetch;
  }
});

test("no name that the build shortens is stored, sent, public, or Dexie's", () => {
  const sources = ["../../core/src/store.ts", "../../core/src/status.ts", "../../core/src/ports.ts", "../src/rows.ts", "../src/status.ts", "../src/observable.ts"];
  const others = ["../../../docs/PROTOCOL.md", "../../../node_modules/dexie/dist/dexie.d.ts"];
  const text = [...sources, ...others].map((path) => readFileSync(new URL(path, import.meta.url), "utf8")).join();
  const words = new Set(text.match(/\w+/g));
  const rows = readFileSync(new URL("../src/leader.ts", import.meta.url), "utf8").split("export interface Terms")[0];
  const messages = readFileSync(new URL("../src/tabs.ts", import.meta.url), "utf8").split("export interface TabsOptions")[0];
  for (const word of `${rows} ${messages}`.match(/\w+/g) ?? []) words.add(word);
  assert.deepEqual((INTERNAL as string[]).filter((name) => words.has(name)), []);
});
