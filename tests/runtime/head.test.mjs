// GET /sync/head and GET /sync/objects/{sha256}.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { comparePositions } from "./published.mjs";

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

/** A published space of so many records of a kilobyte. */
async function space(count) {
  const writer = runtime.device(runtime.subject());
  await writer.load("c", Array.from({ length: count }, (_, at) => [`r${at}`, { at, s: "x".repeat(950) }]));
  await runtime.waitForPublished(writer.sub, writer.min);
  return writer;
}

describe("the head and its objects", { concurrency: 4 }, () => {
  test("/sync/head is the published head, which names objects that /sync/objects serves by their hash", async () => {
    const writer = await space(1000);
    const head = await runtime.head(writer.sub);
    const { status, text, response } = await writer.ask("/sync/head", { at: "a" });
    assert.equal(status, 200);
    const line = JSON.parse(text.split("\n")[0]);
    assert.deepEqual([line.epoch, line.version], [head.epoch, head.version]);
    const age = response.headers.get("headwater-age");
    assert.ok(/^\d+$/.test(age) && Number(age) < 60, `how old it is can be known without a clock: ${age}`);
    const parts = [line.delta, line.base].flatMap((run) => run?.parts ?? []);
    assert.ok(parts.length > 0);
    for (const { sha256 } of parts) {
      const object = await writer.ask(`/sync/objects/${sha256}`, { at: "a" });
      assert.equal(object.status, 200);
      assert.equal(createHash("sha256").update(object.text).digest("hex"), sha256);
      assert.equal(object.response.headers.get("cache-control"), "no-store");
    }
  });

  test("a hash that no current head names is 404, and KV is not asked for it", async () => {
    const [writer, other] = [await space(1000), await space(3)];
    const { sha256 } = (await runtime.head(writer.sub)).base.parts[0];
    const before = (await runtime.counts("a", other.sub))["edge.get.object"] ?? 0;
    for (const hash of [sha256, "0".repeat(64), "f".repeat(64)]) {
      const { status, body } = await other.ask(`/sync/objects/${hash}`, { at: "a" });
      assert.deepEqual([status, body.code], [404, "not_found"]);
    }
    for (const hash of ["x", sha256.toUpperCase(), `${sha256}0`, "..%2fhead"]) {
      const { status } = await other.ask(`/sync/objects/${hash}`, { at: "a" });
      assert.ok(status === 404 || status === 400, `${hash}: ${status}`);
    }
    assert.equal((await runtime.counts("a", other.sub))["edge.get.object"] ?? 0, before);
  });

  test("no head yet: 404, and a pull works all the same", async () => {
    const device = runtime.device(runtime.subject());
    assert.equal((await device.ask("/sync/head")).status, 404);
    await device.pull();
    assert.equal(device.version, 0);
  });

  test("the position of the head never passes what the coordinator has", async () => {
    const writer = await space(3);
    const head = await runtime.waitForPublished(writer.sub, writer.min);
    assert.equal(comparePositions(head.position, (await runtime.truth(writer.sub)).position), 0);
    await runtime.checkPuts(writer.sub);
  });
});
