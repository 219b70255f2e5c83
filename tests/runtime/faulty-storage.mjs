// An object's storage that waits or fails on command, keeps a journal of what is asked of it, and lets a test look into
// the tables. It stands between the object and the platform; every object has its own.

// Taken before the entry changes the clock that the Worker sees.
const realNow = Date.now;

/** What of storage can be told to wait or to fail. */
const CALLS = ["setAlarm", "deleteAlarm", "getAlarm", "sync", "transactionSync"];

const AN_HOUR = 3_600_000;
const waitReally = scheduler.wait.bind(scheduler);

export class ObjectFaults {
  // {call, fault, skip, times}: "error" fails; "full" does as where no byte is left; "used up" as where the free plan's rows, or
  // requests (of the call "fetch"), of a day are; "held" is made, and answered when the test says so; "lost" is answered and
  // never made. The call "exec" is a statement, and "answer" one of a request, which "hangs".
  rules = [];
  held = [];
  journal = []; // {call, fault, at}
  #commits;

  /** `commits`: see platform.mjs. */
  constructor(commits) {
    this.#commits = commits;
  }

  /** The object's state with these faults in front of its storage. */
  wrap(state) {
    const { sql } = state.storage;
    const exec = (...args) => {
      if (this.#choose("exec")) throw usedUp("rows read");
      return sql.exec(...args);
    };
    const storage = new Proxy(state.storage, {
      get: (real, name) => (name === "sql" ? { exec } : this.#method(real, name)),
    });
    return new Proxy(state, {
      get: (real, name) => (name === "storage" ? storage : bound(real, name)),
    });
  }

  #method(real, name) {
    if (!CALLS.includes(name)) return bound(real, name);
    return (...args) => {
      // An object whose clock was set back sets alarms in the past. The runtime rings them at once, but forgets one that a
      // handler sets in the very millisecond in which it was rung.
      if (name === "setAlarm") args[0] = Math.max(Number(args[0]), realNow() + 5);
      const rule = this.#choose(name);
      this.journal.push({ call: name, fault: rule?.fault ?? null, at: realNow() });
      if (rule?.fault === "full") throw new Error("database or disk is full: SQLITE_FULL");
      if (["error", "used up"].includes(rule?.fault)) {
        const error = rule.fault === "error" ? new Error("a fault of the test") : usedUp("rows written");
        if (name === "transactionSync") throw error;
        return Promise.reject(error);
      }
      if (rule?.fault === "lost") return Promise.resolve();
      const done = this.#commits.run(name, () => real[name](...args));
      if (rule?.fault !== "held") return done;
      return new Promise((resolve, reject) => {
        this.held.push((fails) => (fails ? reject(new Error("a fault of the test")) : resolve(done)));
      });
    };
  }

  /** Fails where the platform would not let a request reach the object. */
  admit() {
    if (this.#choose("fetch")?.fault === "used up") throw usedUp("volume of requests");
  }

  /** Waits where a request is never answered. */
  async hang() {
    if (this.#choose("answer")) await waitReally(AN_HOUR);
  }

  #choose(call) {
    const rule = this.rules.find((rule) => rule.call === call && rule.times !== 0);
    if (!rule) return null;
    if (rule.skip > 0) {
      rule.skip -= 1;
      return null;
    }
    rule.times = (rule.times ?? 1) - 1;
    return rule;
  }

  /**
   * Carries out one control request: `{clear, rules, release, sql, alarm}`, all optional. `clear` ends the rules that there
   * were; `release` "fail" makes the held calls fail; `alarm` null deletes the alarm, a number sets it.
   */
  async control({ clear, rules = [], release, sql = [], alarm }, storage) {
    if (clear) this.rules = [];
    this.rules.push(...rules);
    if (release) for (const go of this.held.splice(0)) go(release === "fail");
    if (alarm === null) await storage.deleteAlarm();
    else if (alarm !== undefined) await storage.setAlarm(alarm);
    const rows = sql.map(([text, ...params]) => [...storage.sql.exec(text, ...params).raw()]);
    const set = await storage.getAlarm();
    // What is due a day later is the deletion of parts.
    const rests = set === null || set > Date.now() + 12 * AN_HOUR;
    return { rows, alarm: set, rests, held: this.held.length, journal: this.journal };
  }
}

// As those who met it quote the platform.
const usedUp = (what) => new Error(`Exceeded allowed ${what} in Durable Objects free tier.`);

function bound(real, name) {
  const value = real[name];
  return typeof value === "function" ? value.bind(real) : value;
}
