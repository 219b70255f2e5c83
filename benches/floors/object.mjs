// Floor (c): a Durable Object that stores and selects with SQLite and nothing else: one upsert and one select for each
// push, no token, no numbering, no conflicts, no publication. The Worker passes the body on unread.
import { DurableObject } from "cloudflare:workers";

export class Store extends DurableObject {
  constructor(state, env) {
    super(state, env);
    this.sql = state.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, version INTEGER, value TEXT) WITHOUT ROWID");
    this.version = this.sql.exec("SELECT coalesce(max(version), 0) AS version FROM records").one().version;
  }

  async fetch(request) {
    const { mutations } = await request.json();
    const { id, value } = mutations[0].changes[0];
    this.sql.exec(
      "INSERT INTO records VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET version = ?2, value = ?3",
      id,
      ++this.version,
      JSON.stringify(value),
    );
    const [row] = this.sql.exec("SELECT version FROM records WHERE id = ?", id);
    return new Response(`{"version":${row.version}}`);
  }
}

// Names are hashed into ids, so once is enough.
let id;

export default {
  fetch(request, env) {
    id ??= env.STORE.idFromName("bench");
    return env.STORE.get(id).fetch(request);
  },
};
