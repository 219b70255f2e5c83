// PouchDB with the adapter for IndexedDB that it takes by itself.
import PouchDB from "pouchdb-browser";

// Its default is 100, with which it is slower.
const BATCH = 1000;

export async function load(url) {
  const from = performance.now();
  const db = new PouchDB(`pouchdb-${Math.random()}`);
  await db.replicate.from(`${url}/couchdb`, { batch_size: BATCH });
  const ms = performance.now() - from;
  const { doc_count: rows } = await db.info();
  await db.destroy();
  return { ms, rows };
}
