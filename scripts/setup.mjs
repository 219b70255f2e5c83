// Makes a fresh clone ready to build: runs before `npm ci`, so it needs nothing but Node 20 and Rust.
// A second run only looks, and takes a fraction of a second.

import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, chmodSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(import.meta.dirname ?? fileURLToPath(new URL(".", import.meta.url)), "..");
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "headwater");
const WORKER_BUILD = "0.8.7";
// The command line tool refuses a crate of any other version; Cargo.toml pins the same one.
const WASM_BINDGEN = "0.2.129";
const CARGO_DENY = "0.20.2";
const MIN_RUST = 91;
const TARGET = "wasm32-unknown-unknown";
const STEPS = 6;

const cargoTool = (crate, version, program) => join(cache, `${crate}-${version}`, "bin", program);
const npmTool = (name) => join(root, "node_modules", ".bin", name);

/** Where each tool of the build stands once `setup` has returned. */
export const tools = {
  // Wrangler and Miniflare want Node 22; the package brings one, whatever Node runs this script.
  node: npmTool("node"),
  wrangler: join(root, "node_modules", "wrangler", "bin", "wrangler.js"),
  workerBuild: cargoTool("worker-build", WORKER_BUILD, "worker-build"),
  wasmBindgen: cargoTool("wasm-bindgen-cli", WASM_BINDGEN, "wasm-bindgen"),
  // Only once `installCargoDeny` has returned: neither a build nor a test needs it.
  cargoDeny: cargoTool("cargo-deny", CARGO_DENY, "cargo-deny"),
  wasmOpt: npmTool("wasm-opt"),
  esbuild: npmTool("esbuild"),
};

/** What wrangler is told in every script: no telemetry, and no example of `request.cf`, which nothing reads. */
export const wranglerEnv = { WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" };

/** A failure that the reader can act on: printed without a stack. */
export class Stop extends Error {}

/** Runs a program in the root folder with its output shown, and stops with `advice` when it fails. */
export function run(program, args, advice, env = {}) {
  const { status, error } = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (error || status !== 0) {
    throw new Stop(`\`${[program, ...args].join(" ")}\` failed${error ? ` (${error.code})` : ""}. ${advice}`);
  }
}

function ask(program, args) {
  const { status, stdout } = spawnSync(program, args, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : null;
}

function checkNode() {
  if (Number(process.versions.node.split(".")[0]) < 20) {
    throw new Stop(`Node ${process.versions.node} is too old. Install Node 20 or later from https://nodejs.org.`);
  }
}

function checkRust() {
  const version = ask("rustc", ["--version"]);
  if (!version) throw new Stop("Rust is missing. Install it from https://rustup.rs, then open a new terminal.");
  const minor = Number(/^rustc 1\.(\d+)/.exec(version)?.[1] ?? MIN_RUST);
  if (minor < MIN_RUST) throw new Stop(`${version} is too old. Run \`rustup update stable\`.`);
}

function addTarget() {
  const libraries = ask("rustc", ["--print", "target-libdir", "--target", TARGET]);
  if (libraries && existsSync(libraries) && readdirSync(libraries).length > 0) return;
  // Automatic installs may be off, so a rust-toolchain.toml alone would not bring the target.
  run("rustup", ["target", "add", TARGET], "Is rustup installed (https://rustup.rs) and the network reachable?");
}

function installPackages() {
  const stamp = join(root, "node_modules", ".headwater-lock");
  const lock = createHash("sha256").update(readFileSync(join(root, "package-lock.json"))).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  // npm itself runs the install scripts of every package; only those run that are named.
  const advice = "Is the npm registry reachable?";
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], advice);
  const { allowScripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  run("npm", ["rebuild", "--loglevel=error", "--ignore-scripts=false", ...Object.keys(allowScripts)], advice);
  if (!existsSync(tools.node)) throw new Stop("The `node` package has no program. Run `npm rebuild node`.");
  writeFileSync(stamp, lock);
}

// Not optimized: these tools work for seconds and would be compiled for minutes more.
function installCargoTool(crate, version, program) {
  if (existsSync(program)) return;
  console.log(`      compiling ${crate} ${version}; this takes a minute or two, once for all clones`);
  const args = ["install", crate, "--version", version, "--locked", "--debug", "--root", join(cache, `${crate}-${version}`)];
  const advice =
    "Is the crate registry reachable? A C compiler is needed too, and on Linux pkg-config and OpenSSL's headers " +
    "(`apt install build-essential pkg-config libssl-dev`).";
  run("cargo", args, advice, { CARGO_PROFILE_DEV_DEBUG: "false" });
}

export function installCargoDeny() {
  installCargoTool("cargo-deny", CARGO_DENY, tools.cargoDeny);
}

// What only the local server is told. Everything in wrangler.toml is deployed as it is.
function localSettings() {
  const secret = () => randomBytes(32).toString("hex");
  return {
    JWT_SECRET: secret(),
    GRANT_SECRET: secret(),
    ENVIRONMENT: "development",
    ALLOWED_ORIGINS: "http://localhost:5173,http://127.0.0.1:5173",
    DEXIE_DEMO_USERS: "alice@demo.local,bob@demo.local",
    // Soon enough to be seen by somebody who looks on.
    PUBLISH_MAX_DELAY_MS: "20000",
  };
}

function writeLocalSettings() {
  const path = join(root, ".dev.vars");
  const present = existsSync(path) ? readFileSync(path, "utf8") : "";
  const missing = Object.entries(localSettings()).filter(([name]) => !new RegExp(`^\\s*${name}\\s*=`, "m").test(present));
  if (missing.length === 0) return;
  const lines = missing.map(([name, value]) => `${name}="${value}"\n`).join("");
  const lead = present === "" ? "# What only the local server is told, made by scripts/setup.mjs. It holds secrets: never commit it.\n" : "";
  appendFileSync(path, lead + (present === "" || present.endsWith("\n") ? "" : "\n") + lines, { mode: 0o600 });
  chmodSync(path, 0o600);
}

/** Brings whatever is missing, step by step. Throws `Stop` with advice when a step fails. */
export function setup() {
  let number = 0;
  const step = (name, work) => {
    console.log(`[${++number}/${STEPS}] ${name}`);
    work();
  };
  step("Node and Rust are installed", () => {
    checkNode();
    checkRust();
  });
  step(`Rust target ${TARGET}`, addTarget);
  step("npm packages", installPackages);
  step(`worker-build ${WORKER_BUILD}`, () => installCargoTool("worker-build", WORKER_BUILD, tools.workerBuild));
  step(`wasm-bindgen ${WASM_BINDGEN}`, () =>
    installCargoTool("wasm-bindgen-cli", WASM_BINDGEN, tools.wasmBindgen),
  );
  step("secrets and settings of the local server in .dev.vars", writeLocalSettings);
}

/** Runs a script's work, showing a `Stop` and a wrong option as one line and everything else with its stack. */
export async function main(work) {
  try {
    await work();
  } catch (error) {
    const isTold = error instanceof Stop || error.code?.startsWith("ERR_PARSE_ARGS");
    console.error(isTold ? `\nStopped: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/** True when `meta` is the script that Node was started with. */
export const isMain = (meta) => process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(meta.url);

if (isMain(import.meta)) await main(setup);
