// `npm run check`: formatting, lints for the core on this machine and for the Worker in WebAssembly, and what all of it is
// built from.

import { checkDependencies } from "./dependencies.mjs";
import { main, run, setup, tools } from "./setup.mjs";

const clippy = (...target) => ["clippy", "--locked", ...target, "--", "-D", "warnings"];

await main(() => {
  setup();
  console.log("\n== format");
  run("cargo", ["fmt", "--all", "--check"], "`cargo fmt --all` repairs it.");
  console.log("\n== lints of the core and its tests");
  run("cargo", clippy("--package", "headwater", "--all-targets"), "Repair what is named above.");
  console.log("\n== lints of the Worker");
  const worker = clippy("--package", "headwater-worker", "--target", "wasm32-unknown-unknown");
  run("cargo", worker, "Repair what is named above.");
  console.log("\n== the same without the other front");
  const alone = ["clippy", "--locked", "--no-default-features"];
  for (const target of [["--package", "headwater", "--lib"], worker.slice(2, -3)]) run("cargo", [...alone, ...target, "--", "-D", "warnings"], "Repair what is named above.");
  console.log("\n== types of the client and the app");
  // The app goes by the types that the client's build has made.
  run(tools.node, ["client/build.mjs"], "The message is above.");
  for (const project of ["client", "examples/notes", "examples/dexie-cloud-todo"]) run(tools.node, ["node_modules/typescript/bin/tsc", "--project", project, "--noEmit"], "Repair what is named above.");
  const isWhole = checkDependencies();
  console.log(isWhole ? "\nAll checks passed." : "\nAll checks passed but those marked NOT CHECKED.");
});
