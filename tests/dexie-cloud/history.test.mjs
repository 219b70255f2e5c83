// Forward: nothing takes a device back to what it has left behind, also where KV lags, and a history that begins anew reaches it although
// its protocol has no word for that.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { assertSameRows } from "./addon.mjs";
import { useCloud } from "./cloud.mjs";

const put = (id, value) => ({ op: "put", collection: "notes", id, value });
/** A reset takes three requests at most: that which hears of it, that which brings everything, that which brings the realm back. */
const REQUESTS = 3;

async function syncs(device, times = REQUESTS) {
  for (let asked = 0; asked < times; asked += 1) await device.sync();
}

describe("a history that begins anew", () => {
  const cloud = useCloud();

  const reset = async (native) => {
    const { status, text, body } = await native.ask("/spaces/~/reset-epoch", { method: "POST" });
    assert.equal(status, 200, text);
    // What the native client knew belongs to the earlier epoch.
    Object.assign(native, { id: `c_after_${body.epoch}`, next: 1, epoch: null, version: 0, min: `${body.epoch}.${body.version}`, records: new Map() });
  };

  test("reaches a device, whose rows are those of the server then, and whose edits that were not sent are kept", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 1 }]));
    await one.run((db) => db.counters.put({ id: "c", n: 5 }));
    await syncs(one, 1);
    await syncs(two, 1);
    const native = cloud.native(user);
    await reset(native);
    await native.push([{ op: "delete", collection: "notes", id: "b" }, put("new", { n: 1 })]);
    await one.run(async (db) => {
      await db.counters.update("c", { n: add(1) });
      await db.notes.put({ id: "own", n: 1 });
    });
    await syncs(one);
    await syncs(two);
    await syncs(one);
    await assertSameRows([one, two], ["notes", "counters"]);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["a", "new", "own"]);
    assert.equal((await one.row("counters", "c")).n, 6);
    assert.deepEqual([await one.pending(), (await one.syncState()).realms.includes(user)], [0, true]);
  });

  test("and the answers that bring it may be lost", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.counters.put({ id: "c", n: 5 }));
    await syncs(one, 1);
    await syncs(two, 1);
    const native = cloud.native(user);
    await reset(native);
    await native.push([put("new", { n: 1 })]);
    for (let lost = 0; lost < REQUESTS; lost += 1) {
      one.line.loses("sync");
      await one.run((db) => db.counters.update("c", { n: add(1) }));
      await one.push().catch(() => {});
      await one.sync();
    }
    await syncs(one);
    await syncs(two);
    await assertSameRows([one, two], ["notes", "counters"]);
    assert.equal((await two.row("counters", "c")).n, 5 + REQUESTS);
    assert.deepEqual((await two.rows("notes")).map(({ id }) => id), ["new"]);
  });

  test("twice, before a device has heard of the first time, brings it what there is", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run((db) => db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 1 }]));
    await syncs(one, 1);
    const native = cloud.native(user);
    await reset(native);
    await one.sync();
    await native.push([{ op: "delete", collection: "notes", id: "a" }]);
    await reset(native);
    await native.push([put("new", { n: 1 })]);
    await syncs(one, REQUESTS + 1);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["b", "new"]);
  });

  test("after everything was erased leaves the devices nothing but what they write from then on", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 1 }]));
    await syncs(one, 1);
    await syncs(two, 1);
    const { status } = await cloud.native(user).ask("/spaces/~", { method: "DELETE" });
    assert.equal(status, 204);
    await syncs(one);
    assert.deepEqual(await one.rows("notes"), []);
    await two.run((db) => db.notes.put({ id: "new", n: 1 }));
    await syncs(two);
    await syncs(one);
    await assertSameRows([one, two], ["notes"]);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["new"]);
  });
});

describe("a location that lags", () => {
  const cloud = useCloud({ locations: ["far"] });

  test("never takes a device back to what it knew before", async () => {
    const user = cloud.user();
    const [one, native] = [await cloud.device(user), cloud.native(user)];
    await native.push([put("n", { n: 0 })]);
    await cloud.runtime.kv("far", user, { set: { staleMs: 3_600_000 } });
    // The far location has seen this state, and goes on seeing it.
    await cloud.native(user, { at: "far" }).pull();
    one.line.leadsTo(await cloud.runtime.url("far"));
    await one.sync();
    for (let n = 1; n <= 5; n += 1) {
      await native.push([put("n", { n })]);
      one.line.leadsTo(await cloud.runtime.url("home"));
      await one.sync();
      const home = (await one.row("notes", "n")).n;
      one.line.leadsTo(await cloud.runtime.url("far"));
      await one.sync();
      const far = (await one.row("notes", "n")).n;
      assert.ok(far >= home, `${home} at home, then ${far} far away`);
    }
  });

  test("shows a device what it has written itself, wherever it asks next", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await cloud.runtime.kv("far", user, { set: { staleMs: 3_600_000 } });
    for (let n = 1; n <= 3; n += 1) {
      await one.run((db, n) => db.counters.put({ id: "c", n }), n);
      await one.sync();
      one.line.leadsTo(await cloud.runtime.url(n % 2 ? "far" : "home"));
      await one.sync();
      assert.equal((await one.row("counters", "c")).n, n);
    }
  });

  test("gives a new device everything it has by one load and, at the latest by its socket, the rest", async () => {
    const user = cloud.user();
    const native = cloud.native(user);
    await native.load("notes", Array.from({ length: 300 }, (_, n) => [`r${n}`, { n }]));
    await cloud.runtime.kv("far", user, { set: { staleMs: 3_600_000 } });
    await cloud.native(user, { at: "far" }).pull();
    await native.push([put("late", { n: 1 }), { op: "delete", collection: "notes", id: "r7" }]);
    const one = await cloud.closed(user, { live: true });
    one.line.leadsTo(await cloud.runtime.url("far"));
    await one.open();
    await one.until(async (db) => (await db.notes.count()) === 300 && (await db.notes.get("late")) !== undefined);
    assert.equal(await one.row("notes", "r7"), undefined);
  });
});

describe("deletions that are forgotten", () => {
  const cloud = useCloud({ variables: { RETAIN_TOMBSTONES_DAYS: "0" } });

  test("do not leave rows on a device that was away, nor do they take its edits", async () => {
    const user = cloud.user();
    const [one, native] = [await cloud.device(user), cloud.native(user)];
    await native.push([put("kept", { n: 1 }), put("gone", { n: 1 })]);
    await one.sync();
    const { version } = await native.push([{ op: "delete", collection: "notes", id: "gone" }]);
    await native.push([put("later", { n: 1 })]);
    const [epoch] = native.min.split(".");
    await eventually("the deletion is forgotten", async () => {
      const { body } = await native.askPull({ epoch, since: version - 1, consistency: "strong" });
      return body.reset;
    });
    await one.run((db) => db.notes.put({ id: "own", n: 1 }));
    await syncs(one);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["kept", "later", "own"]);
    assert.ok((await one.syncState()).realms.includes(user));
    assert.equal(await one.pending(), 0);
  });
});
