// Devices with `dexie-cloud-addon` as it is published, one process each, against the built Worker: what one writes, the others have.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertSameRows } from "./addon.mjs";
import { useCloud } from "./cloud.mjs";
import { knows } from "./packages.mjs";

const cloud = useCloud();

describe("two devices of one user", () => {
  test("what one adds, puts, updates and deletes, the other has", async () => {
    const [one, two] = await cloud.devices(2);
    const kept = await one.run(async (db) => {
      const [kept, gone] = await db.items.bulkAdd([{ title: "kept" }, { title: "gone" }], { allKeys: true });
      await db.notes.put({ id: "n", title: "first" });
      await db.notes.put({ id: "n", title: "second" });
      await db.items.update(kept, { title: "kept and updated", "place.shelf": 3 });
      await db.items.delete(gone);
      return kept;
    });
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["items", "notes"]);
    const item = await two.row("items", kept);
    assert.deepEqual([item.title, item.place], ["kept and updated", { shelf: 3 }]);
    assert.deepEqual((await two.rows("items")).length, 1);
    assert.equal((await two.row("notes", "n")).title, "second");
    assert.equal(await one.pending(), 0);
  });

  test("values that JSON has not come as they went", async () => {
    const [one, two] = await cloud.devices(2);
    const set = knows.sets ? new Set([1, "a"]) : null;
    await one.run((db, set) =>
      db.notes.put({
        id: "n", at: new Date(7), none: undefined, not: NaN, far: -Infinity, bytes: new Uint8Array([0, 255, 16, 32]), set,
        map: new Map([["k", { deep: [null] }]]), $t: "no tag", $: { $$: 1 }, text: "ü \u2028 \u{1F40E} \"\\",
      }),
      set,
    );
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes"]);
    const row = await two.row("notes", "n");
    assert.deepEqual(row.at, new Date(7));
    assert.ok("none" in row && row.none === undefined && Number.isNaN(row.not));
    assert.deepEqual([row.bytes, row.set, row.map], [new Uint8Array([0, 255, 16, 32]), set, new Map([["k", { deep: [null] }]])]);
    assert.deepEqual([row.$t, row.$], ["no tag", { $$: 1 }]);
  });

  test("edits of different properties of one row are both kept, and of one property the later to arrive", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.put({ id: "n", title: "t", n: 0, kind: "k" }));
    await one.sync();
    await two.sync();
    await one.run((db) => db.notes.update("n", { title: "by one", n: 1 }));
    await two.run((db) => db.notes.update("n", { kind: "by two", n: 2 }));
    for (const device of [one, two, one]) await device.sync();
    await assertSameRows([one, two], ["notes"]);
    const { title, kind, n } = await one.row("notes", "n");
    assert.deepEqual([title, kind, n], ["by one", "by two", 2]);
  });

  test("a deletion beats an edit that was made without knowing of it, and the edit does not bring the row back", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.bulkPut([{ id: "n", n: 0 }, { id: "m", n: 0 }]));
    await one.sync();
    await two.sync();
    await one.run((db) => db.notes.bulkDelete(["n", "m"]));
    await two.run(async (db) => {
      await db.notes.update("n", { n: 1 });
      await db.notes.where("id").equals("m").modify({ n: 1 });
    });
    for (const device of [one, two, one]) await device.sync();
    assert.deepEqual(await one.rows("notes"), []);
    assert.deepEqual(await two.rows("notes"), []);
  });

  test("a row that was put again after its deletion is there", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.sync();
    await two.sync();
    await one.run((db) => db.notes.delete("n"));
    await one.sync();
    await one.run((db) => db.notes.put({ id: "n", n: 2 }));
    await one.sync();
    await two.sync();
    assert.equal((await two.row("notes", "n")).n, 2);
  });

  test("an edit that is made while a request is under way is sent behind it and survives its answer", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.put({ id: "n", n: 1, title: "first" }));
    const held = one.line.holds("sync");
    const synced = one.sync();
    await held.arrived;
    await one.run((db) => db.notes.update("n", { title: "meanwhile" }));
    held.release();
    await synced;
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes"]);
    assert.equal((await two.row("notes", "n")).title, "meanwhile");
  });

  test("a sync with nothing new changes nothing, and is answered with where the device is", async () => {
    const one = await cloud.device(cloud.user());
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.sync();
    const before = (await one.syncState()).serverRevision;
    await one.sync();
    const { status, answer } = one.syncs.at(-1);
    assert.deepEqual([status, answer.serverRevision, answer.changes], [200, before, []]);
  });

  test("a slash at the end of the address does not count", async () => {
    const user = cloud.user();
    const [one, two] = [await cloud.closed(user, { live: true }), await cloud.device(user)];
    await one.open({ url: `${one.line.origin}/dexie/` });
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.until((db) => db.cloud.webSocketStatus.value === "connected");
    await two.run((db) => db.notes.put({ id: "m", n: 2 }));
    await two.sync();
    await one.until(async (db) => (await db.notes.get("m"))?.n === 2);
    assert.ok(one.syncs.every(({ path }) => path === "/dexie//sync"), one.syncs.map(({ path }) => path).join());
  });

  test("a user sees nothing of another user", async () => {
    const [alice, bob] = [await cloud.device(cloud.user("alice")), await cloud.device(cloud.user("bob"))];
    await alice.run((db) => db.notes.put({ id: "n", title: "mine" }));
    await alice.sync();
    await bob.sync();
    assert.deepEqual(await bob.rows("notes"), []);
    await bob.run((db) => db.notes.put({ id: "n", title: "his" }));
    await bob.sync();
    await alice.sync();
    assert.equal((await alice.row("notes", "n")).title, "mine");
  });
});

describe("keys", () => {
  test("keys that the addon makes up have the table's prefix, and are the same on every device", async () => {
    const [one, two] = await cloud.devices(2);
    const [key, prefix] = await one.run(async (db) => [await db.items.add({ title: "a" }), db.items.idPrefix()]);
    await one.sync();
    await two.sync();
    assert.ok(prefix.length === 3 && key.startsWith(prefix), key);
    assert.deepEqual((await two.rows("items")).map(({ id }) => id), [key]);
  });

  test("a key of two parts comes as an array, and a row is found, updated and deleted by it", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.pairs.bulkPut([{ a: "x", b: 1, n: 0 }, { a: "x", b: 2, n: 0 }, { a: "]\"", b: 0.5, n: 0 }]));
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["pairs"]);
    assert.equal((await two.rows("pairs")).length, 3);
    await two.run(async (db) => {
      await db.pairs.update(["x", 1], { n: 1 });
      await db.pairs.delete(["x", 2]);
      await db.pairs.where("[a+b]").equals(["]\"", 0.5]).modify({ n: 2 });
    });
    await two.sync();
    await one.sync();
    await assertSameRows([one, two], ["pairs"]);
    assert.deepEqual((await one.rows("pairs")).map(({ a, b, n }) => [a, b, n]), [["]\"", 0.5, 2], ["x", 1, 1]]);
  });

  test("a private id is one row per user, under the same key on all of the user's devices", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.items.put({ id: `#${db.items.idPrefix()}settings`, title: "dark" }));
    await one.run((db) => db.notes.put({ id: "#me", title: "private" }));
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["items", "notes"]);
    assert.equal((await two.row("notes", "#me")).title, "private");
    await two.run((db) => db.notes.update("#me", { title: "changed" }));
    await two.sync();
    await one.sync();
    assert.equal((await one.row("notes", "#me")).title, "changed");
    const native = await cloud.runtime.truth(user);
    assert.ok(native.records.has(`notes #me:${user}`), [...native.records.keys()].join());
  });
});

describe("transactions", () => {
  test("one transaction over two tables is one version, and two are two", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run(async (db) => {
      await db.transaction("rw", db.notes, db.counters, async () => {
        await db.notes.put({ id: "a" });
        await db.counters.put({ id: "a" });
        await db.notes.put({ id: "b" });
      });
      await db.notes.put({ id: "c" });
    });
    await one.sync();
    const { records } = await cloud.runtime.truth(user);
    const [a, also, b, c] = ["notes a", "counters a", "notes b", "notes c"].map((key) => records.get(key).version);
    assert.ok(a === also && a === b && c === a + 1, `${[a, also, b, c]}`);
  });

  test("transactions that interleave over two tables are each whole", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run((db) =>
      Promise.all([
        db.transaction("rw", db.notes, async () => {
          for (const id of ["a", "b", "c"]) await db.notes.put({ id, n: 1 });
        }),
        db.transaction("rw", db.counters, async () => {
          for (const id of ["a", "b", "c"]) await db.counters.put({ id, n: 1 });
        }),
      ]),
    );
    await one.sync();
    const { records } = await cloud.runtime.truth(user);
    for (const table of ["notes", "counters"]) {
      const versions = new Set(["a", "b", "c"].map((id) => records.get(`${table} ${id}`).version));
      assert.equal(versions.size, 1, `${table}: ${[...versions]}`);
    }
  });
});
