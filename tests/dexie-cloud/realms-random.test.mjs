// Random schedules over realms: devices of two users who share one, and of whom one has another, write, move and remove rows, while
// answers are lost and locations lag. At the end each has exactly what stands in its spaces. A failure prints its seed: SEED=… replays
// what everybody does, ROUNDS=… does more of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../runtime/faulty-kv.mjs";
import { eventually } from "../runtime/harness.mjs";
import { Member } from "../runtime/member.mjs";
import { useCloud } from "./cloud.mjs";
import { needs } from "./packages.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 60);
const FIRST_SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const WORLDS = process.env.SEED ? 1 : Number(process.env.WORLDS ?? 1);
const KINDS = ["x", "y"];

const cloud = useCloud({ locations: ["far"] });
const spaceOf = (realm) => `dx_${Buffer.from(realm).toString("base64url")}`;

/** What a device may do; each takes an id that it has, one that only it makes, a realm that its user has, a kind, and a number. */
const EDITS = {
  add: (db, { made, realmId, kind, n }) => db.notes.put({ id: made, realmId, kind, n }),
  // A row that others may take out of sight is not put as a whole: it would be made anew beside itself.
  put: async (db, { id, realmId, shared, n }) => {
    const row = await db.notes.get(id);
    if (row && row.realmId !== shared) await db.notes.put({ ...row, realmId, n });
  },
  update: (db, { id, n }) => db.notes.update(id, { n }),
  move: (db, { id, realmId }) => db.notes.update(id, { realmId }),
  moveAll: (db, { kind, realmId, n }) => db.notes.where("kind").equals(kind).modify({ realmId, n }),
  modify: (db, { kind, n }) => db.notes.where("kind").equals(kind).modify({ n }),
  remove: (db, { id }) => db.notes.delete(id),
  purge: (db, { kind, n }) => db.notes.where("[kind+n]").between([kind, n], [kind, n + 10]).delete(),
};

class World {
  log = [];
  /** Keys that were made: a key that stands in one realm, seen or not, is never made in another. */
  made = 0;

  constructor(seed, users) {
    this.random = seeded(seed);
    this.users = users;
    this.devices = users.flatMap((user) => user.devices.map((device) => ({ device, user })));
  }

  below(count) {
    return Math.floor(this.random() * count);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  async edit(at) {
    const { device, user } = this.devices[at];
    const name = this.pick(Object.keys(EDITS));
    const ids = (await device.rows("notes")).map(({ id }) => id);
    const given = {
      id: ids.length ? this.pick(ids) : "none", made: `m${(this.made += 1)}`,
      shared: user.realms[0], realmId: this.pick([user.member.sub, ...user.realms]), kind: this.pick(KINDS), n: this.below(100),
    };
    this.log.push(`${at} ${name} ${JSON.stringify(given)}`);
    await device.run(EDITS[name], given);
  }

  async sync(at) {
    const { device } = this.devices[at];
    const lost = this.below(3) === 0 ? 1 + this.below(2) : 0;
    if (this.below(4) === 0) device.line.leadsTo(await cloud.runtime.url(this.pick(["home", "far"])));
    this.log.push(`${at} syncs, ${lost} answers lost`);
    const rule = device.line.loses("sync", { times: lost });
    await device.sync().catch(() => {});
    rule.times = 0;
    // After a second failure the addon waits for 20 s; an app that is opened again does not.
    if (lost === 2) await device.open();
  }

  async step() {
    const at = this.below(this.devices.length);
    await (this.below(5) < 3 ? this.edit(at) : this.sync(at));
  }

  /** What stands in the spaces of a user: each row with its realm. */
  async truth({ member, realms }) {
    const { records } = await cloud.runtime.truth(member.sub);
    const rows = [...records].filter(([key]) => key.startsWith("notes ")).map(([key, { value }]) => [key.slice(6), value.n, value.realmId ?? member.sub]);
    for (const realm of realms) {
      const { body } = await member.read(spaceOf(realm), "/sync/pull?consistency=strong");
      const notes = body.changes.filter(({ collection, deleted }) => collection === "notes" && !deleted);
      rows.push(...notes.map(({ id, value }) => [id, value.n, value.realmId]));
    }
    return rows.sort();
  }

  async settle() {
    const home = await cloud.runtime.url("home");
    for (const { device } of this.devices) {
      device.line.leadsTo(home);
      await device.sync();
      assert.equal(await device.pending(), 0);
    }
    // Each location answers with what it knew until it hears of the last write, which is made there now.
    const last = (db, realms) => db.notes.bulkPut([db.cloud.currentUserId, ...realms].map((realmId, n) => ({ id: `last ${realmId}`, realmId, kind: "z", n })));
    for (const { devices: [device], realms } of this.users) await device.run(last, realms);
    for (const { device } of this.devices) await device.sync();
  }

  async check() {
    for (const [at, { device, user }] of this.devices.entries()) {
      const expected = JSON.stringify(await this.truth(user));
      let there;
      const same = async () => {
        await device.sync();
        there = JSON.stringify((await device.rows("notes")).map(({ id, n, realmId }) => [id, n, realmId]).sort());
        return there === expected;
      };
      await eventually(() => `device ${at} has ${there}, and its spaces ${expected}`, same, 10_000);
    }
  }
}

for (let world = 0; world < WORLDS; world += 1) {
  const seed = FIRST_SEED + world;
  test(`two users who share a realm have what stands in it (SEED=${seed} ROUNDS=${ROUNDS})`, needs("propmods"), async () => {
    const [alice, bob] = ["alice", "bob"].map((name) => new Member(cloud.runtime, name));
    const first = await cloud.device(alice.sub);
    const realms = await first.run(async (db) => [await db.realms.add({ name: "both" }), await db.realms.add({ name: "one" })]);
    await first.sync();
    await bob.ask("GET", "/spaces");
    assert.equal((await alice.set(spaceOf(realms[0]), bob, "writer")).status, 200);
    await eventually("the directory has heard of it", async () => (await bob.invitations()).length === 1, 5_000);
    const played = new World(seed, [
      { member: alice, realms, devices: [first, await cloud.device(alice.sub)] },
      { member: bob, realms: realms.slice(0, 1), devices: [await cloud.device(bob.sub)] },
    ]);
    try {
      for (let round = 0; round < ROUNDS; round += 1) await played.step();
      await played.settle();
      await played.check();
    } catch (error) {
      throw new Error(`SEED=${seed} ROUNDS=${ROUNDS}\n${played.log.join("\n")}`, { cause: error });
    }
  });
}
