// What capture costs beside plain Dexie, in Chromium, in one run: `node client/dexie/benches/capture.mjs [--json]`.
// A ratio is the median of the rounds' ratios.

import { startBrowser } from "../tests/browser.ts";

const WORKS = [
  { work: "put", name: "one put", times: 100, budget: 2, key: "capture_put_vs_dexie" },
  { work: "update", name: "one update", times: 100, budget: 2, key: "capture_update_vs_dexie" },
  { work: "ten", name: "ten puts in a transaction", times: 20, budget: 3, key: "capture_ten_vs_dexie" },
  { work: "bulk", name: "bulkPut of 1,000", times: 1, budget: 2, key: "capture_bulk_vs_dexie" },
];
const ROUNDS = 15;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

const browser = await startBrowser("../benches/capture-page.ts");
const result = {};
try {
  for (const { work, name, times, budget, key } of WORKS) {
    const page = await browser.open();
    const rounds = await page.evaluate(([work, rounds, times]) => hw.measure(work, rounds, times), [work, ROUNDS, times]);
    await page.close();
    const ratios = rounds.map(([plain, captured]) => captured / plain);
    const [plain, captured, ratio] = [median(rounds.map(([one]) => one)), median(rounds.map(([, one]) => one)), median(ratios)];
    result[key] = Number(ratio.toFixed(2));
    if (!process.argv.includes("--json")) {
      const range = `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`;
      console.log(`${name}: ${plain.toFixed(2)} -> ${captured.toFixed(2)} ms, ratio ${ratio.toFixed(2)} (${range}), budget ${budget}${ratio > budget ? ", MISSED" : ""}`);
    }
  }
} finally {
  await browser.stop();
}
if (process.argv.includes("--json")) console.log(JSON.stringify(result));
