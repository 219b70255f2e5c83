// Builds the client and the example app, which the local server shows at `/`.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, run, tools } from "./setup.mjs";
import { token } from "./token.mjs";

/** What the local server gives to whoever asks for no route of the Worker. */
export const APP = "examples/notes/dist";
const USERS = ["alice", "bob", "carol", "dave"];
const ADVICE = "The message is above.";
const TOKEN_S = 30 * 24 * 3600;

/** Takes a few seconds. Expects that `setup` has run. */
export function buildApp() {
  console.log("App: building the client and the notes app.");
  run(tools.node, ["client/build.mjs"], ADVICE);
  run(tools.node, ["node_modules/vite/bin/vite.js", "build", "examples/notes", "--logLevel", "warn"], ADVICE);
}

/** Users to sign in as without an account anywhere. The file is made by `npm start` alone, beside what it serves, and never deployed. */
export function writeDevelopmentUsers() {
  const users = USERS.map((sub) => ({ sub, token: token(sub, TOKEN_S) }));
  writeFileSync(join(root, APP, "development-users.json"), JSON.stringify({ users }));
}
