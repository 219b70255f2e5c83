// The bytes of a change on the wire: what the device that writes sends and is answered, and what it takes until one other device has
// it. Counted between Chromium and the Worker, with the framing of sockets and all headers of HTTP/1.1, without TLS. A zone speaks HTTP/2
// or 3, which pack headers that repeat.
import { connect, createServer } from "node:net";
import { median } from "../../../benches/client.mjs";
import { Space } from "../../../benches/space.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A way to the Worker that counts what goes each way. */
async function tap(target) {
  const bytes = { up: 0, down: 0 };
  const server = createServer((near) => {
    const far = connect(Number(new URL(target).port), "127.0.0.1");
    for (const [from, to, way] of [[near, far, "up"], [far, near, "down"]]) {
      from.on("data", (chunk) => (bytes[way] += chunk.length)).on("error", () => {}).on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { url: `http://127.0.0.1:${server.address().port}`, take: () => Object.values(bytes).map((count, at) => ((bytes[["up", "down"][at]] = 0), count)), close: () => server.close() };
}

async function deviceOf(browser, runtime, token, socket) {
  const way = await tap(runtime.headwater);
  const page = await (await browser.another()).newPage();
  await page.goto(browser.originOf());
  await page.evaluate(([url, token, socket]) => hw.start(url, token, socket), [way.url, token, socket]);
  return { page, take: way.take, close: () => page.context().close().then(way.close) };
}

/** Bytes of each of `changes` small updates of one row: pushed, answered, and what the other device sends and gets. */
async function over(browser, runtime, { socket, changes }) {
  const space = new Space(runtime, `wire-${socket}`);
  const token = space.authorization.slice("Bearer ".length);
  const writer = await deviceOf(browser, runtime, token, socket);
  const reader = await deviceOf(browser, runtime, token, socket);
  const all = [];
  for (let n = 1; n <= changes + 3; n += 1) {
    await Promise.all([writer, reader].map(({ page }) => page.evaluate(() => hw.settled())));
    await pause(300);
    for (const { take } of [writer, reader]) take();
    await writer.page.evaluate((n) => hw.change(n), n);
    await pause(300);
    const [pushed, answered] = writer.take();
    // Without a socket a device asks now and then: this is one time.
    if (!socket) await reader.page.evaluate(() => hw.settled());
    await reader.page.evaluate((n) => hw.seen(n), n);
    const [asked, told] = reader.take();
    all.push({ pushed, answered, asked, told, all: pushed + answered + asked + told });
  }
  for (const { close } of [writer, reader]) await close();
  // The first ones ask whether they may (a preflight holds for two hours), and make the row.
  const steady = all.slice(3);
  return Object.fromEntries(Object.keys(all[0]).map((name) => [name, median(steady.map((one) => one[name]))]));
}

export async function wire(browser, runtime, { changes }) {
  process.stderr.write("  wire ");
  const [socket, http] = [await over(browser, runtime, { socket: true, changes }), await over(browser, runtime, { socket: false, changes })];
  process.stderr.write(` ${socket.all}, ${http.all}\n`);
  return { changes, socket, http };
}
