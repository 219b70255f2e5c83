// Apps with documents of Y.js: their rows sync, and the documents stay on the device that wrote them, because the server has no place for
// them and never speaks of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { useCloud } from "./cloud.mjs";

const cloud = useCloud();
const SETTINGS = { stores: { docs: "@id, title, content:Y.Doc", notes: "id" }, documents: true };

const add = (db, title, text) => {
  const content = new Y.Doc();
  content.getText().insert(0, text);
  return db.docs.add({ title, content });
};

const textOf = async (db, id) => {
  const doc = (await db.docs.get(id)).content;
  const provider = DexieYProvider.load(doc);
  await provider.whenLoaded;
  const text = doc.getText().toString();
  DexieYProvider.release(doc);
  return text;
};

const write = async (db, id, text) => {
  const doc = (await db.docs.get(id)).content;
  const provider = DexieYProvider.load(doc);
  await provider.whenLoaded;
  doc.getText().insert(0, text);
  // Kept open, as an editor keeps it: so the addon tells the server of it by its socket.
  globalThis.kept = provider;
};

const titleIs = [async (db, id, title) => (await db.docs.get(id))?.title === title];

test("rows with a document sync without it, and no answer takes the document from the device that has it", async () => {
  const user = cloud.user();
  const [one, two] = await cloud.devices(2, user, { ...SETTINGS });
  const id = await one.run(add, "first", "of one");
  await one.sync();
  await two.sync();
  assert.deepEqual([(await two.row("docs", id)).title, await two.run(textOf, id)], ["first", ""]);
  await two.run((db, id) => db.docs.update(id, { title: "second" }), id);
  await two.run(write, id, "of two");
  await two.sync();
  await one.sync();
  assert.deepEqual([(await one.row("docs", id)).title, await one.run(textOf, id)], ["second", "of one"]);
  assert.equal(await two.run(textOf, id), "of two");
  assert.ok(one.syncs.at(-1).body.y.some(({ type }) => type === "u-c"), "the addon sends it again with each request, because nobody has said that it came");
  assert.equal(one.line.of("download").length, 0);
  const native = cloud.native(user);
  await native.pull({ consistency: "strong" });
  assert.deepEqual(native.records.get(`docs ${id}`).value, { id, title: "second" });
  await one.run((db, id) => db.docs.delete(id), id);
  await one.sync();
  await two.sync();
  assert.deepEqual(await two.rows("docs"), []);
});

test("a device that speaks of an open document by its socket goes on hearing of rows", async () => {
  const user = cloud.user();
  const [one, two] = await cloud.devices(2, user, { ...SETTINGS, live: true });
  for (const device of [one, two]) await device.until((db) => db.cloud.webSocketStatus.value === "connected");
  const id = await one.run(add, "first", "of one");
  await two.until(...titleIs, id, "first");
  for (const [at, device] of [one, two].entries()) await device.run(write, id, `open ${at} `);
  await eventually("the document is sent", () => one.syncs.some(({ body }) => body.y.some(({ type }) => type === "u-c")));
  await two.run((db, id) => db.docs.update(id, { title: "second" }), id);
  await one.until(...titleIs, id, "second");
  await one.run((db, id) => db.docs.update(id, { title: "third" }), id);
  await two.until(...titleIs, id, "third");
  const sockets = [one, two].map((device) => device.line.of("changes").length);
  assert.ok(sockets.every((count) => count <= 2), `sockets are opened ${sockets} times`);
  assert.deepEqual([await one.run(textOf, id), await two.run(textOf, id)], ["open 0 of one", "open 1 "]);
});
