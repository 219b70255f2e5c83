// A client of GET /sync/live, for tests: keeps what it is told, and waits for answers by their numbers. It reads the frames of RFC 6455
// itself, because a client of the platform's shows the code of an end only once the connection is gone, which the local
// runtime lets wait.

import assert from "node:assert/strict";
import { request } from "node:http";
import { eventually } from "./harness.mjs";

const [TEXT, BINARY, CLOSE] = [1, 2, 8];

/** Opens a socket and waits for its greeting, which is its first message. */
export async function listen(runtime, token, options = {}) {
  const socket = new Socket(runtime, token, options);
  await socket.open();
  return socket;
}

/** Asks for a socket and resolves to {status, headers, body} of a refusal, or to {status, headers, stream, first} of a socket. */
export async function upgrade(runtime, { at = "home", space, usage, headers = {}, protocol } = {}) {
  const url = new URL(`${await runtime.url(at)}/sync/live`);
  if (space !== undefined) url.searchParams.set("space", space);
  if (usage !== undefined) url.searchParams.set("usage", usage);
  const all = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    ...(protocol !== undefined && { "sec-websocket-protocol": protocol }),
    ...headers,
  };
  const sent = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers: sent });
    asked.on("error", reject);
    asked.on("upgrade", ({ statusCode: status, headers }, stream, first) => resolve({ status, headers, stream, first }));
    asked.on("response", async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode, headers: response.headers, body: text === "" ? null : JSON.parse(text) });
    });
    asked.end();
  });
}

/** A frame as a client sends it: masked, with a mask that changes nothing. */
function frame(kind, payload) {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = 0x80 | kind;
  if (length < 126) head[1] = 0x80 | length;
  else if (length < 65_536) {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

/** The first frame in these bytes, and those behind it; null if it is not all there. */
function unframed(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & 0x7f;
  const head = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < head) return null;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < head + length) return null;
  assert.equal(bytes[0] & 0x80, 0x80, "the runtime sends messages whole");
  return { kind: bytes[0] & 0x0f, payload: bytes.subarray(head, head + length), rest: bytes.subarray(head + length) };
}

export class Socket {
  /** All that came, but for answers: {type, …}. */
  told = [];
  /** When each of them came. */
  toldAt = [];
  answers = [];
  n = 0;
  end = null;
  /** Whether it answers the end that the server says, as every client has to. */
  answersEnd = true;
  #bytes = Buffer.alloc(0);

  constructor(runtime, token, { at = "home", space, usage, origin } = {}) {
    Object.assign(this, { runtime, token, location: at, space, usage, origin });
  }

  /** Resolves when the first message is there, or the end. */
  async open() {
    const protocol = `headwater.v1, bearer.${this.token}`;
    const headers = this.origin === undefined ? {} : { origin: this.origin };
    const opened = await upgrade(this.runtime, { at: this.location, space: this.space, usage: this.usage, headers, protocol });
    assert.equal(opened.status, 101, JSON.stringify(opened.body));
    this.protocol = opened.headers["sec-websocket-protocol"];
    this.stream = opened.stream;
    this.stream.on("data", (bytes) => this.#take(bytes));
    this.stream.on("close", () => (this.end ??= 1006));
    this.stream.on("error", () => {});
    this.#take(opened.first);
    await eventually("a socket is told something first", () => this.told.length > 0 || this.end !== null, 10_000);
  }

  #take(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (let next; (next = unframed(this.#bytes)); ) {
      this.#bytes = next.rest;
      if (next.kind === TEXT) this.#hear(JSON.parse(next.payload.toString()));
      if (next.kind === CLOSE) {
        this.end ??= next.payload.readUInt16BE(0);
        if (this.answersEnd) this.stream.end(frame(CLOSE, next.payload.subarray(0, 2)));
      }
    }
  }

  #hear(message) {
    if (["answer", "use_http"].includes(message.type)) this.answers.push(message);
    else {
      this.told.push(message);
      this.toldAt.push(Date.now());
    }
  }

  get greeting() {
    return this.told[0];
  }

  send(message) {
    const isText = typeof message === "string";
    this.stream.write(frame(isText ? TEXT : BINARY, Buffer.from(message)));
  }

  /** Sends a numbered message and resolves to its answer. */
  async ask(type, body) {
    this.n += 1;
    const n = this.n;
    this.send(JSON.stringify(type === "token" ? { type, n, token: body } : { type, n, body }));
    return this.answer(n);
  }

  async answer(n) {
    return eventually(
      () => `message ${n} is answered; the socket ${this.end === null ? "is open" : `ended with ${this.end}`}`,
      () => this.answers.find((answer) => answer.n === n),
      10_000,
    );
  }

  /** The first message of this type that came after the first `skip` messages. */
  async hears(type, { skip = 1, where = () => true } = {}) {
    const found = () => this.told.slice(skip).find((message) => message.type === type && where(message));
    return eventually(() => `${type} is told, not only ${JSON.stringify(this.told.slice(skip))}`, found, 10_000);
  }

  /** The code with which it ended. */
  async ended() {
    return eventually(() => `the socket ends, after ${JSON.stringify(this.told)}`, () => this.end, 10_000);
  }

  /** Ends it from this side. */
  async close() {
    if (this.end !== null) return;
    this.stream.write(frame(CLOSE, Buffer.from([0x03, 0xe8])));
    await this.ended();
  }

  /** Pings and resolves to the pong. */
  async ping() {
    const skip = this.told.length;
    this.send('{"type":"ping"}');
    return this.hears("pong", { skip });
  }

  push(client, id, changes, rest = {}) {
    return this.ask("push", { client, mutations: [{ id, changes }], ...rest });
  }
}

/** Fails unless it is a problem document with this status and code. */
export function assertProblem(answer, status, code) {
  assert.deepEqual([answer.type, answer.status, answer.body?.code], ["answer", status, code], JSON.stringify(answer));
}
