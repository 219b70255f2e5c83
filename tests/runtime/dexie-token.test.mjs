// POST …/token as dexie-cloud-addon asks it: with an RSA key of its own, whose private half signs what asks for the next session.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { ISSUER, startRuntime } from "./harness.mjs";
import { startIssuer } from "./issuer.mjs";
import { makeSigner } from "./token.mjs";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

/** A client as the addon makes it at a sign-in. */
function makeClient(modulusLength = 2048) {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength });
  return { pem: publicKey.export({ type: "spki", format: "pem" }), privateKey };
}

async function ask(runtime, body, { path = "/dexie/token", headers = {} } = {}) {
  const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
  const response = await runtime.fetch("home", path, init);
  return { status: response.status, response, body: await response.json() };
}

const exchange = (runtime, client, token, options) =>
  ask(runtime, { grant_type: EXCHANGE, subject_token: token, public_key: client.pem }, options);

function refresh(runtime, client, token, { at = Date.now(), signed = token + at, ...changes } = {}) {
  const signature = sign("sha256", Buffer.from(signed), client.privateKey).toString("base64");
  const body = {
    grant_type: "refresh_token", refresh_token: token, scopes: ["ACCESS_DB"], signature, signing_algorithm: "RSASSA-PKCS1-v1_5", time_stamp: at,
  };
  return ask(runtime, { ...body, ...changes });
}

const near = (time, expected) => assert.ok(Math.abs(time - expected) < MINUTE, `${time} is about ${expected}`);

describe("a session", () => {
  let runtime;
  let client;
  before(async () => {
    runtime = await startRuntime();
    client = makeClient();
  });
  after(() => runtime.stop());

  test("is had for the issuer's token, and the next one for the refresh token with the key's signature", async () => {
    const sub = runtime.subject();
    const token = runtime.token(sub, { email: "alice@example.com", email_verified: true, name: "Alice" });
    for (const path of ["/dexie/token", "/dexie/team/token", "/dexie//token"]) {
      const { status, body, response } = await exchange(runtime, client, token, { path });
      assert.equal(status, 200, path);
      assert.equal(response.headers.get("cache-control"), "no-store");
      const { accessToken, accessTokenExpiration, refreshToken, refreshTokenExpiration, ...rest } = body;
      const claims = { sub, email: "alice@example.com", name: "Alice", license: "ok" };
      assert.deepEqual(rest, { type: "tokens", claims, userType: "prod" });
      near(accessTokenExpiration, Date.now() + 60 * MINUTE);
      near(refreshTokenExpiration, Date.now() + 30 * DAY);
      const next = await refresh(runtime, client, refreshToken);
      assert.equal(next.status, 200, JSON.stringify(next.body));
      assert.deepEqual([next.body.claims, next.body.refreshToken], [claims, refreshToken], "the client keeps the one it has");
      assert.equal(typeof accessToken, "string");
    }
  });

  test("is not had without the key's signature of a moment ago", async () => {
    const { body: { refreshToken, accessToken } } = await exchange(runtime, client, runtime.token(runtime.subject()));
    const other = makeClient();
    const [late, early] = [Date.now() - 11 * MINUTE, Date.now() + 11 * MINUTE];
    const refused = {
      "another key's": [await refresh(runtime, other, refreshToken), 403],
      "of another time": [await refresh(runtime, client, refreshToken, { signed: refreshToken + (Date.now() - 1) }), 403],
      "of the token alone": [await refresh(runtime, client, refreshToken, { signed: refreshToken }), 403],
      "of eleven minutes ago": [await refresh(runtime, client, refreshToken, { at: late }), 403],
      "of in eleven minutes": [await refresh(runtime, client, refreshToken, { at: early }), 403],
      "none": [await refresh(runtime, client, refreshToken, { signature: "" }), 400],
      "of another kind": [await refresh(runtime, client, refreshToken, { signing_algorithm: "RSA-PSS" }), 400],
      "for a session": [await refresh(runtime, client, accessToken), 401],
      "for a text with another end": [await refresh(runtime, client, `${refreshToken}x`), 401],
    };
    for (const [what, [{ status, body }, expected]] of Object.entries(refused)) {
      assert.deepEqual([status, body.type, body.messageCode, typeof body.message], [expected, "error", "GENERIC_ERROR", "string"], what);
    }
    const lenient = await refresh(runtime, client, refreshToken, { at: Date.now() - 9 * MINUTE });
    assert.equal(lenient.status, 200, "a clock may be off by some minutes");
  });

  test("is not had for what is no token of the issuer, nor with another kind of key", async () => {
    const token = runtime.token(runtime.subject());
    const expired = runtime.token(runtime.subject(), { exp: 1 });
    const forged = runtime.token(runtime.subject(), {}, { secret: "x".repeat(32) });
    const demo = runtime.token("alice@demo.local", { iss: "headwater-demo" });
    for (const [bad, status, code] of [["", 401, "unauthenticated"], [expired, 401, "token_expired"], [forged, 401, "unauthenticated"], [demo, 401, "unauthenticated"]]) {
      const answer = await exchange(runtime, client, bad);
      assert.deepEqual([answer.status, answer.body.code, answer.body.type], [status, code, "error"]);
    }
    for (const bits of [1024, 3072]) assert.equal((await exchange(runtime, makeClient(bits), token)).status, 400, bits);
  });

  test("is refused on native routes, and so is a refresh token", async () => {
    const { body } = await exchange(runtime, client, runtime.token(runtime.subject()));
    for (const ours of [body.accessToken, body.refreshToken]) {
      for (const [method, path] of [["POST", "/sync/push"], ["GET", "/sync/pull"], ["GET", "/spaces"], ["PUT", "/spaces/team"]]) {
        const answer = await runtime.fetch("home", path, { method, headers: { authorization: `Bearer ${ours}` } });
        assert.deepEqual([answer.status, (await answer.json()).code], [401, "unauthenticated"], path);
      }
    }
  });

  test("is had in no other way", async () => {
    for (const grant_type of ["otp", "authorization_code", "client_credentials"]) {
      const { status, body } = await ask(runtime, { grant_type, email: "a@b.example", public_key: client.pem });
      assert.equal(status, 404);
      assert.match(body.message, /fetchTokens/);
    }
    const demo = await ask(runtime, { grant_type: "demo", demo_user: "alice@demo.local", public_key: client.pem });
    assert.equal(demo.status, 404, "without DEXIE_DEMO_USERS");
    assert.equal((await runtime.fetch("home", "/dexie/auth-providers")).status, 404);
    const get = await runtime.fetch("home", "/dexie/token");
    assert.deepEqual([get.status, get.headers.get("allow")], [405, "POST"]);
    const long = await ask(runtime, { grant_type: "otp", email: "x".repeat(16 * 1024) });
    assert.equal(long.status, 413);
  });

  test("leaves no token in the log", async () => {
    const token = runtime.token(runtime.subject());
    const { body } = await exchange(runtime, client, token);
    await refresh(runtime, client, body.refreshToken);
    const log = runtime.logs.join("");
    assert.match(log, /dexie-token/);
    for (const secret of [token, body.accessToken, body.refreshToken]) assert.ok(!log.includes(secret.split(".").at(-1)));
  });
});

test("pages of other origins may send credentials below /dexie, also where they are refused, and nowhere else", async () => {
  const runtime = await startRuntime();
  try {
    const from = (origin, path, init = {}) => runtime.fetch("home", path, { ...init, headers: { origin, ...init.headers } });
    const cors = ({ headers }) => Object.fromEntries([...headers].filter(([name]) => name.startsWith("access-control-")));
    const preflight = { method: "OPTIONS", headers: { "access-control-request-method": "PUT", "access-control-request-headers": "x-other" } };
    for (const path of ["/dexie/sync", "/dexie/team/token", "/dexie//changes", "/dexie/blob/x"]) {
      const answer = await from("https://app.test", path, preflight);
      assert.equal(answer.status, 204);
      const { "access-control-expose-headers": exposed, ...told } = cors(answer);
      assert.deepEqual(told, {
        "access-control-allow-origin": "https://app.test",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, POST, PUT, OPTIONS",
        "access-control-allow-headers": "authorization, content-type, mode",
        "access-control-max-age": "7200",
      });
      assert.match(exposed, /Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset/);
      assert.match(answer.headers.get("vary"), /Origin/);
    }
    const requests = [["/dexie/token", { method: "POST", body: "{" }], ["/dexie/auth-providers"], ["/dexie/token"], ["/dexie/%ff/sync", { method: "POST" }]];
    for (const [path, init] of requests) {
      const answer = await from("https://app.test", path, init);
      assert.ok(answer.status >= 400);
      const told = cors(answer);
      assert.deepEqual([told["access-control-allow-origin"], told["access-control-allow-credentials"]], ["https://app.test", "true"], path);
      assert.deepEqual(cors(await from("https://evil.test", path, init)), {}, path);
    }
    for (const path of ["/sync/pull", "/health", "/dexies"]) {
      const told = cors(await from("https://app.test", path));
      assert.deepEqual([told["access-control-allow-origin"], told["access-control-allow-credentials"]], ["https://app.test", undefined], path);
    }
  } finally {
    await runtime.stop();
  }
});

test("demo users sign in where the setting names them, until it does not", async () => {
  const runtime = await startRuntime({ variables: { DEXIE_DEMO_USERS: "alice@demo.local, bob@demo.local", DEXIE_REFRESH_DAYS: "0" } });
  try {
    const client = makeClient();
    const demo = (demo_user) => ask(runtime, { grant_type: "demo", demo_user, public_key: client.pem, scopes: ["ACCESS_DB"] });
    const { status, body } = await demo("alice@demo.local");
    assert.deepEqual([status, body.userType, body.claims.sub], [200, "demo", "alice@demo.local"]);
    assert.equal(body.refreshTokenExpiration, body.accessTokenExpiration, "without days");
    assert.equal((await demo("carol@demo.local")).status, 404);
    assert.equal((await refresh(runtime, client, body.refreshToken)).status, 200);
    runtime.variables.DEXIE_DEMO_USERS = "bob@demo.local";
    await runtime.restart();
    assert.equal((await refresh(runtime, client, body.refreshToken)).status, 404);
  } finally {
    await runtime.stop();
  }
});

test("an issuer whose keys have to be fetched and whose signature the platform verifies is asked as for any token", async () => {
  const issuer = await startIssuer();
  const signer = makeSigner("ES256", "key");
  issuer.keys = [signer.jwk];
  const runtime = await startRuntime({ variables: { JWT_SECRET: null, JWKS_URL: issuer.url, JWT_AUDIENCE: null } });
  try {
    const client = makeClient();
    const now = Math.floor(Date.now() / 1000);
    const minted = signer.mint({ iss: ISSUER, sub: "alice", exp: now + 600, email: "a@b.example" });
    const { status, body } = await exchange(runtime, client, minted);
    assert.deepEqual([status, body.claims], [200, { sub: "alice", license: "ok" }], "an address that nobody has verified is not shown");
    assert.equal(issuer.asked, 1);
    const [signed, signature] = [minted.slice(0, minted.lastIndexOf(".")), Buffer.alloc(64, 7).toString("base64url")];
    assert.equal((await exchange(runtime, client, `${signed}.${signature}`)).status, 401);
  } finally {
    await runtime.stop();
    issuer.stop();
  }
});

test("a refresh token outlasts a change of the secret with both at once, and ends with its own", async () => {
  const [old, fresh] = [randomBytes(32).toString("hex"), randomBytes(32).toString("hex")];
  const runtime = await startRuntime({ variables: { GRANT_SECRET: old } });
  try {
    const client = makeClient();
    const { body: { refreshToken } } = await exchange(runtime, client, runtime.token(runtime.subject()));
    const steps = [[{ GRANT_SECRET: old, GRANT_SECRET_OTHER: fresh }, 200], [{ GRANT_SECRET: fresh, GRANT_SECRET_OTHER: old }, 200], [{ GRANT_SECRET: fresh, GRANT_SECRET_OTHER: "" }, 401]];
    for (const [secrets, status] of steps) {
      Object.assign(runtime.variables, secrets);
      await runtime.restart();
      assert.equal((await refresh(runtime, client, refreshToken)).status, status);
    }
  } finally {
    await runtime.stop();
  }
});
