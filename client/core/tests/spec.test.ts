// Every row of SPEC.md, by its name.

import "./rows-conflicts.ts";
import "./rows-everywhere.ts";
import "./rows-pulling.ts";
import "./rows-pushing.ts";
import "./rows-together.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { unwalked } from "./rows.ts";

test("every row of SPEC.md is walked", () => assert.deepEqual(unwalked(), []));
