// A device with `dexie-cloud-addon` as it is published, for tests: a process of its own behind a line of its own.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { eventually } from "../runtime/harness.mjs";
import { Line } from "./line.mjs";

const PROCESS = fileURLToPath(new URL("process.mjs", import.meta.url));
/** How long a device may take for one thing, in ms: longer than the 20 s after which the addon repeats what failed. */
const PATIENCE_MS = 45_000;

export class Addon {
  /** What the addon has said on its console. */
  said = [];
  #waiting = new Map();
  #n = 0;
  #process;

  static async start(target, settings) {
    const addon = new Addon();
    addon.line = await new Line(target).start();
    addon.settings = settings;
    await addon.#start();
    return addon;
  }

  async #start() {
    this.#process = fork(PROCESS, { serialization: "advanced", stdio: ["ignore", "pipe", "pipe", "ipc"] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on("data", (text) => this.said.push(String(text)));
    const begun = this.#answer(0, "starting");
    this.#process.on("message", ({ n, value, error }) => {
      const { resolve, reject } = this.#waiting.get(n) ?? {};
      this.#waiting.delete(n);
      if (error) reject?.(new Error(error));
      else resolve?.(value);
    });
    this.#process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the device has ended: ${this.said.join("").slice(-2_000)}`));
    });
    await begun;
  }

  #answer(n, what) {
    const { promise, ...settle } = Promise.withResolvers();
    const late = () => settle.reject(new Error(`not within ${PATIENCE_MS} ms: ${what}\nThe addon said:\n${this.said.join("").slice(-3_000)}`));
    const timer = setTimeout(late, PATIENCE_MS);
    this.#waiting.set(n, settle);
    return promise.finally(() => clearTimeout(timer));
  }

  #ask(call, ...args) {
    this.#n += 1;
    this.#process.send({ n: this.#n, call, args });
    return this.#answer(this.#n, `${call} ${args[0] ?? ""}`);
  }

  /** Opens the database, again if it is open, with the settings it had and these besides. */
  async open(settings = {}) {
    Object.assign(this.settings, settings);
    const { space, ...rest } = this.settings;
    await this.#ask("open", { url: `${this.line.origin}/dexie${space ? `/${space}` : ""}`, ...rest });
    return this;
  }

  /** Waits until it has synced as its user. Addons of before are open earlier, when they have synced as nobody. */
  async signedIn() {
    await this.until((db) => db.cloud.persistedSyncState.value?.realms?.includes(db.cloud.currentUserId));
    return this;
  }

  /** Calls a function there with the database and these arguments. It sees nothing of the test around it. */
  run(action, ...args) {
    return this.#ask("run", String(action), ...args);
  }

  /** Sends what there is and takes what there is, and waits for it. */
  async sync() {
    await this.#ask("sync");
    return this;
  }

  /** Sends what there is, and waits until nothing is left to send. Where nothing is, nothing is asked. */
  push() {
    return this.run((db) => db.cloud.sync({ purpose: "push" }));
  }

  rows(table) {
    return this.run((db, table) => db.table(table).toArray(), table);
  }

  row(table, key) {
    return this.run((db, table, key) => db.table(table).get(key), table, key);
  }

  /** Waits until a function there, as for `run`, gives something true, and returns it. */
  until(condition, ...args) {
    const shown = () => `${condition} is true; the addon said: ${this.said.join("").slice(-1_000)}`;
    return eventually(shown, () => this.run(condition, ...args), PATIENCE_MS);
  }

  /** What the device keeps of the server: {serverRevision, realms, …}. */
  syncState() {
    return this.run((db) => db.cloud.persistedSyncState.value);
  }

  /** How many edits wait to be sent. */
  pending() {
    return this.run(async (db) => {
      const tables = db.tables.filter(({ name }) => /^\$.*_mutations$/.test(name));
      const counts = await Promise.all(tables.map((table) => table.count()));
      return counts.reduce((sum, one) => sum + one, 0);
    });
  }

  /** The requests to `sync` that the server has answered. */
  get syncs() {
    return this.line.of("sync");
  }

  stop() {
    this.#process.kill();
    this.line.stop();
  }
}

/** Fails unless all devices have the same rows in these tables, and says which differ. */
export async function assertSameRows(devices, tables) {
  for (const table of tables) {
    const [first, ...others] = await Promise.all(devices.map((device) => device.rows(table)));
    for (const [at, rows] of others.entries()) assert.deepEqual(rows, first, `${table} of device ${at + 2} is that of device 1`);
  }
}
