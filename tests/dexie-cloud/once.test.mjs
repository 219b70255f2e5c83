// Once: what a device sends again because it had no answer is not done again, and what the server refuses is not lost.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertSameRows } from "./addon.mjs";
import { useCloud } from "./cloud.mjs";
import { needs } from "./packages.mjs";

const cloud = useCloud();
const isPush = ({ body }) => body.changes.length > 0;

describe("propmods", () => {
  test("of two devices add up, and both have the sum", needs("propmods"), async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.counters.put({ id: "c", n: 10, tags: ["m"], path: "/a/b" }));
    await one.sync();
    await two.sync();
    await one.run((db) => db.counters.update("c", { n: add(1), tags: add(["z", "b"]), path: replacePrefix("/a", "/A") }));
    await two.run((db) => db.counters.update("c", { n: add(5), tags: remove(["m"]), "deep.count": add(2) }));
    await two.run((db) => db.counters.update("c", { n: remove(2) }));
    for (const device of [one, two, one]) await device.sync();
    await assertSameRows([one, two], ["counters"]);
    const { n, tags, path, deep } = await one.row("counters", "c");
    assert.deepEqual([n, tags, path, deep], [14, ["b", "z"], "/A/b", { count: 2 }]);
  });

  test("have the result on the server that the device computed itself", needs("propmods"), async () => {
    const [one, two] = await cloud.devices(2);
    const start = { n: "5", word: "x", list: ["b", "\uE000", "\u{1F40E}", 10, 9], none: null, date: new Date(0), path: "/a", other: 7 };
    await one.run((db, row) => db.counters.put({ id: "c", ...row }), start);
    await one.sync();
    await one.run((db) =>
      db.counters.update("c", {
        n: add(1), word: add(1), list: add(["a", 1]), none: add(["q"]), missing: add(["q"]), path: replacePrefix("/b", "/B"), other: replacePrefix("7", "8"),
      }),
    );
    const guess = await one.row("counters", "c");
    await one.sync();
    await two.sync();
    assert.deepEqual(await two.row("counters", "c"), guess);
    assert.deepEqual(await one.row("counters", "c"), guess);
    await one.run((db) => db.counters.update("c", { list: remove(["a", 10]), none: remove(["x"]), n: remove(0.5), path: remove(["x"]) }));
    const second = await one.row("counters", "c");
    await one.sync();
    await two.sync();
    assert.deepEqual(await two.row("counters", "c"), second);
  });

  test("in an upsert change the row that is there, and make the one that is not", needs("propmods", "upsert"), async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.counters.put({ id: "there", n: 10, kind: "kept" }));
    await one.sync();
    await two.run(async (db) => {
      await db.counters.upsert("there", { n: add(1) });
      await db.counters.upsert("new", { n: 3 });
    });
    await two.sync();
    await one.sync();
    await assertSameRows([one, two], ["counters"]);
    const [made, there] = await one.rows("counters");
    assert.deepEqual([made.n, there.kind], [3, "kept"]);
  });
});

describe("when an answer is lost", () => {
  test("a propmod of a later sync counts once", needs("propmods"), async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.counters.put({ id: "c", n: 0 }));
    await one.sync();
    await one.run((db) => db.counters.update("c", { n: add(1) }));
    const lost = one.line.loses("sync", { where: isPush });
    await one.push().catch(() => {});
    await one.push();
    await two.sync();
    assert.equal(lost.hits, 1);
    assert.deepEqual([await one.pending(), (await one.row("counters", "c")).n, (await two.row("counters", "c")).n], [0, 1, 1]);
    const [first, again] = one.syncs.filter(isPush).slice(-2).map(({ body }) => body.changes[0].muts.map(({ txid }) => txid));
    assert.deepEqual(again, first, "the same transaction was sent twice");
  });

  test("a propmod of the first sync of all counts once, though the device has another identity each time", needs("propmods", "userFirst"), async () => {
    const user = cloud.user();
    const other = await cloud.device(user);
    await other.run((db) => db.counters.put({ id: "c", kind: "k", n: 0 }));
    await other.sync();
    const late = await cloud.closed(user);
    // No sync succeeds at first: the app opens all the same, and its user goes on.
    const down = late.line.refuses("sync", 503, { times: 1_000 });
    await late.open().catch(() => {});
    await late.run(async (db) => {
      await db.notes.put({ id: "n", n: 0 });
      await db.transaction("rw", db.notes, db.counters, async () => {
        await db.notes.update("n", { n: add(1) });
        await db.counters.where("kind").equals("k").modify({ n: add(1) });
      });
    });
    down.times = 0;
    const lost = late.line.loses("sync", { times: 2 });
    while (lost.hits < 2) await late.open().catch(() => {});
    await late.open();
    await late.signedIn();
    await other.sync();
    const pushes = late.syncs.filter(isPush).slice(-3);
    assert.equal(new Set(pushes.map(({ body }) => body.clientIdentity)).size, pushes.length, "it is another identity each time");
    assert.deepEqual([(await late.row("notes", "n")).n, (await late.row("counters", "c")).n], [1, 1]);
    assert.deepEqual([(await other.row("notes", "n")).n, (await other.row("counters", "c")).n], [1, 1]);
  });

  test("what was edited since then goes along with the repetition, and each counts once", needs("propmods"), async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.counters.bulkPut([{ id: "c", n: 0 }, { id: "d", n: 0 }]));
    await one.sync();
    await one.run((db) => db.counters.update("c", { n: add(1) }));
    one.line.loses("sync", { where: isPush, times: 2 });
    await one.push().catch(() => {});
    await one.run(async (db) => {
      await db.counters.update("c", { n: add(10) });
      await db.counters.update("d", { n: add(100) });
      await db.counters.delete("d");
      await db.counters.put({ id: "d", n: 1 });
    });
    await one.open();
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["counters"]);
    assert.deepEqual((await two.rows("counters")).map(({ n }) => n), [11, 1]);
  });

  test("a deletion by criteria does not take rows that came after it", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.bulkPut([{ id: "a", kind: "old" }, { id: "b", kind: "old" }]));
    await one.sync();
    await two.sync();
    await one.run((db) => db.notes.where("kind").equals("old").delete());
    const lost = one.line.loses("sync", { where: isPush, times: 2 });
    await one.push().catch(() => {});
    await two.run((db) => db.notes.put({ id: "c", kind: "old" }));
    await two.sync();
    await one.open();
    await one.sync();
    await two.sync();
    assert.equal(lost.hits, 2);
    await assertSameRows([one, two], ["notes"]);
    assert.deepEqual((await two.rows("notes")).map(({ id }) => id), ["c"]);
  });

  test("five hundred transactions in one lost request count once each", needs("propmods"), async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.counters.put({ id: "c", n: 0 }));
    await one.sync();
    await one.run(async (db) => {
      for (let n = 0; n < 500; n += 1) await db.counters.update("c", { n: add(1) });
    });
    one.line.loses("sync", { where: isPush });
    await one.push().catch(() => {});
    await one.push();
    await two.sync();
    assert.equal((await two.row("counters", "c")).n, 500);
  });
});

describe("when the server refuses", () => {
  for (const status of [429, 503]) {
    test(`${status} keeps the queue, and the next opening sends it, once`, needs("propmods"), async () => {
      const [one, two] = await cloud.devices(2);
      await one.run((db) => db.counters.put({ id: "c", n: 0 }));
      await one.sync();
      await one.run((db) => db.counters.update("c", { n: add(1) }));
      one.line.refuses("sync", status);
      await assert.rejects(one.sync(), /Sync error/);
      assert.equal(await one.pending(), 1);
      await one.open();
      await one.sync();
      await two.sync();
      assert.deepEqual([await one.pending(), (await two.row("counters", "c")).n], [0, 1]);
    });
  }
});
