// The network, the server and KV go away and come back, under the app in Chromium against the real Worker.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type * as InPage from "./app-page.ts";
import { Device, runtime, seeded, until, useDevices } from "./devices.ts";

declare const hw: typeof InPage;

useDevices({ hosts: ["127.0.0.1", "localhost"] });

const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** What the server has of a record, with a number in it. */
const numberOf = async (sub: string, id: string) => ((await runtime.truth(sub)).records.get(`todos ${id}`)?.value as { n: number } | undefined)?.n;
const increment = ({ page }: Device) => page.evaluate(() => hw.increment("count"));

/** An app with a counter, of which the server has taken a change over the socket, and has not been heard. */
async function unheard(): Promise<Device> {
  const device = await (await Device.of(runtime.subject())).begun();
  await device.add({ id: "count", n: 0 });
  await device.now();
  device.proxy.mute();
  await increment(device);
  await until("the server has it", async () => (await numberOf(device.sub, "count")) === 1);
  await until("it went by the socket", () => device.said.some((text) => text.startsWith('{"type":"push"') && text.includes('"op":"add"')));
  assert.equal((await device.status()).phase, "pushing");
  return device;
}

describe("offline", () => {
  test("a browser that goes offline in the middle of a push says so at once, sends nothing, and goes on when it is back", async () => {
    const device = await unheard();
    const requests: string[] = [];
    device.page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
    device.page.on("websocket", (socket) => requests.push(socket.url()));
    await device.context.setOffline(true);
    await until("it is told", async () => (await device.status()).phase === "unsure");
    await increment(device);
    await pause(2000);
    assert.deepEqual(requests, []);
    device.proxy.mend();
    await device.context.setOffline(false);
    await until("it goes on by itself", async () => (await device.status()).pending === 0);
    await device.now();
    assert.deepEqual([await numberOf(device.sub, "count"), await device.rows()], [2, [{ id: "count", n: 2 }]]);
  });

  test("a tab that takes the lead offline says that it waits, and begins when there is a connection", async () => {
    const device = await (await Device.of(runtime.subject())).begun();
    await device.add({ id: "a", title: "milk" });
    await device.now();
    const other = await device.tab();
    await device.context.setOffline(true);
    // The other tab takes over: nobody has told it that there is no connection.
    await device.page.close();
    await other.evaluate(() => hw.add({ id: "b", title: "bread" }));
    await until("it leads, and waits", async () => {
      const { phase, spaces } = await other.evaluate(() => hw.status());
      return phase === "waiting" && spaces.length === 1;
    });
    await device.context.setOffline(false);
    await until("all is sent", async () => (await runtime.truth(device.sub)).records.size === 2);
  });
});

describe("the server is killed", () => {
  test("with the answer of a push by socket on its way: the push is repeated, and counts once", async () => {
    const device = await unheard();
    await runtime.kill();
    device.proxy.cut();
    await until("the app says so", async () => (await device.status()).phase === "unsure");
    await increment(device);
    device.proxy.mend(await runtime.url("home"));
    await device.now();
    assert.deepEqual([await numberOf(device.sub, "count"), await device.rows()], [2, [{ id: "count", n: 2 }]]);
    assert.equal((await device.status()).pending, 0);
  });

  test(`while an app writes: nothing is lost, nothing counts twice, and the order stays (SEED=${seed})`, async () => {
    const random = seeded(seed);
    const device = await (await Device.of(runtime.subject())).begun();
    // One record is written again and again, so that a change out of its order shows.
    const writes = device.page.evaluate(async () => {
      await hw.add({ id: "count", n: 0 });
      await hw.add({ id: "last", n: 0 });
      for (let i = 1; i <= 300; i++) {
        await hw.increment("count");
        await hw.update("last", { n: i });
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    for (let kills = 0; kills < 2; kills++) {
      await pause(random() * 1500);
      await runtime.kill();
      device.proxy.mend(await runtime.url("home"));
    }
    await writes;
    await device.now();
    assert.deepEqual([await numberOf(device.sub, "count"), await numberOf(device.sub, "last")], [300, 300]);
    assert.deepEqual(await device.rows(), [{ id: "count", n: 300 }, { id: "last", n: 300 }]);
    assert.deepEqual([(await device.status()).pending, await device.conflicts()], [0, []]);
  });
});

describe("another origin", () => {
  test("a page from a site that may call the Worker syncs by HTTP and by socket", async () => {
    const sub = runtime.subject();
    const [one, other] = [await (await Device.of(sub, undefined, { host: "localhost" })).begun(), await (await Device.of(sub)).begun()];
    await one.add({ id: "a", title: "milk" });
    await until("the other shows it", () => other.sees({ id: "a", title: "milk" }));
    assert.deepEqual(one.complaints, []);
  });

  test("a page from a site that may not call it gets nothing through, keeps its edits, and its app is told that they wait", async () => {
    const sub = runtime.subject();
    const device = await Device.of(sub, undefined, { host: "other.localhost" });
    await device.add({ id: "a", title: "milk" });
    await assert.rejects(device.page.evaluate(() => hw.synced().now({ timeoutMs: 2000 })), /TimeoutError/);
    const { phase, pending, reason } = await device.status();
    assert.deepEqual([phase, pending, reason, device.heard, device.greetings], ["waiting", 1, null, [], 0]);
    assert.equal((await runtime.truth(sub)).records.size, 0);
    assert.equal(await device.sees({ id: "a", title: "milk" }), true);
  });
});
