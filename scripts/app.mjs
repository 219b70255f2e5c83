// Builds the client and the example apps: the local server shows the notes at `/`, and the to-do lists below their name.

import { cpSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root, run, tools } from "./setup.mjs";
import { token } from "./token.mjs";

const NOTES = "examples/notes";
const TODO = "examples/dexie-cloud-todo";
/** What the local server gives to whoever asks for no route of the Worker: a copy, so that it stays while an app is built again or tested. */
export const SERVED = ".headwater/app";
const USERS = ["alice", "bob", "carol", "dave"];
const ADVICE = "The message is above.";
const TOKEN_S = 30 * 24 * 3600;

/** Takes a few seconds. Expects that `setup` has run. */
export function buildApps() {
  console.log("Apps: building the client and the examples.");
  run(tools.node, ["client/build.mjs"], ADVICE);
  for (const app of [NOTES, TODO]) run(tools.node, ["node_modules/vite/bin/vite.js", "build", app, "--logLevel", "warn"], ADVICE);
}

/** Copies the calculator of costs to where a server finds it under `/costs`: one page, and the very files that the reports are made with. */
export function copyCalculator(folder) {
  const copied = ["model.mjs", "chart.mjs", "prices.json", "counts.json", "profiles.json", "report/bills.mjs", "report/words.mjs", "page/page.mjs", "page/page.css"];
  for (const file of copied) cpSync(join(root, "costs", file), join(folder, "costs", file));
  cpSync(join(root, "costs/page/index.html"), join(folder, "costs/index.html"));
}

/** Copies the apps to where they are served, with users to sign in as without an account anywhere. Their file stands there alone, and is never deployed. */
export function copyApps() {
  const users = USERS.map((sub) => ({ sub, token: token(sub, TOKEN_S) }));
  rmSync(join(root, SERVED), { recursive: true, force: true });
  cpSync(join(root, NOTES, "dist"), join(root, SERVED), { recursive: true });
  cpSync(join(root, TODO, "dist"), join(root, SERVED, basename(TODO)), { recursive: true });
  copyCalculator(join(root, SERVED));
  writeFileSync(join(root, SERVED, "development-users.json"), JSON.stringify({ users }));
}
