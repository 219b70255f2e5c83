// `npm run fuzz -- [target …] [--seconds N]`: looks by coverage for bytes that break a parser, N seconds (60) for each target.
// The targets are the folders of fuzz/corpus. `cargo test --test parsers` tries the same properties without any of this.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { parseArgs } from "node:util";
import { Stop, main, root } from "./setup.mjs";

const CARGO_FUZZ = "0.13.2";
const BYTES_MAX = 4096;

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "headwater", `cargo-fuzz-${CARGO_FUZZ}`);
const env = { ...process.env, PATH: [join(cache, "bin"), process.env.PATH].join(delimiter) };

function works(...args) {
  return spawnSync("cargo", args, { cwd: root, env }).status === 0;
}

function checkTools() {
  if (!works("+nightly", "--version")) {
    throw new Stop("fuzzing needs a nightly compiler. Run `rustup toolchain install nightly --profile minimal`.");
  }
  if (!works("+nightly", "fuzz", "--version")) {
    throw new Stop(`cargo-fuzz is missing. Run \`cargo install cargo-fuzz --version ${CARGO_FUZZ} --locked --root ${cache}\`.`);
  }
}

/** Examples that other tests read too, as [name, text]. */
function fixtures(target) {
  if (target !== "messages") return [];
  const { sent, refused } = JSON.parse(readFileSync(join(root, "fixtures", "messages.json"), "utf8"));
  return [...sent, ...refused].map(({ text }, at) => [`fixture-${at}`, text]);
}

/** Runs one target and returns the files of inputs that broke it. */
function hunt(target, seconds) {
  const [corpus, findings] = ["corpus", "findings"].map((name) => join(root, "target", "fuzz", name, target));
  for (const folder of [corpus, findings]) mkdirSync(folder, { recursive: true });
  const before = new Set(readdirSync(findings));
  for (const [name, text] of fixtures(target)) writeFileSync(join(corpus, name), text);
  const flags = [
    `-max_total_time=${seconds}`,
    `-max_len=${BYTES_MAX}`,
    "-timeout=10",
    "-verbosity=0",
    "-print_final_stats=1",
    `-dict=${join(root, "fuzz", "tokens.dict")}`,
    `-artifact_prefix=${findings}/`,
  ];
  // No sanitizer: the product has no unsafe code. New inputs go to the first folder, the committed ones are only read.
  const args = ["+nightly", "fuzz", "run", "--sanitizer", "none", "--target-dir", join(root, "target", "fuzz"), target];
  const folders = [corpus, join(root, "fuzz", "corpus", target)];
  console.log(`\n== ${target}, ${seconds} s`);
  const { status } = spawnSync("cargo", [...args, ...folders, "--", ...flags], { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] });
  const found = readdirSync(findings).filter((name) => !before.has(name));
  if (status !== 0 && found.length === 0) throw new Stop("The target did not run. Is a C++ compiler installed?");
  return found.map((name) => join(findings, name));
}

await main(() => {
  const { values, positionals } = parseArgs({ options: { seconds: { type: "string" } }, allowPositionals: true });
  const seconds = Number(values.seconds ?? 60);
  if (!Number.isInteger(seconds) || seconds < 1) throw new Stop("--seconds takes a whole number from 1.");
  const known = readdirSync(join(root, "fuzz", "corpus")).sort();
  const unknown = positionals.filter((target) => !existsSync(join(root, "fuzz", "corpus", target)));
  if (unknown.length > 0) throw new Stop(`no such target: ${unknown.join(", ")}. There are ${known.join(", ")}.`);
  checkTools();
  const targets = positionals.length > 0 ? positionals : known;
  const found = targets.flatMap((target) => hunt(target, seconds).map((file) => ({ target, file })));
  if (found.length === 0) return console.log("\nNothing was found.");
  const list = found.map(({ target, file }) => `  ${file}\n    into fuzz/corpus/${target}/, then \`cargo test --test parsers ${target}::\``);
  throw new Stop(`inputs that break a parser; to try one again, copy it:\n${list.join("\n")}`);
});
