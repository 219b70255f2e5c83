// Bodies as they arrive. A length may be missing or a lie and a sender may stop, so what counts is what came; and no more is
// held than an isolate has room for beside everything else.

// Bytes of bodies that the isolate holds at once.
const HELD_MAX = 32 * 1024 * 1024;
// Bytes of a body that is too long, or not wanted, that are read all the same: four times what is taken.
const READ_MAX = 16 * 1024 * 1024;
// Most bodies are short and say so, and the platform ends them where they have said. One read for all of such a body costs
// a tenth of a push less than reading it by chunks; it cannot see a pause, so the whole has a time by its length.
const WHOLE_BODY = 256 * 1024;
// Bytes that an array begins with, unless the body has fewer.
const FIRST_BYTES = 16 * 1024;

// What is said instead of a body.
const TOO_LONG = null;
const NOT_ARRIVED = undefined;
const OVERLOADED = false;

// The bodies that are held, each with its bytes and until when it is held at most: a request whose client hangs up is dropped
// without a word, so nothing of it says that it has ended.
const bodies = new Set();
let held = 0;

function hold(body, bytes) {
  if (held + bytes > HELD_MAX) {
    const now = Date.now();
    for (const other of bodies) if (other.until < now) letGo(other);
  }
  if (held + bytes > HELD_MAX) return false;
  bodies.add(body);
  body.bytes += bytes;
  held += bytes;
  return true;
}

function letGo(body) {
  bodies.delete(body);
  held -= body.bytes;
  body.bytes = 0;
}

// Bytes that come one after the other, in one array that doubles: a list of chunks would keep each of them, and there may be
// as many as bytes.
class Growing {
  array = new Uint8Array(0);
  length = 0;

  // `most` is how many are expected at most; `mayGrow` is asked before so many bytes more are taken.
  constructor(most, mayGrow = () => true) {
    this.most = most;
    this.mayGrow = mayGrow;
  }

  // Whether there was room for them.
  add(chunk) {
    const length = this.length + chunk.length;
    if (length > this.array.length) {
      const doubled = Math.max(2 * this.array.length, FIRST_BYTES);
      const array = this.grown(Math.max(length, Math.min(doubled, this.most)));
      if (array === null) return false;
      array.set(this.bytes());
      this.array = array;
    }
    this.array.set(chunk, this.length);
    this.length = length;
    return true;
  }

  grown(size) {
    return this.mayGrow(size - this.array.length) ? new Uint8Array(size) : null;
  }

  bytes() {
    return this.array.subarray(0, this.length);
  }
}

// All bytes of a stream, or null when it has more than `limit`.
export async function collect(stream, limit) {
  const growing = new Growing(limit);
  for await (const chunk of stream) {
    if (growing.length + chunk.length > limit) return null;
    growing.add(chunk);
  }
  return growing.bytes();
}

// The bytes of a client's body; null when it has more than `limit`, undefined when it does not arrive: nothing of it for
// `idleMs`, or not all of it within `totalMs`; false when the isolate holds too many others.
export function receiveBody(request, limit, idleMs, totalMs) {
  return withBody(request, limit, idleMs, totalMs, (body) => body);
}

// What `use` makes of the body, which is held until then, or what is said instead of a body.
export async function withBody(request, limit, idleMs, totalMs, use) {
  if (request.body === null) return use(new Uint8Array(0));
  const body = { bytes: 0, until: 0 };
  try {
    const bytes = await receive(request, limit, idleMs, totalMs, body);
    body.until = Date.now() + totalMs;
    return bytes instanceof Uint8Array ? await use(bytes) : bytes;
  } finally {
    letGo(body);
  }
}

async function receive(request, limit, idleMs, totalMs, body) {
  const said = request.headers.get("content-length") ?? "";
  const stated = /^\d+$/.test(said) ? Number(said) : null;
  const begun = Date.now();
  if (stated !== null && stated <= Math.min(limit, WHOLE_BODY)) {
    const ms = idleMs + (totalMs * stated) / Math.max(limit, 1);
    body.until = begun + ms + 1000;
    if (hold(body, stated)) return receiveWhole(request, limit, ms);
  }
  const reader = request.body.getReader();
  let [timer, heard, isOver] = [null, begun, false];
  let refused = stated > limit ? TOO_LONG : undefined;
  const read = async () => {
    const growing = new Growing(Math.min(stated ?? limit, limit), (bytes) => hold(body, bytes));
    // A sender that is cut off while it writes does not see the answer: so more is read than is taken.
    for (let length = 0; length <= READ_MAX; ) {
      const { done, value } = await reader.read();
      if (isOver) return NOT_ARRIVED;
      if (done) return refused === undefined ? growing.bytes() : refused;
      heard = Date.now();
      body.until = heard + idleMs + 1000;
      length += value.length;
      if (refused !== undefined) continue;
      if (length > limit) refused = TOO_LONG;
      else if (!growing.add(value)) refused = OVERLOADED;
      if (refused !== undefined) {
        growing.array = new Uint8Array(0);
        letGo(body);
      }
    }
    return refused;
  };
  // One race for the whole: one for each chunk would leave a reaction behind on the deadline's promise.
  const late = new Promise((resolve) => {
    const look = () => {
      const left = Math.min(heard + idleMs, begun + totalMs) - Date.now();
      if (left > 0) timer = setTimeout(look, left);
      else resolve(refused);
    };
    timer = setTimeout(look, idleMs);
  });
  try {
    return await Promise.race([read(), late]);
  } catch {
    return NOT_ARRIVED;
  } finally {
    isOver = true;
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

async function receiveWhole(request, limit, ms) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  const body = await Promise.race([request.arrayBuffer(), late]).catch(() => undefined);
  clearTimeout(timer);
  if (body === undefined) return NOT_ARRIVED;
  return body.byteLength > limit ? TOO_LONG : new Uint8Array(body);
}
