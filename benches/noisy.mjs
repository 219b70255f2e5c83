// What one user at full speed does to another, who pushes and pulls at a person's pace. Both spaces and the Worker that
// serves them share one thread of one runtime here, and the load generator shares the machine: on Cloudflare the two
// spaces are objects of their own, and the edge runs in as many isolates as there is need for. So this is worse than there.
import { Connection, header, quantile } from "./client.mjs";
import { Space } from "./space.mjs";

const PACE_MS = 20;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What the noisy user asks for, each on so many connections, and whether a refusal is waited for as it says.
const KINDS = {
  "small pushes": { connections: 16, heeds: [true, false], next: (user, index) => user.pushOf(index, 1) },
  "pushes of 2,000 changes": { connections: 4, heeds: [true], next: (user, index) => user.pushOf(index, 2_000) },
  "pushes of almost 4 MiB": { connections: 2, heeds: [true], next: (user, index) => user.pushOf(index, 20, 200_000) },
  "pulls of a page": { connections: 16, heeds: [true], next: (user) => user.space.get("/sync/pull?consistency=strong") },
  polls: { connections: 16, heeds: [false], next: (user) => user.space.get(`/sync/pull?epoch=${user.space.epoch}&since=${user.space.version}`) },
};

class User {
  constructor(runtime, sub) {
    this.space = new Space(runtime, sub);
    this.sent = [];
    this.run = 0;
  }

  // A round's connections are clients of their own, so that a push cut off by the end of a round leaves no gap.
  begin() {
    this.run += 1;
    this.sent = [];
  }

  pushOf(index, count, bytes = 50) {
    const id = (this.sent[index] ?? 0) + 1;
    const text = "x".repeat(bytes);
    const changes = Array.from({ length: count }, (_, at) => ({ op: "put", collection: "noisy", id: `${index}-${at}`, value: { id, text } }));
    const mutations = [];
    const each = bytes > 10_000 ? 4 : 1_000;
    for (let from = 0; from < count; from += each) mutations.push({ id: id + mutations.length, changes: changes.slice(from, from + each) });
    this.settle = () => (this.sent[index] = id + mutations.length - 1);
    this.last = { index, to: id + mutations.length - 1 };
    return this.space.push({ client: `c_${this.run}_noisy_${index}`, mutations });
  }
}

// Asks again and again until `isOver`; a refusal is waited for where `heeds`. Returns how many were taken and refused.
async function noise(runtime, user, kind, { heeds, isOver }) {
  const counts = { taken: 0, refused: 0 };
  user.begin();
  await Promise.all(
    Array.from({ length: kind.connections }, async (_, index) => {
      const connection = await Connection.open(runtime.headwater);
      while (!isOver()) {
        const request = kind.next(user, index);
        const { to } = user.last ?? {};
        const answer = await connection.send(request);
        if (answer.status === 200 || answer.status === 304) {
          counts.taken += 1;
          if (to) user.sent[index] = to;
        } else if (answer.status === 429 || answer.status === 503) {
          counts.refused += 1;
          const until = performance.now() + Number(header(answer, "retry-after")) * 1000;
          while (heeds && !isOver() && performance.now() < until) await pause(20);
        } else throw new Error(answer.head);
      }
      connection.close();
    }),
  );
  return counts;
}

// One request after the other at an even pace: a slow answer does not make for fewer samples of what is slow.
async function paced(runtime, ms, next) {
  const connection = await Connection.open(runtime.headwater);
  const times = [];
  const start = performance.now();
  for (let at = start; at < start + ms; at += PACE_MS) {
    await pause(at - performance.now());
    const sent = Math.max(at, performance.now() - PACE_MS);
    const answer = await connection.send(next());
    if (answer.status !== 200) throw new Error(answer.head);
    times.push(performance.now() - sent);
  }
  connection.close();
  return times;
}

/** Rounds of quiet and of noise by turns; times of the quiet user in ms, pooled over the rounds. */
export async function noisy(runtime, { rounds, ms, onRow = () => {} }) {
  const [quiet, loud] = [new User(runtime, "quiet"), new User(runtime, "loud")];
  await quiet.space.fill([{ id: "mine", value: {} }]);
  await loud.space.fill(Array.from({ length: 4_000 }, (_, at) => ({ id: `r${at}`, value: { text: "x".repeat(80) } })));
  const sample = async () => {
    quiet.begin();
    const push = () => {
      const request = quiet.pushOf(0, 1);
      quiet.settle();
      return request;
    };
    const pull = () => quiet.space.get("/sync/pull?consistency=strong");
    const [pushes, pulls] = await Promise.all([paced(runtime, ms, push), paced(runtime, ms, pull)]);
    return { pushes, pulls };
  };
  const rows = [];
  for (const [name, kind] of Object.entries(KINDS)) {
    for (const heeds of kind.heeds) {
      const times = { quiet: { pushes: [], pulls: [] }, noisy: { pushes: [], pulls: [] } };
      const counts = { taken: 0, refused: 0 };
      for (let round = 0; round < rounds; round += 1) {
        const before = await sample();
        let over = false;
        const made = noise(runtime, loud, kind, { heeds, isOver: () => over });
        const during = await sample();
        over = true;
        const { taken, refused } = await made;
        // The first round uses up the burst, which is not what is measured.
        if (round === 0) continue;
        counts.taken += taken;
        counts.refused += refused;
        for (const of of ["pushes", "pulls"]) {
          times.quiet[of].push(...before[of]);
          times.noisy[of].push(...during[of]);
        }
      }
      const seconds = ((rounds - 1) * ms) / 1000;
      const p99 = (list) => quantile([...list].sort((a, b) => a - b), 0.99);
      const p50 = (list) => quantile([...list].sort((a, b) => a - b), 0.5);
      const of = (which) => ({
        quiet_p50: p50(times.quiet[which]), p50: p50(times.noisy[which]),
        quiet_p99: p99(times.quiet[which]), p99: p99(times.noisy[which]), ratio: p99(times.noisy[which]) / p99(times.quiet[which]),
      });
      const row = { name, heeds, taken: counts.taken / seconds, refused: counts.refused / seconds, pushes: of("pushes"), pulls: of("pulls") };
      rows.push(row);
      onRow(row);
    }
  }
  return rows;
}
