// Three devices against the real Worker on the real runtime, with requests that fail before and after they are done, and
// sockets that break. Needs `npm run build`; with a Worker that has no sockets everything goes by HTTP.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { capture } from "../src/capture.ts";
import { Device } from "../src/device.ts";
import type { Change } from "../src/ops.ts";
import type { FetchAnswer, FetchInit, Ports, Socket } from "../src/ports.ts";
import { MemoryStore } from "./store.ts";

const isBuilt = "WORKER_CHECKOUT" in process.env || existsSync(new URL("../../../build/index_bg.wasm", import.meta.url));
assert.ok(isBuilt, "the Worker is not built: run `npm run build`");
const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));

interface Runtime {
  url(location: string): Promise<string>;
  subject(): string;
  token(sub: string): string;
  fetch(location: string, path: string, init: object): Promise<Response>;
  stop(): Promise<void>;
}
let runtime: Runtime;
let url: string;

/** A generator of numbers in [0, 1) from a seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

class Tab {
  store = new MemoryStore();
  device: Device;
  sockets: WebSocket[] = [];
  /** How often a request fails. */
  faults = 0.2;
  random: () => number;
  #edits = 0;
  /** Additions made in each space. */
  added: Record<string, number> = {};
  #name: string;
  logs: unknown[] = [];

  constructor(name: string, sub: string, random: () => number, sockets: boolean) {
    this.#name = name;
    this.random = random;
    let ids = 0;
    const ports: Ports = {
      now: () => performance.now(),
      date: () => Date.now(),
      chance: () => random() / 20,
      newId: () => `${name}_${seed.toString(36)}_${String((ids += 1)).padStart(6, "0")}`,
      // Waits are as in life, and a hundredth as long.
      setTimeout: (fn, ms) => setTimeout(fn, ms < 25_000 ? ms / 100 : ms),
      clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
      fetch: (path, init) => this.#fetch(path, init),
      log: (...all) => this.logs.push(all),
      ...(sockets && { socket: (path: string, protocols: string[]) => this.#socket(path, protocols) }),
    };
    this.device = new Device({ url, store: this.store, ports, token: async () => runtime.token(sub), term: 1, tell: () => {} });
  }

  async #fetch(path: string, init: FetchInit): Promise<FetchAnswer> {
    const chance = this.random();
    if (chance < this.faults / 2) throw new TypeError("the request is lost");
    const answer = await fetch(path, init);
    if (chance > this.faults) return answer;
    await answer.body?.cancel();
    throw new TypeError("the answer is lost");
  }

  #socket(path: string, protocols: string[]): Socket {
    const socket = new WebSocket(path, protocols);
    this.sockets.push(socket);
    return socket as unknown as Socket;
  }

  breakSocket(): void {
    this.sockets.at(-1)?.close();
  }

  async edit(space: string): Promise<void> {
    const id = `r${Math.floor(this.random() * 6)}`;
    const mark = `${this.#name}${(this.#edits += 1)}`;
    const named = { collection: "c", id };
    const [there] = await this.store.commit(1, { wake: "nothing" }, (tx) => tx.rows.get(space, [`c ${id}`]));
    const patch: Change = { op: "patch", ...named, set: { [mark]: 1 } };
    const change: Change = !there || this.random() < 0.2 ? { op: "put", ...named, value: { [mark]: 1 } } : this.random() < 0.2 ? { op: "delete", ...named } : patch;
    const count: Change = { op: "add", collection: "n", id: "count", path: "n", by: 1, orPut: { n: 1 } };
    const isCount = this.random() < 0.3;
    const changes = [isCount ? count : change];
    if (isCount) this.added[space] = (this.added[space] ?? 0) + 1;
    await this.store.commit(1, { wake: "rows" }, (tx) => capture(tx, { space, tx: mark, at: Date.now(), changes }));
    this.device.captured(space);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

before(async () => {
  const harness = await import(new URL("../../../tests/runtime/harness.mjs", import.meta.url).href);
  // WORKER_CHECKOUT: another checkout of this repository, whose Worker is to be tried.
  const checkout = process.env["WORKER_CHECKOUT"];
  runtime = await harness.startRuntime(checkout ? { differing: { home: { checkout } } } : {});
  url = await runtime.url("home");
});
after(() => runtime?.stop());

describe("against the real Worker", () => {
  for (const sockets of [false, true]) {
    test(`${sockets ? "sockets that break and HTTP" : "HTTP"}: all devices end in the same state, and every addition counts once (SEED=${seed})`, async () => {
      const random = randomOf(seed);
      const sub = runtime.subject();
      const shared = `s_${Math.floor(random() * 1e9).toString(36)}_${sockets ? "w" : "h"}`;
      const headers = { authorization: `Bearer ${runtime.token(sub)}` };
      assert.equal((await runtime.fetch("home", `/spaces/${shared}`, { method: "PUT", headers })).status, 200);
      const spaces = ["~", shared];
      const tabs = ["a", "b", "c"].map((name) => new Tab(name, sub, random, sockets));
      for (const { device } of tabs) for (const space of spaces) device.open(space);
      for (let turn = 0; turn < 120; turn += 1) {
        const tab = tabs[Math.floor(random() * 3)] as Tab;
        await tab.edit(spaces[random() < 0.3 ? 1 : 0] as string);
        if (random() < 0.1) tab.breakSocket();
        if (random() < 0.3) await pause(random() * 60);
      }
      for (const tab of tabs) tab.faults = 0;
      for (let round = 0; round < 2; round += 1) for (const { device } of tabs) await device.now();
      for (const space of spaces) {
        const [first, ...others] = tabs.map(({ store }) => store.state(space));
        for (const other of others) assert.deepEqual(other, first);
        const made = tabs.reduce((sum, { added }) => sum + (added[space] ?? 0), 0);
        assert.deepEqual(first?.find(([key]) => key === "n count")?.[1] ?? { n: 0 }, { n: made });
        const pending = tabs.map(({ device }) => device.status(space)?.pending);
        assert.deepEqual(pending, [0, 0, 0]);
      }
      // Every conflict that stands in the space is shown by the device whose edit it is.
      const open = tabs[0]?.store.state("~").filter(([key]) => key.startsWith("$conflicts")).map(([key]) => key.slice(11)) ?? [];
      const notes = tabs.flatMap(({ store }) => [...store.notes.rows.values()]);
      for (const id of open) assert.ok(notes.some((note) => note.kind === "conflict" && note.conflict === id), `conflict ${id} is shown`);
      assert.deepEqual(tabs.flatMap(({ logs }) => logs), []);
      for (const { device } of tabs) device.stop();
    });
  }
});
