// What the addon's own integration tests demand of a server (upstream issues 2228, 2185 and 2317, and the migration of a database to the
// cloud), in our words: no package of the registry carries them. Each case plays a life of one database in a page, and says what it saw.

import { Dexie, add, remove } from "dexie";
import dexieCloud from "dexie-cloud-addon";

const push = (db) => db.cloud.sync({ purpose: "push", wait: true });
const withoutTimes = (rows) => rows.map(({ $ts, ...row }) => row);

async function openAs(user, url, name, stores, { version = 1, nameSuffix, upgrade } = {}) {
  const db = new Dexie(name, { addons: [dexieCloud] });
  db.version(version).stores(stores);
  if (upgrade) upgrade(db);
  db.cloud.configure({ databaseUrl: url, requireAuth: { email: user, grant_type: "demo" }, ...(nameSuffix !== undefined && { nameSuffix }) });
  await db.open();
  return db;
}

async function propmodsOnMissingRows(url, user) {
  const name = "propmods-on-missing-rows";
  const db = await openAs(user, url, name, { drinks: "@id" });
  await db.drinks.clear();
  await push(db);
  await db.drinks.update("missing", { list: add(["coffee"]) });
  await db.drinks.update("missing", { list: remove(["coffee"]) });
  await push(db);
  const id = await db.drinks.add({ list: ["coffee", "tea"] });
  await db.drinks.update(id, { list: add(["milk"]) });
  await db.drinks.update(id, { list: remove(["milk"]) });
  await push(db);
  const rows = await db.drinks.toArray();
  await db.delete();
  // Nothing of it comes from this device any more.
  const again = await openAs(user, url, name, { drinks: "@id" });
  const found = await again.drinks.toArray();
  await again.delete();
  return { id, rows, found };
}

async function sharedClearedAndImported(url, user, friend) {
  const realmId = "rlm~cleared-and-imported";
  const db = await openAs(user, url, "cleared-and-imported", { things: "@id, name" });
  const clean = () =>
    db.transaction("rw", db.things, db.members, db.realms, () => {
      db.things.clear();
      db.members.where({ realmId }).delete();
      db.realms.delete(realmId);
    });
  await clean();
  await push(db);
  await db.things.add({ name: "kept" });
  const shared = await db.things.add({ name: "shared" });
  await db.transaction("rw", db.things, db.members, db.realms, () => {
    db.realms.add({ realmId, name: "shared" });
    for (const email of [user, friend]) db.members.add({ realmId, email, permissions: { manage: "*" } });
    db.things.update(shared, { realmId });
  });
  await db.cloud.sync();
  const exported = JSON.parse(JSON.stringify(await db.things.toArray()));
  await db.things.clear();
  await db.cloud.sync();
  const cleared = await db.things.count();
  await db.things.bulkAdd(exported);
  const imported = await db.things.count();
  await push(db);
  const left = (await db.things.toArray()).map(({ name, realmId }) => ({ name, realmId })).sort((a, b) => (a.name < b.name ? -1 : 1));
  await clean();
  await push(db);
  const end = await db.things.count();
  await db.delete();
  return { exported: exported.length, cleared, imported, left, end };
}

async function frozenRows(url, user) {
  const db = await openAs(user, url, "frozen-rows", { things: "@id, name" });
  await db.things.clear();
  const id = await db.things.add(Object.freeze({ name: "frozen" }));
  await push(db);
  await db.things.update(id, { name: "melted" });
  await push(db);
  const [row] = await db.things.toArray();
  await db.delete();
  return row.name;
}

const FRIENDS = { friends: "guid, name" };
const named = (db) => db.friends.toCollection().modify((friend) => void (friend.name = `Name${friend.guid}`));
const upgrade = (db) => db.version(2).stores(FRIENDS).upgrade((tx) => named({ friends: tx.table("friends") }));

/** The app as it was before it had a cloud: its first version, and its second, which gives everybody a name. */
async function plain(name, version) {
  const db = new Dexie(name, { addons: [] });
  if (version === 1) {
    db.version(1).stores({ friends: "guid" });
    db.on("populate", (tx) => tx.table("friends").bulkAdd([{ guid: "1" }, { guid: "2" }]));
  } else upgrade(db);
  const rows = await db.table("friends").toArray();
  db.close();
  return rows;
}

const cloudOf = (name, url, user, isUpgrader = true) =>
  openAs(user, url, name, FRIENDS, { version: 10, nameSuffix: false, ...(isUpgrader && { upgrade }) });

/** `versions` of the app without a cloud that the device has had before. */
async function migrated(url, user, versions) {
  const name = `migrated-${versions.join("-")}`;
  await Dexie.delete(name);
  const first = await cloudOf(name, url, user, false);
  await first.friends.clear();
  await first.cloud.sync();
  first.close();
  await Dexie.delete(name);
  const before = [];
  for (const version of versions) before.push(await plain(name, version));
  const db = await cloudOf(name, url, user);
  const [userId, rows] = [db.cloud.currentUserId, withoutTimes(await db.friends.toArray())];
  await db.cloud.sync();
  db.close();
  await Dexie.delete(name);
  const again = await cloudOf(name, url, user, false);
  const found = withoutTimes(await again.friends.toArray());
  again.close();
  await Dexie.delete(name);
  return { before, userId, rows, found };
}

export const CASES = {
  propmodsOnMissingRows,
  sharedClearedAndImported: (url, user) => sharedClearedAndImported(url, user, "bar@demo.local"),
  frozenRows,
  stepByStep: (url, user) => migrated(url, user, [1, 2]),
  overOneVersion: (url, user) => migrated(url, user, [1]),
  fromNothing: (url, user) => migrated(url, user, []),
};
