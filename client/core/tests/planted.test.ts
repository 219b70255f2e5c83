// Every mistake that can be planted is found: by a claim about one device, or by the schedules.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import fc from "fast-check";
import type { Planted } from "../src/planted.ts";
import { claims } from "./claims.ts";
import { steps } from "./schedules.ts";
import { run } from "./world.ts";

afterEach(() => (globalThis.__PLANTED__ = undefined));

const BY_SCHEDULES: Planted[] = [
  "base of numbering",
  "lines before results",
  "dropped when acknowledged",
  "marks forgotten",
  "no base of creation",
  "sent compacted",
  "no term",
  "no after",
  "client id kept",
  "early merged",
];
const RUNS_MAX = 1500;

describe("claims about one device", () => {
  for (const { name, walk } of claims) test(name, walk);
});

describe("planted mistakes that a claim finds", () => {
  for (const { name, planted, walk } of claims) {
    if (!planted) continue;
    test(`${planted}: ${name}`, async () => {
      globalThis.__PLANTED__ = planted;
      await assert.rejects(walk);
    });
  }
});

describe("planted mistakes that the schedules find", () => {
  for (const planted of BY_SCHEDULES) {
    test(planted, async () => {
      globalThis.__PLANTED__ = planted;
      const seed = 7;
      const schedules = fc.asyncProperty(steps, async (list) => void (await run(list)));
      const found = await fc.check(schedules, { seed, numRuns: RUNS_MAX, endOnFailure: true });
      assert.ok(found.failed, `not found in ${RUNS_MAX} schedules of seed ${seed}`);
    });
  }
});
