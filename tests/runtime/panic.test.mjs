// A panic ends the WebAssembly instance, and with it whatever else was under way in the isolate: requests for other
// spaces, streams, publications. All of that must be answered or end, and go on when it is repeated (I2, I8, I11).
//
// The panic is a genuine one: a row is damaged, and the Worker refuses to go on with it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const patch = (id) => ({ op: "patch", collection: "c", id, set: { patched: true } });
const add = { op: "add", collection: "c", id: "sum", path: "n", by: 1, orPut: { n: 1 } };
const DAMAGED = "a row that is damaged";

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop({ mayPanic: true }));

const panics = () => runtime.logs.filter((text) => text.includes("BUG: a stored line does not belong to its key")).length;

/** A space whose next push panics. */
async function damagedSpace() {
  const device = runtime.device(runtime.subject("damaged"), { at: "a" });
  await device.push([put("x", { whole: true })]);
  await device.push([put("y")]);
  // No alarm of its own will begin the next instance of the module, and so end what waits.
  await runtime.waitForPublished(device.sub, device.min);
  await eventually("no alarm is left", async () => (await runtime.object(device.sub)).rests);
  const { rows } = await runtime.object(device.sub, { sql: [["SELECT line FROM records WHERE id = 'x'"]] });
  await runtime.object(device.sub, { sql: [["UPDATE records SET line = ? WHERE id = 'x'", DAMAGED]] });
  const repair = () => runtime.object(device.sub, { sql: [["UPDATE records SET line = ? WHERE id = 'x'", rows[0][0][0]]] });
  return { device, repair };
}

/** Makes the module panic, and does not go on before it has. */
async function panic(device) {
  const before = panics();
  const answer = await device.pushMutations([{ changes: [patch("x")] }]);
  assert.equal(answer.status, 503, answer.text);
  await eventually("the Worker has panicked", () => panics() > before);
}

/** A space with a push that waits for the durability of the one before; the promise of its answer. */
async function waitingPush(at) {
  const device = runtime.device(runtime.subject(), { at });
  await device.push([add]);
  await runtime.object(device.sub, { rules: [{ call: "sync", fault: "held" }] });
  await device.push([add]);
  const body = { client: device.id, mutations: [{ id: 3, changes: [add] }] };
  const answer = device.post(body);
  // One that is sent after it and is answered without waiting: by then this one has arrived.
  assert.equal((await device.post("{}")).status, 400);
  return { device, body, answer };
}

/** Sends a push again until it is taken, as a client does, and returns the answer. */
const repeated = (device, body) =>
  eventually("a repeated push is taken", async () => {
    const answer = await device.post(body);
    if (answer.status === 200) return answer;
    assert.ok([503, 500].includes(answer.status), answer.text);
    return null;
  });

test("requests of other spaces that are under way are told to repeat, and repeated are applied once", async () => {
  const { device: damaged, repair } = await damagedSpace();
  const waiting = [await waitingPush("home"), await waitingPush("home"), await waitingPush("a")];
  await panic(damaged);
  for (const { device, body, answer } of waiting) {
    const { status, body: problem, response } = await answer;
    assert.equal(status, 503);
    assert.deepEqual([problem.code, problem.request], ["upstream", response.headers.get("headwater-request")]);
    assert.ok(response.headers.get("retry-after"), "it says when");
    const again = await repeated(device, body);
    assert.equal(again.body.results[0].status, "applied");
    const truth = await runtime.truth(device.sub);
    assert.deepEqual(truth.records.get("c sum").value, { n: 3 }, "each addition once, none lost");
    assert.equal(truth.version, 3);
  }
  await repair();
  const body = { client: damaged.id, mutations: [{ id: 3, changes: [patch("x")] }] };
  assert.equal((await repeated(damaged, body)).body.results[0].version, 3, "what panicked left nothing behind");
  assert.deepEqual((await runtime.truth(damaged.sub)).records.get("c x").value, { whole: true, patched: true });
});

test("the answer that says so can be read by the page that asked", async () => {
  const { device: damaged } = await damagedSpace();
  const origin = "https://app.test";
  for (const at of ["home", "a"]) {
    const body = { client: damaged.id, mutations: [{ id: 3, changes: [patch("x")] }] };
    const { status, response } = await damaged.post(body, { at, headers: { origin } });
    assert.equal(status, 503);
    assert.equal(response.headers.get("access-control-allow-origin"), origin);
    assert.equal(response.headers.get("content-type")?.split(";")[0], "application/problem+json");
  }
});

test("a pull that waits for KV in the same isolate is answered, and serves everything when repeated", async () => {
  const { device: damaged } = await damagedSpace();
  const writer = runtime.device(runtime.subject());
  await writer.push([put("t", { n: 1 })]);
  await runtime.waitForPublished(writer.sub, writer.min);
  const rules = [{ op: "get", role: "edge", key: "head", fault: "slow", ms: 3000 }];
  await runtime.kv("home", "*", { cache: "empty" });
  await runtime.kv("home", writer.sub, { rules });
  const reader = runtime.device(writer.sub);
  // A load as a stream: after the push any other pull asks the coordinator.
  const pull = reader.askPull({}, { accept: "application/x-ndjson" });
  await eventually("KV is asked", async () => (await runtime.counts("home", writer.sub))["edge.get.head.slow"] === 1);
  await panic(damaged);
  assert.equal((await pull).status, 503);
  await reader.pull({ min: writer.min });
  assert.deepEqual(reader.records.get("c t").value, { n: 1 });
});

test("a publication that is under way is made up for by the object alone", async () => {
  const { device: damaged } = await damagedSpace();
  const writer = runtime.device(runtime.subject());
  await runtime.kv("home", writer.sub, { rules: [{ op: "put", key: "head", role: "object", fault: "open" }] });
  await writer.push([put("t", { n: 1 })]);
  await eventually("a put is open", async () => (await runtime.kv("home", writer.sub)).held === 1);
  await panic(damaged);
  const head = await runtime.waitForPublished(writer.sub, writer.min);
  assert.equal(head.version, 1);
  await runtime.checkPuts(writer.sub);
});

test("a stream that the module writes ends without its last line, and is continued", async () => {
  const { device: damaged } = await damagedSpace();
  const writer = runtime.device(runtime.subject());
  // More than the connection holds by itself, so that the module waits for this reader, who does not read yet.
  const large = (at) => ({ s: `${at} `.repeat(60_000).slice(0, 200_000) });
  await writer.load("c", Array.from({ length: 120 }, (_, at) => [`r${at}`, large(at)]));
  const accepts = { accept: "application/x-ndjson", "accept-encoding": "identity" };
  const headers = { authorization: `Bearer ${writer.token}`, ...accepts };
  const response = await runtime.fetch("home", "/sync/pull?consistency=strong", { headers });
  assert.deepEqual([response.status, response.headers.get("headwater-source")], [200, "coordinator"]);
  await panic(damaged);
  const text = await response.text().catch((error) => error.name);
  assert.notEqual(text, "TimeoutError", "it comes to an end");
  assert.ok(!text.includes('{"end":true'), "it was broken off");
  await writer.stream({ consistency: "strong" });
  assert.equal(writer.records.size, 120);
});

test("panics one after the other, while spaces are written and read: nothing acknowledged is lost or doubled", async () => {
  const { device: damaged } = await damagedSpace();
  const writers = Array.from({ length: 4 }, (_, at) => runtime.device(runtime.subject(), { at: at % 2 ? "a" : "home" }));
  let isOver = false;
  const live = async (device) => {
    let [acknowledged, repeats] = [0, 0];
    while (!isOver) {
      const id = acknowledged + 1;
      const answer = await device.post({ client: device.id, mutations: [{ id, changes: [add] }] });
      assert.ok([200, 500, 503].includes(answer.status), answer.text);
      if (answer.status === 200) acknowledged = id;
      else repeats += 1;
      const pulled = await device.askPull({ consistency: id % 2 ? "strong" : "session" });
      assert.ok([200, 500, 503].includes(pulled.status), pulled.text);
    }
    return { acknowledged, repeats };
  };
  const lives = writers.map(live);
  for (let n = 0; n < 12; n += 1) {
    await panic(damaged);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  isOver = true;
  for (const [at, { acknowledged }] of (await Promise.all(lives)).entries()) {
    const truth = await runtime.truth(writers[at].sub);
    // The last push may have been applied though its answer was lost: then the number is one more, and stays so.
    const { n } = truth.records.get("c sum").value;
    assert.ok(n === acknowledged || n === acknowledged + 1, `${n} applied, ${acknowledged} acknowledged`);
    assert.equal(truth.version, n);
    const id = acknowledged + 1;
    await repeated(writers[at], { client: writers[at].id, mutations: [{ id, changes: [add] }] });
    const after = await runtime.truth(writers[at].sub);
    assert.deepEqual([after.version, after.records.get("c sum").value], [id, { n: id }]);
    await runtime.waitForPublished(writers[at].sub, after.position);
  }
});
