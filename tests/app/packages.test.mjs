// The packages as somebody without this repository gets them: packed, installed into an empty folder, started, and synced between
// two browsers. Needs the npm registry.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startChromium } from "../runtime/chromium.mjs";
import { eventually } from "../runtime/harness.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const packed = (name) => join(root, "build/packages", `${name}-${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version}.tgz`);
const [headwater, create] = [packed("headwater"), packed("create-headwater")];
const PNPM = "pnpm@12.21.0";
const run = (program, args, cwd) => promisify(execFile)(program, args, { cwd, maxBuffer: 1e8 });

describe("the packages", () => {
  let folder, browser;
  before(async () => {
    assert.ok(existsSync(headwater), "the packages are not there: run `npm run pack`");
    folder = await mkdtemp(join(tmpdir(), "headwater-packages-"));
    browser = await startChromium();
  });
  after(async () => {
    await browser.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** A new app in a folder of its own, from the packed files. */
  async function newApp(template, install) {
    await run("npm", ["exec", "--yes", `--package=${create}`, "--", "create-headwater", template, "--template", template], folder);
    const app = join(folder, template);
    const description = join(app, "package.json");
    const text = readFileSync(description, "utf8").replace(/"headwater": ".+"/, `"headwater": "file:${headwater}"`);
    writeFileSync(description, text);
    await run(...install, app);
    return app;
  }

  /** Vite with app and Worker, until the work is done. */
  async function serving(app, work) {
    const vite = spawn(process.execPath, [join(app, "node_modules/vite/bin/vite.js"), "--host", "127.0.0.1", "--port", "0"], { cwd: app });
    let said = "";
    for (const stream of [vite.stdout, vite.stderr]) stream.on("data", (chunk) => (said += chunk));
    try {
      const url = await eventually(() => `Vite serves; it said ${said}`, () => /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0], 90_000);
      return await work(url);
    } finally {
      vite.kill();
    }
  }

  async function page(url) {
    const context = await browser.context.browser().newContext();
    const opened = await context.newPage();
    await opened.goto(url);
    return opened;
  }

  const add = async (on, title) => {
    await on.getByLabel("A new todo").fill(title);
    await on.keyboard.press("Enter");
  };

  const INSTALLS = { vanilla: ["npm", ["install", "--no-audit", "--no-fund"]], react: ["npm", ["install", "--no-audit", "--no-fund"]], svelte: ["npm", ["exec", "--yes", PNPM, "--", "install"]] };

  for (const [template, install] of Object.entries(INSTALLS)) {
    test(`the template ${template} syncs two browsers of one user, and shows another user nothing`, async (context) => {
      const began = performance.now();
      const app = await newApp(template, install);
      await serving(app, async (url) => {
        const [laptop, phone, other] = [await page(url), await page(url), await page(`${url}/?user=bob`)];
        await add(laptop, "Milk");
        await phone.getByText("Milk").waitFor({ timeout: 60_000 });
        context.diagnostic(`from nothing to in sync: ${((performance.now() - began) / 1000).toFixed(1)} s`);
        await phone.getByLabel("Milk", { exact: true }).click();
        await eventually("the laptop shows that it is done", () => laptop.getByLabel("Milk", { exact: true }).isChecked());
        await add(other, "Bread");
        await other.getByText("idle").waitFor();
        assert.equal(await other.getByText("Milk").count(), 0);
        assert.equal(await laptop.getByText("Bread").count(), 0);
      });
      await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", "."], app);
      await run(process.execPath, [join(app, "node_modules/vite/bin/vite.js"), "build"], app);
      const shipped = readdirSync(join(app, "dist/client"), { recursive: true });
      assert.ok(shipped.some((name) => name.endsWith(".js")));
      assert.deepEqual(shipped.filter((name) => name.endsWith(".wasm")), [], "the module of the server is nothing for browsers");
    });
  }

  test("what is packed resolves in every way that its users import it", async () => {
    await run(process.execPath, [join(root, "node_modules/publint/src/cli.js"), "--strict", join(root, "build/packages/headwater")], root);
    await run(process.execPath, [join(root, "node_modules/@arethetypeswrong/cli/dist/index.js"), headwater, "--profile", "esm-only"], root);
  });
});
