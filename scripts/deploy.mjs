// `npm run deploy`: sets up, builds and deploys; what follows `--` goes to wrangler, such as `--dry-run`.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "./build.mjs";
import { Stop, isMain, main, root, setup, tools, wranglerEnv } from "./setup.mjs";

/**
 * Stops if these arguments name an environment that the configuration does not have: wrangler warns, and deploys the top level, which is
 * mostly production.
 */
export async function checkEnvironment(args) {
  const options = { env: { type: "string", short: "e" }, config: { type: "string", short: "c", default: join(root, "wrangler.toml") } };
  const { values } = parseArgs({ args, strict: false, options });
  const { config } = values;
  const name = values.env ?? process.env.CLOUDFLARE_ENV;
  if (!name) return;
  const { experimental_readRawConfig: read } = await import("wrangler");
  const names = Object.keys(read({ config }).rawConfig.env ?? {});
  if (names.includes(name)) return;
  const there = names.length > 0 ? `It has ${names.join(", ")}` : 'It has none: "Environments" in docs/OPERATIONS.md says how to add one';
  throw new Stop(`Nothing was deployed: ${config} has no environment "${name}". ${there}.`);
}

if (isMain(import.meta)) {
  await main(async () => {
    setup();
    const given = process.argv.slice(2);
    await checkEnvironment(given);
    build();
    // With the terminal as input, because wrangler may ask to log in or to create the namespace.
    const args = [tools.wrangler, "deploy", ...given];
    const env = { ...process.env, ...wranglerEnv };
    const { status } = spawnSync(tools.node, args, { cwd: root, stdio: "inherit", env });
    if (status !== 0) throw new Stop("wrangler could not deploy; `npx wrangler login` is needed once.");
    if (!args.includes("--dry-run")) {
      console.log("Secrets are set once: GRANT_SECRET, and the keys of tokens unless JWKS_URL names them. See docs/OPERATIONS.md.");
    }
  });
}
