// Leadership in a simulated world: tabs, one lock, one row, and a clock that only the test moves.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Leader, type LeaderRow, type Locks } from "../src/leader.ts";

class World {
  now = 0;
  row: LeaderRow | undefined;
  #timers: { at: number; call: () => void; tab: Tab }[] = [];
  #holder: { release: () => void; reject: (error: Error) => void } | null = null;
  #queue: { run: () => void; signal: AbortSignal | undefined }[] = [];

  readonly locks: Locks = {
    request: (_, { steal, signal }, hold) =>
      new Promise((resolve, reject) => {
        const run = () => {
          const held = { release: () => {}, reject };
          this.#holder = held;
          const done = () => {
            if (this.#holder !== held) return;
            this.#holder = null;
            this.#grant();
            resolve();
          };
          hold().then(done, done);
        };
        if (steal) {
          this.#holder?.reject(new Error("stolen"));
          this.#holder = null;
          run();
          return;
        }
        signal?.addEventListener("abort", () => reject(new Error("aborted")));
        this.#queue.push({ run, signal });
        if (!this.#holder) this.#grant();
      }),
  };

  #grant(): void {
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      if (next.signal?.aborted) continue;
      next.run();
      return;
    }
  }

  /** The page is gone, with what it held. */
  kill(tab: Tab): void {
    this.#timers = this.#timers.filter((timer) => timer.tab !== tab);
    tab.leader.close();
  }

  after(tab: Tab, ms: number, call: () => void): () => void {
    const timer = { at: this.now + ms, call, tab };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((one) => one !== timer));
  }

  async pass(ms: number): Promise<void> {
    const until = this.now + ms;
    for (;;) {
      await settled();
      const next = this.#timers.filter(({ at, tab }) => at <= until && !tab.frozen).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = Math.max(this.now, next.at);
      next.call();
    }
    this.now = until;
    await settled();
  }
}

const settled = async () => {
  for (let i = 0; i < 30; i++) await null;
};

class Tab {
  visible = true;
  frozen = false;
  leads = 0;
  /** What a lead begins with fails. */
  fails = false;
  readonly leader: Leader;
  readonly world: World;
  readonly steals: boolean[] = [];

  constructor(world: World, name: string, hasLocks = true) {
    this.world = world;
    this.leader = new Leader({
      name: "db", tab: name, locks: hasLocks ? world.locks : undefined, now: () => world.now, visible: () => this.visible,
      terms: {
        change: async (change) => {
          if (this.frozen) await new Promise(() => {});
          const changed = change(world.row);
          if (changed) world.row = changed;
          return world.row;
        },
      },
      after: (ms, call) => world.after(this, ms, call),
      onLead: async (term, stolen) => {
        this.leads = term;
        this.steals.push(stolen);
        if (this.fails) throw new Error("no room");
      },
      onFollow: () => (this.leads = 0),
    });
    this.leader.start();
  }
}

describe("leader", () => {
  test("one tab leads, and when it closes the next one does under a higher term", async () => {
    const world = new World();
    const [first, second] = [new Tab(world, "1"), new Tab(world, "2")];
    await world.pass(60_000);
    assert.deepEqual([first.leads, second.leads], [1, 0]);
    world.kill(first);
    await world.pass(1);
    assert.deepEqual([first.leads, second.leads, second.steals], [0, 2, [false]]);
  });

  test("a leader that stands still loses the lock to a visible tab after 30 s, and follows when it wakes", async () => {
    const world = new World();
    const [first, second, third] = [new Tab(world, "1"), new Tab(world, "2"), new Tab(world, "3")];
    third.visible = false;
    await world.pass(15_000);
    first.frozen = true;
    await world.pass(60_000);
    assert.deepEqual([second.leads, second.steals, third.leads, world.row?.stolen !== null], [2, [true], 0, true]);
    assert.equal(first.leads, 0, "the lock's promise has told it");
    first.frozen = false;
    // Whoever comes soon after a steal is told of it too.
    const fourth = new Tab(world, "4");
    assert.ok(world.now - Number(world.row?.stolen) < 60_000);
    await world.pass(120_000);
    assert.deepEqual([first.leads, second.leads, third.leads, fourth.leads], [0, 2, 0, 0]);
    world.kill(fourth);
    world.kill(second);
    await world.pass(60_000);
    // The hidden one may have had it first, and has yielded.
    assert.deepEqual([first.leads > 0, third.leads, world.row?.stolen], [true, 0, null]);
  });

  test("nobody steals while only hidden tabs see no beat, nor because clocks were set", async () => {
    const world = new World();
    const [first, second] = [new Tab(world, "1"), new Tab(world, "2")];
    second.visible = false;
    await world.pass(15_000);
    first.frozen = true;
    await world.pass(300_000);
    assert.equal(second.leads, 0);
    first.frozen = false;
    second.visible = true;
    await world.pass(1_000);
    // A beat that lies hours ahead or behind is a beat.
    if (world.row) world.row = { ...world.row, beat: -5_000_000 };
    await world.pass(20_000);
    assert.equal(second.steals.length, 0);
  });

  test("a hidden leader yields to a visible tab", async () => {
    const world = new World();
    const [first, second] = [new Tab(world, "1"), new Tab(world, "2")];
    await world.pass(1_000);
    first.visible = false;
    await world.pass(30_000);
    assert.deepEqual([first.leads, second.leads, second.steals], [0, 2, [false]]);
    await world.pass(60_000);
    assert.equal(second.leads, 2);
  });

  test("a commit that finds another term deposes, and the tab waits for the lock again", async () => {
    const world = new World();
    const tab = new Tab(world, "1");
    await world.pass(1_000);
    tab.leader.deposed();
    assert.equal(tab.leads, 0);
    await world.pass(1_000);
    assert.equal(tab.leads, 2);
  });

  test("a lead that cannot be begun is given up, and asked for again ever more seldom; another tab may do better", async () => {
    const world = new World();
    const tab = new Tab(world, "1");
    tab.fails = true;
    await world.pass(4_000);
    assert.deepEqual([tab.leads, tab.steals.length], [0, 1]);
    await world.pass(600_000);
    assert.ok(tab.steals.length >= 5 && tab.steals.length <= 9, `${tab.steals.length} times in ten minutes`);
    const other = new Tab(world, "2");
    await world.pass(1_000);
    assert.ok(other.leads > 0);
    tab.fails = false;
    await world.pass(300_000);
    world.kill(other);
    await world.pass(1_000);
    assert.ok(tab.leads > other.leads);
    // Whoever has led begins anew.
    tab.fails = true;
    tab.leader.deposed();
    const before = tab.steals.length;
    await world.pass(6_000);
    assert.equal(tab.steals.length, before + 2);
  });

  test("without locks a lease of 15 s decides, and a leader that comes late to its beat finds the term over", async () => {
    const world = new World();
    const [first, second] = [new Tab(world, "1", false), new Tab(world, "2", false)];
    await world.pass(60_000);
    assert.deepEqual([first.leads > 0, second.leads > 0].filter(Boolean).length, 1);
    const [leader, other] = first.leads ? [first, second] : [second, first];
    leader.frozen = true;
    await world.pass(25_000);
    const term = other.leads;
    assert.ok(term > leader.leads, `${term} after ${leader.leads}`);
    leader.frozen = false;
    await world.pass(30_000);
    assert.deepEqual([leader.leads, other.leads], [0, term]);
  });
});
