// The location's cache.

import { drop } from "./kv.js";

const CACHE = "headwater";

// Three looks. Resolves to [metadata of the head, its value as a stream, when it was read, overlay as text, position after the
// last write], each null where there is none.
export async function readCache(base, writes) {
  const cache = await caches.open(CACHE);
  const [head, overlay, written] = await Promise.all([
    cache.match(`${base}/head`),
    cache.match(`${base}/overlay`),
    cache.match(writes),
  ]);
  return [
    head?.headers.get("headwater-metadata") ?? null,
    head?.headers.get("headwater-body") === "1" ? head.body : (drop(head?.body), null),
    head?.headers.get("headwater-read-at") ?? null,
    overlay ? await overlay.text() : null,
    written ? await written.text() : null,
  ];
}

export async function cacheHead(base, metadata, readAt, value, ttl) {
  const cache = await caches.open(CACHE);
  let body = value;
  if (body === undefined) {
    // Read without its body: the one that is there, if it is the same head's, stays.
    const there = await cache.match(`${base}/head`);
    const same = there?.headers.get("headwater-metadata") === metadata && there.headers.get("headwater-body") === "1";
    body = same ? await there.text() : (drop(there?.body), null);
  }
  const headers = {
    "cache-control": `max-age=${ttl}`,
    "headwater-metadata": metadata,
    "headwater-read-at": readAt,
    "headwater-body": body === null ? "0" : "1",
  };
  await cache.put(`${base}/head`, new Response(body ?? "", { headers }));
}

export async function cachedText(url) {
  const cache = await caches.open(CACHE);
  return (await cache.match(url))?.text();
}

// A text under a URL of ours.
export async function cacheText(url, text, ttl) {
  const cache = await caches.open(CACHE);
  await cache.put(url, new Response(text, { headers: { "cache-control": `max-age=${ttl}` } }));
}
