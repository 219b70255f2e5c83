// What a Worker uses of the platform, counted by the names of `operations` in prices.json. A module that runs in workerd: a Worker under
// measurement is wrapped in it, and nothing of what is counted asks an object, so one that sleeps goes on sleeping.

/** Of all objects and requests of this isolate, since it began. It outlives an object that falls asleep. */
export const counts = {
  worker_requests: 0, cache_lookups: 0,
  kv_reads: 0, kv_writes: 0, kv_deletes: 0, kv_lists: 0,
  object_requests: 0, alarms: 0, socket_messages: 0, socket_closes: 0,
  rows_read: 0, rows_written: 0, alarms_set: 0,
  d1_rows_read: 0, d1_rows_written: 0, r2_class_a: 0, r2_class_b: 0,
};

/** What nobody bills: how often an instance of an object began, for how many ms they ran, and how many of their events are under way. */
const seen = { instances: 0, object_ms: 0, under_way: 0 };

const bound = (real, name) => (typeof real[name] === "function" ? real[name].bind(real) : real[name]);

/** A thing of the platform whose calls of these names are counted. */
export function counting(real, names) {
  return new Proxy(real, {
    get(_, name) {
      const value = bound(real, name);
      const count = names[name];
      if (!count) return value;
      return (...args) => {
        counts[count] += 1;
        return value(...args);
      };
    },
  });
}

/** Counts the calls of a class of the platform, for all who use it. */
export function countCalls(prototype, names) {
  for (const [name, count] of Object.entries(names)) {
    const real = prototype[name];
    prototype[name] = function counted(...args) {
      counts[count] += 1;
      return real.apply(this, args);
    };
  }
}

export const KV = { getWithMetadata: "kv_reads", put: "kv_writes", delete: "kv_deletes", list: "kv_lists" };
/** Deletions from R2 are free. */
export const R2 = { put: "r2_class_a", list: "r2_class_a", get: "r2_class_b", head: "r2_class_b" };

/** A D1 database whose statements are run by `batch`, which says what they read and wrote. */
export function countedD1(database) {
  const batch = async (statements) => {
    const results = await database.batch(statements);
    for (const { meta } of results) {
      counts.d1_rows_read += meta.rows_read;
      counts.d1_rows_written += meta.rows_written;
    }
    return results;
  };
  return { prepare: (text) => database.prepare(text), batch };
}

let cursors = [];

// A cursor knows what it has read and written once it is at its end, which is before anything is awaited.
function addRows() {
  for (const { rowsRead, rowsWritten } of cursors) {
    counts.rows_read += rowsRead;
    counts.rows_written += rowsWritten;
  }
  cursors = [];
}

/** An object's state whose rows and alarms are counted. */
function countedState(state) {
  const { sql } = state.storage;
  const exec = (...args) => {
    const cursor = sql.exec(...args);
    cursors.push(cursor);
    return cursor;
  };
  const rows = new Proxy(sql, { get: (real, name) => (name === "exec" ? exec : bound(real, name)) });
  const calls = counting(state.storage, { setAlarm: "alarms_set" });
  const storage = new Proxy(calls, { get: (real, name) => (name === "sql" ? rows : real[name]) });
  return new Proxy(state, { get: (real, name) => (name === "storage" ? storage : bound(real, name)) });
}

/**
 * A class of objects with what they use counted. `make` makes the object itself, which stands beside this class, not below it: a class of
 * workers-rs is a proxy that returns another object than `this`. `isControl` says of a request that it is the measurement's own.
 */
export function countedClass(make, isControl = () => false) {
  return class Counted {
    #inner;

    constructor(state, env) {
      seen.instances += 1;
      this.#inner = make(countedState(state), env);
    }

    async #run(count, work) {
      counts[count] += 1;
      seen.under_way += 1;
      const begun = performance.now();
      try {
        return await work();
      } finally {
        seen.under_way -= 1;
        seen.object_ms += performance.now() - begun;
        addRows();
      }
    }

    fetch(request) {
      return isControl(request) ? this.#inner.fetch(request) : this.#run("object_requests", () => this.#inner.fetch(request));
    }
    alarm(info) {
      return this.#run("alarms", () => this.#inner.alarm(info));
    }
    webSocketMessage(...event) {
      return this.#run("socket_messages", () => this.#inner.webSocketMessage(...event));
    }
    webSocketClose(...event) {
      return this.#run("socket_closes", () => this.#inner.webSocketClose(...event));
    }
    webSocketError(...event) {
      return this.#run("socket_closes", () => this.#inner.webSocketError(...event));
    }
  };
}

/** A Worker's `fetch` with its requests counted; `GET /__counts` shows what has been used. */
export function countedFetch(fetch, isFree = () => false) {
  return (request, ...rest) => {
    if (new URL(request.url).pathname === "/__counts") {
      addRows();
      return Response.json({ counts, seen });
    }
    if (!isFree(request)) counts.worker_requests += 1;
    return fetch(request, ...rest);
  };
}
