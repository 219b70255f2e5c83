// The tests of the addon against other versions of it and of Dexie than those of package.json. Installs each pair into a folder of its
// own below target/addons, runs the files that matter most from there, and ends with a table. `4.2.0/4.2.0` tries one pair, of the addon
// and of Dexie.

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Stop, main, root, run, tools } from "../../scripts/setup.mjs";

/** The addon, and a Dexie of its time. `latest` is whatever the registry has today, so that a new version is noticed. */
const PAIRS = ["4.0.2/4.0.1", "4.0.12/4.0.11", "4.2.0/4.2.0", "4.3.9/4.3.0", "latest/latest"];
const FILES = ["sync", "once", "criteria", "live", "tokens", "random"].map((name) => `tests/dexie-cloud/${name}.test.mjs`);

function install(addon, dexie) {
  const folder = join(root, "target/addons", `${addon}-${dexie}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), "{}\n");
  const options = ["--prefix", folder, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  run("npm", ["install", ...options, `dexie-cloud-addon@${addon}`, `dexie@${dexie}`], "Is the npm registry reachable?");
  return folder;
}

function passes(pair) {
  console.log(`\n== addon/Dexie ${pair}`);
  const env = { PLATFORM: "real", ...process.env, ADDON_FOLDER: install(...pair.split("/")) };
  const options = ["--test", "--test-concurrency=2", "--test-reporter=spec"];
  return spawnSync(tools.node, [...options, ...FILES], { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] }).status === 0;
}

await main(() => {
  const asked = process.argv.slice(2);
  const outcomes = (asked.length > 0 ? asked : PAIRS).map((pair) => `${passes(pair) ? "passed" : "FAILED"}  ${pair}`);
  console.log(`\n${outcomes.join("\n")}`);
  if (outcomes.some((line) => line.startsWith("FAILED"))) throw new Stop("See the failed tests above.");
});
