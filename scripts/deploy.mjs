// `npm run deploy`: sets up, builds and deploys; what follows `--` goes to wrangler, such as `--dry-run`.

import { spawnSync } from "node:child_process";
import { build } from "./build.mjs";
import { Stop, main, root, setup, tools, wranglerEnv } from "./setup.mjs";

await main(() => {
  setup();
  build();
  // With the terminal as input, because wrangler may ask to log in or to create the namespace.
  const args = [tools.wrangler, "deploy", ...process.argv.slice(2)];
  const env = { ...process.env, ...wranglerEnv };
  const { status } = spawnSync(tools.node, args, { cwd: root, stdio: "inherit", env });
  if (status !== 0) throw new Stop("wrangler could not deploy; `npx wrangler login` is needed once.");
  if (!args.includes("--dry-run")) {
    console.log("Secrets are set once: GRANT_SECRET, and the keys of tokens unless JWKS_URL names them. See docs/OPERATIONS.md.");
  }
});
