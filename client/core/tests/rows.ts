// The rows of SPEC.md, each walked by one test.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const text = readFileSync(new URL("../../SPEC.md", import.meta.url), "utf8");
const rows = [...text.matchAll(/^\| `([^`]+: [^`]+)` \|/gm)].map(([, name]) => name as string);
const walked = new Set<string>();

export function row(name: string, walk: () => Promise<void>): void {
  assert.ok(rows.includes(name), `${name} is a row of SPEC.md`);
  walked.add(name);
  test(name, walk);
}

export const unwalked = (): string[] => rows.filter((name) => !walked.has(name));

export const applied = (id: number, version: number) => ({ id, status: "applied", version });
