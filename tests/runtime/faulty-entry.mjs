// The built Worker with a faulty KV under it: what the tests on the runtime run instead of build/index.js.

import Inner, { Coordinator as InnerCoordinator } from "../../build/index.js";
import { FaultyKv, control } from "./faulty-kv.mjs";

const withFaults = (env, role) => ({ ...env, SNAPSHOTS: new FaultyKv(env.SNAPSHOTS, role) });

// The local runtime has one cache for all Workers, but a location's cache is its own. A new generation is an empty
// cache, and none at all is what `workers.dev` offers.
const cache = { location: "", generation: 0, enabled: true };
const open = CacheStorage.prototype.open;
CacheStorage.prototype.open = function openHere(name) {
  const generation = cache.enabled ? cache.generation : crypto.randomUUID();
  return open.call(this, `${cache.location}.${generation}.${name}`);
};

// What takes days in production happens when the clock is set. For an object only backwards, because the runtime's
// own clock rings its alarms: then they ring at once.
const realNow = Date.now;
let clockOffset = 0;
Date.now = () => realNow() + clockOffset;

async function answerControl(request, env) {
  const command = await request.json();
  clockOffset = command.clock ?? clockOffset;
  if (command.cache === "empty") cache.generation += 1;
  else if (command.cache !== undefined) cache.enabled = command.cache;
  return Response.json(await control(command, env.SNAPSHOTS));
}

export class Coordinator extends InnerCoordinator {
  constructor(state, env) {
    // The class of the Worker is a proxy that returns another object than `this`.
    return super(state, withFaults(env, "object"));
  }
}

export default {
  fetch(request, env, context) {
    cache.location = env.LOCATION;
    const isControl = new URL(request.url).pathname === "/__kv" && request.headers.get("kv-control") === env.KV_CONTROL;
    if (isControl) return answerControl(request, env);
    return new Inner(context, withFaults(env, "edge")).fetch(request);
  },
};
