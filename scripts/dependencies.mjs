// What the project is built from, as a part of `npm run check`; alone: `node scripts/dependencies.mjs`. Licences, sources and
// doubles of crates are judged on this machine by deny.toml. What is known to be wrong with crates and npm packages stands in
// two databases elsewhere: one that cannot be reached is named and is no failure, except with `--reach`, so that somebody
// without a network can work and the nightly run still notices that nothing has been looked up for days.

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { Stop, installCargoDeny, isMain, main, root, run, tools } from "./setup.mjs";

const TIMEOUT_MS = 120_000;

// What fuzzes is no part of the workspace: it has a Cargo.lock of its own.
const LOCKS = [["--workspace"], ["--manifest-path", "fuzz/Cargo.toml", "--config", "deny.toml"]];

function ask(program, args) {
  return spawnSync(program, args, { cwd: root, encoding: "utf8", timeout: TIMEOUT_MS, maxBuffer: 2 ** 28 });
}

/** Says, where it cannot be overlooked, that nothing was looked up. */
function notChecked(what, why) {
  const line = `advisories on ${what}: ${why}`;
  console.log(`NOT CHECKED: ${line}`);
  // Shown on the page of the run: nobody reads the log of a run that is green.
  if (process.env.GITHUB_ACTIONS) console.log(`::warning::Not checked: ${line}`);
  return false;
}

/** Judges crates by the RustSec database. Returns whether it was there to be asked. */
function adviseOnCrates() {
  console.log("\n== crates: advisories");
  const { status, stderr } = ask(tools.cargoDeny, [...LOCKS[0], "--locked", "fetch", "db"]);
  if (status !== 0) {
    const why = (stderr ?? "").trim().split("\n").at(-1) || "no answer";
    return notChecked("crates", `the RustSec database could not be fetched (${why})`);
  }
  for (const lock of LOCKS) {
    const advice = "Update what is named above, or say in deny.toml why not.";
    run(tools.cargoDeny, [...lock, "--locked", "--offline", "check", "advisories"], advice);
  }
  return true;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Judges npm packages by the registry's database. Returns whether it was there to be asked. */
function adviseOnPackages() {
  console.log("\n== npm packages: advisories");
  // Nothing is omitted: all of them are tools of this machine, none is in the Worker, and what builds the Worker counts.
  const report = parse(ask("npm", ["audit", "--json", "--package-lock-only", "--fetch-retries=1"]).stdout);
  const counts = report?.metadata?.vulnerabilities;
  if (!counts) {
    const why = report?.statusCode ? `it answered ${report.statusCode}` : "it was not reached";
    return notChecked("npm packages", `the registry's could not be had (${why})`);
  }
  for (const { name, severity, range, via } of Object.values(report.vulnerabilities)) {
    console.log(`${severity}: ${name} ${range}: ${via.map((cause) => cause.url ?? cause).join(", ")}`);
  }
  if (counts.high + counts.critical > 0) {
    throw new Stop("npm packages have advisories of level high or critical. Update them, or set `overrides` in package.json.");
  }
  console.log(`advisories ok: ${counts.total} below level high among ${report.metadata.dependencies.total} packages`);
  return true;
}

/** Judges crates and packages. Returns whether everything could be looked up. */
export function checkDependencies() {
  installCargoDeny();
  console.log("\n== crates: licences, bans, sources");
  for (const lock of LOCKS) {
    const what = ["--locked", "check", "licenses", "bans", "sources"];
    run(tools.cargoDeny, [...lock, ...what], "deny.toml says what is let in, and why.");
  }
  return [adviseOnCrates(), adviseOnPackages()].every((asked) => asked);
}

if (isMain(import.meta)) {
  await main(() => {
    const { values } = parseArgs({ options: { reach: { type: "boolean", default: false } } });
    const isWhole = checkDependencies();
    if (values.reach && !isWhole) throw new Stop("a database of advisories could not be asked.");
  });
}
