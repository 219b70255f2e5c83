// A KV namespace in the memory of the isolate, for the comparisons that leave out what the local KV simulation costs.
// It has the methods that the Worker uses, with the platform's argument forms; nothing expires and nothing is stale.
const values = new Map();
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class MemoryKv {
  async get(key, options) {
    return read(values.get(key), options);
  }

  async getWithMetadata(key, options) {
    const entry = values.get(key);
    return { value: read(entry, options), metadata: entry?.metadata ?? null, cacheStatus: null };
  }

  async put(key, value, options) {
    const bytes = typeof value === "string" ? encoder.encode(value) : new Uint8Array(await new Response(value).arrayBuffer());
    values.set(key, { bytes, metadata: options?.metadata ?? null });
  }

  async delete(key) {
    values.delete(key);
  }

  async list() {
    return { keys: [...values.keys()].map((name) => ({ name })), list_complete: true, cacheStatus: null };
  }
}

function read(entry, options) {
  if (entry === undefined) return null;
  const type = typeof options === "string" ? options : (options?.type ?? "text");
  if (type === "stream") return new Response(entry.bytes).body;
  if (type === "arrayBuffer") return entry.bytes.slice().buffer;
  const text = decoder.decode(entry.bytes);
  return type === "json" ? JSON.parse(text) : text;
}
