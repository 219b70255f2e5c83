// Deletions are forgotten at once here (RETAIN_TOMBSTONES_DAYS=0), so that what takes a month in production can be
// watched: nothing deleted returns (I7).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const remove = (id) => ({ op: "delete", collection: "c", id });
const name = (at) => `r${String(at).padStart(5, "0")}`;
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [name(at), { s: `${at} `.repeat(200) }]);

let runtime;
before(async () => {
  runtime = await startRuntime({ locations: ["a", "b", "c"], variables: { RETAIN_TOMBSTONES_DAYS: "0" } });
});
after(() => runtime.stop());

const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);

async function space(count) {
  const writer = runtime.device(runtime.subject());
  await writer.load("c", kilobytes(count));
  await published(writer);
  return writer;
}

/** Waits until the deletion made at `version` has been forgotten: who is older than that has to begin again. */
async function forgotten(writer, version) {
  const [epoch] = writer.min.split(".");
  await eventually(`the deletion at ${version} is forgotten`, async () => {
    const { body } = await writer.askPull({ epoch, since: version - 1, consistency: "strong" });
    return body.reset;
  });
}

async function assertSame(device, writer) {
  await device.pull({ min: writer.min });
  const truth = await runtime.truth(writer.sub);
  assert.deepEqual([device.version, device.state()], [truth.version, truth.state()]);
}

describe("after deletions are forgotten", { concurrency: 3 }, () => {
  for (const [size, count] of [["small", 50], ["large", 1200]]) {
    test(`in a ${size} space, the first load of a new device brings nothing deleted`, async () => {
      const writer = await space(count);
      const { version } = await writer.push([remove(name(7)), remove(name(count - 1))]);
      await published(writer);
      await forgotten(writer, version);
      await writer.push([put("later")]);
      await published(writer);
      for (const at of ["a", "b", "c"]) {
        const [one, two] = [runtime.device(writer.sub, { at }), runtime.device(writer.sub, { at })];
        await one.stream();
        await two.pull();
        for (const device of [one, two]) {
          assert.ok(!device.records.has(`c ${name(7)}`) && !device.records.has(`c ${name(count - 1)}`), at);
          await assertSame(device, writer);
        }
      }
      const { records } = await runtime.publishedState(writer.sub);
      assert.ok(!records.has(`c ${name(7)}`), "nor does it stand in KV");
      await runtime.checkPuts(writer.sub);
    });
  }

  test("a device that was away begins again, and one that was not goes on", async () => {
    const writer = await space(30);
    const [away, present] = [runtime.device(writer.sub), runtime.device(writer.sub)];
    await away.pull({ min: writer.min });
    const { version } = await writer.push([remove(name(3))]);
    await present.pull({ min: writer.min });
    await forgotten(writer, version);
    const took = await away.pull({ min: writer.min });
    assert.equal(took.resets, 1);
    assert.ok(!away.records.has(`c ${name(3)}`));
    await writer.push([put("later")]);
    assert.equal((await present.pull({ min: writer.min })).resets, 0);
    await assertSame(away, writer);
    await assertSame(present, writer);
  });

  test("a location that still shows the head of before sends no deleted record into the present", async () => {
    const writer = await space(1200);
    await runtime.kv("c", writer.sub, { set: { staleMs: 3_600_000 } });
    await runtime.device(writer.sub, { at: "c" }).stream();
    const { version } = await writer.push([remove(name(7))]);
    await published(writer);
    await forgotten(writer, version);
    await writer.push([put("later")]);
    await runtime.kv("c", "*", { cache: "empty" });
    const device = runtime.device(writer.sub, { at: "c" });
    await device.stream();
    await assertSame(device, writer);
    const direct = runtime.device(writer.sub, { at: "c" });
    await direct.stream({ min: writer.min });
    assert.ok(!direct.records.has(`c ${name(7)}`), "head of before and newer part are not joined");
    await assertSame(direct, writer);
  });

  for (const read of ["a first load", "an increment"]) {
    test(`a purge between two pages of ${read}`, async () => {
      const writer = await space(read === "an increment" ? 900 : 1500);
      const device = runtime.device(writer.sub, { at: "a" });
      if (read === "an increment") {
        await device.pull({ min: writer.min });
        await writer.load("c", kilobytes(900).map(([id, value]) => [id, { ...value, again: true }]));
        await writer.load("c", kilobytes(300).map(([id, value]) => [`n${id}`, value]));
      }
      let pages = 0;
      for await (const _ of device.pages({ min: writer.min })) {
        pages += 1;
        if (pages !== 1) continue;
        const { version } = await writer.push([remove(name(0)), remove(name(450)), remove(name(899))]);
        await published(writer);
        await forgotten(writer, version);
        device.at = "b";
      }
      assert.ok(pages > 1, "there was a page to come");
      await assertSame(device, writer);
    });
  }

  test("a deletion made while the base is being put comes back neither from it nor from what follows", async () => {
    const writer = await space(1200);
    // The first deletion has the base put anew; the second is made when that part has been cut, but not yet put.
    const slow = { op: "put", key: "object", role: "object", fault: "slow", ms: 2500 };
    const { puts: before } = await runtime.kv("home", writer.sub, { rules: [slow] });
    await writer.push([remove(name(1))]);
    await eventually("a part is being put", async () => {
      const { puts } = await runtime.kv("home", writer.sub);
      return puts.slice(before.length).some((entry) => entry.kind === "object" && !entry.landed);
    });
    const { version } = await writer.push([remove(name(2))]);
    await published(writer);
    await forgotten(writer, version);
    await writer.push([put("later")]);
    await published(writer);
    const device = runtime.device(writer.sub, { at: "b" });
    await device.stream();
    assert.ok(!device.records.has(`c ${name(2)}`) && !device.records.has(`c ${name(1)}`));
    await assertSame(device, writer);
    const { records } = await runtime.publishedState(writer.sub);
    assert.ok(!records.has(`c ${name(2)}`), "nor does it stand in KV");
  });

  test("a stream cut after its first part goes on at another location, when that part's base is gone", async () => {
    const writer = await space(4000);
    const device = runtime.device(writer.sub, { at: "a" });
    const took = await device.stream({
      cutAt: 1,
      onCut: async (connection) => {
        if (connection !== 1) return;
        const { version } = await writer.push([remove(name(3)), remove(name(2000)), remove(name(3999))]);
        await published(writer);
        await forgotten(writer, version);
        device.at = "b";
      },
    });
    assert.ok(took.connections > 1, "the stream was cut");
    await assertSame(device, writer);
  });
});

// Last and alone, because it restarts what the others use.
describe("after a restart", () => {
  test("a deletion forgotten leaves versions that are used once", async () => {
    const writer = await space(5);
    const { version } = await writer.push([remove(name(0))]);
    await forgotten(writer, version);
    assert.equal((await writer.push([put("next")])).version, version + 1);
    await runtime.restart();
    const { version: last } = await writer.push([remove("next")]);
    await forgotten(writer, last);
    await runtime.restart();
    assert.equal((await writer.push([put("next")])).version, last + 1);
  });
});
