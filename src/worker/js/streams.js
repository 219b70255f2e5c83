// Streams whose bytes do not enter wasm.

import { drop, readObject } from "./kv.js";

// Streams `start`, then the objects under `keys`, after each of them its line of `between`, then `end`. Their bytes do
// not pass through wasm, nor through JavaScript. Resolves to [stream, promise of its end], or to null when the first object
// is missing. When a later one is missing or breaks, the stream ends without `end`: the client goes on from the last cursor. So it
// does after `lastsMs`. So many are opened `ahead`. With `sub` objects are sent as operations of Dexie Cloud,
// on records of that user.
export async function streamObjects(env, start, keys, between, end, lastsMs, cacheTtls, ahead, sub) {
  // What wasm hands over is its own memory, and moves with it.
  const ttls = [...cacheTtls];
  const opened = [];
  const open = (index) => {
    if (index >= keys.length) return;
    opened[index] = readObject(env, keys[index], ttls);
    opened[index].catch(() => {});
  };
  for (let index = 0; index < ahead; index += 1) open(index);
  const first = await opened[0].catch((error) => error);
  if (!(first instanceof ReadableStream)) {
    for (const object of opened) object.then(drop, () => {});
    if (first === null) return null;
    throw first;
  }
  const { readable, writable } = new IdentityTransformStream();
  const encoder = new TextEncoder();
  const signal = AbortSignal.timeout(lastsMs);
  const write = async (text) => {
    if (text === "") return;
    const writer = writable.getWriter();
    const abort = () => writer.abort().catch(() => {});
    signal.addEventListener("abort", abort);
    await writer.write(encoder.encode(text));
    signal.removeEventListener("abort", abort);
    writer.releaseLock();
  };
  const send = async () => {
    let before = start;
    for (let index = 0; index < keys.length; index += 1) {
      const object = await opened[index];
      open(index + ahead);
      if (object === null) return write(before);
      await write(before);
      const lines = sub === undefined ? object : object.pipeThrough(toMuts(sub), { signal });
      await lines.pipeTo(writable, { preventClose: true, preventAbort: true, signal });
      before = between[index];
    }
    return write(before + end);
  };
  // Closed, not aborted, even when something broke: an abort would take back what the compressor still holds.
  // At its end nobody may still get that either.
  const close = () => (signal.aborted ? writable.abort() : writable.close());
  const sent = send().catch(() => {}).then(close).catch(() => {});
  return [readable, sent];
}

// A stream that wasm writes text into.
export class TextPipe {
  constructor() {
    const { readable, writable } = new IdentityTransformStream();
    this.readable = readable;
    this.writer = writable.getWriter();
    this.encoder = new TextEncoder();
  }
  // Rejects, and breaks the stream off, when nobody reads a slice of it for so long.
  async write(text, sliceBytes, idleMs) {
    const bytes = this.encoder.encode(text);
    for (let at = 0; at < bytes.length; at += sliceBytes) await this.writeSlice(bytes.subarray(at, at + sliceBytes), idleMs);
  }
  async writeSlice(bytes, idleMs) {
    let timer;
    const idle = new Promise((_, reject) => (timer = setTimeout(reject, idleMs)));
    try {
      await Promise.race([this.writer.write(bytes), idle]);
    } catch (error) {
      this.writer.abort().catch(() => {});
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
  close() {
    return this.writer.close();
  }
}

// A record line. What becomes of it, `src/fronts/dexie/answer.rs` makes of lines that wasm has.
const LINE = /^\{"version":\d+,"collection":"([^"]+)","id":("(?:[^"\\]|\\.)*"),(?:"value":(\{.*\})|"deleted":true)\}$/s;
// Operations are so long at most: what is applied in one go takes memory at the client.
const KEYS_MAX = 500;

// Makes `,{"table":…,"muts":[…]}` of lines: neighbouring ones of one collection and kind are one operation. Values say that they
// belong to `sub`, before their own fields: the last of two equal names counts, so what a record says itself stays.
function toMuts(sub) {
  const id = JSON.stringify(sub);
  const owned = `"realmId":${id},"owner":${id}`;
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let rest = "";
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop();
      const text = mutsOf(lines, owned);
      if (text !== "") controller.enqueue(encoder.encode(text));
    },
    // What is left is no line: an object that is cut off has broken.
    flush(controller) {
      if (rest + decoder.decode() !== "") controller.error(new Error("an object ends within a line"));
    },
  });
}

function mutsOf(lines, owned) {
  const texts = [];
  let open;
  const close = () => {
    if (open === undefined) return;
    const values = open.values === undefined ? "" : `,"values":[${open.values.join(",")}]`;
    const type = open.values === undefined ? "delete" : "upsert";
    texts.push(`,{"table":"${open.table}","muts":[{"type":"${type}","keys":[${open.keys.join(",")}]${values}}]}`);
    open = undefined;
  };
  for (const line of lines) {
    const parts = LINE.exec(line);
    if (parts === null) throw new Error("this is no record line");
    const [, table, id, value] = parts;
    if (table.startsWith("$")) continue;
    const goesOn = open?.table === table && (open.values === undefined) === (value === undefined);
    if (!goesOn || open.keys.length === KEYS_MAX) {
      close();
      open = { table, keys: [], values: value === undefined ? undefined : [] };
    }
    open.keys.push(id);
    if (value !== undefined) open.values.push(value === "{}" ? `{${owned}}` : `{${owned},${value.slice(1)}`);
  }
  close();
  return texts.join("");
}
