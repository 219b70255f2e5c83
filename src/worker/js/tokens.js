// What the platform verifies and counts: signatures, the keys of an issuer, requests of a user.

import { collect } from "./body.js";
import { drop } from "./kv.js";

const IMPORT = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  EdDSA: { name: "Ed25519" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};
const imported = new Map();

// Rejects when the JWK is no key. Keys are remembered, not promises: one that another request began may never settle.
export async function verifySignature(algorithm, jwk, signed, signature, keysMax) {
  let key = imported.get(jwk);
  if (key === undefined) {
    key = await crypto.subtle.importKey("jwk", JSON.parse(jwk), IMPORT[algorithm], false, ["verify"]);
    if (imported.size >= keysMax) imported.clear();
    imported.set(jwk, key);
  }
  return crypto.subtle.verify(IMPORT[algorithm], key, signature, new TextEncoder().encode(signed));
}

// The fetch of the issuer's keys that is under way in this isolate: until when it is waited for, and what it has brought.
let fetching = null;

// Resolves to [the text behind the URL, or null, and what came: status and type, empty if nothing did]. Whoever asks while a fetch is under way gets what that one brings, but
// looks for it with timers of their own: a promise dies with the request that made it.
export async function fetchKeys(url, limit, timeoutMs, looks, context) {
  const under = fetching;
  if (under !== null && Date.now() < under.until) {
    while (under.came === undefined && Date.now() < under.until) await scheduler.wait(timeoutMs / looks);
    return under.came ?? [null, ""];
  }
  const mine = { until: Date.now() + timeoutMs, came: undefined };
  fetching = mine;
  const work = loadText(url, limit, timeoutMs).catch(() => [null, ""]).then((came) => {
    mine.came = came;
    if (fetching === mine) fetching = null;
    return came;
  });
  // The others wait for it, whether or not this request's client still does.
  context.waitUntil(work);
  return work;
}

async function loadText(url, limit, timeoutMs) {
  const signal = AbortSignal.timeout(timeoutMs);
  const response = await fetch(url, { headers: { accept: "application/json" }, redirect: "manual", signal });
  const what = `${response.status} ${response.headers.get("content-type") ?? ""}`.trim();
  if (response.status !== 200) {
    drop(response.body);
    return [null, what];
  }
  const bytes = await collect(response.body ?? [], limit);
  return [bytes && new TextDecoder().decode(bytes), what];
}

// Whether the platform's rate limiter lets a key pass.
export async function mayPass(env, key) {
  return (await env.RATE_LIMITER.limit({ key })).success !== false;
}
