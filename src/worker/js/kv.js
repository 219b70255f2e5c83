// The namespace, and waiting.

// Resolves to [metadata as JSON or null, value as a stream or null].
export async function readHead(env, key, cacheTtl) {
  const { value, metadata } = await env.SNAPSHOTS.getWithMetadata(key, { type: "stream", cacheTtl });
  return [metadata === null ? null : JSON.stringify(metadata), value];
}

// The metadata alone.
export async function readMetadata(env, key, cacheTtl) {
  const { value, metadata } = await env.SNAPSHOTS.getWithMetadata(key, { type: "stream", cacheTtl });
  drop(value);
  return metadata === null ? null : JSON.stringify(metadata);
}

export function textOf(stream) {
  return new Response(stream).text();
}

// A body that nobody wants must be cancelled, or it keeps one of the six connections.
export function drop(stream) {
  stream?.cancel().catch(() => {});
}

// Looks for an object that is not there once more, with the second of the two times.
export async function readObject(env, key, [cacheTtl, again]) {
  const read = (cacheTtl) => env.SNAPSHOTS.get(key, { type: "stream", cacheTtl });
  return (await read(cacheTtl)) ?? read(again);
}

// Both resolve to "" when KV has done it, else to KV's own words, or "timeout": then nobody knows.
export function putValue(env, key, value, options, timeoutMs) {
  return inTime(env.SNAPSHOTS.put(key, value, JSON.parse(options)), timeoutMs);
}

export function deleteValue(env, key, timeoutMs) {
  return inTime(env.SNAPSHOTS.delete(key), timeoutMs);
}

async function inTime(write, timeoutMs) {
  let timer;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(() => resolve("timeout"), timeoutMs);
  });
  const done = write.then(
    () => "",
    (error) => String(error?.message ?? error) || "error",
  );
  const outcome = await Promise.race([done, timeout]);
  clearTimeout(timer);
  return outcome;
}

export function pause(ms) {
  return scheduler.wait(ms);
}
