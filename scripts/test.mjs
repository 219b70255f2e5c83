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

function testOnRuntime(files, atOnce) {
  // Most of the time they wait, for clocks of their own runtimes; by default there would be as many as cores but one.
  const options = ["--test", `--test-concurrency=${atOnce}`, "--test-reporter=spec"];
  // On the platform as it is; that takes no longer (tests/runtime/platform.mjs).
  const platform = { PLATFORM: process.env.PLATFORM ?? "real" };
  run(tools.node, [...options, files], "See the failed tests above.", platform);
}

await main(() => {
  setup();
  // All of them run even when one fails: a broken core should not hide what the runtime has to say.
  const failed = [
    attempt("core: cargo test", () => run("cargo", ["test", "--locked"], "See the failed tests above.")),
    attempt("runtime: the built Worker in workerd", () => {
      build();
      testOnRuntime("tests/runtime/*.test.mjs", 2);
    }),
    attempt("dexie-cloud: the addon as it is published, and the built Worker", () => {
      build();
      // The addon waits longer than the server does.
      testOnRuntime("tests/dexie-cloud/*.test.mjs", 3);
    }),
    attempt("client, app and costs: models, the built Worker, Chromium", () => {
      run(tools.node, ["scripts/pack.mjs"], "See above.");
      buildApps();
      const files = ["client/core/tests/*.test.ts", "client/dexie/tests/*.test.ts", "tests/app/*.test.mjs", "costs/tests/*.test.mjs"];
      run(tools.node, ["--test", "--test-concurrency=2", "--test-reporter=spec", ...files], "See the failed tests above.");
    }),
  ].filter((name) => name !== null);
  if (failed.length > 0) throw new Stop(`failed: ${failed.join("; ")}`);
  console.log("\nAll tests passed.");
});
