// What meets inside one isolate or one object, and the core cannot see: pushes while a put is open, an alarm while a push
// waits, clients that hang up, requests of several spaces at once. Every wait is held open by the test until the other
// side has done what it is to meet, so no schedule is left to chance.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const add = { op: "add", collection: "c", id: "sum", path: "n", by: 1, orPut: { n: 1 } };
const openPut = (more) => ({ op: "put", key: "head", role: "object", fault: "open", ...more });
const heldCall = (call, more) => ({ call, fault: "held", ...more });
const range = (count) => Array.from({ length: count }, (_, at) => at);

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b"] })));
after(() => runtime.stop());

const newDevice = (at) => runtime.device(runtime.subject(), { at });
const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);
const kvOf = (writer, command) => runtime.kv("home", writer.sub, command);
const objectOf = (writer, command) => runtime.object(writer.sub, command);
const isOpen = (writer) => eventually("a put is open", async () => (await kvOf(writer)).held === 1);
const isHeld = (writer) => eventually("a call is held", async () => (await objectOf(writer)).held > 0);
const calls = async (writer, name) => (await objectOf(writer)).journal.filter((entry) => entry.call === name).length;
const body = (device, id, changes) => ({ client: device.id, mutations: [{ id, changes }] });

/** KV's head, its runs and the coordinator agree, and what was put keeps I4 to I6. */
async function assertTogether(writer) {
  await published(writer);
  const truth = await runtime.truth(writer.sub);
  const { records } = await runtime.publishedState(writer.sub);
  const inKv = [...records].map(([key, { value }]) => [key, value]).toSorted(([a], [b]) => (a < b ? -1 : 1));
  assert.deepEqual(inKv, truth.state());
  await runtime.checkPuts(writer.sub);
  return truth;
}

describe("pushes while a publication is under way", { concurrency: 4 }, () => {
  for (const [what, release] of [["lands", true], ["fails", "fail"]]) {
    test(`pushes are answered while a put is open; it ${what}, and the next publication carries them`, async () => {
      const writer = newDevice("home");
      await kvOf(writer, { rules: [openPut()] });
      await writer.push([add]);
      await isOpen(writer);
      for (const n of range(5)) await writer.push([add, put(`t${n}`, { n })]);
      const { puts } = await kvOf(writer);
      assert.deepEqual([puts.length, puts[0].landed, puts[0].version], [1, false, 1], "one put, still open");
      await kvOf(writer, { release });
      const truth = await assertTogether(writer);
      assert.deepEqual([truth.version, truth.records.get("c sum").value], [6, { n: 6 }]);
      if (release === true) return;
      // What failed lands after all, and above the newer one.
      await kvOf(writer, { release: true });
      assert.equal((await runtime.head(writer.sub)).version, 1, "the first head stands over the second");
      await assertTogether(writer);
    });
  }

  test("pushes that come while the one before becomes durable share a transaction, also while a put is open", async () => {
    const writer = newDevice("home");
    await kvOf(writer, { rules: [openPut()] });
    await writer.push([add]);
    await isOpen(writer);
    await objectOf(writer, { rules: [heldCall("sync")] });
    await writer.push([add]);
    const before = await calls(writer, "transactionSync");
    const devices = range(8).map(() => runtime.device(writer.sub));
    const answers = devices.map((device) => device.post(body(device, 1, [add])));
    // Sent after them and answered without waiting: by then they have arrived.
    for (const device of devices) assert.equal((await device.post("{}")).status, 400);
    assert.equal(await calls(writer, "transactionSync"), before, "they wait");
    await objectOf(writer, { release: true });
    const results = (await Promise.all(answers)).map((answer) => answer.body.results[0]);
    assert.deepEqual(results.map((result) => result.status), results.map(() => "applied"));
    assert.deepEqual(results.map((result) => result.version).toSorted((a, b) => a - b), range(8).map((at) => at + 3));
    assert.equal(await calls(writer, "transactionSync"), before + 1, "one transaction for all of them");
    await kvOf(writer, { release: true });
    writer.min = `${writer.min.split(".")[0]}.10`;
    assert.deepEqual((await assertTogether(writer)).records.get("c sum").value, { n: 10 });
  });

  test("when durability cannot be had, who waits for it is told to repeat, and repeated is applied once", async () => {
    const writer = newDevice("home");
    await objectOf(writer, { rules: [heldCall("sync")] });
    await writer.push([add]);
    const devices = range(4).map(() => runtime.device(writer.sub));
    const answers = devices.map((device) => device.post(body(device, 1, [add])));
    for (const device of devices) assert.equal((await device.post("{}")).status, 400);
    await objectOf(writer, { release: "fail" });
    assert.deepEqual((await Promise.all(answers)).map((answer) => [answer.status, answer.body.code]), [
      ...devices.map(() => [503, "upstream"]),
    ]);
    for (const device of devices) {
      const again = await device.post(body(device, 1, [add]));
      assert.deepEqual([again.status, again.body.results[0].status], [200, "applied"]);
    }
    assert.deepEqual((await runtime.truth(writer.sub)).records.get("c sum").value, { n: 5 });
  });

  test("readers at every location get all that was acknowledged while a put is open", async () => {
    const writer = newDevice("home");
    await writer.push([put("t0")]);
    await published(writer);
    await kvOf(writer, { rules: [openPut()] });
    await writer.push([put("t1")]);
    await isOpen(writer);
    await writer.push([put("t2")]);
    const readers = range(30).map((at) => runtime.device(writer.sub, { at: ["home", "a", "b"][at % 3] }));
    await Promise.all(readers.map((reader, at) => reader[at % 2 ? "stream" : "pull"]({ min: writer.min })));
    for (const reader of readers) assert.deepEqual(reader.state().map(([key]) => key), ["c t0", "c t1", "c t2"]);
    await kvOf(writer, { release: true });
    await assertTogether(writer);
  });
});

describe("the alarm meets pushes", { concurrency: 4 }, () => {
  test("a push during the first await of a turn is answered, and is in the head of that turn", async () => {
    const writer = newDevice("home");
    // The first alarm is set by the push, the second by the turn, before anything else.
    await objectOf(writer, { rules: [heldCall("setAlarm", { skip: 1 })] });
    await writer.push([put("t1")]);
    await isHeld(writer);
    await writer.push([put("t2")]);
    assert.equal((await kvOf(writer)).puts.length, 0);
    await objectOf(writer, { release: true });
    await assertTogether(writer);
    assert.equal((await kvOf(writer)).puts[0].version, 2);
  });

  test("an alarm while pushes wait for their transaction publishes what is durable, and then them", async () => {
    const writer = newDevice("home");
    await objectOf(writer, { rules: [heldCall("sync")] });
    await writer.push([add]);
    const other = runtime.device(writer.sub);
    const answer = other.post(body(other, 1, [add]));
    assert.equal((await other.post("{}")).status, 400);
    await eventually("the alarm has published", async () => (await runtime.head(writer.sub))?.version === 1);
    await objectOf(writer, { release: true });
    assert.equal((await answer).body.results[0].version, 2);
    writer.min = `${writer.min.split(".")[0]}.2`;
    await assertTogether(writer);
  });

  test("an alarm while the body of a push arrives slowly takes no notice of it, nor do other pushes", async () => {
    const writer = newDevice("home");
    await writer.push([add]);
    const slow = runtime.device(writer.sub);
    const text = JSON.stringify(body(slow, 1, [add]));
    const { sending, answer } = await beginPush(slow, text.length);
    sending.write(text.slice(0, 20));
    await writer.push([add]);
    await published(writer);
    sending.end(text.slice(20));
    const { status, text: answered } = await answer;
    assert.deepEqual([status, JSON.parse(answered).results[0].version], [200, 3]);
    writer.min = `${writer.min.split(".")[0]}.3`;
    await assertTogether(writer);
  });

  test("a push and a pull that open an object together with its alarm find one space", async () => {
    const writer = newDevice("home");
    const devices = range(6).map(() => runtime.device(writer.sub));
    await objectOf(writer, { rules: [heldCall("getAlarm", { times: 12 })], alarm: Date.now() + 500 });
    const pushes = devices.map((device) => device.post(body(device, 1, [add])));
    const pulls = devices.map((device) => device.askPull({ consistency: "strong" }));
    await eventually("events wait for the space to be opened", async () => (await objectOf(writer)).held >= 8);
    await objectOf(writer, { rules: [], release: true });
    await eventually("none is left", async () => (await objectOf(writer, { release: true })).held === 0);
    const pushed = await Promise.all(pushes);
    const pulled = await Promise.all(pulls);
    const epochs = new Set([...pushed, ...pulled].map((answer) => answer.body.epoch));
    assert.equal(epochs.size, 1, "one epoch was begun");
    const versions = pushed.map((answer) => answer.body.results[0].version);
    assert.deepEqual(versions.toSorted((a, b) => a - b), range(6).map((at) => at + 1));
    writer.min = `${[...epochs][0]}.6`;
    await assertTogether(writer);
  });
});

/** Begins a push whose body the test sends by itself; the promise of the answer is rejected when the connection breaks. */
async function beginPush(device, length) {
  const headers = { authorization: `Bearer ${device.token}`, "content-type": "application/json" };
  const sized = length === undefined ? headers : { ...headers, "content-length": length };
  const sending = request(`${await runtime.url(device.at)}/sync/push`, { method: "POST", headers: sized });
  const answer = new Promise((resolve, reject) => {
    sending.on("error", reject);
    sending.on("response", async (response) => {
      const chunks = await response.toArray().catch(reject);
      resolve({ status: response.statusCode, text: Buffer.concat(chunks ?? []).toString() });
    });
  });
  answer.catch(() => {});
  return { sending, answer };
}

describe("clients that hang up", { concurrency: 4 }, () => {
  for (const [how, announced] of [["its length announced", true], ["its length not announced", false]]) {
    test(`in the middle of a push body, ${how}: nothing of it is applied, and the space goes on`, async () => {
      const device = newDevice("a");
      await device.push([add]);
      const text = JSON.stringify(body(device, 2, [add, put("big", { s: "x".repeat(100_000) })]));
      for (const part of [1, 50, 60_000, text.length - 1]) {
        const { sending } = await beginPush(device, announced ? text.length : undefined);
        await new Promise((resolve) => sending.write(text.slice(0, part), resolve));
        sending.destroy();
      }
      const again = await device.post(text);
      assert.deepEqual([again.body.results[0].version, again.body.results[0].duplicate], [2, undefined]);
      assert.deepEqual((await runtime.truth(device.sub)).records.get("c sum").value, { n: 2 });
    });
  }

  test("a body whose end is missing but whose connection stays holds nobody up", async () => {
    const device = newDevice("home");
    const unfinished = await Promise.all(range(10).map(() => beginPush(device, 1000)));
    for (const { sending } of unfinished) sending.write('{"client":');
    for (const n of range(5)) assert.equal((await device.push([add])).version, n + 1);
    await published(device);
    for (const { sending } of unfinished) sending.destroy();
    assert.equal((await device.push([add])).version, 6);
    await assertTogether(device);
  });

  test("while a push waits for its transaction: whole or absent, and those that share it are answered", async () => {
    const writer = newDevice("home");
    await objectOf(writer, { rules: [heldCall("sync")] });
    await writer.push([add]);
    const [gone, stays] = [runtime.device(writer.sub), runtime.device(writer.sub)];
    const text = JSON.stringify(body(gone, 1, [add, put("of-the-gone")]));
    const { sending } = await beginPush(gone, text.length);
    await new Promise((resolve) => sending.end(text, resolve));
    assert.equal((await gone.post("{}")).status, 400);
    const answer = stays.post(body(stays, 1, [add]));
    assert.equal((await stays.post("{}")).status, 400);
    sending.destroy();
    await objectOf(writer, { release: true });
    assert.equal((await answer).body.results[0].status, "applied");
    assert.equal((await gone.post(text)).body.results[0].status, "applied");
    const truth = await runtime.truth(writer.sub);
    assert.deepEqual(truth.records.get("c sum").value, { n: 3 }, "all three, each once");
    assert.ok(truth.records.has("c of-the-gone"));
    writer.min = truth.position;
    await assertTogether(writer);
  });

  for (const consistency of ["session", "strong"]) {
    test(`in the middle of a streamed load (${consistency}): the space and the location go on`, async () => {
      const writer = newDevice("home");
      await writer.load("c", range(4000).map((at) => [`r${at}`, { s: `${at} `.repeat(250) }]));
      await published(writer);
      for (const at of ["a", "a", "a", "b"]) {
        const stop = new AbortController();
        const headers = { authorization: `Bearer ${writer.token}`, accept: "application/x-ndjson" };
        const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]);
        const response = await runtime.fetch(at, `/sync/pull?consistency=${consistency}`, { headers, signal });
        const source = response.headers.get("headwater-source");
        assert.ok(consistency === "session" ? source !== "edge" : source === "coordinator", source);
        const reader = response.body.getReader();
        await reader.read();
        stop.abort();
        await reader.closed.catch(() => {});
      }
      await writer.push([put("later")]);
      const reader = runtime.device(writer.sub, { at: "a" });
      await reader.stream({ min: writer.min });
      assert.equal(reader.records.size, 4001);
      await assertTogether(writer);
    });
  }
});

describe("spaces in one isolate", () => {
  test("many spaces at once, while KV answers late: nobody gets what is another's", async () => {
    const devices = range(12).map(() => newDevice("a"));
    await runtime.kv("a", "*", { rules: [{ op: "get", role: "edge", fault: "slow", ms: 40, rate: 0.5 }] });
    await Promise.all(
      devices.map(async (device, who) => {
        for (const n of range(8)) {
          const envelope = n % 2 ? { since: 0 } : {};
          const answer = await device.pushMutations([{ changes: [put(`of-${who}-${n}`, { who })] }], envelope);
          assert.equal(answer.body.results[0].version, n + 1);
          if (n % 2) assert.deepEqual(answer.body.changes.map((change) => change.value.who), range(n + 1).map(() => who));
          const reader = runtime.device(device.sub, { at: ["a", "b", "home"][n % 3] });
          await (n % 2 ? reader.stream({ min: device.min }) : reader.pull({ min: device.min }));
          assert.deepEqual(reader.state(), range(n + 1).map((at) => [`c of-${who}-${at}`, { who }]));
          assert.equal(reader.position, device.min);
        }
      }),
    );
    await runtime.kv("a", "*", { clear: true });
    for (const device of devices) await assertTogether(device);
  });
});

// Last and alone, because it restarts what the others use.
describe("an isolate that begins", () => {
  test("its first requests, many and at once, are answered each with its own", async () => {
    const devices = range(8).map((at) => newDevice(["home", "a"][at % 2]));
    for (const [who, device] of devices.entries()) await device.push([put(`of-${who}`, { who })]);
    await runtime.restart();
    const answers = await Promise.all(
      devices.flatMap((device, who) => [
        device.post(body(device, 2, [put("next", { who })])),
        device.askPull({ min: device.min }),
        device.askPull({ consistency: "strong" }),
        device.ask("/health"),
      ]),
    );
    assert.deepEqual(answers.map((answer) => answer.status), answers.map(() => 200));
    for (const [who, device] of devices.entries()) {
      const [pushed, ...pulls] = answers.slice(4 * who, 4 * who + 3);
      assert.equal(pushed.body.results[0].version, 2);
      for (const { body: pulled } of pulls) {
        const keys = pulled.changes.map((change) => change.id).toSorted();
        assert.deepEqual(keys, pulled.version === 1 ? [`of-${who}`] : ["next", `of-${who}`]);
        assert.ok(pulled.changes.every((change) => change.value.who === who));
      }
      await runtime.waitForPublished(device.sub, `${device.min.split(".")[0]}.2`);
    }
  });
});
