// Floor (b): floor (a) over a KV in memory. PUT stores a value, for the bench to set up what Headwater has too.
import floor from "./kv.mjs";
import { MemoryKv } from "./memory-kv.mjs";

const env = { KV: new MemoryKv() };

export default {
  async fetch(request) {
    if (request.method !== "PUT") return floor.fetch(request, env);
    await env.KV.put(new URL(request.url).pathname.slice(1), await request.arrayBuffer());
    return new Response("stored");
  },
};
