// Pulls whose increments come from KV: of shared spaces, and of all spaces where publication is eager; and what is asked of the
// coordinator instead, by the reason why KV does not do.

import assert from "node:assert/strict";
import { Member } from "../../tests/runtime/member.mjs";
import { sharedHash } from "../../tests/runtime/published.mjs";
import { poll, put, records } from "../stage.mjs";

const N = 4;
const SECOND = 1000;
const STEP = 31 * SECOND;

/** A private space whose increments are read from KV at the location "eager". */
async function space(stage) {
  const sub = stage.user("eager");
  const writer = stage.device(sub, { at: "here" });
  await writer.load("c", records(20, 200));
  await stage.runtime.waitForPublished(sub, writer.min);
  await stage.rest(sub);
  const reader = stage.device(sub, { at: "eager" });
  await stage.pin("eager", 0);
  await reader.pull();
  return { sub, writer, reader };
}

const later = (stage, from = 0) => (at) => stage.pin("eager", from + (at + 1) * STEP);

async function fromKv(stage) {
  const { sub, writer, reader } = await space(stage);
  await stage.each("pull.nothing.kv", N, later(stage), () => poll(reader));
  const change = async (at) => {
    await writer.push([put("r1", { at })]);
    await stage.runtime.waitForPublished(sub, writer.min);
    await stage.rest(sub);
    await later(stage, N * STEP)(at);
  };
  await stage.each("pull.change.kv", N, change, async () => assert.equal((await reader.pull({ min: null })).changes, 1));
}

/** The reader knows of a write that KV does not show. */
async function lag(stage) {
  const { sub, writer, reader } = await space(stage);
  await stage.runtime.kv("eager", sub, { set: { staleMs: 3_600_000 } });
  // What is written now is not published while it is counted.
  await stage.publishesNothing(sub);
  await later(stage)(0);
  await poll(reader);
  const write = async (at) => {
    await writer.push([put("r1", { at, lag: true })]);
    await later(stage, 2 * STEP)(at);
  };
  await stage.each("pull.fallback.lag", N, write, () => reader.pull({ min: writer.min }));
  await stage.runtime.kv("eager", sub, { clear: true });
}

async function failing(stage, fault, id) {
  const { sub, reader } = await space(stage);
  // Four intervals after it was put, a head that a pull has not found is put again: `load.and_repair` counts that.
  await stage.publishesNothing(sub);
  const fail = async (at) => {
    await stage.runtime.kv("eager", sub, { rules: [{ op: "get", key: "head", fault, times: 1 }] });
    await later(stage)(at);
    await stage.runtime.kv("eager", "*", { cache: "empty" });
  };
  await stage.each(id, N, fail, () => poll(reader, { status: 304 }));
}

/** Members of one shared space poll with the default settings. */
async function shared(stage) {
  const owner = new Member(stage.runtime, "owner", { ...stage.member("owner"), at: "here" });
  const id = await owner.create(`costs-${stage.user("space")}`);
  await owner.put(id, "r1");
  const reader = new Member(stage.runtime, "reader", { ...stage.member("reader"), at: "shared" });
  await owner.set(id, reader, "reader");
  // Until KV has what the space has.
  await stage.rest({ scope: sharedHash(id) });
  await stage.pin("shared", 0);
  await stage.each("grant.first", 1, () => {}, () => reader.grant(id));
  await stage.each("grant", N, () => reader.grants.delete(id), () => reader.grant(id));
  const { body } = await reader.read(id, "/sync/pull?");
  const since = `epoch=${body.epoch}&since=${body.version}`;
  const ask = async () => assert.equal((await reader.read(id, `/sync/pull?${since}`)).status, 200);
  await stage.pin("shared", STEP);
  await ask();
  await stage.each("pull.shared.memory", N, () => stage.pin("shared", STEP + 100), ask);
  await stage.each("pull.shared.cache", N, (at) => stage.pin("shared", STEP + (at + 1) * 2 * SECOND), ask);
  await stage.each("pull.shared.kv", N, (at) => stage.pin("shared", (at + 3) * STEP), ask);
}

/** Needs a stage that publishes soon, with a location "eager" that reads increments from KV and a location "shared". */
export async function publishedPulls(stage) {
  await fromKv(stage);
  await lag(stage);
  await failing(stage, "miss", "pull.fallback.no_head");
  await failing(stage, "error", "pull.fallback.kv_failed");
  await shared(stage);
}
