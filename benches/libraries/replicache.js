// Replicache keeps what it has pulled in memory and writes it to IndexedDB when the page has nothing to do. `shown_ms` is when a
// query has it, `ms` when the last write of the database was complete.
import { Replicache } from "replicache";

const QUIET_MS = 3000;

export async function load(url) {
  let written = 0;
  const begin = IDBDatabase.prototype.transaction;
  IDBDatabase.prototype.transaction = function transaction(...how) {
    const transaction = begin.apply(this, how);
    if (how[1] === "readwrite") transaction.addEventListener("complete", () => (written = performance.now()));
    return transaction;
  };
  const from = performance.now();
  const rep = new Replicache({ name: `replicache-${Math.random()}`, pullURL: `${url}/replicache`, pushURL: `${url}/none`, logLevel: "error", pullInterval: null });
  const rows = await new Promise((resolve) => {
    rep.subscribe(async (tx) => (await tx.scan({ prefix: "todos/" }).keys().toArray()).length, (count) => count > 0 && resolve(count));
  });
  const shownMs = performance.now() - from;
  let before;
  do {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  } while (written !== before);
  const bytes = await stored(rep.idbName);
  await rep.close();
  if (bytes < rows * 100) throw new Error(`${bytes} bytes are stored`);
  return { ms: written - from, shown_ms: shownMs, rows };
}

/** About how many bytes its chunks have, which hold many records each. */
function stored(name) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const reading = opening.result.transaction("chunks").objectStore("chunks").getAll();
      reading.onsuccess = () => resolve(JSON.stringify(reading.result).length);
    };
  });
}
