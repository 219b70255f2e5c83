// docs/RECIPES.md: the recipes that need nobody's account, on top of the app of docs/GETTING-STARTED.md. Needs the npm registry.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startChromium } from "../../runtime/chromium.mjs";
import { blocksOf, build, headwater, install, page as open, put, run, serving } from "../packed.mjs";

/** What a framework's own template would have: where the component is mounted. */
const MOUNTED = {
  react: { path: "src/react.tsx", content: 'import { createElement } from "react"; import { createRoot } from "react-dom/client"; import { Todos } from "./Todos.tsx"; createRoot(document.body).render(createElement(Todos));' },
  vue: { path: "src/vue.ts", content: 'import { createApp } from "vue"; import Todos from "./Todos.vue"; createApp(Todos).mount(document.body);' },
  svelte: { path: "src/svelte.ts", content: 'import { mount } from "svelte"; import Todos from "./Todos.svelte"; mount(Todos, { target: document.body });' },
};
const VITE = `
  import { cloudflare } from "@cloudflare/vite-plugin";
  import react from "@vitejs/plugin-react";
  import vue from "@vitejs/plugin-vue";
  import { svelte } from "@sveltejs/vite-plugin-svelte";
  export default { plugins: [react(), vue(), svelte(), cloudflare()] };`;

describe("the recipes", () => {
  let app, browser;
  const recipes = blocksOf("RECIPES.md");
  before(async () => {
    assert.ok(existsSync(headwater), "the packages are not there: run `npm run pack`");
    app = await mkdtemp(join(tmpdir(), "headwater-recipes-"));
    browser = await startChromium();
    await install(app, "GETTING-STARTED.md", "RECIPES.md");
    for (const block of blocksOf("GETTING-STARTED.md")) put(app, block);
    for (const block of recipes.filter(({ path }) => path !== "worker/index.ts")) put(app, block);
    put(app, { path: "vite.config.ts", content: VITE });
    for (const [name, mounted] of Object.entries(MOUNTED)) {
      put(app, mounted);
      put(app, { path: `${name}.html`, content: `<!doctype html><title>${name}</title><body><script type="module" src="/${mounted.path}"></script></body>` });
    }
  });
  after(async () => {
    await browser.stop();
    await rm(app, { recursive: true, force: true });
  });
  const page = (url) => open(browser, url);
  const addTodo = (on, title) => on.evaluate(async (title) => {
    const { db } = await import("/src/db.ts");
    await db.todos.add({ id: title, list: "groceries", title, done: false });
  }, title);

  test("React, Vue and Svelte show what another browser writes, and how the device stands", async () => {
    await serving(app, async (url) => {
      const pages = await Promise.all(Object.keys(MOUNTED).map((name) => page(`${url}/${name}.html`)));
      await addTodo(pages[0], "Milk");
      for (const one of pages) {
        await one.getByText("Milk").waitFor();
        await one.getByText("idle").waitFor();
      }
    });
  });

  test("with the service worker, the built app opens while nothing answers, with its data", async () => {
    put(app, { path: "src/main.ts", content: `import "./offline.ts";\n${blocksOf("GETTING-STARTED.md").find(({ path }) => path === "src/main.ts").content}` });
    await build(app);
    await serving(app, async (url, stop) => {
      const laptop = await page(url);
      await laptop.getByLabel("A new list").fill("Groceries");
      await laptop.keyboard.press("Enter");
      await laptop.getByLabel("List", { exact: true }).selectOption("Groceries");
      await laptop.getByLabel("A new todo").fill("Bread");
      await laptop.keyboard.press("Enter");
      await laptop.getByText("Bread").waitFor();
      await laptop.evaluate(() => navigator.serviceWorker.ready);
      await stop();
      await laptop.reload();
      await laptop.getByText("Bread").waitFor();
    }, { command: "preview" });
  });

  test("a session of the app's own lets its user in, and nobody else", async () => {
    put(app, recipes.find(({ path }) => path === "worker/index.ts"));
    const settings = readFileSync(join(app, "wrangler.jsonc"), "utf8");
    put(app, { path: "wrangler.jsonc", content: settings.replace('["/api/*"]', '["/api/*", "/sign-in"]').replace('{ "binding": "SNAPSHOTS" }', '$&, { "binding": "SESSIONS" }') });
    await serving(app, async (url) => {
      const [laptop, phone, stranger] = [await page(url), await page(url), await page(url)];
      const signIn = (on, password) => on.evaluate(async ([user, password]) => {
        const { status } = await fetch("/sign-in", { method: "POST", body: JSON.stringify({ user, password }) });
        const { sync } = await import("/src/db.ts");
        sync.signedIn();
        return status;
      }, ["u_1", password]);
      assert.equal(await signIn(stranger, "a guess"), 403);
      for (const one of [laptop, phone]) assert.equal(await signIn(one, "development only"), 204);
      await addTodo(laptop, "Butter");
      await phone.getByText("Butter").waitFor();
      assert.equal(await stranger.evaluate(async () => (await fetch("/api/token", { method: "POST" })).status), 401);
      assert.equal(await stranger.getByText("Butter").count(), 0);
    });
  });
});
