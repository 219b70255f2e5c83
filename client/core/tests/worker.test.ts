// Random schedules of three devices with two tabs each, against the real Worker on the real runtime: requests that fail before and after
// they are done, sockets that break, tabs that take the lead from each other, spaces whose epoch is reset, and a KV that lags, loses and
// refuses. A failure prints seed and path: SEED=… PATH_OF=… plays the same list of steps again, not at the same moments.
// Needs `npm run build`; with a Worker that has no sockets everything goes by HTTP.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { capture } from "../src/capture.ts";
import { Device } from "../src/device.ts";
import type { Change } from "../src/ops.ts";
import type { FetchAnswer, FetchInit, Ports, Socket } from "../src/ports.ts";
import type { ConflictNote } from "../src/store.ts";
import { steps } from "./schedules.ts";
import { MemoryStore } from "./store.ts";
import type { Step } from "./world.ts";

const isBuilt = "WORKER_CHECKOUT" in process.env || existsSync(new URL("../../../build/index_bg.wasm", import.meta.url));
assert.ok(isBuilt, "the Worker is not built: run `npm run build`");
const { RUNS = 2, SEED = Math.floor(Math.random() * 2 ** 31), PATH_OF } = process.env;

interface Runtime {
  url(location: string): Promise<string>;
  subject(): string;
  token(sub: string): string;
  fetch(location: string, path: string, init: object): Promise<Response>;
  truth(sub: string): Promise<{ state(): [string, unknown][] }>;
  kv(location: string, sub: string, command: object): Promise<unknown>;
  stop(): Promise<void>;
}
let runtime: Runtime;
let url: string;
let ids = 0;

/** How many times as fast as in life the clocks of the devices run. */
const HASTE = 20;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A database, and the tabs that lead it one after the other. */
class Client {
  readonly store = new MemoryStore();
  readonly name: string;
  readonly sub: string;
  device: Device;
  /** All leaders so far: one from which the lead was taken learns of it at its next commit, if there is one. */
  readonly leaders: Device[] = [];
  sockets: WebSocket[] = [];
  /** Of a hundred requests so many fail. */
  faults = 20;
  logs: unknown[] = [];
  /** What was added to the counter of each space, and the marks in the record that no other device writes. */
  readonly added: Record<string, number> = {};
  readonly marks: string[] = [];
  readonly spaces: string[];
  readonly #hasSockets: boolean;
  #requests = 0;
  #edits = 0;

  constructor(name: string, sub: string, spaces: string[], hasSockets: boolean) {
    [this.name, this.sub, this.spaces, this.#hasSockets] = [name, sub, spaces, hasSockets];
    this.device = this.#lead(false);
  }

  #lead(stolen: boolean): Device {
    const ports: Ports = {
      now: () => performance.now() * HASTE,
      date: () => Date.now(),
      chance: () => (this.#requests % 10) / 10,
      newId: () => `${this.name}_${String((ids += 1)).padStart(6, "0")}`,
      setTimeout: (fn, ms) => setTimeout(fn, ms / HASTE),
      clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
      fetch: (path, init) => this.#fetch(path, init),
      log: (...all) => this.logs.push(all),
      ...(this.#hasSockets && { socket: (path: string, protocols: string[]) => this.#socket(path, protocols) }),
    };
    const device = new Device({ url, store: this.store, ports, token: async () => runtime.token(this.sub), term: this.store.term, stolen, tell: () => {} });
    for (const space of this.spaces) device.open(space);
    this.leaders.push(device);
    return device;
  }

  /** Another tab leads: the one before was closed, or stands still with the lock and wakes with answers in hand. */
  takeOver(stolen: boolean): void {
    if (!stolen) this.device.stop();
    this.store.term += 1;
    this.device = this.#lead(stolen);
  }

  async #fetch(path: string, init: FetchInit): Promise<FetchAnswer> {
    this.#requests += 1;
    const chance = (this.#requests * 37 + this.name.charCodeAt(0)) % 100;
    if (chance < this.faults / 2) throw new TypeError("the request is lost");
    const answer = await fetch(path, init);
    if (chance >= this.faults) return answer;
    await answer.body?.cancel();
    throw new TypeError("the answer is lost");
  }

  #socket(path: string, protocols: string[]): Socket {
    const socket = new WebSocket(path, protocols);
    this.sockets.push(socket);
    return socket as unknown as Socket;
  }

  async edit(space: string, which: number, how: number): Promise<void> {
    const mark = `${this.name}${(this.#edits += 1)}`;
    const change = await this.#changeOf(space, mark, which, how);
    await this.store.commit(this.store.term, { wake: "rows" }, (tx) => capture(tx, { space, tx: mark, at: Date.now(), changes: [change] }));
    this.device.captured(space, this.store.seq);
  }

  async #changeOf(space: string, mark: string, which: number, how: number): Promise<Change> {
    if (which % 4 === 0) {
      this.added[space] = (this.added[space] ?? 0) + 1;
      return { op: "add", collection: "n", id: `count ${space}`, path: "n", by: 1, orPut: { n: 1 } };
    }
    const isOwn = which % 4 === 1 && space === "~";
    const id = isOwn ? `own ${this.name}` : `${space} ${which % 5}`;
    const named = { collection: "c", id };
    const [there] = await this.store.commit(this.store.term, { wake: "nothing" }, (tx) => tx.rows.get(space, [`c ${id}`]));
    if (isOwn) this.marks.push(mark);
    if (!there || (!isOwn && how % 5 === 0)) return { op: "put", ...named, value: { [mark]: 1 } };
    if (!isOwn && how % 5 === 1) return { op: "delete", ...named };
    return { op: "patch", ...named, set: { [mark]: 1 } };
  }
}

/** What KV does to a user's space from now on. */
const KV_FAULTS: object[] = [
  { clear: true },
  { set: { staleMs: 3000 } },
  { set: { objectLagMs: 1000 } },
  { empty: true },
  { rules: [{ op: "get", role: "edge", fault: "miss", rate: 0.5 }] },
  { rules: [{ op: "get", role: "edge", fault: "error", rate: 0.5 }] },
  { rules: [{ op: "get", role: "edge", key: "object", fault: "broken", rate: 0.5 }] },
  { rules: [{ op: "put", role: "object", fault: "late", ms: 500, rate: 0.5 }, { op: "put", role: "object", fault: "error", rate: 0.3 }] },
];

class World {
  readonly sub = runtime.subject();
  readonly shared = `s_${(ids += 1)}_${this.sub.slice(-8)}`;
  readonly spaces = ["~", this.shared];
  clients: Client[] = [];
  readonly #hasSockets: boolean;

  constructor(hasSockets: boolean) {
    this.#hasSockets = hasSockets;
  }

  async ask(method: string, path: string): Promise<void> {
    const answer = await runtime.fetch("home", path, { method, headers: { authorization: `Bearer ${runtime.token(this.sub)}` } });
    assert.ok(answer.ok, await answer.text());
  }

  join(name: string): Client {
    const client = new Client(name, this.sub, this.spaces, this.#hasSockets);
    this.clients.push(client);
    return client;
  }

  async take([what, which, how]: Step): Promise<void> {
    const client = this.clients[which % 3] as Client;
    const space = this.spaces[how % 4 === 0 ? 1 : 0] as string;
    if (what < 60) await client.edit(space, Math.floor(which / 3), how);
    else if (what < 66) client.sockets.at(-1)?.close();
    else if (what < 72) client.takeOver(how % 2 === 0);
    else if (what < 78) await runtime.kv("home", this.sub, KV_FAULTS[how % KV_FAULTS.length] as object);
    else if (what === 78) await this.ask("POST", `/spaces/${space}/reset-epoch`);
    else if (what < 80) client.device.offline();
    else if (what < 84) client.device.online();
    else await pause(how);
  }

  /** Faults end, and everybody has everything. */
  async rest(): Promise<void> {
    const newcomer = this.join("d");
    await newcomer.device.now();
    await runtime.kv("home", this.sub, { clear: true });
    for (const client of this.clients) client.faults = 0;
    for (let round = 0; round < 2; round += 1) for (const { device } of this.clients) await device.now();
  }

  async check(): Promise<void> {
    const states = (space: string) => this.clients.map(({ store }) => store.state(space));
    const isRecord = ([key]: [string, unknown]) => !key.startsWith("$");
    const truth = (await runtime.truth(this.sub)).state().filter(isRecord);
    assert.deepEqual(states("~")[0]?.filter(isRecord), truth);
    for (const space of this.spaces) {
      const [first, ...others] = states(space);
      for (const other of others) assert.deepEqual(other, first);
      const added = this.clients.reduce((sum, client) => sum + (client.added[space] ?? 0), 0);
      assert.deepEqual(first?.find(([key]) => key === `n count ${space}`)?.[1] ?? { n: 0 }, { n: added }, "every addition counts once");
      assert.deepEqual(this.clients.map(({ device }) => device.status(space)?.pending), [0, 0, 0, 0]);
    }
    const own = new Map(truth);
    for (const { name, marks, store } of this.clients) {
      const there = new Set(Object.keys(own.get(`c own ${name}`) ?? {}));
      // After a reset of the epoch an edit of what stood before it may be a conflict, with oneself.
      const noted = JSON.stringify([...store.notes.rows.values()]);
      for (const mark of marks) assert.ok(there.has(mark) || noted.includes(`\\"${mark}\\"`), `the edit ${mark} is there, or shown as a conflict`);
    }
    // Every conflict that is open is shown with its contents by every device of the user, and no closed one is shown by any.
    for (const space of this.spaces) {
      const open = states(space)[0]?.filter(([key]) => key.startsWith("$conflicts")).map(([key]) => key.slice(11)) ?? [];
      for (const { name, store } of this.clients) {
        const notes = [...store.notes.rows.values()].filter((note) => note.kind === "conflict" && note.space === space) as ConflictNote[];
        const shown = notes.filter(({ fetched, changes, records }) => fetched !== false && changes.length > 0 && records.length > 0);
        // After a reset of the epoch an edit of the device itself may be noted that the server has settled otherwise.
        for (const id of open) assert.ok(shown.some(({ conflict }) => conflict === id), `conflict ${id} of ${space} is shown by ${name}: ${JSON.stringify(notes)}`);
        const closed = notes.filter(({ fetched, conflict }) => fetched !== undefined && !open.includes(conflict));
        assert.deepEqual(closed, [], name);
      }
    }
    assert.deepEqual(this.clients.flatMap(({ logs }) => logs), []);
  }

  async end(): Promise<void> {
    for (const { leaders } of this.clients) for (const device of leaders) device.stop();
    await runtime.kv("home", this.sub, { clear: true });
  }
}

async function run(list: Step[], hasSockets: boolean): Promise<void> {
  const world = new World(hasSockets);
  try {
    await world.ask("PUT", `/spaces/${world.shared}`);
    for (const name of ["a", "b", "c"]) world.join(name);
    for (const step of list) await world.take(step);
    await world.rest();
    await world.check();
  } finally {
    await world.end();
  }
}

before(async () => {
  const harness = await import(new URL("../../../tests/runtime/harness.mjs", import.meta.url).href);
  // WORKER_CHECKOUT: another checkout of this repository, whose Worker is to be tried.
  const checkout = process.env["WORKER_CHECKOUT"];
  runtime = await harness.startRuntime(checkout ? { differing: { home: { checkout } } } : {});
  url = await runtime.url("home");
});
after(() => runtime?.stop());

describe("against the real Worker", () => {
  for (const hasSockets of [false, true]) {
    const how = hasSockets ? "sockets that break and HTTP" : "HTTP";
    test(`${how}: all devices end in the state of the server, no edit is lost, and every addition counts once (SEED=${SEED})`, async () => {
      const schedules = fc.asyncProperty(steps, (list) => run(list, hasSockets));
      // What it takes to shorten a list is minutes: a failure shows the list as it is, unless it is replayed.
      await fc.assert(schedules, { numRuns: Number(RUNS), seed: Number(SEED), endOnFailure: !PATH_OF, ...(PATH_OF && { path: PATH_OF }) });
    });
  }
});
