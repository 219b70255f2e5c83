// The whole first load of a device, from the real Worker into IndexedDB in Chromium, beside `fetch`, `JSON.parse` and Dexie's `bulkPut`
// of the same answer. Each load is made in a page of its own, as a first load is: nothing is compiled or cached yet.
import { median } from "../../../benches/client.mjs";
import { Space } from "../../../benches/space.mjs";

/** A todo of about 170 bytes on the wire. */
export const todo = (n) => ({
  id: `t${String(n).padStart(6, "0")}`,
  value: { title: `Something to do, number ${n}`, done: n % 2, due: "2026-11-30", tags: ["home", "garden"], meta: { color: "red", order: n } },
});

async function load(browser, side, count, runtime, token) {
  const page = await browser.open();
  const { ms, rows } = await page.evaluate(([side, url, token]) => hw[side](url, token), [side, runtime.headwater, token]);
  await page.close();
  if (rows !== count) throw new Error(`${side}: ${rows} rows of ${count} are there`);
  return ms;
}

/** Milliseconds of both sides and their ratio: the median of the ratios of `rounds` pairs, before which one is not counted if it is to `warmUp`. */
export async function firstLoad(browser, runtime, { count, rounds, warmUp = true }) {
  process.stderr.write(`  first load of ${count} `);
  const space = new Space(runtime, `first-load-${count}`);
  await space.fill(Array.from({ length: count }, (_, n) => todo(n)), "todos");
  const token = space.authorization.slice("Bearer ".length);
  const sides = ["firstLoad", "plainLoad"];
  const pairs = [];
  // The first pair is for the runtime, which publishes meanwhile and compiles what it runs.
  for (let round = warmUp ? -1 : 0; round < rounds; round += 1) {
    const took = {};
    for (const side of round % 2 ? sides : sides.toReversed()) took[side] = await load(browser, side, count, runtime, token);
    if (round >= 0) pairs.push(took);
    process.stderr.write(".");
  }
  const ratios = pairs.map(({ firstLoad, plainLoad }) => firstLoad / plainLoad);
  const ratio = median(ratios);
  process.stderr.write(` ${ratio.toFixed(2)}\n`);
  const [ms, floorMs] = sides.map((side) => median(pairs.map((took) => took[side])));
  return { count, rounds, ms, floor_ms: floorMs, ratio, lowest: Math.min(...ratios), highest: Math.max(...ratios) };
}
