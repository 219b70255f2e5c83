// Files of the addon: through R2 where it is bound, and in the record where it is not.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BUCKET } from "../runtime/harness.mjs";
import { useCloud } from "./cloud.mjs";

const putFile = (db) => {
  const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => at % 251);
  const file = new Blob([bytes], { type: "image/png" });
  return db.notes.put({ id: "n", title: "with a file", file, bytes, short: new Uint8Array([1, 2, 3]), text: "é".repeat(40_000) });
};

/** What an app gets of the row: files by their type, bytes and length. */
const readFile = async (db) => {
  const { file, bytes, short, text } = await db.notes.get("n");
  return { type: file?.type, file: file && new Uint8Array(await file.arrayBuffer()), bytes, short, text: text.length };
};

describe("with a bucket", () => {
  const cloud = useCloud({ worker: BUCKET });

  test("a file that one device writes arrives on the other through R2, and so do long bytes and texts", async () => {
    const user = cloud.user();
    const [one, two] = await cloud.devices(2, user);
    await one.run(putFile);
    await one.sync();
    const puts = one.line.exchanges.filter(({ method, path }) => method === "PUT" && path.includes("/blob/"));
    assert.deepEqual(puts.map(({ status }) => status), [200, 200, 200]);
    const sent = one.syncs.map(({ text }) => text).join("");
    assert.ok(sent.length < 20_000, "the records have references only");
    await two.sync();
    const read = await two.run(readFile);
    const expected = Uint8Array.from({ length: 10_000 }, (_, at) => at % 251);
    assert.deepEqual(read, { type: "image/png", file: expected, bytes: expected, short: new Uint8Array([1, 2, 3]), text: 40_000 });
    const gets = two.line.exchanges.filter(({ method, path }) => method === "GET" && path.includes("/blob/"));
    assert.ok(gets.length >= 3 && gets.every(({ status }) => status === 200), "it has loaded them");
    const native = await cloud.native(user);
    await native.pull({ consistency: "strong" });
    const { value } = [...native.records.values()].find(({ value }) => value.title === "with a file");
    const names = puts.map(({ answer }) => answer.ref);
    assert.deepEqual([value.file._bt, value.file.ct, value.file.size, value.bytes._bt, value.text._bt], ["Blob", "image/png", 10_000, "Uint8Array", "string"]);
    for (const { ref } of [value.file, value.bytes, value.text]) assert.ok(names.includes(ref), "the record has the name as the addon wrote it");
  });

  test("an edit of another property leaves the file where it is", async () => {
    const [one, two] = await cloud.devices(2);
    await one.run(putFile);
    await one.sync();
    await two.sync();
    await two.run((db) => db.notes.update("n", { title: "edited" }));
    await two.sync();
    await one.sync();
    assert.equal((await one.row("notes", "n")).title, "edited");
    const [here, there] = await Promise.all([one.run(readFile), two.run(readFile)]);
    assert.deepEqual(here, there);
    assert.equal(here.file.length, 10_000);
  });
});

describe("without a bucket", () => {
  const cloud = useCloud();

  test("bytes and texts stay in the record, and nobody asks twice", async () => {
    const [one, two] = await cloud.devices(2);
    const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => at % 251);
    await one.run((db, bytes) => db.notes.put({ id: "a", bytes }), bytes);
    await one.sync();
    await one.run((db, bytes) => db.notes.put({ id: "b", bytes, text: "x".repeat(40_000) }), bytes);
    await one.sync();
    await two.sync();
    const puts = one.line.exchanges.filter(({ method, path }) => method === "PUT" && path.includes("/blob/"));
    assert.deepEqual(puts.map(({ status }) => status), [404]);
    for (const id of ["a", "b"]) assert.deepEqual((await two.row("notes", id)).bytes, bytes);
    assert.equal((await two.row("notes", "b")).text.length, 40_000);
  });
});
