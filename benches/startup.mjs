// What it takes to start: Headwater, with the other front and without, beside the least that workers-rs makes of a Worker with one
// object, and beside a Worker of nothing. Each start is a runtime of its own, from its process to its first answer; the Worker of
// nothing is what the runtime itself takes, and is subtracted from all.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Miniflare } from "miniflare";
import { compile } from "../scripts/build.mjs";
import { root } from "../scripts/setup.mjs";
import { median } from "./client.mjs";
import { forgetRuntime, runtimeSeconds } from "./machine.mjs";
import { secret, worker } from "./runtime.mjs";

// Times of a process are counted in hundredths of a second, so one start says little and many say enough.
const STARTS_OF_ROUND = 5;

const HEADWATER = {
  bindings: { JWT_SECRET: secret, GRANT_SECRET: secret },
  kvNamespaces: { SNAPSHOTS: "snapshots" },
  durableObjects: { COORDINATOR: { className: "Coordinator", useSQLite: true } },
};

const SIDES = {
  nothing: ["benches/floors/nothing.mjs", {}],
  hello: ["build/hello/index.js", { durableObjects: { HELLO: { className: "Hello", useSQLite: true } } }],
  alone: ["build/alone/index.js", HEADWATER],
  headwater: ["build/index.js", HEADWATER],
};

async function start([script, options]) {
  const folder = mkdtempSync(join(tmpdir(), "headwater-bench-"));
  const begun = performance.now();
  const miniflare = new Miniflare({ cf: false, defaultPersistRoot: folder, workers: [worker("it", script, options)] });
  await miniflare.ready;
  const { origin } = await miniflare.unsafeGetDirectURL("it");
  const { status } = await fetch(`${origin}/health`);
  if (status !== 200) throw new Error(`${script} answers ${status}`);
  const [ms, cpuMs] = [performance.now() - begun, 1000 * runtimeSeconds()];
  await miniflare.dispose();
  forgetRuntime();
  rmSync(folder, { recursive: true, force: true });
  return { ms, cpuMs };
}

const sizes = (file) => {
  const bytes = readFileSync(join(root, file));
  return { bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
};

export async function startup({ rounds }) {
  compile("benches/hello", "build/hello");
  compile("src/worker", "build/alone", ["--no-default-features"]);
  process.stderr.write("  start-up ");
  const names = Object.keys(SIDES);
  const taken = Object.fromEntries(names.map((name) => [name, []]));
  for (const side of Object.values(SIDES)) await start(side);
  for (let round = 0; round < rounds; round++) {
    const sums = Object.fromEntries(names.map((name) => [name, { ms: 0, cpuMs: 0 }]));
    for (let one = 0; one < STARTS_OF_ROUND; one++) {
      for (const [name, side] of Object.entries(SIDES)) {
        const { ms, cpuMs } = await start(side);
        sums[name].ms += ms / STARTS_OF_ROUND;
        sums[name].cpuMs += cpuMs / STARTS_OF_ROUND;
      }
    }
    for (const name of names) taken[name].push(sums[name]);
    process.stderr.write(".");
  }
  const of = (name, figure) => median(taken[name].map((one) => one[figure]));
  // Of each round, what is beyond the runtime itself.
  const ratios = (figure, below) => {
    const beyond = (name, at) => taken[name][at][figure] - taken.nothing[at][figure];
    return taken.hello.map((_, at) => beyond("headwater", at) / beyond(below, at)).sort((one, other) => one - other);
  };
  const result = { ratio: median(ratios("ms", "hello")), cpu_ratio: median(ratios("cpuMs", "hello")) };
  // All of them, so that their noise is seen: the difference is small.
  Object.assign(result, { to_alone: ratios("ms", "alone"), cpu_to_alone: ratios("cpuMs", "alone") });
  for (const name of names) result[name] = { ms: of(name, "ms"), cpu_ms: of(name, "cpuMs") };
  Object.assign(result.hello, sizes("build/hello/index_bg.wasm"));
  Object.assign(result.alone, sizes("build/alone/index_bg.wasm"));
  Object.assign(result.headwater, sizes("build/index_bg.wasm"));
  process.stderr.write(` ${result.ratio.toFixed(2)}\n`);
  return result;
}
