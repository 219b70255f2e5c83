// Alarms that are lost, late, early, rung twice, or that fail: the space's publication (I8) must not depend on any single
// one of them. The object's storage lies on command; see faulty-storage.mjs.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [`r${at}`, { s: `${at} `.repeat(200) }]);
const setAlarm = (fault, more) => ({ call: "setAlarm", fault, ...more });
const MINUTE = 60_000;

let runtime;
before(async () => (runtime = await startRuntime()));
after(() => runtime.stop());

const newWriter = () => runtime.device(runtime.subject());
const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);
const objectOf = (writer, command) => runtime.object(writer.sub, command);
const putsOf = async (writer) => (await runtime.kv("home", writer.sub)).puts;
const idle = (writer) => eventually("no alarm is left", async () => (await objectOf(writer)).rests);
const body = (device, id, changes) => ({ client: device.id, mutations: [{ id, changes }] });

describe("an alarm that fails", { concurrency: 4 }, () => {
  test("a turn that fails at its first write is made up for, though nobody reads or writes", async () => {
    const writer = newWriter();
    await objectOf(writer, { rules: [setAlarm("error", { skip: 1 })] });
    await writer.push([put("t")]);
    await published(writer);
    const faults = (await objectOf(writer)).journal.filter((entry) => entry.fault === "error");
    assert.equal(faults.length, 1, "the fault happened");
    await idle(writer);
  });

  test("a turn that cannot read KV's head is made up for, though nobody reads or writes", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [{ op: "get", key: "head", role: "object", fault: "error", times: 2 }] });
    await writer.push([put("t")]);
    await published(writer);
    assert.equal((await runtime.counts("home", writer.sub))["object.get.head.error"], 2, "the fault happened");
    await idle(writer);
  });

  test("a turn that cannot set what it ends with is made up for, though nobody reads or writes", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [{ op: "put", key: "head", role: "object", fault: "limit" }] });
    // By the push, by the turn at its beginning, by the turn that was refused.
    await objectOf(writer, { rules: [setAlarm("error", { skip: 2 }), { call: "deleteAlarm", fault: "error" }] });
    await writer.push([put("t")]);
    await published(writer);
    await idle(writer);
    const faults = (await objectOf(writer)).journal.filter((entry) => entry.fault === "error");
    assert.deepEqual(faults.map((entry) => entry.call), ["setAlarm", "deleteAlarm"], "the faults happened");
  });

  for (const event of ["push", "pull"]) {
    test(`after a turn that failed and whose retries the platform has given up, the next ${event} sets an alarm`, async () => {
      const writer = newWriter();
      const rule = { op: "get", key: "head", role: "object", fault: "error", rate: 1 };
      await runtime.kv("home", writer.sub, { rules: [rule] });
      await writer.push([put("t")]);
      const failed = async () => (await runtime.counts("home", writer.sub))["object.get.head.error"] >= 1;
      await eventually("a turn has failed", failed);
      await objectOf(writer, { alarm: null });
      await runtime.kv("home", writer.sub, { clear: true });
      assert.equal((await objectOf(writer)).alarm, null);
      if (event === "push") await writer.push([put("t")]);
      else await writer.pull({ consistency: "strong" });
      await published(writer);
    });
  }

  test("a push whose alarm cannot be set at first is answered once it is", async () => {
    const writer = newWriter();
    await objectOf(writer, { rules: [setAlarm("error")] });
    await writer.push([put("t")]);
    await published(writer);
  });

  test("a push that cannot set the alarm says so, and the next event sets it", async () => {
    const writer = newWriter();
    await objectOf(writer, { rules: [setAlarm("error"), setAlarm("error")] });
    const first = await writer.post(body(writer, 1, [put("t")]));
    assert.equal(first.status, 500);
    const again = await writer.post(body(writer, 1, [put("t")]));
    assert.deepEqual([again.body.results[0].version, again.body.version], [1, 1]);
    await runtime.waitForPublished(writer.sub, `${again.body.epoch}.1`);
  });
});

describe("an alarm that rings when it should not", { concurrency: 4 }, () => {
  test("twice and once more while a put is open: one turn's word counts, and nothing is put that is older", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [{ op: "put", key: "head", role: "object", fault: "open" }] });
    await writer.push([put("t1")]);
    await eventually("a put is open", async () => (await runtime.kv("home", writer.sub)).held === 1);
    await writer.push([put("t2")]);
    await Promise.all([objectOf(writer, { ring: true }), objectOf(writer, { ring: true })]);
    await writer.push([put("t3")]);
    await objectOf(writer, { ring: true });
    await runtime.kv("home", writer.sub, { release: true });
    await published(writer);
    assert.equal((await runtime.publishedState(writer.sub)).records.size, 3);
    await idle(writer);
    assert.equal((await runtime.head(writer.sub)).version, 3);
    await runtime.checkPuts(writer.sub);
  });

  test("with nothing to publish: nothing is put, and no alarm is left", async () => {
    const writer = newWriter();
    await writer.push([put("t")]);
    await published(writer);
    await idle(writer);
    const before = (await putsOf(writer)).length;
    for (let n = 0; n < 3; n += 1) await objectOf(writer, { ring: true });
    assert.equal((await putsOf(writer)).length, before);
    assert.equal((await objectOf(writer)).alarm, null);
  });
});

test("an alarm that rings too early leaves the one that is due", async () => {
  const variables = { PUBLISH_AFTER_PULLS: "1000", PUBLISH_MAX_DELAY_MS: "600000" };
  const lazy = await startRuntime({ variables });
  try {
    const writer = lazy.device(lazy.subject());
    await writer.push([put("t1")]);
    // The first of an instance is taken at its word: what made it due is not remembered.
    await lazy.object(writer.sub, { ring: true });
    assert.equal((await lazy.head(writer.sub)).version, 1);
    await writer.push([put("t2")]);
    const { alarm } = await lazy.object(writer.sub);
    for (let n = 0; n < 3; n += 1) await lazy.object(writer.sub, { ring: true });
    assert.equal((await lazy.head(writer.sub)).version, 1, "it was not due");
    assert.equal((await lazy.object(writer.sub)).alarm, alarm, "what is due stays due");
  } finally {
    await lazy.stop();
  }
});

test("in a turn that takes long, the watchdog is set anew before the head is put", async () => {
  const writer = newWriter();
  // A turn is long after a quarter of four intervals.
  const rules = [{ op: "put", key: "object", role: "object", fault: "slow", ms: 1500, times: 100 }];
  await runtime.kv("home", writer.sub, { rules });
  await writer.load("c", kilobytes(1200));
  await published(writer);
  const puts = await putsOf(writer);
  const alarms = (await objectOf(writer)).journal.filter((entry) => entry.call === "setAlarm");
  const afterObjects = puts.filter((entry, at) => entry.kind === "head" && puts[at - 1]?.kind === "object");
  assert.ok(afterObjects.length > 0, "a head was put after an object, in one turn");
  for (const head of afterObjects) {
    const object = puts[puts.indexOf(head) - 1];
    const between = alarms.filter(({ at }) => at >= object.at + 1500 && at <= head.at);
    assert.ok(between.length > 0, "between the last object and the head");
  }
});

// These move the clock that all spaces of the runtime see, or restart it: one after the other, at the end.
describe("an alarm that was lost", () => {
  afterEach(() => runtime.setClock("home", 0));

  for (const event of ["push", "pull"]) {
    test(`is set again by the next ${event} once it is long overdue`, async () => {
      await runtime.setClock("home", -6 * MINUTE);
      const sub = runtime.subject();
      const iat = Math.floor((Date.now() - 10 * MINUTE) / 1000);
      const writer = runtime.device(sub, { token: runtime.token(sub, { iat }) });
      await objectOf(writer, { rules: [setAlarm("lost")] });
      await writer.push([put("t")]);
      assert.equal((await objectOf(writer)).alarm, null, "it is lost");
      await runtime.setClock("home", 0);
      if (event === "push") await writer.push([put("t")]);
      else await writer.pull({ consistency: "strong" });
      await published(writer);
      await idle(writer);
    });
  }

  test("is set again by the first event of the next instance", async () => {
    const writers = [newWriter(), newWriter()];
    for (const writer of writers) {
      await objectOf(writer, { rules: [setAlarm("lost")] });
      await writer.push([put("t")]);
    }
    await runtime.restart();
    await writers[0].push([put("t")]);
    await writers[1].pull({ consistency: "strong" });
    for (const writer of writers) await published(writer);
  });
});
