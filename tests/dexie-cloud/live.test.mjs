// Live: with the addon as it is when nobody configures it, writes reach the other devices by their sockets.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { listen } from "../runtime/socket.mjs";
import { useCloud } from "./cloud.mjs";
import { needs } from "./packages.mjs";

const cloud = useCloud();
const put = (id, value) => ({ op: "put", collection: "notes", id, value });
const live = { live: true };
const connected = (db) => db.cloud.webSocketStatus.value === "connected";
const shows = (id, n) => [async (db, id, n) => (await db.notes.get(id))?.n === n, id, n];

/** So many devices of one user, whose sockets are open. */
async function connectedDevices(count, user = cloud.user()) {
  const devices = await cloud.devices(count, user, live);
  for (const device of devices) await device.until(connected);
  return devices;
}

/** Waits until nothing has been asked for a moment: what a device does of itself when it opens is done. */
async function quiet(...devices) {
  for (const device of devices) await device.until((db) => db.cloud.syncState.value.phase === "in-sync");
  for (let [before, now] = [-1, 0]; before !== now; ) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 300));
    now = devices.reduce((sum, { syncs }) => sum + syncs.length, 0);
  }
}

describe("by sockets", () => {
  test("a row that one device writes appears on the other, which asks for nothing", async () => {
    const [one, two] = await connectedDevices(2);
    await quiet(one, two);
    const asked = two.syncs.length;
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await two.until(...shows("n", 1));
    await one.run((db) => db.notes.update("n", { n: 2 }));
    await two.until(...shows("n", 2));
    await one.run((db) => db.notes.delete("n"));
    await two.until(async (db) => (await db.notes.get("n")) === undefined);
    assert.equal(two.syncs.length, asked, "it was told what changed");
    await two.run((db) => db.notes.put({ id: "m", n: 3 }));
    await one.until(...shows("m", 3));
  });

  test("whoever pushes is not asked to pull for it", async () => {
    const [one] = await connectedDevices(1);
    await quiet(one);
    const asked = one.syncs.length;
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await quiet(one);
    assert.equal(one.syncs.length, asked + 1);
  });

  test("a native client's push appears on a device, and a device's push is told to a native socket", async () => {
    const user = cloud.user();
    const [one] = await connectedDevices(1, user);
    const native = cloud.native(user);
    await native.push([put("n", { n: 1 })]);
    await one.until(...shows("n", 1));
    const socket = await listen(cloud.runtime, native.token);
    await one.run((db) => db.notes.put({ id: "m", n: 2 }));
    const told = await socket.hears("changes", { where: ({ changes }) => changes.some(({ id }) => id === "m") });
    assert.deepEqual(told.changes.find(({ id }) => id === "m").value, { id: "m", n: 2 });
    await socket.close();
  });

  test("more than a message holds makes the other device pull", async () => {
    const [one, two] = await connectedDevices(2);
    await one.run((db) => db.notes.bulkPut(Array.from({ length: 40 }, (_, n) => ({ id: `r${n}`, n, text: "x".repeat(10_000) }))));
    await two.until(async (db) => (await db.notes.count()) === 40);
  });

  test("many writes one after the other all appear", async () => {
    const user = cloud.user();
    const [one] = await connectedDevices(1, user);
    const native = cloud.native(user);
    for (let n = 1; n <= 40; n += 1) await native.push([put("n", { n }), put(`r${n}`, { n })]);
    await one.until(async (db) => (await db.notes.count()) === 41 && (await db.notes.get("n")).n === 40);
  });

  test("edits of two devices in the same row at the same time end alike on both", needs("propmods"), async () => {
    const [one, two] = await connectedDevices(2);
    await one.run((db) => db.counters.put({ id: "c", n: 0, kind: "k" }));
    await two.until(async (db) => (await db.counters.get("c")) !== undefined);
    const edit = async (db, name) => {
      for (let n = 0; n < 10; n += 1) {
        await db.counters.update("c", { n: add(1), [name]: n });
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await Promise.all([one.run(edit, "one"), two.run(edit, "two")]);
    for (const device of [one, two]) {
      await device.until(async (db) => {
        const { n, one, two } = await db.counters.get("c");
        return n === 20 && one === 9 && two === 9;
      });
    }
  });

  test("a device whose socket was lost gets a new one, and what was written meanwhile", async () => {
    const user = cloud.user();
    const [one] = await connectedDevices(1, user);
    const native = cloud.native(user);
    one.line.cut();
    await native.push([put("n", { n: 1 })]);
    one.line.mend();
    await one.until(...shows("n", 1));
    await one.until(connected);
    await native.push([put("n", { n: 2 })]);
    await one.until(...shows("n", 2));
  });

  test("a history that begins anew is told, and the device has its realm again", needs("everyPull"), async () => {
    const user = cloud.user();
    const [one] = await connectedDevices(1, user);
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    const native = cloud.native(user);
    await quiet(one);
    const { body } = await native.ask("/spaces/~/reset-epoch", { method: "POST" });
    Object.assign(native, { min: `${body.epoch}.${body.version}` });
    await native.push([put("m", { n: 2 })]);
    await one.until(...shows("m", 2));
    await one.until((db, user) => db.cloud.persistedSyncState.value.realms.includes(user), user);
    assert.equal((await one.row("notes", "n")).n, 1);
    await native.push([put("m", { n: 3 })]);
    await one.until(...shows("m", 3));
  });
});

describe("the socket itself", () => {
  /** A socket at the address at which the addon has opened its own, with what it was told. */
  async function open(user) {
    const [device] = await connectedDevices(1, user);
    const { serverRevision } = await device.syncState();
    const { path, query } = device.line.of("changes").at(-1);
    device.line.cut();
    const socket = new WebSocket(`${cloud.origin.replace("http", "ws")}${path}?${new URLSearchParams(query)}`);
    const told = [];
    socket.addEventListener("message", ({ data }) => told.push(JSON.parse(data)));
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", () => reject(new Error("no socket")));
    });
    const hears = async (type) => {
      for (let waited = 0; waited < 10_000; waited += 50) {
        const found = told.find((message) => message.type === type);
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return assert.fail(`${type} is told, not only ${JSON.stringify(told)}`);
    };
    return { socket, hears, serverRevision, realmsHash: query.realmsHash };
  }

  test("answers the addon's ping, which keeps it open, and the native one's in the same space", async () => {
    const user = cloud.user();
    const { socket, hears } = await open(user);
    const native = await listen(cloud.runtime, cloud.native(user).token);
    await native.ping();
    socket.send('{"type":"ping"}');
    await hears("pong");
    await native.ping();
    await native.close();
    socket.close();
  });

  test("tells a client that is ready the changes from exactly where it is, with the hash that it sent", async () => {
    const user = cloud.user();
    const { socket, hears, serverRevision, realmsHash } = await open(user);
    socket.send(JSON.stringify({ type: "ready", rev: serverRevision, realmSetHash: realmsHash }));
    await cloud.native(user).push([put("n", { n: 1 })]);
    const { baseRev, realmSetHash, newRev, changes } = await hears("changes");
    assert.deepEqual([baseRev, realmSetHash], [serverRevision, realmsHash]);
    assert.notEqual(newRev, serverRevision);
    assert.deepEqual(changes.map(({ table, muts }) => [table, muts.map(({ keys }) => keys)]), [["notes", [["n"]]]]);
    socket.close();
  });

  test("is opened to nobody without a good token", async () => {
    const url = `${cloud.origin.replace("http", "ws")}/dexie/changes?v=3&rev=x&realmsHash=x&clientId=x&dxcv=4.4.14&token=nonsense`;
    const socket = new WebSocket(url);
    const outcome = await new Promise((resolve) => {
      socket.addEventListener("error", () => resolve("refused"));
      socket.addEventListener("message", ({ data }) => resolve(data));
      socket.addEventListener("close", () => resolve("refused"));
    });
    assert.ok(outcome === "refused" || JSON.parse(outcome).type === "token-expired", outcome);
  });
});
