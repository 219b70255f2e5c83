// Random schedules: three devices of the addon and a native client on one space, answers lost on the way. At the end all have the same
// rows, and every addition counts once. A failure prints its seed: SEED=… replays what everybody does, ROUNDS=… does more of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../runtime/faulty-kv.mjs";
import { eventually } from "../runtime/harness.mjs";
import { assertSameRows } from "./addon.mjs";
import { useCloud } from "./cloud.mjs";
import { knows, needs } from "./packages.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 25);
const FIRST_SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const WORLDS = process.env.SEED ? 1 : Number(process.env.WORLDS ?? 2);
const IDS = ["a", "b", "c", "d", "e", "f"];
const KINDS = ["x", "y"];

const cloud = useCloud({ locations: ["far"] });

/** What a device of the addon may do to `notes`; each takes an id, a kind, and a number. */
const EDITS = {
  put: (db, { id, kind, n }) => db.notes.put({ id, kind, n, tags: [kind] }),
  update: (db, { id, n }) => db.notes.update(id, { n, "deep.by": n }),
  unset: (db, { id }) => db.notes.update(id, { deep: undefined }),
  tag: (db, { id, kind, n }) => db.notes.update(id, { tags: n % 2 ? add([`t${n % 5}`]) : remove([kind]) }),
  remove: (db, { id }) => db.notes.delete(id),
  modify: (db, { kind, n }) => db.notes.where("kind").equals(kind).modify({ n, title: `all ${n}` }),
  above: (db, { id, kind }) => db.notes.where("id").above(id).modify({ kind }),
  purge: (db, { kind, n }) => db.notes.where("[kind+n]").between([kind, n], [kind, n + 20]).delete(),
  upsert: (db, { id, kind, n }) => db.notes.upsert(id, { kind, n }),
  both: (db, { id, kind, n }) =>
    db.transaction("rw", db.notes, db.pairs, async () => {
      await db.notes.put({ id, kind, n });
      await db.pairs.put({ a: id, b: n % 3, n });
      await db.notes.where("kind").equals(kind).modify({ title: `in ${n}` });
    }),
};

/** What a native client may do to the same rows. */
const NATIVE_EDITS = [
  ({ id, kind, n }) => ({ op: "put", collection: "notes", id, value: { kind, n } }),
  ({ id, n }) => ({ op: "patch", collection: "notes", id, set: { n, "deep.native": n } }),
  ({ id }) => ({ op: "delete", collection: "notes", id }),
  ({ id, n }) => ({ op: "put", collection: "pairs", id: `["${id}",${n % 3}]`, value: { n } }),
];

/** Everybody does something, and what everybody adds to the one counter is remembered. */
class World {
  log = [];
  /** The sum of what was added, by the device that added it. */
  added = 0;

  constructor(seed, devices, native) {
    Object.assign(this, { random: seeded(seed), devices, native });
  }

  below(count) {
    return Math.floor(this.random() * count);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  arguments() {
    return { id: this.pick(IDS), kind: this.pick(KINDS), n: this.below(100) };
  }

  async edit(device) {
    const name = this.pick(Object.keys(EDITS).filter((name) => name !== "upsert" || knows.upsert));
    const given = this.arguments();
    this.log.push(`${this.devices.indexOf(device)} ${name} ${JSON.stringify(given)}`);
    await device.run(EDITS[name], given);
  }

  /** An addition, on whatever this device has of the counter: all of them have it. */
  async add(device) {
    const by = 1 + this.below(9);
    this.added += by;
    this.log.push(`${this.devices.indexOf(device)} adds ${by}`);
    await device.run((db, by) => db.counters.update("sum", { n: add(by) }), by);
  }

  async nativeEdit() {
    const given = this.arguments();
    const change = this.pick(NATIVE_EDITS)(given);
    const by = 1 + this.below(9);
    this.added += by;
    this.log.push(`native ${JSON.stringify(change)} adds ${by}`);
    await this.native.push([change, { op: "add", collection: "counters", id: "sum", path: "n", by }]);
  }

  /** Sends and takes; one answer in three is lost, once or twice, and one device in four has moved meanwhile. */
  async sync(device) {
    const lost = this.below(3) === 0 ? 1 + this.below(2) : 0;
    if (this.below(4) === 0) device.line.leadsTo(await cloud.runtime.url(this.pick(["home", "far"])));
    this.log.push(`${this.devices.indexOf(device)} syncs, ${lost} answers lost`);
    const rule = device.line.loses("sync", { times: lost });
    await device.sync().catch(() => {});
    rule.times = 0;
    // After a second failure the addon waits for 20 s; an app that is opened again does not.
    if (lost === 2) await device.open();
  }

  async step() {
    const device = this.pick(this.devices);
    const does = [() => this.edit(device), () => this.edit(device), () => this.add(device), () => this.nativeEdit(), () => this.sync(device)];
    await this.pick(does)();
  }

  /** Everybody sends, then everybody takes until it has the last change. */
  async settle() {
    // Other locations may answer for half a minute with what they knew; this one is told of the last change by making it.
    const home = await cloud.runtime.url("home");
    for (const device of this.devices) {
      device.line.leadsTo(home);
      await device.sync();
      assert.equal(await device.pending(), 0);
    }
    await this.nativeEdit();
    const { version } = await cloud.runtime.truth(this.native.sub);
    for (const [at, device] of this.devices.entries()) {
      await eventually(`device ${at + 1} is at ${version}`, async () => {
        await device.sync();
        return (await device.syncState()).serverRevision.endsWith(`.${version}`);
      });
    }
  }

  async check() {
    await assertSameRows(this.devices, ["notes", "pairs", "counters"]);
    assert.equal((await this.devices[0].row("counters", "sum")).n, this.added, "each addition counts once");
    const truth = await cloud.runtime.truth(this.native.sub);
    for (const table of ["notes", "pairs"]) {
      const ids = [...truth.records.keys()].filter((key) => key.startsWith(`${table} `));
      assert.equal((await this.devices[0].rows(table)).length, ids.length, `${table} of the server: ${ids}`);
    }
  }
}

for (let world = 0; world < WORLDS; world += 1) {
  const seed = FIRST_SEED + world;
  test(`three devices and a native client end with the same rows (SEED=${seed} ROUNDS=${ROUNDS})`, needs("propmods"), async () => {
    const user = cloud.user();
    const native = cloud.native(user);
    await native.push([{ op: "put", collection: "counters", id: "sum", value: { n: 0 } }]);
    const devices = await cloud.devices(3, user);
    for (const device of devices) await device.sync();
    const played = new World(seed, devices, native);
    try {
      for (let round = 0; round < ROUNDS * 4; round += 1) await played.step();
      await played.settle();
      await played.check();
    } catch (error) {
      error.message += `\nSEED=${seed} ROUNDS=${ROUNDS}\n${played.log.join("\n")}`;
      throw error;
    }
  });
}
