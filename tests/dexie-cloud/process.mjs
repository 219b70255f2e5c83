// One device in a process of its own, with an IndexedDB that lives as long as the process: what fork.mjs tells it, it does.

import "fake-indexeddb/auto";
import { knows, usePackages } from "./packages.mjs";

// What the addon expects of a browser and Node has not.
const events = new EventTarget();
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) globalThis[name] = events[name].bind(events);
globalThis.self = globalThis;
Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });

usePackages();
const { Dexie, add, remove, replacePrefix } = await import("dexie");
const { openCloud } = await import("./open.mjs");
// For the functions that tests send here.
Object.assign(globalThis, { Dexie, add, remove, replacePrefix });

/** What a schema with documents needs besides; addons of before have none. */
async function documentsOfYjs() {
  const [{ default: yDexie, DexieYProvider }, Y] = [await import("y-dexie"), await import("yjs")];
  Object.assign(globalThis, { DexieYProvider, Y });
  return [yDexie];
}

let db = null;
const calls = {
  async open({ documents = false, ...settings }) {
    db?.close();
    db = await openCloud({ ...settings, ...(documents && { addons: await documentsOfYjs() }) });
  },
  async sync() {
    // The addon takes for the end of this sync the first time of one that it has not heard of yet, so it has to know of all before.
    const { timestamp = 0 } = (await db.table("$syncState").get("syncState")) ?? {};
    while ((db.cloud.persistedSyncState.value?.timestamp ?? 0) < timestamp) await new Promise((resolve) => setTimeout(resolve, 5));
    const again = knows.everyPull ? null : setInterval(() => db.cloud.sync({ purpose: "pull", wait: false }), 2_000);
    await db.cloud.sync({ purpose: "pull", wait: true }).finally(() => clearInterval(again));
  },
  run: (text, ...args) => (0, eval)(`(${text})`)(db, ...args),
};

process.on("message", async ({ n, call, args }) => {
  try {
    process.send({ n, value: await calls[call](...args) });
  } catch (error) {
    process.send({ n, error: `${error?.stack ?? error}` });
  }
});
process.on("unhandledRejection", (error) => console.error("unhandled:", error));
process.send({ n: 0, value: null });
