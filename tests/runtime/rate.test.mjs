// Who asks too often: the buckets in the object, what the edge remembers of a refusal, and the platform's rate limiter.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member } from "./member.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One mutation of a device's own counting, whatever the answer. */
const pushOne = (device) => device.pushMutations([{ changes: [put("r", { n: device.next })] }]);

/** Pushes until one is refused; that answer, and how many were taken. */
async function pushUntilRefused(device, most = 200) {
  for (let taken = 0; taken < most; taken += 1) {
    const answer = await pushOne(device);
    if (answer.status !== 200) return { answer, taken };
  }
  return assert.fail(`${most} pushes were taken`);
}

function assertRateLimited({ status, body, response, text }) {
  assert.deepEqual([status, body?.code], [429, "rate_limited"], text);
  const seconds = Number(response.headers.get("retry-after"));
  assert.ok(Number.isInteger(seconds) && seconds >= 1, `Retry-After is ${seconds}`);
  assert.equal(body.retryAfter, seconds);
  assert.equal(response.headers.get("cache-control"), "no-store");
  return seconds;
}

describe("the buckets of a space", () => {
  let runtime;
  before(async () => {
    const variables = { RATE_USER_PER_S: "2", RATE_SPACE_PER_S: "1000" };
    runtime = await startRuntime({ variables, locations: ["a"] });
  });
  after(() => runtime.stop());

  test("a user has ten seconds' worth at once, is then told when to come back, and is taken then", async () => {
    const device = runtime.device(runtime.subject());
    const { answer, taken } = await pushUntilRefused(device);
    assert.ok(taken >= 20 && taken <= 40, `${taken} were taken at 2 a second`);
    const seconds = assertRateLimited(answer);
    assert.equal(answer.response.headers.get("access-control-allow-origin"), null);
    await pause(seconds * 1000);
    assert.equal((await pushOne(device)).status, 200, "after Retry-After it is taken");
    const now = await runtime.device(device.sub).ask(`/sync/pull?consistency=eventual`);
    assert.ok([200, 429].includes(now.status));
  });

  test("nothing of a refused push is applied, and its numbers stay free", async () => {
    const device = runtime.device(runtime.subject());
    const { answer, taken } = await pushUntilRefused(device);
    await pause(assertRateLimited(answer) * 1000);
    const { body } = await pushOne(device);
    assert.deepEqual([body.version, body.results[0].version], [taken + 1, taken + 1]);
  });

  test("the same user at another location is refused too, and another user is not", async () => {
    const device = runtime.device(runtime.subject());
    assertRateLimited((await pushUntilRefused(device)).answer);
    const there = runtime.device(device.sub, { at: "a" });
    assertRateLimited(await there.pushMutations([{ changes: [put("r")] }]));
    assert.equal((await pushOne(runtime.device(runtime.subject()))).status, 200);
  });

  /** A device whose user is in debt for more than half a minute, which its location knows. */
  async function indebted(device = runtime.device(runtime.subject())) {
    const changes = Array.from({ length: 1000 }, (_, at) => put(`r${at}`));
    assert.equal((await device.pushMutations([{ changes }, { changes }])).status, 200);
    const { status, used } = await pushOne(device);
    assert.deepEqual([status, used.object], [429, 1], "the object refuses");
    return device;
  }

  test("a refusal is repeated from memory on every route, without asking the object, to whoever waits for it", async () => {
    const device = await indebted();
    const asks = {
      push: () => pushOne(device),
      pull: () => device.ask("/sync/pull?consistency=strong"),
      "pull in a body": () => device.askPull({ consistency: "strong" }),
      stream: () => device.ask("/sync/pull?consistency=strong", { headers: { accept: "application/x-ndjson" } }),
      conflicts: () => device.ask("/sync/conflict"),
    };
    for (const [name, ask] of Object.entries(asks)) {
      const start = Date.now();
      const answer = await ask();
      assert.equal(answer.used.object, 0, `${name}: the object was asked`);
      assertRateLimited(answer);
      assert.ok(Date.now() - start >= 1000, `${name}: a loop would be billed for each turn`);
    }
    const eventual = await device.ask("/sync/pull?consistency=eventual");
    assert.deepEqual([eventual.status, eventual.used.object], [200, 0], eventual.text);
  });

  test("a list is another object's business: whoever is in debt in a space can look where else to go", async () => {
    const device = await indebted();
    const listed = await device.ask("/spaces");
    assert.deepEqual([listed.status, listed.used.object], [200, 1], listed.text);
  });

  test("who asks a moment before the time waits and is taken", async () => {
    const device = runtime.device(runtime.subject());
    assert.equal(assertRateLimited((await pushUntilRefused(device)).answer), 1);
    assert.equal((await pushOne(device)).status, 200);
  });

  test("pages that one user asks for at once come one by one, and those behind are paid for by the first", async () => {
    const device = runtime.device(runtime.subject());
    const text = "x".repeat(240_000);
    for (let n = 0; n < 2; n += 1) assert.equal((await device.pushMutations([{ changes: [put(`long${n}`, { text })] }])).status, 200);
    await pause(5000);
    const page = () => device.ask("/sync/pull?consistency=strong");
    const answers = await Promise.all(Array.from({ length: 12 }, page));
    const taken = answers.filter(({ status }) => status === 200);
    assert.ok(taken.length >= 1 && taken.length < 12, `${taken.length} of 12 were taken, at some 5 units each of 20`);
    answers.filter(({ status }) => status !== 200).forEach(assertRateLimited);
  });

  test("a refusal from memory is seen by a sender whose body is long", async () => {
    const device = await indebted();
    const changes = [put("r", { text: "x".repeat(250_000) })];
    assertRateLimited(await device.post({ client: "c_long_bodies", mutations: [1, 2, 3, 4, 5, 6, 7, 8].map((id) => ({ id, changes })) }));
  });

  test("a pull that asks the object is refused; one that memory answers is not, nor one that takes whatever is there", async () => {
    const device = runtime.device(runtime.subject());
    const elsewhere = runtime.device(device.sub, { at: "a" });
    await pushOne(device);
    for (const one of [device, elsewhere]) await one.pull();
    await indebted(device);
    assertRateLimited(await device.ask("/sync/pull?consistency=strong"));
    assertRateLimited(await device.ask(`/sync/pull?epoch=${device.epoch}&since=${device.version}`));
    const eventual = `/sync/pull?consistency=eventual&epoch=${device.epoch}&since=${device.version}`;
    const remembered = await elsewhere.ask(eventual);
    assert.deepEqual([remembered.status, remembered.used.object], [200, 0], remembered.text);
    const held = await device.ask(eventual);
    assert.equal(held.status, 200, held.text);
  });

  test("a big push is taken at once and delays the next", async () => {
    const device = runtime.device(runtime.subject());
    const changes = Array.from({ length: 1000 }, (_, at) => put(`r${at}`));
    const big = await device.pushMutations([{ changes }, { changes }]);
    assert.equal(big.status, 200, big.text);
    const seconds = assertRateLimited(await pushOne(device));
    assert.ok(seconds >= 35 && seconds <= 50, `2,000 changes cost 100 units, at 2 a second: ${seconds} s`);
  });

  test("a short push costs what it makes of a long record", async () => {
    const device = runtime.device(runtime.subject());
    await device.pushMutations([{ changes: [put("long", { text: "x".repeat(250_000) })] }]);
    const patch = (n) => ({ changes: [{ op: "patch", collection: "c", id: "long", set: { n } }] });
    const short = await device.pushMutations(Array.from({ length: 60 }, (_, n) => patch(n)));
    assert.equal(short.status, 200, short.text);
    const seconds = assertRateLimited(await pushOne(device));
    assert.ok(seconds >= 95 && seconds <= 115, `60 times 250 KB cost 228 units, at 2 a second: ${seconds} s`);
  });

  test("a body that is no push costs as much as one that is", async () => {
    const device = runtime.device(runtime.subject());
    const answer = await device.post(`[${" ".repeat(4 * 1024 * 1024 - 10)}]`);
    assert.equal(answer.status, 400);
    const seconds = assertRateLimited(await pushOne(device));
    assert.ok(seconds >= 15, `4 MiB cost 64 units: ${seconds} s`);
  });
});

describe("a shared space", () => {
  let runtime;
  before(async () => (runtime = await startRuntime({ variables: { RATE_USER_PER_S: "4", RATE_SPACE_PER_S: "4" } })));
  after(() => runtime.stop());

  test("a stranger's long bodies are refused as that, paid for by the stranger, and cost the members nothing", async () => {
    const [alice, eve, rita] = ["alice", "eve", "rita"].map((name) => new Member(runtime, name));
    const id = await alice.create();
    await alice.set(id, rita, "reader");
    const body = "x".repeat(4 * 1024 * 1024 - 10);
    for (const other of [eve, rita]) {
      const answers = [];
      for (let n = 0; n < 3; n += 1) answers.push(await other.ask("POST", `/sync/push?space=${id}`, { body }));
      assert.deepEqual([answers[0].status, answers[0].body.code], [403, "forbidden"], answers[0].text);
      const seconds = assertRateLimited(answers[1]);
      assert.ok(seconds >= 5, `65 units of the 40 that there were, at 4 a second: ${seconds} s`);
      assertRateLimited(answers[2]);
    }
    assert.equal((await alice.put(id, "r")).status, 200);
  });

  test("what strangers are refused otherwise costs the members nothing either", async () => {
    const [alice, ...strangers] = ["alice", "eve", "mallory"].map((name) => new Member(runtime, name));
    const id = await alice.create();
    for (const stranger of strangers) {
      const ask = () => stranger.ask("GET", `/spaces/${id}/members`);
      const answers = await Promise.all(Array.from({ length: 60 }, ask));
      assert.ok(answers.filter(({ status }) => status === 403).length >= 30, "as many as a bucket holds, but for a few");
    }
    assert.equal((await alice.put(id, "r")).status, 200);
  });

  test("bodies of strangers do not take the room of a member's", async () => {
    const alice = new Member(runtime, "alice");
    const id = await alice.create();
    const body = "x".repeat(4 * 1024 * 1024 - 10);
    const strangers = Array.from({ length: 8 }, () => new Member(runtime, "eve").ask("POST", `/sync/push?space=${id}`, { body }));
    const statuses = (await Promise.all(strangers)).map(({ status, body }) => `${status} ${body.code}`);
    // The edge has a bound too; the object says nothing but that they are strangers.
    assert.ok(statuses.every((status) => ["403 forbidden", "503 overloaded"].includes(status)), `${statuses}`);
    assert.equal((await alice.put(id, "r")).status, 200);
  });

  test("whoever uses up what the space has can be removed by an owner who was refused before", async () => {
    const [alice, mallory] = ["alice", "mallory"].map((name) => new Member(runtime, name));
    const id = await alice.create();
    await alice.set(id, mallory, "writer");
    const changes = Array.from({ length: 1000 }, (_, at) => put(`r${at}`));
    const mutations = [{ id: 1, changes }, { id: 2, changes }];
    assert.equal((await mallory.ask("POST", `/sync/push?space=${id}`, { body: { client: mallory.client, mutations } })).status, 200);
    assertRateLimited(await alice.put(id, "r"));
    assertRateLimited(await alice.ask("GET", `/spaces/${id}/members`));
    assert.equal((await alice.remove(id, mallory)).status, 204, "although the edge remembers that the space refused alice");
    const again = await mallory.put(id, "r");
    assert.ok([403, 429].includes(again.status), again.text);
  });
});

test("the space as a whole has a bound of its own", async () => {
  const runtime = await startRuntime({ variables: { RATE_USER_PER_S: "0", RATE_SPACE_PER_S: "2" } });
  try {
    const device = runtime.device(runtime.subject());
    const { answer, taken } = await pushUntilRefused(device);
    assert.ok(taken >= 20 && taken <= 40, `${taken}`);
    assertRateLimited(answer);
    assert.equal((await pushOne(runtime.device(runtime.subject()))).status, 200, "another space has its own");
  } finally {
    await runtime.stop();
  }
});

describe("the platform's rate limiter", () => {
  const limited = (options) => startRuntime({ variables: { RATE_USER_PER_S: "0", RATE_SPACE_PER_S: "0" }, ...options });

  test("where it is bound, a user is refused above its limit, and what memory answers never is", async () => {
    const runtime = await limited({ worker: { ratelimits: { RATE_LIMITER: { namespace_id: "1", simple: { limit: 20, period: 10 } } } } });
    try {
      const device = runtime.device(runtime.subject());
      const { answer, taken } = await pushUntilRefused(device);
      assert.ok(taken >= 20 && taken <= 40, `${taken} were taken, in one or two of its periods`);
      assert.equal(assertRateLimited(answer), 10);
      assert.equal(answer.used.object, 0, "the object was not asked");
      assert.equal((await pushOne(runtime.device(runtime.subject()))).status, 200, "others are not meant");
      const other = runtime.device(runtime.subject());
      await pushOne(other);
      await other.pull();
      for (let n = 0; n < 100; n += 1) {
        const poll = await other.ask(`/sync/pull?consistency=eventual&epoch=${other.epoch}&since=${other.version}`);
        assert.equal(poll.status, 200, `poll ${n}`);
      }
    } finally {
      await runtime.stop();
    }
  });

  test("when it fails, requests pass", async () => {
    const runtime = await limited({ variables: { RATE_USER_PER_S: "0", RATE_SPACE_PER_S: "0", RATE_LIMITER: { broken: true } } });
    try {
      for (let n = 0; n < 5; n += 1) {
        assert.equal((await pushOne(runtime.device(runtime.subject()))).status, 200);
      }
    } finally {
      await runtime.stop();
    }
  });
});
