// An app for tests: a database that syncs with a server that is asked by a function.

import { Dexie } from "dexie";
import { Headwater, type Environment, type SyncOptions } from "../src/headwater.ts";
import { driverOf } from "./driver.ts";
import type { Answered, Asked } from "./server.ts";

let ids = 0;
const seed = Math.random().toString(36).slice(2, 8).padEnd(6, "0");
export const newId = () => `id-${seed}-${++ids}`;

export interface AppOptions extends Partial<SyncOptions> {
  schema?: Record<string, string>;
  version?: number;
  /** Declares earlier versions, or more of the newest one. */
  prepare?: (db: Dexie) => void;
  environment?: Partial<Environment>;
}

export function createApp(name: string, ask: (asked: Asked) => Promise<Answered>, options: AppOptions = {}) {
  const { schema = { todos: "id, done", users: "id, &email" }, version = 1, prepare, environment, ...sync } = options;
  const db = new Dexie(name);
  if (prepare) prepare(db);
  else db.version(version).stores(schema);
  const warnings: string[] = [];
  const hw = new Headwater(db, { collections: Object.keys(schema), ...sync }, {
    startDriver: driverOf(ask, newId),
    locks: globalThis.navigator?.locks as never,
    channel: (name) => new BroadcastChannel(name) as never,
    newId,
    now: Date.now,
    visible: () => typeof document === "undefined" || document.visibilityState === "visible",
    after: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    onBack: () => () => {},
    warn: (text) => void warnings.push(text),
    ...environment,
  });
  return { db, hw, warnings };
}
