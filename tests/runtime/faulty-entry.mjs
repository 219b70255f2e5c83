// The built Worker with a faulty KV, a faulty storage and what the real platform does under it: what the tests on the runtime
// run instead of build/index.js.

// First, because it sees the module begin.
import { Commits, behindFront, comes, controlPlatform, counted, placeOf, platformNow, reaches, used, waits, watched } from "./platform.mjs";
import Inner, { Coordinator as InnerCoordinator } from "../../build/index.js";
import { FaultyKv, control } from "./faulty-kv.mjs";
import { ObjectFaults } from "./faulty-storage.mjs";

const withFaults = (env, role) => {
  const SNAPSHOTS = waits(new FaultyKv(env.SNAPSHOTS, role), "get", "getWithMetadata", "put", "delete");
  // Analytics Engine that can be looked into: the log has its points.
  const writeDataPoint = (point) => console.log(JSON.stringify({ event: "point", ...point }));
  const dataset = env.ANALYTICS === "log" ? { ANALYTICS: { writeDataPoint } } : {};
  return { ...env, ...dataset, SNAPSHOTS, COORDINATOR: counted(env.COORDINATOR) };
};

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
    used[name] += 1;
    return real.call(this, url.replace(/^https?:\/\/[^/]+/, "http://location"), ...rest);
  };
}

// What takes days in production happens when the clock is set. For an object only backwards, because the runtime's
// own clock rings its alarms: then they ring at once.
let clockOffset = 0;
// How many times as fast time goes by for the Worker, since when.
let [pace, pacedFrom, paced] = [1, platformNow(), platformNow()];
Date.now = () => Math.floor(paced + (platformNow() - pacedFrom) * pace + clockOffset);
const setRealTimeout = setTimeout;
globalThis.setTimeout = (then, ms = 0, ...rest) => {
  const ring = (...args) => {
    comes();
    then(...args);
  };
  return setRealTimeout(ring, ms / pace, ...rest);
};
const waitReally = waits({ wait: scheduler.wait.bind(scheduler) }, "wait");
scheduler.wait = (ms, ...rest) => waitReally.wait(ms / pace, ...rest);
const timeoutReally = AbortSignal.timeout;
AbortSignal.timeout = (ms) => timeoutReally.call(AbortSignal, Math.ceil(ms / pace));

function setPace(next) {
  paced += (platformNow() - pacedFrom) * pace;
  [pace, pacedFrom] = [next, platformNow()];
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
  if (command.platform) return Response.json(await controlPlatform(command.platform));
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

// How often an instance of an object began, and how many messages of sockets came to it, by its id.
const [begun, messages] = [new Map(), new Map()];

// Beside the Worker's class, not above it: that one is a proxy that returns another object than `this`.
export class Coordinator {
  #commits = new Commits();
  #faults = new ObjectFaults(this.#commits);
  #state;
  #env;
  #inner;

  constructor(state, env) {
    comes();
    this.#state = state;
    this.#env = env;
    begun.set(String(state.id), (begun.get(String(state.id)) ?? 0) + 1);
    this.#inner = new InnerCoordinator(this.#faults.wrap(state), withFaults(env, "object"));
  }

  async fetch(request) {
    comes();
    const id = String(this.#state.id);
    if (request.headers.get("kv-control") !== this.#env.KV_CONTROL) {
      reaches(id, this.#env.COORDINATOR, request);
      this.#faults.admit();
      await this.#faults.hang();
      const answer = await this.#inner.fetch(request);
      await this.#commits.over();
      return answer;
    }
    const { ring, abort, ...command } = await request.json();
    // Whatever it does is broken off and its memory is lost, as when the platform moves it; its isolate lives on.
    if (abort) this.#state.abort("ended by the test");
    // An alarm that the platform did not promise: too early, or once more.
    if (ring) await this.#inner.alarm();
    const awake = { begun: begun.get(id) ?? 0, messages: messages.get(id) ?? 0 };
    return Response.json({ ...(await this.#faults.control(command, this.#state.storage)), ...placeOf(id), ...awake });
  }

  alarm(info) {
    comes();
    return this.#inner.alarm(info);
  }

  webSocketMessage(socket, message) {
    comes();
    messages.set(String(this.#state.id), (messages.get(String(this.#state.id)) ?? 0) + 1);
    return this.#inner.webSocketMessage(socket, message);
  }

  webSocketClose(...event) {
    comes();
    return this.#inner.webSocketClose(...event);
  }

  webSocketError(...event) {
    comes();
    return this.#inner.webSocketError(...event);
  }
}

export default {
  fetch(request, env, context) {
    comes();
    cache.location = cacheOf(env);
    const isControl = new URL(request.url).pathname === "/__kv" && request.headers.get("kv-control") === env.KV_CONTROL;
    if (isControl) return answerControl(request, env);
    return behindFront(request, () => new Inner(watched(context), withFaults(env, "edge")).fetch(request));
  },
};
