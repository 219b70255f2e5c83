// What `npm run deploy` refuses before it builds or calls anybody.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkEnvironment } from "../../scripts/deploy.mjs";
import { root } from "../../scripts/setup.mjs";

const folder = mkdtempSync(join(tmpdir(), "headwater-deploy-"));
after(() => rmSync(folder, { recursive: true }));
const config = join(folder, "wrangler.toml");
writeFileSync(config, 'name = "app"\nmain = "index.js"\ncompatibility_date = "2026-07-01"\n[env.staging]\nvars = {}\n[env.production]\nvars = {}\n');

for (const args of [["--env", "nowhere"], ["--env=nowhere"], ["-e", "nowhere"], ["--dry-run", "-e", "nowhere"]]) {
  test(`an environment that is not there is refused with those that are: ${args.join(" ")}`, async () => {
    await assert.rejects(() => checkEnvironment([...args, "--config", config]), /no environment "nowhere"\. It has staging, production\./);
  });
}

test("an environment that is there, and none, are let through", async () => {
  for (const args of [["--env", "staging"], ["-e", "production", "--dry-run"], ["--dry-run"], []]) await checkEnvironment([...args, "--config", config]);
});

test("the command stops before it builds, and says so", () => {
  const { status, stderr, stdout } = spawnSync(process.execPath, ["scripts/deploy.mjs", "--env", "nowhere"], { cwd: root, encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /Nothing was deployed: .*wrangler\.toml has no environment "nowhere"/);
  assert.doesNotMatch(stdout, /Build:/);
});
