// A load generator that costs as little as Node allows, because it shares the machine with the runtime it measures:
// one raw socket per connection, one request in flight on each, requests prepared before the clock starts.
import net from "node:net";

const HEADER_END = Buffer.from("\r\n\r\n");
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const LENGTH = /\r\ncontent-length: *(\d+)/i;

export function request(method, path, headers = {}, body = "") {
  const lines = [`${method} ${path} HTTP/1.1`, "host: bench"];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  if (method !== "GET") lines.push(`content-length: ${Buffer.byteLength(body)}`);
  return Buffer.from(lines.join("\r\n") + "\r\n\r\n" + body);
}

export class Connection {
  static async open(url) {
    const { hostname, port } = new URL(url);
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new Connection(socket);
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = null;
    socket.on("data", (chunk) => this.#feed(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
    this.#clear();
  }

  // Resolves with status, head (the text of status line and headers), size of body on the wire, and, when `keep` is
  // set, the body itself.
  send(bytes, keep = false) {
    return new Promise((resolve, reject) => {
      if (this.failed) return void reject(this.failed);
      this.waiting = { resolve, reject };
      this.keep = keep;
      this.socket.write(bytes);
    });
  }

  close() {
    this.socket.removeAllListeners("close");
    this.socket.destroy();
  }

  #clear() {
    this.rest = null; // bytes of a head or a chunk line that is not complete yet
    this.head = null;
    this.left = 0; // bytes of body (or of the present chunk) still to come
    this.chunked = false;
    this.inChunk = false;
    this.size = 0;
    this.parts = [];
  }

  #fail(error) {
    this.failed = error;
    const waiting = this.waiting;
    this.waiting = null;
    waiting?.reject(error);
  }

  #take(bytes) {
    this.size += bytes.length;
    if (this.keep) this.parts.push(Buffer.from(bytes));
  }

  #feed(chunk) {
    let data = this.rest === null ? chunk : Buffer.concat([this.rest, chunk]);
    this.rest = null;
    if (this.head === null) {
      const end = data.indexOf(HEADER_END);
      if (end < 0) return void (this.rest = data);
      this.head = data.latin1Slice(0, end);
      this.status = Number(this.head.slice(9, 12));
      this.chunked = CHUNKED.test(this.head);
      this.left = this.chunked ? 0 : Number(LENGTH.exec(this.head)?.[1] ?? 0);
      data = data.subarray(end + 4);
      if (this.status === 304) this.chunked = false;
    }
    if (this.chunked) this.#feedChunks(data);
    else {
      this.#take(data.subarray(0, this.left));
      this.left -= data.length;
      if (this.left <= 0) this.#finish();
    }
  }

  #feedChunks(data) {
    while (true) {
      if (this.inChunk) {
        const bytes = data.subarray(0, this.left);
        this.#take(bytes);
        this.left -= bytes.length;
        data = data.subarray(bytes.length);
        if (this.left > 0) return;
        this.inChunk = false;
        this.afterChunk = true; // the line break that ends a chunk's bytes
      }
      const start = this.afterChunk ? 2 : 0;
      const end = data.indexOf("\r\n", start);
      if (end < 0) return void (this.rest = data);
      this.afterChunk = false;
      const length = parseInt(data.latin1Slice(start, end), 16);
      if (length === 0) {
        // The last chunk is "0", an empty trailer and a line break; wait for all of it.
        if (data.length < end + 4) {
          this.afterChunk = start === 2;
          return void (this.rest = data);
        }
        return this.#finish();
      }
      this.left = length;
      this.inChunk = true;
      data = data.subarray(end + 2);
    }
  }

  #finish() {
    const answer = { status: this.status, head: this.head, size: this.size };
    if (this.keep) answer.body = Buffer.concat(this.parts);
    const waiting = this.waiting;
    this.waiting = null;
    this.#clear();
    waiting.resolve(answer);
  }
}

// `count` connections, each sending `next(connection index)` again and again for `ms`. An answer that is not as
// `expect` says stops the run: a fast error page must never count as speed.
export async function load(url, { count, ms, next, expect, onAnswer }) {
  const connections = await Promise.all(Array.from({ length: count }, () => Connection.open(url)));
  const times = [];
  const start = performance.now();
  const end = start + ms;
  await Promise.all(
    connections.map(async (connection, index) => {
      for (let now = performance.now(); now < end; ) {
        const answer = await connection.send(next(index), expect.keep);
        const done = performance.now();
        times.push(done - now);
        now = done;
        check(answer, expect);
        onAnswer?.(index, answer);
      }
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  for (const connection of connections) connection.close();
  return summarize(times, seconds);
}

export function summarize(times, seconds) {
  times.sort((a, b) => a - b);
  const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
  return { requests: times.length, perSecond: times.length / seconds, p50, p99 };
}

export function check(answer, expect) {
  const wrongSize = expect.size !== undefined && answer.size !== expect.size;
  if (answer.status !== expect.status || wrongSize) {
    const body = answer.body?.toString("utf8", 0, 300) ?? "";
    throw new Error(`expected ${JSON.stringify(expect)}, got ${answer.size} bytes after ${answer.head}\n${body}`);
  }
}

// One request on a connection of its own.
export async function once(url, bytes) {
  const connection = await Connection.open(url);
  try {
    return await connection.send(bytes, true);
  } finally {
    connection.close();
  }
}

export function header(answer, name) {
  const line = answer.head.split("\r\n").find((text) => text.toLowerCase().startsWith(name + ":"));
  return line?.slice(name.length + 1).trim();
}

export const median = (values) => quantile([...values].sort((a, b) => a - b), 0.5);

export function quantile(sorted, q) {
  if (sorted.length === 0) return NaN;
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low] + (sorted[Math.ceil(at)] - sorted[low]) * (at - low);
}
