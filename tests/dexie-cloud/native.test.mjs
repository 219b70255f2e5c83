// One space, two protocols: the records of native clients and those of the addon are the same records.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { useCloud } from "./cloud.mjs";

const cloud = useCloud();
const put = (collection, id, value) => ({ op: "put", collection, id, value });

/** A user with a device of the addon and a client of the native protocol. */
async function both() {
  const user = cloud.user();
  return { user, addon: await cloud.device(user), native: cloud.native(user) };
}

const valueOf = (native, key) => native.records.get(key)?.value;

describe("what a native client writes", () => {
  test("appears in Dexie with its key, its realm and its owner", async () => {
    const { user, addon, native } = await both();
    await native.push([put("notes", "n", { title: "native" }), put("pairs", '["x",1]', { n: 1 }), put("items", "itm0", { id: "itm0", title: "with id" })]);
    await addon.sync();
    const owned = { realmId: user, owner: user };
    assert.deepEqual(await addon.row("notes", "n"), { id: "n", title: "native", ...owned });
    assert.deepEqual((await addon.rows("pairs")).map(({ n, realmId }) => [n, realmId]), [[1, user]]);
    assert.deepEqual(await addon.row("items", "itm0"), { id: "itm0", title: "with id", ...owned });
    assert.equal(await addon.run((db) => db.notes.where({ realmId: db.cloud.currentUserId }).count()), 1);
  });

  test("and changes and deletes, changes and goes in Dexie", async () => {
    const { addon, native } = await both();
    await native.push([put("notes", "a", { n: 1 }), put("notes", "b", { n: 1 })]);
    await addon.sync();
    await native.push([{ op: "patch", collection: "notes", id: "a", set: { n: 2, "deep.x": 1 } }, { op: "delete", collection: "notes", id: "b" }]);
    await addon.sync();
    assert.deepEqual((await addon.rows("notes")).map(({ id, n, deep }) => [id, n, deep]), [["a", 2, { x: 1 }]]);
  });

  test("into collections that the device has no table for, harms nothing", async () => {
    const { addon, native } = await both();
    await native.push([put("unknown", "u", { n: 1 }), put("notes", "n", { n: 1 })]);
    await addon.sync();
    await addon.sync();
    assert.equal((await addon.row("notes", "n")).n, 1);
  });

  test("with a realm of its own keeps that realm on the way there and back", async () => {
    const { user, addon, native } = await both();
    await native.push([put("notes", "n", { title: "t", realmId: "rlm-else", owner: "somebody" })]);
    await addon.sync();
    const { realmId, owner } = await addon.row("notes", "n");
    assert.deepEqual([realmId, owner], ["rlm-else", "somebody"]);
    await addon.run((db) => db.notes.update("n", { title: "changed" }));
    await addon.sync();
    const truth = await cloud.runtime.truth(user);
    assert.deepEqual(valueOf(truth, "notes n"), { title: "changed", realmId: "rlm-else", owner: "somebody" });
  });

  test("deletions beat edits that the device has not sent yet", async () => {
    const { addon, native } = await both();
    await native.push([put("notes", "n", { n: 0 })]);
    await addon.sync();
    await addon.run((db) => db.notes.update("n", { n: 1 }));
    await native.push([{ op: "delete", collection: "notes", id: "n" }]);
    await addon.sync();
    assert.deepEqual(await addon.rows("notes"), []);
    assert.equal(await addon.pending(), 0);
  });
});

describe("what the addon writes", () => {
  test("comes to a native client without realm and owner, where they are the user's own", async () => {
    const { addon, native } = await both();
    const key = await addon.run(async (db) => {
      await db.notes.put({ id: "n", title: "dexie", when: new Date(0) });
      return db.items.add({ title: "made" });
    });
    await addon.sync();
    await native.pull();
    assert.deepEqual(valueOf(native, "notes n"), { id: "n", title: "dexie", when: { $t: "Date", v: "1970-01-01T00:00:00.000Z" } });
    assert.deepEqual(valueOf(native, `items ${key}`), { id: key, title: "made" });
  });

  test("goes from a native client when it is deleted", async () => {
    const { addon, native } = await both();
    await addon.run((db) => db.notes.bulkPut([{ id: "a" }, { id: "b" }]));
    await addon.sync();
    await native.pull();
    await addon.run((db) => db.notes.delete("a"));
    await addon.sync();
    await native.pull();
    assert.deepEqual([...native.records.keys()], ["notes b"]);
  });

  test("conflicts with a native edit that rests on what was there before, which is kept for its user to decide", async () => {
    const { addon, native } = await both();
    await native.push([put("notes", "n", { title: "first", n: 0 })]);
    await native.pull();
    await addon.sync();
    await addon.run((db) => db.notes.update("n", { title: "by dexie" }));
    await addon.sync();
    const result = await native.push([put("notes", "n", { title: "native", n: 1 })], { base: native.version });
    assert.equal(result.status, "conflict");
    await addon.sync();
    assert.deepEqual([(await addon.row("notes", "n")).title, (await addon.row("notes", "n")).n], ["by dexie", 0]);
  });

  test("never conflicts itself: it has no base, and the later writer counts", async () => {
    const { addon, native } = await both();
    await native.push([put("notes", "n", { title: "first", n: 0 })]);
    await addon.sync();
    await native.push([put("notes", "n", { title: "native", n: 1 })]);
    await addon.run((db) => db.notes.update("n", { title: "by dexie" }));
    await addon.sync();
    await native.pull();
    assert.deepEqual(valueOf(native, "notes n"), { title: "by dexie", n: 1 });
    assert.deepEqual((await native.conflicts()).conflicts, []);
  });

  test("by a propmod adds up with what a native client adds", async () => {
    const { addon, native } = await both();
    await native.push([put("counters", "c", { n: 1 })]);
    await addon.sync();
    await native.push([{ op: "add", collection: "counters", id: "c", path: "n", by: 10 }]);
    await addon.run((db) => db.counters.update("c", { n: add(100) }));
    await addon.sync();
    await native.pull();
    assert.equal(valueOf(native, "counters c").n, 111);
    assert.equal((await addon.row("counters", "c")).n, 111);
  });
});
