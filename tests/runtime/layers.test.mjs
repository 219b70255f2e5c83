// What one layer hands to the next when it is damaged, late or half of what it was: heads that no build of this format
// wrote, objects that cannot be read in the middle of a load, a refresh that brings no body (I5, I7, I11).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [`r${at}`, { s: `${at} `.repeat(200) }]);

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b", "c", "d"] })));
after(() => runtime.stop());

const newWriter = () => runtime.device(runtime.subject());
const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);

/** The value and the metadata of a space's head, as text and object. */
async function headOf(namespace, key) {
  const { value, metadata } = await namespace.getWithMetadata(key, "text");
  return { value, metadata };
}

describe("a head that this build did not write", { concurrency: 3 }, () => {
  const damages = [
    ["of another format", ({ value, metadata }) => [value, { ...metadata, f: 2 }]],
    ["whose metadata is a text", ({ value }) => [value, "head"]],
    ["whose metadata is a number", ({ value }) => [value, 7]],
    ["whose metadata lacks a field", ({ value, metadata: { e, ...rest } }) => [value, rest]],
    ["whose metadata claims a version beyond all numbers", ({ value, metadata }) => [value, { ...metadata, v: 2 ** 60 }]],
    ["without metadata", ({ value }) => [value, undefined]],
    ["whose body is another's", ({ metadata }) => ["{}", metadata]],
    ["whose body is empty", ({ metadata }) => ["", metadata]],
    ["whose body is cut", ({ value, metadata }) => [value.slice(0, -5), metadata]],
    ["whose tail was changed", ({ value, metadata }) => [value.replace("milk", "mild"), metadata]],
  ];
  for (const [what, damage] of damages) {
    test(`${what}: the coordinator serves, and the next publication mends it`, async () => {
      const writer = newWriter();
      await writer.push([put("t1", { s: "milk" })]);
      const { key } = await published(writer);
      const namespace = await runtime.namespace();
      const [value, metadata] = damage(await headOf(namespace, key));
      await namespace.put(key, value, { metadata });
      const [json, lines, present] = ["a", "b", "c"].map((at) => runtime.device(writer.sub, { at }));
      assert.deepEqual((await json.pull()).sources, ["coordinator"]);
      assert.deepEqual((await lines.stream()).sources, ["coordinator"]);
      Object.assign(present, { epoch: json.epoch, version: json.version, records: json.records });
      await present.pull();
      for (const device of [json, lines, present]) assert.deepEqual(device.state(), [["c t1", { s: "milk" }]]);
      assert.ok([404, 503].includes((await json.ask("/sync/head", { at: "d" })).status));

      await writer.push([put("t2")]);
      await eventually("a newer head stands there", async () => {
        const { value: now } = await headOf(namespace, key);
        return now !== value && now.includes('"version":2,');
      });
      assert.equal((await published(writer)).version, 2);
      await present.pull({ min: writer.min });
      assert.equal(present.records.size, 2);
      await runtime.checkPuts(writer.sub);
    });
  }
});

describe("objects that cannot be read in the middle of a load", { concurrency: 2 }, () => {
  let writer;
  before(async () => {
    writer = newWriter();
    await writer.load("c", kilobytes(6000));
    await published(writer);
    await eventually("all of it is in objects", async () => {
      const { base } = (await published(writer)) ?? {};
      return base?.parts.length >= 3 && (await runtime.object(writer.sub)).rests;
    });
  });

  const rule = (fault, more) => ({ op: "get", key: "object", role: "edge", fault, ...more });
  const faults = [
    ["the first fails at once", [rule("error")], { first: true }],
    ["the first fails late", [rule("error", { ms: 300 })], { first: true }],
    ["the first is missing at each look", [rule("miss", { times: 10 })], { first: true }],
    ["the first and the second fail", [rule("error", { times: 2 })], { first: true }],
    ["the first is missing and all others fail", [rule("miss"), rule("error", { times: 10 })], { first: true }],
    ["the second fails while the first is sent", [rule("error", { skip: 1 })]],
    ["the second fails late", [rule("error", { skip: 1, ms: 600 })]],
    ["the second is missing and the third fails", [rule("miss", { skip: 1 }), rule("error", { skip: 1 })]],
    ["the first breaks in the middle", [rule("broken")]],
    ["the second breaks in the middle", [rule("broken", { skip: 1 })]],
    ["all but the first break", [rule("broken", { skip: 1, times: 10 })]],
  ];
  for (const [what, rules, { first = false } = {}] of faults) {
    test(what, async () => {
      const at = ["a", "b"][faults.findIndex(([name]) => name === what) % 2];
      await runtime.kv(at, writer.sub, { clear: true, rules: structuredClone(rules) });
      const device = runtime.device(writer.sub, { at });
      const took = await device.stream();
      const { unhandled } = await runtime.kv(at, writer.sub, { clear: true });
      assert.deepEqual(unhandled, [], "no failure goes unlooked at");
      assert.equal(device.records.size, 6000);
      assert.deepEqual(device.state(), (await runtime.truth(writer.sub)).state());
      if (first) assert.deepEqual(took.sources, ["coordinator"], "before anything was sent the coordinator takes over");
      else assert.ok(took.connections > 1, "the stream ended without its last line");
    });
  }
});

describe("a refresh that brings no body", () => {
  const HALF_A_MINUTE = 31_000;

  test("keeps the body that memory has", async () => {
    const writer = newWriter();
    await writer.push([put("t")]);
    await published(writer);
    await runtime.kv("c", "*", { cache: false });
    const read = async () => runtime.counts("c", writer.sub);
    await runtime.device(writer.sub, { at: "c" }).pull();
    const present = runtime.device(writer.sub, { at: "c" });
    await present.pull();
    await runtime.setClock("c", HALF_A_MINUTE);
    const before = await read();
    assert.equal(before["edge.body.head"], 1);
    await present.pull();
    const refreshed = await read();
    assert.equal(refreshed["edge.get.head"], before["edge.get.head"] + 1, "KV was asked again");
    await runtime.device(writer.sub, { at: "c" }).pull();
    const { "edge.get.head": asked, "edge.body.head": bodies } = await read();
    assert.deepEqual([asked, bodies], [refreshed["edge.get.head"], 1], "and has answered the next first load too");
    await runtime.kv("c", "*", { cache: true, clock: 0 });
  });

  test("keeps the body that the location's cache has, though the isolate that asked never saw it", async () => {
    const writer = newWriter();
    await writer.push([put("t")]);
    const head = await published(writer);
    const { value } = await headOf(await runtime.namespace(), head.key);
    // Isolate d stands at location b from here on.
    await runtime.kv("d", "*", { location: "b" });
    const url = `http://location/.headwater/${head.scope}/head`;
    const cached = () => runtime.kv("d", writer.sub, { peek: url });
    const first = runtime.device(writer.sub, { at: "b" });
    await first.pull();
    const there = await eventually("the location has the head", cached);
    assert.deepEqual([there.headers["headwater-body"], there.text], ["1", value]);

    await runtime.setClock("d", HALF_A_MINUTE);
    const second = runtime.device(writer.sub, { at: "d" });
    Object.assign(second, { epoch: first.epoch, version: first.version, records: first.records });
    await second.pull();
    assert.equal((await runtime.counts("d", writer.sub))["edge.body.head"], undefined, "it asked for no body");
    const readAt = (entry) => Number(entry.headers["headwater-read-at"]);
    const refreshed = await eventually("the location has been told", async () => {
      const now = await cached();
      return readAt(now) > readAt(there) ? now : null;
    });
    assert.deepEqual([refreshed.headers["headwater-body"], refreshed.text], ["1", value]);
    await runtime.setClock("d", 0);
  });
});
