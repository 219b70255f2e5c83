// Rounds of real crashes: clients of several spaces push and pull without pause; at a random moment one space's object
// is ended, at another the whole runtime is killed with SIGKILL, and started again over the same storage. After ten
// rounds, a "life", the clients come to rest, the runtime is killed once more, and what is left is looked at:
//
// - what every client saw, over all crashes, is what one plain space shows (history.mjs): nothing acknowledged is lost,
//   nothing is applied twice, nobody goes back;
// - losses and repeats are counted a second time, without the model: each mutation that may take effect counts itself in
//   a record of its client;
// - KV's head gets to what was acknowledged while nobody asks anything of the Worker, and what is published is then what
//   the coordinator has.

import assert from "node:assert/strict";
import { eventually, startRuntime } from "./harness.mjs";
import { seeded } from "./faulty-kv.mjs";
import { History, checkHistory } from "./history.mjs";
import { comparePositions } from "./published.mjs";
import { Client, Unanswered, countIn, endHistory, retried } from "./recorder.mjs";

const SPACES = 3;
const CLIENTS = 3;
const ROUNDS_OF_A_LIFE = 10;
const LOCATIONS = ["a"];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Publications that a crash is likely to meet: before a put landed, after it, before its answer came. */
const RULES = [
  { op: "put", role: "object", fault: "slow", ms: 120, rate: 0.3 },
  { op: "put", role: "object", fault: "slow-answer", ms: 120, rate: 0.4 },
  { op: "put", role: "object", fault: "done-but-error", rate: 0.05 },
];

/**
 * Plays so many rounds. `figures` is kept up to date, for whoever reports also after a failure; `onLife` is called after
 * every life that was found right.
 */
export async function crashRounds({ rounds, seed, figures = {}, onLife = () => {} }) {
  Object.assign(figures, { rounds: 0, kills: 0, aborts: 0, pushes: 0, acknowledged: 0, versions: 0, reads: 0 });
  Object.assign(figures, { spaces: 0, behind: 0, losses: 0, duplicates: 0 });
  const runtime = await startRuntime({ locations: LOCATIONS });
  try {
    for (let life = 0; figures.rounds < rounds; life += 1) {
      const length = Math.min(ROUNDS_OF_A_LIFE, rounds - figures.rounds);
      await new Life(runtime, seeded(seed + 1000 * life), figures).live(length);
      onLife();
    }
  } finally {
    await runtime.stop();
  }
  return figures;
}

/** The newest position that any of these clients was told of by a push. */
const newestOf = (clients) => clients.flatMap(({ device }) => device.min ?? []).toSorted(comparePositions).at(-1);

/** What `checkHistory` says; where something was lost, with the words for it. */
function checked(history, lost) {
  try {
    const counts = checkHistory(history);
    assert.equal(lost.length, 0, "what was acknowledged is not what took effect:");
    return counts;
  } catch (error) {
    throw new Error([error.message, ...lost].join("\n"), { cause: error });
  }
}

/** Some spaces, their clients, and the crashes they live through. */
class Life {
  #isOver = false;

  constructor(runtime, random, figures) {
    Object.assign(this, { runtime, random, figures });
    this.spaces = Array.from({ length: SPACES }, (_, at) => {
      const [sub, history] = [runtime.subject(), new History()];
      const options = () => ({ sub, random: seeded(random() * 2 ** 32), faults: 0.1, bulk: at === 0 ? 0.1 : 0 });
      const clients = Array.from({ length: CLIENTS }, () => new Client(runtime, history, options()));
      // The first space is large enough for objects in KV; the others live in the head alone.
      return { sub, history, clients, isLarge: at === 0 };
    });
    this.clients = this.spaces.flatMap(({ clients }) => clients);
  }

  async live(rounds) {
    await this.#setFaults();
    const running = Promise.all(this.clients.map((client) => this.#run(client)));
    const crashing = this.#crash(rounds).finally(() => (this.#isOver = true));
    await Promise.all([running, crashing]);
    await Promise.all(this.clients.map((client) => client.empty()));
    await this.#lastWords();
    for (const space of this.spaces) if (await this.#isBehind(space)) this.figures.behind += 1;
    await this.#kill();
    // KV gets there with nobody asking, neither to push nor to pull.
    await Promise.all(this.spaces.map(({ sub, clients }) => this.runtime.waitForPublished(sub, newestOf(clients))));
    this.figures.spaces += SPACES;
    for (const space of this.spaces) await this.#check(space);
  }

  /** In every space one more push is acknowledged, of which no head in KV can tell before the kill. */
  async #lastWords() {
    const rules = [{ op: "put", role: "object", fault: "slow", ms: 60_000, rate: 1 }];
    await this.runtime.kv("home", "*", { clear: true, rules });
    await Promise.all(this.spaces.map(({ clients: [client] }) => retried(() => client.push())));
    await Promise.all(this.clients.map((client) => client.empty()));
  }

  /** One client, until the life is over. */
  async #run(client) {
    while (!this.#isOver) {
      try {
        await client.step();
        client.steps = (client.steps ?? 0) + 1;
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        await pause(10);
      }
    }
  }

  async #crash(rounds) {
    for (let round = 0; round < rounds; round += 1) {
      await pause(this.random() * 300);
      const { sub } = this.spaces[Math.floor(this.random() * SPACES)];
      await this.runtime.object(sub, { abort: true });
      this.figures.aborts += 1;
      await pause(this.random() * 300);
      await this.#kill();
      await this.#setFaults();
      await this.#progress();
      this.figures.rounds += 1;
    }
  }

  async #kill() {
    await this.runtime.kill();
    this.figures.kills += 1;
  }

  /** The runtime's double of KV forgets what it was told with every kill. */
  async #setFaults() {
    await this.runtime.kv("home", "*", { seed: Math.floor(this.random() * 2 ** 31), rules: RULES });
  }

  /** Everybody gets answers again. */
  async #progress() {
    const before = this.clients.map(({ steps = 0 }) => steps);
    const stuck = () => this.clients.filter(({ steps = 0 }, at) => steps <= before[at] && !this.#isOver);
    await eventually(() => `answers for ${stuck().map(({ id }) => id)}`, () => stuck().length === 0);
  }

  async #isBehind({ sub, clients }) {
    const head = await this.runtime.head(sub);
    return !head || comparePositions(head.position, newestOf(clients)) < 0;
  }

  async #check({ sub, history, clients, isLarge }) {
    const { runtime, figures } = this;
    const reader = new Client(runtime, history, { sub, random: this.random, locations: ["home"] });
    await retried(() => endHistory(history, clients, reader));
    const lost = [];
    for (const { id, counted } of clients) {
      const there = countIn(reader.device.records, id);
      figures.losses += Math.max(0, counted - there);
      figures.duplicates += Math.max(0, there - counted);
      if (there !== counted) lost.push(`${id}: ${counted} mutations were acknowledged as applied, ${there} took effect`);
    }
    figures.acknowledged += clients.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
    figures.pushes += history.events.filter(({ kind }) => kind === "send").length;
    const { versions, reads } = checked(history, lost);
    figures.versions += versions;
    figures.reads += reads;
    await this.#checkPublished({ sub, isLarge }, reader.device);
  }

  async #checkPublished({ sub, isLarge }, { position, records }) {
    const { runtime } = this;
    const head = await runtime.waitForPublished(sub, position);
    assert.equal(head.position, position, "KV's head is not above the coordinator");
    const published = (await runtime.publishedState(sub)).records;
    const sorted = (all) => [...all].map(([key, { version, value }]) => [key, version, JSON.stringify(value)]).toSorted();
    assert.deepEqual(sorted(published), sorted(records), "what is published is what the coordinator has");
    // What the double has noted begins with the last kill, so the objects that an older process put are unknown to it.
    if (!isLarge) await runtime.checkPuts(sub);
  }
}
