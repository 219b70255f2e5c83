// A space of Headwater as the bench sees it, a user's own or a shared one: a token, pushes that fill it, and what it has published.
import { createHash, createHmac } from "node:crypto";
import { once, header, request } from "./client.mjs";
import { secret } from "./runtime.mjs";

const ISSUER = "https://issuer.example";
const PUBLISH_LIMIT_MS = 30_000;

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(sub) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ iss: ISSUER, sub, iat: now, exp: now + 86_400 })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

// The scope in the keys of a private space, as kv-schema/README.md has it.
function scopeOf(sub) {
  const hash = createHash("sha256");
  for (const part of ["private space", ISSUER, sub]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(Buffer.byteLength(part)));
    hash.update(length).update(part);
  }
  return hash.digest("hex");
}

export class Space {
  constructor(runtime, sub, id) {
    this.runtime = runtime;
    this.sub = sub;
    this.id = id;
    this.authorization = `Bearer ${token(sub)}`;
    this.scope = scopeOf(sub);
    this.version = 0;
    this.epoch = undefined;
    this.next = 1;
  }

  // Makes the shared space of that id, with a user of each name, of whom the first owns it. Each has a grant to read it.
  static async shared(runtime, id, subs) {
    const users = subs.map((sub) => new Space(runtime, sub, id));
    const [owner, ...others] = users;
    await owner.#administer("PUT", "");
    for (const { sub } of others) await owner.#administer("PUT", `/members/${sub}`, { role: "writer" });
    for (const user of users) user.grant = (await user.#administer("POST", "/grant")).grant;
    return users;
  }

  async #administer(method, path, body) {
    const headers = { authorization: this.authorization, ...(body && { "content-type": "application/json" }) };
    const answer = await once(this.runtime.headwater, request(method, `/spaces/${this.id}${path}`, headers, body && JSON.stringify(body)));
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.head}\n${answer.body}`);
    return JSON.parse(answer.body);
  }

  #named(path) {
    return this.id === undefined ? path : `${path}${path.includes("?") ? "&" : "?"}space=${this.id}`;
  }

  get(path, headers = {}) {
    const grant = this.grant && { "headwater-grant": this.grant };
    return request("GET", this.#named(path), { authorization: this.authorization, ...grant, ...headers });
  }

  // A request whose body is compact, because that is what a client sends.
  push(body) {
    const headers = { authorization: this.authorization, "content-type": "application/json" };
    return request("POST", this.#named("/sync/push"), headers, JSON.stringify({ epoch: this.epoch, ...body }));
  }

  // Puts records as one client, 1,000 changes to a mutation and two mutations to a push, as the limits allow.
  async fill(records, collection = "places") {
    const changes = records.map(({ id, value }) => ({ op: "put", collection, id, value }));
    for (let at = 0; at < changes.length; at += 2000) {
      const mutations = [];
      for (let from = at; from < Math.min(at + 2000, changes.length); from += 1000) {
        mutations.push({ id: this.next++, at: Date.now(), base: 0, changes: changes.slice(from, from + 1000) });
      }
      const acked = mutations[0].id - 1;
      const answer = await once(this.runtime.headwater, this.push({ client: "c_filling", acked, mutations }));
      if (answer.status !== 200) throw new Error(`push: ${answer.head}\n${answer.body}`);
      const body = JSON.parse(answer.body);
      const refused = body.results.find((result) => result.status !== "applied");
      if (refused) throw new Error(`push: ${JSON.stringify(refused)}`);
      this.epoch = body.epoch;
      this.version = body.version;
    }
  }

  // Waits until the head in KV is the present version, then has the edge see it. Returns the keys of head and parts.
  async published() {
    const key = `v1/${this.scope}/head`;
    const until = Date.now() + PUBLISH_LIMIT_MS;
    let head;
    while (head?.version !== this.version) {
      if (Date.now() > until) throw new Error(`${key}: at ${head?.version}, waiting for ${this.version}`);
      await new Promise((later) => setTimeout(later, 100));
      const value = await this.runtime.value(key);
      if (value) head = JSON.parse(value.subarray(0, value.indexOf(10)));
    }
    const min = `${this.epoch}.${this.version}`;
    const seen = await once(this.runtime.headwater, this.get(`/sync/pull?epoch=${this.epoch}&since=${this.version}&min=${min}`));
    if (seen.status !== 200) throw new Error(`pull: ${seen.head}\n${seen.body}`);
    const parts = [head.delta, head.base].flatMap((run) => run?.parts ?? []);
    return [key, ...parts.map((part) => `v1/${this.scope}/o/${part.sha256}`)];
  }
}

// What an answer says it used. Each entry of Server-Timing is `name;desc="count"`.
const COUNTED = ["cache", "kv", "object", "rows_read", "rows_written"];

export class Used {
  constructor() {
    this.answers = 0;
    this.sources = {};
    this.counts = Object.fromEntries(COUNTED.map((name) => [name, 0]));
  }

  add(answer) {
    this.answers++;
    // A push does not say it: only the coordinator can answer one.
    const source = header(answer, "headwater-source") ?? "coordinator";
    this.sources[source] = (this.sources[source] ?? 0) + 1;
    for (const [, name, count] of (header(answer, "server-timing") ?? "").matchAll(/([a-z_]+);desc="(\d+)"/g)) {
      if (name in this.counts) this.counts[name] += Number(count);
    }
  }

  // Per request, and which layers answered.
  means() {
    const means = COUNTED.map((name) => [name, this.counts[name] / this.answers]);
    return { answers: this.answers, sources: this.sources, ...Object.fromEntries(means) };
  }
}
