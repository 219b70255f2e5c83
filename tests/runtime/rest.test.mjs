// Every refusal leads somewhere: a client that does what docs/PROTOCOL.md says of each error comes to rest, from any state.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { eventually, startRuntime } from "./harness.mjs";
import { Member, mintGrant, spaceId } from "./member.mjs";
import { Obedient, answerOf, over } from "./obedient.mjs";
import { RATES, beBusy, count, live, put } from "./worlds.mjs";

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const WORLDS = Number(process.env.WORLDS ?? 16);
const MIB = 1024 * 1024;
const YEAR_MS = 366 * 86_400_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// In one of them nobody asks too much, in the other everybody does. Two locations have a time of their own: at one nobody waits
// long for what is late, at the other unfinished bodies are held while a test looks at what that does.
const PACES = { hurried: 5, narrow: 0.1 };
let runtime;
let strict;
before(async () => {
  [runtime, strict] = await Promise.all([startRuntime({ locations: Object.keys(PACES) }), startRuntime({ variables: RATES })]);
  for (const [location, pace] of Object.entries(PACES)) await runtime.setPace(location, pace);
});
after(() => Promise.all([runtime.stop(), strict.stop()]));

// Rows of the table that the tests below have met, each by its code or, where it has two, by that and what is refused.
const metByAll = new Set();
const rowOf = (code, path) => (code === "epoch_mismatch" ? `${code} ${path.includes("/sync/push") ? "push" : "pull"}` : code);

/** An obedient client that notes in `met` with what it was refused. `carry` is how its requests travel. */
function client(sub, { on = runtime, carry = over(on), ...options } = {}) {
  const met = [];
  const send = async (method, path, init) => {
    const answer = await carry(method, path, init);
    if (answer.status >= 300) {
      met.push(rowOf(answer.body?.code ?? "upstream", path));
      metByAll.add(met.at(-1));
    }
    return answer;
  };
  return Object.assign(new Obedient({ send, newToken: () => on.token(sub), ...options }), { met, sub });
}

/** Comes to rest as it must, having been refused exactly so. */
async function assertRests(one, end, met) {
  one.met.length = 0;
  assert.deepEqual([await one.rest(), one.met], [end, met]);
}

const recordsOf = (records) => [...records].map(([key, { value }]) => [key, value]).filter(([key]) => !key.startsWith("$")).toSorted(([a], [b]) => (a < b ? -1 : 1));

/** A client is where the space is, and shows what it should. */
async function assertShows(one, ids) {
  const truth = client(one.sub, { space: one.space });
  await truth.pull("strong");
  assert.deepEqual([one.position, recordsOf(one.records)], [truth.position, recordsOf(truth.records)]);
  assert.deepEqual(recordsOf(truth.records).map(([key]) => key.split(" ")[1]), ids);
}

/** A client that has synced an edit of a record. */
async function synced(id, options) {
  const one = client(runtime.subject(), options);
  one.edit([put(id, {})]);
  assert.equal(await one.rest(), "settled");
  return one;
}

/** A request whose body comes in two parts; the second when `then` has ended. */
async function inTwoParts(at, { method, path, headers, first, second, then }) {
  const url = new URL(await runtime.url(at));
  return new Promise((resolve, reject) => {
    const all = { ...headers, "content-length": first.length + second.length };
    const outgoing = request({ host: url.hostname, port: url.port, method, path, headers: all, agent: false }, async (response) => {
      resolve(answerOf(response.statusCode, response.headers, await new Response(response).text()));
      outgoing.destroy();
    });
    outgoing.on("error", reject);
    outgoing.write(first);
    then.then(() => outgoing.end(second));
  });
}

/** A connection over which no more of a body comes than `bytes()`. What was sent over it stands in `sent`. */
function thin(bytes, sent) {
  const carry = over(runtime, "hurried");
  return async (method, path, init) => {
    const body = Buffer.from(init.body ?? "");
    if (body.length > 0) sent.push(body);
    if (body.length <= bytes()) return carry(method, path, init);
    const [first, second] = [body.subarray(0, bytes()), body.subarray(bytes())];
    return inTwoParts("hurried", { method, path, headers: init.headers, first, second, then: new Promise(() => {}) });
  };
}

describe("a client that obeys comes to rest", { concurrency: 6 }, () => {
  test(`in random worlds, private and shared, of lost answers, backups, used-up rates and ended rights (SEED=${SEED})`, async () => {
    const met = [];
    const worlds = Array.from({ length: WORLDS }, (_, world) => live(strict, SEED + world, met));
    const broken = (await Promise.allSettled(worlds)).filter(({ status }) => status === "rejected").map(({ reason }) => reason);
    if (broken.length > 0) throw new AggregateError(broken, broken.map(({ message }) => message).join("\n"));
    const counted = Object.entries(Object.groupBy(met, (code) => code)).map(([code, { length }]) => `${code} ${length}`);
    console.log(`${WORLDS} worlds were refused with ${counted.join(", ")}`);
    if (WORLDS >= 8) assert.ok(met.includes("rate_limited"));
  });

  test("from a position that the space has never reached: of another deployment, of a later epoch, of this one", async () => {
    const met = new Set();
    for (const elsewhere of [
      (here) => ({ epoch: "9zzzzzzzzzzzzz", version: here.version }),
      (here) => ({ epoch: here.epoch, version: here.version + 1000 }),
      (here) => ({ epoch: "000000000000", version: here.version + 1000 }),
      (here) => ({ epoch: `${here.epoch}z`, version: 1 }),
    ]) {
      for (const edits of [[], ["b"]]) {
        const one = await synced("a");
        one.position = elsewhere(one.position);
        for (const id of edits) one.edit([put(id, {})]);
        assert.equal(await one.rest(), "settled");
        await assertShows(one, ["a", ...edits]);
        for (const row of one.met) met.add(row);
      }
    }
    assert.deepEqual([...met].toSorted(), ["epoch_mismatch pull", "epoch_mismatch push"]);
  });

  test("when a space goes back, and it stops when that goes on", async () => {
    const carry = over(runtime);
    let times = 0;
    const goesBack = async (method, path, init) => {
      if (!path.includes("/sync/pull") || (times -= 1) < 0) return carry(method, path, init);
      return { status: 409, body: { code: "epoch_mismatch", position: `${one.position.epoch}.1` } };
    };
    const one = await synced("a", { carry: goesBack });
    times = 1;
    await assertRests(one, "settled", ["epoch_mismatch pull"]);
    times = Infinity;
    await assertRests(one, "epoch_mismatch", ["epoch_mismatch pull", "epoch_mismatch pull"]);
    times = 0;
    await assertRests(one, "settled", []);
    await assertShows(one, ["a"]);
  });

  test("though it repeats its own position beside the one that it was told", async () => {
    const device = runtime.device(runtime.subject());
    await device.push([put("a", {})]);
    const own = { epoch: "9zzzzzzzzzzzzz", since: 5 };
    const refused = await device.askPull(own);
    assert.deepEqual([refused.status, refused.body.code, refused.body.last], [409, "epoch_mismatch", undefined]);
    for (const accept of ["application/json", "application/x-ndjson"]) {
      const { status, text } = await device.askPull({ ...own, min: refused.body.position }, { accept });
      assert.equal(status, 200, text);
      assert.ok(text.includes('"reset":true') && text.includes('"id":"a"'), text);
    }
  });

  test("from a backup, from a copy, and from a backup that meets another epoch with a part of its outbox", async () => {
    const one = await synced("a");
    one.edit([put("b", {})]);
    one.edit([put("c", {})]);
    const backup = one.backup();
    await assertRests(one, "settled", []);
    one.restore(backup);
    await assertRests(one, "settled", []);
    one.restore({ ...backup, outbox: [], next: 2 });
    one.edit([put("d", {})]);
    await assertRests(one, "settled", ["client_forked"]);
    const copy = client(one.sub);
    copy.restore(backup);
    copy.edit([put("e", {})]);
    await copy.ask("POST", "/spaces/~/reset-epoch");
    // The history holds the first of them, then more of which the push says nothing.
    copy.pushMax = 1;
    await copy.push();
    assert.deepEqual([copy.outbox.map(({ id }) => id), copy.met], [[3, 4], ["epoch_mismatch push"]]);
    await assertRests(copy, "settled", ["epoch_mismatch push"]);
    await assertRests(one, "settled", []);
    for (const each of [one, copy]) await assertShows(each, ["a", "b", "c", "d", "e"]);
  });

  test("from a false position, when what it is told of another history does not concern it", async () => {
    const one = await synced("a");
    one.edit([put("b", {})]);
    await one.rest();
    const other = client(one.sub);
    Object.assign(other, { client: one.client, next: 3 });
    for (const id of ["x", "y"]) other.edit([put(id, {})]);
    // It has numbered others alike, and sends the last ones only.
    other.outbox.unshift(...[1, 2].map((id) => ({ id, at: id, base: 0, changes: [put(`w${id}`, {})] })));
    const { status, body } = await other.ask("POST", "/sync/push", {
      body: { client: other.client, epoch: "000000000000", mutations: other.outbox.slice(2).map(({ epoch: _, ...mutation }) => mutation) },
    });
    assert.deepEqual([status, body.code, body.results, body.more], [409, "epoch_mismatch", [], false]);
    assert.ok(body.last < 3, "nothing of what was sent is there");
    other.drop(other.outbox.slice(2), body.last);
    assert.equal(other.outbox.length, 4);
    await assertRests(other, "settled", ["client_forked"]);
    await assertShows(other, ["a", "b", "w1", "w2", "x", "y"]);
  });

  test("when the space does not know it any more, and when its outbox has a hole", async () => {
    const one = await synced("a");
    await runtime.object(one.sub, { sql: [["DELETE FROM clients"]] });
    await runtime.object(one.sub, { abort: true });
    one.edit([put("b", {})]);
    await assertRests(one, "settled", ["out_of_order"]);
    for (const id of ["lost", "c"]) one.edit([put(id, {})]);
    one.outbox.shift();
    await assertRests(one, "settled", ["out_of_order"]);
    await assertShows(one, ["a", "b", "c"]);
  });

  for (const [name, first, then, met] of [
    ["a year ahead", YEAR_MS, YEAR_MS, ["token_expired", "grant_required"]],
    ["a year behind", -YEAR_MS, -YEAR_MS, ["token_expired", "grant_required"]],
    ["set forward by a year, so that it gets a token and a grant anew by itself", 0, YEAR_MS, []],
    ["set back by two years, so that it never does", YEAR_MS, -YEAR_MS, ["token_expired", "grant_required"]],
  ]) {
    test(`when its clock is ${name}`, async () => {
      const owner = new Member(runtime, "owner");
      const space = await owner.create(spaceId());
      const { body: { epoch: incarnation } } = await owner.ask("GET", `/spaces/${space}`);
      let offset = first;
      const one = client(runtime.subject(), { space, now: () => Date.now() + offset });
      assert.equal((await owner.set(space, one, "writer")).status, 200);
      one.edit([put("a", {})]);
      await assertRests(one, "settled", ["grant_required"]);
      const backup = one.backup();
      one.edit([put("b", { n: 1 })]);
      await assertRests(one, "settled", []);
      one.restore(backup);
      await assertRests(one, "settled", ["grant_required"]);
      offset = then;
      const ended = Math.floor(Date.now() / 1000) - 600;
      one.token = runtime.token(one.sub, { exp: ended });
      one.grant = mintGrant(runtime, { sub: one.sub, space, incarnation, exp: ended });
      await assertRests(one, "settled", met);
      // The same edit, at another time: not the one that it has made before the backup was restored.
      one.edit([put("b", { n: 1 }), count(1)]);
      one.edit([put("c", {})]);
      await assertRests(one, "settled", ["client_forked"]);
      await assertShows(one, ["a", "b", "c", "e1"]);
    });
  }

  test("when another device has emptied its space", async () => {
    const one = await synced("a");
    one.edit([put("b", {})]);
    await one.rest();
    const other = client(one.sub);
    await other.rest();
    other.edit([count(1)]);
    other.edit([put("c", {})]);
    assert.equal((await one.ask("DELETE", "/spaces/~")).status, 204);
    await assertRests(other, "settled", ["epoch_mismatch push"]);
    await assertRests(one, "settled", []);
    for (const each of [one, other]) await assertShows(each, ["e1"]);
    // What it did not know to be absent may have been there, so it is asked what is to become of its record.
    assert.deepEqual(other.told.map(({ why, changes }) => [why, changes[0].id]), [["conflict", "c"]]);
  });

  test("when a push is too large, by halves; and a mutation that no push can hold is told of", async () => {
    const one = client(runtime.subject());
    for (let n = 0; n < 20; n += 1) one.edit([put(`r${n}`, { text: "x".repeat(230_000) })]);
    one.edit([put("huge", { text: "x".repeat(5_000_000) })]);
    one.edit([put("last", {})]);
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told.map(({ why, changes }) => [why, changes[0].id]), [["too_large", "huge"]]);
    assert.deepEqual(new Set(one.met), new Set(["too_large"]));
    assert.equal((await runtime.truth(one.sub)).records.size, 21);
  });

  test("when its space is deleted, it is removed, or becomes a reader: it stops, and keeps its edits", async () => {
    for (const [end, pulls, code] of [
      [(owner, id) => owner.ask("DELETE", `/spaces/${id}`), false, "gone"],
      [(owner, id, other) => owner.remove(id, other), false, "forbidden"],
      [(owner, id, other) => owner.set(id, other, "reader"), true, "forbidden"],
    ]) {
      const owner = new Member(runtime, "owner");
      const space = await owner.create(spaceId());
      const one = client(runtime.subject(), { space });
      assert.equal((await owner.set(space, one, "writer")).status, 200);
      one.edit([put("a", {})]);
      assert.equal(await one.rest(), "settled");
      await end(owner, space, one);
      one.edit([put("b", {})]);
      await assertRests(one, code, [code]);
      assert.deepEqual([one.outbox.length, one.told.at(-1).why], [1, code]);
      one.outbox = [];
      one.grant = null;
      await assertRests(one, pulls ? "settled" : code, ["grant_required", ...(pulls ? [] : [code])]);
    }
  });

  test("when a space has never been, and when a grant does not get through: it stops", async () => {
    const nowhere = client(runtime.subject(), { space: spaceId("never") });
    await assertRests(nowhere, "not_found", ["grant_required", "not_found"]);
    const owner = new Member(runtime, "owner");
    const carry = over(runtime);
    const stripped = (method, path, { headers: { "headwater-grant": _, ...headers }, ...init }) => carry(method, path, { ...init, headers });
    const one = client(owner.sub, { space: await owner.create(spaceId()), carry: stripped, wait: async () => {} });
    one.edit([put("a", {})]);
    // At once, after 1, 2, 4, 8, 16 and 32 s, and then once a minute until ten are over.
    await assertRests(one, "grant_required", Array(17).fill("grant_required"));
    assert.equal(one.outbox.length, 1);
  });

  test("when a secret of grants changes, and fresh grants are refused for a while: it waits, and does not take itself for removed", async () => {
    const owner = new Member(runtime, "owner");
    const carry = over(runtime);
    let refused = 0;
    const byOldWorkers = (method, path, { headers: { "headwater-grant": grant, ...headers }, ...init }) => {
      if (grant && path.startsWith("/sync/pull") && refused < 5) {
        refused += 1;
        return carry(method, path, { ...init, headers });
      }
      return carry(method, path, { ...init, headers: { ...headers, ...(grant && { "headwater-grant": grant }) } });
    };
    const one = client(owner.sub, { space: await owner.create(spaceId()), carry: byOldWorkers, wait: async () => {} });
    one.edit([put("a", {})]);
    await assertRests(one, "settled", Array(6).fill("grant_required"));
    await assertShows(one, ["a"]);
  });

  test("when a token has ended, and when it ends while a body comes; and it stops when a new one is refused too", async () => {
    let then = null;
    const carry = over(runtime);
    const slowOnce = async (method, path, init) => {
      if (!then || !init.body) return carry(method, path, init);
      const [body, waits] = [Buffer.from(init.body), then];
      then = null;
      const [first, second] = [body.subarray(0, 20), body.subarray(20)];
      return inTwoParts("home", { method, path, headers: init.headers, first, second, then: waits });
    };
    const one = await synced("a", { carry: slowOnce });
    const ended = () => runtime.token(one.sub, { exp: Math.floor(Date.now() / 1000) - 600 });
    one.token = ended();
    one.edit([put("b", {})]);
    await assertRests(one, "settled", ["token_expired"]);
    // A minute of leeway belongs to the end of a token.
    one.token = runtime.token(one.sub, { exp: Math.floor(Date.now() / 1000) - 60 + 4 });
    then = pause(5500);
    one.edit([put("c", {})]);
    await assertRests(one, "settled", ["token_expired"]);
    await assertShows(one, ["a", "b", "c"]);
    one.edit([put("d", {})]);
    for (const [token, code] of [[ended, "token_expired"], [() => runtime.token(one.sub, { aud: "somebody else" }), "unauthenticated"]]) {
      Object.assign(one, { token: token(), newToken: token });
      await assertRests(one, code, [code, code]);
      assert.equal(one.outbox.length, 1);
    }
  });

  test("when a body comes too slowly: the same again, then packed, then less of it at once; and it stops when one alone does not come", async () => {
    let [bytes, sent] = [Infinity, []];
    const one = await synced("a", { carry: thin(() => bytes, sent) });
    const carry = one.send;
    // Once only: the same bytes get through.
    one.send = async (...asked) => {
      bytes = sent.length === 0 ? 50 : Infinity;
      return carry(...asked);
    };
    sent.length = 0;
    one.edit([put("b", {})]);
    await assertRests(one, "settled", ["timeout"]);
    assert.equal(sent.length, 2);
    assert.deepEqual(sent[0], sent[1]);
    // Never more than that: of four that are packed only two get through.
    one.send = carry;
    const noise = () => Array.from({ length: 1000 }, () => Math.random().toString(36).slice(2)).join("");
    for (const id of ["c", "d", "e", "f"]) one.edit([put(id, { noise: noise() })]);
    [bytes, sent.length] = [20_000, 0];
    await assertRests(one, "settled", ["timeout", "timeout", "timeout", "timeout"]);
    const holds = (body) => JSON.parse(body[0] === 0x1f ? gunzipSync(body) : body).mutations.length;
    assert.deepEqual(sent.map(holds), [4, 4, 4, 4, 2, 2]);
    assert.deepEqual(sent.map((body) => body[0] === 0x1f), [false, false, true, true, true, true]);
    // Not even one: it waits for a better connection.
    bytes = 1000;
    one.edit([put("g", { noise: noise() })]);
    await assertRests(one, "timeout", ["timeout", "timeout", "timeout", "timeout"]);
    assert.deepEqual([one.outbox.length, one.told.at(-1).why], [1, "timeout"]);
    bytes = Infinity;
    await assertRests(one, "settled", []);
    await assertShows(one, ["a", "b", "c", "d", "e", "f", "g"]);
  });

  test("when a cursor expires on the way; and it stops when that goes on", async () => {
    const one = await synced("a");
    const other = client(one.sub);
    for (let n = 0; n < 4; n += 1) other.edit([put(`r${n}`, { text: "x".repeat(120_000) })]);
    await other.rest();
    let times = 1;
    const carry = over(runtime);
    const interrupted = client(one.sub, {
      carry: async (method, path, init) => {
        if (path.includes("cursor=") && (times -= 1) >= 0) await other.ask("POST", "/spaces/~/reset-epoch");
        return carry(method, path, init);
      },
    });
    await assertRests(interrupted, "settled", ["cursor_expired"]);
    await assertShows(interrupted, ["a", "r0", "r1", "r2", "r3"]);
    const before = structuredClone(interrupted.records);
    Object.assign(interrupted, { position: null });
    times = Infinity;
    await assertRests(interrupted, "cursor_expired", ["cursor_expired", "cursor_expired"]);
    assert.deepEqual(interrupted.records, before, "what it had is still readable");
  });

  test("when its rate is used up, by itself or by the others of the space, and no edit is applied twice", async () => {
    const space = spaceId();
    const [owner, other, third] = ["owner", "other", "third"].map((name) => client(strict.subject(name), { on: strict, space }));
    await owner.ask("PUT", `/spaces/${space}`);
    for (const { sub } of [other, third]) await owner.ask("PUT", `/spaces/${space}/members/${sub}`, { body: { role: "writer" } });
    for (const [mark, one, busy] of [[1, owner, [owner]], [2, third, [owner, other]]]) {
      assert.deepEqual((await Promise.all(busy.map(beBusy))).map(({ status }) => status), busy.map(() => 200));
      one.edit([count(mark)]);
      one.met.length = 0;
      assert.equal(await one.rest(), "settled");
      assert.ok(one.met.includes("rate_limited"), `${one.met}`);
      assert.deepEqual(one.records.get(`edits e${mark}`).value, { n: 1 });
    }
  });

  test("when the space fails, or has no room left: it repeats the one, and stops at the other until there is room", async () => {
    const one = await synced("a", { wait: () => runtime.object(one.sub, { clear: true }) });
    const rules = (fault) => [{ call: "transactionSync", fault, times: 1000 }];
    one.edit([put("b", {})]);
    await runtime.object(one.sub, { rules: rules("error") });
    await assertRests(one, "settled", ["internal"]);
    one.edit([put("c", {})]);
    await runtime.object(one.sub, { rules: rules("full") });
    await assertRests(one, "storage_full", ["storage_full"]);
    assert.deepEqual([one.outbox.length, one.told.at(-1).why], [1, "storage_full"]);
    await runtime.object(one.sub, { clear: true });
    await assertRests(one, "settled", []);
    await assertShows(one, ["a", "b", "c"]);
  });

  test("when there is no connection, or something else answers", async () => {
    const answers = [{ status: 0, body: null }, { status: 502, body: null }, { status: 200, body: null }];
    const carry = over(runtime);
    const one = client(runtime.subject(), { carry: async (...asked) => answers.pop() ?? carry(...asked), wait: () => pause(10) });
    one.edit([put("a", {})]);
    await assertRests(one, "settled", ["upstream"]);
    await assertShows(one, ["a"]);
  });

  /** A client with edits `r0` … whose pushes something on the way answers by `answer`, if `refuses` their text. */
  async function behindZone(edits, refuses, answer) {
    const carry = over(runtime);
    const zone = async (method, path, init) =>
      path === "/sync/push" && refuses(init.body) ? answer(() => carry(method, path, init)) : carry(method, path, init);
    const one = client(runtime.subject(), { carry: zone, wait: async () => {} });
    for (let n = 0; n < edits; n += 1) one.edit([put(`r${n}`, { text: n === 7 ? "<script>alert(1)</script>" : "milk" })]);
    return one;
  }
  const forbids = async () => answerOf(403, { "content-type": "text/html" }, "<html>You have been blocked</html>");
  const isNasty = (body) => body.includes("<script>");
  const ids = (...left) => Array.from({ length: 12 }, (_, n) => `r${n}`).filter((id) => !left.includes(id)).toSorted();

  test("when the zone's protection refuses the text of one edit: all others get through, and the application is told of that one", async () => {
    const one = await behindZone(12, isNasty, forbids);
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told.map(({ why, changes }) => [why, changes[0].id]), [["blocked", "r7"]]);
    assert.deepEqual(new Set(one.met), new Set(["upstream"]), "nobody takes a page for a refusal of rights");
    await assertShows(one, ids("r7"));
  });

  test("when a page cannot see what refuses one edit: it stops, says which, and goes on when that is withdrawn", async () => {
    const one = await behindZone(12, isNasty, async () => ({ status: 0, body: null }));
    assert.equal(await one.rest(), "blocked");
    assert.deepEqual([one.outbox[0].changes[0].id, one.outbox.length], ["r7", 5]);
    one.withdraw();
    assert.equal(await one.rest(), "settled");
    await assertShows(one, ids("r7"));
  });

  test("when the edit was done and only its answer never comes through: it is there once", async () => {
    const one = await behindZone(12, isNasty, async (send) => {
      await send();
      return forbids();
    });
    one.outbox[7].changes.push(count(7));
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told.map(({ why, changes }) => [why, changes[0].id]), [["blocked", "r7"]]);
    await assertShows(one, [...ids(), "e7"]);
    assert.equal(one.records.get("edits e7").value.n, 1);
  });

  test("when pushes of many edits need more than the plan gives: smaller ones get through, and nothing is given up", async () => {
    const isTooMuch = (body) => JSON.parse(body).mutations.length > 3;
    const one = await behindZone(12, isTooMuch, async () => answerOf(503, { "content-type": "text/html" }, "<html>1102</html>"));
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told, []);
    await assertShows(one, ids());
  });

  test("when nothing gets through for a while: it waits, and neither halves nor gives up anything", async () => {
    let times = 20;
    const one = await behindZone(12, () => (times -= 1) >= 0, forbids);
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told, []);
    await assertShows(one, ids());
  });

  test("when bodies of its user fill what a location holds of them", async () => {
    const one = await synced("a", { carry: over(runtime, "narrow") });
    let finish;
    const finished = new Promise((resolve) => (finish = resolve));
    const [first, second] = [Buffer.alloc(4 * MIB - 100, " "), Buffer.alloc(100, " ")];
    const headers = { authorization: `Bearer ${one.token}`, "content-type": "application/json" };
    // One more until there is no room: what grows at the same time keeps others of them from growing.
    const bodies = [];
    const refused = () => over(runtime, "narrow")("POST", "/sync/push", { headers, body: `[${" ".repeat(MIB)}]` });
    await eventually("there is no room", async () => {
      bodies.push(inTwoParts("narrow", { method: "POST", path: "/sync/push", headers, first, second, then: finished }));
      return (await refused()).body?.code === "overloaded";
    });
    const wait = async (ms) => {
      finish();
      await Promise.all(bodies);
      await pause(ms);
    };
    const probe = client(one.sub, { carry: over(runtime, "narrow"), wait });
    probe.edit([put("b", { text: "x".repeat(200_000) })]);
    assert.equal(await probe.rest(), "settled");
    assert.ok(probe.met.includes("overloaded"), `${probe.met}`);
    await assertRests(one, "settled", []);
    await assertShows(one, ["a", "b"]);
  });

  test("when something on the way, or in its database, makes another request of its request: it stops", async () => {
    const carry = over(runtime);
    for (const [spoil, code] of [
      [(method, path, init) => carry(method, path, { ...init, headers: { ...init.headers, "content-type": "text/plain" } }), "unsupported_media_type"],
      [(method, path, init) => carry("PUT", path, init), "method_not_allowed"],
      [(method, path, init) => carry(method, path, { ...init, body: init.body?.slice(1) }), "malformed"],
      [(method, path, init) => carry(method, path.replace("/push", "/posh"), init), "not_found"],
    ]) {
      let isSpoilt = false;
      const one = await synced("a", { carry: (method, ...asked) => (isSpoilt && method === "POST" ? spoil : carry)(method, ...asked) });
      one.edit([put("b", {})]);
      isSpoilt = true;
      await assertRests(one, code, [code]);
      assert.equal(one.outbox.length, 1);
      isSpoilt = false;
      await assertRests(one, "settled", []);
      await assertShows(one, ["a", "b"]);
    }
  });
});

/** The rows of the table of errors in the contract, as `rowOf` has them. */
function rowsOfContract() {
  const contract = readFileSync(new URL("../../docs/PROTOCOL.md", import.meta.url), "utf8");
  const table = contract.slice(contract.indexOf("| code | the client |"));
  const cells = table.slice(0, table.indexOf("\n\n")).split("\n").slice(2).map((row) => row.split("|")[1]);
  return cells.flatMap((cell) => {
    const refused = /to a (push|pull)/.exec(cell)?.[1];
    return [...cell.matchAll(/`(\w+)`/g)].map(([, code]) => (refused ? `${code} ${refused}` : code));
  });
}

test("the table of errors in the contract names every code", () => {
  const told = rowsOfContract().map((row) => row.split(" ")[0]);
  const source = readFileSync(new URL("../../src/error.rs", import.meta.url), "utf8");
  const sent = [...source.matchAll(/\(\s*\d{3},\s*"(\w+)"/g)].map(([, code]) => code);
  assert.ok(sent.length > 15, "the codes stand in the table of errors");
  assert.deepEqual([...new Set(told)].toSorted(), [...new Set(sent)].toSorted());
});

test("each row of the table has been met by the clients above, outside of any chance", () => {
  assert.deepEqual([...metByAll].toSorted(), rowsOfContract().toSorted());
});
