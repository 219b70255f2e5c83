// `npm run pack`: the packages for npm, in build/packages: `headwater` (server as built, client, types) and `create-headwater`.

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build.mjs";
import { Stop, isMain, main, root, run, setup, tools } from "./setup.mjs";

const OUT = join(root, "build/packages");
const LICENCES = ["LICENSE-APACHE", "LICENSE-MIT"];
const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8"));

/** What stands in both packages' descriptions. */
function description(name, text) {
  const { version, license } = read("package.json");
  return { name, version, license, type: "module", description: text, repository: read("package.json").repository, engines: { node: ">=22.12" } };
}

function write(folder, name, content) {
  writeFileSync(join(folder, name), typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`);
}

function copyLicences(folder) {
  for (const name of LICENCES) cpSync(join(root, name), join(folder, name));
}

async function packHeadwater() {
  // Only there once `setup` has run.
  const { build: bundle } = await import("esbuild");
  const folder = join(OUT, "headwater");
  mkdirSync(join(folder, "worker"), { recursive: true });
  cpSync(join(root, "client/dist"), join(folder, "client"), { recursive: true });
  cpSync(join(root, "build/index.js"), join(folder, "worker/headwater.js"));
  cpSync(join(root, "build/index_bg.wasm"), join(folder, "worker/index_bg.wasm"));
  const entry = join(root, "packages/headwater/worker.ts");
  await bundle({ entryPoints: [entry], bundle: true, external: ["./headwater.js"], outfile: join(folder, "worker/index.js"), format: "esm", target: "es2022", sourcemap: true });
  const declarations = ["--declaration", "--emitDeclarationOnly", "--outDir", join(folder, "worker")];
  const options = ["--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--types", "", "--strict", "--skipLibCheck", "--ignoreConfig", "--rewriteRelativeImportExtensions"];
  run(tools.node, ["node_modules/typescript/bin/tsc", entry, ...declarations, ...options], "The message is above.");
  // Declarations keep the names of sources, which are not packed.
  const types = readFileSync(join(folder, "worker/worker.d.ts"), "utf8").replaceAll("./commits.ts", "./commits.js");
  write(join(folder, "worker"), "index.d.ts", types);
  rmSync(join(folder, "worker/worker.d.ts"));
  const client = (name, types) => ({ types: `./client/types/${types}/src/index.d.ts`, default: `./client/${name}.js` });
  write(folder, "package.json", {
    ...description("headwater", "A sync backend for local-first web apps on Cloudflare Workers, and its client for Dexie"),
    keywords: ["sync", "local-first", "offline", "dexie", "indexeddb", "cloudflare", "durable-objects"],
    sideEffects: ["./worker/*"],
    files: ["client", "worker"],
    exports: {
      "./worker": { types: "./worker/index.d.ts", default: "./worker/index.js" },
      "./client": client("core", "core"),
      "./dexie": client("dexie", "dexie"),
    },
    peerDependencies: { dexie: "^4.0.0" },
    peerDependenciesMeta: { dexie: { optional: true } },
  });
  cpSync(join(root, "packages/headwater/README.md"), join(folder, "README.md"));
  copyLicences(folder);
  return folder;
}

function packCreate() {
  const folder = join(OUT, "create-headwater");
  cpSync(join(root, "packages/create-headwater"), folder, { recursive: true });
  write(folder, "package.json", {
    ...description("create-headwater", "npm create headwater: an app that syncs, with its server"),
    bin: "./create.mjs",
    files: ["create.mjs", "templates"],
  });
  copyLicences(folder);
  return folder;
}

/** Makes both folders, and packs each; gives the paths of the packed files. Expects that `setup` has run. */
export async function pack() {
  build();
  run(tools.node, ["client/build.mjs"], "The message is above.");
  rmSync(OUT, { recursive: true, force: true });
  const folders = [await packHeadwater(), packCreate()];
  return folders.map((folder) => {
    const { status, stdout, stderr } = spawnSync("npm", ["pack", "--json", "--pack-destination", OUT], { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Stop(`npm pack failed: ${stderr}`);
    return join(OUT, readdirSync(OUT).find((name) => name === JSON.parse(stdout)[0].filename));
  });
}

if (isMain(import.meta)) {
  await main(async () => {
    setup();
    for (const file of await pack()) console.log(`packed ${file.slice(root.length + 1)}`);
  });
}
