// Conflicts by who changed what: a change conflicts if somebody other than its client changed the record after its
// base. A conflicting mutation changes nothing; what becomes of it is in parking.test.mjs.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";

const put = (value, fields) => ({ op: "put", collection: "c", id: "r", value, ...fields });
const patch = (set, fields) => ({ op: "patch", collection: "c", id: "r", set, ...fields });
const remove = (fields) => ({ op: "delete", collection: "c", id: "r", ...fields });

let runtime;
before(async () => (runtime = await startRuntime()));
after(() => runtime.stop());

/** Two devices of one user, which count as two clients. */
function twoDevices() {
  const sub = runtime.subject();
  return [runtime.device(sub), runtime.device(sub)];
}

const record = async (device) => (await runtime.truth(device.sub)).records.get("c r")?.value;

describe("conflicts", { concurrency: 8 }, () => {
  test("two offline edits of one record by one client do not conflict with each other", async () => {
    const [mine, other] = twoDevices();
    await other.push([put({ title: "milk", done: false })]);
    await mine.pull();
    const base = mine.version;
    const { body } = await mine.pushMutations([
      { base, changes: [put({ title: "eggs", done: false })] },
      { base, changes: [patch({ done: true })] },
    ]);
    assert.deepEqual(body.results.map((result) => result.status), ["applied", "applied"]);
    assert.deepEqual(await record(mine), { title: "eggs", done: true });
  });

  test("a change of somebody else after the base conflicts, changes nothing, and says what stands there", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    const bystander = { op: "put", collection: "c", id: "bystander", value: {} };
    const { body } = await mine.pushMutations([
      { base: 1, changes: [bystander, put({ n: 3 })] },
      { changes: [{ ...bystander, id: "next" }] },
    ]);
    const [conflict, next] = body.results;
    assert.equal(conflict.status, "conflict");
    assert.deepEqual(conflict.records, [{ collection: "c", id: "r", version: 2, theirs: { n: 2 } }]);
    assert.equal(next.status, "applied", "the next mutation goes on");
    const truth = await runtime.truth(mine.sub);
    const users = truth.state().filter(([key]) => !key.startsWith("$"));
    assert.deepEqual(users, [["c next", {}], ["c r", { n: 2 }]]);
  });

  test("a deletion by somebody else after the base conflicts, and is told", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([remove()]);
    for (const change of [put({ n: 3 }), patch({ n: 3 })]) {
      const { status, records } = await mine.push([change], { base: 1 });
      assert.equal(status, "conflict");
      assert.deepEqual(records, [{ collection: "c", id: "r", version: 2, deleted: true }]);
      await mine.push([], { envelope: { acked: mine.next - 1 } });
    }
    assert.equal(await record(mine), undefined);
  });

  test("a base at or above the foreign change does not conflict", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    assert.equal((await mine.push([put({ n: 3 })], { base: 2 })).status, "applied");
  });

  test("without a base there is no check", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    assert.equal((await mine.push([put({ n: 3 })])).status, "applied");
  });

  test("the base of a change wins over that of its mutation", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    assert.equal((await mine.push([put({ n: 3 }, { base: 2 })], { base: 1 })).status, "applied");
    await other.push([put({ n: 4 })]);
    assert.equal((await mine.push([put({ n: 5 }, { base: 3 })], { base: 4 })).status, "conflict");
  });

  test("one's own later change does not mask a foreign one", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    await mine.push([put({ n: 3 })]);
    assert.equal((await mine.push([put({ n: 4 })], { base: 1 })).status, "conflict");
  });

  test("base 0: a record that somebody else made conflicts; one's own, or an absent one, does not", async () => {
    const [mine, other] = twoDevices();
    assert.equal((await mine.push([put({ n: 1 })], { base: 0 })).status, "applied");
    assert.equal((await mine.push([put({ n: 2 })], { base: 0 })).status, "applied");
    await other.push([remove()]);
    assert.equal((await mine.push([put({ n: 3 })], { base: 0 })).status, "applied");
    assert.equal((await other.push([put({ n: 4 })], { base: 0 })).status, "conflict");
  });

  test("delete of an absent record never conflicts, of a changed one it does", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    assert.equal((await mine.push([remove()], { base: 1 })).status, "conflict");
    await other.push([remove()]);
    const settled = { acked: mine.next - 1 };
    assert.equal((await mine.push([remove()], { base: 1, envelope: settled })).status, "applied");
  });

  test("overwrite applies anyway", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    const result = await mine.push([put({ n: 3 })], { base: 1, envelope: { onConflict: "overwrite" } });
    assert.equal(result.status, "applied");
    assert.deepEqual(await record(mine), { n: 3 });
  });

  test("merge: patches of different top-level fields go together, of one field they conflict", async () => {
    const [mine, other] = twoDevices();
    const envelope = { onConflict: "merge" };
    await mine.push([put({ a: 1, b: 1, m: { x: 1, y: 1 } })]);
    await other.push([patch({ a: 2, "m.x": 2 })]);
    assert.equal((await mine.push([patch({ b: 3 })], { base: 1, envelope })).status, "applied");
    assert.deepEqual(await record(mine), { a: 2, b: 3, m: { x: 2, y: 1 } });
    const acked = () => ({ ...envelope, acked: mine.next - 1 });
    assert.equal((await mine.push([patch({ a: 4 })], { base: 1, envelope: acked() })).status, "conflict");
    assert.equal((await mine.push([patch({ "m.y": 4 })], { base: 1, envelope: acked() })).status, "conflict");
    assert.equal((await mine.push([put({ b: 4 })], { base: 1, envelope: acked() })).status, "conflict");
  });

  test("merge: a put by somebody else touches only the fields whose text it changed, adds or removes", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ a: 1, b: 1, c: 1 })]);
    await other.push([put({ a: 2, b: 1 })]);
    const send = (set) => mine.push([patch(set)], { base: 1, envelope: { onConflict: "merge", acked: mine.next - 1 } });
    assert.equal((await send({ b: 3 })).status, "applied");
    assert.equal((await send({ a: 3 })).status, "conflict");
    assert.equal((await send({ c: 3 })).status, "conflict");
  });

  test("merge: deletion and re-creation by somebody else touch every field", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ a: 1, b: 1 })]);
    await other.push([remove()]);
    await other.push([put({ a: 1, b: 1 })]);
    const result = await mine.push([patch({ b: 2 })], { base: 1, envelope: { onConflict: "merge" } });
    assert.equal(result.status, "conflict");
  });

  test("all bases of a mutation are checked against the state before it", async () => {
    const [mine, other] = twoDevices();
    await other.push([put({ n: 1 })]);
    const twice = await mine.push([put({ n: 2 }, { base: 1 }), patch({ m: 1 }, { base: 0 })]);
    assert.equal(twice.status, "conflict", "the second change's base is older than the foreign version 1");
    assert.deepEqual(await record(mine), { n: 1 });
  });

  test("bases of another epoch count as older than every change", async () => {
    const [mine, other] = twoDevices();
    await other.push([put({ n: 1 })]);
    await mine.push([{ op: "put", collection: "c", id: "mine", value: {} }]);
    const foreign = await mine.push([put({ n: 2 })], { base: 99, epoch: "0aaaaaaaaaaaa" });
    assert.equal(foreign.status, "conflict");
    const own = { op: "put", collection: "c", id: "mine", value: { n: 2 } };
    const envelope = { acked: mine.next - 1 };
    assert.equal((await mine.push([own], { base: 99, epoch: "0aaaaaaaaaaaa", envelope })).status, "applied");
  });

  test("what stands there is told up to 64 KiB, and the answer stays that small", async () => {
    const [mine, other] = twoDevices();
    const big = { s: "x".repeat(30_000) };
    const ids = ["a", "b", "c", "d"];
    await mine.push(ids.map((id) => ({ ...put({}), id })));
    await other.push(ids.map((id) => ({ ...put(big), id })));
    const answer = await mine.pushMutations([{ base: 1, changes: ids.map((id) => ({ ...put({ n: 1 }), id })) }]);
    assert.equal(answer.body.results[0].status, "conflict");
    assert.ok(answer.text.length < 80 * 1024, `${answer.text.length} bytes`);
    assert.ok(answer.body.results[0].records.length > 0, "some of it is told");
  });

  test("a conflict repeated is the same conflict, told as a duplicate", async () => {
    const [mine, other] = twoDevices();
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    const mutations = [{ id: mine.next, base: 1, changes: [put({ n: 3 })] }];
    const [first, second] = [
      await mine.post({ client: mine.id, mutations }),
      await mine.post({ client: mine.id, mutations }),
    ].map((answer) => answer.body.results[0]);
    assert.deepEqual([second.status, second.conflict, second.duplicate], ["conflict", first.conflict, true]);
  });
});
