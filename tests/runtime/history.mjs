// A history is what clients of one space saw: what they sent, what they were answered, and in which order that happened.
// `checkHistory` says whether a single space that takes one mutation after the other could have shown them that.
//
// The general question, is this history linearizable?, needs a search over orders (stateright's LinearizabilityTester
// does one, exponential at worst). Here it needs none. The server says in which order it took the mutations: that is what
// versions are. So the order is a witness, and checking it is one walk: is it consistent with what came before what, and
// does the plain model of model.mjs, doing the same in that order, give every answer and every record that was seen? A
// mutation that changed nothing has no version of its own; it may stand wherever its answer is right, between its sending
// and its answer.
//
// What a history must hold to: one epoch; a client has one request outstanding; and each mutation that may change anything
// changes something that no other can (recorder.mjs counts each in its client's own counter), so that who took a version
// is never in doubt.

import { Model } from "./model.mjs";

export class Violation extends Error {
  constructor(rule, what) {
    super(`${rule}: ${what}`);
    this.name = "Violation";
    this.rule = rule;
  }
}

function must(rule, isSo, what) {
  if (!isSo) throw new Violation(rule, typeof what === "function" ? what() : what);
}

/** Events in the order in which they happened; the place of an event is its time. */
export class History {
  events = [];
  settled = new Map(); // client → the last number the coordinator has settled, asked at the end

  #record(event) {
    this.events.push(event);
    return this.events.length - 1;
  }

  /** A push leaves its client, for the first time or again. `mutations`: `[{id, base, changes}]`. */
  sends(client, onConflict, mutations) {
    return this.#record({ kind: "send", client, onConflict, mutations });
  }

  /** A push was answered with 200. An answer that was lost is not an event. */
  answers(client, { epoch, version, results }) {
    return this.#record({ kind: "answer", client, epoch, version, results });
  }

  /** A pull leaves its client. Gives the time to be told to `reads`. */
  asks(client) {
    return this.#record({ kind: "ask", client });
  }

  /** A client has a new state: `records` maps `collection id` to `{version, value}`. */
  reads(client, { asked, consistency = "session", min = 0, epoch, version, records }) {
    return this.#record({ kind: "read", client, asked, consistency, min, epoch, version, records });
  }
}

/** Throws the first violation; otherwise returns what was checked: counts. */
export function checkHistory(history) {
  const seen = new Seen(history);
  seen.gather();
  const queues = queuesOf(seen.mutations, history.settled);
  walk(seen, queues);
  const statuses = Object.groupBy([...seen.mutations.values()], ({ outcome }) => outcome?.status ?? "absent");
  const count = (status) => statuses[status]?.length ?? 0;
  return {
    versions: seen.known,
    reads: seen.reads.length,
    applied: count("applied"),
    conflict: count("conflict"),
    rejected: count("rejected"),
    absent: count("absent"),
  };
}

/** What one look through the events tells, with the rules that need no model. */
class Seen {
  mutations = new Map(); // "client id" → {client, id, onConflict, changes, base, floor, outcome, ceiling}
  reads = [];
  known = 0; // the highest version that any answer has named so far
  #epoch = null;
  #knownAt = []; // per event
  #own = new Map(); // client → {read, written}: where it is, and what it has been told of its own

  constructor({ events }) {
    this.events = events;
  }

  gather() {
    for (const [at, event] of this.events.entries()) {
      this.#knownAt[at] = this.known;
      if (event.kind === "send") this.#send(event);
      if (event.kind === "answer") this.#answer(event);
      if (event.kind === "read") this.#read(event);
    }
  }

  #ownOf(client) {
    if (!this.#own.has(client)) this.#own.set(client, { read: 0, written: 0 });
    return this.#own.get(client);
  }

  #learn({ epoch, version }) {
    this.#epoch ??= epoch;
    must("one epoch", epoch === this.#epoch, `${epoch} after ${this.#epoch}`);
    this.known = Math.max(this.known, version);
  }

  #send({ client, onConflict, mutations }) {
    for (const { id, changes, base } of mutations) {
      const key = `${client} ${id}`;
      if (this.mutations.has(key)) continue;
      // Whatever anybody knew of when it was sent came before it.
      this.mutations.set(key, { client, id, onConflict, changes, base, floor: this.known });
    }
  }

  #answer({ client, epoch, version, results }) {
    this.#learn({ epoch, version });
    for (const { duplicate, records, ...result } of results) {
      const mutation = this.mutations.get(`${client} ${result.id}`);
      must("one outcome", mutation, `${client} was told of ${result.id}, which it never sent`);
      // How it ended may be forgotten once the client has said that it knows.
      if (result.status === "done") continue;
      const { outcome } = mutation;
      const same = !outcome || ["status", "version", "code"].every((name) => outcome[name] === result[name]);
      must("one outcome", same, () => `${name(mutation)}: ${say(outcome)}, then ${say(result)}`);
      const told = () => `${client} ${result.id}: ${say(result)}`;
      must("real time", (result.version ?? Infinity) >= mutation.floor, () => `${told()}; sent at ${mutation.floor}`);
      must("results", (result.version ?? 0) <= version, () => `${told()} in an answer at ${version}`);
      // A repeated result may leave the details out.
      mutation.outcome = { ...result, ...outcome, ...(!duplicate && { records }) };
      mutation.ceiling = Math.min(mutation.ceiling ?? Infinity, version);
      const own = this.#ownOf(client);
      own.written = Math.max(own.written, result.status === "applied" ? result.version : 0);
    }
  }

  #read({ client, asked, consistency, min, epoch, version, records }) {
    const own = this.#ownOf(client);
    must("monotonic reads", version >= own.read, `${client} was at ${own.read} and is now at ${version}`);
    own.read = version;
    if (consistency !== "eventual") {
      must("min", version >= min, `${client} asked for ${min} and got ${version}`);
      must("read your writes", version >= own.written, `${client} wrote ${own.written} and reads ${version}`);
    }
    if (consistency === "strong") {
      const known = this.#knownAt[asked];
      must("strong reads", version >= known, `${client} got ${version} though ${known} was known when it asked`);
    }
    this.#learn({ epoch, version });
    this.reads.push({ client, version, records });
  }
}

/** Per client its mutations in the order of their numbers, those that never arrived left out. */
function queuesOf(mutations, settled) {
  const queues = new Map();
  for (const [client, last] of settled) {
    must("settled", last === 0 || mutations.has(`${client} ${last}`), `${client} never sent ${last}, which is settled`);
  }
  for (const mutation of [...mutations.values()].toSorted((a, b) => a.id - b.id)) {
    const { client, id, outcome } = mutation;
    const last = settled.get(client);
    must("settled", last !== undefined, `nobody asked what became of ${client}`);
    if (!outcome) {
      must("settled", id > last, `${client} ${id} is settled, and nobody knows how`);
      continue;
    }
    const lost = `${client} ${id} was ${outcome.status}, and the last settled is ${last}`;
    must("nothing acknowledged is lost", id <= last, lost);
    if (!queues.has(client)) queues.set(client, []);
    const queue = queues.get(client);
    must("client order", id === queue.length + 1, `${client} ${id} is settled, and not all before it`);
    queue.push(mutation);
  }
  return queues;
}

/** Does everything again in the order of the versions, on the model. */
function walk({ mutations, reads, known }, queues) {
  const applied = [...mutations.values()].filter(({ outcome }) => outcome?.status === "applied");
  const claims = Map.groupBy(applied, ({ outcome }) => outcome.version);
  const readsAt = Map.groupBy(reads, ({ version }) => version);
  const model = new Model();
  for (let version = 0; version <= known; version += 1) {
    if (version > 0) take(model, version, claims.get(version) ?? [], queues);
    for (const queue of queues.values()) settleWhatChangesNothing(model, queue);
    for (const read of readsAt.get(version) ?? []) compare(model, read);
  }
  for (const queue of queues.values()) {
    must("results", queue.length === 0, () => unplaced(model, queue[0]));
  }
}

const judge = (model, { client, base, changes, onConflict }) => model.judge(client, { base, changes }, onConflict);
const name = ({ client, id }) => `${client} ${id}`;

/** Lets the one mutation that took this version happen. */
function take(model, version, claims, queues) {
  const judged = claims.map((mutation) => ({ mutation, verdict: judge(model, mutation) }));
  const takers = judged.filter(({ verdict }) => verdict.status !== "applied" || verdict.changed.size > 0);
  must("each version once", takers.length > 0, `nobody took version ${version}`);
  const all = () => takers.map(({ mutation }) => name(mutation)).join(" and ");
  must("each version once", takers.length === 1, () => `${all()} took ${version}`);
  const [{ mutation, verdict }] = takers;
  must("real time", version > mutation.floor, () => `${name(mutation)} took ${version}; sent at ${mutation.floor}`);
  const queue = queues.get(mutation.client);
  const isNext = queue[0] === mutation;
  must("results", isNext || queue[0]?.outcome.status === "applied", () => unplaced(model, queue[0]));
  must("client order", isNext, () => `${name(mutation)} took ${version} before ${queue[0] && name(queue[0])}`);
  const isApplied = verdict.status === "applied";
  must("results", isApplied, () => `${name(mutation)} was applied as ${version} and should be ${say(verdict)}`);
  queue.shift();
  model.step(mutation.client, verdict.changed);
}

/** Takes from the front of a client's queue what has no version of its own and whose answer is right at this version. */
function settleWhatChangesNothing(model, queue) {
  while (queue.length > 0) {
    const [mutation] = queue;
    const { floor, ceiling, outcome } = mutation;
    if (model.version < floor || (outcome.status === "applied" && outcome.version !== model.version)) return;
    must("results", model.version <= ceiling, () => unplaced(model, mutation));
    if (!isRight(outcome, judge(model, mutation))) return;
    queue.shift();
  }
}

function isRight(outcome, verdict) {
  if (outcome.status !== verdict.status) return false;
  if (outcome.status === "applied") return verdict.changed.size === 0;
  if (outcome.status === "rejected") return outcome.code === verdict.code;
  return outcome.records === undefined || sorted(outcome.records) === sorted(verdict.records);
}

function unplaced(model, mutation) {
  const { outcome, floor, ceiling, base, changes } = mutation;
  const what = shortened(JSON.stringify({ base, onConflict: mutation.onConflict, changes }));
  const where = `right nowhere in [${floor}, ${ceiling}]; at ${model.version} it is ${say(judge(model, mutation))}`;
  return `${name(mutation)} ${what}: ${say(outcome)} is ${where}`;
}

const fieldsOf = ({ collection, id, version, deleted, theirs }) => [collection, id, version, deleted, theirs];
const sorted = (records) => JSON.stringify(records.map(fieldsOf).toSorted());
const say = ({ changed: _, ...verdict }) => shortened(JSON.stringify(verdict));
const shortened = (text) => (text?.length > 800 ? `${text.slice(0, 800)}…` : text);

/** Prefix equality: a client at a version has precisely the records of that version. */
function compare(model, { client, version, records }) {
  const wrong = [];
  for (const [key, { value, version: at }] of records) {
    const there = model.records.get(key);
    const isRight = there?.value !== undefined && there.version === at && there.text === textOf(value);
    if (!isRight) wrong.push([key, at, value, there]);
  }
  for (const [key, { value, version: at }] of model.records) {
    if (value !== undefined && !records.has(key)) wrong.push([key, null, undefined, { version: at, text: textOf(value) }]);
  }
  must("prefix equality", wrong.length === 0, () => {
    const [key, at, value, there] = wrong[0];
    const has = `${key} as ${at}: ${shortened(textOf(value))}`;
    const is = `${there?.version}: ${shortened(there?.text)}`;
    return `${client} at ${version} has ${has}; it is ${is}; ${wrong.length} in all`;
  });
}

// One value stands in the records of many reads.
const texts = new WeakMap();
function textOf(value) {
  if (value === undefined) return undefined;
  if (!texts.has(value)) texts.set(value, JSON.stringify(value));
  return texts.get(value);
}
