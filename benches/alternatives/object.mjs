// One Durable Object per space with SQLite, which answers everything; and the same with the location's cache before it.

/** As long as Headwater takes what a location knows for new. */
const FRESH_MS = 30_000;

export class Store {
  #version;

  constructor(state) {
    this.storage = state.storage;
    this.sql = state.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID");
    this.sql.exec("CREATE INDEX IF NOT EXISTS versions ON records (version)");
    this.#version = this.sql.exec("SELECT max(version) AS version FROM records").one().version ?? 0;
  }

  async fetch(request) {
    const { from, records } = await request.json();
    return Response.json(records ? this.#push(records) : this.#pull(from));
  }

  #pull(from) {
    if (from === this.#version) return { version: from, changes: [] };
    const rows = [...this.sql.exec("SELECT id, version, value FROM records WHERE version > ?", from)];
    return { version: this.#version, changes: rows.map((row) => ({ ...row, value: JSON.parse(row.value) })) };
  }

  #push(records) {
    const version = this.#version + 1;
    this.storage.transactionSync(() => {
      for (const { id, value } of records) {
        this.sql.exec("INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value", id, version, JSON.stringify(value));
      }
    });
    this.#version = version;
    return { version };
  }
}

const ask = async (env, space, body) =>
  (await env.STORE.get(env.STORE.idFromName(space)).fetch("https://store/", { method: "POST", body: JSON.stringify(body) })).json();

export const object = {
  pull: (env, space, from) => ask(env, space, { from }),
  push: (env, space, records) => ask(env, space, { records }),
};

/** What has changed above a version is kept for whoever asks from there next. A reader may be shown what is half a minute old. */
export const cachedObject = {
  ...object,

  async pull(env, space, from) {
    const cache = await caches.open("alternatives");
    const key = `https://alternatives/${space}?from=${from}`;
    const known = await cache.match(key);
    if (known && Date.now() - Number(known.headers.get("at")) < FRESH_MS) return known.json();
    const answer = await object.pull(env, space, from);
    const headers = { "cache-control": `max-age=${FRESH_MS / 1000}`, at: String(Date.now()) };
    await cache.put(key, Response.json(answer, { headers }));
    return answer;
  },
};
