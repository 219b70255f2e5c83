// Capture and store in Node, on fake-indexeddb. The same cases run in Chromium (chromium.test.ts), where they count.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { adoptCases } from "./adopt-cases.ts";
import { captureCases } from "./capture-cases.ts";
import { storeCases } from "./store-cases.ts";
import { syncCases } from "./sync-cases.ts";

for (const [what, cases] of Object.entries({ capture: captureCases, "the store": storeCases, sync: syncCases, adopt: adoptCases })) {
  describe(`${what} on fake-indexeddb`, () => {
    for (const [name, run] of Object.entries(cases)) test(name, () => run(assert as never));
  });
}
