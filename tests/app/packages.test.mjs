// The packages as somebody without this repository gets them: packed, installed into an empty folder, started, and synced between
// two browsers. Needs the npm registry.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startChromium } from "../runtime/chromium.mjs";
import { eventually } from "../runtime/harness.mjs";
import { build, create, headwater, page as open, root, run, serving } from "./packed.mjs";

const README = readFileSync(join(root, "README.md"), "utf8");
const PNPM = "pnpm@12.21.0";

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

  const page = (url) => open(browser, url);
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
        const hostile = await page(`${url}/?user=${encodeURIComponent("<img src=x>")}`);
        await hostile.getByRole("heading", { name: "<img src=x>" }).waitFor();
        assert.equal(await hostile.locator("img").count(), 0, "what stands in the address is text");
      });
      await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", "."], app);
      await build(app);
      const shipped = readdirSync(join(app, "dist/client"), { recursive: true });
      assert.ok(shipped.some((name) => name.endsWith(".js")));
      assert.deepEqual(shipped.filter((name) => name.endsWith(".wasm")), [], "the module of the server is nothing for browsers");
      const scripts = shipped.filter((name) => name.endsWith(".js")).map((name) => readFileSync(join(app, "dist/client", name), "utf8"));
      // How WebAssembly begins in base64.
      assert.ok(!scripts.some((text) => text.includes("AGFzbQ")));
      const server = readdirSync(join(app, "dist"), { recursive: true }).filter((name) => !name.startsWith("client") && name.endsWith(".js"));
      assert.ok(!server.some((name) => readFileSync(join(app, "dist", name), "utf8").includes("x-development-user")), "nobody says who they are to a deployed app");
    });
  }

  test("the lines of README, pasted into an app, sync two browsers", async () => {
    const app = join(folder, "vanilla");
    const [, lines] = /## In your app[^]*?```ts\n([^]*?)```/.exec(README);
    writeFileSync(join(app, "src/main.ts"), lines);
    const worker = join(app, "worker/index.ts");
    writeFileSync(worker, readFileSync(worker, "utf8").replace(/return user .*;/, 'return { sub: user ?? "alice" };'));
    await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "--noUnusedLocals", "-p", "."], app);
    await serving(app, async (url) => {
      // Vite may load a page twice: then it writes twice.
      const counts = new Map();
      for (const name of ["laptop", "phone"]) {
        const opened = await page("about:blank");
        opened.on("console", async (message) => {
          const count = await message.args()[0]?.evaluate((all) => (Array.isArray(all) ? all.length : null)).catch(() => null);
          if (typeof count === "number") counts.set(name, count);
        });
        await opened.goto(url);
      }
      await eventually(() => `both show what each has written; there is ${[...counts]}`, () => counts.get("laptop") >= 2 && counts.get("laptop") === counts.get("phone"));
    });
  });

  test("what is packed resolves in every way that its users import it", async () => {
    await run(process.execPath, [join(root, "node_modules/publint/src/cli.js"), "--strict", join(root, "build/packages/headwater")], root);
    await run(process.execPath, [join(root, "node_modules/@arethetypeswrong/cli/dist/index.js"), headwater, "--profile", "esm-only"], root);
  });
});
