// Starts Headwater and one floor as two Workers of one Miniflare, so both run in one workerd with the same options.
// Each is reached through a socket of its own: Miniflare's usual entry Worker would add the same cost to both sides
// and so pull every ratio towards 1.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { root } from "../scripts/setup.mjs";
import { once, request } from "./client.mjs";
import { forgetRuntime } from "./machine.mjs";

export const EAGER = { PUBLISH_AFTER_PULLS: "0", PUBLISH_MAX_DELAY_MS: "1000", PUBLISH_INTERVAL_MS: "1000" };
export const secret = randomBytes(32).toString("hex");

// The benches measure what the machine can do, with one user at full speed.
export const UNBOUNDED = { RATE_USER_PER_S: "0", RATE_SPACE_PER_S: "0" };

/** The bounds as they are by default, for what they are to prevent. */
export const BOUNDED = { RATE_USER_PER_S: "100", RATE_SPACE_PER_S: "500" };

const COMPATIBILITY_DATE = "2026-07-01";

export function worker(name, script, options) {
  return {
    name,
    modules: true,
    rootPath: root,
    modulesRoot: root,
    scriptPath: join(root, script),
    modulesRules: [
      { type: "CompiledWasm", include: ["**/*.wasm"], fallthrough: true },
      { type: "ESModule", include: ["**/*.js", "**/*.mjs"] },
    ],
    compatibilityDate: COMPATIBILITY_DATE,
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
    ...options,
  };
}

const headwater = (script, variables, options) =>
  worker("headwater", script, {
    bindings: { JWT_SECRET: secret, GRANT_SECRET: secret, ...UNBOUNDED, ...variables },
    kvNamespaces: { SNAPSHOTS: "snapshots" },
    durableObjects: { COORDINATOR: { className: "Coordinator", useSQLite: true } },
    ...options,
  });

async function start(workers) {
  const folder = mkdtempSync(join(tmpdir(), "headwater-bench-"));
  // Standard output is for the result; what the Workers log there is left out, what goes wrong is not.
  const handleRuntimeStdio = (_, errors) => errors.pipe(process.stderr);
  const miniflare = new Miniflare({ cf: false, defaultPersistRoot: folder, handleRuntimeStdio, workers });
  await miniflare.ready;
  const url = async (name) => (await miniflare.unsafeGetDirectURL(name)).origin;
  const stop = async () => {
    await miniflare.dispose();
    forgetRuntime();
    rmSync(folder, { recursive: true, force: true });
  };
  return { miniflare, headwater: await url("headwater"), floor: await url("floor"), stop };
}

// Headwater with the eager setting, and floor (a) on the same namespace. `value` reads what publication has written;
// `give` stores a value where the floor finds it.
export async function startKv(variables = {}) {
  const runtime = await start([
    headwater("build/index.js", { ...EAGER, ...variables }),
    worker("floor", "benches/floors/kv.mjs", { kvNamespaces: { KV: "snapshots" } }),
  ]);
  const namespace = await runtime.miniflare.getKVNamespace("SNAPSHOTS", "headwater");
  const value = async (key) => {
    const bytes = await namespace.get(key, "arrayBuffer");
    return bytes && Buffer.from(bytes);
  };
  // What is published already stands in the floor's namespace: it is the same one.
  const give = (key, bytes) => (key.startsWith("v1/") ? undefined : namespace.put(key, bytes));
  return { ...runtime, value, give };
}

// The same over a KV in memory on both sides.
export async function startMemory() {
  const runtime = await start([
    headwater("benches/floors/memory-headwater.mjs", EAGER),
    worker("floor", "benches/floors/memory.mjs"),
  ]);
  const value = async (key) => {
    const answer = await once(runtime.headwater, request("GET", `/memory/${key}`));
    return answer.status === 200 ? answer.body : null;
  };
  const give = (key, bytes) => once(runtime.floor, request("PUT", `/${key}`, {}, bytes.toString("utf8")));
  return { ...runtime, value, give };
}

// Headwater with the default settings and commits that take so long, as tests/runtime/platform.mjs has it.
export async function startSlow(commitMs) {
  const variables = { LOCATION: "home", KV_CONTROL: "bench", PLATFORM: { commitMs } };
  return start([headwater("tests/runtime/faulty-entry.mjs", variables), worker("floor", "benches/floors/nothing.mjs", {})]);
}

// Headwater with the default settings, and floors (d) and (e).
export async function startSockets(variables = {}) {
  const object = (className) => ({ className, useSQLite: true });
  const runtime = await start([
    headwater("build/index.js", variables),
    worker("floor", "benches/floors/sockets.mjs", { durableObjects: { STORE: object("Store") } }),
    worker("broadcast", "benches/floors/broadcast.mjs", { durableObjects: { ROOM: object("Room") } }),
  ]);
  return { ...runtime, broadcast: (await runtime.miniflare.unsafeGetDirectURL("broadcast")).origin };
}

// Headwater with what it uses counted. It publishes soon, so that an object that is left alone has nothing more to do.
export async function startCounted() {
  const { PUBLISH_AFTER_PULLS: _, ...soon } = EAGER;
  return start([headwater("benches/floors/counted-headwater.mjs", soon), worker("floor", "benches/floors/nothing.mjs", {})]);
}

// Headwater with the default settings, and floor (c).
export async function startObject(variables = {}) {
  return start([
    headwater("build/index.js", variables),
    worker("floor", "benches/floors/object.mjs", { durableObjects: { STORE: { className: "Store", useSQLite: true } } }),
  ]);
}
