// The faulty KV itself: each fault is what it says, else the tests that rely on it would prove nothing.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { beforeEach, test } from "node:test";
import { FaultyKv, control } from "./faulty-kv.mjs";

const SCOPE = "5".repeat(64);
const HEAD = `v1/${SCOPE}/head`;
const headBytes = (version) => `${JSON.stringify({ epoch: "0aaaaaaaaaaaa", version })}\n`;
const objectKey = (text) => `v1/${SCOPE}/o/${createHash("sha256").update(text).digest("hex")}`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A namespace that does as it is told. */
class PlainKv {
  values = new Map();
  async getWithMetadata(key, { type }) {
    assert.equal(type, "arrayBuffer");
    const found = this.values.get(key);
    return { value: found ? found.bytes.slice().buffer : null, metadata: found?.metadata ?? null };
  }
  async put(key, bytes, { metadata } = {}) {
    this.values.set(key, { bytes, metadata: metadata ?? null });
  }
  async delete(key) {
    this.values.delete(key);
  }
  async list({ prefix }) {
    const keys = [...this.values.keys()].filter((name) => name.startsWith(prefix)).map((name) => ({ name }));
    return { keys, list_complete: true };
  }
}

let [real, object, edge] = [];
beforeEach(async () => {
  real = new PlainKv();
  [object, edge] = [new FaultyKv(real, "object"), new FaultyKv(real, "edge")];
  await control({ clear: true, release: true }, real);
  await control({ set: { writeSpacingMs: 0 } }, real);
});

const order = (command) => control({ scope: SCOPE, ...command }, real);
const version = async (kv = edge) => {
  const text = await kv.get(HEAD);
  return text && JSON.parse(text).version;
};

test("without faults it gives back what was put, in every type, with its metadata", async () => {
  await object.put(HEAD, headBytes(1), { metadata: { v: 1 }, expirationTtl: 60 });
  assert.deepEqual((await edge.getWithMetadata(HEAD, { type: "stream" })).metadata, { v: 1 });
  const { value } = await edge.getWithMetadata(HEAD, { type: "stream" });
  assert.equal(await new Response(value).text(), headBytes(1));
  assert.equal((await edge.get(HEAD, "json")).version, 1);
  assert.equal(Buffer.from(await edge.get(HEAD, { type: "arrayBuffer" })).toString(), headBytes(1));
  assert.equal(await edge.get(`${HEAD}x`), null);
});

test("it counts operations by role and kind, and bodies only when they are read", async () => {
  const before = (await order({})).counts;
  const { value } = await edge.getWithMetadata(HEAD, { type: "stream" });
  await object.put(HEAD, headBytes(1));
  const unread = (await edge.getWithMetadata(HEAD, { type: "stream" })).value;
  await edge.getWithMetadata(objectKey("x"), { type: "stream" });
  const counts = (await order({})).counts;
  const more = (name) => (counts[name] ?? 0) - (before[name] ?? 0);
  assert.deepEqual([more("edge.get.head"), more("edge.get.object"), more("object.put.head")], [2, 1, 1]);
  assert.equal(more("edge.body.head"), 0);
  await new Response(unread).text();
  assert.equal(value, null);
  assert.equal((await order({})).counts["edge.body.head"] - (before["edge.body.head"] ?? 0), 1);
});

test("a stale location goes on showing what it saw, absence too", async () => {
  await order({ set: { staleMs: 60_000 } });
  assert.equal(await version(), null);
  await object.put(HEAD, headBytes(1));
  assert.equal(await version(), null);
  await order({ clear: true });
  assert.equal(await version(), 1);
});

test("an object arrives later than the head that names it", async () => {
  await object.put(objectKey("body"), "body");
  await order({ set: { objectLagMs: 40 } });
  assert.equal(await edge.get(objectKey("body")), null);
  await pause(60);
  assert.equal(await edge.get(objectKey("body")), "body");
});

test("a second write to a key within a second is refused with KV's message, of another key it is not", async () => {
  await order({ set: { writeSpacingMs: 1000 } });
  const key = objectKey("not written yet");
  await object.put(key, "1");
  await assert.rejects(object.put(key, "2"), { message: "KV PUT failed: 429 Too Many Requests" });
  await object.put(objectKey("another"), "3");
  assert.equal(await edge.get(key), "1");
});

test("scripted puts fail, fail but do, and time out; then puts succeed again", async () => {
  await order({
    rules: [
      { op: "put", key: "head", fault: "error" },
      { op: "put", key: "head", fault: "done-but-error" },
      { op: "put", key: "head", fault: "timeout", ms: 5 },
    ],
  });
  await assert.rejects(object.put(HEAD, headBytes(1)), /500/);
  assert.equal(await version(), null);
  await assert.rejects(object.put(HEAD, headBytes(2)), /500/);
  assert.equal(await version(), 2);
  await assert.rejects(object.put(HEAD, headBytes(3)), /504/);
  assert.equal(await version(), 2);
  await object.put(HEAD, headBytes(4));
  assert.equal(await version(), 4);
});

test("a put lands late over a newer one, after a while or when the test says so", async () => {
  await order({ rules: [{ op: "put", fault: "late", ms: 30 }, { op: "put", fault: "held", answer: "error" }] });
  await object.put(HEAD, headBytes(1));
  await assert.rejects(object.put(HEAD, headBytes(2)), /504/);
  await object.put(HEAD, headBytes(3));
  assert.equal(await version(), 3);
  await pause(60);
  assert.equal(await version(), 1);
  await order({ release: true });
  assert.equal(await version(), 2);
});

test("objects are lost before their time, and a namespace is emptied", async () => {
  await order({ set: { objectLifeMs: 30 } });
  await object.put(objectKey("x"), "x");
  await object.put(HEAD, headBytes(1));
  assert.equal(await edge.get(objectKey("x")), "x");
  await pause(60);
  assert.equal(await edge.get(objectKey("x")), null);
  assert.equal(await version(), 1);
  await order({ empty: true });
  assert.equal(await version(), null);
});

test("rates follow the seed: the same seed makes the same faults", async () => {
  const play = async () => {
    await order({ clear: true, seed: 7, rules: [{ op: "get", fault: "miss", rate: 0.5 }] });
    await object.put(HEAD, headBytes(1));
    const seen = [];
    for (let n = 0; n < 20; n += 1) seen.push(await version());
    return seen;
  };
  const first = await play();
  assert.ok(first.includes(null) && first.includes(1));
  assert.deepEqual(await play(), first);
});

test("a rule for one role or kind leaves the others alone", async () => {
  await object.put(HEAD, headBytes(1));
  await order({ rules: [{ op: "get", role: "object", fault: "error" }] });
  assert.equal(await version(edge), 1);
  await assert.rejects(version(object), /500/);
});
