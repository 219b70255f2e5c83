// What a publication costs, by what it is made for and how much of the space is new; and first loads of what was published, by size.

import assert from "node:assert/strict";
import { eventually } from "../../tests/runtime/harness.mjs";
import { put, records } from "../stage.mjs";

const N = 3;
const SECOND = 1000;
/** Later than a change is due that is published after a second, and than a publication may follow another. */
const DUE_MS = 1_200;
/** Values of so many bytes make records whose lines are about a kibibyte. */
const VALUE_BYTES = 960;

/** A space of so many KiB whose snapshot stands in KV, counted as the first publication of that much. */
async function published(stage, kib, id) {
  const sub = stage.user("published");
  const writer = stage.device(sub, { at: "here" });
  // An alarm that rang while the records are still coming would cut what is published at a place that depends on the machine.
  await stage.publishesNothing(sub);
  await writer.load("c", records(kib, VALUE_BYTES));
  await new Promise((due) => setTimeout(due, DUE_MS));
  const publish = async () => {
    await stage.runtime.object(sub, { clear: true, alarm: Date.now() });
    await stage.runtime.waitForPublished(sub, writer.min);
    await stage.rest(sub);
  };
  if (id) await stage.count(id, 1, publish);
  else await publish();
  return { sub, writer };
}

/** Publications of one change in a small space, each by an instance of the object that knows nothing yet. */
async function ofOneChange(stage) {
  const { sub, writer } = await published(stage, 20);
  const edit = (at) => writer.push([put("r1", { at })]);
  // The instance that publishes is seldom the one that took the push: an object that has nothing to do is not kept in memory. The alarm
  // that the first one sets is lost with it, and the one that rings is set, and counted, in its place.
  const publish = async () => {
    await stage.runtime.object(sub, { abort: true });
    await new Promise((due) => setTimeout(due, DUE_MS));
    await stage.runtime.object(sub, { alarm: Date.now() });
    await stage.runtime.waitForPublished(sub, writer.min);
    await stage.rest(sub);
  };
  const begin = () => stage.publishesNothing(sub);
  await stage.each("push.and_publication", N, begin, async (_, at) => {
    await edit(at);
    await publish();
  });
}

/** A publication that KV refuses once, and one of whose put nobody knows whether it came. */
async function ofFailures(stage) {
  const { sub, writer } = await published(stage, 20);
  const failing = async (fault) => {
    await stage.rest(sub);
    await stage.runtime.kv("home", sub, { rules: [{ op: "put", key: "head", fault }] });
  };
  const cycle = async () => {
    await writer.push([put("r1", { failing: writer.next })]);
    await stage.runtime.waitForPublished(sub, writer.min);
    await stage.rest(sub);
  };
  await stage.each("push.and_refused_publication", 1, () => failing("limit"), cycle);
  await stage.each("push.and_unanswered_publication", 1, () => failing("done-but-error"), cycle);
}

const stream = async (stage, sub, at) => {
  const device = stage.device(sub, { at });
  const took = await device.stream();
  assert.ok(took.lines > 0);
  return took;
};

/** First loads at a location that has nothing, of a head that was published a while ago. */
async function loads(stage, kib, id) {
  const { sub } = await published(stage, kib, `publication.first.${id}`);
  const cold = async () => {
    await stage.runtime.kv("a", "*", { cache: "empty" });
    await stage.later("a", 100 * SECOND);
  };
  await stage.each(`load.${id}`, N, cold, () => stream(stage, sub, "a"));
  if (kib === 20) await brokenLoads(stage);
}

/** A load of which KV has lost a part: the coordinator answers it. */
async function brokenLoads(stage) {
  const { sub } = await published(stage, 512);
  await stage.runtime.kv("a", "*", { cache: "empty" });
  await stage.later("a", 100 * SECOND);
  await stage.runtime.kv("a", sub, { rules: [{ op: "get", key: "object", fault: "miss", times: 2 }] });
  await stage.each("load.fallback.missing_part", 1, () => {}, () => stream(stage, sub, "a"));
}

/** What KV has lost is put again when a pull says so. */
async function repair(stage) {
  const { sub } = await published(stage, 20);
  const namespace = await stage.runtime.namespace();
  // Later than four intervals after the head was put: before that it may still be on its way.
  await new Promise((later) => setTimeout(later, 4_500));
  await stage.runtime.kv("a", "*", { cache: "empty" });
  await stage.later("a", 100 * SECOND);
  await namespace.delete((await stage.runtime.head(sub)).key);
  await stage.each("load.and_repair", 1, () => {}, async () => {
    await stream(stage, sub, "a");
    await eventually("the head is there again", () => stage.runtime.head(sub));
    await stage.rest(sub);
  });
}

/** Needs a stage that publishes a second after a change, and again a second later. */
export async function publications(stage) {
  for (const part of [ofOneChange, ofFailures, repair]) await part(stage);
}

/** Needs a stage that publishes a second after a change. */
export async function firstPublications(stage) {
  for (const [kib, id] of [[20, "20_kib"], [1024, "1_mib"], [4096, "4_mib"]]) await loads(stage, kib, id);
}
