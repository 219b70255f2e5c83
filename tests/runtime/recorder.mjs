// Clients that write down what they do and see (history.mjs), over a network that loses answers, breaks off requests and
// repeats them. Each has an outbox, as a real one has: what was not answered is sent again under the same numbers.

import assert from "node:assert/strict";
import { Device } from "./device.mjs";

const PROBE = 1_000_000_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The Worker was not there, or said that it could not: nobody knows what became of the request. */
export class Unanswered extends Error {}

/** Does it again until it is answered. */
export async function retried(attempt) {
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Unanswered) || attempts === 1000) throw error;
      await pause(20);
    }
  }
}

/** The runtime as clients reach it: whatever is not an answer of the Worker is `Unanswered`. */
class Network {
  constructor(runtime) {
    this.runtime = runtime;
  }

  async fetch(at, path, init) {
    try {
      const response = await this.runtime.fetch(at, path, init);
      // The body too, because it is cut off when the runtime is killed.
      const body = await response.arrayBuffer();
      if (response.status >= 500) throw new Unanswered(`${response.status} ${new TextDecoder().decode(body)}`);
      return new Response(response.status === 304 ? null : body, response);
    } catch (error) {
      throw error instanceof Unanswered ? error : new Unanswered(String(error.cause ?? error), { cause: error });
    }
  }
}

const KEYS = 8;
const COUNTS = "counts";
const BULK_RECORDS = 500;
const BULK_BYTES = 900;
const FATES = ["drop", "break off", "lose", "repeat", "repeat later"];
const POLICIES = ["reject", "merge", "overwrite"];

/**
 * One client of one space. It does one thing at a time. `faults`: how often the network fails it, from 0 to 1; `bulk`:
 * how often a mutation is of many kilobytes.
 */
export class Client {
  acknowledged = 0;
  counted = 0; // those of them that took effect, as far as this client was told
  #outbox = [];
  #next = 1;
  #acked = 0;

  constructor(runtime, history, { sub, random, faults = 0, bulk = 0, locations = runtime.locations }) {
    const id = `c_${Math.floor(random() * 36 ** 8).toString(36).padStart(8, "0")}`;
    const token = runtime.token(sub);
    this.device = new Device(new Network(runtime), { sub, token, id });
    Object.assign(this, { history, random, faults, bulk, locations, id });
    this.onConflict = POLICIES[this.#below(3)];
  }

  #below(n) {
    return Math.floor(this.random() * n);
  }

  #pick(list) {
    return list[this.#below(list.length)];
  }

  get isWaiting() {
    return this.#outbox.length > 0;
  }

  /** Does one random thing. Throws `Unanswered` when it does not know how that ended. */
  async step() {
    this.device.at = this.#pick(this.locations);
    if (this.isWaiting || this.#below(5) < 3) return this.push();
    return this.pull({ consistency: this.#pick(["session", "session", "session", "strong", "eventual"]) });
  }

  /** Pushes what is in the outbox, and something new now and then. */
  async push({ create = true } = {}) {
    if (create && (!this.isWaiting || this.#below(3) === 0)) {
      for (let count = 1 + this.#below(3); count > 0; count -= 1) this.#outbox.push(this.#mutation());
    }
    const { device, history } = this;
    const epoch = device.epoch ?? device.min?.split(".")[0];
    const since = epoch && this.#below(2) ? { since: device.version } : {};
    const mutations = [...this.#outbox];
    const body = { ...this.#envelope(), ...(epoch && { epoch }), ...since, mutations };
    history.sends(this.id, this.onConflict, mutations, this.#acked);
    const answer = await this.#send(body);
    this.#settle(answer.body);
    if (since.since !== undefined && !answer.body.more) {
      device.applyPushAnswer(answer.body);
      this.#read({});
    }
  }

  #envelope() {
    return { client: this.id, acked: this.#acked, onConflict: this.onConflict };
  }

  /** One push over a bad network. Gives the answer, or throws `Unanswered` when the client does not get it. */
  async #send(body) {
    const fate = this.random() < this.faults ? this.#pick(FATES) : "deliver";
    if (fate === "drop") throw new Unanswered("the request was lost");
    const options = fate === "break off" ? { signal: AbortSignal.timeout(1 + this.#below(12)) } : {};
    const sent = this.device.post(body, options);
    if (fate === "repeat") this.#repeat(body);
    const answer = await sent;
    if (fate === "lose") throw new Unanswered("the answer was lost");
    assert.equal(answer.status, 200, answer.text);
    if (fate === "repeat later") this.repeated = pause(this.#below(300)).then(() => this.#repeat(body));
    this.history.answers(this.id, answer.body);
    return answer;
  }

  // The network's own doing: the client knows nothing of it. What such a push is told must be the same all the same.
  #repeat(body) {
    const answered = this.device.post(body).then(
      ({ status, body: answer }) => status === 200 && this.history.answers(this.id, answer),
      (error) => assert.ok(error instanceof Unanswered, error),
    );
    this.repeated = Promise.all([this.repeated, answered]);
    return answered;
  }

  #settle({ epoch, version, results }) {
    const told = this.#outbox.splice(0, results.length);
    const isCounted = ({ changes }) => changes.some(({ collection }) => collection === COUNTS);
    this.acknowledged += results.length;
    this.counted += results.filter(({ status }, at) => status === "applied" && isCounted(told[at])).length;
    this.#acked = results.at(-1)?.id ?? this.#acked;
    this.device.min = `${epoch}.${version}`;
  }

  async pull(fields) {
    const asked = this.history.asks(this.id);
    const min = this.device.min ? Number(this.device.min.split(".")[1]) : 0;
    if (this.#below(3) === 0) await this.device.stream(fields);
    else await this.device.pull({ ...fields, method: this.#pick(["GET", "POST"]) });
    // A client that has had no answer yet, and is told nothing, has no state.
    if (this.device.epoch) this.#read({ asked, min, ...fields });
  }

  #read(fields) {
    const { epoch, version, records } = this.device;
    this.history.reads(this.id, { ...fields, epoch, version, records });
  }

  /** Sends again until it knows of everything how it ended. */
  async empty() {
    this.faults = 0;
    while (this.isWaiting) await retried(() => this.push({ create: false }));
    await this.repeated;
  }

  /** The last number that the coordinator has settled for this client; asking changes nothing. */
  async lastSettled() {
    const { status, body, text } = await this.device.post({ client: this.id, mutations: [{ id: PROBE, changes: [] }] });
    assert.deepEqual([status, body?.code], [409, "out_of_order"], text);
    return body.expected - 1;
  }

  /** Has those told again which have arrived; the others are forgotten, as a lost client's are. */
  async recover(last) {
    this.#outbox = this.#outbox.filter(({ id }) => id <= last);
    if (!this.isWaiting) return;
    const mutations = [...this.#outbox];
    const answer = await this.device.post({ ...this.#envelope(), mutations });
    assert.equal(answer.status, 200, answer.text);
    for (const { id, duplicate } of answer.body.results) assert.ok(duplicate, `${this.id} ${id} had been settled`);
    this.history.answers(this.id, answer.body);
    this.#settle(answer.body);
  }

  #mutation() {
    const id = this.#next;
    this.#next += 1;
    const version = this.device.version;
    // What was current where the client is, or long ago; a new record; or no check.
    const older = Math.max(0, version - this.#below(6));
    const base = this.#pick([{ base: version }, { base: version }, { base: older }, { base: 0 }, {}]);
    if (this.#below(12) === 0) return { id, ...base, changes: this.#pick([[], [{ op: "upsert" }], [CHANGES_NOTHING]]) };
    const changes = Array.from({ length: 1 + this.#below(3) }, () => this.#change(id));
    // Without a base, because what conflicts with so much would not fit an answer.
    if (this.random() < this.bulk) return { id, changes: [...changes, ...this.#bulk(id), countOf(this.id)] };
    return { id, ...base, changes: [...changes, countOf(this.id)] };
  }

  #bulk(id) {
    const from = this.#below(BULK_RECORDS);
    const value = { by: `${this.id}.${id}`, s: "y".repeat(BULK_BYTES) };
    const ids = Array.from({ length: 100 }, (_, at) => `b${(from + at) % BULK_RECORDS}`);
    return ids.map((record) => ({ op: "put", collection: "bulk", id: record, value }));
  }

  #change(id) {
    const at = { collection: "c", id: `r${this.#below(KEYS)}` };
    const name = `${this.id}.${id}`;
    const orPut = this.#pick([{}, { orPut: { by: name } }]);
    const gone = this.#pick(["by", "deep.a", "deep"]);
    return this.#pick([
      () => ({ op: "put", ...at, value: { by: name, tags: [], deep: { a: 1 } } }),
      () => ({ op: "delete", ...at }),
      () => ({ op: "patch", ...at, set: { by: name, [`deep.${this.#pick(["a", "b"])}`]: id }, ...orPut }),
      () => ({ op: "patch", ...at, set: { [this.#pick(["x", "y", "tags.z"])]: name }, unset: [gone] }),
      () => ({ op: "add", ...at, path: this.#pick(["n", "deep.n"]), by: 1 + this.#below(5), ...orPut }),
      () => ({ op: "include", ...at, path: "tags", values: [this.#pick(["a", "b", "c"]), name], ...orPut }),
      () => ({ op: "exclude", ...at, path: "tags", values: [this.#pick(["a", "b", "c"])] }),
    ])();
  }
}

const CHANGES_NOTHING = { op: "exclude", collection: "nowhere", id: "x", path: "tags", values: ["a"] };
/** The change that makes every mutation unlike all others: it is counted in a record of its client's own. */
const countOf = (client) => ({ op: "add", collection: COUNTS, id: client, path: "n", by: 1, orPut: { n: 1 } });

/** How many mutations of this client have taken effect, as a state shows it. */
export const countIn = (records, client) => records.get(`${COUNTS} ${client}`)?.value.n ?? 0;

/**
 * Ends a history: finds out what became of every mutation, with one last strong read by a client that knows nothing.
 * Where a request of a dead client is still on its way, it is looked at again until nothing has moved meanwhile.
 */
export async function endHistory(history, clients, reader) {
  const lastOf = async () => Promise.all(clients.map((client) => client.lastSettled()));
  for (;;) {
    const before = await lastOf();
    await reader.pull({ consistency: "strong" });
    const after = await lastOf();
    if (before.join() !== after.join()) continue;
    for (const [at, client] of clients.entries()) {
      history.settled.set(client.id, after[at]);
      await client.recover(after[at]);
    }
    return;
  }
}
