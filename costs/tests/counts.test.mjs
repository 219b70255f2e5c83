// What is counted today is what costs/counts.json has. A path that uses more makes every bill dearer for good, so a difference fails, and
// says what it is worth; who means it runs `npm run costs` and puts the new counts and reports into the same commit.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { count, kept, written } from "../count.mjs";
import { each, parts, perMillion } from "../model.mjs";
import { FOLDER, readData, reports } from "../report.mjs";

const { prices, profiles } = readData();
const YEAR = 12;

/** Dollars that the hot shared space pays in a year, by polling and with sockets, for what a path uses. */
function yearly(path, counts) {
  const uses = (part) => part.split(" - ").includes(path);
  const ways = ["kv_first", "sockets"].map((design) => {
    const all = parts(design, profiles.hot_space, prices).filter(([part]) => uses(part));
    return all.reduce((sum, [part, times]) => sum + (times * perMillion(each(part, counts), prices)) / 1_000_000, 0);
  });
  return ways.map((dollars) => dollars * YEAR);
}

function differences(before, now) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.flatMap((path) => {
    const [old, fresh] = [before, now].map((counts) => JSON.stringify(counts[path]));
    if (old === fresh) return [];
    const line = `${path}: ${old ?? "not counted"} → ${fresh ?? "not counted"}`;
    if (!old || !fresh) return [line];
    const [then, next] = [before, now].map((one) => yearly(path, { ...before, [path]: one[path] }));
    const [polling, sockets] = next.map((dollars, at) => dollars - then[at]);
    const each_ = perMillion(each(path, now), prices) - perMillion(each(path, before), prices);
    return [`${line}\n    per million $${each_.toFixed(3)}; in a year of 10,000 users of one hot space $${polling.toFixed(2)} by polling, $${sockets.toFixed(2)} with sockets`];
  });
}

test("every path uses what costs/counts.json says, and a change is told with its price in a year of 10,000 users", { timeout: 300_000 }, async () => {
  const [before, now] = [kept(), await count()];
  const found = differences(before, now);
  assert.deepEqual(found, [], `what is billed has changed; if that is meant: npm run costs\n\n${found.join("\n")}\n`);
  assert.equal(written(before), readFileSync(new URL("../counts.json", import.meta.url), "utf8"), "counts.json is written as count.mjs writes it");
});

test("a path that begins to use an operation is priced by the year", () => {
  const before = kept();
  const poll = before["pull.shared.cache"];
  const now = { ...before, "pull.shared.cache": { ...poll, used: { ...poll.used, object_requests: poll.n } } };
  const [line] = differences(before, now);
  const [, dollars] = /\$(\d+\.\d\d) by polling/.exec(line);
  assert.ok(Number(dollars) > 10, line);
  assert.match(line, /^pull\.shared\.cache: /);
  const push = before["push"];
  const more = { ...before, push: { ...push, used: { ...push.used, rows_read: push.used.rows_read + 1 } } };
  assert.match(differences(before, more)[0], /^push: /, "one row read more, in one of several pushes, is told too");
});

test("docs/costs is what the reports make of prices, counts and profiles, byte for byte", () => {
  const files = reports(readData());
  assert.deepEqual(readdirSync(FOLDER).sort(), Object.keys(files).sort());
  for (const [name, text] of Object.entries(files)) {
    assert.ok(readFileSync(join(FOLDER, name), "utf8") === text, `docs/costs/${name} is old: npm run costs -- --reports`);
  }
});
