// What readers and KV's head must survive when KV misbehaves: I3, I4, I5, I7, I8 of docs/INVARIANTS.md, one schedule
// per test. Every pull of a device checks I3 as it goes.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";
import { comparePositions } from "./published.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const remove = (id) => ({ op: "delete", collection: "c", id });
const name = (at) => `r${String(at).padStart(5, "0")}`;
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [name(at), { s: `${at} `.repeat(200) }]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const headPut = (fault, more) => ({ op: "put", key: "head", role: "object", fault, ...more });
const FOR_EVER = 3_600_000;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b", "c"] })));
after(() => runtime.stop());

const newWriter = () => runtime.device(runtime.subject());
const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);
const resetEpoch = async (device) => {
  const { status, body, text } = await device.ask("/spaces/~/reset-epoch", { method: "POST" });
  assert.equal(status, 200, text);
  return `${body.epoch}.${body.version}`;
};

/** A published space of a megabyte, most of it in objects. */
async function largeSpace() {
  const writer = newWriter();
  await writer.load("c", kilobytes(1200));
  const head = await published(writer);
  assert.ok(head.delta || head.base, "a megabyte has objects");
  return writer;
}

/** A device that has nothing gets everything at this location, by JSON and by NDJSON. */
async function assertFirstLoad(writer, at) {
  const truth = await runtime.truth(writer.sub);
  const [one, two] = [runtime.device(writer.sub, { at }), runtime.device(writer.sub, { at })];
  const took = await one.stream();
  assert.deepEqual(one.state(), truth.state(), "NDJSON");
  await two.pull();
  assert.deepEqual(two.state(), truth.state(), "JSON");
  return took;
}

describe("I3: nobody reads back in time", { concurrency: 4 }, () => {
  test("a location that shows a head of an earlier epoch after a reset sends nobody back, and traps nobody", async () => {
    const writer = newWriter();
    for (let n = 0; n < 5; n += 1) await writer.push([put("t1", { n })]);
    await published(writer);
    await runtime.kv("b", writer.sub, { set: { staleMs: FOR_EVER } });
    const knowsOld = runtime.device(writer.sub, { at: "b" });
    await knowsOld.pull();
    assert.equal(knowsOld.version, 5);
    const position = await resetEpoch(writer);

    const knowsNew = runtime.device(writer.sub, { at: "home" });
    await knowsNew.pull({ min: position });
    knowsNew.at = "b";
    for (const read of ["pull", "stream"]) {
      const { resets } = await knowsNew[read]();
      assert.equal(resets, 0, "an older epoch is no reason to begin again");
      assert.ok(comparePositions(knowsNew.position, position) >= 0);
    }
    const eventual = await knowsNew.askPull(knowsNew.query({ consistency: "eventual", min: null }));
    assert.ok(comparePositions(`${eventual.body.epoch}.${eventual.body.version}`, knowsNew.position) >= 0);

    const refused = await knowsOld.pushMutations([{ changes: [put("t2")] }]);
    assert.deepEqual([refused.status, refused.body.code], [409, "epoch_mismatch"]);
    const took = await knowsOld.pull({ min: refused.body.position });
    assert.equal(took.resets, 1, "with min the stale location is left behind");
    Object.assign(knowsOld, { id: "c_after_reset", next: 1 });
    assert.equal((await knowsOld.push([put("t2")])).status, "applied");
  });

  test("a head of an earlier epoch that lands after the reset reaches nobody who knows the new one", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [headPut("held", { answer: "error" })] });
    await writer.push([put("t1", { n: 1 })]);
    await eventually("a head is held back", async () => (await runtime.kv("home", writer.sub)).held === 1);
    const position = await resetEpoch(writer);
    await runtime.waitForPublished(writer.sub, position);
    await runtime.kv("home", writer.sub, { release: true });
    const landed = await runtime.head(writer.sub);
    assert.ok(comparePositions(landed.position, position) < 0, "the earlier epoch stands in KV");
    const device = runtime.device(writer.sub, { at: "home" });
    await device.pull({ min: position, consistency: "strong" });
    for (const at of ["a", "b", "c"]) {
      device.at = at;
      assert.equal((await device.pull()).resets, 0);
    }
    await runtime.waitForPublished(writer.sub, position);
  });

  test("locations that lag differently: a roaming client never goes back, and has its own writes", async () => {
    const writer = newWriter();
    await writer.push([put("t0")]);
    await published(writer);
    for (const [at, staleMs] of [["a", 500], ["b", 4000], ["c", FOR_EVER]]) {
      await runtime.kv(at, writer.sub, { set: { staleMs } });
    }
    const roamer = runtime.device(writer.sub);
    for (let n = 0; n < 24; n += 1) {
      roamer.at = ["a", "c", "b", "home"][n % 4];
      await (n % 3 ? roamer.push([put(`t${n}`, { n })]) : writer.push([put("t0", { n })]));
      await roamer.pull(n % 5 === 4 ? { consistency: "eventual" } : {});
      if (n % 5 !== 4) assert.ok(n % 3 === 0 || roamer.records.has(`c t${n}`), "one's own write is there");
      if (n % 6 === 5) await pause(400);
    }
    await roamer.pull({ min: writer.min });
    assert.deepEqual(roamer.state(), (await runtime.truth(writer.sub)).state());
  });
});

describe("I4 and I8: KV's head gets to what is durable", { concurrency: 6 }, () => {
  const faults = [
    ["fails", headPut("error", { times: 2 })],
    ["fails but does", headPut("done-but-error", { times: 2 })],
    ["times out", headPut("timeout", { ms: 1500, times: 2 })],
    ["is refused with 429", headPut("limit", { times: 2 })],
    ["lands late", headPut("late", { ms: 3000, times: 2 })],
    ["is not answered and lands late", headPut("late", { ms: 3000, answer: "error", times: 2 })],
  ];
  for (const [what, rule] of faults) {
    test(`the put of a head ${what}: clients do not notice, and KV gets there`, async () => {
      const writer = newWriter();
      const reader = runtime.device(writer.sub, { at: "a" });
      await runtime.kv("home", writer.sub, { rules: [rule] });
      for (let n = 0; n < 6; n += 1) {
        await writer.push([put("t1", { n })]);
        await reader.pull({ min: writer.min });
        assert.deepEqual(reader.records.get("c t1").value, { n });
        await pause(300);
      }
      await published(writer);
      // A late put may still be under way: what counts is where the head stays. One that KV has acknowledged is
      // noticed by a reader alone.
      await pause(4500);
      await runtime.device(writer.sub, { at: "c" }).pull({ min: writer.min });
      await published(writer);
      const { counts } = await runtime.checkPuts(writer.sub);
      assert.equal(counts[`object.put.head.${rule.fault}`], rule.times, "the fault happened");
    });
  }

  test("the put of an object fails, or fails but does: the head waits for it", async () => {
    const writer = newWriter();
    const object = (fault) => ({ op: "put", key: "object", role: "object", fault });
    await runtime.kv("home", writer.sub, { rules: [object("error"), object("done-but-error")] });
    await writer.load("c", kilobytes(1200));
    await published(writer);
    assert.equal((await runtime.publishedState(writer.sub)).records.size, 1200);
    const { counts } = await runtime.checkPuts(writer.sub);
    assert.equal(counts["object.put.object.error"], 1, "the fault happened");
  });

  test("the first put lands after the second: the head is put once more, though nobody reads or writes", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [headPut("held", { answer: "error" })] });
    await writer.push([put("t1", { n: 1 })]);
    await eventually("a head is held back", async () => (await runtime.kv("home", writer.sub)).held === 1);
    await writer.push([put("t1", { n: 2 })]);
    await published(writer);
    await runtime.kv("home", writer.sub, { release: true });
    assert.equal((await runtime.head(writer.sub)).version, 1, "the first head stands over the second");
    assert.equal((await published(writer)).version, 2);
    await runtime.checkPuts(writer.sub);
  });

  test("the first put was answered, yet lands after the second: a reader who meets it has it put right", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [headPut("held")] });
    await writer.push([put("t1", { n: 1 })]);
    await eventually("a head is held back", async () => (await runtime.kv("home", writer.sub)).held === 1);
    await writer.push([put("t1", { n: 2 })]);
    await published(writer);
    await pause(5000);
    await runtime.kv("home", writer.sub, { release: true });
    assert.equal((await runtime.head(writer.sub)).version, 1, "the first head stands over the second");
    const reader = runtime.device(writer.sub, { at: "c" });
    await reader.pull({ min: writer.min });
    assert.deepEqual(reader.records.get("c t1").value, { n: 2 });
    assert.equal((await published(writer)).version, 2);
  });

  test("a push and a pull are answered while a put hangs", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { rules: [headPut("timeout", { ms: 8000 })] });
    await writer.push([put("t1")]);
    const puts = async () => (await runtime.kv("home", writer.sub)).puts;
    await eventually("the put hangs", async () => (await puts()).length === 1);
    await writer.push([put("t2")]);
    await writer.pull();
    assert.equal(writer.records.size, 2);
    const [hanging] = await puts();
    assert.deepEqual([hanging.outcome, hanging.landed], ["ok", false], "it is still under way");
    await published(writer);
  });

  test("more pushes than KV takes writes: refusals are few, and the head gets there", async () => {
    const writer = newWriter();
    await runtime.kv("home", writer.sub, { set: { writeSpacingMs: 1500 } });
    for (let n = 0; n < 30; n += 1) {
      await writer.push([put("t1", { n })]);
      await pause(150);
    }
    await published(writer);
    const { puts } = await runtime.checkPuts(writer.sub);
    assert.ok(puts.length <= 15, `${puts.length} puts in about six seconds`);
  });
});

describe("I5 and I7: what is missing is noticed, and no path brings other records", { concurrency: 4 }, () => {
  test("objects expired under a refreshed head: a first load comes from the coordinator, whole", async () => {
    const writer = await largeSpace();
    const namespace = await runtime.namespace();
    const objects = (await runtime.keys(writer.sub)).filter((key) => key.name.includes("/o/"));
    for (const key of objects) await namespace.delete(key.name);
    await writer.push([put("later")]);
    await published(writer);
    const took = await assertFirstLoad(writer, "a");
    assert.ok(took.sources.includes("coordinator") || took.connections > 1, took.sources.join());
  });

  test("one object of several gone in the middle of a stream: the rest is taken over", async () => {
    const writer = newWriter();
    await writer.load("c", kilobytes(5000));
    await published(writer);
    await pause(2000);
    const head = await runtime.head(writer.sub);
    const last = (head.base ?? head.delta).parts.at(-1);
    await (await runtime.namespace()).delete(`v1/${head.scope}/o/${last.sha256}`);
    await assertFirstLoad(writer, "b");
  });

  test("a head that is seen before its objects", async () => {
    const writer = await largeSpace();
    await runtime.kv("a", writer.sub, { set: { objectLagMs: 2000 } });
    await assertFirstLoad(writer, "a");
    assert.ok((await runtime.counts("a", writer.sub))["edge.get.object"] > 0, "an object was missed");
    await pause(2100);
    await runtime.kv("a", "*", { cache: "empty" });
    await assertFirstLoad(writer, "a");
  });

  test("a part that KV does not show at the first look is looked for once more, and the load stays with KV", async () => {
    const writer = await largeSpace();
    const parts = Object.values(await runtime.head(writer.sub)).flatMap((run) => run?.parts ?? []).length;
    await runtime.kv("b", writer.sub, { rules: [{ op: "get", key: "object", fault: "miss", times: 1 }] });
    const reader = runtime.device(writer.sub, { at: "b" });
    const { sources } = await reader.stream();
    assert.deepEqual(sources, ["kv"]);
    assert.deepEqual(reader.state(), (await runtime.truth(writer.sub)).state());
    assert.equal((await runtime.counts("b", writer.sub))["edge.get.object"], parts + 1);
  });

  for (const fault of ["error", "timeout", "miss"]) {
    test(`every read of KV ends in "${fault}": the coordinator serves`, async () => {
      const writer = await largeSpace();
      const rules = [{ op: "get", fault, ms: fault === "timeout" ? 300 : 0, rate: 1 }];
      await runtime.kv("c", writer.sub, { rules });
      await assertFirstLoad(writer, "c");
      await writer.push([put("new", {})]);
      const reader = runtime.device(writer.sub, { at: "c" });
      await reader.pull({ min: writer.min });
      assert.ok(reader.records.has("c new"));
      const { counts } = await runtime.kv("c", writer.sub);
      assert.ok(counts[`edge.get.head.${fault}`] > 0, "the fault happened");
    });
  }

  for (const fault of ["error", "timeout"]) {
    test(`every read of an object ends in "${fault}", while heads can be read: the coordinator serves`, async () => {
      const writer = await largeSpace();
      const rules = [{ op: "get", key: "object", fault, ms: fault === "timeout" ? 300 : 0, rate: 1 }];
      await runtime.kv("c", writer.sub, { rules });
      await assertFirstLoad(writer, "c");
    });
  }

  for (const read of ["JSON", "NDJSON"]) {
    test(`page 2 of ${read} at another location, after the head was replaced`, async () => {
      const writer = newWriter();
      await writer.load("c", kilobytes(3000));
      await published(writer);
      const device = runtime.device(writer.sub, { at: "a" });
      const replaceHead = async () => {
        await writer.push([remove(name(1)), remove(name(1500)), remove(name(2999)), put(name(2), { changed: true })]);
        await published(writer);
        device.at = "b";
      };
      if (read === "JSON") {
        let pages = 0;
        for await (const _ of device.pages()) if ((pages += 1) === 1) await replaceHead();
        assert.ok(pages > 2);
      } else {
        const once = (connection) => (connection === 1 ? replaceHead() : null);
        const took = await device.stream({ cutAt: 1, onCut: once });
        assert.ok(took.connections > 1, "a stream of 2 MB has a cursor line");
      }
      await device.pull({ min: writer.min });
      assert.deepEqual(device.state(), (await runtime.truth(writer.sub)).state());
    });
  }

  test("the namespace is emptied: readers are served, and what they miss is put again", async () => {
    const writer = await largeSpace();
    await runtime.kv("home", writer.sub, { empty: true });
    assert.deepEqual(await runtime.keys(writer.sub), []);
    await assertFirstLoad(writer, "a");
    await eventually("head and objects stand in KV again", async () => {
      await runtime.device(writer.sub, { at: "b" }).pull();
      await runtime.kv("b", "*", { cache: "empty" });
      const head = await runtime.head(writer.sub);
      if (!head) return false;
      const keys = new Set((await runtime.keys(writer.sub)).map((key) => key.name));
      const named = [head.delta, head.base].flatMap((run) => run?.parts ?? []);
      return named.every((part) => keys.has(`v1/${head.scope}/o/${part.sha256}`));
    });
    assert.equal((await runtime.publishedState(writer.sub)).records.size, 1200);
  });
});

describe("what the free plan gives for a day is used up", () => {
  const told = (where) => runtime.logs.join("").split("\n").filter((line) => line.includes('"used up for today"') && line.includes(where));

  test("rows, in turns of the alarm: all objects of an isolate say so in one line, however often the platform repeats them", async () => {
    const begun = runtime.logs.length;
    const writers = [newWriter(), newWriter(), newWriter()];
    for (const writer of writers) {
      // The push sets an alarm, and its turns cannot.
      await runtime.object(writer.sub, { rules: [{ call: "setAlarm", fault: "used up", skip: 1, times: 1000 }] });
      await writer.push([put("t")]);
    }
    for (const writer of writers) {
      await eventually("its alarm has met it twice", async () => (await runtime.object(writer.sub)).journal.filter(({ fault }) => fault).length >= 2);
      await runtime.object(writer.sub, { clear: true });
    }
    assert.equal(told("storage").length, 1, told("storage").join("\n"));
    assert.ok(!runtime.logs.slice(begun).join("").includes("publication failed"));
    for (const writer of writers) await published(writer);
  });

  test("rows or requests: 503 until midnight, and a line of the log an hour instead of one a request", async () => {
    const writer = newWriter();
    await writer.push([put("t1")]);
    for (const [call, where] of [["transactionSync", "storage"], ["fetch", "calls of objects"]]) {
      await runtime.object(writer.sub, { rules: [{ call, fault: "used up", times: 1000 }] });
      for (let n = 0; n < 3; n += 1) {
        const { status, body, response } = await writer.pushMutations([{ changes: [put("t2")] }]);
        assert.deepEqual([status, body.code], [503, "upstream"]);
        const seconds = Number(response.headers.get("retry-after"));
        assert.equal(body.retryAfter, seconds);
        const left = 86_400 - ((Date.now() / 1000) % 86_400);
        assert.ok(Math.abs(seconds - left) < 60, `${seconds} s, and the day has ${left}`);
      }
      await runtime.object(writer.sub, { clear: true });
      assert.equal(told(where).length, 1, told(where).join("\n"));
    }
    assert.equal((await writer.push([put("t2")])).status, "applied");
  });

  test("requests: a pull that KV can answer is answered", async () => {
    const writer = newWriter();
    await writer.push([put("t1")]);
    await published(writer);
    await runtime.object(writer.sub, { rules: [{ call: "fetch", fault: "used up", times: 1000 }] });
    const reader = runtime.device(writer.sub, { at: "b" });
    await reader.pull();
    assert.ok(reader.records.has("c t1"));
    const strong = await reader.askPull(reader.query({ consistency: "strong" }));
    assert.deepEqual([strong.status, strong.body.code], [503, "upstream"]);
    await runtime.object(writer.sub, { clear: true });
  });
});
