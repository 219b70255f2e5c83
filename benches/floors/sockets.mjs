// Floor (d): a Durable Object that does a push's work over hibernating sockets and nothing else: it parses the message, writes the
// record and the client's number, and answers when both are durable, many pushes to a commit. No token, no conflicts, no news.
import { DurableObject } from "cloudflare:workers";

export class Store extends DurableObject {
  constructor(state, env) {
    super(state, env);
    this.sql = state.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, version INTEGER, value TEXT) WITHOUT ROWID");
    this.sql.exec("CREATE TABLE IF NOT EXISTS clients (id TEXT PRIMARY KEY, last INTEGER) WITHOUT ROWID");
    this.version = this.sql.exec("SELECT coalesce(max(version), 0) AS version FROM records").one().version;
  }

  async fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client, headers: { "sec-websocket-protocol": "headwater.v1" } });
  }

  webSocketMessage(socket, text) {
    const { n, body } = JSON.parse(text);
    const { id, changes } = body.mutations[0];
    const version = ++this.version;
    this.sql.exec(
      "INSERT INTO records VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET version = ?2, value = ?3",
      changes[0].id,
      version,
      JSON.stringify(changes[0].value),
    );
    this.sql.exec("INSERT INTO clients VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET last = ?2", body.client, id);
    // The platform holds it back until what was written is durable.
    socket.send(`{"type":"answer","n":${n},"status":200,"body":{"version":${version},"results":[{"id":${id},"status":"applied"}]}}`);
  }
}

let id;

export default {
  fetch(request, env) {
    id ??= env.STORE.idFromName("bench");
    return env.STORE.get(id).fetch(request);
  },
};
