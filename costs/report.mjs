// The reports in docs/costs, made of prices, counts, profiles and the model, and of nothing else: the same bytes whenever these are the same.

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { answerReport } from "./report/answer.mjs";
import { assumptionsReport, peersReport } from "./report/assumptions.mjs";
import { billsReport } from "./report/bills.mjs";
import { pathsReport } from "./report/paths.mjs";
import { sensitivityReport } from "./report/sensitivity.mjs";

export const FOLDER = fileURLToPath(new URL("../docs/costs", import.meta.url));
const MADE = "<!-- Made by `npm run costs`. -->";

const read = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), "utf8"));

/** What the reports are made of. */
export const readData = () => Object.fromEntries(["prices", "counts", "profiles", "peers"].map((name) => [name, read(name)]));

/** The files of docs/costs by their names. */
export function reports(data) {
  const files = Object.assign({}, ...[answerReport, pathsReport, billsReport, sensitivityReport, assumptionsReport, peersReport].map((report) => report(data)));
  const whole = ([name, made]) => [name, Array.isArray(made) ? `${[MADE, "", ...made].join("\n").trimEnd()}\n` : made];
  return Object.fromEntries(Object.entries(files).map(whole));
}

export function writeReports(data = readData()) {
  const files = reports(data);
  mkdirSync(FOLDER, { recursive: true });
  for (const old of readdirSync(FOLDER)) if (!(old in files)) rmSync(join(FOLDER, old));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(FOLDER, name), text);
  return Object.keys(files);
}
