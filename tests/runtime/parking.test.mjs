// What becomes of a conflicting mutation: it is parked whole, what rests on it joins it, devices learn of it by pulling,
// and a resolution ends it. Which mutations conflict is in conflict.test.mjs.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member } from "./member.mjs";

const put = (value, fields) => ({ op: "put", collection: "c", id: "r", value, ...fields });
const patch = (set, fields) => ({ op: "patch", collection: "c", id: "r", set, ...fields });
const resolve = (conflict, fields) => ({ op: "resolve", conflict, ...fields });
const MIB = 1024 * 1024;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

const record = async (device, id = "r") => (await runtime.truth(device.sub)).records.get(`c ${id}`)?.value;
const open = async (device) => (await device.conflicts()).conflicts;
const announced = (device) => [...device.records].filter(([key]) => key.startsWith("$conflicts "));

/** Two devices of one user, and a mutation of the first, of `r` and of a new record `t9`, that is parked. */
async function contested() {
  const sub = runtime.subject();
  const [mine, other] = [runtime.device(sub), runtime.device(sub)];
  await mine.push([put({ n: 1 })]);
  await other.push([put({ n: 2 })]);
  const parked = await mine.push([put({ n: 3 }), put({ new: true }, { id: "t9" })], { base: 1 });
  assert.equal(parked.status, "conflict");
  return { mine, other, parked, id: parked.conflict };
}

describe("parking", { concurrency: 8 }, () => {
  test("a conflicting mutation is parked whole, listed as it was sent, and announced without content", async () => {
    const { mine, other, parked, id } = await contested();
    assert.match(id, /^x_[0-9a-z]{12,32}_3$/);
    assert.deepEqual(parked.records, [{ collection: "c", id: "r", version: 2, theirs: { n: 2 } }]);
    const [conflict, ...others] = await open(other);
    assert.deepEqual(others, []);
    assert.deepEqual([conflict.conflict, conflict.client], [id, mine.id]);
    const changes = [put({ n: 3 }), put({ new: true }, { id: "t9" })];
    assert.deepEqual(conflict.mutations, [{ id: 2, changes }]);
    assert.deepEqual(conflict.records, [
      { collection: "c", id: "r", version: 2, theirs: { n: 2 } },
      { collection: "c", id: "t9", version: 0, deleted: true },
    ]);
    await other.pull({ min: mine.min });
    const [[key, { version, value }]] = announced(other);
    assert.deepEqual([key, version, value.count, value.client], [`$conflicts ${id}`, 3, 2, mine.id]);
    assert.deepEqual(value.records, [{ collection: "c", id: "r" }, { collection: "c", id: "t9" }]);
    assert.ok(!JSON.stringify(value).includes("new"), "no content");
  });

  test("a third device sees the announcement come and go by pulls from KV", async () => {
    const { mine, other, id } = await contested();
    await runtime.waitForPublished(mine.sub, mine.min);
    const third = runtime.device(mine.sub, { at: "a" });
    assert.deepEqual((await third.pull()).sources, ["kv"]);
    assert.deepEqual(announced(third).map(([key]) => key), [`$conflicts ${id}`]);
    assert.equal((await other.resolve([{ conflict: id, take: "mine" }])).status, "applied");
    await third.pull({ min: other.min });
    assert.deepEqual(announced(third), []);
    assert.deepEqual(third.state(), [["c r", { n: 3 }], ["c t9", { new: true }]]);
  });

  test("H3: what rests on the parked mutation joins it, in the same push, in a later one, and by `after`", async () => {
    const sub = runtime.subject();
    const [mine, other] = [runtime.device(sub), runtime.device(sub)];
    await other.push([put({ n: 1 })]);
    const { body } = await mine.pushMutations([
      { base: 0, changes: [put({ n: 2 }), put({}, { id: "t9" })] },
      { changes: [patch({ a: 1 }, { id: "t9" })] },
      { changes: [put({}, { id: "bystander" })] },
      { changes: [] },
    ]);
    const { conflict } = body.results[0];
    assert.deepEqual(body.results.map((result) => result.conflict), [conflict, conflict, undefined, undefined]);
    assert.deepEqual(body.results.map((result) => result.status), ["conflict", "conflict", "applied", "applied"]);
    assert.equal((await mine.push([patch({ b: 2 }, { id: "t9" })])).conflict, conflict);
    const acknowledged = () => ({ envelope: { acked: mine.next - 1 } });
    const named = await mine.push([patch({ c: 3 }, { id: "t9" })], { after: conflict, ...acknowledged() });
    assert.equal(named.conflict, conflict);
    const known = await mine.push([patch({ d: 4 }, { id: "t9" })], acknowledged());
    assert.equal(known.status, "applied", "what is made in the knowledge of the conflict goes on");
    const [{ mutations }] = await open(mine);
    assert.deepEqual(mutations.map(({ id }) => id), [1, 2, 5, 6]);
    assert.equal((await mine.resolve([{ conflict, take: "mine" }])).status, "applied");
    assert.deepEqual(await record(mine, "t9"), { a: 1, b: 2, c: 3 }, "every edit that rests on the creation");
    assert.deepEqual(await open(mine), []);
  });

  test("mine, theirs and records, by the op and by POST /sync/conflict, and a conflict closed meanwhile", async () => {
    for (const [fields, expected] of [
      [{ take: "mine" }, { n: 3 }],
      [{ take: "theirs" }, { n: 2 }],
      [{ records: [{ collection: "c", id: "r", value: { merged: true }, base: 2 }] }, { merged: true }],
      [{ records: [{ collection: "c", id: "r", deleted: true }] }, undefined],
    ]) {
      for (const how of ["push", "post"]) {
        const { mine, other, id } = await contested();
        const send = (device) =>
          how === "push" ? device.push([resolve(id, fields)]) : device.resolve([{ conflict: id, ...fields }]);
        assert.deepEqual(await send(other), { id: 2, status: "applied", version: 4 });
        assert.deepEqual(await record(mine), expected);
        assert.deepEqual(await open(mine), []);
        const late = await send(mine);
        assert.deepEqual([late.status, late.code], ["rejected", "not_found"], "closed meanwhile");
      }
    }
  });

  test("a base that has moved again is a new conflict; the old one stays open; the last word closes both", async () => {
    const { mine, other, id } = await contested();
    await other.push([put({ n: 7 })]);
    const again = await mine.resolve([{ conflict: id, take: "mine", base: 3 }]);
    assert.equal(again.status, "conflict");
    assert.notEqual(again.conflict, id);
    assert.deepEqual((await open(mine)).map(({ conflict }) => conflict), [id, again.conflict]);
    assert.deepEqual(await record(mine), { n: 7 });
    assert.equal((await mine.resolve([{ conflict: again.conflict, take: "mine", base: 5 }])).status, "applied");
    assert.deepEqual(await record(mine), { n: 3 });
    assert.deepEqual(await open(mine), []);
  });

  test("lost answers: a repeated conflict, join and resolution do nothing twice, by whichever route they come", async () => {
    const { mine, id } = await contested();
    const joining = { client: mine.id, mutations: [{ id: 3, changes: [patch({ m: 1 })] }] };
    for (const duplicate of [undefined, true]) {
      const { body } = await mine.post(joining);
      assert.deepEqual(body.results[0], { id: 3, status: "conflict", conflict: id, ...(duplicate ? { duplicate } : {}), records: [] });
    }
    assert.equal((await open(mine))[0].mutations.length, 2);
    mine.next = 4;
    const first = await mine.resolve([{ conflict: id, take: "mine" }]);
    mine.next = 4;
    const second = await mine.resolve([{ conflict: id, take: "mine" }]);
    assert.deepEqual(second, { ...first, duplicate: true });
    mine.next = 4;
    assert.deepEqual(await mine.push([resolve(id, { take: "mine" })]), second, "as a push it is the same mutation");
    assert.deepEqual(await record(mine), { n: 3, m: 1 });
  });

  test("a policy of the collection decides where the push says nothing, and syncs like data", async () => {
    const sub = runtime.subject();
    const [mine, other] = [runtime.device(sub), runtime.device(sub)];
    await mine.push([put({ title: "x", done: false })]);
    await other.push([patch({ title: "y" })]);
    const set = async (method, policy) => {
      const headers = { "content-type": "application/json" };
      const init = { method, headers, ...(policy && { body: JSON.stringify({ onConflict: policy }) }) };
      const answer = await mine.ask("/spaces/~/policies/c", init);
      assert.ok(answer.status < 300, answer.text);
    };
    const push = async (fields, envelope = {}) => {
      const acked = { acked: mine.next - 1 };
      return (await mine.push([patch(fields)], { base: 1, envelope: { ...acked, ...envelope } })).status;
    };
    assert.equal(await push({ done: true }), "conflict", "reject is the default");
    await set("PUT", "merge");
    assert.equal(await push({ done: true }), "applied");
    assert.equal(await push({ title: "z" }), "conflict");
    assert.equal(await push({ done: 2 }, { onConflict: "reject" }), "conflict", "what the push says wins");
    await set("PUT", "overwrite");
    assert.equal(await push({ title: "z" }), "applied");
    const policies = [...(await runtime.truth(sub)).records].filter(([key]) => key.startsWith("$policies "));
    assert.deepEqual(policies.map(([key, { value }]) => [key, value]), [["$policies c", { onConflict: "overwrite" }]]);
    await set("DELETE");
    await other.push([patch({ title: "w" })]);
    assert.equal(await push({ title: "v" }), "conflict");
    assert.deepEqual(await record(mine), { title: "w", done: true });
  });

  test("the list comes in pages, oldest first, with what stands there up to a limit", async () => {
    const sub = runtime.subject();
    const [mine, other] = [runtime.device(sub), runtime.device(sub)];
    const text = "x".repeat(200_000);
    await other.push([put({ n: 0 })]);
    for (let n = 1; n <= 5; n += 1) {
      const envelope = { acked: mine.next - 1 };
      assert.equal((await mine.push([put({ n, text })], { base: 0, envelope })).status, "conflict");
    }
    const { conflicts, pages } = await mine.conflicts();
    assert.deepEqual(conflicts.map(({ mutations }) => mutations[0].id), [1, 2, 3, 4, 5]);
    assert.ok(pages >= 4, `${pages} pages`);
    for (const [cursor, status] of [["99999", 200], ["x", 400], ["-1", 400], ["1e3", 400]]) {
      assert.equal((await mine.ask(`/sync/conflict?cursor=${cursor}`)).status, status, cursor);
    }
  });

  test("one's conflicts are nobody else's: another user lists none and resolves none", async () => {
    const { id } = await contested();
    const stranger = runtime.device(runtime.subject());
    assert.deepEqual(await open(stranger), []);
    assert.equal((await stranger.resolve([{ conflict: id, take: "mine" }])).code, "not_found");
    assert.equal((await stranger.push([put({})], { after: id })).status, "applied");
  });

  test("in a shared space one sees and resolves one's own, an owner all, and who is no member nothing", async () => {
    const [owner, writer, other, reader] = ["owner", "writer", "other", "reader"].map((name) => new Member(runtime, name));
    const id = await owner.create();
    for (const who of [writer, other]) assert.equal((await owner.set(id, who, "writer")).status, 200);
    assert.equal((await owner.set(id, reader, "reader")).status, 200);
    await owner.put(id, "r", { n: 1 });
    const { body } = await writer.push(id, [put({ n: 2 }, { base: 0 })]);
    const { conflict, status } = body.results[0];
    assert.equal(status, "conflict");
    const list = async (who) => {
      const answer = await who.ask("GET", `/sync/conflict?space=${id}`);
      return answer.status === 200 ? answer.body.conflicts.map((open) => open.conflict) : answer.status;
    };
    const resolveAs = async (who, take = "mine") => {
      const resolution = { client: who.client, id: who.next, resolutions: [{ conflict, take }] };
      const answer = await who.ask("POST", `/sync/conflict?space=${id}`, { body: resolution });
      if (answer.status !== 200) return answer.status;
      who.next += 1;
      return answer.body.results[0].code ?? answer.body.results[0].status;
    };
    const stranger = new Member(runtime, "stranger");
    assert.deepEqual(
      [await list(owner), await list(writer), await list(other), await list(reader), await list(stranger)],
      [[conflict], [conflict], [], [], 403],
    );
    assert.deepEqual([await resolveAs(other), await resolveAs(reader), await resolveAs(stranger)], ["forbidden", 403, 403]);
    assert.equal((await owner.remove(id, writer)).status, 204);
    assert.deepEqual([await list(writer), await resolveAs(writer)], [403, 403], "a removed member's edit stays for an owner");
    assert.equal(await resolveAs(owner), "applied");
    assert.deepEqual([await list(owner), await resolveAs(owner)], [[], "not_found"]);
    assert.equal((await owner.ask("DELETE", `/spaces/${id}`)).status, 204);
    assert.deepEqual([await list(owner), await resolveAs(owner)], [410, 410]);
  });

  test("hostile bodies get a 4xx or a rejected result, and block nothing", async () => {
    const { mine, id } = await contested();
    const headers = { "content-type": "application/json" };
    const send = (body, init = {}) =>
      mine.ask("/sync/conflict", { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body), ...init });
    const whole = { client: mine.id, id: 3, resolutions: [{ conflict: id, take: "mine" }] };
    for (const [body, status, code] of [
      ["", 400, "malformed"],
      ["[]", 400, "malformed"],
      ["{}", 400, "malformed"],
      ["{", 400, "malformed"],
      [{ ...whole, client: "x" }, 400, "malformed"],
      [{ ...whole, id: 0 }, 400, "malformed"],
      [{ ...whole, id: undefined }, 400, "malformed"],
      [{ ...whole, resolutions: undefined }, 400, "malformed"],
      [{ ...whole, id: 9 }, 409, "out_of_order"],
      [{ ...whole, epoch: "0aaaaaaaaaaaa" }, 409, "epoch_mismatch"],
      [`{"client":"${mine.id}","id":3,"pad":"${"x".repeat(4 * MIB)}","resolutions":[]}`, 413, "too_large"],
    ]) {
      const answer = await send(body);
      assert.deepEqual([answer.status, answer.body?.code], [status, code], `${JSON.stringify(body).slice(0, 100)}: ${answer.text}`);
    }
    assert.equal((await send(whole, { headers: { "content-type": "text/plain" } })).status, 415);
    assert.equal((await mine.ask("/sync/conflict", { method: "DELETE" })).status, 405);
    let number = 3;
    for (const [resolutions, code] of [
      [7, "invalid_value"],
      [[7], "invalid_value"],
      [[{}], "invalid_value"],
      [[{ conflict: id }], "invalid_value"],
      [[{ conflict: id, take: "mine", records: [] }], "invalid_value"],
      [[{ op: "put", conflict: id, take: "mine" }], "invalid_value"],
      [[{ conflict: "x_0mwrnsa6yk3v9q2_3", take: "mine" }], "not_found"],
      [[{ conflict: id, take: "theirs" }, { conflict: id, take: "mine" }], "not_found"],
      [[{ conflict: id, records: [{ collection: "$members", id: "x", value: {} }] }], "forbidden"],
      [[{ conflict: id, records: [{ collection: "$conflicts", id, deleted: true }] }], "forbidden"],
      [[{ conflict: id, records: Array(1001).fill({ collection: "c", id: "r", value: {} }) }], "too_large"],
    ]) {
      const answer = await send({ client: mine.id, id: number, resolutions });
      assert.equal(answer.status, 200, answer.text);
      const { status, code: got } = answer.body.results[0];
      assert.deepEqual([status, got], ["rejected", code], JSON.stringify(resolutions).slice(0, 100));
      number += 1;
    }
    mine.next = number;
    assert.equal((await mine.push([put({})], { after: "x_1" })).code, "invalid_value");
    assert.equal((await mine.push([put({}, { collection: "$conflicts", id })])).code, "forbidden");
    const nothing = await mine.resolve([]);
    assert.equal(nothing.status, "applied", "no resolution is an empty mutation");
    assert.equal((await mine.resolve([{ conflict: id, take: "theirs" }])).status, "applied");
  });

  test("what it costs: a push 3 rows, parking 5, joining 3, resolving 7, reading the list none", async () => {
    const sub = runtime.subject();
    const [mine, other] = [runtime.device(sub), runtime.device(sub)];
    const cost = async (device, changes, fields = {}) => {
      const { text, body, used } = await device.pushMutations([{ ...fields, changes }]);
      assert.ok(body?.results, text);
      return [body.results[0].status, used.rows_written];
    };
    await mine.push([put({ n: 1 })]);
    await other.push([put({ n: 2 })]);
    await runtime.waitForPublished(sub, other.min);
    // The alarm of a first unpublished change is one row; a push sets it only if none is set.
    await other.push([put({ n: 3 })]);
    assert.deepEqual(await cost(other, [put({ n: 4 })]), ["applied", 3]);
    assert.deepEqual(await cost(mine, [put({ n: 5 })], { base: 1 }), ["conflict", 5]);
    assert.deepEqual(await cost(mine, [put({ n: 6 })]), ["conflict", 3]);
    const [{ conflict }] = await open(mine);
    const { used } = await mine.ask("/sync/conflict");
    assert.equal(used.rows_written ?? 0, 0);
    assert.deepEqual(await cost(mine, [resolve(conflict, { take: "theirs" })]), ["applied", 7]);
  });

  test("a mutation follows several conflicts: it joins the newest that is open, and waits for the others", async () => {
    const { mine, other, id } = await contested();
    await other.push([put({ n: 1 }, { id: "s" })]);
    const acked = () => ({ envelope: { acked: mine.next - 1 } });
    const { conflict } = await mine.push([put({ n: 2 }, { id: "s" })], { base: 0, ...acked() });
    const both = await mine.push([patch({ m: 1 }), patch({ m: 1 }, { id: "s" })], { after: [id, conflict], ...acked() });
    assert.equal(both.conflict, conflict);
    assert.equal((await mine.resolve([{ conflict, take: "mine" }])).code, "invalid_value");
    assert.equal((await mine.resolve([id, conflict].map((conflict) => ({ conflict, take: "mine" })))).status, "applied");
    assert.deepEqual([await record(mine), await record(mine, "s")], [{ n: 3, m: 1 }, { n: 2, m: 1 }]);
    assert.equal((await mine.push([patch({ m: 2 }, { id: "gone" })], { after: [id, conflict] })).code, "not_found");
    assert.equal((await mine.push([put({})], { after: [7] })).code, "invalid_value");
  });

  test("what could not be applied behind what is parked does not join, and mine still can be", async () => {
    const { mine, id } = await contested();
    assert.equal((await mine.push([patch({ list: [] })], { after: id })).conflict, id);
    assert.equal((await mine.push([patch({ "list.x": 1 })], { after: id })).code, "invalid_value");
    assert.equal((await mine.resolve([{ conflict: id, take: "mine" }])).status, "applied");
    assert.deepEqual(await record(mine), { n: 3, list: [] });
  });
});

test("parked edits survive a restart, and can be joined and resolved behind it", async () => {
  const { mine, other, id } = await contested();
  await runtime.restart();
  assert.equal((await mine.push([patch({ m: 1 })])).conflict, id, "the client's row remembers what it has not acknowledged");
  assert.deepEqual((await open(other))[0].mutations.map((mutation) => mutation.id), [2, 3]);
  await runtime.restart();
  assert.equal((await other.resolve([{ conflict: id, take: "mine" }])).status, "applied");
  assert.deepEqual(await record(mine), { n: 3, m: 1 });
});

test("what parking reads does not grow with what is open, but for the first push of an instance", async () => {
  const { mine, other } = await contested();
  const read = async (fields) => {
    const { body, used } = await mine.pushMutations([{ base: 1, changes: [put({})], ...fields }], { acked: mine.next - 1 });
    assert.equal(body.results[0].status, "conflict");
    return used.rows_read;
  };
  const few = await read();
  for (let count = 2; count < 40; count += 1) assert.equal(await read(), few, `${count} are open`);
  const [{ conflict }] = (await open(other)).slice(-1);
  // One that joins reads what is parked where it joins, however many conflicts there are.
  const joins = await read({ base: undefined, after: conflict });
  assert.equal(await read({ base: undefined, after: conflict }), joins + 1);
  await runtime.restart();
  await mine.push([put({}, { id: "apart" })]);
  const first = await read();
  assert.ok(first >= few + 40, `${first} rows with 40 open, then ${few}`);
  assert.equal(await read(), few);
});
