// The simplest sync over KV: a pointer with the version, and a snapshot under that version. A poll reads the pointer, a pull of
// anything new the snapshot too, and a push writes both. Two that push at once lose one of the two edits, and KV takes one write a
// second to a key: this is the design that a KV-first backend is compared with, not one to deploy.
import { since } from "./changes.mjs";

const read = async (env, space) => {
  const version = Number((await env.KV.getWithMetadata(`${space}/pointer`)).value ?? 0);
  return version;
};

const snapshot = async (env, space, version) => (version === 0 ? [] : (await env.KV.getWithMetadata(`${space}/at/${version}`, "json")).value);

export default {
  async pull(env, space, from) {
    const version = await read(env, space);
    return version === from ? { version, changes: [] } : { version, changes: since(await snapshot(env, space, version), from) };
  },

  async push(env, space, records) {
    const before = await read(env, space);
    const version = before + 1;
    const all = new Map((await snapshot(env, space, before)).map((record) => [record.id, record]));
    for (const record of records) all.set(record.id, { ...record, version });
    await env.KV.put(`${space}/at/${version}`, JSON.stringify([...all.values()]), { expirationTtl: 86_400 });
    await env.KV.put(`${space}/pointer`, String(version));
    return { version };
  },
};
