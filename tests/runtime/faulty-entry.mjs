// The built Worker with a faulty KV and a faulty storage under it: what the tests on the runtime run instead of
// build/index.js.

import Inner, { Coordinator as InnerCoordinator } from "../../build/index.js";
import { FaultyKv, control } from "./faulty-kv.mjs";
import { ObjectFaults } from "./faulty-storage.mjs";

const withFaults = (env, role) => ({ ...env, SNAPSHOTS: new FaultyKv(env.SNAPSHOTS, role) });

// The local runtime has one cache for all Workers, but a location's cache is its own. A new generation is an empty
// cache, and none at all is what `workers.dev` offers.
const cache = { location: "", generation: 0, enabled: true };
const cacheOf = (env) => cache.sharedWith ?? env.LOCATION;
const open = CacheStorage.prototype.open;
CacheStorage.prototype.open = function openHere(name) {
  const generation = cache.enabled ? cache.generation : crypto.randomUUID();
  return open.call(this, `${cache.location}.${generation}.${name}`);
};
// The isolates of a location have one host in production; here each has a port of its own.
for (const name of ["match", "put"]) {
  const real = Cache.prototype[name];
  Cache.prototype[name] = function atOneHost(url, ...rest) {
    return real.call(this, url.replace(/^https?:\/\/[^/]+/, "http://location"), ...rest);
  };
}

// What takes days in production happens when the clock is set. For an object only backwards, because the runtime's
// own clock rings its alarms: then they ring at once.
const realNow = Date.now;
let clockOffset = 0;
// How many times as fast time goes by for the Worker, since when.
let [pace, pacedFrom, paced] = [1, 0, 0];
Date.now = () => Math.floor(paced + (realNow() - pacedFrom) * pace + clockOffset);
const setRealTimeout = setTimeout;
globalThis.setTimeout = (then, ms = 0, ...rest) => setRealTimeout(then, ms / pace, ...rest);

function setPace(next) {
  paced += (realNow() - pacedFrom) * pace;
  [pace, pacedFrom] = [next, realNow()];
}

// A promise that fails and that nobody looks at is a mistake of the Worker, though no answer shows it.
const unhandled = [];
addEventListener("unhandledrejection", (event) => unhandled.push(String(event.reason)));

/** What the location's cache holds under a URL: headers and text, or null. */
async function peek(url) {
  const entry = await (await caches.open("headwater")).match(url);
  return entry ? { headers: Object.fromEntries(entry.headers), text: await entry.text() } : null;
}

async function answerControl(request, env) {
  const command = await request.json();
  if (command.object) {
    const stub = env.COORDINATOR.get(env.COORDINATOR.idFromName(command.scope));
    const init = { method: "POST", headers: { "kv-control": env.KV_CONTROL }, body: JSON.stringify(command.object) };
    const answer = stub.fetch("https://coordinator/__object", init);
    // An object that is ended does not answer.
    return command.object.abort ? answer.catch(() => Response.json({})) : answer;
  }
  clockOffset = command.clock ?? clockOffset;
  if (command.pace) setPace(command.pace);
  if (command.cache === "empty") cache.generation += 1;
  else if (command.cache !== undefined) cache.enabled = command.cache;
  // Another isolate of that location from now on.
  cache.sharedWith = command.location ?? cache.sharedWith;
  if (command.peek) return Response.json(await peek(command.peek));
  return Response.json({ ...(await control(command, env.SNAPSHOTS)), unhandled });
}

// How often each object was asked, by its id; an object that the platform ends for idling begins with nothing of its own.
const calls = new Map();

// Beside the Worker's class, not above it: that one is a proxy that returns another object than `this`.
export class Coordinator {
  #faults = new ObjectFaults();
  #state;
  #env;
  #inner;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
    this.#inner = new InnerCoordinator(this.#faults.wrap(state), withFaults(env, "object"));
  }

  async fetch(request) {
    if (request.headers.get("kv-control") !== this.#env.KV_CONTROL) {
      const id = String(this.#state.id);
      calls.set(id, (calls.get(id) ?? 0) + 1);
      this.#faults.admit();
      return this.#inner.fetch(request);
    }
    const { ring, abort, ...command } = await request.json();
    // Whatever it does is broken off and its memory is lost, as when the platform moves it; its isolate lives on.
    if (abort) this.#state.abort("ended by the test");
    // An alarm that the platform did not promise: too early, or once more.
    if (ring) await this.#inner.alarm();
    const answer = await this.#faults.control(command, this.#state.storage);
    return Response.json({ ...answer, calls: calls.get(String(this.#state.id)) ?? 0 });
  }

  alarm(info) {
    return this.#inner.alarm(info);
  }
}

export default {
  fetch(request, env, context) {
    cache.location = cacheOf(env);
    const isControl = new URL(request.url).pathname === "/__kv" && request.headers.get("kv-control") === env.KV_CONTROL;
    if (isControl) return answerControl(request, env);
    return new Inner(context, withFaults(env, "edge")).fetch(request);
  },
};
