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

  const hooked = (app) => start(HOOK, { ...SECRETS, PUBLISH_MAX_DELAY_MS: "1000", PUBLISH_INTERVAL_MS: "1000" }, { serviceBindings: { APP: app }, durableObjectsPersist: folder });
  const change = (id, title) => ({ op: "put", collection: "todos", id, value: { title } });
  async function write(worker, client, id, ...changes) {
    const token = await (await worker.dispatchFetch("http://localhost/token", { method: "POST" })).text();
    const init = { method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ client, mutations: [{ id, changes }] }) };
    const answer = await worker.dispatchFetch("http://localhost/sync/push", init);
    const text = await answer.text();
    assert.match(text, /"status":"applied"/, text);
  }
  const told = (commits) => commits.map(({ from, version, changes }) => [from, version, changes.map(({ id, value, deleted }) => [id, deleted ? null : value.title])]);

  test("the app hears of each version in order, again while it is down, and after a crash of what it has not heard", async () => {
    const heard = [];
    let refusals = 0;
    let isDown = false;
    const app = async (request) => {
      const commit = await request.json();
      if (isDown) refusals += 1;
      else heard.push(commit);
      return new Response(null, { status: isDown ? 503 : 204 });
    };
    let worker = hooked(app);
    try {
      await write(worker, "c_laptop01", 1, change("t1", "milk"), change("t2", "bread"));
      await eventually("the first commit is told", () => heard.length === 1);
      assert.deepEqual(told(heard), [[0, 1, [["t1", "milk"], ["t2", "bread"]]]]);
      assert.deepEqual([heard[0].space, typeof heard[0].scope, typeof heard[0].epoch], ["~", "string", "string"]);

      isDown = true;
      await write(worker, "c_laptop01", 2, change("t1", "oat milk"));
      await write(worker, "c_laptop01", 3, { op: "delete", collection: "todos", id: "t2" });
      await eventually("it is tried again", () => refusals >= 2);
      isDown = false;
      await eventually("the commits are told once the app is back", () => heard.at(-1).version === 3);
      assert.deepEqual(told(heard.slice(1)).flatMap(([, , changes]) => changes), [["t1", "oat milk"], ["t2", null]]);
      assert.equal(heard[1].from, 1);

      isDown = true;
      await write(worker, "c_laptop01", 4, change("t3", "lemons"));
      await worker.dispose();
      isDown = false;
      worker = hooked(app);
      await worker.ready;
      // Nobody asks for anything: the alarm of the space finds what is left.
      await eventually("what was left is told after the crash", () => heard.at(-1).version === 4);
      assert.deepEqual(told(heard.slice(-1)), [[3, 4, [["t3", "lemons"]]]]);
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
