// How much memory the module of an isolate takes in which many objects live. It never shrinks, and what the platform bounds is the
// isolate: here all objects live in that of "home", and the edges have isolates of their own, as in production.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startRuntime } from "./harness.mjs";

const MIB = 1024 * 1024;
const EDGES = ["one", "two", "three", "four", "five"];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let runtime;
before(async () => {
  const scriptPath = fileURLToPath(new URL("memory-entry.mjs", import.meta.url));
  runtime = await startRuntime({ locations: EDGES, worker: { scriptPath } });
});
after(() => runtime.stop());

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
});
