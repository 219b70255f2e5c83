import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { reference } from "../../scripts/reference.mjs";

test("docs/API.md says what the packages export", () => {
  const page = readFileSync(new URL("../../docs/API.md", import.meta.url), "utf8");
  assert.equal(page, reference(), "docs/API.md is not what the types say: run `node scripts/reference.mjs`");
});
