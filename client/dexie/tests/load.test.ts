// First loads in Chromium against the real Worker: long ones, from a KV that misbehaves, and onto a device without room. A failure of
// the random ones prints the seed; SEED=… replays what was chosen.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import type * as InPage from "./app-page.ts";
import { browser, Device, runtime, seeded, until, useDevices, type Writer } from "./devices.ts";

declare const hw: typeof InPage;

useDevices({ hosts: ["127.0.0.1", "localhost"] });

const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const MANY = 50_000;

/** Waits for the load to be under way, which it is when some of its lines are stored. */
const isLoading = ({ page }: Device) => page.evaluate(async () => !hw.status().ready && (await hw.count()) > 0);
const put = (id: string, value: object) => ({ op: "put", collection: "todos", id, value });
const textOf = (length: number) => randomBytes(length / 2).toString("hex");

/** A device that writes records with texts that do not compress, and where it stands then. */
async function written(count: number, length: number): Promise<{ sub: string; elsewhere: Writer }> {
  const sub = runtime.subject();
  const elsewhere = runtime.device(sub);
  await elsewhere.load("todos", Array.from({ length: count }, (_, i): [string, object] => [`r${i}`, { n: i, text: textOf(length) }]));
  return { sub, elsewhere };
}

/** The page has what the coordinator has. */
async function hasAll({ page, sub }: Device): Promise<void> {
  const { records } = await runtime.truth(sub);
  const rows = await page.evaluate(() => hw.all("todos"));
  const values = new Map(rows.map(({ id, ...value }) => [`todos ${id}`, value]));
  assert.deepEqual(values, new Map([...records].map(([key, { value }]) => [key, value])));
}

describe("the first load", () => {
  test(`of ${MANY} records tells how far it is; meanwhile the app is used, and what it writes is pushed after it`, async () => {
    const sub = runtime.subject();
    const elsewhere = runtime.device(sub);
    await elsewhere.load("todos", Array.from({ length: MANY }, (_, i): [string, object] => [`r${i}`, { title: `todo ${i}` }]));
    const device = await Device.of(sub);
    await until("the load is under way", () => isLoading(device));
    await device.add({ id: "z", title: "written meanwhile" });
    const [early] = await device.page.evaluate(() => hw.some(1));
    await device.update(String(early?.["id"]), { done: true });
    // It is seen by queries at once, before it is sent.
    assert.equal((await device.page.evaluate(() => hw.get("z")))?.["title"], "written meanwhile");
    const { ready, phase, pending } = await device.page.evaluate(() => hw.status());
    assert.deepEqual([ready, phase, pending > 0], [false, "loading", true]);
    assert.equal((await runtime.truth(sub)).records.has("todos z"), false, "nothing is pushed before the load is complete");
    await device.page.evaluate(() => hw.synced().ready);
    await device.page.evaluate(() => hw.synced().now({ timeoutMs: 60_000 }));
    const lines = await device.page.evaluate(() => hw.progress());
    assert.deepEqual(lines, [...lines].sort((left, right) => left - right));
    assert.ok(new Set(lines).size > 10 && Math.max(...lines) > MANY / 2, lines.join());
    assert.equal((await device.status()).progress, null);
    assert.equal(await device.page.evaluate(() => hw.count()), MANY + 1);
    const { records } = await runtime.truth(sub);
    assert.deepEqual([records.get("todos z")?.value, (records.get(`todos ${early?.["id"]}`)?.value as { done: boolean }).done], [{ title: "written meanwhile" }, true]);
    assert.deepEqual([await device.conflicts(), device.complaints], [[], []]);
  });

  test(`from a KV that breaks, loses, lags or is emptied in the middle ends with what the coordinator has (SEED=${seed})`, async () => {
    const random = seeded(seed);
    const { sub, elsewhere } = await written(600, 4000);
    // Whatever is read comes from KV.
    await runtime.kv("home", "*", { cache: false });
    const get = (fault: string, more: object = { rate: 0.5 }) => ({ op: "get", role: "edge", key: "object", fault, ...more });
    const slow = get("trickle", { rate: 1, ms: 20 });
    const faults: Record<string, object> = {
      breaks: { rules: [get("broken")] }, loses: { rules: [get("miss")] }, fails: { rules: [get("error"), get("timeout", { rate: 0.3, ms: 50 })] },
      lags: { set: { objectLagMs: 1000, staleMs: 1000 }, rules: [slow] }, "is emptied": { rules: [slow] },
    };
    const order = Object.keys(faults).map((name) => ({ name, at: random() })).sort((left, right) => left.at - right.at);
    for (const { name } of order) {
      await elsewhere.push([put("last", { name })]);
      await runtime.waitForPublished(sub, elsewhere.min);
      await runtime.kv("home", sub, { clear: true, seed: Math.floor(random() * 2 ** 31), ...faults[name] });
      const before = (await runtime.kv("home", sub)).counts["edge.get.object"] ?? 0;
      const device = await Device.of(sub);
      if (name === "lags" || name === "is emptied") await until("the load is under way", () => isLoading(device));
      if (name === "is emptied") await runtime.kv("home", sub, { clear: true, empty: true });
      await elsewhere.push([put(`r${Math.floor(random() * 600)}`, { name })]);
      await device.page.evaluate(() => hw.synced().ready);
      assert.ok(((await runtime.kv("home", sub)).counts["edge.get.object"] ?? 0) > before, `${name}: it was read from KV`);
      await runtime.kv("home", sub, { clear: true });
      await device.now();
      await hasAll(device);
      await device.stop();
    }
    await runtime.kv("home", "*", { cache: true });
  });
});

describe("a device without room", () => {
  test("says so and keeps what it has; what the app writes is pushed on; with room again the rest comes", async () => {
    const host = "localhost";
    const { sub, elsewhere } = await written(1, 10);
    const room = async (device: Device, quotaSize?: number) => {
      const devtools = await device.context.newCDPSession(device.page);
      await devtools.send("Storage.overrideQuotaForOrigin", { origin: browser.originOf(host), ...(quotaSize && { quotaSize }) });
    };
    const device = await Device.of(sub, async (device) => {
      await device.page.clock.install();
      await room(device, 1_500_000);
    }, { host });
    await device.begun();
    await elsewhere.load("todos", Array.from({ length: 20 }, (_, i): [string, object] => [`big${i}`, { text: textOf(200_000) }]));
    await until("the app is told", async () => (await device.status()).spaces.some(({ deviceFull }) => deviceFull));
    const had = await device.rows();
    assert.ok(had.length > 0 && had.length < 21, String(had.length));
    // Whether a small row still fits depends on how full the last page has made it.
    await room(device, 2_000_000);
    await device.add({ id: "a", title: "small" });
    await until("what the app writes is pushed", async () => (await runtime.truth(sub)).records.has("todos a"));
    await room(device);
    await device.page.clock.fastForward(5 * 60_000);
    await until("the rest has come", async () => (await device.rows()).length === 22);
    await device.now();
    assert.equal((await device.status()).spaces.some(({ deviceFull }) => deviceFull), false);
    await hasAll(device);
  });
});
