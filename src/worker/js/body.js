// Bodies as they arrive. A length may be missing or a lie and a sender may stop, so what counts is what came; and no more is
// held than an isolate has room for beside everything else, and of one user's no more than is left for all others.

// What is said instead of a body, for `refusal_of` in fronts/headwater/body.rs.
const TOO_LONG = "too long";
const LATE = "late";
const OVERLOADED = "overloaded";
const BROKEN = "broken";

// limits.rs says what these are.
let [heldMax, idleMs, totalMs, bytesPerS, drainedMax] = [0, 0, 0, 0, 0];
let [readFirst, readMost, firstBytes, packedSlice] = [0, 0, 0, 0];
export function configureBodies(...bounds) {
  [heldMax, idleMs, totalMs, bytesPerS, drainedMax, readFirst, readMost, firstBytes, packedSlice] = bounds;
}

// The bodies that are held, each with its bytes and until when it is held at most: a request whose client hangs up is dropped
// without a word, so nothing of it says that it has ended.
const bodies = new Set();
// Their bytes in all, and by user.
let all = 0;
const shares = new Map();

function hold(body, bytes) {
  const hasRoom = () => (shares.get(body.user) ?? 0) + bytes <= heldMax - all - bytes;
  if (!hasRoom()) {
    const now = Date.now();
    for (const other of bodies) if (other.until < now) letGo(other);
  }
  if (!hasRoom()) return false;
  bodies.add(body);
  count(body, bytes);
  return true;
}

function letGo(body) {
  bodies.delete(body);
  count(body, -body.bytes);
}

function count(body, bytes) {
  body.bytes += bytes;
  all += bytes;
  const share = (shares.get(body.user) ?? 0) + bytes;
  if (share > 0) shares.set(body.user, share);
  else shares.delete(body.user);
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
      const doubled = Math.max(2 * this.array.length, firstBytes);
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

// The bytes of a user's body, unpacked, or what is said instead: that it has more than `limit` of them, that it is late, that
// the isolate holds too many others, or that it is no gzip.
export function receiveBody(request, user, isGzip, limit) {
  return withBody(request, user, isGzip, limit, (bytes) => bytes);
}

// What `use` makes of the body, which is held until then, or what is said instead of a body.
export async function withBody(request, user, isGzip, limit, use) {
  if (request.body === null) return use(new Uint8Array(0));
  const body = { user, bytes: 0, until: 0 };
  try {
    let bytes = await receive(request, limit, body);
    body.until = Date.now() + totalMs;
    if (isGzip && bytes instanceof Uint8Array) bytes = await unpack(bytes, limit, body);
    return bytes instanceof Uint8Array ? await use(bytes) : bytes;
  } finally {
    letGo(body);
  }
}

async function receive(request, limit, body) {
  const said = request.headers.get("content-length") ?? "";
  const stated = /^\d+$/.test(said) ? Number(said) : null;
  const begun = Date.now();
  const reader = request.body.getReader({ mode: "byob" });
  let [timer, heard, length, isOver] = [null, begun, 0, false];
  let refused = stated > limit ? TOO_LONG : null;
  const read = async () => {
    const growing = new Growing(Math.min(stated ?? limit, limit), (bytes) => hold(body, bytes));
    let room = new ArrayBuffer(Math.min(stated || readFirst, readFirst));
    // A sender that is cut off while it writes does not see the answer: so more is read than is taken.
    while (length <= drainedMax) {
      const { done, value } = await reader.read(new Uint8Array(room));
      if (isOver) return LATE;
      if (done) break;
      heard = Date.now();
      body.until = heard + idleMs + 1000;
      length += value.length;
      if (length > limit) refused ??= TOO_LONG;
      if (refused === null && !growing.add(value)) refused = OVERLOADED;
      if (refused !== null && body.bytes > 0) {
        growing.array = new Uint8Array(0);
        letGo(body);
      }
      // The platform ends a body where it has said.
      if (length === stated) break;
      room = value.buffer.byteLength < Math.min(length, readMost) ? new ArrayBuffer(2 * value.buffer.byteLength) : value.buffer;
    }
    return refused ?? growing.bytes();
  };
  // One race for the whole: one for each chunk would leave a reaction behind on the deadline's promise.
  const late = new Promise((resolve) => {
    const look = () => {
      const slowest = begun + idleMs + (1000 * length) / bytesPerS;
      const left = Math.min(heard + idleMs, slowest, begun + totalMs) - Date.now();
      if (left > 0) timer = setTimeout(look, left);
      else resolve(refused ?? LATE);
    };
    timer = setTimeout(look, idleMs);
  });
  try {
    return await Promise.race([read(), late]);
  } catch {
    return LATE;
  } finally {
    isOver = true;
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

async function unpack(packed, limit, body) {
  const { readable, writable } = new DecompressionStream("gzip");
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  const growing = new Growing(limit, (bytes) => hold(body, bytes));
  let unpacked = null;
  const read = async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return growing.bytes();
      if (growing.length + value.length > limit) return TOO_LONG;
      if (!growing.add(value)) return OVERLOADED;
    }
  };
  const write = async () => {
    for (let at = 0; at < packed.length && unpacked === null; at += packedSlice) {
      // What the slice before has become is read first.
      for (let before = null; at > 0 && growing.length !== before; ) {
        before = growing.length;
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      await writer.write(packed.subarray(at, at + packedSlice));
    }
    await writer.close();
  };
  write().catch(() => {});
  unpacked = await read().catch(() => BROKEN);
  reader.cancel().catch(() => {});
  return unpacked;
}
