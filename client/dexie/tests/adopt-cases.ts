// Rows that were written past capture are taken up by hand: cases that run in Node and in a browser.

import { Dexie } from "dexie";
import { asker, portsOf } from "../src/environment.ts";
import { type AppOptions, createApp, fetchFrom, newId, TOKEN } from "./app.ts";
import type { Assert } from "./capture-cases.ts";
import { Server } from "./server.ts";
import { until } from "./sync-cases.ts";

const native = <T>(promise: PromiseLike<T>) => new Promise<T>((resolve, reject) => promise.then(resolve, reject));

/** What an old build does, or an import: no middleware is asked. */
export const past = (db: Dexie, work: (store: IDBObjectStore) => void, table = "todos") =>
  new Promise<void>((resolve, reject) => {
    const transaction = db.backendDB().transaction(table, "readwrite");
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    work(transaction.objectStore(table));
  });

/** Closes what cases have left open that failed. */
const left = new Set<() => Promise<void>>();
export const closeLeft = () => Promise.all([...left].map((close) => close()));

/** An app that has loaded what the server has. `meanwhile`: what happens around the first answer with everything. */
async function begun(server: Server, options: AppOptions = {}, meanwhile: { before?: () => unknown; after?: () => unknown } = {}, name = `adopt-${newId()}`) {
  const ports = { ...portsOf({ socket: false }), newId, fetch: (url: string, init: Parameters<typeof fetchFrom>[2]) => fetchFrom((asked) => server.ask(asked), url, init) };
  const asks = asker("", ports, async () => TOKEN);
  const ask: typeof asks = async (request) => {
    const { before, after } = meanwhile;
    meanwhile = {};
    await before?.();
    const answer = await asks(request);
    await after?.();
    return answer;
  };
  const app = createApp(name, (asked) => server.ask(asked), { ...options, environment: { ask } });
  await native(app.db.open());
  await app.hw.now();
  server.pushes.length = 0;
  const close = async () => {
    left.delete(close);
    await app.hw.close();
    app.db.close();
  };
  left.add(close);
  return { ...app, close };
}

/** Found by the mistake of comparing with a state of the server that is behind. */
export const MEANWHILE = "what others write meanwhile is not an edit of this device, and what they delete does not return";

const changesOf = (server: Server) => server.pushes.flatMap(({ mutations }) => mutations.map(({ changes }) => changes));

export const adoptCases: Record<string, (assert: Assert) => Promise<void>> = {
  async "new rows are uploaded as creations, others as patches of what differs, and a second call adopts nothing"(assert) {
    const server = new Server();
    for (const id of ["same", "edited", "gone"]) server.write("todos", id, { title: id, n: 1, when: { $t: "Date", v: "1970-01-01T00:00:00.000Z" } });
    const { db, hw, close } = await begun(server);
    await past(db, (store) => {
      store.put({ id: "edited", when: new Date(0), n: 1, title: "by the old build", more: true });
      store.put({ id: "new", title: "new" });
      store.delete("gone");
    });
    assert.deepEqual(await hw.adopt("todos"), { created: 1, changed: 1, refused: [] });
    await hw.now();
    assert.deepEqual(changesOf(server), [
      [{ op: "put", collection: "todos", id: "new", value: { title: "new" }, base: 0 }],
      [{ op: "patch", collection: "todos", id: "edited", set: { title: "by the old build", more: true } }],
    ]);
    assert.deepEqual([server.value("todos new"), server.value("todos edited")?.["title"], server.value("todos gone")?.["title"]], [{ title: "new" }, "by the old build", "gone"]);
    assert.deepEqual(await hw.adopt("todos"), { created: 0, changed: 0, refused: [] });
    assert.deepEqual([(await db.table("todos").toArray()).map(({ id }) => id), hw.conflicts.value, await db.table("_hw_base").count()], [["edited", "new", "same"], [], 0]);
    await close();
  },

  async "more rows than a page and a chunk have, by two calls at once, are each adopted once"(assert) {
    const server = new Server();
    server.pageSize = 100;
    for (let n = 0; n < 1200; n++) server.write("todos", `t${n}`, { n });
    const { db, hw, close } = await begun(server);
    await past(db, (store) => {
      for (let n = 600; n < 1800; n++) store.put({ id: `t${n}`, n: -n });
    });
    const both = await Promise.all([hw.adopt("todos"), hw.adopt("todos")]);
    assert.deepEqual([both.reduce((sum, { created }) => sum + created, 0), both.reduce((sum, { changed }) => sum + changed, 0)], [600, 600]);
    await hw.now();
    for (const n of [0, 599]) assert.deepEqual(server.value(`todos t${n}`), { n });
    for (const n of [600, 1199, 1200, 1799]) assert.deepEqual(server.value(`todos t${n}`), { n: -n });
    const sent = changesOf(server).flat();
    assert.deepEqual([sent.length, new Set(sent.map(({ id }) => id)).size], [1200, 1200]);
    await close();
  },

  async [MEANWHILE](assert) {
    const server = new Server();
    for (const id of ["a", "b", "c"]) server.write("todos", id, { n: 1 });
    const { db, hw, close } = await begun(server, {}, {
      // Not here yet when the server answers, and
      before: () => server.write("todos", "b", null),
      // here before the answer is compared.
      after: async () => {
        server.write("todos", "a", { n: 2 });
        server.write("todos", "d", { n: 1 });
        await hw.now();
      },
    });
    await past(db, (store) => void store.put({ id: "c", n: 1, mine: true }));
    assert.deepEqual(await hw.adopt("todos"), { created: 0, changed: 1, refused: [] });
    await hw.now();
    assert.deepEqual(changesOf(server), [[{ op: "patch", collection: "todos", id: "c", set: { mine: true } }]]);
    assert.deepEqual(await db.table("todos").toArray(), [{ id: "a", n: 2 }, { id: "c", n: 1, mine: true }, { id: "d", n: 1 }]);
    await close();
  },

  async "of rows that were changed, only the one that another device has changed since is a conflict"(assert) {
    const server = new Server();
    for (const id of ["a", "b"]) server.write("todos", id, { n: 1 });
    const { db, hw, close } = await begun(server, {}, { after: () => void (server.isDown = true) });
    await past(db, (store) => ["a", "b"].forEach((id) => store.put({ id, n: 2 })));
    assert.deepEqual(await hw.adopt("todos"), { created: 0, changed: 2, refused: [] });
    server.isDown = false;
    server.write("todos", "a", { n: 7 });
    await hw.now();
    assert.deepEqual([server.value("todos a"), server.value("todos b")], [{ n: 7 }, { n: 2 }]);
    const record = { table: "todos", key: "a", base: { id: "a", n: 1 }, mine: { id: "a", n: 2 }, theirs: { id: "a", n: 7 } };
    await until("it is shown", () => hw.conflicts.value.length > 0);
    assert.deepEqual(hw.conflicts.value.map(({ records }) => records), [[record]]);
    await close();
  },

  async "a table that is not synced is refused, and rows that cannot sync are told while the others are adopted"(assert) {
    const server = new Server();
    const { db, hw, close } = await begun(server, { schema: { todos: "id", cards: "id", local: "id" }, collections: { todos: true, cards: { space: "board" } } });
    await assert.rejects(hw.adopt("local"), /SchemaError: "local" cannot be adopted: it is not a synced table/);
    await past(db, (store) => {
      store.put({ id: "good", n: 1 });
      store.put({ id: 7, n: 1 });
      store.put({ id: "bad", n: /no/ });
    });
    const { created, refused } = await hw.adopt("todos");
    assert.deepEqual([created, refused.map(({ key, error }) => [key, (error as Error).name])], [1, [[7, "KeyError"], ["bad", "UnsupportedValueError"]]]);
    await past(db, (store) => ["elsewhere", { an: "object" }].forEach((board, i) => store.put({ id: `c${i}`, board })), "cards");
    const cards = await hw.adopt("cards");
    assert.deepEqual([cards.created, cards.refused.map(({ key, error }) => [key, (error as Error).name])], [0, [["c0", "SpaceError"], ["c1", "SpaceError"]]]);
    await close();
  },

  async "a row with an edit that waits is left to it"(assert) {
    const server = new Server();
    server.write("todos", "a", { n: 1 });
    const { db, hw, close } = await begun(server, {}, {
      after: async () => {
        server.isDown = true;
        await db.table("todos").update("a", { m: 1 });
        await past(db, (store) => void store.put({ id: "a", n: 9, m: 1 }));
      },
    });
    assert.deepEqual(await hw.adopt("todos"), { created: 0, changed: 0, refused: [] });
    assert.equal(await db.table("_hw_outbox").count(), 1);
    await close();
  },

  async "rows that were kept local are adopted"(assert) {
    const server = new Server();
    server.write("todos", "a", { n: 1 });
    const name = `adopt-${newId()}`;
    const old = new Dexie(name);
    old.version(1).stores({ todos: "id, done", users: "id, &email" });
    await old.table("todos").bulkAdd([{ id: "kept", n: 1 }, { id: "other", n: 1 }]);
    old.close();
    const { db, hw, close } = await begun(server, { existing: "keep" }, {}, name);
    assert.deepEqual([await db.table("todos").count(), server.version], [3, 1]);
    assert.deepEqual(await hw.adopt("todos"), { created: 2, changed: 0, refused: [] });
    await hw.now();
    assert.deepEqual([server.value("todos kept"), server.value("todos other")], [{ n: 1 }, { n: 1 }]);
    await close();
  },
};
