// docs/GETTING-STARTED.md as somebody follows it: its files in an empty folder, with the packed packages. Needs the npm registry.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startChromium } from "../runtime/chromium.mjs";
import { eventually } from "../runtime/harness.mjs";
import { blocksOf, build, headwater, install, page as open, put, root, run, serving } from "./packed.mjs";

describe("the page that gets one started", () => {
  let app, browser;
  const blocks = blocksOf("GETTING-STARTED.md");
  const versionsOf = (path) => blocks.filter((block) => block.path === path);
  before(async () => {
    assert.ok(existsSync(headwater), "the packages are not there: run `npm run pack`");
    app = await mkdtemp(join(tmpdir(), "headwater-started-"));
    browser = await startChromium();
    await install(app, "GETTING-STARTED.md");
    for (const block of blocks) put(app, block);
  });
  after(async () => {
    await browser.stop();
    await rm(app, { recursive: true, force: true });
  });

  const page = (url) => open(browser, url);
  const add = async (on, title) => {
    await on.getByLabel("A new todo").fill(title);
    await on.keyboard.press("Enter");
  };
  const addList = async (on, title) => {
    await on.getByLabel("A new list").fill(title);
    await on.keyboard.press("Enter");
    await on.getByLabel("List", { exact: true }).selectOption(title);
  };
  const shows = (on, title) => on.getByText(title, { exact: true }).waitFor();

  test("rows from before are uploaded, two browsers sync, a list is shared by a link, and a conflict is decided", async () => {
    const [unsynced, synced] = versionsOf("src/db.ts");
    put(app, unsynced);
    let laptop, port;
    await serving(app, async (url) => {
      ({ port } = new URL(url));
      laptop = await page(url);
      await addList(laptop, "Groceries");
      await add(laptop, "Milk");
      await shows(laptop, "Milk");
    });

    put(app, synced);
    await serving(app, async (url) => {
      await laptop.goto(url);
      const phone = await page(url);
      await shows(phone, "Milk");
      await phone.getByLabel("Milk", { exact: true }).click();
      await eventually("the laptop shows that it is done", () => laptop.getByLabel("Milk", { exact: true }).isChecked());

      const bob = await page(`${url}/?user=bob`);
      const link = await laptop.evaluate(async () => {
        const [{ db }, { share }] = await Promise.all([import("/src/db.ts"), import("/src/share.ts")]);
        return share((await db.lists.toArray())[0]);
      });
      assert.equal(await bob.getByText("Milk").count(), 0);
      await bob.evaluate(async (link) => (await import("/src/share.ts")).join(link), link);
      await shows(bob, "Milk");
      await bob.getByLabel("List", { exact: true }).selectOption("Groceries");
      await add(bob, "Bread");
      await shows(laptop, "Bread");
      // Alice's other device finds the space in her list of spaces.
      await phone.evaluate(async () => (await import("/src/share.ts")).openShared());
      await shows(phone, "Bread");

      await conflict(laptop, "Brown bread", bob, "White bread", "mine");
      await shows(bob, "Brown bread");
      await conflict(laptop, "Rye bread", bob, "Stale bread", "theirs");
      await shows(laptop, "Stale bread");
    }, { port });
  });

  /** Both write another title, and Bob's comes first; Alice is asked. */
  async function conflict(alice, mine, bob, theirs, choice) {
    const rename = (on, title) => on.evaluate(async (title) => {
      const { db, sync } = await import("/src/db.ts");
      const bread = await db.todos.filter((todo) => todo.title.endsWith("read")).first();
      await db.todos.update(bread.id, { title });
      if (sync.status.value.phase !== "paused") await sync.now();
    }, title);
    const asked = alice.waitForEvent("dialog", { timeout: 40_000 });
    await alice.evaluate(async () => {
      await import("/src/conflicts.ts");
      (await import("/src/db.ts")).sync.pause();
    });
    await rename(bob, theirs);
    await rename(alice, mine);
    await alice.evaluate(async () => (await import("/src/db.ts")).sync.resume());
    const dialog = await asked;
    assert.equal(dialog.message(), `Somebody wrote "${theirs}" meanwhile. Take your "${mine}" instead?`);
    await (choice === "mine" ? dialog.accept() : dialog.dismiss());
  }

  test("rows with numbers for keys get other keys on the way, and sync", async () => {
    await serving(app, async (url) => {
      const [laptop, phone] = [await page(url), await page(url)];
      const open = (on) => on.evaluate(async () => {
        const { db, sync } = await import("/src/number-keys.ts");
        await db.open();
        await sync.now();
        return (await db.items.toArray()).map(({ id, title }) => [typeof id, title]);
      });
      await laptop.evaluate(() => new Promise((resolve, reject) => {
        // Version 1 of Dexie is version 10 of IndexedDB.
        const opening = indexedDB.open("numbered", 10);
        opening.onupgradeneeded = () => opening.result.createObjectStore("todos", { keyPath: "id", autoIncrement: true }).add({ title: "Milk" });
        opening.onsuccess = () => resolve(opening.result.close());
        opening.onerror = () => reject(opening.error);
      }));
      assert.deepEqual(await open(laptop), [["string", "Milk"]]);
      assert.deepEqual(await open(phone), [["string", "Milk"]]);
    });
  });

  test("the types are right, and what is built can be deployed", async () => {
    put(app, { path: "tsconfig.json", content: readFileSync(join(root, "packages/create-headwater/templates/vanilla/tsconfig.json")) });
    await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", "."], app);
    await build(app);
    const { stdout } = await run(process.execPath, [join(app, "node_modules/wrangler/bin/wrangler.js"), "deploy", "--dry-run"], app);
    assert.match(stdout, /env\.COORDINATOR[^]*env\.SNAPSHOTS/);
  });
});
