// `npm test`: every test, first those of the core on this machine, then those on the real runtime, then those of the client and the app.

import { buildApps } from "./app.mjs";
import { build } from "./build.mjs";
import { Stop, main, run, setup, tools } from "./setup.mjs";

function attempt(name, work) {
  console.log(`\n== ${name}`);
  try {
    work();
    return null;
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    console.error(error.message);
    return name;
  }
}

function testInNode(files, env) {
  // Most of the time they wait, for clocks of their own runtimes; by default there would be as many as cores but one.
  const options = ["--test", "--test-concurrency=3", "--test-reporter=spec"];
  run(tools.node, [...options, ...files], "See the failed tests above.", env);
}

/** On the platform as it is; that takes no longer (tests/runtime/platform.mjs). */
const platform = { PLATFORM: process.env.PLATFORM ?? "real" };

await main(() => {
  setup();
  // All of them run even when one fails: a broken core should not hide what the runtime has to say.
  const failed = [
    attempt("core: cargo test", () => run("cargo", ["test", "--locked"], "See the failed tests above.")),
    attempt("runtime: the built Worker in workerd", () => {
      build();
      testInNode(["tests/runtime/*.test.mjs"], platform);
    }),
    attempt("dexie-cloud: the addon as it is published, and the built Worker", () => {
      build();
      testInNode(["tests/dexie-cloud/*.test.mjs"], platform);
    }),
    attempt("client, app and costs: models, the built Worker, Chromium", () => {
      run(tools.node, ["scripts/pack.mjs"], "See above.");
      buildApps();
      testInNode(["tests/app/*.test.mjs", "client/core/tests/*.test.ts", "client/dexie/tests/*.test.ts", "costs/tests/*.test.mjs"]);
    }),
  ].filter((name) => name !== null);
  if (failed.length > 0) throw new Stop(`failed: ${failed.join("; ")}`);
  console.log("\nAll tests passed.");
});
