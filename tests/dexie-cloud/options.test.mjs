// What an app leaves out of sync by the addon's own options.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { STORES, useCloud } from "./cloud.mjs";

const cloud = useCloud();

describe("left out", () => {
  test("a table that unsyncedTables names, also one with keys that count up, stays on its device", async () => {
    const settings = { stores: { ...STORES, drafts: "++id" }, unsyncedTables: ["drafts"] };
    const [one, two] = await cloud.devices(2, cloud.user(), settings);
    await one.run(async (db) => {
      await db.drafts.add({ text: "mine" });
      await db.notes.put({ id: "n", n: 1 });
    });
    await one.sync();
    await two.sync();
    assert.deepEqual([await one.rows("drafts"), await two.rows("drafts")], [[{ id: 1, text: "mine" }], []]);
    assert.equal((await two.row("notes", "n")).n, 1);
  });

  test("properties that unsyncedProperties names reach nobody, and go from their device with the next answer that brings the row", async () => {
    const [one, two] = await cloud.devices(2, cloud.user(), { unsyncedProperties: { notes: ["mark"] } });
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.sync();
    await one.run((db) => db.notes.update("n", { mark: "mine" }));
    await one.sync();
    await two.sync();
    assert.deepEqual([(await one.row("notes", "n")).mark, (await two.row("notes", "n")).mark], ["mine", undefined]);
    await one.run((db) => db.notes.update("n", { n: 2 }));
    await one.sync();
    assert.equal((await one.row("notes", "n")).mark, undefined);
  });
});
