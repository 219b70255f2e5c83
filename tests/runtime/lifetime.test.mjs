// What takes minutes or weeks: objects and heads that grow old, a miss that lasts, a head that nobody confirms. The clock
// that the Worker sees is moved; tests run one after the other, because it is one clock for all of them.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [`r${at}`, { s: `${at} `.repeat(200) }]);
const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b", "c"] })));
after(() => runtime.stop());
afterEach(async () => {
  for (const at of runtime.locations) await runtime.setClock(at, 0);
});

const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);
const partsOf = (head) => [head.delta, head.base].flatMap((run) => run?.parts ?? []).map((part) => part.sha256);

/** A space whose objects and head were put so long ago. */
async function agedSpace(age) {
  await runtime.setClock("home", -age);
  const sub = runtime.subject();
  const writer = runtime.device(sub, { token: runtime.token(sub, { iat: Math.floor((Date.now() - 2 * age) / 1000) }) });
  await writer.load("c", kilobytes(1200));
  await published(writer);
  // Its runs are made into one later on. That has to have happened before the clock moves.
  await eventually("the publisher rests", async () => (await runtime.object(sub)).rests);
  const head = await published(writer);
  assert.ok(partsOf(head).length > 0, "the space has objects");
  await runtime.setClock("home", 0);
  return { writer, head };
}

const objectPuts = async (writer) => (await runtime.kv("home", writer.sub)).puts.filter((p) => p.kind === "object");

test("an object older than 15 days is put again by the next publication, before the head lives longer than it", async () => {
  const { writer, head } = await agedSpace(20 * DAY);
  const before = (await objectPuts(writer)).length;
  await writer.push([put("later")]);
  const next = await published(writer);
  assert.ok(next.expires > head.expires, "the new head lives longer");
  const again = (await objectPuts(writer)).slice(before).map((entry) => entry.name);
  for (const name of partsOf(next)) assert.ok(again.includes(name), `${name} was put again`);
  await runtime.checkPuts(writer.sub);
});

test("an object younger than 15 days is not put again, and the head lives no longer than it", async () => {
  const { writer, head } = await agedSpace(10 * DAY);
  const before = (await objectPuts(writer)).length;
  await writer.push([put("later")]);
  const next = await published(writer);
  assert.equal((await objectPuts(writer)).length, before);
  assert.ok(next.expires <= head.expires + MINUTE, `${next.expires} is beyond what the objects were put for`);
});

test("a head in the last third of its life is renewed when somebody reads it, and by nobody else", async () => {
  const { writer, head } = await agedSpace(25 * DAY);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.equal((await runtime.head(writer.sub)).published_at, head.published_at, "an idle space is left to expire");
  await runtime.device(writer.sub, { at: "a" }).stream();
  const renewed = await eventually("the head is renewed", async () => {
    const now = await runtime.head(writer.sub);
    return now.published_at > head.published_at ? now : null;
  });
  assert.ok(renewed.expires > Date.now() + 29 * DAY, "for a whole life");
  await runtime.checkPuts(writer.sub);
});

test("an object that a reader misses long after its put is put again, or the next head does without it", async () => {
  const { writer, head } = await agedSpace(180 * MINUTE);
  const namespace = await runtime.namespace();
  const stands = async (name) => (await namespace.get(`v1/${head.scope}/o/${name}`, "arrayBuffer")) !== null;
  await namespace.delete(`v1/${head.scope}/o/${partsOf(head)[0]}`);
  const device = runtime.device(writer.sub, { at: "a" });
  await device.stream();
  assert.equal(device.records.size, 1200);
  // Where the load was published as two runs, publishing again may make them one.
  await eventually("all objects of the head stand in KV", async () => {
    const standing = await Promise.all(partsOf(await runtime.head(writer.sub)).map(stands));
    return standing.every(Boolean);
  });
});

test("a head that KV never replaces at a location is confirmed with the coordinator within ten minutes", async () => {
  const writer = runtime.device(runtime.subject());
  await writer.push([put("t", { n: 1 })]);
  await published(writer);
  await runtime.kv("b", writer.sub, { set: { staleMs: DAY } });
  const reader = runtime.device(writer.sub, { at: "b" });
  await reader.pull();
  await writer.push([put("t", { n: 2 })]);
  await published(writer);
  await runtime.setClock("b", 2 * MINUTE);
  await reader.pull();
  assert.equal(reader.version, 1, "KV shows the old head there");
  await runtime.setClock("b", 11 * MINUTE);
  await reader.pull();
  assert.deepEqual([reader.version, reader.records.get("c t").value], [2, { n: 2 }]);
});
