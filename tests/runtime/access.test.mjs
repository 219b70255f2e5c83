// Who may do what: tokens, private spaces, origins, and what errors and logs give away.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { AUDIENCE, ISSUER, startRuntime } from "./harness.mjs";
import { scopeOf } from "./published.mjs";
import { mintToken } from "./token.mjs";

const SECRET_VALUE = "only-alice-knows-this";
const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const now = () => Math.floor(Date.now() / 1000);

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

/** Every route that needs a token, as [method, path, body]. */
const ROUTES = [
  ["POST", "/sync/push", '{"client":"c_12345678","mutations":[]}'],
  ["GET", "/sync/pull"],
  ["POST", "/sync/pull", "{}"],
  ["GET", "/sync/head"],
  ["GET", `/sync/objects/${"0".repeat(64)}`],
  ["POST", "/spaces/~/reset-epoch"],
  ["GET", "/spaces"],
  ["GET", "/spaces/~"],
  ["PUT", "/spaces/team"],
  ["DELETE", "/spaces/team"],
  ["GET", "/spaces/team/members"],
  ["GET", "/spaces/team/members/bob"],
  ["PUT", "/spaces/team/members/bob", '{"role":"reader"}'],
  ["DELETE", "/spaces/team/members/bob"],
  ["GET", "/spaces/~/policies"],
  ["PUT", "/spaces/~/policies/todos", '{"onConflict":"merge"}'],
  ["DELETE", "/spaces/~/policies/todos"],
  ["POST", "/spaces/team/grant"],
];

const ask = (method, path, body, headers = {}, at = "home") =>
  runtime.fetch(at, path, { method, body, headers: { ...(body && { "content-type": "application/json" }), ...headers } });

/** Asserts that an answer is a problem as the contract has it, and returns its body. */
async function assertProblem(response, status, code) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("content-type").split(";")[0], "application/problem+json");
  const body = JSON.parse(text);
  assert.deepEqual([body.type, body.status, body.code], ["about:blank", status, code], text);
  assert.ok(body.title && typeof body.detail === "string", text);
  assert.ok(body.request && body.request === response.headers.get("headwater-request"), "the request id is in both");
  return body;
}

describe("tokens", { concurrency: 4 }, () => {
  test("every route but /health and the preflight needs one", async () => {
    for (const [method, path, body] of ROUTES) {
      await assertProblem(await ask(method, path, body), 401, "unauthenticated");
    }
    const health = await ask("GET", "/health");
    assert.equal(health.status, 200);
    const { status, version } = await health.json();
    assert.equal(status, "ok");
    assert.match(version, /^\d+\.\d+\.\d+/);
  });

  const good = () => ({ iss: ISSUER, aud: AUDIENCE, sub: "alice", iat: now(), exp: now() + 60 });
  const refused = {
    "another secret": () => mintToken(good(), { secret: "x".repeat(32) }),
    "no signature at all": () => mintToken(good(), { alg: "none" }),
    "the algorithm none over a good signature": () =>
      mintToken(good(), { secret: runtime.variables.JWT_SECRET }).replace(/^[^.]+/, "eyJhbGciOiJub25lIn0"),
    "another algorithm than the key's": () =>
      mintToken(good(), { secret: runtime.variables.JWT_SECRET, alg: "HS512", hash: "sha512" }),
    "another issuer": () => runtime.token("alice", { iss: "https://elsewhere.test" }),
    "no issuer": () => runtime.token("alice", { iss: undefined }),
    "another audience": () => runtime.token("alice", { aud: "somebody-else" }),
    "no audience": () => runtime.token("alice", { aud: undefined }),
    "no subject": () => runtime.token(undefined),
    "an empty subject": () => runtime.token(""),
    "a subject that is a number": () => runtime.token(7),
    "a beginning in an hour": () => runtime.token("alice", { nbf: now() + 3600 }),
    "a changed claim under an old signature": () => {
      const [head, , signature] = runtime.token("alice").split(".");
      return [head, runtime.token("bob").split(".")[1], signature].join(".");
    },
    "a cut signature": () => runtime.token("alice").slice(0, -4),
    "no dots": () => "token",
    "nothing between the dots": () => "..",
    "20 KB": () => runtime.token("a".repeat(20_000)),
  };
  for (const [what, make] of Object.entries(refused)) {
    test(`a token with ${what} is refused`, async () => {
      const token = make();
      const answer = await ask("GET", "/sync/pull", undefined, { authorization: `Bearer ${token}` });
      const body = await assertProblem(answer, 401, "unauthenticated");
      if (token.length > 8) assert.ok(!JSON.stringify(body).includes(token), "the token is not echoed");
    });
  }

  test("an expired token says so", async () => {
    const authorization = `Bearer ${runtime.token("alice", { iat: now() - 7200, exp: now() - 3600 })}`;
    await assertProblem(await ask("GET", "/sync/pull", undefined, { authorization }), 401, "token_expired");
  });

  test("another scheme than Bearer, or no scheme, is refused", async () => {
    const token = runtime.token("alice");
    for (const authorization of [token, `Basic ${token}`, "Bearer", "Bearer ", `Bearer ${token} x`]) {
      await assertProblem(await ask("GET", "/sync/pull", undefined, { authorization }), 401, "unauthenticated");
    }
  });

  test("an audience among several is accepted", async () => {
    const authorization = `Bearer ${runtime.token(runtime.subject(), { aud: ["other", AUDIENCE] })}`;
    assert.equal((await ask("GET", "/sync/pull", undefined, { authorization })).status, 200);
  });

  test("with no key configured nobody gets in, and the answer names nothing secret", async () => {
    const keyless = await startRuntime({ variables: { JWT_SECRET: null } });
    try {
      for (const authorization of [undefined, `Bearer ${mintToken(good(), { secret: "" })}`]) {
        const answer = await keyless.fetch("home", "/sync/pull", { headers: authorization ? { authorization } : {} });
        const body = await assertProblem(answer, 500, "internal");
        assert.doesNotMatch(JSON.stringify(body), /JWT|SECRET|key/i);
      }
      assert.equal((await keyless.fetch("home", "/health")).status, 200);
      assert.match(keyless.logs.join(""), /JWT_SECRET/, "the log says which variable is missing");
    } finally {
      await keyless.stop();
    }
  });
});

describe("private spaces", { concurrency: 3 }, () => {
  test("two users are apart on every route and at every location", async () => {
    const [alice, bob] = [runtime.device(runtime.subject("alice")), runtime.device(runtime.subject("bob"))];
    const entries = Array.from({ length: 400 }, (_, at) => [`r${at}`, { s: SECRET_VALUE.repeat(50) }]);
    await alice.load("c", entries);
    const head = await runtime.waitForPublished(alice.sub, alice.min);
    const { sha256 } = (head.base ?? head.delta).parts[0];
    const first = await alice.askPull({});
    const scope = scopeOf(ISSUER, alice.sub);
    // What Bob might try, at the location that has just served Alice.
    const spaces = ["~", alice.sub, scope, `v1/${scope}`, `~${alice.sub}`, "%7E", `../${alice.sub}`, ISSUER + alice.sub];
    for (const space of ["", ...spaces]) {
      const query = space && `space=${encodeURIComponent(space)}`;
      for (const at of ["home", "a"]) {
        for (const path of [
          `/sync/pull?${query}`,
          `/sync/pull?${query}&cursor=${encodeURIComponent(first.body.cursor)}`,
          `/sync/pull?${query}&min=${alice.min}&consistency=eventual`,
          `/sync/head?${query}`,
          `/sync/objects/${sha256}?${query}`,
        ]) {
          const { status, text } = await bob.ask(path, { at });
          assert.ok(!text.includes(SECRET_VALUE), `${path} gave Bob what is Alice's`);
          assert.ok(status < 500, `${path}: ${status}`);
        }
        const body = JSON.stringify({ client: alice.id, mutations: [{ id: 1, changes: [put("of-bob")] }] });
        const headers = { "content-type": "application/json" };
        const pushed = await bob.ask(`/sync/push?${query}`, { at, method: "POST", headers, body });
        assert.ok(!pushed.text.includes(SECRET_VALUE) && pushed.status < 500, `${space}: ${pushed.status}`);
      }
    }
    const truth = await runtime.truth(alice.sub);
    assert.equal(truth.position, alice.min, "nothing of Bob's reached Alice's space");
    assert.equal(truth.records.size, 400);
  });

  test("the same subject of another issuer would be another space", () => {
    assert.notEqual(scopeOf(ISSUER, "alice"), scopeOf("https://issuer.tes", "talice"));
  });

  test("one's own space may be named ~ or not at all", async () => {
    const device = runtime.device(runtime.subject());
    await device.push([put("t1")]);
    for (const path of ["/sync/pull?consistency=strong", "/sync/pull?consistency=strong&space=~"]) {
      assert.equal((await device.ask(path)).body.version, 1);
    }
  });

  test("the space is the same parameter however its name is written", async () => {
    const device = runtime.device(runtime.subject("encoded"));
    const mutations = [{ id: 1, changes: [{ op: "put", collection: "c", id: "r", value: {} }] }];
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ client: device.id, mutations });
    for (const name of ["space", "sp%61ce", "%73pace"]) {
      assert.equal((await device.ask(`/sync/pull?${name}=team`)).status, 403, name);
      assert.equal((await device.ask(`/sync/push?${name}=team`, { method: "POST", headers, body })).status, 404, name);
    }
    const own = await device.ask("/sync/pull?consistency=strong");
    assert.deepEqual(own.body.changes, [], "nothing meant for another space stands in one's own");
  });

  test("a space nobody made cannot be read or written", async () => {
    const device = runtime.device(runtime.subject());
    for (const space of ["team", "x".repeat(64)]) {
      const pulled = await device.ask(`/sync/pull?space=${space}`);
      assert.ok([403, 404].includes(pulled.status), `${pulled.status}`);
      const body = JSON.stringify({ client: device.id, mutations: [{ id: 1, changes: [put("t")] }] });
      const headers = { "content-type": "application/json" };
      const pushed = await device.ask(`/sync/push?space=${space}`, { method: "POST", headers, body });
      assert.ok([403, 404].includes(pushed.status), `${pushed.status}`);
    }
    for (const space of ["a b", "x".repeat(65), "a/b", "ä"]) {
      const { status } = await device.ask(`/sync/pull?space=${encodeURIComponent(space)}`);
      assert.ok(status >= 400 && status < 500, `${space}: ${status}`);
    }
  });
});

describe("origins", { concurrency: 4 }, () => {
  const preflight = (origin, path = "/sync/push", method = "POST") =>
    ask("OPTIONS", path, undefined, {
      ...(origin && { origin }),
      "access-control-request-method": method,
      "access-control-request-headers": "authorization,content-type,if-none-match,headwater-grant",
    });

  test("a preflight from an allowed origin is answered without a token, for two hours", async () => {
    for (const origin of ["https://app.test", "https://other.test"]) {
      for (const path of ["/sync/push", "/sync/pull", "/sync/head", "/health"]) {
        const { status, headers } = await preflight(origin, path);
        assert.ok(status === 204 || status === 200, `${status}`);
        assert.equal(headers.get("access-control-allow-origin"), origin);
        assert.equal(headers.get("access-control-max-age"), "7200");
        const allowed = headers.get("access-control-allow-headers").toLowerCase();
        for (const name of ["authorization", "content-type", "if-none-match"]) assert.ok(allowed.includes(name), name);
        for (const method of ["GET", "POST"]) assert.match(headers.get("access-control-allow-methods"), RegExp(method));
        assert.match(headers.get("vary"), /origin/i);
      }
    }
  });

  test("an origin that is not on the list is allowed nothing", async () => {
    const origins = ["https://evil.test", "https://app.test.evil.test", "http://app.test", "https://app.test:444", "null"];
    const authorization = `Bearer ${runtime.token(runtime.subject())}`;
    for (const origin of [...origins, "https://APP.test.", "https://app.tes", "*"]) {
      assert.equal((await preflight(origin)).headers.get("access-control-allow-origin"), null, origin);
      const answer = await ask("GET", "/sync/pull", undefined, { origin, authorization });
      assert.equal(answer.headers.get("access-control-allow-origin"), null, origin);
    }
    const plain = await ask("GET", "/sync/pull", undefined, { authorization });
    assert.equal(plain.headers.get("access-control-allow-origin"), null);
    assert.match(plain.headers.get("vary"), /origin/i, "so that a cache keeps the two apart");
  });

  test("errors carry the origin's header too, so that a browser shows them", async () => {
    const answer = await ask("GET", "/sync/pull", undefined, { origin: "https://app.test" });
    assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.test");
    assert.match(answer.headers.get("access-control-expose-headers").toLowerCase(), /headwater-request/);
    await assertProblem(answer, 401, "unauthenticated");
  });
});

describe("errors and logs", () => {
  test("a wrong path is 404, a wrong method 405, as problems with request ids of their own", async () => {
    const authorization = `Bearer ${runtime.token(runtime.subject())}`;
    const seen = new Set();
    for (const path of ["/", "/sync", "/sync/pull//", "/sync/pullss", "/SYNC/pull", "/.hw/x", "/favicon.ico"]) {
      seen.add((await assertProblem(await ask("GET", path, undefined, { authorization }), 404, "not_found")).request);
    }
    for (const [method, path] of [["PUT", "/sync/pull"], ["GET", "/sync/push"], ["GET", "/sync/pulls"], ["DELETE", "/sync/head"], ["POST", "/health"]]) {
      const answer = await ask(method, path, undefined, { authorization });
      seen.add((await assertProblem(answer, 405, "method_not_allowed")).request);
    }
    assert.equal(seen.size, 12, "no request id twice");
  });

  test("every answer has a request id and a date, and may not be stored", async () => {
    const authorization = `Bearer ${runtime.token(runtime.subject())}`;
    for (const [method, path, body] of [...ROUTES, ["GET", "/health"], ["OPTIONS", "/sync/pull"], ["GET", "/nowhere"]]) {
      for (const headers of [{}, { authorization }]) {
        const answer = await ask(method, path, body, headers);
        const what = `${method} ${path} ${answer.status}`;
        assert.match(answer.headers.get("headwater-request") ?? "", /^[\w.-]{8,}$/, what);
        assert.equal(answer.headers.get("cache-control"), "no-store", what);
        assert.ok(Math.abs(Date.parse(answer.headers.get("date")) - Date.now()) < 10_000, what);
      }
    }
  });

  test("401 and 403 say in a challenge what is wrong with the token", async () => {
    const bare = 'Bearer realm="headwater"';
    const pull = (authorization, path = "/sync/pull") => ask("GET", path, undefined, authorization && { authorization });
    const expired = runtime.token("alice", { exp: now() - 3600 });
    const good = `Bearer ${runtime.token(runtime.subject())}`;
    await runtime.device(runtime.subject()).ask("/spaces/challenged", { method: "PUT" });
    for (const [answer, status, challenge] of [
      [await pull(), 401, bare],
      [await pull("Basic dTpw"), 401, bare],
      [await pull("Bearer x"), 401, `${bare}, error="invalid_token"`],
      [await pull(`Bearer ${expired}`), 401, `${bare}, error="invalid_token", error_description="the token has expired"`],
      [await pull(good, "/sync/pull?space=challenged"), 403, `${bare}, error="insufficient_scope"`],
      [await pull(good, "/spaces/challenged"), 403, `${bare}, error="insufficient_scope"`],
      [await pull(good), 200, null],
    ]) {
      assert.deepEqual([answer.status, answer.headers.get("www-authenticate")], [status, challenge]);
    }
  });

  // After everything else of this file, so that the logs hold all of it.
  test("no token, subject, value or id of a person stands in a log line", async () => {
    const device = runtime.device(runtime.subject("log-subject"));
    await device.push([put("log-record-id", { s: "log-record-value" })]);
    await device.post('{"client":"log-broken-client"');
    await device.pull();
    await runtime.waitForPublished(device.sub, device.min);
    const logs = runtime.logs.join("");
    for (const word of [device.token, "log-subject", "log-record", SECRET_VALUE, runtime.variables.JWT_SECRET]) {
      assert.ok(!logs.includes(word), `the log has ${word.slice(0, 20)}`);
    }
    assert.doesNotMatch(logs, /eyJ[\w-]{10,}\.[\w-]{10,}/, "nothing that looks like a token");
    for (const line of logs.split("\n").filter((text) => text.startsWith("{"))) JSON.parse(line);
  });
});
