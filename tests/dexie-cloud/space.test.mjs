// A shared space named in the address: its members' devices share its rows, as far as their roles go.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { Member, spaceId } from "../runtime/member.mjs";
import { useCloud } from "./cloud.mjs";

const cloud = useCloud();

/** A shared space with members of these roles, the first of whom has made it, and a device of each. */
async function team(...roles) {
  const members = roles.map((role) => new Member(cloud.runtime, role));
  const space = await members[0].create(spaceId("dexie"));
  for (const [at, role] of roles.entries()) if (at > 0) assert.equal((await members[0].set(space, members[at], role)).status, 200);
  const devices = await Promise.all(members.map(({ sub }) => cloud.device(sub, { space })));
  return { space, members, devices };
}

const ids = async (device) => (await device.rows("notes")).map(({ id, n }) => [id, n]);

describe("a shared space in the address", () => {
  test("is one set of rows for all members, in each member's own realm", async () => {
    const { members, devices: [one, two], space } = await team("owner", "writer");
    await one.run((db) => db.notes.put({ id: "a", n: 1 }));
    await one.sync();
    await two.sync();
    assert.deepEqual(await ids(two), [["a", 1]]);
    assert.equal((await two.row("notes", "a")).realmId, members[1].sub);
    await two.run((db) => db.notes.update("a", { n: 2 }));
    await two.sync();
    await one.sync();
    assert.deepEqual(await ids(one), [["a", 2]]);
    assert.deepEqual(await members[0].records(space, { query: "consistency=strong" }).then((all) => all.filter((key) => key.startsWith("notes"))), ["notes/a"]);
  });

  test("is apart from the private space of the same user", async () => {
    const { members, devices: [shared] } = await team("owner");
    const own = await cloud.device(members[0].sub);
    await shared.run((db) => db.notes.put({ id: "shared", n: 1 }));
    await own.run((db) => db.notes.put({ id: "own", n: 1 }));
    for (const device of [shared, own, shared]) await device.sync();
    assert.deepEqual([await ids(shared), await ids(own)], [[["shared", 1]], [["own", 1]]]);
  });

  test("refuses what is sent at once, and then what is asked, while an owner shuts the addon out, and keeps what waits", async () => {
    const { members: [owner, writer], devices: [one, two], space } = await team("owner", "writer");
    const own = await cloud.device(owner.sub);
    await one.run((db) => db.notes.put({ id: "a", n: 1 }));
    await one.sync();
    const policy = `/spaces/${space}/policies/$dexie`;
    assert.equal((await writer.ask("PUT", policy, { body: { access: "none" } })).status, 403, "no owner");
    assert.equal((await owner.ask("PUT", policy, { body: { access: "none" } })).status, 200);
    assert.deepEqual((await writer.ask("GET", `/spaces/${space}/policies`)).body, { policies: {}, access: { $dexie: "none" } });
    await two.run((db) => db.notes.put({ id: "b", n: 1 }));
    await assert.rejects(two.sync(), /403/);
    assert.equal(await two.pending(), 1);
    await eventually("a pull is refused too", () => one.sync().then(() => false, (error) => /403/.test(error.message)));
    await own.run((db) => db.notes.put({ id: "own", n: 1 }));
    await own.sync();
    assert.equal(await own.pending(), 0, "another space is another space");
    assert.equal((await owner.put(space, "native")).status, 200, "our own clients go on");
    assert.equal((await owner.ask("DELETE", policy)).status, 204);
    await two.sync();
    assert.equal(await two.pending(), 0);
    assert.deepEqual(await ids(two), [["a", 1], ["b", 1]]);
  });

  test("takes nothing of a reader, whose edits jump back, and goes on bringing what others write", async () => {
    const { devices: [owner, reader] } = await team("owner", "reader");
    await owner.run((db) => db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 1 }]));
    await owner.sync();
    await reader.sync();
    await reader.run(async (db) => {
      await db.notes.update("a", { n: 9 });
      await db.notes.delete("b");
      await db.notes.put({ id: "c", n: 9 });
    });
    await reader.sync();
    await owner.sync();
    assert.deepEqual(await ids(reader), [["a", 1], ["b", 1]]);
    assert.deepEqual([await ids(owner), await reader.pending()], [await ids(reader), 0]);
    await owner.run((db) => db.notes.update("a", { n: 2 }));
    await owner.sync();
    await reader.sync();
    assert.deepEqual(await ids(reader), [["a", 2], ["b", 1]]);
  });

  test("is told by sockets to all its members", async () => {
    const { devices: [one, two] } = await team("owner", "writer");
    for (const device of [one, two]) {
      await device.open({ live: true });
      await device.until((db) => db.cloud.webSocketStatus.value === "connected");
    }
    await one.run((db) => db.notes.put({ id: "a", n: 1 }));
    await two.until(async (db) => (await db.notes.get("a"))?.n === 1);
    await two.run((db) => db.notes.update("a", { n: 2 }));
    await one.until(async (db) => (await db.notes.get("a"))?.n === 2);
  });

  test("is nobody else's, and neither a stranger nor whoever was removed loses what waits on the device", async () => {
    const { space, members, devices: [owner, other] } = await team("owner", "writer");
    await owner.run((db) => db.notes.put({ id: "a", n: 1 }));
    await owner.sync();
    await other.sync();
    const stranger = await cloud.closed(cloud.user("stranger"), { space });
    await stranger.open().catch(() => {});
    assert.deepEqual(await ids(stranger), []);
    assert.equal((await members[0].remove(space, members[1])).status, 204);
    await other.run((db) => db.notes.put({ id: "b", n: 1 }));
    await assert.rejects(other.sync(), /403/);
    assert.equal(await other.pending(), 1);
    await owner.sync();
    assert.deepEqual(await ids(owner), [["a", 1]]);
  });

  test("that was deleted is gone, and what waits on the device stays there", async () => {
    const { space, members, devices: [owner] } = await team("owner");
    await owner.run((db) => db.notes.put({ id: "a", n: 1 }));
    await owner.sync();
    assert.equal((await members[0].ask("DELETE", `/spaces/${space}`)).status, 204);
    await owner.run((db) => db.notes.put({ id: "b", n: 1 }));
    await assert.rejects(owner.sync(), /410/);
    assert.deepEqual([await owner.pending(), (await owner.rows("notes")).length], [1, 2]);
  });
});
