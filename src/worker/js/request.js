// Requests in and responses out: one string carries all that is read of a request, because a crossing between wasm and
// JavaScript costs more than the headers do.

// Header and URL texts cannot hold a line break, so one string carries them all in a single crossing. Each header that is
// looked up costs, so what only some requests need is only looked up for those. Cloudflare writes an `Accept-Encoding` of its
// own and leaves the client's in `cf` (fundamentals/reference/http-headers).
export function readRequest(request) {
  const { method, url, headers } = request;
  const get = (name) => headers.get(name) ?? "";
  const accept = get("accept");
  return `${Date.now()}\n${requestId()}\n${method}\n${url}\n${get("authorization")}\n${get("if-none-match")}\n${
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
  const [etag, version, source, age, budget, id, timing, origin, exposed] = values.split("\n");
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
  if (budget !== "") headers["Headwater-Budget"] = budget;
  if (status !== 304) headers["Content-Type"] = "application/json";
  if (origin !== "") {
    headers["Access-Control-Allow-Origin"] = origin;
    headers["Access-Control-Expose-Headers"] = exposed;
    headers["Timing-Allow-Origin"] = origin;
  }
  return new Response(body, { status, headers });
}
