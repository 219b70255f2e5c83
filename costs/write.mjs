// Counts and writes: costs/counts.json and docs/costs. `--reports` counts nothing. Run by scripts/costs.mjs.

import { count, keep } from "./count.mjs";
import { writeReports } from "./report.mjs";

if (!process.argv.includes("--reports")) {
  console.log("Counting on the local runtime; this takes about half a minute.");
  keep(await count());
}
console.log(`docs/costs: ${writeReports().join(", ")}`);
