// A few rounds of what `npm run crash` does for as long as it is told, and what shows that its objects really end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crashRounds } from "./crash.mjs";
import { startRuntime } from "./harness.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const ROUNDS = 12;

test(`SIGKILL loses, repeats and un-reads nothing, and KV catches up by itself (SEED=${seed})`, async () => {
  const figures = {};
  try {
    await crashRounds({ rounds: ROUNDS, seed, figures });
  } finally {
    console.log(`crash: SEED=${seed}, ${JSON.stringify(figures)}`);
  }
  assert.ok(figures.kills > ROUNDS && figures.aborts === ROUNDS, "the crashes happened");
  assert.ok(figures.acknowledged > ROUNDS, "there was something to lose");
  assert.ok(figures.behind > 0, "there was something to catch up with");
  assert.deepEqual([figures.losses, figures.duplicates], [0, 0]);
});

const ENDINGS = [
  ["ended in the middle of things", (sub) => runtime.object(sub, { abort: true })],
  // The platform evicts an object some ten seconds after its last event.
  ["left alone until it is evicted", () => new Promise((resolve) => setTimeout(resolve, 13_000))],
];
let runtime;
for (const [how, end] of ENDINGS) {
  test(`an object that is ${how} loses its memory and nothing else, and its isolate lives on`, async () => {
    runtime = await startRuntime();
    try {
      const writer = runtime.device(runtime.subject());
      const put = (id) => ({ op: "put", collection: "c", id, value: {} });
      await writer.push([put("t1")]);
      await runtime.waitForPublished(writer.sub, writer.min);
      const before = await runtime.object(writer.sub);
      await end(writer.sub);
      const after = await runtime.object(writer.sub);
      assert.ok(before.journal.length > 0 && after.journal.length === 0, "it is another instance");
      assert.equal((await runtime.kv("home", writer.sub)).puts.length, 1, "the isolate still knows what was put");
      const again = await writer.post({ client: writer.id, mutations: [{ id: 1, changes: [put("t1")] }] });
      assert.deepEqual([again.body.results[0].duplicate, again.body.version], [true, 1]);
      assert.equal((await writer.push([put("t2")])).version, 2);
      assert.equal((await runtime.waitForPublished(writer.sub, writer.min)).version, 2);
    } finally {
      await runtime.stop();
    }
  });
}
