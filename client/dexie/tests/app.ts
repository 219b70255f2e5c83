// An app for tests: a database that syncs with a server that is asked by a function.

import { Dexie } from "dexie";
import { Headwater, type SyncOptions } from "../src/headwater.ts";
import { Device } from "../../core/src/device.ts";
import type { FetchAnswer, FetchInit } from "../../core/src/ports.ts";
import { asker, type Environment, portsOf } from "../src/environment.ts";
import type { Answered, Asked } from "./server.ts";

let ids = 0;
const seed = Math.random().toString(36).slice(2, 8).padEnd(6, "0");
export const newId = () => `id-${seed}-${++ids}`;

/** The server's answers as those of `fetch`. */
export async function fetchFrom(ask: (asked: Asked) => Promise<Answered>, url: string, { body = "" }: FetchInit): Promise<FetchAnswer> {
  const text = typeof body === "string" ? body : await new Response(body.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const { status, body: told } = await ask({ kind: url.includes("/push") ? "push" : "pull", body: text });
  if (status === 0) throw new TypeError("Failed to fetch");
  const type = status === 200 ? "application/json" : "application/problem+json";
  return { status, headers: { get: (name) => (name === "content-type" ? type : null) }, body: null, text: async () => JSON.stringify(told) };
}

export const TOKEN = `e30.${btoa(JSON.stringify({ iss: "tests", sub: "alice", exp: 4_000_000_000 }))}.`;

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
  const ports = { ...portsOf({ socket: false }), newId, fetch: (url: string, init: FetchInit) => fetchFrom(ask, url, init), log: () => {} };
  const hw = new Headwater(db, { collections: Object.keys(schema), ...sync }, {
    startDriver: (lead) => new Device({ ...lead, url: "", token: async () => TOKEN, ports, onConflict: "merge" }),
    locks: globalThis.navigator?.locks as never,
    channel: (name) => new BroadcastChannel(name) as never,
    newId,
    now: Date.now,
    ask: asker("", ports, async () => TOKEN),
    visible: () => typeof document === "undefined" || document.visibilityState === "visible",
    online: () => true,
    after: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    onPage: () => () => {},
    warn: (text) => void warnings.push(text),
    ...environment,
  });
  return { db, hw, warnings };
}
