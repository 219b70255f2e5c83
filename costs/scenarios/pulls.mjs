// Pulls of private spaces with the default settings, by the layer that answers them. What a script says it counts, it asserts by the
// source that the answer names.

import assert from "node:assert/strict";
import { poll, put, records } from "../stage.mjs";

const N = 6;
const SECOND = 1000;
/** Longer than any layer takes what it knows for new, and than a script takes. */
const LATER = 100 * SECOND;

/** A user with so many records, a writer at "here", and a reader at "a" who has them. */
async function space(stage, count = 20) {
  const sub = stage.user("pulls");
  const writer = stage.device(sub, { at: "here" });
  await writer.load("c", records(count, 200));
  const reader = stage.device(sub, { at: "a" });
  await stage.pin("a", 0);
  await reader.pull();
  return { sub, writer, reader };
}

async function nothingNew(stage) {
  const { reader } = await space(stage);
  await poll(reader);
  await stage.each("pull.nothing.memory", N, () => stage.pin("a", 100), () => poll(reader, { source: "edge" }));
  await stage.each("pull.nothing.cache", N, (at) => stage.pin("a", (at + 1) * 2 * SECOND), () => poll(reader, { source: "edge" }));
  const later = (at) => stage.pin("a", (10 + at) * LATER);
  await stage.each("pull.nothing.coordinator", N, later, () => poll(reader, { source: "coordinator" }));
}

async function oneChange(stage) {
  const { writer, reader } = await space(stage);
  const behind = { epoch: reader.epoch, since: reader.version };
  const ask = async (source, fields = behind) => {
    const { status, text, body, response } = await reader.askPull(fields);
    assert.equal(status, 200, text);
    assert.deepEqual([body.changes.length, response.headers.get("headwater-source")], [1, source]);
  };
  await writer.push([put("r1", { n: 1 })]);
  await ask("coordinator", { ...behind, min: writer.min });
  await stage.each("pull.change.memory", N, () => stage.pin("a", 100), () => ask("edge"));
  await stage.each("pull.change.cache", N, (at) => stage.pin("a", (at + 1) * 2 * SECOND), () => ask("edge"));
  const write = async (at) => {
    await reader.pull({ min: writer.min });
    await writer.push([put("r1", { n: 2 + at })]);
    await stage.pin("a", (10 + at) * LATER);
  };
  await stage.each("pull.change.coordinator", N, write, () => ask("coordinator", { epoch: reader.epoch, since: reader.version }));
}

/** The first pull, at a location where a write has just passed. */
async function afterWrites(stage) {
  const { sub } = await space(stage);
  const [writer, reader] = [stage.device(sub, { at: "here" }), stage.device(sub, { at: "here" })];
  await reader.pull();
  const write = (at) => writer.push([put("r2", { at })]);
  await stage.each("pull.change.after_write", N, write, async () => assert.equal((await reader.pull()).changes, 1));
}

async function pages(stage) {
  const { sub, reader } = await space(stage);
  await stage.count("pull.nothing.strong", N, async () => {
    for (let at = 0; at < N; at += 1) await poll(reader, { consistency: "strong" });
  });
  await stage.each("load.20_records.coordinator", N, () => stage.device(sub, { at: "a" }), (device) => device.pull({ consistency: "strong" }));
  // A mebibyte as JSON, in pages of 256 KiB. Each time another user's: who asks again within 30 ms of the last page waits for a place, and
  // before that the object reads some rows to see whether the answer is little.
  const another = async (at) => {
    const { sub: other } = await space(stage, 1);
    await stage.publishesNothing(other);
    await stage.device(other, { at: "here" }).load("more", records(1024, 1000));
    await stage.pin("a", (20 + at) * LATER);
    return stage.device(other, { at: "a" });
  };
  await stage.each("load.1_mib.coordinator", 2, another, (device) => device.pull({ consistency: "strong" }));
}

/** Of the pulls that the coordinator answers the fiftieth since the last publication makes it publish. */
async function demand(stage) {
  const { sub, writer, reader } = await space(stage);
  const asks = async (times) => {
    for (let at = 0; at < times; at += 1) await poll(reader, { consistency: "strong" });
  };
  // One was the reader's first pull.
  await stage.each("pull.nothing.strong.and_publication", 1, () => asks(48), async () => {
    await asks(1);
    await stage.runtime.waitForPublished(sub, writer.min);
    await stage.rest(sub);
  });
}

async function preflights(stage) {
  const headers = { origin: "https://app.test", "access-control-request-method": "POST", "access-control-request-headers": "authorization" };
  await stage.count("preflight", N, async () => {
    for (let at = 0; at < N; at += 1) {
      const { status } = await stage.runtime.fetch("here", "/sync/pull", { method: "OPTIONS", headers });
      assert.equal(status, 204);
    }
  });
}

/** Needs a stage that does not publish within its run. */
export async function pulls(stage) {
  for (const part of [nothingNew, oneChange, afterWrites, pages, demand, preflights]) await part(stage);
}
