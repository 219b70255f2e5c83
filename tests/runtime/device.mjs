// A model of a client: it follows protocol.md, "What a client does with changes", and nothing else. It checks on every
// pull that its position never goes back (I3), so every test that pulls is a test of that.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { comparePositions } from "./published.mjs";

const JSON_TYPE = "application/json";
const PROBLEM_TYPE = "application/problem+json";
const NDJSON_TYPE = "application/x-ndjson";

/** The operations an answer says it used: `kv;desc="1", rows_read;desc="12"` → `{kv: 1, rows_read: 12}`. */
export function usedBy(response) {
  const entries = (response.headers.get("server-timing") ?? "").matchAll(/([\w-]+)(?:;[^,]*?)?;desc="?(\d+)"?/g);
  return Object.fromEntries([...entries].map(([, name, number]) => [name, Number(number)]));
}

export class Device {
  epoch = null;
  version = 0;
  min = null;
  next = 1;
  records = new Map();

  constructor(runtime, { sub, token, at = "home", id = `c_${randomBytes(6).toString("hex")}` }) {
    Object.assign(this, { runtime, sub, token, at, id });
  }

  get position() {
    return this.epoch && `${this.epoch}.${this.version}`;
  }

  /** One request with this user's token; the answer with its body as text, parsed if it is JSON. */
  async ask(path, { headers = {}, at = this.at, ...init } = {}) {
    const authorization = `Bearer ${this.token}`;
    const response = await this.runtime.fetch(at, path, { ...init, headers: { authorization, ...headers } });
    const text = await response.text();
    const type = response.headers.get("content-type")?.split(";")[0];
    const isJson = text !== "" && (type === JSON_TYPE || type === PROBLEM_TYPE);
    return { status: response.status, response, text, body: isJson ? JSON.parse(text) : null, used: usedBy(response) };
  }

  /** Sends a push body as it is. */
  async post(body, options = {}) {
    const headers = { "content-type": JSON_TYPE, ...options.headers };
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return this.ask("/sync/push", { ...options, method: "POST", headers, body: text });
  }

  /** The open conflicts, page by page, with how many pages that took. */
  async conflicts() {
    const all = [];
    for (let [cursor, pages] = [null, 1]; ; pages += 1) {
      const { status, body, text } = await this.ask(`/sync/conflict${cursor ? `?cursor=${cursor}` : ""}`);
      assert.equal(status, 200, text);
      assert.equal(body.more, body.cursor !== null);
      assert.ok(body.conflicts.length > 0 || !body.more, "a page that says more has something");
      all.push(...body.conflicts);
      if (!body.more) return { conflicts: all, pages };
      cursor = body.cursor;
    }
  }

  /** Resolves as this device's next mutation and returns its result. */
  async resolve(resolutions, envelope = {}) {
    const epoch = this.epoch ?? this.min?.split(".")[0];
    const body = JSON.stringify({ client: this.id, ...(epoch && { epoch }), id: this.next, ...envelope, resolutions });
    const headers = { "content-type": JSON_TYPE };
    const answer = await this.ask("/sync/conflict", { method: "POST", headers, body });
    assert.equal(answer.status, 200, answer.text);
    this.next += 1;
    this.#learn(`${answer.body.epoch}.${answer.body.version}`);
    return answer.body.results[0];
  }

  /** Pushes mutations, each `{changes, …}`, numbered by this device. Numbers are used up only by a 200. */
  async pushMutations(mutations, envelope = {}) {
    const numbered = mutations.map((mutation, at) => ({ id: this.next + at, ...mutation }));
    const epoch = this.epoch ?? this.min?.split(".")[0];
    const body = { client: this.id, ...(epoch && { epoch }), ...envelope, mutations: numbered };
    const answer = await this.post(body);
    if (answer.status === 200) {
      this.next += mutations.length;
      this.#learn(`${answer.body.epoch}.${answer.body.version}`);
    }
    return answer;
  }

  /** Pushes one mutation and returns its result. */
  async push(changes, { envelope, ...mutation } = {}) {
    const { status, body, text } = await this.pushMutations([{ ...mutation, changes }], envelope);
    assert.equal(status, 200, text);
    return body.results[0];
  }

  /** Pushes many records in few requests of many small mutations: `entries` are `[id, value]`. */
  async load(collection, entries) {
    const changes = entries.map(([id, value]) => ({ op: "put", collection, id, value }));
    for (const batch of cut(changes, 1_500_000, 1500)) {
      const mutations = cut(batch, 40_000, 50).map((some) => ({ changes: some }));
      // On a busy machine the runtime may be held for the 5 s after which it closes a connection: a client repeats the push.
      const { status, body, text } = await this.pushMutations(mutations).catch(() => this.pushMutations(mutations));
      assert.equal(status, 200, text);
      for (const result of body.results) assert.equal(result.status, "applied");
    }
  }

  #learn(position) {
    if (!this.min || comparePositions(position, this.min) > 0) this.min = position;
  }

  /** The fields of a pull from where this device is. */
  query({ since = this.version, min = this.min, ...rest } = {}) {
    const fields = { epoch: this.epoch, since: since || null, min, ...rest };
    return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));
  }

  async askPull(fields, { method = "GET", accept = JSON_TYPE, at, headers = {} } = {}) {
    const all = { accept, ...headers };
    if (method === "GET") return this.ask(`/sync/pull?${new URLSearchParams(fields)}`, { at, headers: all });
    const body = JSON.stringify(fields);
    return this.ask("/sync/pull", { at, method, body, headers: { ...all, "content-type": JSON_TYPE } });
  }

  /** Pulls in JSON pages until the last, and returns what that took. */
  async pull(options = {}) {
    const took = { pages: 0, changes: 0, resets: 0, sources: [], used: {} };
    for await (const { body, response, used } of this.pages(options)) {
      took.pages += 1;
      took.changes += body?.changes.length ?? 0;
      took.resets += body?.reset ? 1 : 0;
      took.sources.push(response.headers.get("headwater-source"));
      for (const [name, number] of Object.entries(used)) took.used[name] = (took.used[name] ?? 0) + number;
    }
    return took;
  }

  /** The pages of one pull; what they brought counts when the last one has been taken. */
  async *pages({ method, accept, headers, ...fields } = {}) {
    const staged = new Staged(this, fields);
    for (let cursor = null, attempts = 0; ; ) {
      const answer = await this.askPull(this.query({ ...fields, cursor }), { method, accept, headers });
      if (answer.status === 304) return yield answer;
      if (answer.status === 429) {
        await sleep(answer.body.retryAfter * 1000);
        continue;
      }
      if (answer.status === 410 && cursor && (attempts += 1) < 3) {
        staged.restart();
        cursor = null;
        fields.consistency = "strong";
        continue;
      }
      assert.equal(answer.status, 200, answer.text);
      staged.begin(answer.body);
      for (const change of answer.body.changes) staged.apply(change);
      yield answer;
      if (!answer.body.more) return staged.commit(answer.body);
      assert.ok(answer.body.cursor, "a page that says more has a cursor");
      cursor = answer.body.cursor;
    }
  }

  /**
   * Pulls as NDJSON. `cutAt` ends each connection after that many cursor lines, as a bad network would; `onCut` happens
   * before the next.
   */
  async stream({ cutAt = Infinity, onCut, ...fields } = {}) {
    const staged = new Staged(this, fields);
    const took = { connections: 0, lines: 0, cursors: [], objects: [], sources: [], resets: 0, responses: [] };
    for (let cursor = null; took.connections < 50; ) {
      took.connections += 1;
      const stop = new AbortController();
      const query = new URLSearchParams(this.query({ ...fields, cursor }));
      const headers = { authorization: `Bearer ${this.token}`, accept: NDJSON_TYPE };
      let response;
      try {
        response = await this.runtime.fetch(this.at, `/sync/pull?${query}`, { headers, signal: stop.signal });
      } catch (error) {
        // The runtime has closed the connection that the request was to go by: the one before broke on it.
        if (error.cause?.code !== "UND_ERR_SOCKET") throw error;
        continue;
      }
      assert.equal(response.status, 200, response.status === 200 ? "" : await response.text());
      assert.equal(response.headers.get("content-type")?.split(";")[0], NDJSON_TYPE);
      took.responses.push(response);
      took.sources.push(response.headers.get("headwater-source"));
      let [cursors, ended, part] = [0, null, null];
      try {
        for await (const line of linesOf(response.body)) {
          const message = JSON.parse(line);
          if (message.object) {
            part = { ...message.object, left: message.object.bytes, hash: createHash("sha256") };
            took.objects.push(part);
            continue;
          }
          if (part?.left > 0) {
            part.hash.update(`${line}\n`);
            part.left -= Buffer.byteLength(line) + 1;
            if (part.left <= 0) assert.deepEqual([part.left, part.hash.digest("hex")], [0, part.sha256], "I6: an object is what it is named");
          }
          took.lines += 1;
          if (message.end) ended = message;
          else if (message.cursor) {
            cursor = message.cursor;
            took.cursors.push(cursor);
            if ((cursors += 1) >= cutAt) break;
          } else if (message.collection !== undefined) staged.apply(message);
          else {
            staged.begin(message);
            took.resets += message.reset ? 1 : 0;
          }
        }
      } catch (error) {
        // A broken connection is what cursors are for; anything else is a failure of the test.
        if (error instanceof assert.AssertionError || error instanceof SyntaxError) throw error;
      }
      stop.abort();
      if (ended) {
        staged.commit(ended);
        return took;
      }
      if (!cursor) staged.restart();
      await onCut?.(took.connections);
    }
    return assert.fail("the stream did not come to its end in 50 connections");
  }

  /** Applies the changes of a push answer, which are a pull from `since` to its version. */
  applyPushAnswer(body) {
    assert.equal(body.more, false);
    const staged = new Staged(this, {});
    staged.begin(body);
    for (const change of body.changes) staged.apply(change);
    staged.commit(body);
  }

  /** The synced records in an order that does not depend on how they came. */
  state() {
    return [...this.records].map(([key, { value }]) => [key, value]).toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}

/** Slices of a list of changes, each of about so many bytes and at most so many changes. */
function cut(changes, bytesMax, countMax) {
  const slices = [[]];
  let bytes = 0;
  for (const change of changes) {
    if (bytes > bytesMax || slices.at(-1).length === countMax) {
      slices.push([]);
      bytes = 0;
    }
    slices.at(-1).push(change);
    bytes += JSON.stringify(change).length;
  }
  return slices;
}

async function* linesOf(body) {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines;
  }
  // What follows the last line feed is a line cut in the middle: not to be used.
}

/** What one pull has brought so far. The device keeps its old state until the last page. */
class Staged {
  constructor(device, { min = device.min, since = device.version, consistency = "session" }) {
    Object.assign(this, { device, min, since, consistency });
    this.restart();
  }

  restart() {
    this.isReset = false;
    this.begun = false;
    this.records = new Map(this.device.records);
  }

  begin({ epoch, reset }) {
    if (this.device.epoch && epoch !== this.device.epoch && !this.isReset) {
      assert.ok(reset, `an answer of epoch ${epoch} to a client of epoch ${this.device.epoch} says reset`);
    }
    if (reset) {
      this.records = new Map();
      this.isReset = true;
    }
    this.begun = true;
  }

  apply({ version, collection, id, value, deleted }) {
    assert.ok(this.begun, "a change came before the first line");
    if (!this.isReset && version <= this.since) return;
    const key = `${collection} ${id}`;
    if (deleted) this.records.delete(key);
    else this.records.set(key, { version, value });
  }

  commit({ epoch, version }) {
    const { device } = this;
    const position = `${epoch}.${version}`;
    if (device.epoch) {
      assert.ok(comparePositions(position, device.position) >= 0, `I3: from ${device.position} back to ${position}`);
    }
    if (this.min && this.consistency !== "eventual") {
      const min = String(this.min).includes(".") ? this.min : `${epoch}.${this.min}`;
      assert.ok(comparePositions(position, min) >= 0, `I3: ${position} is below min ${min}`);
    }
    Object.assign(device, { epoch, version, records: this.records });
  }
}
