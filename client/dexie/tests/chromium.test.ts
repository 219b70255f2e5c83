// Capture and store in a real browser, on its own IndexedDB.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { type Browser, startBrowser } from "./browser.ts";
import { adoptCases } from "./adopt-cases.ts";
import { captureCases } from "./capture-cases.ts";
import { storeCases } from "./store-cases.ts";
import { syncCases } from "./sync-cases.ts";

declare const hw: { run(name: string): Promise<void> };

let [browser, page]: [Browser?, Page?] = [];
before(async () => {
  browser = await startBrowser("page.ts");
  page = await browser.open();
});
after(() => browser?.stop());

for (const [what, cases] of Object.entries({ capture: captureCases, "the store": storeCases, sync: syncCases, adopt: adoptCases })) {
  describe(`${what} in Chromium`, () => {
    for (const name of Object.keys(cases)) {
      test(name, async () => {
        const error = await page?.evaluate((name) => hw.run(name).then(() => null, (error) => String(error.stack ?? error)), name);
        assert.equal(error, null);
      });
    }
  });
}
