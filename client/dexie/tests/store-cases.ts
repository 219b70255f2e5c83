// What the core's store on Dexie must do, as cases that run in Node and in a browser.

import { liveQuery } from "dexie";
import { refold } from "../../core/src/records.ts";
import type { Scope, SpaceRow } from "../../core/src/store.ts";
import type { Assert } from "./capture-cases.ts";
import { openCaptured, POSITION } from "./database.ts";

const ALL: Scope = { wake: "rows" };
const SILENT: Scope = { wake: "nothing" };
const text = JSON.stringify;
const native = (promise: PromiseLike<unknown>) => new Promise((resolve, reject) => promise.then(resolve, reject));
const moment = () => new Promise((resolve) => setTimeout(resolve, 30));

/** How often a query has run, and what it gave last. */
function watch<T>(query: () => Promise<T>) {
  const seen: T[] = [];
  const subscription = liveQuery(query).subscribe((value) => void seen.push(value));
  return { seen, stop: () => subscription.unsubscribe() };
}

export const storeCases: Record<string, (assert: Assert) => Promise<void>> = {
  async "a commit of another term writes nothing"(assert) {
    const { db, store } = await openCaptured();
    await assert.rejects(store.commit(2, ALL, (tx) => tx.meta.put("x", 1)), /term 2 is over/);
    assert.equal(await db.table("_hw_meta").get("x"), undefined);
  },

  async "a body that throws leaves nothing, and its error is passed on"(assert) {
    const { db, store } = await openCaptured();
    await assert.rejects(store.commit(1, ALL, async (tx) => {
      await tx.rows.put("~", [{ key: "todos a", value: text({ n: 1 }) }]);
      throw new Error("on purpose");
    }), /on purpose/);
    assert.equal(await db.table("todos").count(), 0);
  },

  async "a closed database is StoreClosed"(assert) {
    const { db, store } = await openCaptured();
    db.close();
    await assert.rejects(store.commit(1, ALL, (tx) => tx.meta.put("x", 1)).catch((error) => Promise.reject(new Error(error.name))), /StoreClosed/);
  },

  async "rows are decoded, have their key and space, and come back as they were"(assert) {
    const { db, store, taken } = await openCaptured();
    db.table("todos").hook("creating", () => assert.ok(false, "no hook"));
    const value = text({ when: { $t: "Date", v: "1970-01-01T00:00:00.000Z" }, $$x: 1 });
    const pairs = [
      ["~", "todos a", value], ["b1", "cards c", text({ n: 1 })], ["b1", "boards b1", text({})], ["~", "counts 12", text({ n: 1 })],
      ["~", 'pairs ["x",1]', text({ a: "x", b: 1 })], ["~", "loose k", text({ n: 1 })],
    ] as const;
    for (const [space, key, value] of pairs) {
      const refused = await store.commit(1, ALL, (tx) => tx.rows.put(space, [{ key, value }]));
      assert.deepEqual(refused, []);
    }
    assert.deepEqual(await db.table("todos").get("a"), { id: "a", when: new Date(0), $x: 1 });
    assert.deepEqual(await db.table("cards").get("c"), { id: "c", board: "b1", n: 1 });
    assert.deepEqual(await db.table("counts").get(12), { id: 12, n: 1 });
    assert.deepEqual(await db.table("loose").get("k"), { n: 1 });
    for (const [space, key, value] of pairs) {
      assert.deepEqual(await store.commit(1, ALL, (tx) => tx.rows.get(space, [key, "todos none"])), [value, null]);
    }
    assert.deepEqual(await store.commit(1, ALL, (tx) => tx.rows.get("b2", ["cards c"])), [null]);
    assert.deepEqual((await store.commit(1, ALL, (tx) => tx.rows.keys("~"))).sort(), ["counts 12", "loose k", 'pairs ["x",1]', "todos a"]);
    assert.deepEqual((await store.commit(1, ALL, (tx) => tx.rows.keys("b1"))).sort(), ["boards b1", "cards c"]);
    assert.deepEqual(await taken(), []);
  },

  async "what has no place is said, and the rest is written"(assert) {
    const { db, store } = await openCaptured();
    await store.commit(1, ALL, async (tx) => {
      await tx.rows.put("b1", [{ key: "cards c", value: text({ n: 1 }) }]);
      await tx.rows.put("~", [{ key: "users u1", value: text({ email: "x" }) }, { key: "users u2", value: text({ email: "y" }) }]);
    });
    const refused = await store.commit(1, ALL, async (tx) => [
      ...(await tx.rows.put("~", [
        { key: "cards c", value: text({ n: 2 }) }, { key: "cards d", value: text({ n: 2 }) }, { key: "none x", value: text({}) },
        { key: "users u2", value: text({ email: "x" }) }, { key: "users u3", value: text({ email: "z" }) },
        { key: "counts abc", value: text({}) }, { key: "boards b9", value: text({}) },
      ])),
      ...(await tx.rows.put("b1", [{ key: "todos t", value: text({}) }, { key: "boards b2", value: text({}) }])),
    ]);
    assert.deepEqual(Object.fromEntries(refused.map(({ key, why }) => [key, why])), {
      "cards c": "taken", "none x": "unknown", "users u2": "unique", "counts abc": "unknown", "boards b9": "unknown", "todos t": "unknown", "boards b2": "unknown",
    });
    assert.deepEqual(await db.table("cards").toArray(), [{ id: "c", board: "b1", n: 1 }, { id: "d", n: 2 }]);
    assert.deepEqual(await db.table("users").toCollection().primaryKeys(), ["u1", "u3"]);
    await store.commit(1, ALL, (tx) => tx.rows.delete("~", ["cards c", "cards d", "none x", "users u1"]));
    assert.deepEqual(await db.table("cards").toCollection().primaryKeys(), ["c"]);
  },

  async "what was captured has a base at the next commit, that of the first edit, and folds over it"(assert) {
    const { db, store } = await openCaptured();
    await store.commit(1, ALL, (tx) => tx.rows.put("~", [{ key: "todos a", value: text({ n: 1 }) }]));
    await db.table("todos").update("a", { n: 2 });
    await db.table("todos").update("a", { n: 3 });
    await db.table("todos").add({ id: "b", n: 1 });
    await db.table("todos").delete("b");
    const bases = await store.commit(1, ALL, async (tx) => {
      const found = await tx.base.get("~", ["todos a", "todos b", "todos c"]);
      await tx.base.put([{ space: "~", key: "todos a", value: text({ n: 1, m: 9 }) }]);
      await refold(tx, "~", ["todos a"]);
      return found;
    });
    assert.deepEqual(bases, [
      { space: "~", key: "todos a", value: text({ n: 1 }) }, { space: "~", key: "todos b", value: null, fresh: true }, undefined,
    ]);
    assert.deepEqual(await db.table("todos").toArray(), [{ id: "a", n: 3, m: 9 }]);
    await db.table("todos").update("a", { n: 4 });
    const [base] = await store.commit(1, ALL, (tx) => tx.base.get("~", ["todos a"]));
    assert.equal(base?.value, text({ n: 1, m: 9 }));
  },

  async "rows that are applied wake queries of them, silent ones none, and the end of a load all, once"(assert) {
    const { db, store } = await openCaptured();
    const todos = watch(() => db.table("todos").toArray());
    const users = watch(() => db.table("users").where("email").equals("x").toArray());
    await moment();
    const put = (scope: Scope, key: string, value: object) => store.commit(1, scope, (tx) => tx.rows.put("~", [{ key, value: text(value) }]));
    await put({ collections: ["todos"], wake: "rows" }, "todos a", { n: 1 });
    await moment();
    assert.deepEqual([todos.seen.length, users.seen.length], [2, 1]);
    for (let i = 0; i < 5; i++) await put(SILENT, `todos s${i}`, { n: i });
    await put(SILENT, "users u", { email: "x" });
    await moment();
    assert.deepEqual([todos.seen.length, users.seen.length], [2, 1]);
    await put({ collections: ["todos"], wake: "everything" }, "todos z", { n: 1 });
    await moment();
    assert.deepEqual([todos.seen.length, users.seen.length], [3, 2]);
    assert.deepEqual([todos.seen[2]?.length, users.seen[1]], [7, [{ id: "u", email: "x" }]]);
    todos.stop();
    users.stop();
  },

  async "the outbox is listed by space, in the order of the app"(assert) {
    const { db, store } = await openCaptured();
    await db.table("cards").bulkAdd(["b1", undefined, "b1", undefined, "b1"].map((board, i) => ({ id: `c${i}`, board })));
    for (let i = 0; i < 3; i++) await db.table("cards").put({ id: `d${i}`, board: "b1" });
    await db.transaction("rw", "cards", () => db.table("cards").update("d0", { board: "b2" }));
    const seen = await store.commit(1, ALL, async (tx) => {
      const [first, ...rest] = await tx.outbox.list("b1");
      const all = await tx.outbox.list();
      return [
        first?.keys.length, rest.map(({ keys }) => keys[0]), (await tx.outbox.list("~")).length, all.length,
        all.filter(({ waits }) => waits?.space === "b2").map(({ keys }) => keys),
      ];
    });
    assert.deepEqual(seen, [3, ["cards d0", "cards d1", "cards d2", "cards d0"], 1, 7, [["cards d0"]]]);
  },

  async "marks, notes, sent and extra rows are kept by their names"(assert) {
    const { store } = await openCaptured();
    const seen = await store.commit(1, ALL, async (tx) => {
      await tx.marks.add("l1", ["todos a"]);
      await tx.marks.add("l2", ["todos b"]);
      await tx.marks.add("l1", ["todos c"]);
      await tx.marks.clear("l2");
      await tx.extra.put([{ space: "~", key: "none x", value: "{}", why: "unknown" }, { space: "b1", key: "cards c", value: "{}", why: "taken" }]);
      const n = await tx.notes.add({ kind: "rejected", space: "b1", code: "x", detail: "", changes: [] });
      const sent = { client: "c", txs: [], at: 0, changes: "[]", keys: [], base: null };
      await tx.sent.put([10, 9, 11].map((n) => ({ ...sent, space: "~", n, num: n })));
      await tx.sent.delete("~", [11]);
      await tx.spaces.put({ space: "~", position: POSITION } as SpaceRow);
      return [
        await tx.marks.all("l1"), await tx.marks.all("l2"), (await tx.extra.get("~", ["none x", "cards c"])).map((row) => row?.why),
        (await tx.extra.waiting(["cards", "todos"])).map(({ key }) => key), await tx.extra.keys("b1"), (await tx.notes.list("b1"))[0]?.n === n,
        (await tx.notes.list("~")).length, (await tx.sent.list("~")).map(({ n }) => n), (await tx.spaces.get("~"))?.position,
      ];
    });
    assert.deepEqual(seen, [["todos a", "todos c"], [], ["unknown", undefined], ["cards c"], ["cards c"], true, 0, [9, 10], POSITION]);
  },

  async "what waits for its place is found among many rows of collections that nobody knows, and few of them are read"(assert) {
    const { db, store, silent } = await openCaptured();
    const extra = (key: string, why: string) => ({ space: "~", key, value: text({ n: 1 }), why });
    await db.table("_hw_extra").bulkPut(Array.from({ length: 300 }, (_, n) => extra(`none ${n}`, "unknown")));
    await db.table("_hw_extra").bulkPut([extra("todos a", "taken"), extra("todos b", "unique"), extra("users c", "unique"), extra("todos d", "taken")]);
    const core = silent().table("_hw_extra");
    const query = core.query;
    let read = 0;
    core.query = async (request) => {
      const answer = await query(request);
      read += answer.result.length;
      return answer;
    };
    const waiting = await store.commit(1, ALL, async (tx) => {
      await tx.extra.delete("~", ["todos a"]);
      await tx.extra.put([{ space: "~", key: "todos d", value: "{}", why: "unknown" }, { space: "b1", key: "todos e", value: "{}", why: "taken" }]);
      const found = await tx.extra.waiting(["todos"]);
      await tx.rows.put("~", [{ key: "todos z", value: "{}" }]);
      return found.map(({ key }) => key).sort();
    });
    core.query = query;
    assert.deepEqual(waiting, ["todos b", "todos e"]);
    assert.ok(read < 50, `${read} rows were read`);
  },

  async "an edit of the app during a commit is written down after it, on what the commit left"(assert) {
    const { db, store, rows } = await openCaptured();
    await store.commit(1, ALL, (tx) => tx.rows.put("~", [{ key: "todos a", value: text({ n: 1 }) }]));
    let begun = () => {};
    const beginning = new Promise<void>((resolve) => {
      // Out of the transaction's zone, in which Dexie would take the edit for a part of it.
      begun = () => void setTimeout(resolve, 0);
    });
    const commit = store.commit(1, ALL, async (tx) => {
      const row = (await tx.spaces.get("~")) as SpaceRow;
      begun();
      await tx.rows.put("~", [{ key: "todos a", value: text({ n: 2 }) }]);
      await tx.spaces.put({ ...row, position: { ...POSITION, version: 8 } });
    });
    await beginning;
    await Promise.all([commit, native(db.table("todos").put({ id: "a", n: 5 }))]);
    const [row] = await rows();
    assert.deepEqual([row?.pos?.version, row?.before], [8, [text({ n: 2 })]]);
  },
};
