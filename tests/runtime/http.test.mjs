// HTTP as others speak it: HEAD, paths that end in a slash, origins and headers of pages. At the default level of the log.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";

const NDJSON = "application/x-ndjson";
const ALLOWED_ORIGINS = "https://*.preview.example,https://app.example/, HTTPS://Upper.example:443 ,app.example,https://b.example/path";

let runtime;
before(async () => (runtime = await startRuntime({ variables: { ALLOWED_ORIGINS, LOG_LEVEL: null } })));
after(() => runtime.stop());

const linesOf = (event) =>
  runtime.logs.join("").split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)).filter((line) => line.event === event);

/** A published space with 2 MB in parts. */
async function largeSpace() {
  const writer = runtime.device(runtime.subject());
  await writer.load("c", Array.from({ length: 2000 }, (_, at) => [`r${at}`, { at, s: "x".repeat(950) }]));
  await runtime.waitForPublished(writer.sub, writer.min);
  return writer;
}

describe("HEAD", () => {
  const VARYING = ["date", "headwater-request", "headwater-age", "headwater-source", "server-timing", "transfer-encoding", "connection", "keep-alive"];

  test("has the headers of GET and no content, wherever GET is", async () => {
    const [owner, space] = [await largeSpace(), "team-head"];
    await owner.ask(`/spaces/${space}`, { method: "PUT" });
    const { sha256 } = (await runtime.head(owner.sub)).base.parts[0];
    const paths = [
      "/health", "/sync/pull", "/sync/pull?since=x", "/sync/conflict", "/sync/head", `/sync/objects/${sha256}`, `/sync/objects/${"0".repeat(64)}`,
      "/spaces", "/spaces/~", `/spaces/${space}`, `/spaces/${space}/members`, `/spaces/${space}/members/nobody`, "/spaces/~/policies", "/nowhere",
    ];
    for (const path of paths) {
      for (const accept of path === "/sync/pull" ? ["application/json", NDJSON] : ["*/*"]) {
        const [get, head] = [await owner.ask(path, { headers: { accept } }), await owner.ask(path, { headers: { accept }, method: "HEAD" })];
        const headers = ({ response }) => [...response.headers].filter(([name]) => !VARYING.includes(name));
        assert.deepEqual([head.status, headers(head), head.text], [get.status, headers(get), ""], path);
        assert.notEqual(get.text, "", path);
      }
    }
    const { status, response } = await owner.ask("/sync/push", { method: "HEAD" });
    assert.deepEqual([status, response.headers.get("allow")], [405, "POST"]);
  });

  test("reads no object of a load, and answers a tag as GET does", async () => {
    const owner = await largeSpace();
    const objects = async () => (await runtime.counts("home", owner.sub))["edge.get.object"] ?? 0;
    const before = await objects();
    const head = await owner.ask("/sync/pull", { method: "HEAD", headers: { accept: NDJSON } });
    assert.deepEqual([head.status, head.response.headers.get("content-type")], [200, NDJSON]);
    assert.equal(await objects(), before);
    const held = { accept: NDJSON, "if-none-match": head.response.headers.get("etag") };
    for (const method of ["HEAD", "GET"]) assert.equal((await owner.ask("/sync/pull", { method, headers: held })).status, 304);
    assert.equal(await objects(), before);
  });
});

test("a slash at the end of a path does not count", async () => {
  const device = runtime.device(runtime.subject());
  await device.push([{ op: "put", collection: "c", id: "r", value: { n: 1 } }]);
  for (const path of ["/health", "/sync/pull", "/sync/conflict", "/spaces", "/spaces/~", "/spaces/~/policies"]) {
    const [without, withSlash] = [await device.ask(path), await device.ask(`${path}/`)];
    assert.deepEqual([withSlash.status, withSlash.text], [200, without.text], path);
  }
  const body = JSON.stringify({ client: device.id, mutations: [{ id: 2, changes: [] }] });
  const pushed = await device.ask("/sync/push/?space=~", { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(pushed.status, 200, pushed.text);
});

describe("pages", () => {
  const ask = (origin, init = {}) => runtime.fetch("home", "/health", { ...init, headers: { origin, ...init.headers } });
  const allowedFor = async (origin) => (await ask(origin)).headers.get("access-control-allow-origin");

  test("a pattern allows the hosts below its domain, and an entry's slash, case and port of the scheme do not count", async () => {
    for (const origin of ["https://pr-12.preview.example", "https://a.b.preview.example", "https://app.example", "https://upper.example"]) {
      assert.equal(await allowedFor(origin), origin);
    }
    for (const origin of ["https://evil-preview.example", "https://preview.example", "https://x.preview.example.evil.example", "https://b.example"]) {
      assert.equal(await allowedFor(origin), null, origin);
    }
  });

  test("the log names each entry that can match nothing, and each origin that was refused, once, but not its own", async () => {
    const own = new URL(await runtime.url("home")).origin;
    for (const origin of ["https://stranger.example", "https://stranger.example", own]) await ask(origin);
    const [first, second, ...others] = linesOf("a setting is not right");
    assert.deepEqual([first?.level, second?.level, others], ["error", "error", []]);
    assert.match(first.why, /"app\.example".*https:\/\/app\.example/);
    assert.match(second.why, /"https:\/\/b\.example\/path"/);
    const refused = linesOf("an origin is not in ALLOWED_ORIGINS").map(({ origin }) => origin);
    assert.equal(refused.filter((origin) => origin === "https://stranger.example").length, 1);
    assert.ok(!refused.includes(own), "the Worker's own pages need no entry");
  });

  test("a preflight allows every header that a page asks for, of an allowed origin only", async () => {
    const asked = "authorization,b3,baggage,content-type,sentry-trace,traceparent,tracestate,x-b3-traceid,x-datadog-origin";
    const preflight = (origin) => ask(origin, { method: "OPTIONS", headers: { "access-control-request-method": "POST", "access-control-request-headers": asked } });
    const { status, headers } = await preflight("https://app.example");
    const allowed = headers.get("access-control-allow-headers").toLowerCase().split(", ");
    assert.equal(status, 204);
    for (const name of [...asked.split(","), "if-none-match", "headwater-grant"]) assert.ok(allowed.includes(name), name);
    assert.equal(new Set(allowed).size, allowed.length, "none twice");
    assert.equal((await preflight("https://stranger.example")).headers.get("access-control-allow-headers"), null);
  });

  test("ALLOWED_HEADERS limits what a page may add", async () => {
    const strict = await startRuntime({ variables: { ALLOWED_HEADERS: "traceparent, not a name" } });
    const headers = { origin: "https://app.test", "access-control-request-method": "POST", "access-control-request-headers": "baggage,traceparent" };
    const answer = await strict.fetch("home", "/sync/push", { method: "OPTIONS", headers });
    await strict.stop();
    const allowed = answer.headers.get("access-control-allow-headers").toLowerCase();
    assert.match(allowed, /authorization.*traceparent/);
    assert.doesNotMatch(allowed, /baggage/);
    assert.match(strict.logs.join(""), /ALLOWED_HEADERS: no header has the name \\"not a name\\"/);
  });
});
