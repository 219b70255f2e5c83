// How much memory the module of an isolate takes in which many objects live. It never shrinks, and what the platform bounds is the
// isolate: here all objects live in that of "home", and the edges have isolates of their own, as in production.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startRuntime } from "./harness.mjs";

const MIB = 1024 * 1024;
const EDGES = ["one", "two", "three", "four", "five"];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Each test has a module of its own.
let runtime;
beforeEach(async () => {
  const scriptPath = fileURLToPath(new URL("memory-entry.mjs", import.meta.url));
  runtime = await startRuntime({ locations: EDGES, worker: { scriptPath } });
});
afterEach(() => runtime.stop());

const memory = async () => (await runtime.fetch("home", "/__memory")).json();

/** A push of so many mutations, each of one record with a value of so many bytes. */
function pushOf(device, mutations, bytes) {
  const value = { text: "x".repeat(bytes) };
  const of = (at) => ({ id: at + 1, changes: [{ op: "put", collection: "c", id: `${device.id}-${at}`, value }] });
  return JSON.stringify({ client: device.id, mutations: Array.from({ length: mutations }, (_, at) => of(at)) });
}

/** Sends a push until it is taken, as a client does. */
async function pushed(device, body) {
  for (let sent = 0; sent < 60; sent += 1) {
    // Where this machine has much else to do, the runtime may close a connection.
    const answer = await device.post(body).catch(() => null);
    if (answer?.status === 200) return;
    // No place within ten seconds, or no answer within 25.
    const isKnown = answer === null || (answer.status === 503 && ["overloaded", "upstream"].includes(answer.body?.code));
    assert.ok(isKnown, answer?.text);
    await pause(1000);
  }
  assert.fail("a push is taken at last");
}

/** A push of 200 KB of which as much is made as can be: its two mutations list as many values as they may. */
function hostileOf(device) {
  const values = Array.from({ length: 10_000 }, () => "xxxxxxx");
  const of = (id) => ({ id, changes: [{ op: "include", collection: "c", id: `${device.id}-${id}`, path: "a", values }] });
  return JSON.stringify({ client: device.id, mutations: [of(1), of(2)] });
}

describe("the module's memory", { timeout: 300_000 }, () => {
  test("400 spaces that were used once, with tails of 200 KB, leave less than 20 MiB in the module", async () => {
    const before = await memory();
    for (let at = 0; at < 400; at += 10) {
      await Promise.all(Array.from({ length: 10 }, async (_, more) => {
        const device = runtime.device(runtime.subject("once"), { at: EDGES[more % EDGES.length] });
        await pushed(device, pushOf(device, 1, 200_000));
        await device.pull({ consistency: "strong" });
        assert.equal(device.records.size, 1);
      }));
    }
    const mib = (await memory() - before) / MIB;
    assert.ok(mib < 20, `${mib.toFixed(1)} MiB`);
  });

  test("32 pushes of 4 MB at once to 24 spaces are all taken, and take less than 40 MiB of the module", async () => {
    const devices = Array.from({ length: 32 }, (_, at) => ({ sub: `memory-${at % 24}`, at: EDGES[at % EDGES.length] }))
      .map(({ sub, at }) => runtime.device(sub, { at }));
    const bodies = devices.map((device) => pushOf(device, 500, 7_850));
    for (const body of bodies) assert.ok(body.length > 3_950_000 && body.length < 4 * MIB, `${body.length}`);
    const before = await memory();
    await Promise.all(devices.map((device, at) => pushed(device, bodies[at])));
    const mib = (await memory() - before) / MIB;
    assert.ok(mib < 40, `${mib.toFixed(1)} MiB`);
  });

  test("120 hostile pushes of 200 KB at once, of one user and of many, are all taken, and take less than 20 MiB of the module", async () => {
    const of = (at) => runtime.device(at % 3 === 0 ? "hostile" : `hostile-${at % 30}`, { at: EDGES[at % EDGES.length] });
    const devices = Array.from({ length: 120 }, (_, at) => of(at));
    const bodies = devices.map(hostileOf);
    for (const body of bodies) assert.ok(body.length > 190_000 && body.length < 210_000, `${body.length}`);
    const before = await memory();
    await Promise.all(devices.map((device, at) => pushed(device, bodies[at])));
    const mib = (await memory() - before) / MIB;
    assert.ok(mib < 20, `${mib.toFixed(1)} MiB`);
  });
});
