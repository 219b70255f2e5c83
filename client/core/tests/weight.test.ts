// What an app's users download for it.

import assert from "node:assert/strict";
import { test } from "node:test";

// @ts-expect-error a script, without types
import { weigh } from "../../build.mjs";

/** Bytes, minified and gzipped, rounded up to a hundred from what they were when this was written. Dexie itself is not in them. */
const AT_MOST = { core: 17_100, dexie: 33_100 };

test("neither package grows unnoticed", async () => {
  const weights: Record<string, number> = await weigh();
  for (const [name, most] of Object.entries(AT_MOST)) {
    const bytes = weights[name];
    assert.ok(bytes !== undefined && bytes <= most, `${name} has ${bytes} bytes, more than ${most}: what made it grow, and is it worth it?`);
  }
});
