// Random worlds for clients that obey: whatever becomes of two devices, they come to rest and no edit disappears or counts
// twice. What happens comes from the seed alone. Time does not: it decides only how often a rate refuses a request, of which
// nothing is done then.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Member, mintGrant, spaceId } from "./member.mjs";
import { Obedient, over } from "./obedient.mjs";

const EVENTS = 14;
const PROXY = { status: 502, body: null, retryAfter: 0.05 };
// Deletions of nothing, which change nothing. They cost 100 units, where a user has 80 at once, and a space 160.
const BUSY_CHANGES = 2000;
/** With these a user who has been busy is refused next, and so is a space whose two users have been. */
export const RATES = { RATE_USER_PER_S: "8", RATE_SPACE_PER_S: "16" };

/** Numbers in [0, n), from a seed (mulberry32). */
function chance(seed) {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n;
  };
}

/** An edit is known by its mark, and counts what is applied twice. */
export const count = (mark) => ({ op: "add", collection: "edits", id: `e${mark}`, path: "n", by: 1, orPut: { n: 1 } });
export const put = (id, value) => ({ op: "put", collection: "c", id, value });
const marksOf = (mutations) =>
  mutations.flatMap(({ changes }) => changes.filter(({ collection }) => collection === "edits").map(({ id }) => Number(id.slice(1))));

/** A push that uses up what a user has at once. */
export async function beBusy(one) {
  const changes = Array.from({ length: BUSY_CHANGES / 2 }, (_, at) => ({ op: "delete", collection: "none", id: `n${at}` }));
  const mutations = [1, 2].map((id) => ({ id, changes }));
  return one.ask("POST", "/sync/push", { body: { client: `c_busy_${randomBytes(4).toString("hex")}`, mutations } });
}

/** Lives through one world, and adds to `met` with which codes requests were refused. */
export async function live(runtime, seed, met) {
  const world = new (seed % 2 ? SharedWorld : PrivateWorld)(runtime, seed, met);
  try {
    await world.live();
  } catch (error) {
    throw new Error(`world ${seed} (${world.trace.join(", ")}): ${error.message}`, { cause: error });
  }
}

class World {
  trace = [];
  made = new Set();
  told = new Set(); // edits of which an application was told that they are not applied
  lost = new Set(); // edits that are not there any more, or never will be: of an emptied space, of a database that was lost
  copied = new Set(); // edits that stood in two databases, one of which knew nothing of what the other does
  sent = []; // edits in the order in which they were sent, also again

  constructor(runtime, seed, met) {
    Object.assign(this, { runtime, seed, met, random: chance(seed), fate: chance(seed + 1_000_000), carry: over(runtime) });
  }

  client(sub, space = "~") {
    const newToken = () => this.runtime.token(sub);
    // What something on the way seemed to refuse may have been done all the same.
    const marks = (why) => (why === "blocked" ? this.lost : this.told);
    const onTold = (why, changes) => marksOf(changes ? [{ changes }] : []).forEach((mark) => marks(why).add(mark));
    return Object.assign(new Obedient({ send: this.disturbed(), newToken, space, onTold }), { sub });
  }

  /** Now and then an answer is lost, or a proxy answers in its place. */
  disturbed() {
    let happens = null;
    return async (method, path, init) => {
      // A request of which nothing was done, or known, is disturbed again as it was to be.
      happens ??= [1, 2, 0, 0, 0, 0, 0, 0][this.fate(8)];
      if (happens === 1) {
        happens = null;
        return PROXY;
      }
      if (path.startsWith("/sync/push")) this.sent.push(...marksOf(JSON.parse(init.body).mutations));
      const answer = await this.carry(method, path, init);
      if (answer.body?.code) this.met.push(answer.body.code);
      if (answer.status === 0 || answer.status === 503 || answer.status === 429) return answer;
      const isLost = happens === 2;
      happens = null;
      return isLost ? PROXY : answer;
    };
  }

  async live() {
    await this.begin();
    const names = [...Object.keys(this.events), "edit", "edit", "edit", "edit", "sync", "sync", "sync"];
    for (const name of ["edit", "sync", "backup"]) for (const at of [0, 1]) await this.happen(name, at);
    const isBusyAt = this.random(EVENTS);
    for (let event = 0; event < EVENTS; event += 1) {
      if (event === isBusyAt) await this.happen("busy", this.random(2));
      await this.happen(names[this.random(names.length)], this.random(2));
    }
    for (const [at, one] of this.clients.entries()) {
      this.trace.push(`rest ${at}`);
      one.grant = null;
      assert.equal(await one.rest(), this.endOf(one), `client ${at}`);
    }
    await this.check();
  }

  async happen(name, at) {
    this.trace.push(`${name} ${at}`);
    this.clients[at].requests = 0;
    const one = this.clients[at];
    // Once in a world: it takes long until what it costs has come in again.
    await (name === "busy" ? beBusy(one) : this.events[name](one, at));
  }

  /** What happens in every world. */
  events = {
    edit: (one) => this.edit(one),
    sync: (one) => this.sync(one),
    backup: (one) => (one.copy = { ...one.backup(), sentBefore: this.sent.length }),
    restore: (one) => this.restore(one, one.copy),
    expire: (one) => (one.token = this.runtime.token(one.sub, { exp: Math.floor(Date.now() / 1000) - 600 })),
    elsewhere: (one) => {
      if (!one.position) return;
      const epoch = [one.position.epoch, "9zzzzzzzzzzzzz", "000000000000"][this.random(3)];
      const version = this.random(2) ? one.position.version : this.random(50);
      // What it has skipped within this history no pull brings: only a full state tells the truth then.
      if (epoch === one.position.epoch && version > one.position.version) one.records.set("skipped", {});
      one.position = { epoch, version };
    },
    forget: (one) => (one.acked = this.random(3)),
    // Its backup knows nothing of what it has sent since, and numbers others alike.
    relapse: async (one) => {
      this.edit(one);
      await this.sync(one);
      this.restore(one, one.copy);
      this.edit(one);
    },
    hole: (one) => {
      this.edit(one);
      this.edit(one);
      this.lose(marksOf(one.outbox.splice(0, 1)), one);
    },
  };

  edit(one) {
    const mark = this.made.size + 1;
    this.made.add(mark);
    one.edit([count(mark), ...(this.random(2) ? [put("hot", { mark })] : [])]);
  }

  async sync(one) {
    const end = await one.rest();
    assert.ok(["settled", ...this.stops].includes(end), end);
  }

  /** A copy of a database takes the place of one. */
  restore(one, copy, isOfAnother = false) {
    if (!copy) return;
    const [kept, sentSince] = [marksOf(copy.outbox), this.sent.slice(copy.sentBefore)];
    for (const mark of kept) if (isOfAnother || sentSince.includes(mark)) this.copied.add(mark);
    // What this device had not sent yet is lost with the database that the copy replaces.
    this.lose(marksOf(one.outbox).filter((mark) => !kept.includes(mark)), one);
    const { sentBefore: _, ...database } = copy;
    one.restore(database);
  }

  /** Edits are gone from one client's outbox. */
  lose(marks, one) {
    const elsewhere = marksOf(this.clients.filter((other) => other !== one).flatMap(({ outbox }) => outbox));
    for (const mark of marks) if (!elsewhere.includes(mark)) this.lost.add(mark);
  }

  /** What stands in the space goes, if `remove` is not refused. */
  async loseAll(remove) {
    const before = await this.truth();
    const { status } = await remove();
    // Whose answer was lost is told that it is gone.
    const isGone = status === 204 || status === 410;
    if (isGone) for (const mark of marksIn(before)) this.lost.add(mark);
    return isGone;
  }

  /** What the space itself says. */
  async truth() {
    const { sub, space } = this.clients[0];
    const observer = new Obedient({ send: this.carry, newToken: () => this.runtime.token(sub), space });
    await observer.pull("strong");
    return observer.records;
  }

  async check() {
    const truth = this.isDeleted ? new Map() : await this.truth();
    const there = marksIn(truth);
    for (const [at, one] of this.clients.entries()) {
      const isSettled = this.endOf(one) === "settled";
      if (isSettled) assert.equal(one.outbox.length, 0);
      if (isSettled) await one.pull("strong");
      if (isSettled && !one.records.has("skipped")) assert.deepEqual(one.records, truth, `what client ${at} shows`);
    }
    const kept = marksOf(this.clients.flatMap(({ outbox }) => outbox));
    const accounted = new Set([...there, ...kept, ...this.told, ...this.lost]);
    assert.deepEqual([...this.made].filter((mark) => !accounted.has(mark)), [], "edits that disappeared, and nobody was told");
    for (const mark of there.filter((mark) => !this.copied.has(mark))) {
      assert.equal(truth.get(`edits e${mark}`).value.n, 1, `how often edit ${mark} was applied`);
      assert.ok(!this.told.has(mark), `an application was told that edit ${mark} is not applied`);
    }
  }
}

const marksIn = (records) => [...records.keys()].filter((key) => key.startsWith("edits ")).map((key) => Number(key.slice(7)));

/** One user with two devices. */
class PrivateWorld extends World {
  stops = [];

  async begin() {
    const sub = this.runtime.subject("obedient");
    this.clients = [this.client(sub), this.client(sub)];
    Object.assign(this.events, {
      copy: (one, at) => this.restore(one, this.clients[1 - at].copy, true),
      empty: (one) => this.loseAll(() => one.ask("DELETE", "/spaces/~")),
      reset: (one) => one.ask("POST", "/spaces/~/reset-epoch"),
    });
  }

  endOf = () => "settled";
}

/** An owner and another user, who is a writer, a reader or no member, while there is a space at all. */
class SharedWorld extends World {
  stops = ["forbidden", "gone"];
  role = "writer";
  isDeleted = false;

  async begin() {
    const space = spaceId("obedient");
    this.clients = ["owner", "other"].map((name) => this.client(this.runtime.subject(name), space));
    const [owner, other] = this.clients;
    const [here, person] = [`/spaces/${space}`, `/spaces/${space}/members/${other.sub}`];
    const { body: { epoch: incarnation } } = await owner.ask("PUT", here);
    const give = async (role) => {
      if (role) await owner.ask("PUT", person, { body: { role } });
      else await owner.ask("DELETE", person);
      this.role = role;
    };
    await give("writer");
    Object.assign(this.events, {
      give: () => give(["reader", "writer", "writer", null][this.random(4)]),
      giveBack: () => give("writer"),
      grant: (one) => {
        const ended = { exp: Math.floor(Date.now() / 1000) - 1 };
        one.grant = mintGrant(this.runtime, { sub: one.sub, space, incarnation, ...[ended, { space: "another" }][this.random(2)] });
      },
      reset: () => owner.ask("POST", `${here}/reset-epoch`),
      delete: async () => {
        if (this.isDeleted || this.random(3)) return;
        this.isDeleted = await this.loseAll(() => owner.ask("DELETE", here));
      },
    });
  }

  endOf(one) {
    if (this.isDeleted) return "gone";
    if (one === this.clients[0] || this.role === "writer") return "settled";
    return this.role === "reader" && one.outbox.length === 0 ? "settled" : "forbidden";
  }
}
