// Grants on the real runtime: only one of the coordinator's own, for this user and this space, and not yet ended, reads.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member, mintGrant } from "./member.mjs";

let runtime;
let owner;
let id;
let incarnation;
before(async () => {
  runtime = await startRuntime();
  owner = new Member(runtime, "owner");
  id = await owner.create();
  incarnation = (await owner.ask("GET", `/spaces/${id}`)).body.epoch;
});
after(() => runtime.stop());

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => Math.floor(Date.now() / 1000);
const minted = (claims = {}, options = {}) => mintGrant(runtime, { sub: owner.sub, space: id, incarnation, ...claims }, options);
const PATHS = ["/sync/pull", "/sync/pull?consistency=strong", "/sync/pull?consistency=eventual", "/sync/head", `/sync/objects/${"0".repeat(64)}`];

test("the coordinator's own grant reads, and so does one that is made alike", async () => {
  for (const grant of [await owner.grant(id), minted()]) {
    assert.equal((await owner.read(id, "/sync/pull", { grant })).status, 200);
  }
});

const HOSTILE = {
  "none at all": () => undefined,
  nothing: () => "",
  "no dots": () => "grant",
  "a token": () => owner.token,
  "a token with the scheme before it": () => `Bearer ${owner.token}`,
  "the secret of tokens": () => minted({}, { secret: runtime.variables.JWT_SECRET }),
  "the secret of grants without its domain": () => minted({}, { secret: runtime.variables.GRANT_SECRET }),
  "another secret": () => minted({}, { secret: "x".repeat(32) }),
  "no signature": () => minted({}, { alg: "none" }),
  "the algorithm none over a good signature": () => minted({}, { alg: "none" }).replace(/\.$/, `.${minted().split(".")[2]}`),
  "HS512": () => minted({}, { alg: "HS512", hash: "sha512" }),
  "RS256 over an HMAC": () => minted({}, { alg: "RS256" }),
  "ES256 over an HMAC": () => minted({}, { alg: "ES256" }),
  "a critical extension": () => minted({}, { header: { crit: ["b64"] } }),
  "another user": () => minted({ sub: "mallory" }),
  "the same user of another issuer": () => minted({ iss: "https://elsewhere.test" }),
  "another space": () => minted({ space: "another" }),
  "an end that has come": () => minted({ exp: now() }),
  "an end an hour ago": () => minted({ exp: now() - 3600 }),
  "an end in an hour": () => minted({ exp: now() + 3600 }),
  "an end that is text": () => minted({ exp: String(now() + 60) }),
  "an end beyond all calendars": () => minted({ exp: 1e300 }),
  "an incarnation that is a path": () => minted({ incarnation: `${incarnation}/../x` }),
  "no incarnation": () => minted({ incarnation: undefined }),
  "an unknown role": () => minted({ role: "root" }),
  "a cut signature": () => minted().slice(0, -4),
  "a changed claim under an old signature": () => {
    const [header, , signature] = minted().split(".");
    return [header, minted({ role: "owner" }).split(".")[1], signature].join(".");
  },
  "a fourth part": () => `${minted()}.x`,
  "bad base64": () => minted().replace(".", ".!"),
  "8 KiB": () => minted({ pad: "x".repeat(8 * 1024) }),
};

for (const [what, make] of Object.entries(HOSTILE)) {
  test(`a grant with ${what} reads nothing`, async () => {
    const grant = make();
    for (const path of PATHS) {
      const answer = await owner.ask("GET", `${path}${path.includes("?") ? "&" : "?"}space=${id}`, { grant });
      assert.deepEqual([answer.status, answer.body?.code], [403, "grant_required"], `${path}: ${answer.text}`);
      if (grant && grant.length > 20) assert.ok(!answer.text.includes(grant), "the grant is not echoed");
    }
  });
}

test("a grant of another incarnation is refused by whatever reaches the coordinator, and finds nothing at the edge", async () => {
  const grant = minted({ incarnation: "0mwrnsa6yk3v9q2" });
  for (const path of ["/sync/pull", "/sync/pull?consistency=strong"]) {
    const answer = await owner.read(id, path, { grant });
    assert.deepEqual([answer.status, answer.body.code], [403, "grant_required"], path);
  }
  assert.equal((await owner.read(id, "/sync/head", { grant })).status, 404);
});

test("a grant is no token", async () => {
  const grant = await owner.grant(id);
  for (const headers of [{ authorization: `Bearer ${grant}` }, { authorization: grant }]) {
    assert.equal((await owner.ask("GET", "/sync/pull", { headers })).status, 401);
  }
});

test("a grant changes nothing about a private space", async () => {
  const grant = mintGrant(runtime, { sub: owner.sub, space: id, incarnation });
  const answer = await owner.ask("GET", "/sync/pull?space=~&consistency=strong", { grant });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body.changes, []);
});

test("without GRANT_SECRET shared spaces cannot be read, and the log says why", async () => {
  for (const secret of [null, "too-short"]) {
    const keyless = await startRuntime({ variables: { GRANT_SECRET: secret } });
    try {
      const alice = new Member(keyless, "alice");
      const space = await alice.create();
      assert.equal((await alice.put(space, "r")).status, 200, "writing needs no grant");
      for (const answer of [await alice.ask("POST", `/spaces/${space}/grant`), await alice.read(space, "/sync/pull", { grant: "x" })]) {
        assert.deepEqual([answer.status, answer.body.code], [500, "internal"]);
        assert.doesNotMatch(answer.text, /GRANT|SECRET/);
      }
      assert.match(keyless.logs.join(""), /GRANT_SECRET/);
    } finally {
      await keyless.stop();
    }
  }
});

/** Sends all of a request but its body, and the body when `meanwhile` has ended; the answer. */
async function slowly(path, { token, grant, method = "POST", body = "{}" }, meanwhile) {
  const url = new URL(await runtime.url("home"));
  const headers = {
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...(grant && { "headwater-grant": grant }),
  };
  const answer = new Promise((resolve, reject) => {
    const outgoing = request({ host: url.hostname, port: url.port, method, path, headers, agent: false }, async (response) => {
      const text = await new Response(response).text();
      resolve({ status: response.statusCode, code: JSON.parse(text).code, text });
    });
    outgoing.on("error", reject);
    outgoing.flushHeaders();
    meanwhile().then(() => outgoing.end(body), reject);
  });
  return answer;
}

test("a removed member whose body comes after the last grant has ended reads nothing", async () => {
  const bob = new Member(runtime, "bob");
  await owner.set(id, bob, "reader");
  for (const [seconds, expected] of [[60, [200, undefined]], [3, [403, "grant_required"]]]) {
    const grant = minted({ sub: bob.sub, exp: now() + seconds });
    assert.equal((await bob.read(id, "/sync/pull", { grant })).status, 200);
    const { status, code, text } = await slowly(`/sync/pull?space=${id}`, { token: bob.token, grant }, async () => {
      await pause(500);
      if (seconds === 3) {
        await owner.remove(id, bob);
        await owner.put(id, "made-after-the-removal");
        await owner.read(id, "/sync/pull?consistency=strong");
      }
      await pause(3500);
    });
    assert.deepEqual([status, code], expected, text);
    assert.ok(!text.includes("made-after"));
  }
});

test("a token that ends while the body comes lets nobody in, on any route that has one", async () => {
  // A minute of leeway belongs to the end of a token.
  const token = runtime.token(owner.sub, { exp: now() - 60 + 4 });
  const grant = minted();
  const push = JSON.stringify({ client: owner.client, mutations: [{ id: owner.next, changes: [{ op: "put", collection: "c", id: "late", value: {} }] }] });
  const long = push.padEnd(300_000, " ");
  const answers = await Promise.all([
    slowly(`/sync/pull?space=${id}`, { token, grant }, () => pause(5500)),
    slowly("/sync/pull", { token }, () => pause(5500)),
    slowly(`/sync/push?space=${id}`, { token, body: push }, () => pause(5500)),
    slowly(`/sync/push?space=${id}`, { token, body: long }, () => pause(5500)),
    slowly(`/sync/conflict?space=${id}`, { token }, () => pause(5500)),
    slowly(`/spaces/${id}/members/eve`, { token, method: "PUT", body: '{"role":"owner"}' }, () => pause(5500)),
    slowly(`/spaces/${id}/policies/c`, { token, method: "PUT", body: '{"onConflict":"merge"}' }, () => pause(5500)),
  ]);
  assert.deepEqual(answers.map(({ status, code }) => [status, code]), answers.map(() => [401, "token_expired"]));
  assert.equal((await owner.ask("GET", `/spaces/${id}/members/eve`)).status, 404);
  assert.ok(!(await owner.records(id, { query: "consistency=strong" })).includes("c/late"));
});

test("a push brings a grant if its client wants one, which reads at once; one's own space gives none", async () => {
  const writer = new Member(runtime, "writer");
  await owner.set(id, writer, "writer");
  const change = { op: "put", collection: "c", id: "granted", value: {} };
  const push = (space, number, wish) =>
    writer.ask("POST", `/sync/push?space=${space}`, { body: { client: writer.client, ...wish, mutations: [{ id: number, changes: [change] }] } });
  const { status, body, response } = await push(id, 1, { wantsGrant: true });
  assert.equal(status, 200);
  assert.ok(body.grantExpiresIn > 590_000 && body.grantExpiresIn <= 600_000, `${body.grantExpiresIn}`);
  assert.match(response.headers.get("server-timing"), /object;desc="1"/);
  const read = await writer.read(id, "/sync/pull", { grant: body.grant });
  assert.equal(read.status, 200);
  assert.ok(read.body.changes.some(({ id: record }) => record === "granted"));
  const again = await push(id, 1, { wantsGrant: true });
  assert.ok(again.body.grant && again.body.results[0].duplicate, "also a repeated one");
  for (const wish of [{}, { wantsGrant: false }, { wantsGrant: null }]) assert.equal((await push(id, 1, wish)).body.grant, undefined);
  assert.equal((await push("~", 1, { wantsGrant: true })).body.grant, undefined);
  assert.equal((await push(id, 2, { wantsGrant: "yes" })).body.code, "malformed");
  await owner.remove(id, writer);
  const refused = await push(id, 2, { wantsGrant: true });
  assert.deepEqual([refused.body.code, refused.body.grant], ["forbidden", undefined]);
});
