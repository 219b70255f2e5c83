// A runtime whose use of the platform is counted while scripts run on it. Time is what a script says, so that what is counted is the
// same on a fast machine and on a slow one.

import assert from "node:assert/strict";
import { eventually, startRuntime } from "../tests/runtime/harness.mjs";

const SECOND = 1000;
/** The pace of a clock that stands still for a script, whatever the machine does meanwhile. */
const STANDS = 0.001;
const SCRIPT = new URL("counted-headwater.mjs", import.meta.url).pathname;

/** An object that begins anew reads some rows, and would do so wherever the machine took ten seconds. A script says where one does. */
const AWAKE = { unsafePreventEviction: true };

/** The counts that are not 0, in the order in which the runtime has them. */
export const used = (before, after) =>
  Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - before[name]]).filter(([, count]) => count !== 0));

const sum = (all) => all.reduce((total, one) => Object.fromEntries(Object.entries(one).map(([name, count]) => [name, count + (total[name] ?? 0)])), {});

export class Stage {
  results = {};
  start = Date.now();
  #ahead;
  #names = 0;
  #pinned = new Map();
  #stopped = new Map();

  /** `locations` are those whose clocks a script sets, so many ms `ahead` of the objects at first. Writes pass "here", whose clock goes. */
  static async set({ locations, variables, differing, ahead = 0 }) {
    const stage = new Stage();
    stage.#ahead = ahead;
    const options = { locations: [...locations, "here"], variables: { LOG_LEVEL: "error", ...variables }, differing, worker: { scriptPath: SCRIPT, objects: AWAKE } };
    stage.runtime = await startRuntime({ ...options, platform: { frozenClock: false, commitMs: 0 } });
    for (const at of locations) {
      await stage.runtime.setPace(at, STANDS);
      stage.#stopped.set(at, Date.now());
      await stage.pin(at, 0);
    }
    return stage;
  }

  async strike() {
    await this.runtime.stop();
    return this.results;
  }

  /** A user whom nobody else has, by the same name in every run. */
  user(name) {
    this.#names += 1;
    return `${name}-${this.#names}`;
  }

  /** A token that is good for as long as any script pretends that time goes by. */
  token(sub) {
    return this.runtime.token(sub, { exp: Math.floor(this.start / SECOND) + 10 * 86_400 });
  }

  device(sub, options = {}) {
    this.#names += 1;
    return this.runtime.device(sub, { id: `c_costs_${this.#names}`, token: this.token(sub), ...options });
  }

  /** What makes a member of shared spaces. */
  member(name) {
    const sub = this.user(name);
    return { sub, token: this.token(sub), client: `c_costs_${sub}` };
  }

  /** The Worker's time at a location, where it stands still, is from now on that of the start and so many ms. */
  async pin(location, ms) {
    this.#pinned.set(location, ms);
    await this.runtime.setClock(location, this.start + this.#ahead + ms - this.#stopped.get(location));
  }

  /** Lets so much time go by at a location. */
  async later(location, ms) {
    await this.pin(location, this.#pinned.get(location) + ms);
  }

  /**
   * What has been used so far, with what is done after the answers: it waits for all that is under way, at the locations and in the objects.
   * Of what is looked up in the cache only that at locations whose clock stands still: after a push an isolate looks once a second, so how
   * often depends on the machine. Look-ups are free.
   */
  async counts() {
    const stopped = [...this.#stopped.keys()];
    for (const at of stopped) {
      await eventually(`nothing goes on at ${at}`, async () => (await this.runtime.platform(at)).used.after === 0);
    }
    const all = this.runtime.locations.map(async (at) => {
      const counts = await eventually(`no event of an object is under way at ${at}`, async () => {
        const { counts, seen } = await (await this.runtime.fetch(at, "/__counts")).json();
        return seen.under_way === 0 && counts;
      });
      return stopped.includes(at) ? counts : { ...counts, cache_lookups: 0 };
    });
    return sum(await Promise.all(all));
  }

  /** Counts what is used while `work` runs, which does the thing that `id` names `n` times. */
  async count(id, n, work) {
    const before = await this.counts();
    await work();
    this.results[id] = { n, used: used(before, await this.counts()) };
  }

  /** Counts the same thing done `n` times, with `step` called before each, which is not counted. */
  async each(id, n, step, work) {
    const all = [];
    for (let at = 0; at < n; at += 1) {
      const input = await step(at);
      const before = await this.counts();
      await work(input, at);
      all.push(used(before, await this.counts()));
    }
    const names = Object.keys(await this.counts());
    const total = names.map((name) => [name, all.reduce((count, one) => count + (one[name] ?? 0), 0)]);
    this.results[id] = { n, used: Object.fromEntries(total.filter(([, count]) => count !== 0)) };
  }

  /** From now on the alarms that a user's object sets are lost. */
  async publishesNothing(sub) {
    await this.runtime.object(sub, { rules: [{ call: "setAlarm", fault: "lost", times: -1 }] });
  }

  /** Waits until the object of a user, or of `{scope}`, has nothing to do before the next day. */
  async rest(sub) {
    await eventually(`the object of ${sub} rests`, async () => (await this.runtime.object(sub)).rests);
  }
}

/** A poll: whether there is anything above where the device stands. */
export async function poll(device, { status = 304, at, source, tag = `"${device.position}"`, ...fields } = {}) {
  const answer = await device.askPull(device.query({ min: null, ...fields }), { at, headers: { "if-none-match": tag } });
  assert.equal(answer.status, status, answer.text);
  if (source) assert.equal(answer.response.headers.get("headwater-source"), source);
  return answer;
}

export const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
export const records = (count, bytes) => Array.from({ length: count }, (_, at) => [`r${at}`, { s: `${at} `.repeat(bytes).slice(0, bytes) }]);
