// The alternatives as one Worker, with what they use counted as Headwater's is: POST /<alternative>/<space> with `{from}` pulls, and with
// `{records}` pushes. A path that begins with /cdn is one that the CDN asks R2 for itself, and no Worker request.
import { KV, R2, countCalls, counting, countedClass, countedD1, countedFetch } from "../../costs/counting.mjs";
import d1 from "./d1.mjs";
import kvNaive from "./kv-naive.mjs";
import { Store as UncountedStore, cachedObject, object } from "./object.mjs";
import r2 from "./r2.mjs";

const ALTERNATIVES = { kv_naive: kvNaive, object_only: object, object_cache: cachedObject, d1, r2_cdn: r2 };

countCalls(Cache.prototype, { match: "cache_lookups" });

export const Store = countedClass((state) => new UncountedStore(state));

const wrap = (env) => ({ ...env, KV: counting(env.KV, KV), R2: counting(env.R2, R2), D1: countedD1(env.D1) });
const isByCdn = (request) => new URL(request.url).pathname.startsWith("/cdn/");

async function answer(request, env) {
  const [name, space] = new URL(request.url).pathname.replace("/cdn/", "/").slice(1).split("/");
  const wrapped = wrap(env);
  const { from, records } = await request.json();
  const alternative = ALTERNATIVES[name];
  if (space === "set-up") return Response.json((await alternative.setUp?.(wrapped)) ?? null);
  return Response.json(records ? await alternative.push(wrapped, space, records) : await alternative.pull(wrapped, space, from));
}

export default { fetch: countedFetch(answer, isByCdn) };
