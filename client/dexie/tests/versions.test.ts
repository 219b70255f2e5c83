// Two versions of an app side by side in one browser, against the real Worker. The newer one has a table more.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import type * as InPage from "./app-page.ts";
import { Device, runtime, until, useDevices } from "./devices.ts";

declare const hw: typeof InPage;

useDevices();

const NEWER = { version: 2, tables: ["notes"] };
const put = (id: string, text: string) => ({ op: "put", collection: "notes", id, value: { text } });
const notes = (page: Page) => page.evaluate(() => hw.all("notes"));
const kept = async (page: Page) => (await page.evaluate(() => hw.all("_hw_extra"))).map(({ key }) => key);
const add = (page: Page, table: string, row: object) => page.evaluate(([table, row]) => hw.addTo(table, row), [table, row] as const);
const now = (page: Page) => page.evaluate(() => hw.synced().now());
const reason = (page: Page) => page.evaluate(() => hw.status().reason?.why);

/** The old version in one tab, with records of a table that it does not know, and a device that writes more of them. */
async function old() {
  const sub = runtime.subject();
  const elsewhere = runtime.device(sub);
  await elsewhere.push([put("n1", "one")]);
  await elsewhere.push([put("n2", "two")]);
  const device = await (await Device.of(sub)).begun();
  return { sub, elsewhere, device };
}

describe("two versions of an app", () => {
  test("what the old one has no table for is kept, and moves into the table of the new one, which takes the lead", async () => {
    const { sub, elsewhere, device } = await old();
    assert.deepEqual(await kept(device.page), ["notes n1", "notes n2"]);
    await device.add({ id: "a", title: "by the old one" });
    const newer = await device.tab(NEWER);
    await now(newer);
    assert.deepEqual(await notes(newer), [{ id: "n1", text: "one" }, { id: "n2", text: "two" }]);
    assert.deepEqual(await kept(newer), []);
    await elsewhere.push([put("n3", "three")]);
    await add(newer, "notes", { id: "n4", text: "four" });
    await now(newer);
    assert.deepEqual((await notes(newer)).map(({ id }) => id), ["n1", "n2", "n3", "n4"]);
    assert.deepEqual([...(await runtime.truth(sub)).records.keys()].sort(), ["notes n1", "notes n2", "notes n3", "notes n4", "todos a"]);
  });

  test("the old one goes on showing and writing, and the new one sends what it writes", async () => {
    const { sub, device } = await old();
    const newer = await device.tab(NEWER);
    await now(newer);
    // Dexie has closed the old one's database, and opens it again for the next who asks.
    await add(device.page, "todos", { id: "a", title: "by the old one" });
    await until("the new one has sent it", async () => (await runtime.truth(sub)).records.has("todos a"));
    await add(newer, "todos", { id: "b", title: "by the new one" });
    assert.deepEqual((await device.page.evaluate(() => hw.all("todos"))).map(({ id }) => id), ["a", "b"]);
    await now(device.page);
  });

  test("the old one does not lead a database that a newer one has upgraded, not even alone: no row of the new table is passed over", async () => {
    const { sub, elsewhere, device } = await old();
    const newer = await device.tab(NEWER);
    await now(newer);
    await add(device.page, "todos", { id: "a", title: "by the old one" });
    await newer.close();
    await add(device.page, "todos", { id: "b", title: "while it is alone" });
    // What it would not know how to take: a row that changes, and one that goes.
    await elsewhere.push([put("n1", "one, changed")]);
    await elsewhere.push([{ op: "delete", collection: "notes", id: "n2" }]);
    // Nor does a tab of the old version that starts only now.
    const late = await device.tab();
    await add(late, "todos", { id: "c", title: "by a late one" });
    for (const page of [device.page, late]) await until("the app is told to reload", async () => (await reason(page)) === "outdated");
    const again = await device.tab(NEWER);
    await now(again);
    assert.deepEqual(await notes(again), [{ id: "n1", text: "one, changed" }]);
    assert.deepEqual([...(await runtime.truth(sub)).records.keys()].sort(), ["notes n1", "todos a", "todos b", "todos c"]);
    await device.reload(NEWER);
    await until("the reloaded one is told nothing", async () => (await reason(device.page)) === undefined);
  });
});
