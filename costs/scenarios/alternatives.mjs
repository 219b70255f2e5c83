// The same pushes and pulls by the alternatives in benches/alternatives, which are as small as they can honestly be.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { root } from "../../scripts/setup.mjs";
import { used } from "../stage.mjs";

const N = 4;
const RECORDS = 20;
const SIZES = { "20_kib": 20, "1_mib": 1024, "4_mib": 4096 };
/** Values of so many bytes make records of about a kibibyte. */
const VALUE_BYTES = 960;
const NAMES = ["kv_naive", "object_only", "object_cache", "d1", "r2_cdn"];

async function start() {
  const miniflare = new Miniflare({
    cf: false,
    modules: true,
    modulesRoot: root,
    scriptPath: join(root, "benches/alternatives/counted.mjs"),
    modulesRules: [{ type: "ESModule", include: ["**/*.mjs"] }],
    compatibilityDate: "2026-07-01",
    kvNamespaces: ["KV"],
    r2Buckets: ["R2"],
    d1Databases: ["D1"],
    durableObjects: { STORE: { className: "Store", useSQLite: true } },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  });
  await miniflare.ready;
  return { miniflare, url: (await miniflare.unsafeGetDirectURL()).origin };
}

const put = (at, bytes = 200) => ({ id: `r${at}`, value: { s: `${at} `.repeat(bytes).slice(0, bytes) } });

class Client {
  version = 0;

  constructor(url, name, space) {
    Object.assign(this, { url, name, space });
  }

  async #ask(body, prefix = "") {
    const response = await fetch(`${this.url}${prefix}/${this.name}/${this.space}`, { method: "POST", body: JSON.stringify(body) });
    assert.equal(response.status, 200, `${this.name}: ${response.status}`);
    return response.json();
  }

  push(...records) {
    return this.#ask({ records });
  }

  async pull(expected, from = this.version) {
    const { version, changes } = await this.#ask({ from }, this.name === "r2_cdn" ? "/cdn" : "");
    assert.equal(changes.length, expected);
    this.version = version;
  }
}

async function countAll(url, name) {
  const results = {};
  const counts = async () => (await (await fetch(`${url}/__counts`)).json()).counts;
  const client = (space) => new Client(url, name, space);
  const count = async (id, n, work, prepare = () => {}) => {
    let total = {};
    for (let at = 0; at < n; at += 1) {
      await prepare(at);
      const before = await counts();
      await work(at);
      for (const [key, value] of Object.entries(used(before, await counts()))) total = { ...total, [key]: (total[key] ?? 0) + value };
    }
    results[`${name}.${id}`] = { n, used: total };
  };
  await client("set-up").push();
  const [writer, reader] = [client("space"), client("space")];
  await writer.push(...Array.from({ length: RECORDS }, (_, at) => put(at)));
  await count("push", N, (at) => writer.push(put(1, 100 + at)));
  await count("push.of_three_edits", N, (at) => writer.push(put(1, 50 + at), put(2, 50 + at), put(3, 50 + at)));
  await reader.pull(RECORDS);
  // Where there is a cache, the first of these asks beyond it.
  await count("pull.nothing", 1, () => reader.pull(0));
  if (name === "object_cache") await count("pull.cache", N, () => reader.pull(0));
  // A reader may be shown for a while what a cache has for its version, so it is one that nobody has asked from.
  reader.version = (await writer.push(put(5))).version;
  await count("pull.change", N, () => reader.pull(1), (at) => writer.push(put(4, 100 + at)));
  for (const [size, records] of Object.entries(SIZES)) {
    const filled = client(`filled-${size}`);
    for (let from = 0; from < records; from += 1024) {
      await filled.push(...Array.from({ length: Math.min(1024, records - from) }, (_, at) => put(from + at, VALUE_BYTES)));
    }
    await count(`load.${size}`, 1, () => client(`filled-${size}`).pull(records));
  }
  return results;
}

/** What each alternative uses, by `<alternative>.<path>`. */
export async function alternatives() {
  const { miniflare, url } = await start();
  try {
    const results = {};
    for (const name of NAMES) Object.assign(results, await countAll(url, name));
    return results;
  } finally {
    await miniflare.dispose();
  }
}
