// The first load of 10,000 records into IndexedDB by other libraries, beside ours and the floor, and what each adds to an app's bundle. Each
// speaks its own protocol with a server that answers from memory; ours asks the real Worker. Not a part of `npm run bench`: it
// installs those libraries into a folder of their own, which needs the registry.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { OPTIONS } from "../client/build.mjs";
import { todo } from "../client/dexie/benches/first-load.mjs";
import { startBrowser } from "../client/dexie/tests/browser.ts";
import { root } from "../scripts/setup.mjs";
import { median } from "./client.mjs";
import { startServer } from "./libraries/server.mjs";
import { startSockets } from "./runtime.mjs";
import { Space } from "./space.mjs";

const FOLDER = join(root, "benches/libraries");
const COUNT = 10_000;
const LIBRARIES = { floor: "dexie", headwater: "dexie", "dexie-cloud": "dexie-cloud-addon", rxdb: "rxdb", pouchdb: "pouchdb-browser", replicache: "replicache" };

function install() {
  const args = ["install", "--loglevel=error", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { cwd: FOLDER, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("the libraries could not be installed");
}

const versionOf = (name) => createRequire(join(FOLDER, "package.json"))(join(FOLDER, "node_modules", name, "package.json")).version;

/** What a page runs, and the bytes of the same as an app would ship it. */
async function bundle(name) {
  // Names that end in "_" are internal in our code only.
  const { mangleProps, ...others } = OPTIONS;
  const options = { ...(name === "headwater" ? OPTIONS : others), entryPoints: [join(FOLDER, `${name}.js`)], write: false, external: [], sourcemap: false, outdir: "out", conditions: ["browser"], logLevel: "error" };
  const { outputFiles: [shipped] } = await build(options);
  const { outputFiles: [script] } = await build({ ...options, format: "iife", globalName: "library" });
  return { script: script.text, gzip: gzipSync(shipped.contents, { level: 9 }).length };
}

async function load(browser, { script }, args) {
  // "localhost": some of them need a page that counts as safe.
  const page = await browser.open("localhost");
  page.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
  await page.addScriptTag({ content: script });
  const told = await page.evaluate((args) => library.load(...args), args);
  await page.close();
  if (told.rows !== COUNT) throw new Error(`${told.rows} rows of ${COUNT} are there`);
  return told;
}

export async function libraries({ rounds }) {
  install();
  process.stderr.write("libraries ");
  const rows = Array.from({ length: COUNT }, (_, n) => todo(n));
  const browser = await startBrowser("../../../benches/libraries/empty.js");
  const runtime = await startSockets({ ALLOWED_ORIGINS: browser.originOf().replace("127.0.0.1", "localhost") });
  const server = await startServer(rows.map(({ id, value }) => ({ id, ...value })));
  try {
    const space = new Space(runtime, "libraries");
    await space.fill(rows, "todos");
    const ours = [runtime.headwater, space.authorization.slice("Bearer ".length)];
    const all = {};
    for (const name of Object.keys(LIBRARIES)) all[name] = { ...(await bundle(name)), told: [] };
    for (let round = -1; round < rounds; round += 1) {
      for (const [name, one] of Object.entries(all)) {
        const told = await load(browser, one, name === "floor" || name === "headwater" ? ours : [server.url]);
        if (round >= 0) one.told.push(told);
        process.stderr.write(".");
      }
    }
    process.stderr.write("\n");
    return { count: COUNT, rounds, ...Object.fromEntries(Object.entries(all).map(([name, one]) => [name, figures(name, one, all.floor)])) };
  } finally {
    server.stop();
    await runtime.stop();
    await browser.stop();
  }
}

function figures(name, { told, gzip }, floor) {
  const ratios = told.map(({ ms }, round) => ms / floor.told[round].ms);
  const of = (figure) => median(told.map((one) => one[figure]));
  const shown = told[0].shown_ms === undefined ? {} : { shown_ms: of("shown_ms") };
  return { version: name === "headwater" ? undefined : versionOf(LIBRARIES[name]), ms: of("ms"), ...shown, vs_floor: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios), gzip_bytes: gzip };
}
