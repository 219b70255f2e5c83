// `headwater/worker` in a Worker of somebody's own, from the packed package.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { Miniflare } from "miniflare";

const PACKAGE = fileURLToPath(new URL("../../build/packages/headwater/worker", import.meta.url));
const SECRETS = { JWT_SECRET: "j".repeat(32), GRANT_SECRET: "g".repeat(32) };

/** A Worker of these lines, with the package beside it. */
function start(script, bindings = SECRETS) {
  const file = (name, type = "ESModule") => ({ type, path: join(PACKAGE, name), ...(type === "ESModule" && { contents: readFileSync(join(PACKAGE, name), "utf8") }) });
  return new Miniflare({
    modulesRoot: PACKAGE,
    modules: [{ type: "ESModule", path: join(PACKAGE, "main.js"), contents: script }, file("index.js"), file("headwater.js"), { type: "CompiledWasm", path: join(PACKAGE, "index_bg.wasm") }],
    compatibilityDate: "2026-07-01", compatibilityFlags: ["global_fetch_strictly_public"], cf: false,
    bindings, kvNamespaces: ["SNAPSHOTS"], durableObjects: { COORDINATOR: { className: "Coordinator", useSQLite: true } },
  });
}

const push = { client: "c_laptop01", mutations: [{ id: 1, changes: [{ op: "put", collection: "todos", id: "t1", value: { title: "milk" } }] }] };

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
