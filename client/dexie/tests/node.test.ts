// Capture and store in Node, on fake-indexeddb. The same cases run in Chromium (chromium.test.ts), where they count.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { adoptCases, closeLeft, MEANWHILE } from "./adopt-cases.ts";
import { captureCases } from "./capture-cases.ts";
import { storeCases } from "./store-cases.ts";
import { syncCases } from "./sync-cases.ts";

for (const [what, cases] of Object.entries({ capture: captureCases, "the store": storeCases, sync: syncCases, adopt: adoptCases })) {
  describe(`${what} on fake-indexeddb`, () => {
    for (const [name, run] of Object.entries(cases)) test(name, () => run(assert as never));
  });
}

test("adopted from behind: the planted mistake is found", async () => {
  globalThis.__PLANTED__ = "adopted from behind";
  try {
    await assert.rejects(adoptCases[MEANWHILE]?.(assert as never) as Promise<void>, assert.AssertionError);
  } finally {
    globalThis.__PLANTED__ = undefined;
    await closeLeft();
  }
});
