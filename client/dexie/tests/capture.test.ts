// Capture, in Node on fake-indexeddb. The same file runs in Chromium (capture.chromium.test.mjs), where it counts.

import "fake-indexeddb/auto";
import { captureCases } from "./capture-cases.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

describe("capture on fake-indexeddb", () => {
  for (const [name, run] of Object.entries(captureCases)) test(name, () => run(assert as never));
});
