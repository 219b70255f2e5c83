// How far deletions may be forgotten: up to where the base was queried, though more is published (I7, H10).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const remove = (id) => ({ op: "delete", collection: "c", id });
const RETAIN_MS = 15_000;

let runtime;
before(async () => {
  const variables = { RETAIN_TOMBSTONES_DAYS: String(RETAIN_MS / 86_400_000) };
  runtime = await startRuntime({ locations: ["a", "b"], variables });
});
after(() => runtime.stop());

test("a deletion that becomes due while its head is put stays until the base has been queried after it", async () => {
  const sub = runtime.subject();
  const writer = runtime.device(sub);
  await writer.load("c", Array.from({ length: 1200 }, (_, at) => [`r${at}`, { s: `${at} `.repeat(200) }]));
  const base = await eventually("the base holds everything", async () => {
    const head = await runtime.head(sub);
    return (await runtime.object(sub)).rests && head?.base?.to > 0 ? head.base : null;
  });
  const first = await runtime.publishedState(sub);
  assert.ok(first.records.get("c r7").version <= base.to, "the record is in the base");

  // Not yet due when the head is made, due when its put is answered.
  await runtime.kv("home", sub, { rules: [{ op: "put", key: "head", role: "object", fault: "open" }] });
  await writer.push([remove("r7")]);
  await eventually("the head is being put", async () => (await runtime.kv("home", sub)).held === 1);
  await new Promise((resolve) => setTimeout(resolve, RETAIN_MS + 500));
  await runtime.kv("home", sub, { release: true });
  await eventually("the turn is over", async () => (await runtime.object(sub)).rests);
  assert.deepEqual((await runtime.head(sub)).base.parts, base.parts, "the base still has the record");

  for (const id of ["later", "later still"]) {
    await writer.push([put(id)]);
    await runtime.waitForPublished(sub, writer.min);
    const { records } = await runtime.publishedState(sub);
    assert.ok(!records.has("c r7"), "nothing deleted stands in KV");
    const device = runtime.device(sub, { at: "a" });
    await device.stream({ min: writer.min });
    assert.ok(!device.records.has("c r7"), "nor does a new device get it");
    assert.equal(device.records.size, (await runtime.truth(sub)).records.size);
  }
  const [epoch] = writer.min.split(".");
  await eventually("it is forgotten in the end", async () => {
    const { body } = await writer.askPull({ epoch, since: 1, consistency: "strong" });
    return body.reset;
  });
});
