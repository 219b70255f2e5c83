// POST /sync/push: numbering, epochs, what a request may carry, and the answer. Ops are in op.test.mjs, conflicts in
// conflict.test.mjs.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";

const put = (id, value, collection = "todos") => ({ op: "put", collection, id, value });
const MIB = 1024 * 1024;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

const newDevice = (sub = runtime.subject()) => runtime.device(sub);

/** Asserts a problem answer, and that nothing of the request was applied. */
async function assertRefused(device, body, status, code) {
  const before = await runtime.truth(device.sub);
  const answer = await device.post(body);
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.body.code, code);
  const now = await runtime.truth(device.sub);
  assert.deepEqual([now.position, now.state()], [before.position, before.state()]);
  return answer.body;
}

const { mutations: FIXTURES } = JSON.parse(readFileSync(new URL("../../fixtures/canonical.json", import.meta.url)));

/** JSON as RFC 8785 says. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.keys(value).toSorted().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Changes, or the records of a resolution, without what the contract leaves out. */
function meaning(changes) {
  if (!Array.isArray(changes)) return changes;
  const counts = ([name, value]) =>
    value !== null && name !== "base" && !["set {}", "unset []", "deleted false"].includes(`${name} ${canonical(value)}`);
  const entries = (change) => Object.entries(change).filter(counts);
  const nested = ([name, value]) => [name, name === "records" ? meaning(value) : value];
  return changes.map((change) => (isObject(change) ? Object.fromEntries(entries(change).map(nested)) : change));
}

describe("what is the same mutation", { concurrency: 4 }, () => {
  test("a client in JavaScript comes to the canonical texts and hashes of the fixtures", () => {
    for (const { name, texts, canonical: expected, sha256, beyondDoubles } of FIXTURES) {
      assert.equal(createHash("sha256").update(expected).digest("hex"), sha256, name);
      for (const text of beyondDoubles ? [] : texts) {
        const { at, changes } = JSON.parse(text);
        const present = Object.entries({ at, changes: meaning(changes) }).filter(([, value]) => value != null);
        assert.equal(canonical(Object.fromEntries(present)), expected, name);
      }
    }
  });

  for (const [at, { name, texts }] of FIXTURES.entries()) {
    test(`every spelling is a duplicate, and another mutation a fork: ${name}`, async () => {
      const device = newDevice();
      const body = (text) => `{"client":"${device.id}","mutations":[${text}]}`;
      const first = await device.post(body(texts[0]));
      assert.equal(first.status, 200, first.text);
      for (const text of texts) {
        const again = await device.post(body(text));
        assert.equal(again.status, 200, again.text);
        assert.deepEqual(again.body.results.map((result) => result.duplicate), [true]);
      }
      const other = FIXTURES[(at + 1) % FIXTURES.length];
      await assertRefused(device, body(other.texts[0]), 409, "client_forked");
    });
  }
});

describe("numbering", { concurrency: 4 }, () => {
  test("mutations take versions 1, 2, 3, and the changes of one share its version", async () => {
    const device = newDevice();
    const { status, body } = await device.pushMutations([
      { changes: [put("t1", { n: 1 })] },
      { changes: [put("t2", { n: 2 }), put("t3", { n: 3 })] },
      { changes: [put("t1", { n: 4 })] },
    ]);
    assert.equal(status, 200);
    assert.match(body.epoch, /^[0-9a-z]{12,32}$/);
    assert.equal(body.version, 3);
    const applied = [1, 2, 3].map((n) => ({ id: n, status: "applied", version: n }));
    assert.deepEqual(body.results.map(({ id, status, version }) => ({ id, status, version })), applied);
    await device.pull();
    const versions = [...device.records].map(([key, { version }]) => `${key} ${version}`).toSorted();
    assert.deepEqual(versions, ["todos t1 3", "todos t2 2", "todos t3 2"]);
  });

  test("a repeated mutation is not applied again and answers as the first time", async () => {
    const device = newDevice();
    const add = { op: "add", collection: "stats", id: "s", path: "count", by: 1, orPut: { count: 1 } };
    const body = { client: device.id, mutations: [{ id: 1, changes: [add] }, { id: 2, changes: [add] }] };
    const first = await device.post(body);
    const second = await device.post({ ...body, epoch: first.body.epoch });
    assert.equal(second.status, 200, second.text);
    assert.equal(second.body.version, 2);
    for (const at of [0, 1]) {
      const { status, version, duplicate } = second.body.results[at];
      assert.deepEqual({ status, version, duplicate }, { status: "applied", version: at + 1, duplicate: true });
    }
    await device.pull();
    assert.deepEqual(device.state(), [["stats s", { count: 2 }]]);
  });

  test("old and new mutations in one request: the old ones are duplicates, the new ones are applied", async () => {
    const device = newDevice();
    const mutations = [1, 2, 3].map((id) => ({ id, changes: [put(`t${id}`, {})] }));
    await device.post({ client: device.id, mutations: mutations.slice(0, 2) });
    const { body } = await device.post({ client: device.id, mutations });
    assert.deepEqual(body.results.map((result) => result.duplicate ?? false), [true, true, false]);
    assert.equal(body.version, 3);
  });

  test("a repeated number with other changes is a fork, and nothing of its request is applied", async () => {
    const device = newDevice();
    await device.push([put("t1", { n: 1 })]);
    const mutations = [{ id: 1, changes: [put("t1", { n: 2 })] }, { id: 2, changes: [put("t2", {})] }];
    await assertRefused(device, { client: device.id, mutations }, 409, "client_forked");
  });

  test("a number too old to be compared is a fork", async () => {
    const device = newDevice();
    const mutations = Array.from({ length: 200 }, (_, at) => ({ changes: [put("t1", { at })] }));
    assert.equal((await device.pushMutations(mutations)).status, 200);
    await device.post({ client: device.id, acked: 200, mutations: [] });
    const body = { client: device.id, mutations: [{ id: 1, changes: [put("t1", { at: 0 })] }] };
    await assertRefused(device, body, 409, "client_forked");
    const repeated = { client: device.id, mutations: [{ id: 200, changes: [put("t1", { at: 199 })] }] };
    assert.equal((await device.post(repeated)).body.results[0].duplicate, true);
  });

  test("the largest push, sent again because its answer was lost, is applied once", async () => {
    const device = newDevice();
    const add = { op: "add", collection: "todos", id: "sum", path: "n", by: 1, orPut: { n: 1 } };
    const mutations = Array.from({ length: 500 }, (_, at) => ({ id: at + 1, changes: [add] }));
    const first = await device.post({ client: device.id, mutations });
    const again = await device.post({ client: device.id, mutations });
    assert.equal(again.status, 200, again.text.slice(0, 300));
    assert.ok(again.body.results.every((result) => result.duplicate === true));
    assert.deepEqual(again.body.results.at(-1).version, first.body.results.at(-1).version);
    const pulled = await device.post({ client: device.id, since: 0, mutations: [] });
    assert.equal(pulled.body.changes[0].value.n, 500);
  });

  test("after acked, a repeated number is still never answered by another mutation's result", async () => {
    const device = newDevice();
    await device.pushMutations([{ changes: [put("t1", {})] }, { changes: [put("t2", {})] }]);
    await device.push([put("t3", {})], { envelope: { acked: 2 } });
    const same = await device.post({ client: device.id, mutations: [{ id: 2, changes: [put("t2", {})] }] });
    assert.equal(same.status, 200, same.text);
    assert.ok(["applied", "done"].includes(same.body.results[0].status), same.text);
    assert.equal(same.body.results[0].duplicate, true);
    const forked = { client: device.id, mutations: [{ id: 2, changes: [put("t2", { other: true })] }] };
    await assertRefused(device, forked, 409, "client_forked");
  });

  test("a gap is refused with the number that is expected", async () => {
    const device = newDevice();
    const first = { client: device.id, mutations: [{ id: 5, changes: [put("t1", {})] }] };
    assert.equal((await assertRefused(device, first, 409, "out_of_order")).expected, 1);
    await device.pushMutations([{ changes: [put("t1", {})] }, { changes: [put("t2", {})] }]);
    const gap = { client: device.id, mutations: [{ id: 4, changes: [put("t3", {})] }] };
    assert.equal((await assertRefused(device, gap, 409, "out_of_order")).expected, 3);
  });

  test("a client id is nobody's: two users count apart", async () => {
    const [alice, bob] = [newDevice(), newDevice()];
    bob.id = alice.id;
    assert.equal((await alice.push([put("t1", { of: "alice" })])).duplicate, undefined);
    assert.equal((await bob.push([put("t1", { of: "bob" })])).duplicate, undefined);
  });

  test("a push that is repeated while the first is under way is applied once", async () => {
    const device = newDevice();
    const add = { op: "add", collection: "stats", id: "s", path: "count", by: 1, orPut: { count: 1 } };
    for (let id = 1; id <= 10; id += 1) {
      const body = { client: device.id, mutations: [{ id, changes: [add] }] };
      const answers = await Promise.all([1, 2, 3].map(() => device.post(body)));
      assert.deepEqual(answers.map((answer) => answer.body.results[0].version), [id, id, id]);
      assert.equal(answers.filter((answer) => answer.body.results[0].duplicate).length, 2);
    }
    await device.pull({ consistency: "strong" });
    assert.deepEqual(device.state(), [["stats s", { count: 10 }]]);
  });

  test("a push that is refused takes nothing with it from those that came at the same time", async () => {
    const sub = runtime.subject();
    const pushes = Array.from({ length: 20 }, (_, at) => {
      const device = newDevice(sub);
      const bad = at % 4 === 3;
      return device.post({ client: device.id, mutations: [{ id: bad ? 7 : 1, changes: [put(`t${at}`, { at })] }] });
    });
    const answers = await Promise.all(pushes);
    assert.deepEqual(answers.map((answer) => answer.status), answers.map((_, at) => (at % 4 === 3 ? 409 : 200)));
    const versions = answers.filter((answer) => answer.status === 200).map((answer) => answer.body.results[0].version);
    assert.deepEqual(versions.toSorted((a, b) => a - b), Array.from({ length: 15 }, (_, at) => at + 1));
    assert.equal((await runtime.truth(sub)).records.size, 15);
  });

  test("eight clients at once: every version is used once, and each client's order is kept", async () => {
    const sub = runtime.subject();
    const devices = Array.from({ length: 8 }, () => newDevice(sub));
    const versions = [];
    const work = devices.map(async (device, who) => {
      let last = 0;
      for (let n = 0; n < 12; n += 1) {
        const { version } = await device.push([put(`c${who}`, { n }), put(`c${who}-${n}`, {})]);
        assert.ok(version > last, "a client's later mutation has a later version");
        versions.push((last = version));
      }
    });
    await Promise.all(work);
    assert.deepEqual(versions.toSorted((a, b) => a - b), Array.from({ length: 96 }, (_, at) => at + 1));
    const truth = await runtime.truth(sub);
    assert.equal(truth.records.size, 8 + 96);
    for (const who of devices.keys()) assert.deepEqual(truth.records.get(`todos c${who}`).value, { n: 11 });
  });
});

describe("epochs", { concurrency: 4 }, () => {
  test("a wrong epoch is refused with the position and the last number of the client", async () => {
    const device = newDevice();
    await device.pushMutations([{ changes: [put("t1", {})] }, { changes: [put("t2", {})] }]);
    const wrong = { client: device.id, epoch: "0aaaaaaaaaaaa", mutations: [{ id: 3, changes: [put("t3", {})] }] };
    const problem = await assertRefused(device, wrong, 409, "epoch_mismatch");
    assert.deepEqual([problem.position, problem.last], [device.min, 2]);
    const stranger = { ...wrong, client: "c_stranger" };
    assert.equal((await assertRefused(device, stranger, 409, "epoch_mismatch")).last, 0);
  });

  test("after a new epoch began, the client gets on as the contract says", async () => {
    const device = newDevice();
    await device.push([put("t1", { n: 1 })]);
    await device.pull();
    const old = device.epoch;
    const reset = await device.ask("/spaces/~/reset-epoch", { method: "POST" });
    assert.equal(reset.status, 200, reset.text);
    assert.ok(reset.body.epoch > old, "a later epoch sorts after an earlier one");
    const pushed = await device.pushMutations([{ changes: [put("t2", { n: 2 })] }]);
    assert.equal(pushed.status, 409);
    assert.equal(pushed.body.code, "epoch_mismatch");
    assert.equal(pushed.body.position.split(".")[0], reset.body.epoch);
    const took = await device.pull({ min: pushed.body.position });
    assert.equal(took.resets, 1);
    Object.assign(device, { id: "c_second_life", next: 1 });
    assert.equal((await device.push([put("t2", { n: 2 })], { epoch: old, base: 1 })).status, "applied");
    await device.pull();
    assert.deepEqual(device.state(), [["todos t1", { n: 1 }], ["todos t2", { n: 2 }]]);
  });
});

describe("the envelope and the limits", { concurrency: 4 }, () => {
  const changes = [put("t1", {})];
  const envelopes = {
    "a body that is not JSON": "{",
    "a body that is no object": "[]",
    "no client": { mutations: [{ id: 1, changes }] },
    "a client id that is too short": { client: "c_1", mutations: [{ id: 1, changes }] },
    "a client id with a space": { client: "c 12345678", mutations: [{ id: 1, changes }] },
    "an epoch of the wrong form": { client: "c_12345678", epoch: "NO", mutations: [{ id: 1, changes }] },
    "a since of the wrong form": { client: "c_12345678", since: "1", mutations: [{ id: 1, changes }] },
    "a negative since": { client: "c_12345678", since: -1, mutations: [{ id: 1, changes }] },
    "a since that is no whole number": { client: "c_12345678", since: 1.5, mutations: [{ id: 1, changes }] },
    "an onConflict that is no policy": { client: "c_12345678", onConflict: "overwrit", mutations: [{ id: 1, changes }] },
    "an onConflict that is no text": { client: "c_12345678", onConflict: ["merge"], mutations: [{ id: 1, changes }] },
    "a field that a push does not have": { client: "c_12345678", sinse: 1, mutations: [{ id: 1, changes }] },
    "a field twice": '{"client":"c_12345678","since":0,"since":0,"mutations":[]}',
    "an acked of the wrong form": { client: "c_12345678", acked: 1.5, mutations: [{ id: 1, changes }] },
    "a mutation without id": { client: "c_12345678", mutations: [{ changes }] },
    "an id of 0": { client: "c_12345678", mutations: [{ id: 0, changes }] },
    "an id beyond 2^53": { client: "c_12345678", mutations: [{ id: 2 ** 53, changes }] },
    "ids that are not consecutive": { client: "c_12345678", mutations: [{ id: 1, changes }, { id: 3, changes }] },
    "ids that fall": { client: "c_12345678", mutations: [{ id: 2, changes }, { id: 1, changes }] },
  };
  for (const [name, body] of Object.entries(envelopes)) {
    test(`${name} fails the whole request with 400`, () => assertRefused(newDevice(), body, 400, "malformed"));
  }

  test("a whole number is one however it is written", async () => {
    const device = newDevice();
    const { epoch } = (await device.post({ client: device.id, mutations: [{ id: 1, changes }] })).body;
    const later = JSON.stringify(put("t1", { n: 1 }));
    const push = `{"client":"${device.id}","epoch":"${epoch}","since":1.0,"acked":1e0,"mutations":[
      {"id":2.0,"at":1795341182362.0,"base":10e-1,"changes":[${later}]},{"id":3e0,"changes":[{"op":"delete","collection":"todos","id":"t1","base":2.0}]}]}`;
    const { status, body, text } = await device.post(push);
    assert.equal(status, 200, text);
    assert.deepEqual(body.results.map((result) => [result.id, result.status, result.version]), [[2, "applied", 2], [3, "applied", 3]]);
    for (const bad of ["1.5", "-1", "1e16", "1e999"]) {
      const wrong = await device.post(push.replace('"since":1.0', `"since":${bad}`));
      assert.deepEqual([wrong.status, wrong.body.detail], [400, "since is not a whole number from 0 to 2^53-1"], bad);
    }
  });

  test("a content type other than JSON is refused with 415", async () => {
    const device = newDevice();
    const body = { client: device.id, mutations: [{ id: 1, changes }] };
    const answer = await device.post(body, { headers: { "content-type": "text/html" } });
    assert.deepEqual([answer.status, answer.body.code], [415, "unsupported_media_type"]);
  });

  const many = (count, each) => Array.from({ length: count }, (_, at) => each(at));
  const tooLarge = {
    "a body over 4 MiB": () => many(5, (at) => ({ id: at + 1, changes: [put("t", { s: "x".repeat(0.9 * MIB) })] })),
    "501 mutations": () => many(501, (at) => ({ id: at + 1, changes: [] })),
    "2,001 changes": () =>
      many(3, (at) => ({ id: at + 1, changes: many(667, (n) => put(`t${n}`, {})) })),
  };
  for (const [name, mutations] of Object.entries(tooLarge)) {
    test(`${name} is refused with 413`, async () => {
      const device = newDevice();
      await assertRefused(device, { client: device.id, mutations: mutations() }, 413, "too_large");
    });
  }

  test("a body over 4 MiB is refused though its length is not announced", async () => {
    const device = newDevice();
    const chunk = new TextEncoder().encode(" ".repeat(MIB));
    const body = ReadableStream.from((async function* chunks() {
      for (let n = 0; n < 6; n += 1) yield chunk;
    })());
    const headers = { "content-type": "application/json" };
    const answer = await device.ask("/sync/push", { method: "POST", headers, body, duplex: "half" });
    assert.deepEqual([answer.status, answer.body.code], [413, "too_large"]);
  });

  test("a short mutation that would rewrite more than 4 MiB is rejected, and the space goes on", async () => {
    const device = newDevice();
    for (let batch = 0; batch < 5; batch += 1) {
      const puts = many(4, (at) => ({ changes: [put(`long${batch * 4 + at}`, { s: "x".repeat(250_000) })] }));
      assert.equal((await device.pushMutations(puts)).status, 200);
    }
    const adds = many(20, (at) => ({ op: "add", collection: "todos", id: `long${at}`, path: "n", by: 1 }));
    const { body } = await device.pushMutations([{ changes: adds }, { changes: [put("after", {})] }]);
    assert.deepEqual(body.results.map(({ status, code }) => [status, code]), [["rejected", "too_large"], ["applied", undefined]]);
  });

  test("field names however long never make a push fail", async () => {
    const device = newDevice();
    for (let round = 0; round < 12; round += 1) {
      const value = { [`${"n".repeat(240_000)}${round}`]: 1 };
      const { body, text } = await device.pushMutations([{ changes: [put("t1", value)] }]);
      assert.equal(body.results?.[0].status, "applied", text.slice(0, 200));
    }
  });

  test("exactly the limits are taken", async () => {
    const device = newDevice();
    const two = many(2, (at) => ({ changes: many(1000, (n) => put(`m${at}-${n}`, {})) }));
    assert.deepEqual((await device.pushMutations(two)).body.results.map((result) => result.status), ["applied", "applied"]);
    const small = many(500, () => ({ changes: [] }));
    assert.equal((await device.pushMutations(small)).status, 200);
    const value = { s: "x".repeat(256 * 1024 - '{"s":""}'.length) };
    assert.equal((await device.push([put("big", value)])).status, "applied");
    await device.pull();
    assert.deepEqual(device.records.get("todos big").value, value);
  });
});

describe("the answer", { concurrency: 4 }, () => {
  test("with since, it brings what the client was missing, its own push included", async () => {
    const sub = runtime.subject();
    const [one, two] = [newDevice(sub), newDevice(sub)];
    await one.push([put("t1", { n: 1 })]);
    await two.pull();
    await one.push([put("t1", { n: 2 }), put("t2", {})]);
    const { body } = await two.pushMutations([{ changes: [put("t3", {})] }], { since: two.version });
    assert.deepEqual([body.version, body.more, body.reset], [3, false, false]);
    two.applyPushAnswer(body);
    assert.deepEqual(two.state(), (await runtime.truth(sub)).state());
    assert.ok(body.changes.every((change) => change.version > 1), "nothing at or below since was sent again");
  });

  test("what is missing and does not fit 64 KiB is left to a pull", async () => {
    const sub = runtime.subject();
    const [one, two] = [newDevice(sub), newDevice(sub)];
    await one.load("todos", Array.from({ length: 100 }, (_, at) => [`t${at}`, { s: "x".repeat(1000) }]));
    const { body } = await two.pushMutations([{ changes: [put("t3", {})] }], { since: 0 });
    assert.deepEqual([body.more, body.changes], [true, []]);
    await two.pull({ min: `${body.epoch}.${body.version}` });
    assert.deepEqual(two.state(), (await runtime.truth(sub)).state());
  });

  test("without since, it brings no changes", async () => {
    const { body } = await newDevice().pushMutations([{ changes: [put("t1", {})] }]);
    assert.deepEqual(body.changes ?? [], []);
  });

  test("a one-record push in steady state writes three rows", async () => {
    const device = newDevice();
    for (let n = 0; n < 3; n += 1) await device.push([put(`t${n}`, { n })]);
    for (const [id, n] of [["t1", 10], ["t-new", 11], ["t1", 12]]) {
      const { used } = await device.pushMutations([{ changes: [put(id, { n })] }]);
      assert.equal(used.rows_written, 3, `push of ${id} ${n}`);
    }
  });

  test("a push at another location is numbered by the same coordinator", async () => {
    const sub = runtime.subject();
    const [here, there] = [newDevice(sub), runtime.device(sub, { at: "a" })];
    assert.equal((await here.push([put("t1", {})])).version, 1);
    assert.equal((await there.push([put("t2", {})])).version, 2);
    await here.pull({ consistency: "strong" });
    assert.deepEqual(here.state().map(([key]) => key), ["todos t1", "todos t2"]);
  });
});
