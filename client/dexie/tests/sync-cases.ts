// The whole of the package with a server in memory, as cases that run in Node and in a browser.

import { add, type DBCoreTable, Dexie, liveQuery } from "dexie";
import { Device } from "../../core/src/device.ts";
import { portsOf } from "../src/environment.ts";
import type { Assert } from "./capture-cases.ts";
import { createApp, newId, type AppOptions } from "./app.ts";
import { Server } from "./server.ts";

const moment = (ms = 30) => new Promise((resolve) => setTimeout(resolve, ms));
const native = <T>(promise: PromiseLike<T>) => new Promise<T>((resolve, reject) => promise.then(resolve, reject));
const start = (server: Server, options: AppOptions = {}, name = `sync-${newId()}`) => ({ name, ...createApp(name, (asked) => server.ask(asked), options) });

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await holds()) return;
    await moment(10);
  }
  throw new Error(`it did not come to this: ${what}`);
}

export const syncCases: Record<string, (assert: Assert) => Promise<void>> = {
  async "what the app writes is on the server, and what others write is in the app, with its queries woken"(assert) {
    const server = new Server();
    server.write("todos", "s", { title: "theirs", when: { $t: "Date", v: "1970-01-01T00:00:00.000Z" } });
    const { db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    assert.deepEqual(await db.table("todos").get("s"), { id: "s", title: "theirs", when: new Date(0) });
    const seen: unknown[] = [];
    const subscription = liveQuery(() => db.table("todos").toArray()).subscribe((rows) => void seen.push(rows));
    await db.table("todos").add({ id: "a", title: "mine" });
    await db.table("todos").update("a", { n: 1 });
    await hw.now();
    assert.deepEqual(server.value("todos a"), { title: "mine", n: 1 });
    server.write("todos", "a", { title: "changed there", n: 1 });
    await hw.now();
    assert.equal((await db.table("todos").get("a")).title, "changed there");
    await until("the query sees it", () => JSON.stringify(seen.at(-1)).includes("changed there"));
    subscription.unsubscribe();
    assert.deepEqual([hw.status.value.pending, hw.status.value.phase], [0, "idle"]);
    assert.deepEqual([await db.table("_hw_base").count(), await db.table("_hw_sent").count(), await db.table("_hw_outbox").count()], [0, 0, 0]);
    await hw.close();
    db.close();
  },

  async "a lead that finds no room to begin is given up, and the application is asked for a token again only after a pause"(assert) {
    const server = new Server();
    const paused: (() => void)[] = [];
    let [isFull, led] = [true, 0];
    const full = (table: DBCoreTable): DBCoreTable => ({
      ...table,
      mutate: async (request) => {
        const isAdoption = request.type === "put" && request.values.some(({ key }) => key === "tables");
        if (isAdoption && isFull) throw new DOMException("no room", "QuotaExceededError");
        return table.mutate(request);
      },
    });
    const { db, hw, warnings } = start(server, {
      environment: {
        locks: { request: (_, __, hold) => hold() },
        after: (ms, call) => {
          if (ms === 0) setTimeout(call, 0);
          else if (ms === 5000) paused.push(call);
          return () => {};
        },
        startDriver: (lead) => {
          led += 1;
          return new Device({ ...lead, url: "", token: async () => null, ports: { ...portsOf({ socket: false }), log: () => {} } });
        },
      },
    });
    db.use({ stack: "dbcore", name: "full", level: -3, create: (core) => ({ ...core, table: (name) => (name === "_hw_meta" ? full(core.table(name)) : core.table(name)) }) });
    await native(db.open());
    const said = () => warnings.filter((text) => text.startsWith("sync has not begun")).length;
    await until("it is said", () => said() > 0);
    await moment(100);
    assert.deepEqual([led, said(), paused.length], [1, 1, 1]);
    isFull = false;
    paused[0]?.();
    await until("it leads", () => led === 2 && hw.status.value.phase === "held");
    assert.equal(said(), 1);
    await hw.close();
    db.close();
  },

  async "a lone edit is sent before it is numbered, and done once though its answer is lost and more is typed"(assert) {
    const server = new Server();
    server.write("todos", "s", { n: 0 });
    const pushed: unknown[][] = [];
    const { db, hw } = createApp(`sync-${newId()}`, async (asked) => {
      const answer = await server.ask(asked);
      if (asked.kind !== "push") return answer;
      const outbox = (await db.table("_hw_outbox").toArray()) as { early?: true }[];
      pushed.push([outbox.map(({ early }) => early), await db.table("_hw_sent").count()]);
      if (pushed.length > 1) return answer;
      await native(db.table("todos").update("s", { n: add(1) } as never));
      return { status: 0, body: null };
    });
    await native(db.open());
    await hw.ready;
    await hw.now();
    await native(db.table("todos").update("s", { n: add(1) } as never));
    await until("it is pushed", () => pushed.length > 0);
    await hw.now();
    assert.deepEqual(pushed[0], [[true], 0]);
    assert.deepEqual([server.value("todos s"), await db.table("todos").get("s")], [{ n: 2 }, { id: "s", n: 2 }]);
    assert.deepEqual(server.pushes.map(({ mutations }) => mutations.map(({ id }) => id)), [[1], [1], [2]]);
    await hw.close();
    db.close();
  },

  async "two edits in one transaction are sent early as one, and none is where the transaction is aborted"(assert) {
    const server = new Server();
    const { db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    await hw.now();
    const todos = db.table("todos");
    const both = (fails: boolean) => native(db.transaction("rw", todos, async () => {
      await todos.add({ id: "a", n: 1 });
      await todos.add({ id: "b", n: 2 });
      if (fails) throw new Error("on purpose");
    }));
    await both(true).catch(() => {});
    await both(false);
    await until("it is pushed", () => server.pushes.length > 0);
    await hw.now();
    assert.deepEqual(server.pushes.map(({ mutations }) => mutations.map(({ changes }) => changes.length)), [[2]]);
    assert.deepEqual([await db.table("_hw_outbox").count(), await db.table("_hw_base").count()], [0, 0]);
    await hw.close();
    db.close();
  },

  async "hooks of the app see nothing of what comes, and it is not pushed back"(assert) {
    const server = new Server();
    const { db, hw } = start(server);
    let hooked = 0;
    for (const hook of ["creating", "updating", "deleting"] as const) db.table("todos").hook(hook as "creating", () => void hooked++);
    await native(db.open());
    await hw.ready;
    server.write("todos", "a", { n: 1 });
    await hw.now();
    server.write("todos", "a", { n: 2 });
    await hw.now();
    server.write("todos", "a", null);
    await hw.now();
    assert.deepEqual([await db.table("todos").count(), hooked, server.pushes.flatMap(({ mutations }) => mutations).length], [0, 0, 0]);
    await hw.close();
    db.close();
  },

  async "edits that wait are counted once each, also where they are made while a leader begins"(assert) {
    const server = new Server();
    server.isDown = true;
    for (let ms = 0; ms < 10; ms++) {
      const { db, hw } = start(server);
      await native(db.open());
      if (ms > 0) await moment(ms - 1);
      for (const id of ["a", "b", "c"]) await db.table("todos").add({ id });
      await until("they wait", () => hw.status.value.phase === "waiting" && hw.status.value.pending >= 3);
      await moment();
      assert.equal(hw.status.value.pending, 3);
      await hw.close();
      db.close();
    }
  },

  async "an edit is kept while the server is down, over a reload, and pushed once"(assert) {
    const server = new Server();
    const { name, db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    server.isDown = true;
    await db.table("todos").add({ id: "a", n: 1 });
    await moment(100);
    await hw.close();
    db.close();
    server.isDown = false;
    const again = start(server, {}, name);
    await native(again.db.open());
    await again.hw.now();
    await again.db.table("todos").update("a", { n: add(1) } as never);
    await again.hw.now();
    assert.deepEqual(server.value("todos a"), { n: 2 });
    assert.deepEqual(await again.db.table("todos").toArray(), [{ id: "a", n: 2 }]);
    await again.hw.close();
    again.db.close();
  },

  async "a conflict shows base, mine and theirs as rows, the table theirs, and mine wins when the app says so"(assert) {
    const server = new Server();
    server.write("todos", "a", { title: "start" });
    const { db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    hw.pause();
    await db.table("todos").update("a", { title: "mine" });
    server.write("todos", "a", { title: "theirs" });
    hw.resume();
    await until("the conflict is shown", () => hw.conflicts.value.length === 1);
    const [conflict] = hw.conflicts.value;
    assert.deepEqual(conflict?.records, [{
      table: "todos", key: "a", base: { id: "a", title: "start" }, mine: { id: "a", title: "mine" }, theirs: { id: "a", title: "theirs" },
    }]);
    assert.deepEqual(await db.table("todos").get("a"), { id: "a", title: "theirs" });
    await conflict?.resolve("mine");
    await until("it is shown no more", () => hw.conflicts.value.length === 0);
    await hw.now();
    const resolutions = server.pushes.flatMap(({ mutations }) => mutations).flatMap(({ changes }) => changes).filter((change) => change.op === "resolve");
    assert.deepEqual(resolutions.map(({ take, conflict: id }) => [take, id]), [["mine", conflict?.id]]);
    await hw.close();
    db.close();
  },

  async "a function decides conflicts, and merged rows are sent as records"(assert) {
    const server = new Server();
    server.write("todos", "a", { title: "start" });
    const { db, hw } = start(server, { onConflict: ({ mine, theirs }) => ({ ...theirs, title: `${mine?.["title"]} and ${theirs?.["title"]}` }) });
    await native(db.open());
    await hw.ready;
    hw.pause();
    await db.table("todos").update("a", { title: "mine" });
    server.write("todos", "a", { title: "theirs" });
    hw.resume();
    const resolutions = () => server.pushes.flatMap(({ mutations }) => mutations).flatMap(({ changes }) => changes).filter((change) => change.op === "resolve");
    await until("the resolution is pushed", () => resolutions().length > 0);
    const [{ records }] = resolutions() as unknown as [{ records: { value: unknown }[] }];
    assert.deepEqual(records.map(({ value }) => value), [{ title: "mine and theirs" }]);
    await hw.close();
    db.close();
  },

  async "what is rejected leaves the table and is shown until it is made again or discarded"(assert) {
    const server = new Server();
    server.rejected.add("no");
    const { db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    await db.table("todos").add({ id: "a", title: "no" });
    await until("the rejection is shown", () => hw.rejected.value.length === 1);
    assert.equal(await db.table("todos").count(), 0);
    server.rejected.clear();
    await hw.rejected.value[0]?.retry();
    await hw.now();
    assert.deepEqual([server.value("todos a"), await db.table("todos").count(), hw.rejected.value.length], [{ title: "no" }, 1, 0]);
    await hw.close();
    db.close();
  },

  async "rows from before are uploaded, as conflicts where the server has others under their keys"(assert) {
    const server = new Server();
    server.write("todos", "same", { n: 1, m: 2 });
    server.write("todos", "other", { n: 5 });
    const name = `sync-${newId()}`;
    const old = new Dexie(name);
    old.version(1).stores({ todos: "id, done", users: "id, &email" });
    await old.table("todos").bulkAdd([{ id: "same", m: 2, n: 1 }, { id: "other", n: 1 }, { id: "mine", n: 1 }]);
    old.close();
    const { db, hw } = start(server, {}, name);
    await native(db.open());
    await hw.ready;
    await until("the conflict is shown", () => hw.conflicts.value.length === 1);
    await until("the new one is pushed", () => server.value("todos mine") !== undefined);
    assert.deepEqual(hw.conflicts.value.map(({ records }) => records.map(({ key, mine, theirs }) => [key, mine, theirs])), [
      [["other", { id: "other", n: 1 }, { id: "other", n: 5 }]],
    ]);
    assert.equal(server.pushes.flatMap(({ mutations }) => mutations).flatMap(({ changes }) => changes).some(({ id }) => id === "same"), false);
    await hw.close();
    db.close();
  },

  async "rows from before are discarded, or kept to themselves until they change"(assert) {
    for (const existing of ["discard", "keep"] as const) {
      const server = new Server();
      const name = `sync-${newId()}`;
      const old = new Dexie(name);
      old.version(1).stores({ todos: "id, done", users: "id, &email" });
      await old.table("todos").add({ id: "mine", n: 1, m: 1 });
      old.close();
      const { db, hw } = start(server, { existing }, name);
      await native(db.open());
      await hw.ready;
      await hw.now();
      assert.deepEqual([await db.table("todos").count(), server.version], [existing === "keep" ? 1 : 0, 0]);
      if (existing === "keep") {
        await db.table("todos").update("mine", { n: 2 });
        await hw.now();
        assert.deepEqual(JSON.stringify(server.pushes.at(-1)?.mutations[0]?.changes).includes('"orPut":{"n":2,"m":1}'), true);
        assert.deepEqual(server.value("todos mine"), { n: 2, m: 1 });
      }
      await hw.close();
      db.close();
    }
  },

  async "what populate writes is a proposal: it gives way to what the server has"(assert) {
    const server = new Server();
    server.write("todos", "a", { n: 5 });
    const { db, hw } = start(server, {
      prepare: (db) => {
        db.version(1).stores({ todos: "id, done", users: "id, &email" });
        db.on("populate", (tx) => void (tx.table("todos").add({ id: "a", n: 1 }), tx.table("todos").add({ id: "b", n: 1 })));
      },
    });
    await native(db.open());
    await hw.ready;
    await hw.now();
    assert.deepEqual(await db.table("todos").toArray(), [{ id: "a", n: 5 }, { id: "b", n: 1 }]);
    assert.deepEqual([server.value("todos a"), server.value("todos b")], [{ n: 5 }, { n: 1 }]);
    await hw.close();
    db.close();
  },

  async "an upgrade's changes are pushed without a base, and a new table takes the records that waited for it"(assert) {
    const server = new Server();
    server.write("todos", "a", { n: 1 });
    server.write("later", "l", { x: 1 });
    const { name, db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    await hw.close();
    db.close();
    const again = start(server, {
      collections: ["todos", "users", "later"],
      prepare: (db) => {
        db.version(1).stores({ todos: "id, done", users: "id, &email" });
        db.version(2).stores({ later: "id" }).upgrade((tx) => tx.table("todos").toCollection().modify((row) => void (row.n *= 10)));
      },
    }, name);
    await native(again.db.open());
    await again.hw.now();
    assert.deepEqual(server.value("todos a"), { n: 10 });
    const [mutation] = server.pushes.at(-1)?.mutations ?? [];
    assert.deepEqual([mutation?.base, mutation?.changes.map(({ op, base }) => [op, base])], [undefined, [["patch", undefined]]]);
    assert.deepEqual(await again.db.table("later").toArray(), [{ id: "l", x: 1 }]);
    await again.hw.close();
    again.db.close();
  },

  async "an upgrade of the app's schema keeps the outbox and what was synced"(assert) {
    const server = new Server();
    const { name, db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    hw.pause();
    await db.table("todos").add({ id: "a", n: 1 });
    const before = await db.table("_hw_spaces").get("~");
    await hw.close();
    db.close();
    const again = start(server, { prepare: (db) => {
      db.version(1).stores({ todos: "id, done", users: "id, &email" });
      db.version(2).stores({ todos: "id, done, n" });
      db.version(3).stores({ more: "id" });
    } }, name);
    await native(again.db.open());
    assert.equal((await again.db.table("_hw_spaces").get("~")).client, before.client);
    await again.hw.now();
    assert.deepEqual(server.value("todos a"), { n: 1 });
    await again.hw.close();
    again.db.close();
  },

  async "forget empties the device, but not while there are edits that nobody has"(assert) {
    const server = new Server();
    server.write("todos", "a", { n: 1 });
    const { name, db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    hw.pause();
    await db.table("todos").add({ id: "b" });
    await assert.rejects(hw.forget(), /1 edits have not been synced/);
    await hw.forget({ evenUnsent: true });
    assert.deepEqual([await db.table("todos").count(), await db.table("_hw_outbox").count(), await db.table("_hw_spaces").count()], [0, 0, 0]);
    db.close();
    const again = start(server, {}, name);
    await native(again.db.open());
    await again.hw.ready;
    assert.equal(await again.db.table("todos").count(), 1);
    await again.hw.close();
    again.db.close();
  },

  async "a load in many pages wakes a query of the whole table once"(assert) {
    const server = new Server();
    for (let i = 0; i < 500; i++) server.write("todos", `t${i}`, { n: i });
    server.pageSize = 50;
    const { db, hw } = start(server);
    await native(db.open());
    const counts: number[] = [];
    const subscription = liveQuery(() => db.table("todos").count()).subscribe((count) => void counts.push(count));
    await hw.ready;
    await until("the query has seen it", () => counts.at(-1) === 500);
    subscription.unsubscribe();
    // Once at the beginning, in which a page may already be, and once at the end.
    assert.equal(counts.length, 2);
    await hw.close();
    db.close();
  },

  async "a remote row that a unique index refuses waits aside, and is shown when the value is free"(assert) {
    const server = new Server();
    const { db, hw } = start(server);
    await native(db.open());
    await hw.ready;
    await db.table("users").add({ id: "mine", email: "x" });
    await hw.now();
    server.write("users", "theirs", { email: "x" });
    await hw.now();
    assert.deepEqual(await db.table("users").toCollection().primaryKeys(), ["mine"]);
    server.write("users", "mine", { email: "y" });
    await hw.now();
    assert.deepEqual(await db.table("users").toCollection().primaryKeys(), ["mine", "theirs"]);
    await hw.close();
    db.close();
  },
};
