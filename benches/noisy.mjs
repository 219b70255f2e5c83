// What one user at full speed does to others, who push and pull at a person's pace: in spaces of their own, and in a space
// that they share. All objects and the Worker run on one thread of one runtime here, and the load generator has the other
// core. On Cloudflare the edge runs in as many isolates as there is need for, and so may objects; where they share one,
// it is as here.
import { Connection, header, quantile } from "./client.mjs";
import { runtimeSeconds } from "./machine.mjs";
import { Space } from "./space.mjs";

// The others, and how often each of them pushes and pulls: 133 times a second together, within everybody's bounds.
const QUIET = 4;
const PACE_MS = 30;
const FIRST_MS = 3_000;
const LEAD_MS = 1_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the noisy user asks for, on how many connections, and whether a refusal is waited for as it says.
const KINDS = [
  { name: "small pushes", heeds: true, connections: 16, next: (user, index) => user.pushOf(index, 1) },
  { name: "small pushes", heeds: false, connections: 16, next: (user, index) => user.pushOf(index, 1) },
  { name: "pushes of 2,000 changes", heeds: true, connections: 4, next: (user, index) => user.pushOf(index, 2_000) },
  { name: "pushes of almost 4 MiB", heeds: true, connections: 2, next: (user, index) => user.pushOf(index, 20, 200_000) },
  { name: "pulls of a page", heeds: true, connections: 16, next: (user) => user.space.get("/sync/pull?consistency=strong") },
];

class User {
  run = 0;

  constructor(space) {
    this.space = space;
  }

  // A round's connections are clients of their own, so that a push cut off by the end of a round leaves no gap.
  begin() {
    this.run += 1;
    this.sent = [];
    this.last = undefined;
  }

  pushOf(index, count, bytes = 50) {
    const id = (this.sent[index] ?? 0) + 1;
    const text = "x".repeat(bytes);
    const changes = Array.from({ length: count }, (_, at) => ({ op: "put", collection: this.space.sub, id: `${index}-${at}`, value: { id, text } }));
    const mutations = [];
    const each = bytes > 10_000 ? 4 : 1_000;
    for (let from = 0; from < count; from += each) mutations.push({ id: id + mutations.length, changes: changes.slice(from, from + each) });
    this.last = { index, to: id + mutations.length - 1 };
    return this.space.push({ client: `c_${this.run}_${this.space.sub}_${index}`, acked: id - 1, mutations });
  }

  /** What is newer than the last that was seen. */
  pull() {
    return this.space.get(`/sync/pull?consistency=strong&epoch=${this.space.epoch}&since=${this.space.version}`);
  }

  taken(answer) {
    this.space.version = Math.max(this.space.version, Number(header(answer, "headwater-version") ?? 0));
  }
}

// Asks again and again until `isOver`; a refusal is waited for where the kind does. Counts what was taken and refused.
async function noise(runtime, user, kind, counts, isOver) {
  user.begin();
  await Promise.all(
    Array.from({ length: kind.connections }, async (_, index) => {
      let connection = await Connection.open(runtime.headwater);
      while (!isOver()) {
        const request = kind.next(user, index);
        const { to } = user.last ?? {};
        const answer = await connection.send(request).catch(() => null);
        // With so much to do the local runtime may not listen to a connection for seconds, and then closes it.
        if (answer === null) {
          connection = await Connection.open(runtime.headwater);
          continue;
        }
        if (answer.status === 200) {
          counts.taken += 1;
          if (to) user.sent[index] = to;
        } else if (answer.status === 429 || answer.status === 503) {
          counts.refused += 1;
          const until = performance.now() + Number(header(answer, "retry-after")) * 1000;
          while (kind.heeds && !isOver() && performance.now() < until) await pause(20);
        } else throw new Error(answer.head);
      }
      connection.close();
    }),
  );
}

// One request after the other at an even pace: a slow answer does not make for fewer samples of what is slow.
async function paced(runtime, ms, next, onAnswer) {
  let connection = await Connection.open(runtime.headwater);
  const times = [];
  const start = performance.now() + Math.random() * PACE_MS;
  for (let at = start; at < start + ms; at += PACE_MS) {
    await pause(at - performance.now());
    const sent = Math.max(at, performance.now() - PACE_MS);
    const request = next();
    let answer;
    // See `noise`: for whoever waits that is one slow answer.
    while ((answer = await connection.send(request).catch(() => null)) === null) connection = await Connection.open(runtime.headwater);
    if (answer.status !== 200) throw new Error(answer.head);
    times.push(performance.now() - sent);
    onAnswer(answer);
  }
  connection.close();
  return times;
}

async function sample(runtime, users, ms) {
  const before = runtimeSeconds();
  const all = users.map(async (user) => {
    user.begin();
    const push = () => {
      const request = user.pushOf(0, 1);
      user.sent[0] = user.last.to;
      return request;
    };
    return Promise.all([paced(runtime, ms, push, () => {}), paced(runtime, ms, () => user.pull(), (answer) => user.taken(answer))]);
  });
  const times = await Promise.all(all);
  const busy = ((runtimeSeconds() - before) * 1000) / ms;
  return { pushes: times.flatMap(([pushes]) => pushes), pulls: times.flatMap(([, pulls]) => pulls), busy };
}

const p99 = (list) => quantile([...list].sort((a, b) => a - b), 0.99);
const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;

// Rounds of quiet and of noise by turns. The noisy user's bucket is full at first: the others' times meanwhile are the
// first seconds. Then it is empty, and what the user gains of it while the others are measured quiet goes in a lead.
async function cell(runtime, where, kind, { loud, quiet }, { rounds, ms }) {
  const [calm, loudly, first] = [0, 1, 2].map(() => ({ pushes: [], pulls: [], busy: [] }));
  const add = (to, times) => {
    for (const of of ["pushes", "pulls", "busy"]) to[of] = to[of].concat(times[of]);
  };
  const counts = { taken: 0, refused: 0 };
  await sample(runtime, quiet, 500);
  for (let round = 0; round < rounds; round += 1) {
    add(calm, await sample(runtime, quiet, ms));
    let over = false;
    const made = { taken: 0, refused: 0 };
    const going = noise(runtime, loud, kind, made, () => over);
    if (round === 0) add(first, await sample(runtime, quiet, FIRST_MS));
    await pause(LEAD_MS);
    const before = { ...made };
    add(loudly, await sample(runtime, quiet, ms));
    for (const count of ["taken", "refused"]) counts[count] += made[count] - before[count];
    over = true;
    await going;
  }
  const seconds = (rounds * ms) / 1000;
  const of = (which) => {
    const [quietly, p99_ms] = [p99(calm[which]), p99(loudly[which])];
    return { quiet_p99: quietly, p99: p99_ms, ratio: p99_ms / quietly, first_p99: p99(first[which]), samples: loudly[which].length };
  };
  return {
    where, name: kind.name, heeds: kind.heeds,
    taken: counts.taken / seconds, refused: counts.refused / seconds,
    busy: mean(loudly.busy), quiet_busy: mean(calm.busy),
    pushes: of("pushes"), pulls: of("pulls"),
  };
}

const SEED = Array.from({ length: 4_000 }, (_, at) => ({ id: `r${at}`, value: { text: "x".repeat(80) } }));

// A noisy user for each kind, because a bucket that was emptied takes ten seconds to fill.
const PLACES = {
  "its own space": async (runtime, at) => {
    const loud = new Space(runtime, `loud${at}`);
    await loud.fill(SEED);
    const quiet = Array.from({ length: QUIET }, (_, user) => new Space(runtime, `quiet${at}-${user}`));
    for (const space of quiet) await space.fill([{ id: "mine", value: {} }]);
    return { loud, quiet };
  },
  "the same space": async (runtime, at) => {
    const names = Array.from({ length: QUIET }, (_, user) => `quiet${user}`);
    const [owner, ...others] = await Space.shared(runtime, `shared-${at}`, [...names, "loud"]);
    await owner.fill(SEED);
    const { epoch, version } = owner;
    others.forEach((space) => Object.assign(space, { epoch, version }));
    const loud = others.pop();
    return { loud, quiet: [owner, ...others] };
  },
};

/** Times in ms of those who are not noisy, p99 over all rounds; `busy` is the part of a core that the runtime used. */
export async function noisy(runtime, options) {
  const rows = [];
  for (const [where, make] of Object.entries(PLACES)) {
    for (const [at, kind] of KINDS.entries()) {
      const { loud, quiet } = await make(runtime, at);
      const users = { loud: new User(loud), quiet: quiet.map((space) => new User(space)) };
      rows.push(await cell(runtime, where, kind, users, options));
      process.stderr.write(".");
    }
  }
  process.stderr.write("\n");
  return rows;
}
