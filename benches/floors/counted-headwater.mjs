// Headwater as built, with what it uses of the platform counted, and besides how often the code of an object begins and how long it runs.
// GET /__counts shows it without asking any object, so that one which sleeps goes on sleeping.
import Built, { Coordinator as BuiltCoordinator } from "../../build/index.js";
import { KV, countedClass, countedFetch, counting } from "../../costs/counting.mjs";

const wrap = (env) => ({ ...env, SNAPSHOTS: counting(env.SNAPSHOTS, { ...KV, get: "kv_reads" }) });
let wrapped;

export const Coordinator = countedClass((state, env) => new BuiltCoordinator(state, wrap(env)));

export default {
  fetch: countedFetch((request, env, context) => new Built(context, (wrapped ??= wrap(env))).fetch(request)),
};
