// What the pages of the tests hold: the cases, and an assert that works in a browser.

import type { Assert } from "./capture-cases.ts";
import { adoptCases } from "./adopt-cases.ts";
import { captureCases } from "./capture-cases.ts";
import { liveQuery } from "dexie";
import { createApp } from "./app.ts";
import type { Answered, Asked } from "./server.ts";
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

const all = { ...captureCases, ...storeCases, ...syncCases, ...adoptCases };
export const run = (name: string): Promise<void> => (all[name] as (assert: Assert) => Promise<void>)(assert);

// An app in each page, for the tests of several tabs. The server is in the test's process.

declare const askServer: (asked: Asked) => Promise<Answered>;

interface Settings {
  name: string;
  version?: number;
  schema?: Record<string, string>;
  /** How much faster the leader's clock runs. */
  haste?: number;
  /** What the page says of itself; it cannot be hidden by a test. */
  isVisible?: boolean;
}

let app: ReturnType<typeof createApp> | undefined;
let isFrozen = false;
const queries: unknown[] = [];

export async function start({ name, haste = 1, isVisible = true, ...rest }: Settings): Promise<void> {
  app = createApp(name, askServer, {
    ...rest,
    environment: {
      now: () => Date.now() * haste,
      visible: () => isVisible,
      after: (ms, call) => {
        const timer = setTimeout(() => isFrozen || call(), ms / haste);
        return () => clearTimeout(timer);
      },
    },
  });
  await new Promise((resolve, reject) => app?.db.open().then(resolve, reject));
  liveQuery(() => app?.db.table("todos").toArray() as Promise<unknown[]>).subscribe({ next: (rows) => void queries.push(rows), error: () => {} });
}

export const db = () => app?.db;
export const sync = () => app?.hw;
export const warnings = () => app?.warnings;
export const queried = () => queries;
/** The leader's timers stand still, as those of a page that the browser has put to sleep. */
export const freeze = () => void (isFrozen = true);
