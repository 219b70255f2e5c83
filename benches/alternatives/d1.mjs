// One D1 database for all spaces: a row for each record, found by its space and version, and a row for each space's version.

const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS records (space TEXT, id TEXT, version INTEGER, value TEXT, PRIMARY KEY (space, id)) WITHOUT ROWID",
  "CREATE INDEX IF NOT EXISTS versions ON records (space, version)",
  "CREATE TABLE IF NOT EXISTS spaces (space TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID",
];
const PUT = `INSERT INTO records SELECT ?1, ?2, version, ?3 FROM spaces WHERE space = ?1
  ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value`;

export default {
  setUp: (env) => env.D1.batch(SCHEMA.map((text) => env.D1.prepare(text))),

  async pull(env, space, from) {
    const [{ results }] = await env.D1.batch([env.D1.prepare("SELECT version FROM spaces WHERE space = ?").bind(space)]);
    const version = results[0]?.version ?? 0;
    if (version === from) return { version, changes: [] };
    const [rows] = await env.D1.batch([env.D1.prepare("SELECT id, version, value FROM records WHERE space = ? AND version > ?").bind(space, from)]);
    return { version, changes: rows.results.map((row) => ({ ...row, value: JSON.parse(row.value) })) };
  },

  /** A batch is a transaction. */
  async push(env, space, records) {
    const next = "INSERT INTO spaces VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1 RETURNING version";
    const puts = records.map(({ id, value }) => env.D1.prepare(PUT).bind(space, id, JSON.stringify(value)));
    const [{ results }] = await env.D1.batch([env.D1.prepare(next).bind(space), ...puts]);
    return { version: results[0].version };
  },
};
