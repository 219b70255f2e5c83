// What is large, and what cannot be kept: everything else goes on.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertSameRows } from "./addon.mjs";
import { eventually } from "../runtime/harness.mjs";
import { STORES, useCloud } from "./cloud.mjs";

const cloud = useCloud();
const KIB = 1024;
const MIB = 1024 * KIB;
/** The limit on one value, see docs/PROTOCOL.md. */
const VALUE_MAX = 256 * KIB;
/** The limit on one request: `DEXIE_BODY_BYTES_MAX` in src/limits/dexie.rs. */
const REQUEST_MAX = 8 * MIB;

describe("what cannot be kept", () => {
  test("a row that is too large goes from the device, and what was written before and behind it is kept", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run(async (db, size) => {
      await db.notes.put({ id: "before", n: 1 });
      await db.notes.put({ id: "secret", text: "x".repeat(size) });
      await db.notes.put({ id: "behind", n: 1 });
    }, VALUE_MAX);
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes"]);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["before", "behind"]);
    assert.equal(await one.pending(), 0);
    const { rejections } = one.syncs.at(-1).answer;
    assert.equal(rejections.length, 1, JSON.stringify(rejections));
  });

  test("what was not kept is in the log, with the reason, and in what the space has used that day", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run((db, size) => db.notes.put({ id: "large", text: "x".repeat(size) }), VALUE_MAX);
    await one.run((db) => db.notes.put({ id: "line\nend" }));
    await one.sync();
    const answer = await fetch(`${cloud.origin}/spaces/~/usage`, { headers: { authorization: `Bearer ${cloud.runtime.token(user)}` } });
    const { days } = await answer.json();
    assert.equal(days[0].rejectedMutations, 2);
    const line = await eventually("both are in the log", () => {
      const lines = cloud.runtime.logs.join("").split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
      return lines.map((line) => JSON.parse(line)).find(({ rejectedMutations }) => rejectedMutations === 2);
    });
    assert.deepEqual([line.route, line.status, line.code], ["dexie-sync", 200, "too_large"], "the first of them");
    assert.doesNotMatch(JSON.stringify(line), /secret|line.end|notes|xxx/, "no key and no content");
  });

  test("a row that grows too large is again what it was", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.put({ id: "n", title: "small", n: 1 }));
    await one.sync();
    await one.run((db, size) => db.notes.update("n", { title: "large", text: "x".repeat(size) }), VALUE_MAX);
    await one.run((db) => db.counters.put({ id: "c", n: 1 }));
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes", "counters"]);
    const { title, text } = await one.row("notes", "n");
    assert.deepEqual([title, text], ["small", undefined]);
    assert.equal((await two.rows("counters")).length, 1);
  });

  test("a transaction with such a row is not done at all", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run(
      (db, size) =>
        db.transaction("rw", db.notes, db.counters, async () => {
          await db.counters.put({ id: "c", n: 1 });
          await db.notes.put({ id: "large", text: "x".repeat(size) });
        }),
      VALUE_MAX,
    );
    await one.run((db) => db.notes.put({ id: "behind", n: 1 }));
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes", "counters"]);
    assert.deepEqual([await one.rows("counters"), (await one.rows("notes")).map(({ id }) => id)], [[], ["behind"]]);
  });

  test("rows of a table, and under keys, whose names are not allowed go from the device, and others are kept", async () => {
    const stores = { ...STORES, "my notes": "id", [`t${"x".repeat(64)}`]: "id" };
    const [one, two] = await cloud.devices(2, cloud.user(), { stores });
    await one.run(async (db, names) => {
      for (const name of names) await db.table(name).put({ id: "n" });
      await db.notes.put({ id: "k".repeat(257) });
      await db.notes.put({ id: "line\nend" });
      await db.notes.put({ id: "n", n: 1 });
    }, Object.keys(stores).slice(-2));
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], Object.keys(stores));
    for (const name of Object.keys(stores).slice(-2)) assert.deepEqual(await one.rows(name), [], name);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["n"]);
    assert.equal(await one.pending(), 0);
  });

  test("text cut within a character goes from the device, and what came with it stays", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run(async (db) => {
      await db.notes.put({ id: "half", title: "\u{1F40E}".slice(0, 1) });
      await db.notes.put({ id: "n", n: 1 });
    });
    await one.sync();
    await two.sync();
    await assertSameRows([one, two], ["notes"]);
    assert.deepEqual((await one.rows("notes")).map(({ id }) => id), ["n"]);
  });
});

describe("what is large", () => {
  /** Writes so many transactions of so many rows of so many bytes. */
  const fill = (db, transactions, rows, bytes) =>
    (async () => {
      for (let t = 0; t < transactions; t += 1) {
        const all = Array.from({ length: rows }, (_, r) => ({ id: `r${t}-${r}`, n: t, text: "x".repeat(bytes) }));
        await db.notes.bulkPut(all);
      }
    })();

  test("several MiB of rows reach a device that was away, in as many answers as it takes, and never go back", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run(fill, 12, 20, 25 * KIB);
    await one.sync();
    const count = await one.run((db) => db.notes.count());
    const revisions = [(await two.syncState()).serverRevision];
    while ((await two.run((db) => db.notes.count())) < count) {
      await two.sync();
      revisions.push((await two.syncState()).serverRevision);
      assert.notEqual(revisions.at(-1), revisions.at(-2), "each answer brings the device further");
    }
    await assertSameRows([one, two], ["notes"]);
  });

  test("a new device gets several MiB of rows, and the socket asks it for what is left", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run(fill, 12, 20, 25 * KIB);
    await one.sync();
    const two = await cloud.device(user, { live: true });
    await two.until(async (db, count) => (await db.notes.count()) === count, 240);
    await assertSameRows([one, two], ["notes"]);
  });

  test("as much as a request may have is taken in one, of what a device wrote while it was away", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run(fill, 16, 20, 25 * KIB);
    await one.sync();
    const largest = Math.max(...one.syncs.map(({ text }) => text.length));
    assert.ok(largest > 0.95 * REQUEST_MAX, `${largest} bytes`);
    assert.equal(await one.pending(), 0);
    for (let asked = 0; asked < 40 && (await two.run((db) => db.notes.count())) < 320; asked += 1) await two.sync();
    await assertSameRows([one, two], ["notes"]);
  });

  test("more than that in one request is 413, the only way to stop a device's queue", async () => {
    const one = await cloud.device(cloud.user());
    const { headers, body } = one.syncs.at(-1);
    const values = [{ id: "n", text: "x".repeat(REQUEST_MAX) }];
    const changes = [{ table: "notes", muts: [{ type: "upsert", keys: ["n"], values, txid: "large", opNo: 1 }] }];
    const init = { method: "POST", headers: { authorization: headers.authorization, "content-type": "application/tson" } };
    const answer = await fetch(`${cloud.origin}/dexie/sync`, { ...init, body: JSON.stringify({ ...body, changes }) });
    assert.equal(answer.status, 413);
  });

  test("one transaction of 2,500 rows is taken whole", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run((db) => db.notes.bulkPut(Array.from({ length: 2_500 }, (_, n) => ({ id: `r${n}`, n }))));
    await one.sync();
    for (let asked = 0; asked < 10 && (await two.run((db) => db.notes.count())) < 2_500; asked += 1) await two.sync();
    await assertSameRows([one, two], ["notes"]);
  });

  test("a text that would be a file elsewhere stays in its row, because there is no place for files", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run((db) => db.notes.put({ id: "n", text: "x".repeat(40_000), bytes: new Uint8Array(5_000).fill(7) }));
    await one.sync();
    await two.sync();
    const { text, bytes } = await two.row("notes", "n");
    assert.deepEqual([text.length, bytes.length, bytes[4_999]], [40_000, 5_000, 7]);
    assert.ok(one.line.of("blob").length + one.line.exchanges.filter(({ path }) => path.includes("/blob/")).length > 0, "the addon asked");
  });
});
