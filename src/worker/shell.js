// The JavaScript half of the shell. A function stands here because one call out of wasm is cheaper than several, or
// because what it handles, streams and cursors, should never enter wasm memory. No sync rule lives here.

import { collect, withBody } from "./body.js";

// Header and URL texts cannot hold a line break, so one string carries them all in a single crossing. Each header that is
// looked up costs, so what only some requests need is only looked up for those. Cloudflare writes an `Accept-Encoding` of its
// own and leaves the client's in `cf` (fundamentals/reference/http-headers).
export function readRequest(request) {
  const { method, url, headers } = request;
  const get = (name) => headers.get(name) ?? "";
  const accept = get("accept");
  return `${method}\n${url}\n${Date.now()}\n${requestId()}\n${get("authorization")}\n${get("if-none-match")}\n${
    get("origin")}\n${accept}\n${/ndjson|;/i.test(accept) ? (request.cf?.clientAcceptEncoding ?? get("accept-encoding")) : ""}\n${
    method === "POST" || method === "PUT" ? `${get("content-type")}\n${get("content-encoding")}` : "\n"}`;
}

// A setting as text, however it was written: a number or a list of wrangler.toml is no string.
export function setting(env, name) {
  const value = env[name];
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined;
  return typeof value === "object" && !Array.isArray(value) ? JSON.stringify(value) : String(value);
}

// The names of all settings, one a line: what is no binding.
export function settings(env) {
  return Object.keys(env).filter((name) => typeof env[name] === "string" || typeof env[name] === "number").join("\n");
}

export function hasLimiter(env) {
  return typeof env.RATE_LIMITER === "object";
}

// A header that only some requests need.
export function readHeader(request, name) {
  return request.headers.get(name) ?? "";
}

// What the object reads of a call.
export function readCall(request) {
  return `${request.url}\n${request.headers.get("headwater-caller") ?? ""}`;
}

// Unique by the isolate's own prefix; chance is not to be had before the first request.
let prefix = "";
let count = 0;
function requestId() {
  if (prefix === "") prefix = Math.floor(Math.random() * 36 ** 8).toString(36).padStart(8, "0");
  count += 1;
  return prefix + count.toString(36);
}

// Cloudflare adds a `Date`, but workerd does not, and a device with a wrong clock needs one.
let [second, date] = [0, ""];
function httpDate() {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) [second, date] = [now, new Date(now * 1000).toUTCString()];
  return date;
}

// `headers` is "name\nvalue\nname\nvalue\n". `body` is null, a string or a ReadableStream.
export function respond(status, body, headers) {
  const parts = headers.split("\n");
  const named = { Date: httpDate() };
  for (let i = 0; i + 1 < parts.length; i += 2) named[parts[i]] = parts[i + 1];
  return new Response(body, { status, headers: named });
}

// The answer to most requests, a pull's, with headers that are known beforehand: a literal is built in half the time.
export function respondPull(status, body, values) {
  const [etag, version, source, age, id, timing, origin, exposed] = values.split("\n");
  const headers = {
    "Cache-Control": "no-store",
    Date: httpDate(),
    ETag: etag,
    "Headwater-Age": age,
    "Headwater-Request": id,
    "Headwater-Source": source,
    "Headwater-Version": version,
    "Server-Timing": timing,
    Vary: "Authorization, Origin, Accept, Accept-Encoding, Headwater-Grant",
  };
  if (status !== 304) headers["Content-Type"] = "application/json";
  if (origin !== "") {
    headers["Access-Control-Allow-Origin"] = origin;
    headers["Access-Control-Expose-Headers"] = exposed;
    headers["Timing-Allow-Origin"] = origin;
  }
  return new Response(body, { status, headers });
}

// Whether the platform's rate limiter lets a key pass. One that fails does: it protects a bill, not the data.
export async function mayPass(env, key) {
  try {
    return (await env.RATE_LIMITER.limit({ key })).success !== false;
  } catch {
    return true;
  }
}

export function callLength(request) {
  return Number(request.headers.get("content-length") ?? 0);
}

// The bytes of a call's body, which the Worker sends whole, or null when it has more than `limit`.
export async function bodyOfCall(request, limit) {
  if (request.body === null) return new Uint8Array(0);
  if (Number(request.headers.get("content-length") ?? limit + 1) <= limit) {
    return new Uint8Array(await request.arrayBuffer());
  }
  return collect(request.body, limit);
}

// --- tokens ---

const IMPORT = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  EdDSA: { name: "Ed25519" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};
const imported = new Map();

// Rejects when the JWK is no key. Keys are remembered, not promises: one that another request began may never settle.
export async function verifySignature(algorithm, jwk, signed, signature) {
  let key = imported.get(jwk);
  if (key === undefined) {
    key = await crypto.subtle.importKey("jwk", JSON.parse(jwk), IMPORT[algorithm], false, ["verify"]);
    if (imported.size >= 100) imported.clear();
    imported.set(jwk, key);
  }
  return crypto.subtle.verify(IMPORT[algorithm], key, signature, new TextEncoder().encode(signed));
}

// The fetch of the issuer's keys that is under way in this isolate: until when it is waited for, and what it has brought.
let fetching = null;

// Resolves to the text behind the URL, or to null. Whoever asks while a fetch is under way gets what that one brings, but
// looks for it with timers of their own: a promise dies with the request that made it.
export async function fetchKeys(url, limit, timeoutMs, context) {
  const under = fetching;
  if (under !== null && Date.now() < under.until) {
    while (under.text === undefined && Date.now() < under.until) await scheduler.wait(10);
    return under.text ?? null;
  }
  const mine = { until: Date.now() + timeoutMs, text: undefined };
  fetching = mine;
  const work = loadText(url, limit, timeoutMs).catch(() => null).then((text) => {
    mine.text = text;
    if (fetching === mine) fetching = null;
    return text;
  });
  // The others wait for it, whether or not this request's client still does.
  context.waitUntil(work);
  return work;
}

async function loadText(url, limit, timeoutMs) {
  const signal = AbortSignal.timeout(timeoutMs);
  const response = await fetch(url, { headers: { accept: "application/json" }, redirect: "manual", signal });
  if (response.status !== 200) {
    drop(response.body);
    return null;
  }
  const bytes = await collect(response.body ?? [], limit);
  return bytes && new TextDecoder().decode(bytes);
}

// --- when the module breaks off ---

// A panic ends the WebAssembly instance, and with it everything in it that waits: nothing would ever settle those promises,
// and who asked would wait until a timeout of his own. So each of them leaves word here how it is to be ended. A stream
// needs none: the runtime ends it when it sees that nothing can write to it any more.
// Weakly, because a request whose client hangs up is dropped without a word.
const waiting = new Set();
const dropped = new FinalizationRegistry((entry) => waiting.delete(entry));

// Called by the panic itself, and by an instance that begins, for whatever an older one has left behind.
export function breakOff() {
  for (const entry of waiting) entry.deref()?.end();
  waiting.clear();
}

// Returns what ends the wait in good order; whoever waits holds it, and with it the word that was left.
function onBreak(then) {
  const word = {};
  // A promise of its own, because what follows has to run in the event that waits, not in the one that broke off.
  new Promise((resolve) => (word.end = resolve)).then(then);
  const entry = new WeakRef(word);
  waiting.add(entry);
  dropped.register(word, entry, word);
  return () => dropped.unregister(word) && waiting.delete(entry);
}

// A promise of the module's for a response; the other answer, should the module break off before.
export function orElse(promise, status, body, headers) {
  return new Promise((resolve, reject) => {
    const settled = onBreak(() => resolve(respond(status, body, headers)));
    promise.then(resolve, reject).finally(settled);
  });
}

// --- the coordinator, as the Worker calls it ---

function ask(env, name, call, caller, body, signal) {
  const stub = env.COORDINATOR.get(env.COORDINATOR.idFromName(name));
  const headers = { "headwater-caller": caller, "content-type": "application/json" };
  return stub.fetch(`https://coordinator/${call}`, { method: "POST", headers, body, signal });
}

// Resolves to [status, server-timing, body, position after a write, what is not for the client]. `timeoutMs` 0 is no timeout.
export async function callObject(env, name, call, caller, body, timeoutMs) {
  const signal = timeoutMs > 0 ? AbortSignal.timeout(timeoutMs) : undefined;
  const response = await ask(env, name, call, caller, body, signal);
  const { status, headers } = response;
  const [timing, aside] = [headers.get("server-timing") ?? "", headers.get("headwater-aside") ?? ""];
  return [status, timing, await response.text(), positionOf(response), aside];
}

// Passes a text on and resolves to [response, retry-after of a refusal, position after a write, what is not for the client]. The
// response is without the last.
export async function passOn(env, name, call, caller, body) {
  const response = await ask(env, name, call, caller, body);
  const { headers } = response;
  const aside = headers.get("headwater-aside") ?? "";
  const refusal = response.status === 429 ? Number(headers.get("retry-after")) || 1 : 0;
  return [aside === "" ? response : withoutAside(response), refusal, positionOf(response), aside];
}

// The same with the body of a request. Resolves to what `withBody` says instead of a body, or to "expired" if the caller's
// token has ended at `expires`, while the body came: then the object was not asked.
export async function passBodyOn(env, name, call, caller, request, user, isGzip, limit, expires) {
  const send = (body) => (Date.now() < expires ? passOn(env, name, call, caller, body) : "expired");
  return withBody(request, user, isGzip, limit, send);
}

// Where the space stands after a write; empty where nothing was written.
function positionOf(response) {
  return response.headers.get("headwater-position") ?? "";
}

function withoutAside(response) {
  const rest = new Response(response.body, response);
  rest.headers.delete("headwater-aside");
  return rest;
}

export function isOverloaded(error) {
  return error?.overloaded === true;
}

// --- KV ---

// Resolves to [metadata as JSON or null, value as a stream or null].
export async function readHead(env, key, cacheTtl) {
  const { value, metadata } = await env.SNAPSHOTS.getWithMetadata(key, { type: "stream", cacheTtl });
  return [metadata === null ? null : JSON.stringify(metadata), value];
}

// The metadata alone.
export async function readMetadata(env, key, cacheTtl) {
  const { value, metadata } = await env.SNAPSHOTS.getWithMetadata(key, { type: "stream", cacheTtl });
  drop(value);
  return metadata === null ? null : JSON.stringify(metadata);
}

export function textOf(stream) {
  return new Response(stream).text();
}

// A body that nobody wants must be cancelled, or it keeps one of the six connections.
export function drop(stream) {
  stream?.cancel().catch(() => {});
}

export function readObject(env, key, cacheTtl) {
  return env.SNAPSHOTS.get(key, { type: "stream", cacheTtl });
}

// Resolves to "" when KV has it, else to KV's own words, or "timeout": then nobody knows.
export async function putValue(env, key, value, options, timeoutMs) {
  let timer;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(() => resolve("timeout"), timeoutMs);
  });
  const put = env.SNAPSHOTS.put(key, value, JSON.parse(options)).then(
    () => "",
    (error) => String(error?.message ?? error) || "error",
  );
  const outcome = await Promise.race([put, timeout]);
  clearTimeout(timer);
  return outcome;
}

export function pause(ms) {
  return scheduler.wait(ms);
}

// --- the location's cache ---

const CACHE = "headwater";

// Three looks. Resolves to [metadata of the head, its value as a stream, when it was read, overlay as text, position after the
// last write], each null where there is none.
export async function readCache(base, writes) {
  const cache = await caches.open(CACHE);
  const [head, overlay, written] = await Promise.all([
    cache.match(`${base}/head`),
    cache.match(`${base}/overlay`),
    cache.match(writes),
  ]);
  return [
    head?.headers.get("headwater-metadata") ?? null,
    head?.headers.get("headwater-body") === "1" ? head.body : (drop(head?.body), null),
    head?.headers.get("headwater-read-at") ?? null,
    overlay ? await overlay.text() : null,
    written ? await written.text() : null,
  ];
}

export async function cacheHead(base, metadata, readAt, value, ttl) {
  const cache = await caches.open(CACHE);
  let body = value;
  if (body === undefined) {
    // Read without its body: the one that is there, if it is the same head's, stays.
    const there = await cache.match(`${base}/head`);
    const same = there?.headers.get("headwater-metadata") === metadata && there.headers.get("headwater-body") === "1";
    body = same ? await there.text() : (drop(there?.body), null);
  }
  const headers = {
    "cache-control": `max-age=${ttl}`,
    "headwater-metadata": metadata,
    "headwater-read-at": readAt,
    "headwater-body": body === null ? "0" : "1",
  };
  await cache.put(`${base}/head`, new Response(body ?? "", { headers }));
}

export async function cachedText(url) {
  const cache = await caches.open(CACHE);
  return (await cache.match(url))?.text();
}

// A text under a URL of ours.
export async function cacheText(url, text, ttl) {
  const cache = await caches.open(CACHE);
  await cache.put(url, new Response(text, { headers: { "cache-control": `max-age=${ttl}` } }));
}

// --- streams ---

// Streams `start`, then the objects under `keys`, after each of them its line of `between`, then `end`. Their bytes do
// not pass through wasm, nor through JavaScript. Resolves to [stream, promise of its end], or to null when the first object
// is missing. When a later one is missing or breaks, the stream ends without `end`: the client goes on from the last cursor.
export async function streamObjects(env, start, keys, between, end, cacheTtl) {
  const AHEAD = 5; // Six connections may wait for headers at once (workers/platform/limits).
  const opened = [];
  const open = (index) => {
    if (index >= keys.length) return;
    opened[index] = env.SNAPSHOTS.get(keys[index], { type: "stream", cacheTtl });
    opened[index].catch(() => {});
  };
  for (let index = 0; index < AHEAD; index += 1) open(index);
  const first = await opened[0].catch((error) => error);
  if (!(first instanceof ReadableStream)) {
    for (const object of opened) object.then(drop, () => {});
    if (first === null) return null;
    throw first;
  }
  const { readable, writable } = new IdentityTransformStream();
  const encoder = new TextEncoder();
  const write = async (text) => {
    if (text === "") return;
    const writer = writable.getWriter();
    await writer.write(encoder.encode(text));
    writer.releaseLock();
  };
  const send = async () => {
    let before = start;
    for (let index = 0; index < keys.length; index += 1) {
      const object = await opened[index];
      open(index + AHEAD);
      if (object === null) return write(before);
      await write(before);
      await object.pipeTo(writable, { preventClose: true, preventAbort: true });
      before = between[index];
    }
    return write(before + end);
  };
  // Closed, not aborted, even when something broke: an abort would take back what the compressor still holds.
  const sent = send().catch(() => {}).then(() => writable.close()).catch(() => {});
  return [readable, sent];
}

// A stream that wasm writes text into.
export class TextPipe {
  constructor() {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.writer = writable.getWriter();
    this.encoder = new TextEncoder();
  }
  write(text) {
    return this.writer.write(this.encoder.encode(text));
  }
  close() {
    return this.writer.close();
  }
}

// --- the object's storage ---

// All rows as arrays of cells, then how many rows SQLite read and wrote: those two are what storage is billed by.
export function query(sql, text, params) {
  const cursor = sql.exec(text, ...params);
  const rows = [...cursor.raw()];
  return [rows, cursor.rowsRead, cursor.rowsWritten];
}

// Joins the first column, a line break after each row, until the text is longer than `limit` characters.
// Returns the text, whether rows were left over, and the two counters of `query`.
export function text(sql, text, params, limit) {
  const cursor = sql.exec(text, ...params);
  const rows = cursor.raw();
  let out = "";
  let next = rows.next();
  while (!next.done && out.length <= limit) {
    out += next.value[0] + "\n";
    next = rows.next();
  }
  return [out, !next.done, cursor.rowsRead, cursor.rowsWritten];
}

// When the next slice of pushes may be settled. All who wait meanwhile wait for the same promise, and one of them settles it.
export class Group {
  constructor(storage) {
    this.storage = storage;
    this.next = null;
    this.durable = null;
  }
  // Once the transaction before it is durable, so that pushes gather; or, if none is under way, or a long push is, which waits
  // for nobody, when the events that are ready have run.
  turn(isUnderWay) {
    this.next ??= (isUnderWay ? scheduler.wait(0) : (this.durable ?? scheduler.wait(0))).finally(() => {
      this.next = null;
    });
    return this.next;
  }
  committed() {
    const durable = this.storage.sync().finally(() => {
      if (this.durable === durable) this.durable = null;
    });
    // Whoever waits for it is told; the platform itself breaks the object when a write cannot be made durable.
    durable.catch(() => {});
    this.durable = durable;
  }
}

// The events of an object that are under way. If the module breaks off meanwhile, the object does too: the platform tells
// whoever waits for it, rings an alarm again, and starts it anew with the next event.
export class Events {
  constructor(state) {
    this.state = state;
    this.count = 0;
    this.settled = null;
  }
  begin() {
    if (this.count === 0) this.settled = onBreak(() => this.state.abort("the module broke off"));
    this.count += 1;
  }
  end() {
    this.count -= 1;
    if (this.count === 0) this.settled();
  }
}
