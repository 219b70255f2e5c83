// The other side of each library, as small as its protocol allows, over records in memory. Nothing is written or checked; a first
// load needs no more.
import { createServer } from "node:http";

const OWNER = "alice";

const read = async (request) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text === "" ? {} : JSON.parse(text);
};

/** Pages by primary key, as RxDB's documentation has it for replication over HTTP. */
function rxdb(rows) {
  return ({ after = "", limit }) => {
    const from = rows.findIndex(({ id }) => id > after);
    const documents = from < 0 ? [] : rows.slice(from, from + limit).map((row) => ({ ...row, _deleted: false }));
    return { documents, checkpoint: { after: documents.at(-1)?.id ?? after } };
  };
}

/** The part of CouchDB's protocol that a pull uses. */
function couchdb(rows) {
  const rev = `1-${"0".repeat(32)}`;
  const docs = new Map(rows.map(({ id, ...value }) => [id, { _id: id, _rev: rev, ...value, _revisions: { start: 1, ids: [rev.slice(2)] } }]));
  const changes = rows.map(({ id }, at) => ({ seq: at + 1, id, changes: [{ rev }] }));
  return {
    "": () => ({ db_name: "todos", update_seq: rows.length, doc_count: rows.length, instance_start_time: "0" }),
    _local: (_, __, { method }) => (method === "GET" ? null : { ok: true, id: "_local/x", rev: "0-1" }),
    _changes(_, { searchParams }) {
      const [since, limit] = [Number(searchParams.get("since") ?? 0), Number(searchParams.get("limit") ?? rows.length)];
      const results = changes.slice(since, since + limit);
      return { results, last_seq: results.at(-1)?.seq ?? since, pending: rows.length - since - results.length };
    },
    _bulk_get: ({ docs: asked }) => ({ results: asked.map(({ id }) => ({ id, docs: [{ ok: docs.get(id) }] })) }),
  };
}

/** One answer with everything, as Dexie Cloud gives to a device that has nothing. */
const dexieCloud = (rows) => () => ({
  serverRevision: "1", dbId: "todos", realms: [OWNER], inviteRealms: [], schema: { todos: { markedForSync: true } }, rejections: [], yMessages: [],
  changes: [{ table: "todos", muts: [{ type: "upsert", keys: rows.map(({ id }) => id), values: rows.map((row) => ({ ...row, owner: OWNER, realmId: OWNER })) }] }],
});

const replicache = (rows) => ({ cookie }) => ({
  cookie: 1, lastMutationIDChanges: {},
  patch: cookie === null ? [{ op: "clear" }, ...rows.map(({ id, ...value }) => ({ op: "put", key: `todos/${id}`, value }))] : [],
});

/** Starts it over rows that have an `id`. */
export async function startServer(rows) {
  const couch = couchdb(rows);
  const posts = { "/rxdb": rxdb(rows), "/dexie-cloud/sync": dexieCloud(rows), "/replicache": replicache(rows) };
  const server = createServer(async (request, answer) => {
    const { origin = "*" } = request.headers;
    answer.setHeader("access-control-allow-origin", origin).setHeader("access-control-allow-credentials", "true").setHeader("access-control-max-age", "7200");
    answer.setHeader("access-control-allow-headers", request.headers["access-control-request-headers"] ?? "").setHeader("access-control-allow-methods", "GET, POST, PUT");
    if (request.method === "OPTIONS") return answer.writeHead(204).end();
    const url = new URL(request.url, "http://server");
    const [, first, second = ""] = url.pathname.split("/");
    const handler = first === "couchdb" ? couch[second] : posts[url.pathname];
    const told = handler ? handler(await read(request), url, request) : null;
    answer.writeHead(told ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(told ?? { error: "not_found", reason: "missing" }));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}
