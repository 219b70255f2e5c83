// Headwater as built, and what of the platform it uses besides: how often the code of an object runs, for how long, and what it asks of
// storage and KV. GET /counts shows it without asking any object, so that one which sleeps goes on sleeping.
import Built, { Coordinator as BuiltCoordinator } from "../../build/index.js";

// Of all objects of this isolate, since it began. It outlives an object that falls asleep.
const counts = {
  instances: 0, requests: 0, messages: 0, alarms: 0, closes: 0, ms: 0,
  rows_read: 0, rows_written: 0, alarms_set: 0, kv_reads: 0, kv_writes: 0, worker_requests: 0,
};

const bound = (real, name) => (typeof real[name] === "function" ? real[name].bind(real) : real[name]);

/** A thing of the platform whose calls of these names are counted. */
const counting = (real, names) =>
  new Proxy(real, {
    get(_, name) {
      const count = names[name];
      const value = bound(real, name);
      if (!count) return value;
      return (...args) => {
        counts[count] += 1;
        return value(...args);
      };
    },
  });

const KV = { get: "kv_reads", getWithMetadata: "kv_reads", put: "kv_writes" };
const wrap = (env) => ({ ...env, SNAPSHOTS: counting(env.SNAPSHOTS, KV) });

// Beside the Worker's class, not above it: that one is a proxy that returns another object than `this`.
export class Coordinator {
  #cursors = [];
  #inner;

  constructor(state, env) {
    counts.instances += 1;
    const { sql } = state.storage;
    const exec = (...args) => {
      const cursor = sql.exec(...args);
      this.#cursors.push(cursor);
      return cursor;
    };
    const storage = counting(state.storage, { setAlarm: "alarms_set" });
    const counted = new Proxy(storage, { get: (real, name) => (name === "sql" ? { exec } : real[name]) });
    this.#inner = new BuiltCoordinator(new Proxy(state, { get: (real, name) => (name === "storage" ? counted : bound(real, name)) }), wrap(env));
  }

  async #run(count, work) {
    counts[count] += 1;
    const begun = performance.now();
    try {
      return await work();
    } finally {
      counts.ms += performance.now() - begun;
      // A cursor knows what it has read and written once it is at its end.
      for (const { rowsRead, rowsWritten } of this.#cursors.splice(0)) {
        counts.rows_read += rowsRead;
        counts.rows_written += rowsWritten;
      }
    }
  }

  fetch(request) {
    return this.#run("requests", () => this.#inner.fetch(request));
  }
  alarm(info) {
    return this.#run("alarms", () => this.#inner.alarm(info));
  }
  webSocketMessage(...event) {
    return this.#run("messages", () => this.#inner.webSocketMessage(...event));
  }
  webSocketClose(...event) {
    return this.#run("closes", () => this.#inner.webSocketClose(...event));
  }
  webSocketError(...event) {
    return this.#run("closes", () => this.#inner.webSocketError(...event));
  }
}

let wrapped;

export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/counts") return Response.json(counts);
    counts.worker_requests += 1;
    return new Built(context, (wrapped ??= wrap(env))).fetch(request);
  },
};
