// What capture costs beside plain Dexie, in Chromium: the same writes by both in turns. A ratio is the median of the rounds' ratios.
import { median } from "../../../benches/client.mjs";

const WORKS = {
  put: { name: "one put", times: 100, budget: 2 },
  update: { name: "one update", times: 100, budget: 2 },
  ten: { name: "ten puts in a transaction", times: 20, budget: 3 },
  bulk: { name: "bulkPut of 1,000", times: 1, budget: 2 },
};

/** Milliseconds of each kind of write on both sides, and their ratio. */
export async function captures(browser, { rounds }) {
  process.stderr.write("  capture ");
  const rows = {};
  for (const [work, { name, times, budget }] of Object.entries(WORKS)) {
    const page = await browser.open();
    const pairs = await page.evaluate(([work, rounds, times]) => hw.measure(work, rounds, times), [work, rounds, times]);
    await page.close();
    const ratios = pairs.map(([plain, captured]) => captured / plain);
    const [floorMs, ms] = [0, 1].map((side) => median(pairs.map((pair) => pair[side])));
    rows[work] = { name, budget, ms, floor_ms: floorMs, ratio: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios) };
    process.stderr.write(".");
  }
  process.stderr.write(` ${Object.values(rows).map(({ ratio }) => ratio.toFixed(2)).join(", ")}\n`);
  return rows;
}
