// How long it takes until a change that one device writes with Dexie is shown by a query of another device, beside a minimal object that
// passes on what it is sent. All sides have two browsers (contexts of one Chromium), write IndexedDB on both, see it by a live query, and are
// asked in turns. Headwater's app calls `update`, which reads the row first. The floor puts the row, which is the least that can be done;
// beside it stands the same floor with the call that the app makes.
import { quantile } from "../../../benches/client.mjs";
import { Space } from "../../../benches/space.mjs";

/** Further apart than the 100 ms within which the coordinator gathers news, and not in step with anything. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 120 + Math.random() * 60));

async function pairOf(browser, begin) {
  const pages = [];
  for (let one = 0; one < 2; one += 1) {
    const page = await (await browser.another()).newPage();
    await page.goto(browser.originOf());
    await begin(page);
    pages.push(page);
  }
  let n = 0;
  /** Milliseconds of the next change. */
  const change = async () => {
    const [writer, reader] = pages;
    n += 1;
    const [to, from] = await Promise.all([reader.evaluate((n) => hw.seen(n), n), writer.evaluate((n) => hw.change(n), n)]);
    return to - from;
  };
  return { change, close: () => Promise.all(pages.map((page) => page.context().close())) };
}

const figures = (times) => {
  const sorted = times.toSorted((one, other) => one - other);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
};

/** p50 and p99 in milliseconds of so many changes on both sides, and the ratios of these. */
export async function live(browser, runtime, { changes }) {
  process.stderr.write("  live ");
  const space = new Space(runtime, "live");
  const token = space.authorization.slice("Bearer ".length);
  const sides = {
    headwater: await pairOf(browser, (page) => page.evaluate(([url, token]) => hw.start(url, token), [runtime.headwater, token])),
    broadcast: await pairOf(browser, (page) => page.evaluate((url) => hw.startPlain(url, false), runtime.broadcast)),
    updated: await pairOf(browser, (page) => page.evaluate((url) => hw.startPlain(url, true), new URL("/updated", runtime.broadcast).href)),
  };
  const times = { headwater: [], broadcast: [], updated: [] };
  const warmUp = Math.ceil(changes / 10);
  for (let one = -warmUp; one < changes; one += 1) {
    for (const [name, { change }] of Object.entries(sides)) {
      const ms = await change();
      if (one >= 0) times[name].push(ms);
      await pause();
    }
    if (one % 50 === 0) process.stderr.write(".");
  }
  for (const { close } of Object.values(sides)) await close();
  const [headwater, broadcast, updated] = [times.headwater, times.broadcast, times.updated].map(figures);
  const [p50, p99] = ["p50", "p99"].map((figure) => headwater[figure] / broadcast[figure]);
  const [p50Updated, p99Updated] = ["p50", "p99"].map((figure) => headwater[figure] / updated[figure]);
  process.stderr.write(` ${p99.toFixed(2)}\n`);
  return { changes, headwater, broadcast, updated, p50_ratio: p50, p99_ratio: p99, p50_ratio_updated: p50Updated, p99_ratio_updated: p99Updated };
}
