// Recorded runs on the real runtime, with a KV and a network that fail, are histories that one plain space could have
// given (history.mjs). SEED=… makes the same choices again; when things happen is the machine's, so no two runs are
// alike.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { seeded } from "./faulty-kv.mjs";
import { startRuntime } from "./harness.mjs";
import { History, Violation, checkHistory } from "./history.mjs";
import { Model } from "./model.mjs";
import { Client, Unanswered, endHistory } from "./recorder.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const LOCATIONS = ["home", "a", "b", "c"];
const SPACES = 6;
const CLIENTS = 5;
const STEPS = 60;

/** What the runs have under them; see platform.mjs. */
const PLATFORMS = {
  "the local runtime": { frozenClock: false, commitMs: 0 },
  "a clock that stands still between I/O, and commits of 10 ms": { frozenClock: true, commitMs: 10 },
};

let runtime;

/** KV at its worst, and differently so at each location. */
async function setFaults(sub, random) {
  const get = (fault, rate, ms) => ({ op: "get", role: "edge", fault, rate, ms });
  const put = (fault, rate, more) => ({ op: "put", key: "head", fault, rate, ...more });
  const puts = [
    ...[put("error", 0.1), put("done-but-error", 0.1), put("limit", 0.1), put("timeout", 0.1, { ms: 300 })],
    ...[put("late", 0.1, { ms: 500, answer: "error" }), put("late", 0.1, { ms: 1500 })],
  ];
  for (const [at, location] of LOCATIONS.entries()) {
    const rules = [get("error", 0.15), get("miss", 0.2), get("timeout", 0.1, 200), ...(at === 0 ? puts : [])];
    const set = { staleMs: [0, 300, 2000, 9000][at], objectLagMs: Math.floor(random() * 1000) };
    await runtime.kv(location, sub, { seed: seed + at, rules, set });
  }
}

/** One client after the other in one place: now and then one goes away with its answer outstanding, and another comes. */
async function liveInTurn(newClient, random) {
  const lived = [newClient()];
  for (let step = 0; step < STEPS; step += 1) {
    try {
      await lived.at(-1).step();
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      if (random() < 0.15) lived.push(newClient());
    }
  }
  await lived.at(-1).empty();
  await Promise.all(lived.map((client) => client.repeated));
  return lived;
}

/** A whole life of one space, recorded. */
async function record(space) {
  const random = seeded(seed + space);
  const [sub, history] = [runtime.subject(), new History()];
  await setFaults(sub, random);
  const slots = Array.from({ length: CLIENTS }, (_, who) => {
    const own = seeded(seed + 100 * space + who);
    return liveInTurn(() => new Client(runtime, history, { sub, random: own, faults: 0.25 }), own);
  });
  const clients = (await Promise.all(slots)).flat();
  for (const location of LOCATIONS) await runtime.kv(location, sub, { clear: true });
  const reader = new Client(runtime, history, { sub, random, locations: ["home"] });
  await endHistory(history, clients, reader);
  return history;
}

const isOf = (kind) => (event) => event.kind === kind;
const isNewest = ({ status, duplicate, version }, at) => status === "applied" && !duplicate && version === at;
/** Whether an event is the first answer to a push that took the version at which it was answered. */
const took = ({ kind, results, version }) => kind === "answer" && results.some((result) => isNewest(result, version));
/** Changes every answer that tells of this mutation. */
function changeResults({ events }, client, id, change) {
  for (const event of events.filter((event) => event.kind === "answer" && event.client === client)) {
    for (const result of event.results) if (result.id === id) change(result);
  }
}

// Each falsifies one thing in a true history, and says whether there was such a thing.
const FALSIFIED = {
  "a read shows another value of one record"(history, pick) {
    const reads = history.events.filter((event) => event.kind === "read" && event.records.size > 0);
    const read = pick(reads);
    const [key, { version, value }] = pick([...read.records]);
    read.records = new Map(read.records).set(key, { version, value: { ...value, n: -1 } });
    return true;
  },
  "a read lacks one record"(history, pick) {
    const read = pick(history.events.filter((event) => event.kind === "read" && event.records.size > 0));
    read.records = new Map(read.records);
    return read.records.delete(pick([...read.records.keys()]));
  },
  "a read still has what was deleted"(history, pick) {
    const read = pick(history.events.filter(isOf("read")));
    read.records = new Map(read.records).set("c deleted", { version: 1, value: {} });
    return true;
  },
  "an answered push never happened"(history, pick) {
    const { client, results } = pick(history.events.filter(took));
    const gone = results.map(({ id }) => id);
    const isGone = (event) => event.kind === "answer" && event.client === client && gone.includes(event.results[0]?.id);
    history.events = history.events.filter((event) => !isGone(event));
    return true;
  },
  "two clients were given each other's version"(history, pick) {
    const answers = history.events.filter(took);
    const [one, two] = [pick(answers), pick(answers)];
    const [a, b] = [one, two].map(({ results, version }) => results.find((result) => isNewest(result, version)));
    // Those that were under way together might as well have come in the other order.
    const isSent = ({ kind, client, mutations }) =>
      kind === "send" && client === two.client && mutations.some(({ id }) => id === b.id);
    if (history.events.findIndex(isSent) < history.events.indexOf(one)) return false;
    const [versionA, versionB] = [a.version, b.version];
    changeResults(history, one.client, a.id, (result) => (result.version = versionB));
    changeResults(history, two.client, b.id, (result) => (result.version = versionA));
    return true;
  },
  "a conflict is told under another version"(history, pick) {
    const parked = history.events.filter(isOf("answer")).flatMap(({ client, results }) =>
      results.filter(({ status }) => status === "conflict").map((result) => ({ client, result })),
    );
    if (parked.length === 0) return false;
    const { client, result } = pick(parked);
    const [, epoch, opened] = result.conflict.split("_");
    const other = `x_${epoch}_${Number(opened) - 1}`;
    changeResults(history, client, result.id, (told) => (told.conflict = other));
    return true;
  },
  "a parked mutation is told to be applied"(history, pick) {
    const isParked = ({ kind, results }) => kind === "answer" && results.some(({ status }) => status === "conflict");
    const answers = history.events.filter(isParked);
    if (answers.length === 0) return false;
    const { client, version, results } = pick(answers);
    const { id } = results.find(({ status }) => status === "conflict");
    changeResults(history, client, id, (result) => Object.assign(result, { status: "applied", version, conflict: undefined }));
    return true;
  },
  "an announcement names a record less"(history, pick) {
    const isAnnouncement = ([key]) => key.startsWith("$conflicts ");
    const reads = history.events.filter(({ kind, records }) => kind === "read" && [...records].some(isAnnouncement));
    if (reads.length === 0) return false;
    const read = pick(reads);
    const [key, { version, value }] = pick([...read.records].filter(isAnnouncement));
    read.records = new Map(read.records).set(key, { version, value: { ...value, records: value.records.slice(1) } });
    return true;
  },
  "what was applied is told to be rejected"(history, pick) {
    const { client, results } = pick(history.events.filter(took));
    const rejected = { status: "rejected", code: "too_large", version: undefined };
    changeResults(history, client, pick(results).id, (result) => Object.assign(result, rejected));
    return true;
  },
  "a strong read was asked for after more was known"(history, pick) {
    const read = pick(history.events.filter((event) => event.kind === "read" && event.consistency === "strong"));
    const at = history.events.indexOf(read);
    const newer = history.events.slice(at).findIndex((event) => event.kind === "answer" && event.version > read.version);
    if (newer < 0) return false;
    read.asked = at + newer + 1;
    return true;
  },
  "a client's two reads are swapped"(history, pick) {
    const read = pick(history.events.filter(isOf("read")));
    const later = history.events.slice(history.events.indexOf(read) + 1);
    const next = later.find((event) => event.kind === "read" && event.client === read.client);
    if (!next || next.version === read.version) return false;
    const { version, records } = read;
    Object.assign(read, { version: next.version, records: next.records });
    Object.assign(next, { version, records });
    return true;
  },
  "the coordinator has forgotten the last push of a client"(history, pick) {
    const { client } = pick(history.events.filter(took));
    history.settled.set(client, history.settled.get(client) - 1);
    return true;
  },
};

const cloned = ({ events, settled }) => Object.assign(new History(), structuredClone({ events, settled }));

describe(`recorded runs (SEED=${seed})`, () => {
  let histories;

  for (const [under, platform] of Object.entries(PLATFORMS)) {
    test(`over ${under}: what clients saw under faults is what one space shows that takes one mutation after the other`, async () => {
      runtime = await startRuntime({ locations: LOCATIONS.slice(1), platform });
      try {
        histories = await Promise.all(Array.from({ length: SPACES }, (_, space) => record(space)));
      } finally {
        await runtime.stop();
      }
      const sums = {};
      for (const history of histories) {
        for (const [name, count] of Object.entries(checkHistory(history))) sums[name] = (sums[name] ?? 0) + count;
      }
      console.log(`history: SEED=${seed}, ${SPACES} spaces over ${under}, ${JSON.stringify(sums)}`);
      for (const [name, count] of Object.entries(sums)) assert.ok(count > 0, `there were ${name}`);
    });
  }

  for (const [what, change] of Object.entries(FALSIFIED)) {
    test(`a recorded history is refused when ${what}`, () => {
      const random = seeded(seed);
      let changed = 0;
      for (const history of histories) {
        checkHistory(history);
        for (let attempt = 0; attempt < 2; attempt += 1) {
          const other = cloned(history);
          if (!change(other, (list) => list[Math.floor(random() * list.length)])) continue;
          changed += 1;
          assert.throws(() => checkHistory(other), Violation, `SEED=${seed}`);
        }
      }
      assert.ok(changed > 0, "there was something to change");
    });
  }
});

// --- the checker itself, on histories made by hand ---

const E = "0mwrnsa6yk3v9q2";
const put = (id, value) => ({ op: "put", collection: "c", id, value });
const add = (id) => ({ op: "add", collection: "c", id, path: "n", by: 1, orPut: { n: 1 } });
const conflictOf = (opened) => `x_${E}_${opened}`;
const conflict = (id, opened, ...records) => ({
  id,
  status: "conflict",
  conflict: conflictOf(opened),
  records: records.map((record) => ({ collection: "c", id: "x", ...record })),
});
const applied = (id, version) => ({ id, status: "applied", version });
const row = ([id, [version, value]]) => [id.startsWith("$") ? id : `c ${id}`, { version, value }];
/** The announcement of a conflict of client b, as a read shows it. */
const announced = (opened, version, names, more) => {
  const records = names.map((id) => ({ collection: "c", id }));
  const value = { user: "u", client: "b", at: 5, records, count: names.length, ...more };
  return { [`$conflicts ${conflictOf(opened)}`]: [version, value] };
};
const rows = (entries) => new Map(Object.entries(entries).map(row));

/** Writes a history in few words; `tell` gets the words, and may tell what is not true. */
function told(tell) {
  const history = new History();
  const send = (client, id, changes, { acked, ...more } = {}) =>
    history.sends(client, "reject", [{ id, changes, ...more }], acked);
  const answer = (client, version, ...results) => history.answers(client, { epoch: E, version, results });
  const read = (client, version, entries, more) =>
    history.reads(client, { epoch: E, version, records: rows(entries), ...more });
  const push = (client, id, version, changes) => {
    send(client, id, changes);
    answer(client, version, applied(id, version));
  };
  tell({ send, answer, read, push, ask: (client) => history.asks(client), history });
  const isSet = new Set(history.settled.keys());
  for (const event of history.events.filter(isOf("answer"))) {
    if (!isSet.has(event.client)) history.settled.set(event.client, event.results.at(-1).id);
  }
  return history;
}

/** A conflict of b with a's record x, opened at version 2. */
function contest({ push, send, answer }) {
  push("a", 1, 1, [put("x", { n: 1 })]);
  send("b", 1, [put("x", { n: 2 })], { base: 0 });
  answer("b", 2, conflict(1, 2, { version: 1, theirs: { n: 1 } }));
}

/** b's second mutation, told at a version that it has joined that conflict. */
function join({ send, answer }, version, changes) {
  send("b", 2, changes);
  answer("b", version, conflict(2, 2));
}

describe("the checker", () => {
  test("takes a true history: pushes that overlap, a conflict, one that changes nothing, a lost answer, old reads", () => {
    const history = told(({ send, answer, read, push, ask, history: { settled } }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      send("a", 2, [add("x")]);
      send("b", 1, [add("x"), put("y", { by: "b" })]);
      answer("b", 2, applied(1, 2));
      read("c", 1, { x: [1, { n: 1 }] });
      answer("a", 3, applied(2, 3));
      send("b", 2, [put("x", { n: 9 })], { base: 2 });
      answer("b", 4, conflict(2, 4, { version: 3, theirs: { n: 3 } }));
      push("b", 3, 4, []);
      send("a", 3, [put("z", {})]);
      send("a", 3, [put("z", {})]);
      answer("a", 5, { ...applied(3, 5), duplicate: true });
      send("d", 1, [put("lost", {})]);
      settled.set("d", 0);
      const asked = ask("c");
      const records = { x: [3, { n: 3 }], y: [2, { by: "b" }], z: [5, {}], ...announced(4, 4, ["x"]) };
      read("c", 5, records, { consistency: "strong", asked });
    });
    assert.deepEqual(checkHistory(history), { versions: 5, reads: 2, applied: 5, conflict: 1, rejected: 0, absent: 1 });
  });

  test("takes joins: with a version that no answer names, without one, and none once the conflict is known", () => {
    const history = told(({ send, answer, read, push }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      send("b", 1, [put("x", { n: 2 }), put("y", {})], { base: 0 });
      answer("b", 2, conflict(1, 2, { version: 1, theirs: { n: 1 } }));
      send("b", 2, [put("y", { more: 1 })]);
      answer("b", 2, conflict(2, 2));
      send("b", 3, [put("y", {}), put("z", {})]);
      send("d", 1, [put("x", { n: 3 })], { base: 0 });
      answer("d", 4, conflict(1, 4, { version: 1, theirs: { n: 1 } }));
      read("c", 3, { x: [1, { n: 1 }], ...announced(2, 3, ["x", "y", "z"]) });
      answer("b", 4, conflict(3, 2));
      send("b", 4, [put("y", { known: true })], { acked: 3 });
      answer("b", 5, applied(4, 5));
    });
    assert.deepEqual(checkHistory(history), { versions: 5, reads: 1, applied: 2, conflict: 4, rejected: 0, absent: 0 });
  });

  test("takes joins of two clients that were under way together, whichever took which version", () => {
    for (const shown of [3, 5, 6]) {
      const history = told(({ send, answer, read, push, history: { settled } }) => {
        push("a", 1, 1, [put("x", { n: 1 })]);
        for (const [client, at] of [["d", 2], ["b", 3]]) {
          send(client, 1, [put("x", { by: client })], { base: 0 });
          answer(client, at, conflict(1, at, { version: 1, theirs: { n: 1 } }));
        }
        push("a", 2, 4, [put("late", {})]);
        send("d", 2, [put("x", {}), put("y", {})]);
        send("b", 2, [put("x", {}), put("z", {})]);
        // The one that is read first may have come second; one of which nothing is read may have come any time.
        answer("b", 6, conflict(2, 3));
        answer("d", 6, conflict(2, 2));
        const others = shown === 3 ? {} : { [`$conflicts ${conflictOf(2)}`]: [11 - shown, { user: "u", client: "d", at: 4, records: [{ collection: "c", id: "x" }, { collection: "c", id: "y" }], count: 2 }] };
        if (shown !== 3) read("c", 6, { x: [1, { n: 1 }], late: [4, {}], ...others, ...announced(3, shown, ["x", "z"]) });
        settled.set("c", 0);
      });
      assert.equal(checkHistory(history).versions, 6);
    }
  });

  const FALSE = [
    ["a lost update: both are told of it, the record shows one", "prefix equality", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      push("b", 1, 2, [add("x")]);
      read("c", 2, { x: [2, { n: 1 }] });
    }],
    ["a lost update: two took one version", "each version once", ({ send, answer }) => {
      send("a", 1, [add("x")]);
      send("b", 1, [add("x")]);
      answer("a", 1, applied(1, 1));
      answer("b", 1, applied(1, 1));
    }],
    ["an acknowledged mutation that the coordinator does not know", "nothing acknowledged is lost", ({ push, history }) => {
      push("a", 1, 1, [add("x")]);
      history.settled.set("a", 0);
    }],
    ["a stale strong read", "strong reads", ({ push, read, ask }) => {
      push("a", 1, 1, [add("x")]);
      push("a", 2, 2, [add("x")]);
      read("b", 1, { x: [1, { n: 1 }] }, { consistency: "strong", asked: ask("b") });
    }],
    ["a read without one's own write", "read your writes", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      read("a", 0, {});
    }],
    ["a read below what was asked for", "min", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      read("b", 0, {}, { min: 1 });
    }],
    ["an un-read", "monotonic reads", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      push("a", 2, 2, [add("x")]);
      read("b", 2, { x: [2, { n: 2 }] });
      read("b", 1, { x: [1, { n: 1 }] }, { consistency: "eventual" });
    }],
    ["a mutation applied twice", "each version once", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      read("b", 2, { x: [2, { n: 2 }] });
    }],
    ["a mutation applied twice within its version", "prefix equality", ({ push, read }) => {
      push("a", 1, 1, [add("x")]);
      read("b", 1, { x: [1, { n: 2 }] });
    }],
    ["a repeat that is told another version", "one outcome", ({ push, send, answer }) => {
      push("a", 1, 1, [add("x")]);
      send("a", 1, [add("x")]);
      answer("a", 2, { ...applied(1, 2), duplicate: true });
    }],
    ["versions against real time", "real time", ({ send, answer }) => {
      send("a", 1, [add("x")]);
      answer("a", 2, applied(1, 2));
      send("b", 1, [add("y")]);
      answer("b", 2, applied(1, 1));
    }],
    ["versions against the client's own order", "client order", ({ send, answer }) => {
      send("a", 1, [add("x")]);
      send("a", 2, [add("y")]);
      answer("a", 2, applied(1, 2), applied(2, 1));
    }],
    ["a torn mutation: half of it is there", "prefix equality", ({ push, read }) => {
      push("a", 1, 1, [put("x", {}), put("y", {})]);
      read("b", 1, { x: [1, {}] });
    }],
    ["a torn mutation: half of it comes with the next version", "prefix equality", ({ push, read }) => {
      push("a", 1, 1, [put("x", {}), put("y", {})]);
      push("a", 2, 2, [put("z", {})]);
      read("b", 2, { x: [1, {}], y: [2, {}], z: [2, {}] });
    }],
    ["a mutation settled that nobody can name", "settled", ({ push, send, history }) => {
      push("a", 1, 1, [put("x", {})]);
      send("b", 1, [put("y", {})]);
      history.settled.set("b", 1);
    }],
    ["a number settled that was never sent", "settled", ({ push, history }) => {
      push("a", 1, 1, [put("x", {})]);
      history.settled.set("a", 2);
    }],
    ["applied, though somebody else had changed the record", "results", ({ push, send, answer }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      push("b", 1, 2, [put("x", { n: 2 })]);
      send("a", 2, [put("x", { n: 3 })], { base: 1 });
      answer("a", 3, applied(2, 3));
    }],
    ["a conflict with nobody", "results", ({ push, send, answer }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      send("a", 2, [put("x", { n: 2 })], { base: 0 });
      answer("a", 2, conflict(2, 2, { version: 1, theirs: { n: 1 } }));
    }],
    ["a conflict that took no version", "each version once", ({ push, send, answer }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      send("b", 1, [put("x", { n: 2 })], { base: 0 });
      answer("b", 1, conflict(1, 1, { version: 1, theirs: { n: 1 } }));
    }],
    ["a conflict of another epoch", "one epoch", ({ push, send, answer }) => {
      push("a", 1, 1, [put("x", { n: 1 })]);
      send("b", 1, [put("x", { n: 2 })], { base: 0 });
      answer("b", 2, { ...conflict(1, 2, { version: 1, theirs: { n: 1 } }), conflict: "x_0mwrnsa6yk3v9q3_2" });
    }],
    ["a repeat that is told another conflict", "one outcome", (words) => {
      contest(words);
      words.send("b", 1, [put("x", { n: 2 })], { base: 0 });
      words.answer("b", 3, { ...conflict(1, 3), duplicate: true });
    }],
    ["a parked mutation that took effect as well", "prefix equality", (words) => {
      contest(words);
      words.read("c", 2, { x: [1, { n: 2 }], ...announced(2, 2, ["x"]) });
    }],
    ["a parked mutation that nobody announces", "prefix equality", (words) => {
      contest(words);
      words.read("c", 2, { x: [1, { n: 1 }] });
    }],
    ["an announcement that names too little", "prefix equality", (words) => {
      contest(words);
      join(words, 3, [put("x", {}), put("y", {})]);
      words.read("c", 3, { x: [1, { n: 1 }], ...announced(2, 3, ["x"]) });
    }],
    ["an announcement that is suddenly another user's", "prefix equality", (words) => {
      contest(words);
      words.read("c", 2, { x: [1, { n: 1 }], ...announced(2, 2, ["x"]) });
      words.read("d", 2, { x: [1, { n: 1 }], ...announced(2, 2, ["x"], { user: "v" }) });
    }],
    ["a join whose version nobody took", "results", (words) => {
      contest(words);
      join(words, 2, [put("x", {}), put("y", {})]);
    }],
    ["a join that took a version and had nothing new to announce", "each version once", (words) => {
      contest(words);
      join(words, 3, [put("x", {})]);
    }],
    ["a join that was sent after the version it would have to take", "each version once", (words) => {
      contest(words);
      words.push("a", 2, 4, [put("z", {})]);
      join(words, 4, [put("x", {}), put("y", {})]);
    }],
    ["a join at a version at which the announcement was read as before", "each version once", (words) => {
      contest(words);
      words.send("b", 2, [put("x", {}), put("y", {})]);
      words.push("a", 2, 4, [put("z", {})]);
      words.read("c", 4, { x: [1, { n: 1 }], z: [4, {}], ...announced(2, 2, ["x"]) });
      words.answer("b", 4, conflict(2, 2));
    }],
    ["what rests on a parked mutation and was applied", "results", (words) => {
      contest(words);
      words.push("b", 2, 3, [put("x", { n: 5 })]);
    }],
    ["a join of what the client knew to be parked", "results", (words) => {
      contest(words);
      words.send("b", 2, [put("x", {})], { acked: 1 });
      words.answer("b", 2, conflict(2, 2));
    }],
    ["a join of another client's conflict", "each version once", (words) => {
      contest(words);
      words.send("d", 1, [put("x", { n: 5 })], { base: 0 });
      words.answer("d", 3, conflict(1, 2));
    }],
    ["another epoch", "one epoch", ({ push, read }) => {
      push("a", 1, 1, [put("x", {})]);
      read("b", 1, { x: [1, {}] }, { epoch: "0mwrnsa6yk3v9q3" });
    }],
  ];
  for (const [what, rule, tell] of FALSE) {
    test(`refuses ${what}`, () => {
      assert.throws(() => checkHistory(told(tell)), { name: "Violation", rule });
    });
  }
});

// --- the model itself, on what the reference of the Rust tests does ---

test("the model does to every value of the fixtures what the reference does", () => {
  const { operations } = JSON.parse(readFileSync(new URL("../../fixtures/operations.json", import.meta.url)));
  for (const { name, before, changes, after } of operations) {
    const model = new Model();
    const does = (changes) => model.step("a", model.judge("a", { changes }).changed);
    if (before !== null) does([put("r", JSON.parse(before))]);
    does(JSON.parse(changes));
    const value = model.records.get("c r")?.value;
    assert.equal(JSON.stringify(value ?? null), JSON.stringify(JSON.parse(after)), name);
  }
});

// --- the checker itself, on lives of the model ---

const NOTHING = [[], [{ op: "upsert" }], [{ op: "exclude", collection: "nowhere", id: "x", path: "tags", values: ["a"] }]];

/** A life of one space on the model: mutations of several clients are settled in turns, as slices are, and versions are read that may be. */
class Life {
  history = new History();
  model = new Model();
  clients = Array.from({ length: 4 }, (_, at) => ({ id: `c${at}`, next: 1, acked: 0, seen: 0, under: null }));
  states = [new Map()]; // by version

  constructor(random) {
    this.below = (n) => Math.floor(random() * n);
    this.pick = (list) => list[this.below(list.length)];
    for (let step = 0; step < 60; step += 1) this.#step(this.pick(this.clients));
    for (const client of this.clients) while (client.under) this.#step(client);
    for (const { id, acked } of this.clients) this.history.settled.set(id, acked);
    this.#read("reader", this.model.version);
    this.history.settled.set("reader", 0);
  }

  #step(client) {
    if (!client.under) return this.below(4) === 0 ? this.#pull(client) : this.#send(client);
    const { results, mutations } = client.under;
    if (results.length < mutations.length) return this.#settle(client);
    this.history.answers(client.id, { epoch: E, version: this.model.version, results });
    client.acked = results.at(-1).id;
    client.seen = Math.max(client.seen, ...results.map(({ status, version }) => (status === "applied" ? version : 0)));
    client.under = null;
  }

  #pull(client) {
    client.seen += this.below(this.model.version - client.seen + 1);
    this.#read(client.id, client.seen);
  }

  #read(client, version) {
    this.history.reads(client, { epoch: E, version, records: this.states[version] });
  }

  #send(client) {
    const mutations = Array.from({ length: 1 + this.below(4) }, () => this.#mutation(client));
    const onConflict = this.pick(["reject", "merge", "overwrite"]);
    client.under = { onConflict, acked: client.acked, mutations, results: [] };
    this.history.sends(client.id, onConflict, mutations, client.acked);
  }

  #mutation(client) {
    const id = client.next;
    client.next += 1;
    const base = this.pick([{ base: client.seen }, { base: 0 }, {}]);
    if (this.below(8) === 0) return { id, ...base, changes: this.pick(NOTHING) };
    const changes = Array.from({ length: 1 + this.below(3) }, () => {
      const record = `r${this.below(6)}`;
      return this.pick([put(record, { by: `${client.id} ${id}` }), { op: "delete", collection: "c", id: record }, add(record)]);
    });
    return { id, ...base, changes: [...changes, { ...add(client.id), collection: "counts" }] };
  }

  #settle({ id, under: { onConflict, acked, mutations, results } }) {
    const mutation = { ...mutations[results.length], acked };
    const { status, changed, code, joins, records = [] } = this.model.judge(id, mutation, onConflict);
    if (status === "conflict") {
      const conflict = joins ?? conflictOf(this.model.version + 1);
      this.model.park(id, mutation, conflict);
      results.push({ id: mutation.id, status, conflict, records });
    } else {
      if (changed?.size > 0) this.model.step(id, changed);
      results.push({ id: mutation.id, status, ...(code ? { code } : { version: this.model.version }) });
    }
    this.states[this.model.version] = this.#state();
  }

  #state() {
    const shown = (key, value) => (key.startsWith("$conflicts ") ? { ...value, user: "u", at: 5 } : value);
    const there = [...this.model.records].filter(([, { value }]) => value !== undefined);
    return new Map(there.map(([key, { version, value }]) => [key, { version, value: structuredClone(shown(key, value)) }]));
  }
}

test(`no history that the model has lived through is refused (SEED=${seed})`, () => {
  for (let life = 0; life < 1000; life += 1) {
    const { history } = new Life(seeded(seed + life));
    try {
      checkHistory(history);
    } catch (error) {
      assert.fail(`SEED=${seed + life}: ${error.message}`);
    }
  }
});
