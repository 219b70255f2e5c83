import assert from "node:assert/strict";
import { test } from "node:test";
import { Miniflare } from "miniflare";

test("the built Worker answers /health", async (context) => {
  const worker = new Miniflare({
    cf: false,
    modules: true,
    rootPath: "build",
    scriptPath: "index.js",
    modulesRules: [{ type: "CompiledWasm", include: ["**/*.wasm"], fallthrough: true }],
    compatibilityDate: "2026-07-01",
    kvNamespaces: ["SNAPSHOTS"],
    durableObjects: { COORDINATOR: { className: "Coordinator", useSQLite: true } },
  });
  context.after(() => worker.dispose());

  const answer = await worker.dispatchFetch("http://headwater.test/health");
  assert.equal(answer.status, 200);
  const body = await answer.json();
  assert.equal(body.status, "ok");
  assert.match(body.version, /^\d+\.\d+\.\d+$/);
});
