// Tokens that somebody might try, each against a Worker with a key of every algorithm and an issuer of its own: none gets in,
// and each gets the right code. What the core alone decides is also in src/access/token/tests/hostile.rs.

import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { AUDIENCE, ISSUER, startRuntime } from "./harness.mjs";
import { startIssuer } from "./issuer.mjs";
import { makeSigner, mintToken } from "./token.mjs";

const encode = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const now = () => Math.floor(Date.now() / 1000);
const good = (changes) => ({ iss: ISSUER, aud: AUDIENCE, sub: "alice", iat: now(), exp: now() + 3600, ...changes });

const [es, ed, rs, rs2] = [["ES256", "e"], ["EdDSA", "d"], ["RS256", "r"], ["RS256", "r2"]].map((one) => makeSigner(...one));
const published = makeSigner("ES256", "published");
// Keys that the configuration holds, but that are none.
const short = makeSigner("RS256", "short", { modulusLength: 1024 });
const wide = makeSigner("ES384", "wide");
const weak = { kty: "oct", kid: "weak", k: encode("only 26 bytes of secret key"), alg: "HS256" };
const offCurve = { ...es.jwk, kid: "off", y: es.jwk.x };
const stranger = Object.fromEntries(["ES256", "EdDSA", "RS256"].map((alg) => [alg, makeSigner(alg, "stranger")]));
// A secret that an issuer publishes by mistake.
const leaked = { kty: "oct", kid: "leaked", k: encode("l".repeat(32)), alg: "HS256" };

let runtime;
let issuer;
let secret;
before(async () => {
  issuer = await startIssuer();
  issuer.keys = [published.jwk, leaked];
  const keys = [es.jwk, ed.jwk, rs.jwk, rs2.jwk, short.jwk, wide.jwk, weak, offCurve];
  runtime = await startRuntime({ variables: { JWT_KEYS: JSON.stringify({ keys }), JWKS_URL: issuer.url } });
  secret = runtime.variables.JWT_SECRET;
});
after(async () => {
  await runtime.stop();
  issuer.stop();
});

/** A token of any header and claims, given as values or as text, under a good HMAC. */
function hmac(header, claims, key = secret, hash = "sha256") {
  const signed = `${encode(header)}.${encode(claims)}`;
  return `${signed}.${createHmac(hash, key).update(signed).digest("base64url")}`;
}
const HS = { alg: "HS256", typ: "JWT" };
const signedWith = (claims) => hmac(HS, claims);
const withClaim = (changes) => () => signedWith(good(changes));
const parts = (token) => token.split(".");
const swap = (at, part) => (token) => parts(token).with(at, part).join(".");
/** Claims as text, with one more in front. */
const repeated = (text) => () => signedWith(`{${text},${JSON.stringify(good()).slice(1)}`);
const bytesOf = (token) => Buffer.from(parts(token)[2], "base64url");
const resign = (token, bytes) => swap(2, Buffer.from(bytes).toString("base64url"))(token);

const HOSTILE = {
  // Algorithms and keys.
  "the algorithm none": () => mintToken(good(), { alg: "none" }),
  "the algorithm NonE": () => `${encode({ alg: "NonE" })}.${encode(good())}.`,
  "the algorithm none over a good signature": () => swap(0, encode({ alg: "none" }))(signedWith(good())),
  "no algorithm": () => hmac({ typ: "JWT" }, good()),
  "two algorithms": () => hmac('{"alg":"none","alg":"HS256"}', good()),
  "HS512 with the secret": () => hmac({ alg: "HS512" }, good(), secret, "sha512"),
  "the RSA key's PEM as HMAC secret": () => hmac({ ...HS, kid: "r" }, good(), rs.publicKey.export({ type: "spki", format: "pem" })),
  "the RSA key's DER as HMAC secret": () => hmac({ ...HS, kid: "r" }, good(), rs.publicKey.export({ type: "spki", format: "der" })),
  "the RSA key's JWK as HMAC secret": () => hmac({ ...HS, kid: "r" }, good(), JSON.stringify(rs.jwk)),
  "the RSA modulus as HMAC secret": () => hmac({ ...HS, kid: "r" }, good(), Buffer.from(rs.jwk.n, "base64url")),
  "the EC key's x as HMAC secret": () => hmac({ ...HS, kid: "e" }, good(), Buffer.from(es.jwk.x, "base64url")),
  "an empty HMAC secret": () => hmac(HS, good(), ""),
  "another HMAC secret": () => hmac(HS, good(), randomBytes(32)),
  "a secret that is too short to be one": () => hmac({ ...HS, kid: "weak" }, good(), "only 26 bytes of secret key"),
  "a secret that the issuer published": () => hmac({ ...HS, kid: "leaked" }, good(), "l".repeat(32)),
  "an RSA key of 1024 bits": () => short.mint(good()),
  "a key on P-384 as ES384": () => wide.mint(good()),
  "a key on P-384 as ES256": () => wide.mint(good(), { header: { alg: "ES256" } }),
  "a key that is not on its curve": () => es.mint(good(), { header: { kid: "off" } }),
  "PS256 over an RSA key": () => rs.mint(good(), { header: { alg: "PS256" } }),
  "RS256 over the name of an EC key": () => rs.mint(good(), { header: { kid: "e" } }),
  "ES256 over the name of an RSA key": () => es.mint(good(), { header: { kid: "r" } }),
  "EdDSA over the name of an EC key": () => ed.mint(good(), { header: { kid: "e" } }),
  "a foreign key under our key's name, ES256": () => stranger.ES256.mint(good(), { header: { kid: "e" } }),
  "a foreign key under our key's name, EdDSA": () => stranger.EdDSA.mint(good(), { header: { kid: "d" } }),
  "a foreign key under our key's name, RS256": () => stranger.RS256.mint(good(), { header: { kid: "r" } }),
  "a foreign key under the published key's name": () => stranger.ES256.mint(good(), { header: { kid: "published" } }),
  "a foreign key id": () => stranger.ES256.mint(good()),
  "a key id of 4 KB": () => stranger.ES256.mint(good(), { header: { kid: "k".repeat(4000) } }),
  "a key id that is a number": () => es.mint(good(), { header: { kid: 1 } }),
  "no key id where two keys could be meant": () => rs.mint(good(), { header: { kid: undefined } }),
  "its own key in jwk": () => stranger.RS256.mint(good(), { header: { jwk: stranger.RS256.jwk } }),
  "its own key in jwk under our key's name": () =>
    stranger.RS256.mint(good(), { header: { kid: "r", jwk: { ...stranger.RS256.jwk, kid: "r" } } }),
  "its own keys at jku": () => stranger.ES256.mint(good(), { header: { jku: issuer.url } }),
  "its own certificate at x5u": () => stranger.RS256.mint(good(), { header: { x5u: issuer.url, x5c: ["MII"] } }),
  "a critical extension": () => hmac({ ...HS, crit: ["b64"], b64: true }, good()),
  "a critical extension, ES256": () => es.mint(good(), { header: { crit: ["exp"] } }),
  // Signatures.
  "no signature": () => swap(2, "")(signedWith(good())),
  "a cut signature": () => signedWith(good()).slice(0, -4),
  "a cut signature, ES256": () => resign(es.mint(good()), bytesOf(es.mint(good())).subarray(0, 63)),
  "a signature with a byte more, EdDSA": () => resign(ed.mint(good()), Buffer.concat([bytesOf(ed.mint(good())), Buffer.alloc(1)])),
  "a signature in DER, ES256": () => es.mint(good(), { dsaEncoding: "der" }),
  "a signature of zeros, ES256": () => resign(es.mint(good()), Buffer.alloc(64)),
  "a signature of zeros, EdDSA": () => resign(ed.mint(good()), Buffer.alloc(64)),
  "a signature of zeros, RS256": () => resign(rs.mint(good()), Buffer.alloc(256)),
  "a signature with one bit changed, RS256": () => {
    const token = rs.mint(good());
    const bytes = bytesOf(token);
    bytes[100] ^= 1;
    return resign(token, bytes);
  },
  "the signature of another token": () => swap(2, parts(signedWith(good({ sub: "bob" })))[2])(signedWith(good())),
  "the signature of another token, RS256": () => swap(2, parts(rs.mint(good({ sub: "bob" })))[2])(rs.mint(good())),
  "another subject under an old signature, EdDSA": () => swap(1, encode(good({ sub: "bob" })))(ed.mint(good())),
  "another header over an old signature, ES256": () => swap(0, encode({ alg: "ES256", kid: "e", x: 1 }))(es.mint(good())),
  // Claims, under good signatures.
  "another issuer": withClaim({ iss: "https://elsewhere.test" }),
  "another issuer, ES256": () => es.mint(good({ iss: "https://elsewhere.test" })),
  "an issuer that only begins alike": withClaim({ iss: `${ISSUER}.evil.test` }),
  "no issuer": withClaim({ iss: undefined }),
  "a list of issuers": withClaim({ iss: [ISSUER] }),
  "another audience": withClaim({ aud: "somebody-else" }),
  "another audience, RS256": () => rs.mint(good({ aud: ["somebody-else"] })),
  "no audience": withClaim({ aud: undefined }),
  "no audience in the list": withClaim({ aud: [] }),
  "an audience that is an object": withClaim({ aud: { [AUDIENCE]: true } }),
  "an empty subject": withClaim({ sub: "" }),
  "an empty subject, RS256": () => rs.mint(good({ sub: "" })),
  "no subject": withClaim({ sub: undefined }),
  "a subject that is a number": withClaim({ sub: 7 }),
  "a subject that is a list": withClaim({ sub: ["alice"] }),
  "a subject of 1,025 bytes": withClaim({ sub: "ä".repeat(512) + "a" }),
  "a beginning in two minutes": withClaim({ nbf: now() + 120 }),
  "a beginning in an hour, EdDSA": () => ed.mint(good({ nbf: now() + 3600 })),
  "a beginning that is text": withClaim({ nbf: "now" }),
  "no end": withClaim({ exp: undefined }),
  "no end, ES256": () => es.mint(good({ exp: undefined })),
  "an end that is text": withClaim({ exp: "never" }),
  "an end that is infinite": () => signedWith(JSON.stringify(good()).replace(/"exp":\d+/, '"exp":1e999')),
  "two subjects": repeated('"sub":"bob"'),
  "two subjects, one of them escaped": repeated('"\\u0073ub":"bob"'),
  "two ends": repeated('"exp":99999999999'),
  "two audiences": repeated('"aud":"somebody-else"'),
  "claims that are a list": () => signedWith([good()]),
  "claims that are text": () => signedWith('"alice"'),
  "claims that are no JSON": () => signedWith("sub=alice"),
  "no claims": () => signedWith(""),
  "claims nested 2,000 deep": () => signedWith(`{"a":${"[".repeat(2000)}`),
  "claims that are not UTF-8": () => swap(1, Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url"))(signedWith(good())),
  // Text.
  "9 KB": withClaim({ groups: "g".repeat(9000) }),
  "9 KB, RS256": () => rs.mint(good({ groups: "g".repeat(9000) })),
  "no dots": () => "token",
  "nothing between the dots": () => "..",
  "two parts": () => parts(signedWith(good())).slice(0, 2).join("."),
  "four parts": () => `${signedWith(good())}.${randomBytes(32).toString("base64url")}`,
  "an empty part more": () => `${signedWith(good())}.`,
  "five parts, as if it were encrypted": () => `${encode({ alg: "dir", enc: "A256GCM" })}..a.b.c`,
  "padding": () => `${signedWith(good())}=`,
  "base64 that is not of URLs": () => swap(2, "ab+/".repeat(10) + "abc")(signedWith(good())),
  "a header that is no base64": () => swap(0, "!!!")(signedWith(good())),
  "a header that is no JSON": () => hmac("alg=HS256", good()),
  "two tokens": () => `${signedWith(good())} ${signedWith(good())}`,
};

const OF_THE_PAST = {
  "an end an hour ago": () => signedWith(good({ exp: now() - 3600 })),
  "an end just before the leeway": () => signedWith(good({ exp: now() - 62 })),
  "an end in 1970": () => signedWith(good({ exp: 1 })),
  "an end an hour ago, ES256": () => es.mint(good({ exp: now() - 3600 })),
  "an end an hour ago, EdDSA": () => ed.mint(good({ exp: now() - 3600 })),
  "an end an hour ago, RS256": () => rs.mint(good({ exp: now() - 3600 })),
  "an end an hour ago, of a published key": () => published.mint(good({ exp: now() - 3600 })),
};

async function ask(token) {
  const answer = await runtime.fetch("home", "/sync/pull", { headers: { authorization: `Bearer ${token}` } });
  return { status: answer.status, text: await answer.text() };
}

for (const [table, code] of [[HOSTILE, "unauthenticated"], [OF_THE_PAST, "token_expired"]]) {
  for (const [what, make] of Object.entries(table)) {
    test(`a token with ${what} is ${code}`, async () => {
      const token = make();
      // Twice: what is refused is not remembered as anything else.
      for (let time = 0; time < 2; time += 1) {
        const { status, text } = await ask(token);
        assert.deepEqual([status, JSON.parse(text).code], [401, code]);
        if (token.length > 8) assert.ok(!text.includes(token), "the token is not echoed");
      }
    });
  }
}

test("what they are all changed from is good, and the issuer was not asked for any of them more than once a minute", async () => {
  const tokens = [es, ed, rs, rs2, published].map((signer) => signer.mint(good()));
  tokens.push(signedWith(good()), es.mint(good({ exp: now() - 50 })), ed.mint(good({ nbf: now() + 50 })));
  tokens.push(signedWith(good({ iat: now() + 3600 })), ed.mint(good(), { header: { kid: undefined } }));
  for (const token of tokens) assert.equal((await ask(token)).status, 200);
  assert.ok(issuer.asked <= 2, `${issuer.asked}`);
  assert.ok(Object.keys(HOSTILE).length + Object.keys(OF_THE_PAST).length >= 100);
  assert.match(runtime.logs.join(""), /JWT_KEYS: key 5 \(kid short\) has not 2048 to 8192 bits/);
  assert.doesNotMatch(runtime.logs.join(""), /eyJ[\w-]{10,}\.[\w-]{10,}/, "no token stands in the log");
});
