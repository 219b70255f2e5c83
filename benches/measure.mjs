// Runs every comparison and prints the result. One runtime at a time: two would share the machine.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { root } from "../scripts/setup.mjs";
import { commits } from "./commits.mjs";
import { device, namedFigures } from "./device.mjs";
import { machine } from "./machine.mjs";
import { noisy } from "./noisy.mjs";
import { pushes } from "./pushes.mjs";
import { coldPolls, firstLoads, smallReads } from "./reads.mjs";
import { print } from "./report.mjs";
import { BOUNDED, startKv, startMemory, startObject, startSlow } from "./runtime.mjs";
import { startup } from "./startup.mjs";
import { tokens } from "./tokens.mjs";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    // One comparison alone: `--only kv`, `--only memory`, `--only object`, `--only commits`, `--only noisy`, `--only client`, `--only startup` or
    // `--only tokens`. `--only libraries` is run in no other way: it installs what it compares with.
    only: { type: "string" },
  },
});
const conditions = machine();
const options = values.quick ? { rounds: 5, ms: 500 } : { rounds: 9, ms: 1500 };

async function over(name, start, work) {
  if (values.only && values.only !== name) return undefined;
  process.stderr.write(`${name}\n`);
  const runtime = await start();
  try {
    return await work(runtime);
  } finally {
    await runtime.stop();
  }
}

const kv = await over("kv", () => startKv(), async (runtime) => ({
  ...(await smallReads(runtime, "KV", options)),
  cold: await coldPolls(runtime, { rounds: options.rounds, spaces: values.quick ? 100 : 300 }),
  firstLoad: await firstLoads(runtime, options),
}));
const memory = await over("memory", startMemory, (runtime) => smallReads(runtime, "memory", options));
const object = await over("object", startObject, async (runtime) => ({
  eight: await pushes(runtime, "push, 8 clients", { ...options, clients: 8 }),
  since: await pushes(runtime, "push, 8 clients that say since", { ...options, clients: 8, since: true }),
  many: await pushes(runtime, "push, 32 clients", { ...options, clients: 32 }),
}));

const slow = [];
for (const commitMs of [0, 10, 30]) {
  slow.push(...((await over("commits", () => startSlow(commitMs), (runtime) => commits(runtime, commitMs, options))) ?? []));
}

const client = values.only && values.only !== "client" ? undefined : await device({ quick: values.quick });

const neighbours = await over("noisy", () => startObject(BOUNDED), (runtime) => noisy(runtime, values.quick ? { rounds: 1, ms: 1500 } : { rounds: 3, ms: 5000 }));

const verifying =
  values.only && values.only !== "tokens" ? undefined : await tokens({ rounds: options.rounds, quick: values.quick });

const starting =
  values.only && values.only !== "startup" ? undefined : await startup({ rounds: values.quick ? 3 : options.rounds });

// Loaded when it is asked for: nobody else needs what it needs.
const others = values.only === "libraries" ? await (await import("./libraries.mjs")).libraries({ rounds: values.quick ? 1 : 5 }) : undefined;

const wasm = readFileSync(join(root, "build/index_bg.wasm"));
const result = {
  // Where a figure covers two measurements, it is the worse of them.
  poll_vs_kv: kv && Math.min(kv.poll304.ratio, kv.poll200.ratio),
  poll_vs_memory: memory && Math.min(memory.poll304.ratio, memory.poll200.ratio),
  tail_vs_kv: kv?.tail.ratio,
  tail_vs_memory: memory?.tail.ratio,
  first_load_vs_kv: kv && Math.min(kv.firstLoad.plain.ratio, kv.firstLoad.gzip.ratio),
  push_vs_object: object?.eight.ratio,
  ...namedFigures(client),
  wasm_gzip_bytes: gzipSync(wasm, { level: 9 }).length,
  wasm_bytes: wasm.length,
  rounds: options.rounds,
  round_ms: options.ms,
  machine: conditions,
  kv,
  memory,
  object,
  commits: slow,
  client,
  noisy: neighbours,
  tokens: verifying,
  startup: starting,
  libraries: others,
};

if (values.json) console.log(JSON.stringify(result));
else print(result);
