// What was written is seen at the location where it was written, by whoever asks, with no `min` and no position (I14).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });

let runtime;
before(async () => {
  // By demand, as it is deployed: what is known is good for 30 s wherever nothing was written.
  const variables = { PUBLISH_AFTER_PULLS: "50", PUBLISH_MAX_DELAY_MS: "900000", PUBLISH_INTERVAL_MS: "30000" };
  runtime = await startRuntime({ locations: ["a", "b"], variables });
  // Another isolate of location "a".
  await runtime.kv("b", "*", { location: "a" });
});
after(() => runtime.stop());

/** A pull by somebody who has nothing yet and does not know of any position. */
async function plain(sub, at, { accept = "application/json", ...query } = {}) {
  return runtime.device(sub).ask(`/sync/pull?${new URLSearchParams(query)}`, { at, headers: { accept } });
}
const version = ({ text }) => Number(/"version":(\d+)/.exec(text)[1]);

// Isolates "a" and "b" stand at one location.
test("an isolate that tells late takes nothing back that another has told", async () => {
  const [one, other] = ["a", "b"].map((at) => runtime.device("rewritten", { at }));
  const seen = async (at) => version(await plain("rewritten", at));
  await one.push([put("r", { n: 1 })]);
  // The location is told of this one a second later, …
  await one.push([put("r", { n: 2 })]);
  assert.equal(await seen("a"), 2);
  // … and of this one at once.
  await other.push([put("r", { n: 3 })]);
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  assert.equal(await seen("a"), 3);
});

describe("what was written is seen", () => {
  test("by plain pulls, at every isolate of the location, in both forms; elsewhere within 30 s", async () => {
    const writer = runtime.device(runtime.subject(), { at: "a" });
    await writer.push([put("r0")]);
    await plain(writer.sub, "home");
    for (let round = 2; round < 8; round += 1) {
      const pushed = await writer.pushMutations([{ changes: [put(`r${round}`)] }]);
      assert.equal(pushed.response.headers.get("headwater-position"), `${pushed.body.epoch}.${round}`);
      for (const accept of ["application/json", "application/x-ndjson"]) {
        assert.equal(version(await plain(writer.sub, "a", { accept })), round, "the isolate that passed the push on");
      }
      assert.equal(version(await plain(writer.sub, "a", { consistency: "eventual" })), round);
    }
    // The location is told once a second, and its isolates look as often.
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    assert.equal(version(await plain(writer.sub, "b")), 7, "another isolate of the location");
    assert.equal(version(await plain(writer.sub, "home")), 1, "another location need not know yet");
    assert.equal(version(await plain(writer.sub, "home", { min: writer.min })), 7, "but whoever knows is not shown less");
  });

  test("for one request to the object a write, and no KV key", async () => {
    const writer = runtime.device(runtime.subject(), { at: "a" });
    await writer.push([put("r")]);
    await plain(writer.sub, "a");
    for (let round = 0; round < 3; round += 1) {
      const { used } = await writer.pushMutations([{ changes: [put("r", { round })] }]);
      assert.deepEqual([used.object, used.kv], [1, 0]);
      const [first, second] = [await plain(writer.sub, "a"), await plain(writer.sub, "a")];
      assert.deepEqual([first.used.cache, first.used.kv, first.used.object], [3, 0, 1]);
      assert.deepEqual([second.used.cache, second.used.kv, second.used.object], [0, 0, 0]);
    }
  });

  test("by members of a shared space, whoever wrote, and so is what an owner does about it", async () => {
    const [owner, member] = [new Member(runtime, "owner"), new Member(runtime, "member")];
    const space = spaceId();
    const made = await owner.ask("PUT", `/spaces/${space}`);
    assert.match(made.response.headers.get("headwater-position"), /\.1$/);
    await owner.set(space, member, "writer");
    const { body: { grant } } = await member.ask("POST", `/spaces/${space}/grant`);
    const read = () => runtime.device(member.sub).ask(`/sync/pull?space=${space}`, { at: "home", headers: { "headwater-grant": grant } });
    const before = version(await read());
    const changed = await owner.ask("PUT", `/spaces/${space}/policies/c`, { body: { onConflict: "merge" } });
    assert.match(changed.response.headers.get("headwater-position"), new RegExp(`\\.${before + 1}$`));
    assert.equal(version(await read()), before + 1);
    const again = await owner.ask("PUT", `/spaces/${space}/policies/c`, { body: { onConflict: "merge" } });
    assert.equal(again.response.headers.get("headwater-position"), null, "nothing was written");
  });

  test("after `DELETE /spaces/~` no load shows what was erased: here at once, anywhere with the position that it says", async () => {
    const writer = runtime.device(runtime.subject(), { at: "a" });
    await writer.push([put("secret", { s: "erased" })]);
    for (const at of ["a", "home"]) assert.match((await plain(writer.sub, at)).text, /erased/);
    const { status, response } = await writer.ask("/spaces/~", { method: "DELETE" });
    const min = response.headers.get("headwater-position");
    assert.equal(status, 204);
    for (const accept of ["application/json", "application/x-ndjson"]) {
      const here = await plain(writer.sub, "a", { accept });
      assert.deepEqual([here.status, /erased/.test(here.text)], [200, false]);
      const anywhere = await plain(writer.sub, "home", { accept, min });
      assert.deepEqual([anywhere.status, /erased/.test(anywhere.text)], [200, false]);
    }
    assert.ok(!/erased/.test((await plain(writer.sub, "home")).text), "from then on nobody is shown it there");
  });
});
