// Members of realms, and invitations: the rows of `members` say who may do what, and the addon needs nothing else to share.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { useCloud } from "./cloud.mjs";

const cloud = useCloud({ locations: ["far"] });

/** A device of somebody with a verified address, which has synced once: nobody else is told of an invitation. */
async function person(name, claims = {}) {
  const sub = cloud.user(name);
  const email = `${sub}@example.com`;
  const device = await cloud.device(sub, { token: cloud.runtime.token(sub, { email, email_verified: true, ...claims }) });
  await device.run((db) => void db.cloud.invites.subscribe((invites) => (globalThis.invites = invites)));
  return { sub, email, device };
}

/** A realm with a row, and a row of `members` for whom the maker shares it with. */
async function share(maker, member, more = {}) {
  const made = await maker.device.run(
    (db, member) =>
      db.transaction("rw", db.realms, db.members, db.notes, async () => {
        const realmId = await db.realms.add({ name: "shared" });
        const row = await db.members.add({ realmId, ...member });
        await db.notes.put({ id: `a-${realmId}`, n: 1, realmId });
        return { realmId, row };
      }),
    member,
  );
  await maker.device.sync();
  return { ...made, note: `a-${made.realmId}`, ...more };
}

const WRITES = { add: "*", update: "*" };
const shown = (device) => device.run(() => (globalThis.invites ?? []).map(({ id, realm }) => [id, realm?.name]));
/** Syncs until it is so. What is told of in a directory comes a moment after the answer to whoever has told it. */
const synced = (device, what, condition) =>
  eventually(
    what,
    async () => {
      await device.sync();
      return condition();
    },
    10_000,
  );
const isInvited = ({ device }) =>
  synced(device, "the invitation is there", async () => (await shown(device)).some(([, name]) => name === "shared"));
const answer = (device, how) => device.run((_, how) => globalThis.invites[0][how](), how);
const has = async (device, note) => (await device.row("notes", note)) !== undefined;

describe("an invitation by e-mail", () => {
  test("waits for whoever has the address and has never been here", async () => {
    const alice = await person("alice");
    const sub = cloud.user("new");
    const { realmId } = await share(alice, { email: `${sub}@example.com`, invite: true, permissions: WRITES });
    const address = { email: `${sub}@example.com`, email_verified: true };
    const device = await cloud.device(sub, { token: cloud.runtime.token(sub, address) });
    await eventually("the invitation is there", async () => (await device.sync(), (await device.syncState()).inviteRealms.includes(realmId)), 70_000);
  });

  test("is shown to whoever has the address, gives nothing before it is accepted, and everything then", async () => {
    const [alice, bob, eve] = [await person("alice"), await person("bob"), await person("eve")];
    const { realmId, row, note } = await share(alice, { email: bob.email, invite: true, permissions: WRITES });
    await isInvited(bob);
    assert.deepEqual(await shown(bob.device), [[row, "shared"]]);
    assert.equal(await has(bob.device, note), false);
    const { realms, inviteRealms } = await bob.device.syncState();
    assert.deepEqual([realms.includes(realmId), inviteRealms], [false, [realmId]]);
    await bob.device.sync();
    assert.deepEqual((await bob.device.syncState()).inviteRealms, [realmId], "it waits");

    await answer(bob.device, "accept");
    await bob.device.run((db, realmId) => db.notes.put({ id: `b-${realmId}`, n: 5, realmId }), realmId);
    await bob.device.sync();
    assert.equal(await has(bob.device, note), true);
    const joined = await bob.device.syncState();
    assert.deepEqual([joined.realms.includes(realmId), joined.inviteRealms], [true, []]);
    await bob.device.run((db, note) => db.notes.update(note, { n: 2 }), note);
    await bob.device.sync();
    await alice.device.sync();
    assert.equal((await alice.device.row("notes", note)).n, 2);
    assert.equal((await alice.device.row("notes", `b-${realmId}`)).n, 5, "written before its writer was let in");
    const { userId, accepted } = await alice.device.row("members", row);
    assert.deepEqual([userId, accepted instanceof Date], [bob.sub, true]);

    await eve.device.sync();
    assert.deepEqual([await shown(eve.device), await eve.device.rows("realms"), await eve.device.rows("members")], [[], [], []]);
  });

  test("that is rejected is gone, and its maker sees it", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const { row, note } = await share(alice, { email: bob.email, invite: true });
    await isInvited(bob);
    await answer(bob.device, "reject");
    await synced(bob.device, "the invitation is gone", async () => (await shown(bob.device)).length === 0);
    assert.deepEqual([await has(bob.device, note), await bob.device.rows("realms")], [false, []]);
    await alice.device.sync();
    const { rejected, userId } = await alice.device.row("members", row);
    assert.deepEqual([rejected instanceof Date, userId], [true, bob.sub]);
  });

  test("is not shown to whoever has not proved the address, and goes when its maker takes it back", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const eve = await person("eve", { email: bob.email, email_verified: false });
    const { row } = await share(alice, { email: bob.email, invite: true });
    await isInvited(bob);
    await eve.device.sync();
    assert.deepEqual(await eve.device.rows("members"), []);
    await alice.device.run((db, row) => db.members.delete(row), row);
    await alice.device.sync();
    await bob.device.sync();
    assert.deepEqual([await shown(bob.device), await bob.device.rows("realms")], [[], []]);
  });
});

describe("a row with a userId", () => {
  test("makes a member at once, with its role: what a reader writes jumps back, and rights follow the row", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const { realmId, row, note } = await share(alice, { userId: bob.sub });
    await synced(bob.device, "the row is there", () => has(bob.device, note));
    await bob.device.run((db, note) => db.notes.update(note, { n: 9 }), note);
    await bob.device.run((db, realmId) => db.members.add({ realmId, userId: "mallory" }), realmId);
    await bob.device.sync();
    assert.equal((await bob.device.row("notes", note)).n, 1);
    assert.deepEqual((await bob.device.rows("members")).map(({ userId }) => userId), [bob.sub]);

    await alice.device.run((db, row) => db.members.update(row, { permissions: { update: "*" } }), row);
    await alice.device.sync();
    await bob.device.sync();
    await bob.device.run((db, note) => db.notes.update(note, { n: 2 }), note);
    await bob.device.sync();
    await bob.device.run((db, row) => db.members.update(row, { permissions: { manage: "*" } }), row);
    await bob.device.sync();
    assert.deepEqual((await bob.device.row("members", row)).permissions, { update: "*" }, "nobody raises themselves");
    await alice.device.sync();
    assert.equal((await alice.device.row("notes", note)).n, 2);
  });

  test("that is removed ends the membership, and the devices of who was one forget the realm", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const { row, note } = await share(alice, { userId: bob.sub, permissions: WRITES });
    await synced(bob.device, "the row is there", () => has(bob.device, note));
    await alice.device.run((db, row) => db.members.delete(row), row);
    await alice.device.sync();
    await bob.device.run((db, note) => db.notes.update(note, { n: 9 }), note);
    // This location has a grant that is good for ten minutes, another one has none.
    bob.device.line.leadsTo(await cloud.runtime.url("far"));
    await bob.device.sync();
    assert.deepEqual([await has(bob.device, note), await bob.device.rows("realms")], [false, []]);
    await alice.device.sync();
    assert.equal((await alice.device.row("notes", note)).n, 1);
  });

  test("is removed by whoever leaves, also a reader", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const { row, note } = await share(alice, { userId: bob.sub });
    await synced(bob.device, "the row is there", () => has(bob.device, note));
    await bob.device.run((db, row) => db.members.delete(row), row);
    await bob.device.sync();
    await bob.device.sync();
    assert.deepEqual([await has(bob.device, note), await bob.device.rows("realms")], [false, []]);
    await alice.device.sync();
    assert.equal(await alice.device.row("members", row), undefined);
  });
});
