// Tokens of every algorithm, the keys of an issuer that come and go, and tokens as identity services make them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { localVariables } from "../../scripts/token.mjs";
import { AUDIENCE, ISSUER, startRuntime } from "./harness.mjs";
import { startIssuer } from "./issuer.mjs";
import { makeSigner, mintToken } from "./token.mjs";

const MINUTE = 60_000;
const now = () => Math.floor(Date.now() / 1000);
const good = (sub) => ({ iss: ISSUER, aud: AUDIENCE, sub, iat: now(), exp: now() + 86_400 });

const ask = (runtime, token, init = {}) =>
  runtime.fetch("home", "/sync/pull", { ...init, headers: { authorization: `Bearer ${token}` } });

async function assertRefused(answer, status, code) {
  const body = await answer.json();
  assert.deepEqual([answer.status, body.code], [status, code]);
}

test("the local server's token heeds comments, and leaves environments alone", () => {
  const config = `
name = "x"
[vars] # of the top level
JWT_ISSUER = "https://a.example#1" # a comment with "quotes"
JWT_AUDIENCE = 'b'
[env.staging.vars]
JWT_ISSUER = "https://staging.example"`;
  const secrets = `JWT_SECRET="s#s"\nGRANT_SECRET=plain # rest`;
  assert.deepEqual(localVariables(config, secrets), {
    JWT_ISSUER: "https://a.example#1",
    JWT_AUDIENCE: "b",
    JWT_SECRET: "s#s",
    GRANT_SECRET: "plain",
  });
});

describe("keys in JWT_KEYS", () => {
  const signers = ["ES256", "EdDSA", "RS256"].map((alg) => makeSigner(alg, `key of ${alg}`));
  const secret = "s".repeat(40);
  const oct = { kty: "oct", kid: "shared", k: Buffer.from(secret).toString("base64url"), alg: "HS256" };
  let runtime;
  before(async () => {
    const keys = [...signers.map(({ jwk }) => jwk), oct];
    runtime = await startRuntime({ variables: { JWT_SECRET: null, JWT_KEYS: JSON.stringify({ keys }) } });
  });
  after(() => runtime.stop());

  for (const signer of signers) {
    test(`a token of ${signer.alg} gets its user in, at first and when it is remembered, on every route`, async () => {
      const sub = runtime.subject(signer.alg);
      const device = runtime.device(sub, { token: signer.mint(good(sub)) });
      const change = { op: "put", collection: "c", id: "r", value: { of: sub } };
      assert.equal((await device.push([change])).status, "applied");
      for (const [method, path, body] of [
        ["GET", "/sync/pull?consistency=strong"],
        ["POST", "/sync/pull", '{"consistency":"strong"}'],
      ]) {
        // Each with a token that nobody has seen, so that each verifies.
        const authorization = `Bearer ${signer.mint({ ...good(sub), jti: path + method })}`;
        const headers = { authorization, ...(body && { "content-type": "application/json" }) };
        const answer = await runtime.fetch("home", path, { method, headers, body });
        assert.equal(answer.status, 200);
        assert.deepEqual((await answer.json()).changes.map(({ value }) => value), [{ of: sub }]);
      }
    });

    test(`the same subject is the same user whichever algorithm of the issuer signs: ${signer.alg}`, async () => {
      const sub = runtime.subject("one");
      const writer = runtime.device(sub, { token: mintToken(good(sub), { secret, header: { kid: "shared" } }) });
      await writer.push([{ op: "put", collection: "c", id: "r", value: { n: 1 } }]);
      const reader = runtime.device(sub, { token: signer.mint(good(sub)) });
      await reader.pull({ consistency: "strong" });
      assert.equal(reader.records.size, 1);
    });

    test(`a changed claim under a signature of ${signer.alg} is refused, again and again`, async () => {
      const [head, , signature] = signer.mint(good("alice")).split(".");
      const claims = signer.mint(good("bob")).split(".")[1];
      for (let time = 0; time < 3; time += 1) {
        await assertRefused(await ask(runtime, [head, claims, signature].join(".")), 401, "unauthenticated");
      }
    });

    test(`an expired token of ${signer.alg} says so`, async () => {
      const token = signer.mint({ ...good("alice"), exp: now() - 3600 });
      await assertRefused(await ask(runtime, token), 401, "token_expired");
    });
  }

  test("many first requests at once are each verified", async () => {
    const tokens = Array.from({ length: 60 }, (_, at) => signers[at % 3].mint(good(`many-${at}`)));
    const answers = await Promise.all(tokens.map((token) => ask(runtime, token)));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  });
});

test("a new secret and new keys take over while the old ones still work, and then the old ones are refused", async () => {
  const [old, next] = [makeSigner("ES256", "2026"), makeSigner("ES256", "2027")];
  const device = (runtime, signer) => runtime.device("rotating", { token: signer.mint(good("rotating")) });
  const change = (n) => [{ op: "put", collection: "c", id: "r", value: { n } }];
  const keysOf = (...signers) => JSON.stringify({ keys: signers.map(({ jwk }) => jwk) });
  const runtime = await startRuntime({ variables: { JWT_KEYS: keysOf(old) } });
  try {
    assert.equal((await device(runtime, old).push(change(1))).status, "applied");
    await assertRefused(await ask(runtime, next.mint(good("rotating"))), 401, "unauthenticated");
    runtime.variables.JWT_KEYS = keysOf(old, next);
    await runtime.restart();
    for (const signer of [old, next]) {
      const reader = device(runtime, signer);
      await reader.pull({ consistency: "strong" });
      assert.equal(reader.records.size, 1, "the same user, the same space");
    }
    runtime.variables.JWT_KEYS = keysOf(next);
    await runtime.restart();
    await assertRefused(await ask(runtime, old.mint(good("rotating"))), 401, "unauthenticated");
    assert.equal((await ask(runtime, next.mint(good("rotating")))).status, 200);
  } finally {
    await runtime.stop();
  }
});

describe("keys at JWKS_URL", () => {
  /** Runs `work` with an issuer that publishes the keys of `signers`, and a Worker that has just started. */
  async function withIssuer(signers, work) {
    const issuer = await startIssuer();
    issuer.keys = signers.map(({ jwk }) => jwk);
    const runtime = await startRuntime({ variables: { JWT_SECRET: null, JWKS_URL: issuer.url } });
    try {
      await work(issuer, runtime);
    } finally {
      await runtime.stop();
      issuer.stop();
    }
  }

  test("however many ask at first, the issuer is asked once", async () => {
    const signer = makeSigner("RS256", "r");
    await withIssuer([signer], async (issuer, runtime) => {
      issuer.answer = (_, response) => setTimeout(() => response.end(JSON.stringify({ keys: issuer.keys })), 300);
      const tokens = Array.from({ length: 40 }, (_, at) => signer.mint(good(`u${at}`)));
      const answers = await Promise.all(tokens.map((token) => ask(runtime, token)));
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      assert.equal(issuer.asked, 1);
    });
  });

  test("a client that hangs up while it fetches the keys for all does not take the others along", async () => {
    const signer = makeSigner("ES256", "e");
    await withIssuer([signer], async (issuer, runtime) => {
      let answer;
      const asked = new Promise((resolve) => {
        issuer.answer = (_, response) => {
          answer = () => response.end(JSON.stringify({ keys: issuer.keys }));
          resolve();
        };
      });
      const leaving = new AbortController();
      const gone = ask(runtime, signer.mint(good("gone")), { signal: leaving.signal }).catch((error) => error.name);
      await asked;
      const staying = Array.from({ length: 5 }, (_, at) => ask(runtime, signer.mint(good(`stays-${at}`))));
      await new Promise((later) => setTimeout(later, 100));
      leaving.abort();
      assert.equal(await gone, "AbortError");
      answer();
      issuer.answer = null;
      for (const { status } of await Promise.all(staying)) assert.equal(status, 200);
      assert.equal(issuer.asked, 1);
    });
  });

  test("a key id that nobody has is looked for once a minute, and a new key is found so", async () => {
    const [old, next] = [makeSigner("ES256", "old"), makeSigner("EdDSA", "next")];
    await withIssuer([old], async (issuer, runtime) => {
      assert.equal((await ask(runtime, old.mint(good("a")))).status, 200);
      issuer.keys = [old.jwk, next.jwk];
      for (let at = 0; at < 20; at += 1) {
        const stranger = next.mint(good("a"), { header: { kid: `stranger-${at}` } });
        await assertRefused(await ask(runtime, stranger), 401, "unauthenticated");
      }
      assert.equal(issuer.asked, 1, "strangers are no reason to ask again so soon");
      await runtime.setClock("home", 61_000);
      for (let at = 0; at < 20; at += 1) {
        const stranger = next.mint(good("a"), { header: { kid: `stranger-${at}` } });
        await assertRefused(await ask(runtime, stranger), 401, "unauthenticated");
      }
      assert.equal(issuer.asked, 2);
      for (const signer of [old, next]) assert.equal((await ask(runtime, signer.mint(good("a")))).status, 200);
      assert.equal(issuer.asked, 2);
    });
  });

  test("a key that the issuer takes back is refused within ten minutes, remembered tokens included", async () => {
    const [old, next] = [makeSigner("RS256", "old"), makeSigner("RS256", "next")];
    await withIssuer([old, next], async (issuer, runtime) => {
      const [leaving, staying] = [old.mint(good("a")), next.mint(good("a"))];
      for (const token of [leaving, staying, leaving]) assert.equal((await ask(runtime, token)).status, 200);
      issuer.keys = [next.jwk];
      await runtime.setClock("home", 10 * MINUTE + 1000);
      await assertRefused(await ask(runtime, leaving), 401, "unauthenticated");
      assert.equal((await ask(runtime, staying)).status, 200);
    });
  });

  const DOWN = {
    // The first three would be good answers if they were taken.
    "answers 503": (_, response, keys) => response.writeHead(503).end(keys),
    "redirects": (request, response, keys) =>
      request.url === "/elsewhere" ? response.end(keys) : response.writeHead(302, { location: "/elsewhere" }).end(),
    "answers too much": (_, response, keys) => response.end(" ".repeat(300 * 1024) + keys),
    "answers a page": (_, response) => response.end("<html>maintenance</html>"),
    "sends without end": (request, response) => {
      const more = setInterval(() => response.write("x".repeat(64 * 1024)), 5);
      request.socket.on("close", () => clearInterval(more));
    },
    "says nothing": () => {},
    "hangs up": (request) => request.socket.destroy(),
  };
  for (const [what, answer] of Object.entries(DOWN)) {
    test(`an issuer that ${what} keeps nobody out whose key is known, and only those wait who have none`, async () => {
      const signer = makeSigner("ES256", "e");
      await withIssuer([signer], async (issuer, runtime) => {
        const down = (request, response) => answer(request, response, JSON.stringify({ keys: [signer.jwk] }));
        issuer.answer = down;
        const first = await ask(runtime, signer.mint(good("early")));
        assert.equal(first.headers.get("retry-after"), "2");
        await assertRefused(first, 503, "upstream");
        issuer.answer = null;
        await runtime.setClock("home", 6_000);
        assert.equal((await ask(runtime, signer.mint(good("a")))).status, 200);
        issuer.answer = down;
        await runtime.setClock("home", 20 * MINUTE);
        for (const sub of ["a", "b", "c"]) assert.equal((await ask(runtime, signer.mint(good(sub)))).status, 200);
        assert.equal(issuer.asked, 3, "and the issuer is left in peace");
        assert.match(runtime.logs.join(""), /the issuer's keys could not be fetched/);
      });
    });
  }
});

test("keys as issuers publish them are taken, and the log says once which are not, and which are doubled", async () => {
  const [zero, padded, bare, twice, named] = ["RS256", "RS256", "RS256", "ES256", "EdDSA"].map((alg, at) => makeSigner(alg, `good-${at}`));
  const [one, another, short, sealing] = [
    makeSigner("ES256", "shared"), makeSigner("ES256", "shared"), makeSigner("RS256", "short", { modulusLength: 1024 }), makeSigner("RS256", "sealing"),
  ];
  zero.jwk.n = Buffer.concat([Buffer.of(0), Buffer.from(zero.jwk.n, "base64url")]).toString("base64url");
  padded.jwk.n += "==";
  Object.assign(bare.jwk, { alg: undefined, use: undefined, x5t: "nOo3ZDrODXEK1jKWhXslHR_KXEg", x5c: ["MIIC"] });
  named.jwk.alg = "Ed25519";
  sealing.jwk.use = "enc";
  // Of the right length, and on no curve.
  const off = { ...twice.jwk, kid: "off", y: twice.jwk.x };
  const issuer = await startIssuer();
  issuer.keys = [zero, padded, bare, twice, twice, named, one, another, short, sealing].map(({ jwk }) => jwk).concat([off]);
  const runtime = await startRuntime({ variables: { JWT_SECRET: null, JWKS_URL: issuer.url, LOG_LEVEL: null } });
  try {
    for (let at = 0; at < 3; at += 1) {
      for (const signer of [zero, padded, bare, twice, named]) assert.equal((await ask(runtime, signer.mint(good(`u${at}`)))).status, 200, signer.kid);
      assert.equal((await ask(runtime, named.mint(good(`v${at}`), { header: { alg: "Ed25519" } }))).status, 200);
      for (const signer of [one, another, short, sealing]) await assertRefused(await ask(runtime, signer.mint(good(`u${at}`))), 401, "unauthenticated");
      await assertRefused(await ask(runtime, twice.mint(good(`u${at}`), { header: { kid: "off" } })), 401, "unauthenticated");
    }
    const lines = runtime.logs.join("").split("\n").filter((line) => line.includes("a setting is not right"));
    assert.deepEqual(lines.map((line) => JSON.parse(line).why), [
      "JWKS_URL: key 9 (kid short) has not 2048 to 8192 bits",
      "JWKS_URL: key 4 (kid good-3) and JWKS_URL: key 5 (kid good-3) are the same key: take one of them away",
      "JWKS_URL: key 7 (kid shared) and JWKS_URL: key 8 (kid shared) are different keys of one name, so no token can mean either: give each a kid of its own",
      "JWKS_URL: key 11 (kid off) is not a key to the platform: replace it",
    ]);
  } finally {
    await runtime.stop();
    issuer.stop();
  }
});

test("several issuers and audiences are taken, their users are different people, and settings may be lists and numbers", async () => {
  const keys = { keys: [makeSigner("ES256", "of-json").jwk] };
  const variables = { JWT_ISSUER: `${ISSUER}, https://old.test/`, JWT_AUDIENCE: ["phone", "web"], JWT_KEYS: keys, RATE_USER_PER_S: 1, LOG_LEVEL: "info" };
  const runtime = await startRuntime({ variables });
  try {
    const device = (iss, aud) => runtime.device("alice", { token: runtime.token("alice", { iss, aud }) });
    const change = { op: "put", collection: "c", id: "r", value: { n: 1 } };
    assert.equal((await device(ISSUER, "web").push([change])).status, "applied");
    const seen = async (iss, aud) => {
      const reader = device(iss, aud);
      await reader.pull({ consistency: "strong" });
      return reader.records.size;
    };
    assert.equal(await seen(ISSUER, ["account", "phone"]), 1);
    assert.equal(await seen("https://old.test/", "web"), 0);
    for (const [iss, aud] of [["https://old.test", "web"], [ISSUER, "tv"], [`${ISSUER}, https://old.test/`, "web"], [ISSUER, "phone,web"]]) {
      await assertRefused(await ask(runtime, runtime.token("alice", { iss, aud })), 401, "unauthenticated");
    }
    const often = Array.from({ length: 30 }, () => device(ISSUER, "web").ask("/sync/pull?consistency=strong"));
    assert.ok((await Promise.all(often)).some(({ status }) => status === 429), "a rate that is a number counts");
    assert.doesNotMatch(runtime.logs.join(""), /is not right/);
  } finally {
    await runtime.stop();
  }
});

test("the log says at its default level what is wrong with the settings, once, and shows no value of one", async () => {
  const variables = {
    LOG_LEVEL: "verbose", RATE_USER_PER_S: "many-per-second", PUBLISH_INTERVAL_MS: "1s", JWKS_URL: "http://keys.test/jwks",
    GRANT_SECRET: "too-short-a-secret", JWT_KEYS: '{"keys":[{"kty":"oct","kid":"next","k":"c2hvcnQ"}]}', ALLOWED_ORIGIN: "https://app.test",
  };
  const runtime = await startRuntime({ variables });
  try {
    const device = runtime.device(runtime.subject());
    for (let at = 0; at < 3; at += 1) assert.equal((await device.ask("/sync/pull")).status, 200);
    const log = runtime.logs.join("");
    const lines = log.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
    const problems = lines.filter(({ event }) => event === "a setting is not right").map(({ why }) => why);
    for (const says of ["LOG_LEVEL is not error, info or debug: info counts", "RATE_USER_PER_S is not a whole number: 100 counts", "PUBLISH_INTERVAL_MS", "JWKS_URL does not count", "GRANT_SECRET has less than 32 bytes", "JWT_KEYS: key 1 (kid next) is shorter than 32 bytes"]) {
      assert.equal(problems.filter((why) => why.startsWith(says)).length, 1, `${says}: ${problems.join("\n")}`);
    }
    const unknown = lines.filter(({ event }) => event === "settings that nothing reads");
    assert.ok(unknown.length === 1 && unknown[0].names.includes("ALLOWED_ORIGIN"), JSON.stringify(unknown));
    for (const value of ["too-short-a-secret", "many-per-second", "c2hvcnQ"]) assert.ok(!log.includes(value), value);
  } finally {
    await runtime.stop();
  }
});

test("refused tokens are counted by reason, and the log has a line at once and then one a minute, at its default level", async () => {
  const runtime = await startRuntime({ variables: { LOG_LEVEL: null } });
  try {
    const lines = () => runtime.logs.join("").split("\n").filter((line) => line.includes('"tokens refused"')).map((line) => JSON.parse(line).counts);
    const stranger = makeSigner("ES256", "nobodys-key");
    const refused = [runtime.token("secret-subject", { aud: "other" }), runtime.token("secret-subject", { iss: "https://old.test" }), stranger.mint(good("secret-subject"))];
    for (const token of [...refused, ...refused]) await assertRefused(await ask(runtime, token), 401, "unauthenticated");
    assert.deepEqual(lines(), [{ "aud is none of JWT_AUDIENCE": 1 }]);
    await runtime.setClock("home", 61_000);
    assert.equal((await ask(runtime, runtime.token("somebody"))).status, 200);
    assert.deepEqual(lines()[1], {
      "aud is none of JWT_AUDIENCE": 1, "iss is none of JWT_ISSUER": 2, "no key has the token's alg and kid, or several have": 2,
    });
    assert.doesNotMatch(runtime.logs.join(""), /secret-subject|nobodys-key|old\.test|eyJ/);
  } finally {
    await runtime.stop();
  }
});

describe("tokens as services make them", () => {
  // As their documentation has them: see docs/TOKENS.md. The address of the keys is a local one here.
  const user = { email: "a@example.com", email_verified: true };
  const PRESETS = {
    Auth0: {
      alg: "RS256",
      extra: { x5t: "NEM1NjI3RTBCMDQ4", x5c: ["MIIDDTCCAfWgAwIBAgIJ"] },
      variables: { JWT_ISSUER: "https://tenant.auth0.com/", JWT_AUDIENCE: "https://api.example.com" },
      claims: {
        iss: "https://tenant.auth0.com/",
        sub: "auth0|6553da60a54af58e29493993",
        aud: ["https://api.example.com", "https://tenant.auth0.com/userinfo"],
        azp: "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
        scope: "openid profile email",
      },
      refused: { aud: ["https://tenant.auth0.com/userinfo"] },
    },
    Clerk: {
      alg: "RS256",
      header: { cat: "cl_B7d4PD111AAA" },
      // A session token has no audience.
      variables: { JWT_ISSUER: "https://clerk.example.com", JWT_AUDIENCE: null },
      claims: {
        iss: "https://clerk.example.com",
        sub: "user_2abcDEF",
        azp: "https://example.com",
        sid: "sess_123",
        nbf: now() - 10,
        v: 2,
        fva: [7, -1],
        sts: "active",
      },
      refused: { iss: "https://another.clerk.accounts.dev" },
    },
    "Supabase with signing keys": {
      alg: "ES256",
      extra: { key_ops: ["verify"], ext: true },
      variables: { JWT_ISSUER: "https://project.supabase.co/auth/v1", JWT_AUDIENCE: "authenticated" },
      claims: {
        iss: "https://project.supabase.co/auth/v1",
        sub: "123e4567-e89b-12d3-a456-426614174000",
        aud: "authenticated",
        role: "authenticated",
        aal: "aal1",
        session_id: "b7a1",
        is_anonymous: false,
        app_metadata: { provider: "email" },
        ...user,
      },
      refused: { aud: "anon" },
    },
    Firebase: {
      alg: "RS256",
      variables: { JWT_ISSUER: "https://securetoken.google.com/project", JWT_AUDIENCE: "project" },
      claims: {
        iss: "https://securetoken.google.com/project",
        aud: "project",
        sub: "kR5mUVBnQ2hGPOQ",
        user_id: "kR5mUVBnQ2hGPOQ",
        auth_time: now() - 60,
        firebase: { identities: { email: ["a@example.com"] }, sign_in_provider: "password" },
        ...user,
      },
      // The keys are the same for all projects of Google: only issuer and audience tell them apart.
      refused: { iss: "https://securetoken.google.com/other", aud: "other" },
    },
    "Cloudflare Access": {
      alg: "RS256",
      document: { public_cert: { kid: "x", cert: "-----BEGIN CERTIFICATE-----" }, public_certs: [] },
      variables: { JWT_ISSUER: "https://team.cloudflareaccess.com", JWT_AUDIENCE: "32eafc7626e974616deaf0dc3ce63d7b" },
      claims: {
        iss: "https://team.cloudflareaccess.com",
        aud: ["32eafc7626e974616deaf0dc3ce63d7b"],
        sub: "7335d417-61da-459d-899c-0a01c76a2f94",
        nbf: now() - 10,
        type: "app",
        identity_nonce: "6ei69kawdKzMIAPF",
        country: "US",
        email: "user@example.com",
      },
      // As for a service token, which is nobody's.
      refused: { sub: "", common_name: "e367826f93b8d71185e03fe518aff3b4.access", email: undefined },
      why: /sub is missing, empty or too long/,
    },
    "an issuer of one's own": {
      alg: "EdDSA",
      variables: { JWT_ISSUER: "https://auth.example.com", JWT_AUDIENCE: "sync" },
      claims: { iss: "https://auth.example.com", aud: "sync", sub: "42" },
      refused: { aud: "shop" },
    },
  };

  for (const [name, preset] of Object.entries(PRESETS)) {
    test(`a user of ${name} gets in, and one that is not meant does not`, async () => {
      const signer = makeSigner(preset.alg, "3f2a");
      const issuer = await startIssuer();
      const keys = [{ ...signer.jwk, ...preset.extra }];
      issuer.answer = (_, response) => response.end(JSON.stringify({ keys, ...preset.document }));
      const variables = { JWT_SECRET: null, JWKS_URL: issuer.url, ...preset.variables };
      const runtime = await startRuntime({ variables });
      try {
        const claims = { iat: now(), exp: now() + 3600, ...preset.claims };
        const device = runtime.device("somebody", { token: signer.mint(claims, { header: preset.header }) });
        assert.equal((await device.push([{ op: "put", collection: "c", id: "r", value: {} }])).status, "applied");
        const other = signer.mint({ ...claims, ...preset.refused }, { header: preset.header });
        await assertRefused(await ask(runtime, other), 401, "unauthenticated");
        if (preset.why) assert.match(runtime.logs.join(""), preset.why);
      } finally {
        await runtime.stop();
        issuer.stop();
      }
    });
  }

  test("a user of Supabase with the legacy secret gets in", async () => {
    const secret = "super-secret-jwt-token-with-at-least-32-characters-long";
    const iss = "https://project.supabase.co/auth/v1";
    const variables = { JWT_SECRET: secret, JWT_ISSUER: iss, JWT_AUDIENCE: "authenticated" };
    const runtime = await startRuntime({ variables });
    try {
      const claims = { iss, aud: "authenticated", sub: "123e4567", role: "authenticated", iat: now(), exp: now() + 3600 };
      // Its header may name the secret, which has no name here.
      for (const header of [{}, { kid: "Ab1/cD2" }]) {
        assert.equal((await ask(runtime, mintToken(claims, { secret, header }))).status, 200);
      }
      // The key that is in every page of an app is signed with the same secret.
      const anon = mintToken({ iss: "supabase", ref: "project", role: "anon", iat: now(), exp: now() + 1e8 }, { secret });
      await assertRefused(await ask(runtime, anon), 401, "unauthenticated");
    } finally {
      await runtime.stop();
    }
  });
});
