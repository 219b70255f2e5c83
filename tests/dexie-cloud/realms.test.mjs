// Realms: each is a shared space, and the addon has them all in one database, by one sync.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { Member } from "../runtime/member.mjs";
import { listen } from "../runtime/socket.mjs";
import { useCloud } from "./cloud.mjs";

const cloud = useCloud({ locations: ["far"] });

/** The space of a realm, as `src/fronts/dexie/realm.rs` names it. */
const spaceOf = (realm) => `dx_${Buffer.from(realm).toString("base64url")}`;

/** Members of one realm that the first has made, with a device each. */
async function sharing(...roles) {
  const members = roles.map((role) => new Member(cloud.runtime, role));
  const first = await cloud.device(members[0].sub);
  const realm = await first.run((db) => db.realms.add({ name: "shared" }));
  await first.sync();
  const space = spaceOf(realm);
  for (const [at, role] of roles.entries()) {
    if (at === 0) continue;
    // Only who has a directory is told.
    assert.equal((await members[at].ask("GET", "/spaces")).status, 200);
    assert.equal((await members[0].set(space, members[at], role)).status, 200);
    const listed = async () => (await members[at].ask("GET", "/spaces")).body.invitations.some((hint) => hint.space === space);
    await eventually("the directory has heard of it", listed, 5_000);
  }
  const others = await Promise.all(members.slice(1).map(({ sub }) => cloud.device(sub)));
  return { realm, space, members, devices: [first, ...others] };
}

const ids = async (device) => (await device.rows("notes")).map(({ id, n }) => [id, n]);
const syncAll = async (...devices) => {
  for (const device of devices) await device.sync();
};

describe("a realm", () => {
  test("is there on all devices of whoever has made it, beside the user's own rows", async () => {
    const [one, two] = await cloud.devices(2);
    const realm = await one.run((db) =>
      db.transaction("rw", db.realms, db.notes, async () => {
        const realmId = await db.realms.add({ name: "shared" });
        await db.notes.bulkPut([{ id: "own", n: 1 }, { id: "shared", n: 2, realmId }]);
        return realmId;
      }),
    );
    await syncAll(one, two);
    assert.deepEqual(await ids(two), [["own", 1], ["shared", 2]]);
    const { realmId, owner } = await two.row("notes", "shared");
    assert.deepEqual([realmId, owner], [realm, await one.run((db) => db.cloud.currentUserId)]);
    assert.deepEqual((await two.rows("realms")).map(({ name }) => name), ["shared"]);
    assert.deepEqual((await two.syncState()).realms.includes(realm), true);
    assert.equal((await one.row("notes", "own")).realmId, owner);
  });

  test("brings its members what each of them writes in it, and nothing else", async () => {
    const { realm, devices: [one, two] } = await sharing("owner", "writer");
    await one.run((db, realmId) => db.notes.bulkPut([{ id: "a", n: 1, realmId }, { id: "secret", n: 9 }]), realm);
    await one.sync();
    await two.sync();
    assert.deepEqual(await ids(two), [["a", 1]]);
    await two.run((db) => db.notes.update("a", { n: 2 }));
    await two.run((db, realmId) => db.notes.put({ id: "b", n: 3, realmId }), realm);
    await syncAll(two, one);
    assert.deepEqual(await ids(one), [["a", 2], ["b", 3], ["secret", 9]]);
    assert.notEqual((await one.row("notes", "b")).owner, (await one.row("notes", "a")).owner);
  });
});

/** Two members who have the same row, which the first has made as its own and then shared by `share`. */
async function shared(share) {
  const team = await sharing("owner", "writer");
  const [one, two] = team.devices;
  await one.run((db) => db.notes.bulkPut([{ id: "a", n: 1, kind: "x", tags: ["t"] }, { id: "own", n: 9, kind: "y" }]));
  await syncAll(one, two);
  assert.deepEqual(await ids(two), []);
  await one.run(share, team.realm);
  await syncAll(one, two, one);
  return team;
}

describe("a row that moves into a realm", () => {
  const ways = {
    "by an update": (db, realmId) => db.notes.update("a", { realmId, n: 2 }),
    "by a condition": (db, realmId) => db.notes.where("kind").equals("x").modify({ realmId, n: 2 }),
    "by a put": async (db, realmId) => db.notes.put({ ...(await db.notes.get("a")), realmId, n: 2 }),
  };
  for (const [how, share] of Object.entries(ways)) {
    test(`${how} is there for its members, whole, and gone from where it was`, async () => {
      const { members, devices: [one, two], realm, space } = await shared(share);
      for (const device of [one, two]) {
        const { owner, realmId, ...row } = await device.row("notes", "a");
        assert.deepEqual([owner, realmId, row], [members[0].sub, realm, { id: "a", n: 2, kind: "x", tags: ["t"] }]);
      }
      assert.deepEqual(await ids(one), [["a", 2], ["own", 9]]);
      const strong = { query: "consistency=strong" };
      assert.ok((await members[1].records(space, strong)).includes("notes/a"));
      const another = await cloud.device(members[0].sub);
      assert.deepEqual(await ids(another), [["a", 2], ["own", 9]], "a device that begins");
    });
  }

  test("and out of it again is taken away from the others, and stays with whoever took it", async () => {
    const { devices: [one, two], members } = await shared((db, realmId) => db.notes.update("a", { realmId }));
    await one.run((db, own) => db.notes.update("a", { realmId: own }), members[0].sub);
    await syncAll(one, two);
    assert.deepEqual([await ids(one), await ids(two)], [[["a", 1], ["own", 9]], []]);
    assert.equal((await one.row("notes", "a")).realmId, members[0].sub);
    await one.run((db, own) => db.notes.update("a", { n: 5 }));
    await syncAll(one, two);
    assert.deepEqual([await ids(one), await ids(two)], [[["a", 5], ["own", 9]], []]);
  });

  test("is not removed by the news of the space that it has left, whichever comes first", async () => {
    const { devices: [one, two], members, realm } = await sharing("owner", "writer");
    const late = await cloud.device(members[0].sub);
    await one.run((db) => db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 1 }]));
    await syncAll(one, late);
    const { lead, lost } = { lead: await cloud.runtime.url("far"), lost: await cloud.runtime.url("home") };
    late.line.leadsTo(lead);
    await late.sync();
    for (const [n, id] of ["a", "b"].entries()) {
      await one.run((db, id, realmId) => db.notes.update(id, { realmId, n: 2 }), id, realm);
      await syncAll(one, two);
      late.line.leadsTo(n ? lead : lost);
      await syncAll(late, late);
      assert.ok((await ids(late)).some(([name]) => name === id), `${id} is there`);
    }
    late.line.leadsTo(lost);
    await syncAll(late, late);
    assert.deepEqual(await ids(late), [["a", 2], ["b", 2]]);
    await two.run((db) => db.notes.delete("a"));
    await syncAll(two, one, late);
    assert.deepEqual([await ids(one), await ids(late)], [[["b", 2]], [["b", 2]]]);
  });

  test("goes on moving where an answer was lost on the way", async () => {
    const { devices: [one, two], realm } = await sharing("owner", "writer");
    await one.run((db) => db.notes.put({ id: "a", n: 1 }));
    await one.sync();
    one.line.loses("sync", { where: ({ body }) => body.changes.length > 0 });
    await one.run((db, realmId) => db.notes.update("a", { realmId }), realm);
    await one.sync().catch(() => {});
    await eventually("it was sent again", async () => (await one.pending()) === 0 || (await one.sync(), false));
    await syncAll(two, one);
    assert.deepEqual([await ids(one), await ids(two)], [[["a", 1]], [["a", 1]]]);
  });

  test("stays where it is if its user may not write there", async () => {
    const { devices: [one, two], realm, members } = await sharing("owner", "reader");
    await one.run((db, realmId) => db.notes.put({ id: "shared", n: 1, realmId }), realm);
    await syncAll(one, two);
    await two.run((db) => db.notes.put({ id: "mine", n: 1 }));
    await two.sync();
    await two.run((db, realmId) => db.notes.update("mine", { realmId }), realm);
    await two.run((db, own) => db.notes.update("shared", { realmId: own, n: 7 }), members[1].sub);
    await syncAll(two, one);
    assert.deepEqual([await ids(one), await ids(two)], [[["shared", 1]], [["mine", 1], ["shared", 1]]]);
    assert.deepEqual([(await two.row("notes", "mine")).realmId, (await two.row("notes", "shared")).realmId], [members[1].sub, realm]);
  });
});

describe("who shares a realm with somebody", () => {
  const put = (member, space, id, value) => member.push(space, [{ op: "put", collection: "notes", id, value }]);

  test("puts nothing into their own space, and over none of their rows", async () => {
    const { devices: [one, two], members, realm, space } = await sharing("owner", "writer");
    await two.run((db) => db.notes.put({ id: "mine", n: 1 }));
    await syncAll(two, one);
    const own = members[1].sub;
    for (const id of ["mine", "planted"]) assert.equal((await put(members[0], space, id, { n: 6, realmId: own, owner: own })).status, 200);
    await two.run((db, realmId) => db.notes.put({ id: "other", n: 2, realmId }), realm);
    await syncAll(two, two);
    assert.deepEqual((await two.rows("notes")).map(({ id, n, realmId }) => [id, n, realmId]), [["mine", 1, own], ["other", 2, realm], ["planted", 6, realm]]);
    const { records } = await cloud.runtime.truth(own);
    assert.deepEqual([...records.keys()].filter((key) => key.startsWith("notes")), ["notes mine"]);
  });

  test("gets nothing of a row that is put out of the realm", async () => {
    const { devices: [one, two], members, realm, space } = await sharing("owner", "writer");
    await one.run((db, realmId) => db.notes.put({ id: "a", n: 1, realmId }), realm);
    await syncAll(one, two);
    const socket = await listen(cloud.runtime, members[1].token, { space });
    await one.run((db, own) => db.notes.put({ id: "a", n: 1, secret: "not theirs", realmId: own, owner: own }), members[0].sub);
    await syncAll(one, two);
    assert.deepEqual(await ids(two), []);
    assert.equal((await one.row("notes", "a")).secret, "not theirs");
    const { text } = await members[1].read(space, "/sync/pull?consistency=strong");
    assert.ok(socket.told.some(({ changes }) => JSON.stringify(changes ?? "").includes('"a"')), "it was told that the row has gone");
    assert.ok(!text.includes("not theirs") && !JSON.stringify(socket.told).includes("not theirs"));
    socket.stream.destroy();
  });

  test("cannot take a realm before it is made, to have what is put into it", async () => {
    const [mallory, alice] = ["mallory", "alice"].map((name) => new Member(cloud.runtime, name));
    const one = await cloud.device(alice.sub);
    const realm = await one.run(async (db) => {
      const list = await db.items.add({ title: "list" });
      return `rlm~${list}`;
    });
    await one.sync();
    const space = await mallory.create(spaceOf(realm));
    assert.equal((await mallory.set(space, alice, "writer")).status, 200);
    await one.run(async (db, realmId) => {
      await db.realms.put({ realmId, name: "shared" });
      await db.notes.put({ id: "secret", n: 1, realmId });
    }, realm);
    await one.sync();
    assert.ok(!(await mallory.records(space, { query: "consistency=strong" })).some((name) => name.startsWith("notes/")));
    const rejections = one.syncs.flatMap(({ answer }) => answer?.rejections ?? []);
    assert.ok(rejections.some((rejection) => rejection.name === "forbidden" && rejection.realm === realm), JSON.stringify(rejections));
  });
});

describe("several realms", () => {
  test("of one user come and go in one sync each", async () => {
    const [one, two] = await cloud.devices(2);
    const realms = await one.run(async (db) => {
      const realms = [];
      for (const name of ["r", "s", "t"]) realms.push(await db.realms.add({ name }));
      await db.notes.bulkPut(realms.map((realmId, n) => ({ id: `n${n}`, n, realmId })));
      return realms;
    });
    await syncAll(one, two);
    assert.deepEqual(await ids(two), [["n0", 0], ["n1", 1], ["n2", 2]]);
    const before = two.line.exchanges.length;
    await two.run((db) => db.notes.toCollection().modify((note) => (note.n += 10)));
    await two.sync();
    assert.ok(two.line.exchanges.slice(before).filter(({ call }) => call === "sync").length <= 2);
    await one.sync();
    assert.deepEqual(await ids(one), [["n0", 10], ["n1", 11], ["n2", 12]]);
    await one.run((db, realms) => db.notes.where("realmId").equals(realms[1]).delete(), realms);
    await one.run((db, realms) => db.notes.update("n0", { realmId: realms[2] }), realms);
    await syncAll(one, two);
    assert.deepEqual(await ids(two), [["n0", 10], ["n2", 12]]);
    assert.equal((await two.row("notes", "n0")).realmId, realms[2]);
  });

  test("with more rows than one answer has room for come in several, whole", async () => {
    const { devices: [one], realm, members, space } = await sharing("owner", "writer");
    await one.run((db, realmId) => db.notes.bulkPut(Array.from({ length: 300 }, (_, n) => ({ id: `n${n}`, n, realmId, text: "x".repeat(10_000) }))), realm);
    await one.run((db) => db.notes.bulkPut(Array.from({ length: 60 }, (_, n) => ({ id: `own${n}`, n, text: "x".repeat(10_000) }))));
    await one.sync();
    const grant = await members[1].grant(space);
    const head = async () => (await members[1].ask("GET", `/sync/head?space=${space}`, { grant })).text.includes("sha256");
    await eventually("it is published", head, 10_000);
    for (const { sub } of members) {
      const device = await cloud.device(sub);
      await eventually("all is there", async () => {
        await device.sync();
        return (await device.rows("notes")).length === (sub === members[0].sub ? 360 : 300);
      });
    }
  });

  test("take as many rows at once as an answer has no room for", async () => {
    const { devices: [one, two], realm, members } = await sharing("owner", "writer");
    await one.run((db) => db.notes.bulkPut(Array.from({ length: 300 }, (_, n) => ({ id: `n${n}`, n, kind: "x", text: "x".repeat(10_000) }))));
    await one.sync();
    await one.run((db, realmId) => db.notes.where("kind").equals("x").modify({ realmId }), realm);
    await one.sync();
    const { records } = await cloud.runtime.truth(members[0].sub);
    assert.deepEqual([...records.keys()].filter((key) => key.startsWith("notes")), []);
    await eventually("all is there", async () => (await two.sync(), (await two.rows("notes")).length === 300));
    for (const device of [one, two]) assert.ok((await device.rows("notes")).every(({ realmId }) => realmId === realm));
  });

  test("that their user is not in any more are forgotten, and nothing else is", async () => {
    const { devices: [one, two], realm, members, space } = await sharing("owner", "writer");
    await one.run((db, realmId) => db.notes.put({ id: "a", n: 1, realmId }), realm);
    await two.run((db) => db.notes.put({ id: "mine", n: 2 }));
    await syncAll(one, two, two);
    assert.deepEqual(await ids(two), [["a", 1], ["mine", 2]]);
    assert.equal((await members[0].ask("DELETE", `/spaces/${space}/members/${encodeURIComponent(members[1].sub)}`)).status, 204);
    // This location has a grant for the realm that is good for ten minutes, another one has none.
    two.line.leadsTo(await cloud.runtime.url("far"));
    await two.sync();
    assert.deepEqual(await ids(two), [["mine", 2]]);
    assert.deepEqual(await two.rows("realms"), []);
    await two.run((db, realmId) => db.notes.put({ id: "b", n: 3, realmId }), realm);
    await two.sync();
    await one.sync();
    assert.deepEqual(await ids(one), [["a", 1]]);
  });
});

describe("members who are there at once", () => {
  const connected = (db) => db.cloud.webSocketStatus.value === "connected";
  const shows = (id, n) => [async (db, id, n) => (await db.notes.get(id))?.n === n, id, n];

  test("see in their realm what each of them writes, moves and removes, without asking, and go quiet", async () => {
    const { realm, devices: [one, two], members } = await sharing("owner", "writer");
    await one.run((db, realmId) => db.notes.put({ id: "a", n: 1, realmId }), realm);
    await syncAll(one, two);
    for (const device of [one, two]) {
      await device.open({ live: true });
      await device.until(connected);
    }
    await two.until(...shows("a", 1));
    await one.run((db) => db.notes.update("a", { n: 2 }));
    await two.until(...shows("a", 2));
    await two.run((db, realmId) => db.notes.put({ id: "b", n: 3, realmId }), realm);
    await one.until(...shows("b", 3));
    await one.run((db) => db.notes.put({ id: "c", n: 4 }));
    await one.run((db, realmId) => db.notes.update("c", { realmId }), realm);
    await two.until(...shows("c", 4));
    await one.run((db, own) => db.notes.update("c", { realmId: own }), members[0].sub);
    await two.until(async (db) => (await db.notes.get("c")) === undefined);
    await two.run((db) => db.notes.delete("a"));
    await one.until(async (db) => (await db.notes.get("a")) === undefined);
    assert.deepEqual([await ids(one), await ids(two)], [[["b", 3], ["c", 4]], [["b", 3]]]);
    const asked = () => one.syncs.length + two.syncs.length;
    let before = -1;
    await eventually("nobody asks any more", async () => {
      const [was, now] = [before, asked()];
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return was === now && asked() === now;
    });
  });
});
