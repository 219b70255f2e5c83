// What one user at full speed does to others, who push and pull at a person's pace: in spaces of their own, and in a space
// that they share. All objects and the Worker run on one thread of one runtime here, and the load generators have the other
// core. On Cloudflare the edge runs in as many isolates as there is need for, and so may objects; where they share one,
// it is as here.
import { Connection, header, quantile } from "./client.mjs";
import { runtimeSeconds } from "./machine.mjs";
import { KINDS, Noise, User } from "./noise.mjs";
import { Space } from "./space.mjs";

// The others, and how often each of them pushes and pulls: 133 times a second together, within everybody's bounds.
const QUIET = 4;
const PACE_MS = 30;
const FIRST_MS = 3_000;
const LEAD_MS = 1_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

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
const nothing = () => ({ pushes: [], pulls: [], busy: [] });
const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;

// Rounds of quiet and of noise by turns. The noisy user's bucket is full at first: the others' times meanwhile are the
// first seconds. Then it is empty, and what the user gains of it while the others are measured quiet goes in a lead. Quiet
// rounds are alike, whoever is noisy in between: `calm` has those of all cells of a place, and gives the row of this one.
async function cell(runtime, where, kind, noise, quiet, calm, { rounds, ms }) {
  const [loudly, first] = [nothing(), nothing()];
  const add = (to, times) => {
    for (const of of ["pushes", "pulls", "busy"]) to[of] = to[of].concat(times[of]);
  };
  const counts = { taken: 0, refused: 0 };
  await sample(runtime, quiet, 500);
  for (let round = 0; round < rounds; round += 1) {
    add(calm, await sample(runtime, quiet, ms));
    noise.begin();
    if (round === 0) add(first, await sample(runtime, quiet, FIRST_MS));
    await pause(LEAD_MS);
    const before = noise.counts;
    add(loudly, await sample(runtime, quiet, ms));
    for (const count of ["taken", "refused"]) counts[count] += noise.counts[count] - before[count];
    await noise.end();
  }
  const seconds = (rounds * ms) / 1000;
  const of = (which) => {
    const [quietly, p99_ms] = [p99(calm[which]), p99(loudly[which])];
    return { quiet_p99: quietly, p99: p99_ms, ratio: p99_ms / quietly, first_p99: p99(first[which]), samples: loudly[which].length };
  };
  return () => ({
    where, name: kind.name, heeds: kind.heeds,
    taken: counts.taken / seconds, refused: counts.refused / seconds,
    busy: mean(loudly.busy), quiet_busy: mean(calm.busy),
    pushes: of("pushes"), pulls: of("pulls"),
  });
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
    const calm = nothing();
    for (const [at, kind] of KINDS.entries()) {
      const { loud, quiet } = await make(runtime, at);
      const noise = new Noise(loud, at);
      rows.push(await cell(runtime, where, kind, noise, quiet.map((space) => new User(space)), calm, options));
      await noise.worker.terminate();
      process.stderr.write(".");
    }
  }
  process.stderr.write("\n");
  return rows.map((row) => row());
}
