// `headwater/worker` in a Worker of somebody's own, from the packed package.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { eventually } from "../runtime/harness.mjs";
import { scopeOf } from "../runtime/published.mjs";

const PACKAGE = fileURLToPath(new URL("../../build/packages/headwater/worker", import.meta.url));
const SECRETS = { JWT_SECRET: "j".repeat(32), GRANT_SECRET: "g".repeat(32) };

/** A Worker of these lines, with the package beside it. */
function start(script, bindings = SECRETS, more = {}) {
  const file = (name, type = "ESModule") => ({ type, path: join(PACKAGE, name), ...(type === "ESModule" && { contents: readFileSync(join(PACKAGE, name), "utf8") }) });
  return new Miniflare({
    modulesRoot: PACKAGE,
    modules: [{ type: "ESModule", path: join(PACKAGE, "main.js"), contents: script }, file("index.js"), file("headwater.js"), { type: "CompiledWasm", path: join(PACKAGE, "index_bg.wasm") }],
    compatibilityDate: "2026-07-01", compatibilityFlags: ["global_fetch_strictly_public"], cf: false,
    bindings, kvNamespaces: ["SNAPSHOTS"], durableObjects: { COORDINATOR: { className: "Coordinator", useSQLite: true } },
    ...more,
  });
}

const push = { client: "c_laptop01", mutations: [{ id: 1, changes: [{ op: "put", collection: "todos", id: "t1", value: { title: "milk" } }] }] };

describe("onCommit", () => {
  const HOOK = `
    import { createHeadwater } from "./index.js";
    const headwater = createHeadwater({
      authenticate: () => ({ sub: "alice" }),
      async onCommit(commit, env) {
        const answer = await env.APP.fetch("http://app", { method: "POST", body: JSON.stringify(commit) });
        if (!answer.ok) throw new Error("the app is down");
      },
    });
    export const { Coordinator } = headwater;
    export default headwater;`;
  let folder;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "headwater-commits-"))));
  after(() => rm(folder, { recursive: true, force: true }));

  const hooked = (app) => start(HOOK, { ...SECRETS, PUBLISH_MAX_DELAY_MS: "1000", PUBLISH_INTERVAL_MS: "1000" }, { serviceBindings: { APP: app }, durableObjectsPersist: join(folder, "objects"), kvPersist: join(folder, "kv") });
  const change = (id, title) => ({ op: "put", collection: "todos", id, value: { title } });
  const bearer = async (worker) => `Bearer ${await (await worker.dispatchFetch("http://localhost/token", { method: "POST" })).text()}`;
  async function write(worker, client, id, ...changes) {
    const headers = { authorization: await bearer(worker), "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify({ client, mutations: [{ id, changes }] }) };
    const answer = await worker.dispatchFetch("http://localhost/sync/push", init);
    const text = await answer.text();
    assert.match(text, /"status":"applied"/, text);
  }
  const told = (commits) => commits.map(({ from, version, changes }) => [from, version, changes.map(({ id, value, deleted }) => [id, deleted ? null : value.title])]);

  /** What the app hears, and how it takes it: "well", "down" or "silent". */
  function app() {
    const heard = [];
    const mood = { is: "well", refusals: 0 };
    const answer = async (request) => {
      const commit = await request.json();
      const isWell = mood.is === "well";
      if (isWell) heard.push(commit);
      else mood.refusals += 1;
      while (mood.is === "silent") await new Promise((later) => setTimeout(later, 100));
      return new Response(null, { status: isWell ? 204 : 503 });
    };
    return { heard, mood, answer };
  }

  test("the app hears what each record has come to, in order, and again while it is down", async () => {
    const { heard, mood, answer } = app();
    const worker = hooked(answer);
    try {
      await write(worker, "c_laptop01", 1, change("t1", "milk"), change("t2", "bread"));
      await eventually("the first commit is told", () => heard.length === 1);
      assert.deepEqual(told(heard), [[0, 1, [["t1", "milk"], ["t2", "bread"]]]]);
      const { space, scope, reset, gone } = heard[0];
      assert.deepEqual([space, scope, reset, gone], ["~", scopeOf("", "alice"), false, false]);

      mood.is = "down";
      await write(worker, "c_laptop01", 2, change("t1", "oat milk"));
      await write(worker, "c_laptop01", 3, change("t1", "soy milk"));
      await write(worker, "c_laptop01", 4, { op: "delete", collection: "todos", id: "t2" });
      await eventually("it is tried again", () => mood.refusals >= 2);
      mood.is = "well";
      await eventually("the commits are told once the app is back", () => heard.at(-1).version === 4);
      const versions = heard.map(({ from, version }) => [from, version]);
      assert.deepEqual(versions.slice(1).map(([from]) => from), versions.slice(0, -1).map(([, version]) => version), "each begins where the one before ended");
      assert.deepEqual(Object.fromEntries(told(heard).flatMap(([, , changes]) => changes)), { t1: "soy milk", t2: null });
    } finally {
      await worker.dispose();
    }
  });

  test("an app that is silent holds no publication up, and hears after a crash what it has not heard, though nobody asks for anything", async () => {
    const { heard, mood, answer } = app();
    mood.is = "silent";
    let worker = hooked(answer);
    try {
      await write(worker, "c_laptop02", 1, change("t3", "lemons"));
      const head = async () => (await (await worker.getKVNamespace("SNAPSHOTS")).list()).keys.length > 0;
      await eventually("the publication is done", head);
      // So the alarm of the publication is over, and that of onCommit is all there is.
      const ended = worker.dispose();
      mood.is = "well";
      await ended;
      worker = hooked(answer);
      await worker.ready;
      await eventually("what was left is told", () => told(heard).flatMap(([, , changes]) => changes).some(([id]) => id === "t3"));
    } finally {
      await worker.dispose();
    }
  });

  test("the app is told that a space was emptied, that one was deleted, and then what there is", async () => {
    const { heard, answer } = app();
    const worker = hooked(answer);
    try {
      await write(worker, "c_laptop03", 1, change("t4", "pears"));
      await eventually("it is told", () => heard.at(-1)?.changes.some(({ id }) => id === "t4"));
      const authorization = await bearer(worker);
      await worker.dispatchFetch("http://localhost/spaces/~", { method: "DELETE", headers: { authorization } });
      await eventually("it is told that the space was emptied", () => heard.at(-1).reset);
      assert.deepEqual(heard.at(-1).changes, []);
      await write(worker, "c_laptop04", 1, change("t5", "plums"));
      await eventually("it is told what there is", () => heard.at(-1).changes.length > 0);
      assert.deepEqual([heard.at(-1).reset, told(heard.slice(-1))[0][2]], [false, [["t5", "plums"]]]);
      for (const method of ["PUT", "DELETE"]) await worker.dispatchFetch("http://localhost/spaces/team", { method, headers: { authorization } });
      await eventually("it is told that the space is gone", () => heard.some(({ space, gone }) => space === "team" && gone));
    } finally {
      await worker.dispose();
    }
  });
});

describe("headwater/worker", () => {
  let own;
  before(async () => {
    assert.ok(existsSync(join(PACKAGE, "index.js")), "the packages are not there: run `npm run pack`");
    own = start(`
      import { createHeadwater } from "./index.js";
      export { Coordinator } from "./index.js";
      const headwater = createHeadwater({ prefix: "/api/", tokenSeconds: 600, authenticate: (request) => {
        const user = request.headers.get("cookie")?.match(/user=(\\w+)/)?.[1];
        return user ? { sub: user } : null;
      } });
      export default { fetch: async (request, env, context) => (await headwater.fetch(request, env, context)) ?? new Response("own route") };
    `);
    await own.ready;
  });
  after(() => own.dispose());
  const ask = (path, init) => own.dispatchFetch(`http://localhost${path}`, init);

  test("one line that re-exports it is a whole Worker", async () => {
    const whole = start('export { default, Coordinator } from "./index.js";');
    try {
      assert.deepEqual(await (await whole.dispatchFetch("http://localhost/health")).json(), { status: "ok", version: "0.1.0" });
      assert.equal((await whole.dispatchFetch("http://localhost/sync/pull")).status, 401);
    } finally {
      await whole.dispose();
    }
  });

  test("an onCommit that nobody would call is told to the log", async () => {
    let said = "";
    const script = `
      import { createHeadwater } from "./index.js";
      export { Coordinator } from "./index.js";
      export default createHeadwater({ authenticate: () => ({ sub: "alice" }), onCommit() {} });`;
    const worker = start(script, SECRETS, { handleRuntimeStdio: (...streams) => streams.forEach((stream) => stream.on("data", (chunk) => (said += chunk))) });
    try {
      const token = await (await worker.dispatchFetch("http://localhost/token", { method: "POST" })).text();
      await worker.dispatchFetch("http://localhost/sync/pull?consistency=strong", { headers: { authorization: `Bearer ${token}` } });
      await eventually("the log says which class to export", () => /onCommit is never called: export the Coordinator that createHeadwater gives/.test(said));
    } finally {
      await worker.dispose();
    }
  });

  test("below a prefix it answers, and leaves everything else to the Worker", async () => {
    assert.equal((await ask("/api/health")).status, 200);
    for (const path of ["/", "/health", "/apinot/health", "/sync/pull"]) assert.equal(await (await ask(path)).text(), "own route", path);
    assert.equal((await ask("/api")).status, 404);
  });

  test("whoever the app knows gets a token that opens the user's own space", async () => {
    const answer = await ask("/api/token", { method: "POST", headers: { cookie: "user=alice" } });
    assert.equal(answer.headers.get("cache-control"), "no-store");
    const token = await answer.text();
    const { sub, exp, iat } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
    assert.deepEqual([sub, exp - iat], ["alice", 600]);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const pushed = await ask("/api/sync/push", { method: "POST", headers, body: JSON.stringify(push) });
    assert.equal((await pushed.json()).results[0].status, "applied");
    const pulled = await ask("/api/sync/pull?consistency=strong", { headers });
    assert.deepEqual((await pulled.json()).changes.map(({ id, value }) => [id, value]), [["t1", { title: "milk" }]]);
  });

  test("nobody else gets a token, a socket opens below the prefix, and a Worker without a secret says so in its log only", async () => {
    assert.equal((await ask("/api/token", { method: "POST" })).status, 401);
    assert.equal((await ask("/api/token", { headers: { cookie: "user=alice" } })).status, 405);
    const token = await (await ask("/api/token", { method: "POST", headers: { cookie: "user=bob" } })).text();
    const { webSocket } = await ask("/api/sync/live", { headers: { upgrade: "websocket", "sec-websocket-protocol": `headwater.v1, bearer.${token}` } });
    const greeting = new Promise((resolve) => webSocket.addEventListener("message", ({ data }) => resolve(JSON.parse(data))));
    webSocket.accept();
    assert.equal((await greeting).version, 0);
    webSocket.close();
    const without = start(`
      import { createHeadwater } from "./index.js";
      export { Coordinator } from "./index.js";
      export default createHeadwater({ authenticate: () => ({ sub: "alice" }) });`, {});
    try {
      const answer = await without.dispatchFetch("http://localhost/token", { method: "POST" });
      assert.equal(answer.status, 500);
      assert.doesNotMatch(await answer.text(), /SECRET/);
    } finally {
      await without.dispose();
    }
  });
});
