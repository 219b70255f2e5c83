// The noisy user, in a thread of its own: what its requests cost to make must not hold up the clock of the others.
import { setPriority } from "node:os";
import { isMainThread, parentPort, workerData, Worker } from "node:worker_threads";
import { Connection, header } from "./client.mjs";
import { Space } from "./space.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// What both threads see.
const [TAKEN, REFUSED, OVER] = [0, 1, 2];

// What the noisy user asks for, on how many connections, and whether a refusal is waited for as it says.
export const KINDS = [
  { name: "small pushes", heeds: true, connections: 16, next: (user, index) => user.pushOf(index, 1) },
  { name: "small pushes", heeds: false, connections: 16, next: (user, index) => user.pushOf(index, 1) },
  { name: "pushes of 2,000 changes", heeds: true, connections: 4, next: (user, index) => user.pushOf(index, 2_000) },
  { name: "pushes of almost 4 MiB", heeds: true, connections: 2, next: (user, index) => user.pushOf(index, 20, 200_000) },
  { name: "pulls of a page", heeds: true, connections: 16, next: (user) => user.space.get("/sync/pull?consistency=strong") },
  { name: "pulls of a page", heeds: false, connections: 16, next: (user) => user.space.get("/sync/pull?consistency=strong") },
];

export class User {
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
async function noise(url, user, kind, shared) {
  const isOver = () => shared[OVER] === 1;
  user.begin();
  await Promise.all(
    Array.from({ length: kind.connections }, async (_, index) => {
      let connection = await Connection.open(url);
      while (!isOver()) {
        const request = kind.next(user, index);
        const { to } = user.last ?? {};
        const answer = await connection.send(request).catch(() => null);
        // With so much to do the local runtime may not listen to a connection for seconds, and then closes it.
        if (answer === null) {
          connection = await Connection.open(url);
          continue;
        }
        if (answer.status === 200) {
          shared[TAKEN] += 1;
          if (to) user.sent[index] = to;
        } else if (answer.status === 429 || answer.status === 503) {
          shared[REFUSED] += 1;
          const until = performance.now() + Number(header(answer, "retry-after")) * 1000;
          while (kind.heeds && !isOver() && performance.now() < until) await pause(20);
        } else throw new Error(answer.head);
      }
      connection.close();
    }),
  );
}

/** A user who does what `KINDS[kind]` says between `begin` and `end`. */
export class Noise {
  #shared = new Int32Array(new SharedArrayBuffer(12));

  constructor(space, kind) {
    const { runtime, ...plain } = space;
    this.worker = new Worker(new URL(import.meta.url), { workerData: { plain, url: runtime.headwater, kind, shared: this.#shared } });
    this.worker.on("error", (error) => { throw error; });
  }

  /** How many requests were taken and refused since the last `begin`. */
  get counts() {
    return { taken: this.#shared[TAKEN], refused: this.#shared[REFUSED] };
  }

  begin() {
    this.#shared.fill(0);
    this.worker.postMessage("begin");
  }

  async end() {
    this.#shared[OVER] = 1;
    await new Promise((resolve) => this.worker.once("message", resolve));
  }
}

if (!isMainThread) {
  // Of this thread alone: on two cores it must not take time from the runtime and from the clock either.
  setPriority(19);
  const { plain, url, kind, shared } = workerData;
  const space = Object.assign(new Space({ headwater: url }, plain.sub, plain.id), plain);
  const user = new User(space);
  parentPort.on("message", async () => parentPort.postMessage(await noise(url, user, KINDS[kind], shared)));
}
