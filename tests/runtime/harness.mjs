// Starts the built Worker on the real runtime: one Worker that owns the coordinators, and on demand more of them,
// each an isolate of its own, which play the other locations of the network. All stand over one KV namespace.

import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";
import { Device } from "./device.mjs";
import { comparePositions, readHead, readRuns, scopeOf } from "./published.mjs";
import { mintToken } from "./token.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const ISSUER = "https://issuer.test";
export const AUDIENCE = "headwater-tests";

/** What the Worker is configured with unless a test says otherwise; a variable set to null is left out. */
export const VARIABLES = {
  JWT_SECRET: randomBytes(32).toString("hex"),
  GRANT_SECRET: randomBytes(32).toString("hex"),
  JWT_ISSUER: ISSUER,
  JWT_AUDIENCE: AUDIENCE,
  ALLOWED_ORIGINS: "https://app.test,https://other.test",
  PUBLISH_AFTER_PULLS: "0",
  PUBLISH_MAX_DELAY_MS: "1000",
  PUBLISH_INTERVAL_MS: "1000",
  RETAIN_TOMBSTONES_DAYS: "30",
  // One user pushes as fast as it can in most tests: what that is refused is tested in rate.test.mjs.
  RATE_USER_PER_S: "0",
  RATE_SPACE_PER_S: "0",
  LOG_LEVEL: "debug",
  ENVIRONMENT: "test",
};

/** A Worker with a bucket for files. */
export const BUCKET = { r2Buckets: { BLOBS: "blobs" } };

const compatibilityDate = /^compatibility_date\s*=\s*"(.+)"/m.exec(readFileSync(join(root, "wrangler.toml"), "utf8"))[1];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again until `attempt` returns something true, and fails with `what` when it never does. */
export async function eventually(what, attempt, ms = 40_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    if (Date.now() > end) assert.fail(`not within ${ms / 1000} s: ${typeof what === "function" ? await what() : what}`);
    await pause(100);
  }
}

/** What PLATFORM=real puts under every test. */
const REAL = { frozenClock: true, commitMs: 10 };

/**
 * `platform`: what of the real platform is under the Worker, see platform.mjs. `differing`: what a location has other than all,
 * by its name: `variables`, or the Worker as another `checkout` of this repository has built it.
 */
export async function startRuntime({ locations = [], variables = {}, worker = {}, platform = {}, differing = {} } = {}) {
  const under = { ...(process.env.PLATFORM === "real" && REAL), ...platform };
  const runtime = new Runtime(["home", ...locations], { ...VARIABLES, ...variables }, { ...worker, under, differing });
  await runtime.start();
  return runtime;
}

class Runtime {
  #storage;
  #miniflare;
  #subjects = 0;
  #controlKey = randomBytes(8).toString("hex");
  logs = [];

  /** `worker`: what each Worker has beside what all tests give it, such as more bindings; of it `objects` is what the class of objects has. */
  constructor(locations, variables, { under, differing, objects, ...worker }) {
    this.locations = locations;
    Object.assign(this, { worker, under, differing, objects });
    this.variables = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== null));
  }

  async start() {
    this.#storage ??= await mkdtemp(join(tmpdir(), "headwater-test-"));
    this.#miniflare = new Miniflare(this.#options());
    await this.#miniflare.ready;
  }

  #options() {
    return {
      cf: false,
      kvPersist: join(this.#storage, "kv"),
      durableObjectsPersist: join(this.#storage, "do"),
      handleRuntimeStdio: (...streams) => {
        for (const stream of streams) stream.on("data", (chunk) => this.logs.push(String(chunk)));
      },
      workers: this.locations.map((name, at) => ({
        name,
        modules: true,
        modulesRoot: this.#checkout(name),
        scriptPath: join(this.#checkout(name), "tests/runtime/faulty-entry.mjs"),
        modulesRules: [
          { type: "CompiledWasm", include: ["**/*.wasm"], fallthrough: true },
          { type: "ESModule", include: ["**/*.js", "**/*.mjs"] },
        ],
        compatibilityDate,
        bindings: { ...this.variables, ...this.differing[name]?.variables, LOCATION: name, KV_CONTROL: this.#controlKey, PLATFORM: this.under },
        ...this.worker,
        kvNamespaces: { SNAPSHOTS: "snapshots" },
        durableObjects: {
          COORDINATOR: { className: "Coordinator", useSQLite: true, ...this.objects, ...(at > 0 && { scriptName: "home" }) },
        },
        // Each location has a port of its own, so requests do not pass through a Worker of the simulator.
        unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      })),
    };
  }

  #checkout(location) {
    return this.differing[location]?.checkout ?? root;
  }

  /** Stops the runtime in good order and starts it again over the same storage. */
  async restart() {
    await this.#miniflare.dispose();
    await this.start();
  }

  /** Kills the runtime in the middle of whatever it does. The simulator starts it again over the same storage. */
  async kill() {
    const ours = existsSync("/proc/self")
      ? readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && this.#isOurRuntime(pid))
      : childRuntimes();
    assert.ok(ours.length > 0, "no workerd process found to kill");
    for (const pid of ours) process.kill(Number(pid), "SIGKILL");
    await pause(200);
    await eventually("the runtime is back after the kill", async () => {
      try {
        return (await this.fetch("home", "/health")).ok;
      } catch {
        return false;
      }
    });
  }

  // Several runtimes may run under one test process: this one's is the one that has this one's files open.
  #isOurRuntime(pid) {
    try {
      const [, name, parent] = /\((.*)\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"));
      if (name !== "workerd" || Number(parent) !== process.pid) return false;
      const files = readdirSync(`/proc/${pid}/fd`);
      return files.some((file) => readlinkSync(`/proc/${pid}/fd/${file}`).startsWith(this.#storage));
    } catch {
      return false;
    }
  }

  /** Ends everything. A Worker that panicked on the way is a failure, whatever its answers were, unless it had to. */
  async stop({ mayPanic = false } = {}) {
    // After a panic nobody may answer.
    const misplaced = mayPanic || this.differing.home?.checkout ? [] : (await this.platform("home")).misplaced;
    await this.#miniflare.dispose();
    await rm(this.#storage, { recursive: true, force: true });
    if (mayPanic) return;
    assert.deepEqual(misplaced, [], "only its user's requests reach a private space's object, because the first places it for good");
    const panics = this.logs.filter((text) => /panicked at|Critical Error|RuntimeError: unreachable/.test(text));
    assert.deepEqual(panics, [], "the Worker panicked");
  }

  async url(location) {
    return (await this.#miniflare.unsafeGetDirectURL(location)).origin;
  }

  async fetch(location, path, init = {}) {
    return fetch((await this.url(location)) + path, { signal: AbortSignal.timeout(60_000), ...init });
  }

  /** A user nobody else in this run has. */
  subject(name = "user") {
    this.#subjects += 1;
    return `${name}-${this.#subjects}-${randomBytes(4).toString("hex")}`;
  }

  token(sub, claims = {}, options = {}) {
    const now = Math.floor(Date.now() / 1000);
    const all = { iss: ISSUER, aud: AUDIENCE, sub, iat: now, exp: now + 3600, ...claims };
    return mintToken(all, { secret: this.variables.JWT_SECRET, ...options });
  }

  device(sub, options = {}) {
    return new Device(this, { sub, token: this.token(sub), ...options });
  }

  /** What a new device gets from the coordinator itself: the truth that every other path is compared with. */
  async truth(sub) {
    const device = this.device(sub);
    await device.pull({ consistency: "strong" });
    return device;
  }

  /** Tells the KV of one location what to do for the space of `sub`, or for `{scope}`; see `control` in faulty-kv.mjs. The coordinators use that of "home". */
  async kv(location, sub, command = {}) {
    const scope = sub === "*" ? "*" : (sub.scope ?? scopeOf(ISSUER, sub));
    const answer = await this.fetch(location, "/__kv", {
      method: "POST",
      headers: { "kv-control": this.#controlKey },
      body: JSON.stringify({ scope, ...command }),
    });
    assert.equal(answer.status, 200, "the wrapper answers control requests");
    return answer.json();
  }

  /** Tells the storage of one space's object what to do; see `ObjectFaults.control` in faulty-storage.mjs. */
  async object(sub, command = {}) {
    return this.kv("home", sub, { object: command });
  }

  /** Tells a location's platform what to do, and gives what it has seen; see `controlPlatform` in platform.mjs. */
  async platform(location, command = {}) {
    return this.kv(location, "*", { platform: command });
  }

  /** Moves the clock that the Worker sees at one location by so many ms from the real time. */
  async setClock(location, offset) {
    await this.kv(location, "*", { clock: offset });
  }

  /** Lets time go by so many times as fast for the Worker at one location, with its timers. */
  async setPace(location, pace) {
    await this.kv(location, "*", { pace });
  }

  /** Bytes of memory that the runtime has of the machine, or null where that cannot be read. */
  memory() {
    if (!existsSync("/proc/self/status")) return null;
    const pids = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && this.#isOurRuntime(pid));
    const kib = pids.map((pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]));
    return kib.reduce((sum, one) => sum + one, 0) * 1024;
  }

  /** Operations on KV so far for the space of `sub`, as `{"edge.get.head": n}`, seen by the wrapper at `location`. */
  async counts(location, sub) {
    return (await this.kv(location, sub)).counts;
  }

  async namespace() {
    return this.#miniflare.getKVNamespace("SNAPSHOTS", "home");
  }

  /** The bucket of files, of a runtime that was started with one: `worker: BUCKET`. */
  bucket() {
    return this.#miniflare.getR2Bucket("BLOBS", "home");
  }

  /** The head that really stands in KV, whatever the locations believe, or null. */
  async head(sub) {
    return readHead(await this.namespace(), scopeOf(ISSUER, sub));
  }

  /** All keys of the space of `sub` that really stand in KV, with their expirations. */
  async keys(sub) {
    const namespace = await this.namespace();
    const keys = [];
    for (let cursor; ; ) {
      const page = await namespace.list({ prefix: `v1/${scopeOf(ISSUER, sub)}`, cursor });
      keys.push(...page.keys);
      if (page.list_complete) return keys;
      cursor = page.cursor;
    }
  }

  /** The published records of `sub`: head and runs joined, each object checked against its name. */
  async publishedState(sub) {
    return readRuns(await this.namespace(), await this.head(sub));
  }

  /** Waits until the head in KV has reached the position. */
  async waitForPublished(sub, position) {
    const describe = async () => `KV's head reaches ${position}; it is ${(await this.head(sub))?.position}`;
    return eventually(describe, async () => {
      const head = await this.head(sub);
      return head && comparePositions(head.position, position) >= 0 ? head : null;
    });
  }

  /** I4, I5 and I6 as the puts of the coordinator show them, for the space of `sub`. */
  async checkPuts(sub) {
    const { puts, counts } = await this.kv("home", sub);
    const acknowledged = new Map();
    let newest = null;
    for (const put of puts) {
      if (put.kind === "object") {
        assert.ok(put.hashes, `I6: object ${put.name} hashes to its name`);
        assert.ok(put.expiration, `object ${put.name} has a lifetime`);
        if (put.outcome === "ok") acknowledged.set(put.name, Math.max(put.expiration, acknowledged.get(put.name) ?? 0));
        continue;
      }
      assert.equal(put.kind, "head", `an unknown key was put: ${put.name}`);
      const position = `${put.epoch}.${put.version}`;
      assert.ok(!newest || comparePositions(position, newest) >= 0, `I4: heads put never fall: ${newest}, ${position}`);
      newest = position;
      for (const name of put.names) {
        assert.ok(acknowledged.has(name), `I5: ${name} was put before the head ${position} that names it`);
        assert.ok(acknowledged.get(name) >= put.expiration, `I5: ${name} outlives the head ${position}`);
      }
    }
    return { puts, counts };
  }
}

// Without /proc, as on macOS: every workerd that this test's process has started.
function childRuntimes() {
  const processes = execFileSync("ps", ["-axo", "pid=,ppid=,comm="], { encoding: "utf8" }).trim().split("\n");
  const fields = processes.map((line) => line.trim().split(/\s+/));
  return fields.filter(([, parent, name]) => Number(parent) === process.pid && name.endsWith("workerd")).map(([pid]) => pid);
}
