// Several tabs of one database in Chromium, with a server in this process.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { type Browser, startBrowser } from "./browser.ts";
import type * as InPage from "./page.ts";
import { type Asked, Server } from "./server.ts";

declare const hw: typeof InPage;

let browser: Browser;
let server = new Server();
let names = 0;
let name = "";
/** Holds every request back while it is set. */
let gate: Promise<void> | null = null;

before(async () => {
  browser = await startBrowser("page.ts");
  await browser.context.exposeFunction("askServer", async (asked: Asked) => {
    await gate;
    return server.ask(asked);
  });
});
after(() => browser?.stop());
beforeEach(() => {
  server = new Server();
  name = `tabs-${++names}`;
  gate = null;
});

type Settings = Omit<Parameters<typeof InPage.start>[0], "name">;
async function tab(settings: Settings = {}): Promise<Page> {
  const page = await browser.open();
  await page.evaluate((settings) => hw.start(settings), { name, ...settings });
  return page;
}
const phase = (page: Page) => page.evaluate(() => hw.sync()?.status.value.phase);
const rows = (page: Page) => page.evaluate(() => hw.db()?.table("todos").toArray() as Promise<object[]>);
const term = (page: Page) => page.evaluate(() => hw.db()?.table("_hw_meta").get("leader").then((row) => row?.value.term));
const add = (page: Page, row: object) => page.evaluate((row) => hw.db()?.table("todos").add(row).then(() => {}), row);
const now = (page: Page) => page.evaluate(() => hw.sync()?.now());
async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it did not come to this: ${what}`);
}
const sees = (page: Page, text: string) => page.evaluate((text) => JSON.stringify(hw.queried().at(-1) ?? "").includes(text), text);

describe("tabs in Chromium", () => {
  test("queries of both tabs see what comes and what each of them writes, and the leader pushes for both", async () => {
    const [first, second] = [await tab(), await tab()];
    await add(second, { id: "a", title: "by the second" });
    await now(second);
    assert.deepEqual(server.value("todos a"), { title: "by the second" });
    await until("the first sees it", () => sees(first, "by the second"));
    server.write("todos", "b", { title: "by another device" });
    await now(first);
    for (const page of [first, second]) await until("both see it", () => sees(page, "by another device"));
    await until("both say so", async () => (await phase(first)) === "idle" && (await phase(second)) === "idle");
    assert.equal(new Set(server.pushes.map(({ client }) => client)).size, 1);
    await Promise.all([first.close(), second.close()]);
  });

  test("a tab that is closed leaves its edits, and the next one pushes them under a higher term", async () => {
    const [first, second] = [await tab(), await tab()];
    await now(first);
    const before = await term(second);
    server.isDown = true;
    await add(first, { id: "a", title: "last words" });
    await first.close();
    server.isDown = false;
    await now(second);
    assert.deepEqual(server.value("todos a"), { title: "last words" });
    assert.equal(await term(second), Number(before) + 1);
    await second.close();
  });

  test("a visible tab takes the lock from one that stands still, whose late answer changes nothing", async () => {
    const first = await tab({ haste: 20 });
    await now(first);
    let open = () => {};
    gate = new Promise((resolve) => (open = resolve));
    await add(first, { id: "a", title: "x" });
    await until("a push is under way", async () => (await phase(first)) === "pushing");
    await first.evaluate(() => hw.freeze());
    const second = await tab({ haste: 20 });
    const before = Number(await term(second));
    await until("the lock is taken", async () => Number(await term(second)) === before + 1);
    // Both answers come at once: that of the old leader's push, and that of the same push by the new one.
    open();
    gate = null;
    await now(second);
    assert.deepEqual([server.value("todos a"), server.version], [{ title: "x" }, 1]);
    assert.deepEqual(await second.evaluate(() => hw.db()?.table("_hw_sent").count() as Promise<number>), 0);
    await Promise.all([first.close(), second.close()]);
  });

  test("a tab of a newer version opens at once, and the older one lets go of the lead", async () => {
    const first = await tab();
    await add(first, { id: "a", title: "old" });
    await now(first);
    const second = await tab({ version: 2, schema: { todos: "id, done, title", users: "id, &email" } });
    await now(second);
    assert.deepEqual(await second.evaluate(() => hw.db()?.table("todos").where("title").equals("old").primaryKeys() as Promise<unknown>), ["a"]);
    assert.equal(await first.evaluate(() => hw.db()?.isOpen()), false);
    await Promise.all([first.close(), second.close()]);
  });

  test("a reload in the middle of the first load goes on from the last page", async () => {
    for (let i = 0; i < 400; i++) server.write("todos", `t${i}`, { n: i });
    server.pageSize = 20;
    let pages = 0;
    let isFull = () => {};
    const ask = server.ask.bind(server);
    const cursors: (string | undefined)[] = [];
    server.ask = async (asked) => {
      if (asked.kind === "pull") cursors.push(JSON.parse(asked.body).cursor);
      if (++pages === 6) {
        gate = new Promise((resolve) => (isFull = resolve));
        await gate;
      }
      return ask(asked);
    };
    const page = await tab();
    await until("some pages have come", () => pages === 6);
    const come = (await rows(page))?.length ?? 0;
    assert.ok(come > 0 && come < 400, String(come));
    await page.reload();
    gate = null;
    isFull();
    await page.evaluate((name) => hw.start({ name }), name);
    await page.evaluate(() => hw.sync()?.ready);
    assert.equal((await rows(page))?.length, 400);
    assert.equal(cursors.filter((cursor) => cursor === undefined).length, 1 + Number(cursors.slice(20).includes(undefined)));
    await page.close();
  });

  test("without room the app's write fails whole, and what comes is told as a full device", async () => {
    const page = await browser.open("localhost");
    const devtools = await browser.context.newCDPSession(page);
    const origin = new URL(page.url()).origin;
    // On an origin that nobody has used, because the browser remembers for a while how much room there is.
    await devtools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1_000_000 });
    await page.evaluate((name) => hw.start({ name }), name);
    await now(page);
    // Random, or the database packs it into nothing.
    const failed = await page.evaluate(() =>
      Promise.resolve(hw.db()?.transaction("rw", "todos", async () => {
        for (let i = 0; i < 40; i++) {
          const text = Array.from({ length: 12_000 }, () => Math.random().toString(36)).join("");
          await hw.db()?.table("todos").put({ id: `big${i}`, text });
        }
      })).then(() => "no error", (error) => `${error.name} ${error.inner?.name}`));
    assert.match(failed, /Quota/);
    assert.deepEqual(await page.evaluate(() => hw.db()?.table("_hw_outbox").count() as Promise<number>), 0);
    for (let i = 0; i < 40; i++) server.write("todos", `big${i}`, { text: randomBytes(90_000).toString("hex") });
    await page.evaluate(() => void hw.sync()?.now().catch(() => {}));
    await until("it is told", () => page.evaluate(() => hw.sync()?.status.value.spaces.some((space) => space.deviceFull) ?? false));
    assert.deepEqual(await rows(page), []);
    await devtools.send("Storage.overrideQuotaForOrigin", { origin });
    await page.close();
  });
});
