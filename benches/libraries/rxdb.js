// RxDB with its free storage for IndexedDB, which is made of Dexie.
import { createRxDatabase } from "rxdb/plugins/core";
import { replicateRxCollection } from "rxdb/plugins/replication";
import { getRxStorageDexie } from "rxdb/plugins/storage-dexie";

const schema = {
  version: 0, primaryKey: "id", type: "object", indexes: ["done"], required: ["id", "done"],
  properties: {
    id: { type: "string", maxLength: 100 }, title: { type: "string" }, done: { type: "number", minimum: 0, maximum: 1, multipleOf: 1 },
    due: { type: "string" }, tags: { type: "array", items: { type: "string" } }, meta: { type: "object" },
  },
};
// Its default is 100, with which it is much slower.
const BATCH = 1000;

export async function load(url) {
  const from = performance.now();
  const db = await createRxDatabase({ name: `rxdb-${Math.random()}`, storage: getRxStorageDexie(), multiInstance: false });
  const { todos } = await db.addCollections({ todos: { schema } });
  const pull = {
    batchSize: BATCH,
    async handler(checkpoint, limit) {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${url}/rxdb`, { method: "POST", headers, body: JSON.stringify({ ...checkpoint, limit }) });
      return answer.json();
    },
  };
  const replication = replicateRxCollection({ collection: todos, replicationIdentifier: "bench", live: false, pull });
  await replication.awaitInitialReplication();
  const ms = performance.now() - from;
  const rows = await todos.count().exec();
  await db.remove();
  return { ms, rows };
}
