// The line between one device and the server: an HTTP proxy that keeps what passes over it, and fails when it is told to.

import { createServer, request } from "node:http";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";

const HOP_BY_HOP = ["connection", "keep-alive", "transfer-encoding", "content-length"];

async function bytesOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const textOf = ({ headers, bytes }) => (headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes).toString();

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export class Line {
  /** Every request that came, in order: {call, method, query, headers, body, status, answer}. What has no answer has no status. */
  exchanges = [];
  #target;
  #rules = [];
  #connections = new Set();
  #sockets = new Set();
  #isDown = false;
  #server = createServer((asked, answer) => this.#pass(asked, answer).catch(() => asked.socket.destroy()));

  /** `target` is the origin of the server. */
  constructor(target) {
    this.#target = new URL(target);
    this.#server.on("connection", (connection) => {
      if (this.#isDown) return connection.destroy();
      this.#keep(connection, this.#connections);
    });
    this.#server.on("upgrade", (asked, near, head) => this.#join(asked, near, head));
  }

  async start() {
    await new Promise((ready) => this.#server.listen(0, "127.0.0.1", ready));
    this.origin = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  stop() {
    this.cut();
    this.#server.close();
  }

  /** From now on it ends at another server. Sockets stay where they are. */
  leadsTo(target) {
    this.#target = new URL(target);
  }

  /** Nothing passes any more, and what is under way breaks off. */
  cut() {
    this.#isDown = true;
    for (const one of [...this.#connections, ...this.#sockets]) one.destroy();
  }

  mend() {
    this.#isDown = false;
  }

  cutSockets() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** How many sockets are open. */
  get sockets() {
    return this.#sockets.size;
  }

  /** The requests of one call that the server has been asked, such as `sync`, oldest first. */
  of(call, where = () => true) {
    return this.exchanges.filter((exchange) => exchange.call === call && exchange.method !== "OPTIONS" && where(exchange));
  }

  /** The server does what the next such request asks, and its answer is lost. */
  loses(call, options) {
    return this.#rule(call, { after: "destroy", ...options });
  }

  /** The next such request is answered with this status, and never reaches the server. */
  refuses(call, status, options) {
    return this.#rule(call, { status, ...options });
  }

  /** The answer to the next such request waits until `release` of the rule is called; `arrived` resolves when it is there. */
  holds(call, options) {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers();
    const { promise: released, resolve: release } = Promise.withResolvers();
    return Object.assign(this.#rule(call, { arrive, released, ...options }), { arrived, release });
  }

  #rule(call, { times = 1, where = () => true, ...rest }) {
    const rule = { call, times, where, hits: 0, ...rest };
    this.#rules.push(rule);
    return rule;
  }

  #ruleFor(exchange) {
    if (exchange.method === "OPTIONS") return undefined;
    const rule = this.#rules.find(({ call, times, hits, where }) => call === exchange.call && hits < times && where(exchange));
    if (rule) rule.hits += 1;
    return rule;
  }

  #keep(stream, among) {
    among.add(stream);
    stream.on("error", () => {}).on("close", () => among.delete(stream));
  }

  #exchange({ method, url, headers }, bytes) {
    const { pathname, searchParams } = new URL(url, this.#target);
    const text = bytes.toString();
    const query = Object.fromEntries(searchParams);
    const exchange = { call: pathname.split("/").at(-1), method, path: pathname, query, headers, text, body: parsed(text), status: null, answer: null };
    this.exchanges.push(exchange);
    return exchange;
  }

  async #pass(asked, answer) {
    const bytes = await bytesOf(asked);
    const exchange = this.#exchange(asked, bytes);
    const rule = this.#ruleFor(exchange);
    if (rule?.status) return this.#refuse(asked, answer, rule.status);
    const response = await this.#forward(asked, bytes);
    if (rule?.after === "destroy") return asked.socket.destroy();
    rule?.arrive?.();
    await rule?.released;
    Object.assign(exchange, { status: response.status, answerText: textOf(response) });
    exchange.answer = parsed(exchange.answerText);
    for (const [name, value] of Object.entries(response.headers)) if (!HOP_BY_HOP.includes(name)) answer.setHeader(name, value);
    answer.writeHead(response.status).end(response.bytes);
  }

  // With the headers that let a page see the status: what is tested is the status.
  #refuse({ headers }, answer, status) {
    if (headers.origin) {
      answer.setHeader("access-control-allow-origin", headers.origin);
      answer.setHeader("access-control-allow-credentials", "true");
    }
    answer.writeHead(status).end();
  }

  #forward({ method, url, headers }, bytes) {
    const { hostname, port } = this.#target;
    // A connection of its own for each: one that was used before may be closed by the runtime while the next request is on its way.
    const to = { hostname, port, method, path: url, agent: false, headers: { ...headers, "content-length": bytes.length } };
    return new Promise((resolve, reject) => {
      const forwarded = request(to);
      forwarded.on("error", reject).on("response", (response) => {
        bytesOf(response).then((bytes) => resolve({ status: response.statusCode, headers: response.headers, bytes }), reject);
      });
      forwarded.end(bytes);
    });
  }

  /** A socket passes as it is, byte by byte. */
  #join(asked, near, head) {
    const exchange = this.#exchange(asked, Buffer.alloc(0));
    const rule = this.#ruleFor(exchange);
    if (rule) return near.destroy();
    const { hostname, port } = this.#target;
    const far = connect(Number(port), hostname, () => {
      const lines = asked.rawHeaders.reduce((text, part, at) => text + (at % 2 ? `: ${part}\r\n` : part), "");
      far.write(`GET ${asked.url} HTTP/1.1\r\n${lines}\r\n`);
      far.write(head);
      near.pipe(far).pipe(near);
    });
    this.#keep(near, this.#sockets);
    far.on("error", () => {}).on("close", () => near.destroy());
    near.on("close", () => far.destroy());
  }
}
