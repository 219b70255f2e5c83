// The platform as it is (platform.mjs): objects that hang or refuse, streams that outlive their token, other secrets in the
// Worker than in the object, commits that take a while, pages of the platform's own, where objects are placed, and what each
// kind of request uses of what is billed or limited.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime, ISSUER } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";
import { Obedient, over } from "./obedient.mjs";
import { directoryHash, userHash } from "./published.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const kilobytes = (count) => Array.from({ length: count }, (_, at) => [`r${at}`, { s: `${at} `.repeat(200) }]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// Nobody waits long for what hangs at one location; at the other big answers have the time that they need.
const [PACE, BRISK] = [20, 6];
const NDJSON = "application/x-ndjson";

// Increments ask the object, as in deployment; what is pushed is published within moments all the same.
const variables = { PUBLISH_AFTER_PULLS: "50", PUBLISH_MAX_DELAY_MS: "1000", PUBLISH_INTERVAL_MS: "1000" };
let runtime;
before(async () => {
  runtime = await startRuntime({ locations: ["hurried", "brisk", "a", "b", "c"], variables, platform: { frozenClock: true, commitMs: 10 } });
  await runtime.setPace("hurried", PACE);
  await runtime.setPace("brisk", BRISK);
  // Another isolate of location "a".
  await runtime.kv("b", "*", { location: "a" });
});
after(() => runtime.stop());

const published = (writer) => runtime.waitForPublished(writer.sub, writer.min);

/** A client that obeys and does not wait. `told` and `met` say what it makes of it. */
function obedient(sub, { on = runtime, at = "home", ...options } = {}) {
  const met = [];
  const carry = over(on, at);
  const send = async (...asked) => {
    const answer = await carry(...asked);
    if (answer.status >= 300) met.push(answer.body?.code ?? `${answer.status} without a code`);
    return answer;
  };
  return Object.assign(new Obedient({ send, newToken: () => on.token(sub), wait: async () => {}, ...options }), { sub, met });
}

test("the clock stands still while the Worker computes, and goes on when it has waited", async (context) => {
  const { clock } = await runtime.platform("a", { spin: 30 });
  assert.equal(clock.during, 0);
  assert.ok(clock.after >= 30, `${clock.after} ms`);
  const plain = await startRuntime({ platform: { frozenClock: false } });
  context.after(() => plain.stop());
  assert.ok((await plain.platform("home", { spin: 30 })).clock.during > 0, "otherwise it goes on");
});

describe("an object that hangs", { concurrency: 3 }, () => {
  const HANGS = { rules: [{ call: "answer", fault: "hangs", times: 1e9 }] };
  /** An answer, and after how many of the Worker's seconds it came. */
  const timed = async (ask) => {
    const begun = performance.now();
    return { answer: await ask(), took: ((performance.now() - begun) * PACE) / 1000 };
  };

  test("a pull that can do without is answered from what was published: after 8 s where the head is known, else after 25 s", async () => {
    for (const [read, seconds] of [["stream", 8], ["pull", 25]]) {
      const writer = runtime.device(runtime.subject(), { at: "hurried" });
      await writer.push([put("r", { n: 1 })]);
      await published(writer);
      // Only a stream reads the head in KV; the object alone answers in pages.
      await writer[read]();
      // What is known is good for 30 s; then the object is asked.
      await pause(36_000 / PACE);
      await runtime.object(writer.sub, HANGS);
      const { answer, took } = await timed(() => writer.askPull({ epoch: writer.epoch, since: writer.version }));
      assert.equal(answer.status, 200, answer.text);
      assert.ok(took >= seconds && took < seconds + 14, `${read}: ${took} s`);
    }
  });

  test("a strong pull, a push and a list get 503 with Retry-After after 25 s, and when it does not hang any more the same push is taken", async () => {
    const writer = runtime.device(runtime.subject(), { at: "hurried" });
    await writer.push([put("r", { n: 1 })]);
    await runtime.object(writer.sub, HANGS);
    const asked = [
      () => writer.askPull({ consistency: "strong" }),
      () => writer.pushMutations([{ changes: [put("r", { n: 2 })] }]),
      () => writer.ask("/sync/conflict"),
    ];
    for (const { answer, took } of await Promise.all(asked.map(timed))) {
      assert.deepEqual([answer.status, answer.body?.code, answer.response.headers.get("retry-after")], [503, "upstream", "2"]);
      assert.ok(took >= 25 && took < 60, `${took} s`);
    }
    await runtime.object(writer.sub, { clear: true });
    assert.equal((await writer.push([put("r", { n: 3 })])).status, "applied");
    assert.deepEqual((await runtime.truth(writer.sub)).state(), [["c r", { n: 3 }]]);
  });

  test("of what it was asked meanwhile nobody hears later, and a client that obeys comes to rest", async () => {
    const one = obedient(runtime.subject(), { at: "hurried", wait: () => pause(50) });
    one.edit([put("a")]);
    assert.equal(await one.rest(), "settled");
    one.edit([put("b")]);
    await runtime.object(one.sub, HANGS);
    const rests = one.rest();
    await eventually("it was told to come back", async () => one.met.length >= 1);
    await runtime.object(one.sub, { clear: true });
    assert.equal(await rests, "settled");
    assert.deepEqual([one.outbox.length, one.told.length], [0, 0]);
  });
});

describe("a day's share of the free plan that is used up", { concurrency: 3 }, () => {
  for (const [call, what] of [["fetch", "requests"], ["exec", "rows to read"], ["transactionSync", "rows to write"]]) {
    test(`of ${what}: nothing is done, nobody is refused for good, and all of it is done once there is a new day`, async () => {
      const one = obedient(runtime.subject(), { wait: () => pause(50) });
      one.edit([put("a")]);
      assert.equal(await one.rest(), "settled");
      await runtime.object(one.sub, { rules: [{ call, fault: "used up", times: 1e9 }] });
      const { status, text, body } = await runtime.device(one.sub).pushMutations([{ changes: [put("b")] }]);
      assert.ok(status >= 500 && body?.code, text);
      one.edit([put("c")]);
      const rests = one.rest();
      await eventually("it was told so", async () => one.met.length >= 3);
      await runtime.object(one.sub, { clear: true });
      assert.equal(await rests, "settled");
      assert.deepEqual([one.told.length, [...one.records.keys()]], [0, ["c a", "c c"]]);
    });
  }
});

describe("streams", { concurrency: 2 }, () => {
  test("of published objects end with the token of whoever reads them, also in the middle", async () => {
    const writer = runtime.device(runtime.subject());
    await writer.load("c", kilobytes(1200));
    await published(writer);
    await runtime.kv("c", writer.sub, { rules: [{ op: "get", key: "object", fault: "trickle", ms: 500, rate: 1 }] });
    // A minute of leeway belongs to the end of a token.
    const token = runtime.token(writer.sub, { exp: Math.floor(Date.now() / 1000) - 60 + 5 });
    // Not packed, because what packs it holds on to most of it.
    const headers = { authorization: `Bearer ${token}`, accept: NDJSON, "accept-encoding": "identity" };
    const response = await runtime.fetch("c", "/sync/pull", { headers });
    const [begun, decoder] = [performance.now(), new TextDecoder()];
    let text = "";
    try {
      for await (const chunk of response.body) text += decoder.decode(chunk, { stream: true });
    } catch {
      // It is broken off.
    }
    const seconds = (performance.now() - begun) / 1000;
    assert.deepEqual([response.status, response.headers.get("headwater-source")], [200, "kv"]);
    assert.ok(text.length > 60_000, `${text.length} bytes came before`);
    assert.ok(!text.includes('"end":'), "it is not whole");
    assert.ok(seconds < 6.5, `${seconds.toFixed(1)} s`);
    await runtime.kv("c", writer.sub, { clear: true });
    assert.equal((await runtime.device(writer.sub, { at: "c" }).stream()).connections, 1, "the same with a good token is whole");
  });

  test("of pages let a reader go that takes nothing for 30 s, and nobody else", async () => {
    const writer = runtime.device(runtime.subject());
    await writer.load("c", Array.from({ length: 260 }, (_, at) => [`r${at}`, { s: `${at} `.repeat(12_000) }]));
    const { hostname: host, port } = new URL(await runtime.url("brisk"));
    const headers = { authorization: `Bearer ${writer.token}`, accept: NDJSON };
    /** What a reader gets who begins to read after so long; more than the machine holds between the two. */
    const readAfter = async (ms) => {
      const options = { host, port, path: "/sync/pull?consistency=strong", headers, agent: false };
      const response = await new Promise((resolve) => request(options, resolve).end());
      assert.equal(response.statusCode, 200);
      await pause(ms);
      let text = "";
      return new Promise((resolve) => {
        response.on("data", (chunk) => (text += chunk)).on("close", () => resolve(text)).on("error", () => {});
      });
    };
    const [late, soon] = await Promise.all([readAfter(36_000 / BRISK + 1000), readAfter(500)]);
    assert.deepEqual([late, soon].map((text) => text.includes('{"end":')), [false, true], `${late.length} bytes of ${soon.length}`);
  });
});

describe("an object that keeps its secrets while the Worker has others", { concurrency: 2 }, () => {
  const [old, fresh] = ["o", "n"].map((letter) => letter.repeat(32));
  const shared = async (on) => {
    const owner = new Member(on, "owner");
    const id = await owner.create(spaceId());
    const one = obedient(owner.sub, { on, at: "new", space: id });
    one.edit([put("kept")]);
    return one;
  };
  const start = (home, edge) => {
    const differing = { home: { variables: home }, new: { variables: edge } };
    return startRuntime({ locations: ["new"], platform: { frozenClock: true }, differing });
  };

  test("replaced at once: a reader is asked for grants again and again, keeps what it has, and takes itself for removed by none of it", async () => {
    const on = await start({ GRANT_SECRET: old }, { GRANT_SECRET: old });
    const one = await shared(on);
    assert.equal(await one.rest(), "settled");
    on.differing.new.variables.GRANT_SECRET = fresh;
    await on.restart();
    let waited = 0;
    one.wait = async (ms) => {
      waited += ms;
      if (waited < 5 * 60_000 || on.differing.home.variables.GRANT_SECRET === fresh) return;
      // By then the object has been given up by the platform and begins with the Worker's secrets.
      on.differing.home.variables.GRANT_SECRET = fresh;
      await on.restart();
    };
    one.grant = null;
    one.edit([put("later")]);
    assert.equal(await one.rest(), "settled");
    assert.ok(one.met.length >= 5 && one.met.every((code) => code === "grant_required"), one.met.join());
    assert.ok(waited >= 5 * 60_000, "it took so long");
    assert.deepEqual([one.told.length, [...one.records.keys()].filter((key) => key.startsWith("c "))], [0, ["c kept", "c later"]]);
    await on.stop();
  });

  test("replaced in the three steps of SECURITY.md: nobody notices at any of them", async () => {
    const steps = [{ GRANT_SECRET: old }, { GRANT_SECRET: old, GRANT_SECRET_OTHER: fresh }, { GRANT_SECRET: fresh, GRANT_SECRET_OTHER: old }, { GRANT_SECRET: fresh }];
    const on = await start({ ...steps[0] }, { ...steps[0] });
    const one = await shared(on);
    for (const [at, object] of steps.entries()) {
      for (const edge of steps.slice(at, at + 2)) {
        on.differing.home.variables = object;
        on.differing.new.variables = edge;
        await on.restart();
        // A grant of the object's, as it signs now, and the one that it signed before.
        for (const grant of [one.grant, null]) {
          one.grant = grant;
          one.edit([put(`at-${at}`)]);
          assert.equal(await one.rest(), "settled");
        }
      }
    }
    // A client without a grant is told so once, and asks for one.
    assert.deepEqual([one.met.every((code) => code === "grant_required"), one.met.length, one.told.length], [true, 8, 0]);
    await on.stop();
  });
});

// OLD_CHECKOUT=… names a built checkout of an earlier version: the objects run it, and the Worker is this one.
test("objects of the build before, under this Worker: clients come to rest and are told of no loss", { skip: !process.env.OLD_CHECKOUT && "OLD_CHECKOUT names none" }, async () => {
  const differing = { home: { checkout: process.env.OLD_CHECKOUT } };
  const on = await startRuntime({ locations: ["new"], differing });
  const owner = new Member(on, "owner", { at: "new" });
  for (const space of ["~", await owner.create(spaceId())]) {
    const one = obedient(owner.sub, { on, at: "new", space });
    for (const id of ["a", "b"]) {
      one.edit([put(id)]);
      assert.equal(await one.rest(), "settled");
    }
    assert.deepEqual([one.told.length, one.met.filter((code) => code !== "grant_required")], [0, []]);
  }
  await on.stop();
});

describe("commits that take a while", () => {
  for (const [commitMs, clients, rounds] of [[10, 1, 10], [10, 8, 10], [10, 32, 6], [30, 1, 5], [30, 8, 5], [30, 32, 4]]) {
    test(`of ${commitMs} ms: what ${clients} ${clients === 1 ? "client pushes" : "clients push"} at once is acknowledged once each, none before it is durable, none lost`, async () => {
      await runtime.platform("home", { commitMs });
      const sub = runtime.subject();
      const devices = Array.from({ length: clients }, () => runtime.device(sub));
      const versions = [];
      await Promise.all(devices.map(async (device, who) => {
        for (let n = 0; n < rounds; n += 1) {
          const begun = performance.now();
          const { status, version } = await device.push([put(`r${who}-${n}`)]);
          assert.ok(performance.now() - begun >= commitMs - 1, "acknowledged after the commit");
          assert.equal(status, "applied");
          versions.push(version);
        }
      }));
      await runtime.platform("home", { commitMs: 10 });
      const all = clients * rounds;
      assert.deepEqual(versions.toSorted((a, b) => a - b), Array.from({ length: all }, (_, at) => at + 1));
      assert.equal((await runtime.truth(sub)).records.size, all);
    });
  }
});

test("an inviter's requests reach a newcomer's directory, where the first of them may place it, and never the newcomer's private space", async () => {
  const [owner, newcomer] = [new Member(runtime, "owner"), new Member(runtime, "newcomer", { at: "a" })];
  const id = await owner.create(spaceId());
  await owner.set(id, newcomer, "writer");
  await owner.ask("GET", `/spaces/${id}/members`);
  const directory = () => runtime.object({ scope: directoryHash(ISSUER, newcomer.sub) });
  await eventually("the hint has come", async () => (await directory()).calls === 1);
  const [inviter, invited] = [owner, newcomer].map(({ sub }) => userHash(ISSUER, sub));
  const first = ({ user, kind, calls }) => ({ user, kind, calls });
  assert.deepEqual(first(await directory()), { user: inviter, kind: "directory", calls: 1 });
  assert.deepEqual(first(await runtime.object(newcomer.sub)), { user: undefined, kind: undefined, calls: 0 });
  await owner.set(id, newcomer, "reader");
  await owner.remove(id, newcomer);
  await owner.ask("DELETE", `/spaces/${id}`);
  assert.equal((await runtime.object(newcomer.sub)).calls, 0);
  await newcomer.put("~", "r");
  assert.deepEqual(first(await runtime.object(newcomer.sub)), { user: invited, kind: "private", calls: 1 });
  assert.deepEqual((await runtime.platform("home")).misplaced, []);
});

describe("what a request uses", () => {
  /** What a location uses for something, until what goes on after the answer is over, and what the answer says of it. */
  async function usedFor(at, sub, ask) {
    const look = async () => {
      const { used } = await runtime.platform(at);
      const kv = Object.entries(await runtime.counts(at, sub)).filter(([name]) => /^edge\.get\.(head|object)$/.test(name));
      return { ...used, kv: kv.reduce((sum, [, count]) => sum + count, 0) };
    };
    const isOver = () => eventually("nothing goes on", async () => (await runtime.platform(at)).used.after === 0);
    await isOver();
    const before = await look();
    const { status, text, response, used: said } = await ask();
    assert.ok(status < 400, text);
    await isOver();
    const now = await look();
    const more = (name) => now[name] - before[name];
    assert.deepEqual([said.kv, said.object], [more("kv"), more("object")], "it says how often it asked KV and the object");
    assert.ok(said.cache <= more("match"), "and how often it looked into the cache before it answered");
    assert.equal(more("fetch"), 0);
    return [response.headers.get("headwater-source"), ...["match", "put", "kv", "object"].map(more)];
  }

  // These are billed, or limited: on the free plan a request may make 50 calls of the cache, on the paid one 1,000.
  test("of the cache, of KV and of objects is what this table says, work after the answer included", async () => {
    const writer = runtime.device(runtime.subject());
    await writer.load("c", kilobytes(1200));
    await published(writer);
    await eventually("the publisher rests", async () => (await runtime.object(writer.sub)).rests);
    const { sub } = writer;
    const { delta, base } = await runtime.head(sub);
    assert.equal([delta, base].flatMap((run) => run?.parts ?? []).length, 1, "all but the tail is one part");
    const load = (at) => () => runtime.device(sub, { at }).askPull({}, { accept: NDJSON });
    const reader = runtime.device(sub, { at: "c" });
    const since = () => ({ epoch: reader.epoch, since: reader.version });
    const increment = (at = "a") => () => reader.askPull(since(), { at });
    const rows = {};
    const row = async (what, at, ask) => (rows[what] = await usedFor(at, sub, ask));
    await row("a first load where nothing is known", "a", load("a"));
    await row("a first load of what memory has", "a", load("a"));
    await row("a first load of what the location's cache has", "b", load("b"));
    await reader.pull();
    await writer.push([put("new")]);
    await pause(1100);
    await row("an increment behind what the location knows", "a", increment());
    await row("an increment out of memory", "a", increment());
    await pause(1100);
    await row("an increment out of the location's cache", "b", increment("b"));
    await row("a strong pull", "a", () => reader.askPull({ ...since(), consistency: "strong" }, { at: "a" }));
    await row("a push", "a", () => runtime.device(sub, { at: "a" }).pushMutations([{ changes: [put("newer")] }]));
    await row("an increment after a push, which the object answers", "a", increment());
    assert.deepEqual(rows, {
      // The source, looks into the cache, puts into it, reads of KV, requests to the object.
      "a first load where nothing is known": ["kv", 3, 1, 2, 0],
      "a first load of what memory has": ["kv", 0, 0, 1, 0],
      "a first load of what the location's cache has": ["kv", 3, 1, 1, 0],
      "an increment behind what the location knows": ["edge", 3, 0, 0, 0],
      "an increment out of memory": ["edge", 0, 0, 0, 0],
      "an increment out of the location's cache": ["edge", 3, 0, 0, 0],
      "a strong pull": ["coordinator", 0, 1, 0, 1],
      "a push": [null, 1, 1, 0, 1],
      "an increment after a push, which the object answers": ["coordinator", 3, 1, 0, 1],
    });
  });
});

// Cloudflare's own pages carry no code, no CORS header, and statuses that mean something else in the contract.
const PAGES = [
  ["a firewall rule", { status: 403, error: 1020 }],
  ["a Worker that threw", { status: 500, error: 1101 }],
  ["a Worker that took too much", { status: 503, error: 1102 }],
  ["a rate limit of the zone", { status: 429, error: 1015 }],
  ["a day's requests that are used up", { status: 429, error: 1027 }],
  ["an origin that is gone", { status: 521 }],
  ["a Worker that threw when all was done", { status: 500, error: 1101, isAfter: true }],
];

describe("a page of the platform's own", { concurrency: 1 }, () => {
  for (const [what, page] of PAGES) {
    test(`(${page.status}, ${what}) instead of pulls, grants and pushes is taken for what it is: nobody is removed and nothing is refused`, async () => {
      const at = "c";
      const owner = new Member(runtime, "owner");
      const one = obedient(owner.sub, { at, space: await owner.create(spaceId()) });
      one.edit([put("a")]);
      assert.equal(await one.rest(), "settled");
      one.met.length = 0;
      one.grant = null;
      const paths = ["/sync/push", "/sync/pull", "/spaces"];
      await runtime.platform(at, { pages: paths.map((path) => ({ path, ...page, times: 3 })) });
      one.edit([put("b")]);
      assert.equal(await one.rest(), "settled");
      await runtime.platform(at, { pages: [] });
      const pages = one.met.filter((code) => code === `${page.status} without a code`);
      assert.deepEqual([pages.length, one.met.filter((code) => !pages.includes(code)), one.told], [9, ["grant_required"], []]);
      assert.deepEqual([...one.records.keys()].filter((key) => key.startsWith("c ")), ["c a", "c b"]);
    });
  }
});
