// Headwater as built, over a KV in memory for its Worker and its object.
import Built, { Coordinator as BuiltCoordinator } from "../../build/index.js";
import { MemoryKv } from "./memory-kv.mjs";

const SNAPSHOTS = new MemoryKv();
let wrapped;
// The environment is the same object for every request, so it is wrapped once, as a deployed one would be.
const wrap = (env) => (wrapped ??= { ...env, SNAPSHOTS });

export class Coordinator extends BuiltCoordinator {
  constructor(state, env) {
    return super(state, wrap(env));
  }
}

export default {
  fetch(request, env, context) {
    // GET /memory/<key> shows what publication has written, so that the bench can wait for it.
    const path = request.url.indexOf("/", 8);
    if (request.url.startsWith("/memory/", path)) return show(request.url.slice(path + 8));
    return new Built(context, wrap(env)).fetch(request);
  },
};

async function show(key) {
  const value = await SNAPSHOTS.get(key, "stream");
  return new Response(value, { status: value === null ? 404 : 200 });
}
