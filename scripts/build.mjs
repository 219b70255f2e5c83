// Builds the Worker into build/index.js and build/index_bg.wasm; does nothing when no input has changed.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Stop, isMain, main, root, run, tools } from "./setup.mjs";

const OUTPUTS = ["build/index.js", "build/index_bg.wasm"];
// The features that rustc and wasm-bindgen use, by name: `--all-features` could write what workerd does not read yet.
// Names of functions are dropped, a fifth of the module: a panic says its file and line without them.
const WASM_OPT = [
  "-O3",
  "--strip-debug",
  "--strip-producers",
  "--enable-mutable-globals",
  "--enable-sign-ext",
  "--enable-nontrapping-float-to-int",
  "--enable-bulk-memory",
  "--enable-multivalue",
  "--enable-reference-types",
  "--enable-exception-handling",
];
const STAMP = join(root, "build", ".inputs");

// By content rather than by time: a checkout touches files without changing them.
function hashInputs() {
  const files = ["Cargo.toml", "Cargo.lock", "package-lock.json", "scripts/build.mjs", "scripts/setup.mjs"];
  for (const entry of readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) files.push(join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1));
  }
  const hash = createHash("sha256");
  for (const file of files.sort()) {
    const path = join(root, file);
    hash.update(`${file}\0`).update(existsSync(path) ? readFileSync(path) : "").update("\0");
  }
  return hash.digest("hex");
}

/** Builds when needed. Expects that `setup` has run. */
export function build() {
  const inputs = hashInputs();
  const built = OUTPUTS.every((file) => existsSync(join(root, file)));
  if (built && existsSync(STAMP) && readFileSync(STAMP, "utf8") === inputs) {
    console.log("Build: nothing has changed.");
    return;
  }
  console.log("Build: compiling the Worker to WebAssembly.");
  compile("src/worker", "build");
  // The hash of before the build: a file saved meanwhile makes the next run build again.
  writeFileSync(STAMP, inputs);
}

/** Compiles a crate two folders deep into a folder. `options` are for cargo. */
export function compile(crate, folder, options = []) {
  if (!existsSync(tools.workerBuild)) throw new Stop("The tools of the build are missing. Run `npm run build`.");
  // worker-build takes the output folder relative to the crate, not to the current folder.
  const args = ["--release", crate, "--out-dir", `../../${folder}`, ...options];
  run(tools.workerBuild, args, "The compiler's message is above.", {
    WASM_BINDGEN_BIN: tools.wasmBindgen,
    ESBUILD_BIN: tools.esbuild,
    // worker-build would print its own stack below the compiler's message.
    RUST_BACKTRACE: "0",
  });
  const module = join(root, folder, "index_bg.wasm");
  console.log("wasm-opt makes the module smaller; this takes about 20 s");
  run(tools.wasmOpt, [...WASM_OPT, module, "-o", module], "wasm-opt's message is above.");
}

// Without set-up: wrangler runs this file too, before each deployment and after each saved change.
if (isMain(import.meta)) await main(build);
