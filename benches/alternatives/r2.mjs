// One R2 object per space, which readers get by a public address through the CDN. A push reads it, changes it, and writes it if nobody
// else has. What the CDN has costs nothing; what it asks R2 for is one read, and passes no Worker. Whoever knows the address can read.
import { since } from "./changes.mjs";

const EMPTY = { version: 0, records: [] };
const ATTEMPTS = 5;

export default {
  /** A reader that asks for what it has gets a 304 from the CDN; the rest is cut out of the whole by the client. */
  async pull(env, space, from) {
    const { version, records } = await (await env.R2.get(space))?.json() ?? EMPTY;
    return { version, changes: since(records, from) };
  },

  async push(env, space, records) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const found = await env.R2.get(space);
      const { version: before, records: old } = found ? await found.json() : EMPTY;
      const version = before + 1;
      const all = new Map(old.map((record) => [record.id, record]));
      for (const record of records) all.set(record.id, { ...record, version });
      const onlyIf = found ? { etagMatches: found.etag } : undefined;
      if (await env.R2.put(space, JSON.stringify({ version, records: [...all.values()] }), { onlyIf })) return { version };
    }
    throw new Error("others write all the time");
  },
};
