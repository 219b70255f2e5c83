// What capture must write down, as cases that run in Node and in a browser. Each is named as a claim.

import { add, Dexie, PropModification, remove } from "dexie";
import { openCaptured, POSITION } from "./database.ts";

export interface Assert {
  equal(actual: unknown, expected: unknown, message?: string): void;
  deepEqual(actual: unknown, expected: unknown, message?: string): void;
  rejects(promise: Promise<unknown>, pattern: RegExp): Promise<void>;
  ok(value: unknown, message?: string): void;
}
type Case = (assert: Assert) => Promise<void>;

const todo = (id: string, more: object = {}) => ({ op: "put", collection: "todos", id, ...more });
const patch = (id: string, set: object) => ({ op: "patch", collection: "todos", id, set });
/** Rejects as a native promise. */
const native = (promise: PromiseLike<unknown>) => new Promise((resolve, reject) => promise.then(resolve, reject));

export const captureCases: Record<string, Case> = {
  async "add writes a put of the value without its key"(assert) {
    const { db, taken, rows } = await openCaptured();
    await db.table("todos").add({ id: "a", title: "milk" });
    const [row] = await rows();
    assert.deepEqual(
      [row?.space, row?.pos, row?.during, row?.keys, row?.before],
      ["~", POSITION, null, ["todos a"], [null]],
    );
    assert.deepEqual(await taken(), [todo("a", { value: { title: "milk" } })]);
  },

  async "put of a new row is a put, and of one that is there a patch of what differs"(assert) {
    const { db, taken, rows } = await openCaptured();
    await db.table("todos").put({ id: "a", title: "milk", meta: { n: 1, o: 2 } });
    assert.deepEqual(await taken(), [todo("a", { value: { title: "milk", meta: { n: 1, o: 2 } } })]);
    await db.table("todos").put({ id: "a", title: "milk", meta: { n: 3 }, done: 1 });
    const [row] = await rows();
    assert.deepEqual(row?.before, ['{"title":"milk","meta":{"n":1,"o":2}}']);
    assert.deepEqual(await taken(), [{ ...patch("a", { "meta.n": 3, done: 1 }), unset: ["meta.o"] }]);
    await db.table("todos").put({ id: "a", title: "milk", meta: { n: 3 }, done: 1 });
    assert.deepEqual(await taken(), []);
  },

  async "before the first load every edit is a put, and nothing is taken for a synced copy"(assert) {
    const { db, taken, rows } = await openCaptured({ position: null });
    await db.table("todos").put({ id: "a", n: 1 });
    await db.table("todos").update("a", { n: 2 });
    assert.deepEqual((await rows()).map((row) => [row.pos, row.before]), [[null, [null]], [null, [null]]]);
    assert.deepEqual(await taken(), [todo("a", { value: { n: 1 } }), todo("a", { value: { n: 2 } })]);
  },

  async "update, bulkUpdate and modify write patches of the rows that are here"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.bulkAdd([{ id: "a", n: 1 }, { id: "b", n: 1 }, { id: "c", n: 5 }]);
    await taken();
    await todos.update("a", { n: 2, "deep.x": 1 });
    assert.deepEqual(await taken(), [patch("a", { n: 2, deep: { x: 1 } })]);
    await todos.update("missing", { n: 2 });
    assert.deepEqual(await taken(), []);
    await todos.bulkUpdate([{ key: "missing", changes: { n: 1 } }, { key: "a", changes: { n: 3 } }, { key: "b", changes: { n: 4 } }]);
    assert.deepEqual(await taken(), [patch("a", { n: 3 }), patch("b", { n: 4 })]);
    await todos.where("id").above("a").modify({ n: 9 });
    assert.deepEqual(await taken(), [patch("b", { n: 9 }), patch("c", { n: 9 })]);
    await todos.toCollection().modify((row: { n: number }) => void row.n++);
    assert.deepEqual(await taken(), [patch("a", { n: 4 }), patch("b", { n: 10 }), patch("c", { n: 10 })]);
    await todos.where("id").equals("a").modify((_: unknown, ref: { value?: unknown }) => void delete ref.value);
    assert.deepEqual(await taken(), [{ op: "delete", collection: "todos", id: "a" }]);
  },

  async "upsert is a put where no row is, else a patch"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("todos").upsert("a", { n: 1 });
    assert.deepEqual(await taken(), [todo("a", { value: { n: 1 } })]);
    await db.table("todos").upsert("a", { n: add(2) } as never);
    assert.deepEqual(await taken(), [{ op: "add", collection: "todos", id: "a", path: "n", by: 2 }]);
  },

  async "bulkPut of many rows tells new ones from those that are there, whatever stands between them"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    const row = (i: number, n: number) => ({ id: `r${String(i).padStart(4, "0")}`, n });
    await todos.bulkPut(Array.from({ length: 30 }, (_, i) => row(i, 0)));
    assert.equal((await taken()).filter(({ op }) => op === "put").length, 30);
    // 30 rows there, asked for 40 of which 15 are there.
    await todos.bulkPut(Array.from({ length: 40 }, (_, i) => row(i * 2, 1)));
    const ops = (await taken()).map(({ op }) => op);
    assert.deepEqual([ops.filter((op) => op === "patch").length, ops.filter((op) => op === "put").length], [15, 25]);
    // More rows between the first and the last key than are asked for.
    await todos.bulkPut(Array.from({ length: 20 }, (_, i) => row(i * 4, 2)));
    assert.equal((await taken()).filter(({ op }) => op === "patch").length, 20);
  },

  async "delete, bulkDelete, a range and clear write deletions of the rows that were there"(assert) {
    const { db, taken, rows } = await openCaptured();
    const todos = db.table("todos");
    await todos.bulkAdd(["a", "b", "c", "d", "e", "f", "g"].map((id) => ({ id, done: 0, n: 1 })));
    await taken();
    await todos.delete("a");
    assert.deepEqual((await rows())[0]?.before, ['{"done":0,"n":1}']);
    assert.deepEqual(await taken(), [{ op: "delete", collection: "todos", id: "a" }]);
    await todos.bulkDelete(["a", "b", "missing"]);
    assert.deepEqual((await taken()).map(({ id }) => id), ["b"]);
    await todos.where("id").between("c", "d", true, true).delete();
    assert.deepEqual((await taken()).map(({ id }) => id), ["c", "d"]);
    await todos.where("done").equals(0).limit(1).delete();
    assert.deepEqual((await taken()).map(({ id }) => id), ["e"]);
    await todos.clear();
    assert.deepEqual((await taken()).map(({ id }) => id), ["f", "g"]);
    assert.equal(await todos.count(), 0);
    await todos.clear();
    assert.deepEqual(await taken(), []);
  },

  async "where().delete() by an index deletes more rows than one chunk holds"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.bulkAdd(Array.from({ length: 450 }, (_, i) => ({ id: `r${i}`, done: 1 })));
    await taken();
    assert.equal(await todos.where("done").equals(1).delete(), 450);
    assert.equal((await taken()).length, 450);
  },

  async "add(n) and remove(n) become add"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.add({ id: "a", n: 1, deep: { m: 1 } });
    await taken();
    await todos.update("a", { n: add(2), "deep.m": remove(5), fresh: add(3), title: "x" } as never);
    assert.deepEqual(await taken(), [
      patch("a", { title: "x" }),
      { op: "add", collection: "todos", id: "a", path: "n", by: 2 },
      { op: "add", collection: "todos", id: "a", path: "deep.m", by: -5 },
      { op: "add", collection: "todos", id: "a", path: "fresh", by: 3 },
    ]);
    assert.deepEqual(await todos.get("a"), { id: "a", n: 3, deep: { m: -4 }, fresh: 3, title: "x" });
  },

  async "add([…]) and remove([…]) become include and exclude, and the row is as the server will have it"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.add({ id: "a", tags: ["z", "b"] });
    await taken();
    await todos.update("a", { tags: new PropModification({ add: ["a", "b"] }) } as never);
    assert.deepEqual(await taken(), [{ op: "include", collection: "todos", id: "a", path: "tags", values: ["a", "b"] }]);
    assert.deepEqual((await todos.get("a")).tags, ["z", "b", "a"]);
    assert.deepEqual(await todos.where("tags").equals("a").primaryKeys(), ["a"]);
    await todos.update("a", { tags: remove(["z"]) } as never);
    assert.deepEqual(await taken(), [{ op: "exclude", collection: "todos", id: "a", path: "tags", values: ["z"] }]);
    await todos.update("a", { tags: add(["b"]) } as never);
    assert.deepEqual(await taken(), []);
    await todos.update("a", { none: remove(["z"]) } as never);
    assert.deepEqual(await taken(), [patch("a", { none: [] })]);
  },

  async "bulkUpdate executes modifications, a second one of a key on the first"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.add({ id: "a", n: 1, m: 1 });
    await taken();
    await todos.bulkUpdate([{ key: "a", changes: { n: add(1) } }, { key: "a", changes: { n: add(2), m: 5 } }] as never);
    assert.deepEqual(await todos.get("a"), { id: "a", n: 4, m: 5 });
    assert.deepEqual(await taken(), [
      { op: "add", collection: "todos", id: "a", path: "n", by: 1 },
      patch("a", { m: 5 }),
      { op: "add", collection: "todos", id: "a", path: "n", by: 2 },
    ]);
  },

  async "a modification whose result a hook has replaced is written as what stands there"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    await todos.add({ id: "a", n: 1 });
    await taken();
    todos.hook("updating", () => ({ n: 50, stamp: 7 }));
    await todos.update("a", { n: add(1) } as never);
    assert.deepEqual(await taken(), [patch("a", { n: 50, stamp: 7 })]);
  },

  async "hooks see the app's writes once, and what they add is written down"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    const calls: string[] = [];
    todos.hook("creating", (_key, row) => void (calls.push("creating"), (row.made = 1)));
    todos.hook("updating", () => (calls.push("updating"), { changed: 2 }));
    todos.hook("deleting", () => void calls.push("deleting"));
    await todos.add({ id: "a", n: 1 });
    await todos.put({ id: "a", n: 2, made: 1 });
    await todos.delete("a");
    assert.deepEqual(calls, ["creating", "updating", "deleting"]);
    assert.deepEqual(await taken(), [
      todo("a", { value: { n: 1, made: 1 } }),
      patch("a", { n: 2, changed: 2 }),
      { op: "delete", collection: "todos", id: "a" },
    ]);
  },

  async "a hook that makes the key has it in the record's name"(assert) {
    const { db, taken } = await openCaptured();
    db.table("todos").hook("creating", () => "made-by-hook");
    await db.table("todos").add({ n: 1 });
    assert.deepEqual(await taken(), [todo("made-by-hook", { value: { n: 1 } })]);
  },

  async "what is written below capture fires no hook and is not written down, and stands in the table"(assert) {
    const { db, below, taken } = await openCaptured();
    db.table("todos").hook("creating", () => assert.ok(false, "no hook"));
    await db.transaction("rw", "todos", async (tx) => {
      const trans = tx.idbtrans as never;
      await below().table("todos").mutate({ type: "put", trans, values: [{ id: "a", n: 1 }] });
    });
    assert.deepEqual(await db.table("todos").toArray(), [{ id: "a", n: 1 }]);
    assert.deepEqual(await taken(), []);
  },

  async "an abort takes the outbox along"(assert) {
    const { db, taken } = await openCaptured();
    await assert.rejects(native(db.transaction("rw", "todos", async () => {
      await db.table("todos").add({ id: "a" });
      await db.table("todos").put({ id: "b" });
      throw new Error("on purpose");
    })), /on purpose/);
    assert.deepEqual([await taken(), await db.table("todos").count()], [[], 0]);
  },

  async "rows of one transaction have one name, in the app's order, over tables"(assert) {
    const { db, rows } = await openCaptured();
    await db.transaction("rw", ["todos", "users"], async () => {
      // Not awaited one by one: the order is that of the calls.
      await Dexie.Promise.all([
        db.table("todos").put({ id: "a", n: 1 }),
        db.table("users").add({ id: "u", email: "x" }),
        db.table("todos").delete("a"),
        db.table("todos").add({ id: "a", n: 2 }),
        db.table("todos").bulkPut(Array.from({ length: 25 }, (_, i) => ({ id: `m${i}` }))),
        db.table("todos").put({ id: "m3", n: 1 }),
        db.table("todos").update("m3", { n: 2 }),
      ]);
    });
    await db.table("todos").put({ id: "z" });
    const all = await rows();
    const seen = all.map((row) => `${row.tx === all[0]?.tx} ${JSON.parse(row.changes[0] as string).op} ${row.keys[0]}`);
    assert.deepEqual(seen, [
      "true put todos a", "true put users u", "true delete todos a", "true put todos a", "true put todos m0", "true patch todos m3",
      "true patch todos m3", "false put todos z",
    ]);
    assert.deepEqual(await db.table("todos").get("m3"), { id: "m3", n: 2 });
  },

  async "a changed primary key is a put and a delete"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("todos").add({ id: "a", n: 1 });
    await taken();
    await db.table("todos").where("id").equals("a").modify({ id: "b" });
    assert.deepEqual(await taken(), [todo("b", { value: { n: 1 } }), { op: "delete", collection: "todos", id: "a" }]);
  },

  async "bulkAdd with rows that are there writes down the others only"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("todos").add({ id: "b", n: 0 });
    await taken();
    await assert.rejects(native(db.table("todos").bulkAdd([{ id: "a", n: 1 }, { id: "b", n: 1 }, { id: "c", n: 1 }])), /bulkAdd/i);
    assert.deepEqual(await db.table("todos").toCollection().primaryKeys(), ["a", "b", "c"]);
    assert.deepEqual((await taken()).map(({ id }) => id), ["a", "c"]);
  },

  async "a failing add takes its own outbox row away and no other"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("todos").add({ id: "a", n: 0 });
    await taken();
    await db.transaction("rw", "todos", async () => {
      await db.table("todos").add({ id: "b" });
      await db.table("todos").add({ id: "a", n: 1 }).catch(() => {});
      await db.table("todos").add({ id: "c" });
    });
    assert.deepEqual((await taken()).map(({ id }) => id), ["b", "c"]);
  },

  async "a row that a unique index refuses is not written down"(assert) {
    const { db, taken, rows } = await openCaptured();
    await db.table("users").add({ id: "u1", email: "x" });
    await taken();
    await assert.rejects(native(db.table("users").bulkPut([{ id: "u2", email: "y" }, { id: "u3", email: "x" }])), /bulkPut/i);
    assert.deepEqual((await rows()).map((row) => row.keys), [["users u2"]]);
  },

  async "compound keys, numbers and outbound keys name records, and values keep parts of compound keys"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("pairs").put({ a: "x", b: 2, v: 1 });
    await db.table("pairs").update(["x", 2], { v: 2 });
    await db.table("counts").put({ id: 12, v: 1 });
    await db.table("loose").put({ v: 1 }, "k");
    await db.table("loose").update("k", { v: 2 });
    await db.table("loose").delete("k");
    assert.deepEqual(await taken(), [
      { op: "put", collection: "pairs", id: '["x",2]', value: { a: "x", b: 2, v: 1 } },
      { op: "patch", collection: "pairs", id: '["x",2]', set: { v: 2 } },
      { op: "put", collection: "counts", id: "12", value: { v: 1 } },
      { op: "put", collection: "loose", id: "k", value: { v: 1 } },
      { op: "patch", collection: "loose", id: "k", set: { v: 2 } },
      { op: "delete", collection: "loose", id: "k" },
    ]);
  },

  async "dates, maps, sets, typed arrays and bigints are tagged, and each is one leaf"(assert) {
    const { db, taken } = await openCaptured();
    const row = {
      id: "a", when: new Date(0), bad: new Date(Number.NaN), map: new Map([["k", 1]]), set: new Set([1, "a"]),
      bytes: new Uint8Array([0, 255, 16, 32]), big: 123n, nan: Number.NaN, gone: undefined, list: [undefined], $x: 1,
    };
    await db.table("todos").add(row);
    assert.deepEqual(await taken(), [todo("a", { value: {
      when: { $t: "Date", v: "1970-01-01T00:00:00.000Z" }, bad: { $t: "Date", v: "NaN" }, map: { $t: "Map", v: [["k", 1]] },
      set: { $t: "Set", v: [1, "a"] }, bytes: { $t: "Uint8Array", v: "0FxG80--" }, big: { $t: "bigint", v: "123" },
      nan: { $t: "number", v: "NaN" }, list: [{ $t: "undefined" }], $$x: 1,
    } })]);
    await db.table("todos").update("a", { when: new Date(1), $x: 2 });
    assert.deepEqual(await taken(), [patch("a", { when: { $t: "Date", v: "1970-01-01T00:00:00.001Z" }, $$x: 2 })]);
  },

  async "what cannot sync is an error that names table, key and path, and nothing is half stored"(assert) {
    const { db, taken } = await openCaptured();
    const todos = db.table("todos");
    const put = (row: object) => native(db.transaction("rw", "todos", async () => {
      await todos.put({ id: "first" });
      await todos.put(row);
    }));
    await assert.rejects(put({ id: "a", x: { re: /x/ } }), /todos, a: .*RegExp.*x\.re/);
    await assert.rejects(put({ id: "a", blob: new Blob(["x"]) }), /Blob.*blob/);
    const loop: Record<string, unknown> = { id: "a" };
    loop["self"] = { loop };
    await assert.rejects(put(loop), /todos, a/);
    await assert.rejects(put({ id: "a", text: "x".repeat(300_000) }), /todos, a: .*bytes/);
    await assert.rejects(put({ id: 5 }), /todos: this key.*must be a string/);
    await assert.rejects(put({ id: "x".repeat(257) }), /256 bytes/);
    await assert.rejects(put({ id: "a\n" }), /control/);
    await assert.rejects(native(todos.bulkPut(Array.from({ length: 40 }, (_, i) => ({ id: `b${i}`, f: i === 39 ? new Error("x") : 1 })))), /Error.*f/);
    await assert.rejects(native(db.table("loose").put(5, "k")), /not an object/);
    assert.deepEqual([await taken(), await todos.count()], [[], 0]);
  },

  async "names that are no path have their parent set, at the top the whole value is put"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("todos").add({ id: "a", deep: { "x.y": 1, z: 1 }, list: [{ n: 1 }], "p.q": 1 });
    await taken();
    const change = (row: object) => db.table("todos").put({ id: "a", ...row });
    await change({ deep: { "x.y": 2, z: 1 }, list: [{ n: 1 }], "p.q": 1 });
    assert.deepEqual(await taken(), [patch("a", { deep: { "x.y": 2, z: 1 } })]);
    await change({ deep: { "x.y": 2, z: 1 }, list: [{ n: 2 }], "p.q": 1 });
    assert.deepEqual(await taken(), [patch("a", { list: [{ n: 2 }] })]);
    await change({ deep: { "x.y": 2, z: 1 }, list: [{ n: 2 }], "p.q": 2 });
    assert.equal((await taken())[0]?.["op"], "put");
  },

  async "a row with the space property goes to its space, which the value does not have"(assert) {
    const { db, rows, taken } = await openCaptured();
    await db.table("cards").bulkAdd([{ id: "c1", board: "b1", n: 1 }, { id: "c2", n: 1 }, { id: "c3", board: null, n: 1 }]);
    assert.deepEqual((await rows()).map((row) => [row.space, row.keys]), [["b1", ["cards c1"]], ["~", ["cards c2", "cards c3"]]]);
    assert.deepEqual((await taken()).map(({ value }) => value), [{ n: 1 }, { n: 1 }, { n: 1 }]);
    await db.table("boards").add({ id: "b2", title: "x" });
    assert.deepEqual((await rows()).map((row) => [row.space, row.keys]), [["b2", ["boards b2"]]]);
    await taken();
    await assert.rejects(native(db.table("cards").add({ id: "c9", board: "no space" })), /id of a space/);
  },

  async "a row that moves is a put in the new space, and a deletion that waits for it in the old one"(assert) {
    const { db, rows, taken } = await openCaptured();
    await db.table("cards").bulkAdd([{ id: "c1", board: "b1", n: 1 }, { id: "c2", board: "b1", n: 1 }]);
    await taken();
    await db.transaction("rw", "cards", async () => {
      await db.table("cards").update("c1", { board: "b2" });
      await db.table("cards").update("c2", { n: 2 });
    });
    const all = await rows();
    assert.deepEqual(all.map((row) => [row.space, row.keys[0], JSON.parse(row.changes[0] as string).op, row.before, row.waits?.space]), [
      ["b2", "cards c1", "put", [null], undefined],
      ["b1", "cards c1", "delete", ['{"n":1}'], "b2"],
      ["b1", "cards c2", "patch", ['{"n":1}'], undefined],
    ]);
    assert.equal(all[1]?.waits?.tx, all[0]?.tx);
  },

  async "tables that are not named stay local"(assert) {
    const { db, taken } = await openCaptured();
    await db.table("local").add({ n: 1 });
    await db.table("local").clear();
    assert.deepEqual(await taken(), []);
  },
};
