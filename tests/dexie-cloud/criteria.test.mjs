// Criteria: what a device asks for by a condition happens to the rows that meet it on the server, not to those that the device had.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertSameRows } from "./addon.mjs";
import { useCloud } from "./cloud.mjs";
import { needs } from "./packages.mjs";

const cloud = useCloud();

/** Two devices of which the second has not seen `rows` of `notes`, though they are on the server. */
async function apart(rows, known = []) {
  const user = cloud.user();
  const [one, two] = await cloud.devices(2, user);
  if (known.length > 0) {
    await two.run((db, rows) => db.notes.bulkPut(rows), known);
    await two.sync();
    await one.sync();
  }
  await one.run((db, rows) => db.notes.bulkPut(rows), rows);
  await one.sync();
  return { user, one, two };
}

/** Lets the second device push what it has done, and everybody pull; gives the rows that all have, by id. */
async function settle({ one, two }) {
  await two.sync();
  await one.sync();
  await assertSameRows([one, two], ["notes"]);
  return Object.fromEntries((await one.rows("notes")).map((row) => [row.id, row]));
}

/**
 * The ids that `act` of a device that has none of these rows has marked with `{hit: 1}` on the server. A row of its own besides: an
 * edit of no row alone is not sent.
 */
async function marked(rows, act, ...args) {
  const both = await apart(rows);
  await both.two.run(act, ...args);
  await both.two.run((db) => db.notes.put({ id: "~own" }));
  const found = await settle(both);
  return Object.values(found).filter(({ hit }) => hit).map(({ id }) => id);
}

describe("where().modify()", () => {
  test("changes a row that only the server has", async () => {
    const both = await apart([{ id: "far", kind: "open", n: 0 }], [{ id: "near", kind: "open", n: 0 }]);
    await both.two.run((db) => db.notes.where("kind").equals("open").modify({ n: 1 }));
    const { near, far } = await settle(both);
    assert.deepEqual([near.n, far.n], [1, 1]);
  });

  test("leaves a row alone that does not match any more, and the device that thought so is told", async () => {
    const both = await apart([], [{ id: "a", kind: "open", n: 0 }, { id: "b", kind: "open", n: 0 }]);
    await both.one.run((db) => db.notes.update("a", { kind: "closed" }));
    await both.one.sync();
    await both.two.run((db) => db.notes.where("kind").equals("open").modify({ n: 1 }));
    assert.equal((await both.two.row("notes", "a")).n, 1, "its own guess");
    const { a, b } = await settle(both);
    assert.deepEqual([a.kind, a.n, b.n], ["closed", 0, 1]);
  });

  test("by keys has one spec for many rows, and all of them get it", async () => {
    const rows = ["a", "b", "c", "d"].map((id) => ({ id, n: 0 }));
    const both = await apart([], rows);
    await both.two.run((db) => db.notes.bulkUpdate(["b", "c", "d"].map((key) => ({ key, changes: { n: 1 } }))));
    await both.two.run((db) => db.notes.where("id").above("a").modify({ title: "above" }));
    const found = await settle(both);
    assert.deepEqual(Object.values(found).map(({ id, n, title }) => [id, n, title]), [
      ["a", 0, undefined], ["b", 1, "above"], ["c", 1, "above"], ["d", 1, "above"],
    ]);
  });

  test("over more rows than fit one operation happens once to each", needs("propmods"), async () => {
    const rows = Array.from({ length: 450 }, (_, at) => ({ id: `r${String(at).padStart(3, "0")}`, kind: "open", n: at }));
    const both = await apart([{ id: "far", kind: "open", n: 0 }], rows);
    await both.two.run((db) => db.notes.where("kind").equals("open").modify({ n: add(1_000) }));
    await both.two.sync();
    const chunks = both.two.syncs.at(-1).body.changes.flatMap(({ muts }) => muts).filter(({ type }) => type === "modify");
    assert.ok(chunks.length > 1 && chunks.slice(1).every(({ isAdditionalChunk }) => isAdditionalChunk), `${chunks.length} chunks`);
    const found = await settle(both);
    assert.equal(found.far.n, 1_000);
    for (const { id, n } of rows) assert.equal(found[id].n, n + 1_000, id);
  });

  test("sees what its own transaction has done before", async () => {
    const both = await apart([{ id: "far", kind: "open", n: 0 }], [{ id: "near", kind: "closed", n: 0 }]);
    await both.two.run((db) =>
      db.transaction("rw", db.notes, async () => {
        await db.notes.put({ id: "new", kind: "open", n: 0 });
        await db.notes.update("near", { kind: "open" });
        await db.notes.where("kind").equals("open").modify({ n: 1, kind: "done" });
        await db.notes.where("kind").equals("done").modify({ title: "twice" });
      }),
    );
    const found = await settle(both);
    assert.deepEqual(Object.values(found).map(({ id, n, kind, title }) => [id, n, kind, title]), [
      ["far", 1, "done", "twice"], ["near", 1, "done", "twice"], ["new", 1, "done", "twice"],
    ]);
  });

  test("sets and removes by dotted paths, through what is no object, and in arrays", async () => {
    const both = await apart([{ id: "n", a: { b: { c: 1, d: 2 } }, text: "t", list: [{ x: 1 }, { x: 2 }, { x: 3 }] }]);
    await both.two.sync();
    await both.two.run((db) => db.notes.update("n", { "a.b.c": undefined, "a.e": 5, "text.deep": 1, "list.0.x": 9, "list.1": undefined, gone: undefined }));
    const { n } = await settle(both);
    assert.deepEqual([n.a, n.list], [{ b: { d: 2 }, e: 5 }, [{ x: 9 }, { x: 3 }]]);
    assert.ok(!("gone" in n));
  });

  test("with a property that begins with a dollar sign changes that property", async () => {
    const both = await apart([{ id: "n", kind: "open", $price: 1, $deep: { $x: 1 } }]);
    await both.two.run((db) => db.notes.where("kind").equals("open").modify({ $price: 2, "$deep.$x": 2 }));
    await both.two.run((db) => db.notes.put({ id: "~own" }));
    const { n } = await settle(both);
    assert.deepEqual([n.$price, n.$deep], [2, { $x: 2 }]);
  });
});

describe("where().delete() and clear()", () => {
  test("delete rows that only the server has", async () => {
    const both = await apart([{ id: "far", kind: "open" }, { id: "other", kind: "closed" }], [{ id: "near", kind: "open" }]);
    await both.two.run((db) => db.notes.where("kind").equals("open").delete());
    assert.deepEqual(Object.keys(await settle(both)), ["other"]);
  });

  test("a cleared table is empty everywhere, and others are not", async () => {
    const both = await apart([{ id: "far" }], [{ id: "near" }]);
    await both.one.run((db) => db.counters.put({ id: "kept" }));
    await both.one.sync();
    await both.two.run((db) => db.notes.clear());
    assert.deepEqual(await settle(both), {});
    assert.equal((await both.two.rows("counters")).length, 1);
  });
});

describe("what matches", () => {
  test("by an index of many entries, a row of which one entry lies in the range", async () => {
    const rows = [{ id: "a", tags: ["x", "y"] }, { id: "b", tags: ["z"] }, { id: "c", tags: "x" }, { id: "d" }];
    const act = (db) => db.notes.where("tags").equals("x").modify({ hit: 1 });
    assert.deepEqual((await marked(rows, act)).filter((id) => id !== "c"), ["a"]);
  });

  test("by an index of two parts, a row that has both in the range", async () => {
    const rows = [{ id: "a", kind: "k", n: 1 }, { id: "b", kind: "k", n: 5 }, { id: "c", kind: "l", n: 1 }, { id: "d", kind: "k" }];
    const act = (db) => db.notes.where("[kind+n]").between(["k", 1], ["k", 4]).modify({ hit: 1 });
    assert.deepEqual(await marked(rows, act), ["a"]);
  });

  test("text compares by UTF-16 units, so the plane of emoji lies below U+E000", async () => {
    const rows = [{ id: "private", title: "\uE000" }, { id: "emoji", title: "\u{1F40E}" }, { id: "last", title: "\uFFFF" }];
    const act = (db) => db.notes.where("title").aboveOrEqual("\uE000").modify({ hit: 1 });
    assert.deepEqual(await marked(rows, act), ["last", "private"]);
  });

  test("numbers lie below dates, dates below text, text below arrays, and what is no key matches nothing", async () => {
    const rows = [
      { id: "number", n: 7 }, { id: "small", n: 1 }, { id: "date", n: new Date(0) }, { id: "text", n: "" }, { id: "array", n: ["z"] },
      { id: "object", n: {} }, { id: "true", n: true }, { id: "null", n: null }, { id: "nan", n: NaN }, { id: "none" },
    ];
    const all = ["array", "date", "number", "text"];
    assert.deepEqual(await marked(rows, (db) => db.notes.where("n").above(1).modify({ hit: 1 })), all);
    const onlyNumbers = (db) => db.notes.where("n").between(-Infinity, Infinity, true, true).modify({ hit: 1 });
    assert.deepEqual(await marked(rows, onlyNumbers), ["number", "small"]);
    const upToText = (db) => db.notes.where("n").belowOrEqual(new Date(1)).modify({ hit: 1 });
    assert.deepEqual(await marked(rows, upToText), ["date", "number", "small"]);
  });

  test("ends of ranges are in or out as they were said", async () => {
    const rows = [1, 2, 3, 4].map((n) => ({ id: `r${n}`, n }));
    const act = (db, low, high) => db.notes.where("n").between(1, 3, low, high).modify({ hit: 1 });
    for (const [low, high, ids] of [[true, true, ["r1", "r2", "r3"]], [false, false, ["r2"]], [true, false, ["r1", "r2"]]]) {
      assert.deepEqual(await marked(rows, act, low, high), ids);
    }
  });

  test("a range of keys of two parts goes by both parts", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.pairs.bulkPut([["x", 1], ["x", 10], ["x", 9], ["y", 1]].map(([a, b]) => ({ a, b, n: 0 }))));
    await one.sync();
    await two.run((db) => db.pairs.where("[a+b]").between(["x", 2], ["x", 10], true, true).modify({ n: 1 }));
    await two.run((db) => db.pairs.put({ a: "~own", b: 0 }));
    await two.sync();
    await one.sync();
    await assertSameRows([one, two], ["pairs"]);
    assert.deepEqual((await one.rows("pairs")).filter(({ n }) => n === 1).map(({ a, b }) => [a, b]), [["x", 9], ["x", 10]]);
  });
});
