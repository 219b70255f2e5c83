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
// Parking is a step too: who opened a conflict took the version in the conflict's id. Who joined one took a version only
// if it touches records that the announcement did not name yet, and no answer says which. Such a version belongs to the
// conflict whose announcement somebody has read at it; else whoever could wait the least is tried first, then the others.
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
  sends(client, onConflict, mutations, acked = 0) {
    return this.#record({ kind: "send", client, onConflict, mutations, acked });
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

/** How often the walk comes back to a version that another may have taken. */
const TRIES_MAX = 100;
const CONFLICT = /^x_([0-9a-z]{12,32})_([1-9][0-9]*)$/;

/** What one look through the events tells, with the rules that need no model. */
class Seen {
  // "client id" → {client, id, onConflict, changes, base, acked, floor, outcome, ceiling}, and `claim`: the version that its
  // outcome names as its own
  mutations = new Map();
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

  #send({ client, onConflict, mutations, acked }) {
    for (const { id, changes, base } of mutations) {
      const key = `${client} ${id}`;
      if (this.mutations.has(key)) continue;
      // Whatever anybody knew of when it was sent came before it. What its client had acknowledged stays the same when it
      // is sent again, as long as nothing was answered.
      this.mutations.set(key, { client, id, onConflict, changes, base, acked, floor: this.known });
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
      const same = !outcome || ["status", "version", "code", "conflict"].every((name) => outcome[name] === result[name]);
      must("one outcome", same, () => `${name(mutation)}: ${say(outcome)}, then ${say(result)}`);
      const told = () => `${client} ${result.id}: ${say(result)}`;
      must("real time", (result.version ?? Infinity) >= mutation.floor, () => `${told()}; sent at ${mutation.floor}`);
      const at = result.status === "conflict" ? this.#openedAt(result, told) : (result.version ?? 0);
      must("results", at <= version, () => `${told()} in an answer at ${version}`);
      // A repeated result may leave the details out.
      mutation.outcome = { ...result, ...outcome, ...(!duplicate && { records }) };
      mutation.ceiling = Math.min(mutation.ceiling ?? Infinity, version);
      const own = this.#ownOf(client);
      own.written = Math.max(own.written, result.status === "applied" ? result.version : 0);
    }
  }

  #openedAt({ conflict }, told) {
    const [, epoch, opened] = CONFLICT.exec(conflict) ?? [];
    must("one epoch", epoch === this.#epoch, () => `${told()} is of ${epoch} after ${this.#epoch}`);
    return Number(opened);
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
    mutation.claim = claimOf(outcome, queue);
    queue.push(mutation);
  }
  return queues;
}

/** The first mutation that is told of a conflict has opened it; the others of its client have joined it. */
function claimOf({ status, version, conflict }, before) {
  if (status !== "conflict") return version;
  return before.some(({ outcome }) => outcome.conflict === conflict) ? undefined : Number(CONFLICT.exec(conflict)[2]);
}

/**
 * Does everything again in the order of the versions, on the model. Where no answer says who took a version, it takes the
 * likeliest, and comes back to the others if that ends in a violation.
 */
function walk({ mutations, reads, known }, queues) {
  const claims = Map.groupBy(mutations.values(), ({ claim }) => claim);
  const readsAt = Map.groupBy(reads, ({ version }) => version);
  const seen = { known, claims, readsAt, announcements: new Announcements(reads), forks: [] };
  let [state, first] = [{ version: 0, model: new Model(), queues }, undefined];
  for (let tries = 0; ; tries += 1) {
    try {
      return walkOn(seen, state);
    } catch (error) {
      first ??= error;
      state = seen.forks.pop();
      if (!(error instanceof Violation) || !state || tries === TRIES_MAX) throw first;
    }
  }
}

function walkOn(seen, { version: from, model, queues, joiners }) {
  for (let version = from; version <= seen.known; version += 1) {
    if (version > 0) take(seen, { version, model, queues, joiners: version === from ? joiners : undefined });
    for (const queue of queues.values()) settleWhatChangesNothing(model, queue);
    for (const read of seen.readsAt.get(version) ?? []) compare(model, read, seen.announcements);
  }
  for (const queue of queues.values()) {
    must("results", queue.length === 0, () => unplaced(model, queue[0]));
  }
}

const judge = (model, { client, onConflict, ...mutation }) => model.judge(client, mutation, onConflict);
const name = ({ client, id }) => `${client} ${id}`;

/** Lets the one mutation that took this version happen. */
function take(seen, state) {
  const { version, model, queues } = state;
  const judged = (mutation) => ({ mutation, verdict: judge(model, mutation) });
  const claims = (seen.claims.get(version) ?? []).map(judged);
  const named = claims.filter(({ verdict }) => verdict.status !== "applied" || verdict.changed.size > 0);
  const takers = named.length > 0 ? named : joinerAt(seen, state).map(judged);
  must("each version once", takers.length > 0, `nobody took version ${version}`);
  const all = () => takers.map(({ mutation }) => name(mutation)).join(" and ");
  must("each version once", takers.length === 1, () => `${all()} took ${version}`);
  const [{ mutation, verdict }] = takers;
  must("real time", version > mutation.floor, () => `${name(mutation)} took ${version}; sent at ${mutation.floor}`);
  const queue = queues.get(mutation.client);
  const isNext = queue[0] === mutation;
  must("results", isNext || queue[0]?.claim !== undefined, () => unplaced(model, queue[0]));
  must("client order", isNext, () => `${name(mutation)} took ${version} before ${queue[0] && name(queue[0])}`);
  const told = () => `${name(mutation)} took ${version} as ${say(mutation.outcome)} and should be ${say(verdict)}`;
  must("results", isRight(mutation, verdict) && isStep(verdict), told);
  queue.shift();
  if (verdict.status === "applied") model.step(mutation.client, verdict.changed);
  else model.park(mutation.client, mutation, mutation.outcome.conflict);
}

/** Who took a version that no answer names: one that joined a conflict. None or one; who else may have is noted. */
function joinerAt(seen, { version, model, queues, joiners = joinersAt(seen, version, model, queues) }) {
  if (joiners.length > 1) {
    const others = new Map([...queues].map(([client, queue]) => [client, [...queue]]));
    seen.forks.push({ version, model: model.copy(), queues: others, joiners: joiners.slice(1) });
  }
  return joiners.slice(0, 1);
}

/** Who may have joined a conflict with this version, the likeliest first. */
function joinersAt({ announcements }, version, model, queues) {
  const joiners = [...queues.values()].flatMap((queue) => {
    const [mutation] = queue;
    if (mutation?.outcome.status !== "conflict" || mutation.claim !== undefined) return [];
    const { conflict } = mutation.outcome;
    if (version <= mutation.floor || !announcements.mayChange(conflict, version)) return [];
    const verdict = judge(model, mutation);
    if (!verdict.announces || !isRight(mutation, verdict)) return [];
    const latest = Math.min(...queue.map((later) => latestBefore(model, later)));
    // Between two mutations of one push there may be others' versions. What has to take a later one, because somebody has read
    // the announcement as of that and nothing behind it can have made it so, can wait.
    const waits = announcements.shownAfter(conflict, version) >= announcing(model, conflict, queue);
    return { mutation, latest, waits };
  });
  return joiners.toSorted((a, b) => a.waits - b.waits || a.latest - b.latest).map(({ mutation }) => mutation);
}

/** The latest version that those before a mutation, or it itself where no answer names its version, may have taken. */
function latestBefore(model, mutation) {
  const { claim, ceiling } = mutation;
  if (claim === undefined) return ceiling;
  // What changes nothing is told the version that there was.
  return isStep(judge(model, mutation)) ? claim - 1 : claim;
}

/** How many of a client's mutations will change the announcement of a conflict: those that name new records. */
function announcing(model, conflict, queue) {
  const known = new Set(model.parked.get(conflict)?.touched.keys());
  const joining = queue.filter(({ claim, outcome }) => claim === undefined && outcome.conflict === conflict);
  return joining.filter(({ changes }) => {
    const before = known.size;
    for (const { collection, id } of changes) known.add(`${collection} ${id}`);
    return known.size > before;
  }).length;
}

/** Takes from the front of a client's queue what has no version of its own and whose answer is right at this version. */
function settleWhatChangesNothing(model, queue) {
  while (queue.length > 0) {
    const [mutation] = queue;
    const { floor, ceiling, outcome, claim } = mutation;
    if (model.version < floor || (claim !== undefined && claim !== model.version)) return;
    must("results", model.version <= ceiling, () => unplaced(model, mutation));
    const verdict = judge(model, mutation);
    if (!isRight(mutation, verdict) || isStep(verdict)) return;
    queue.shift();
    if (outcome.status === "conflict") model.park(mutation.client, mutation, outcome.conflict);
  }
}

/** Whether the mutation was told what it comes to, whichever version that takes. */
function isRight({ outcome, claim }, verdict) {
  if (outcome.status !== verdict.status) return false;
  if (outcome.status === "applied") return true;
  if (outcome.status === "rejected") return outcome.code === verdict.code;
  if (verdict.joins !== (claim === undefined ? outcome.conflict : undefined)) return false;
  return outcome.records === undefined || sorted(outcome.records) === sorted(verdict.records ?? []);
}

/** Whether it takes a version. */
const isStep = ({ status, changed, joins, announces }) =>
  status === "applied" ? changed.size > 0 : status === "conflict" && (joins === undefined || announces);

const ANNOUNCEMENT = "$conflicts ";

/** What reads show of the records that announce conflicts. */
class Announcements {
  #shown = new Map(); // version → the conflict whose announcement is of that version
  #unchanged = new Map(); // conflict → [[from, to]]: between them it was read as of `from`
  #made = new Map(); // conflict → by whom and when, as every read has to say it

  constructor(reads) {
    for (const { version: to, records } of reads) {
      for (const [key, { version: from }] of records) {
        if (!key.startsWith(ANNOUNCEMENT)) continue;
        const conflict = key.slice(ANNOUNCEMENT.length);
        this.#shown.set(from, conflict);
        if (!this.#unchanged.has(conflict)) this.#unchanged.set(conflict, []);
        this.#unchanged.get(conflict).push([from, to]);
      }
    }
  }

  /** Whether the announcement of a conflict may have changed at a version that no answer names. */
  mayChange(conflict, version) {
    if (this.#shown.has(version)) return this.#shown.get(version) === conflict;
    return !this.#unchanged.get(conflict)?.some(([from, to]) => from < version && version <= to);
  }

  /** How many versions above `after` the announcement of a conflict was read as of. */
  shownAfter(conflict, after) {
    return new Set(this.#unchanged.get(conflict)?.map(([from]) => from).filter((from) => from > after)).size;
  }

  /** An announcement as the model has it. All are of one user, and each is of one time. */
  withoutWhoAndWhen(conflict, { user, at, ...value }) {
    for (const [of, is] of [["user", user], [conflict, at]]) {
      if (!this.#made.has(of)) this.#made.set(of, is);
      must("prefix equality", is !== undefined && this.#made.get(of) === is, () => `${conflict} is of ${is} and ${this.#made.get(of)}`);
    }
    return value;
  }
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
function compare(model, { client, version, records }, announcements) {
  const wrong = [];
  for (const [key, { value: read, version: at }] of records) {
    const there = model.records.get(key);
    const isAnnounced = key.startsWith(ANNOUNCEMENT);
    const value = isAnnounced ? announcements.withoutWhoAndWhen(key.slice(ANNOUNCEMENT.length), read) : read;
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
