// What it takes to store rows of a load, beside `JSON.parse` and Dexie's `bulkPut` of the same rows in the same chunks, in Chromium, in
// one run: `node client/dexie/benches/apply.mjs [--json]`. Without the network. A ratio is the median of the rounds' ratios.

import { startBrowser } from "../tests/browser.ts";

const ROWS = 10_000;
const ROUNDS = 7;
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

const browser = await startBrowser("../benches/capture-page.ts");
try {
  const page = await browser.open();
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) rounds.push(await page.evaluate((rows) => hw.measureLoad(rows), ROWS));
  const ratio = Number(median(rounds.map(([floor, applied]) => applied / floor)).toFixed(2));
  const [floor, applied] = [0, 1].map((side) => Math.round(median(rounds.map((round) => round[side]))));
  console.log(process.argv.includes("--json") ? JSON.stringify({ apply_vs_bulk_put: ratio }) : `${ROWS} rows: ${floor} -> ${applied} ms, ratio ${ratio}`);
} finally {
  await browser.stop();
}
