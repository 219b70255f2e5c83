// What the pages of the tests hold: the cases, and an assert that works in a browser.

import type { Assert } from "./capture-cases.ts";
import { captureCases } from "./capture-cases.ts";
import { storeCases } from "./store-cases.ts";
import { syncCases } from "./sync-cases.ts";

/** A text in which values that are deeply equal are the same, whatever the order of their properties. */
function shown(value: unknown): string {
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || typeof value !== "object" || value === null) return Object.is(value, -0) ? "0" : (JSON.stringify(value) ?? String(value));
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof Map || value instanceof Set) return `${value.constructor.name}${shown([...value])}`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}${shown([...(value as Uint8Array)])}`;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${entries.map(([name, inner]) => `${name}: ${shown(inner)}`).join(", ")}}`;
}

const fail = (message: string): never => {
  throw new Error(message);
};
const assert: Assert = {
  ok: (value, message = "not true") => void (value || fail(message)),
  equal: (actual, expected, message = "") => void (Object.is(actual, expected) || fail(`${message} ${shown(actual)} is not ${shown(expected)}`)),
  deepEqual: (actual, expected, message = "") => void (shown(actual) === shown(expected) || fail(`${message}\n is  ${shown(actual)}\n not ${shown(expected)}`)),
  rejects: (promise, pattern) =>
    promise.then(
      () => fail("it was not rejected"),
      (error) => void (pattern.test(String(error)) || fail(`${error} is not like ${pattern}`)),
    ),
};

const all = { ...captureCases, ...storeCases, ...syncCases };
export const run = (name: string): Promise<void> => (all[name] as (assert: Assert) => Promise<void>)(assert);
