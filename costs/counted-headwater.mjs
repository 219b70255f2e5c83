// Headwater as the tests on the runtime run it, with a KV and a clock that do as they are told, and with what it uses counted.
import worker, { Coordinator as Tested } from "../tests/runtime/faulty-entry.mjs";
import { FaultyKv } from "../tests/runtime/faulty-kv.mjs";
import { KV, countCalls, countedClass, countedFetch } from "./counting.mjs";

// What the Worker asks for is counted, also where the double answers it without asking KV.
countCalls(FaultyKv.prototype, KV);
countCalls(Cache.prototype, { match: "cache_lookups" });

const isControl = (request) => request.headers.has("kv-control");

export const Coordinator = countedClass((state, env) => new Tested(state, env), isControl);
export default { fetch: countedFetch(worker.fetch, isControl) };
