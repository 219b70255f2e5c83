/**
 * The socket of one space: live messages, and requests as numbered messages (PROTOCOL.md, GET /sync/live). It keeps itself
 * open: a lost one is opened again after a random time. What it carries is the same as by HTTP, so a request that has no
 * answer when it closes is repeated by whichever way is open then.
 */

import { bytesOf } from "./codec.ts";
import type { Ports, Socket } from "./ports.ts";
import type { Answer, Live, Request } from "./requests.ts";

const MESSAGE_MAX = 256 * 1024;
const ANSWER_MS = 30_000;
const SILENCE_MS = 55_000;
const PONG_MS = 15_000;
const RECONNECT_MS = 30_000;
const RECONNECT_MAX_MS = 5 * 60_000;
const PING = '{"type":"ping"}';
const OPEN = 1;
const NONE: Answer = { status: 0, body: null };

export interface Hears {
  live(message: Live): void;
  grant(grant: string, expiresIn: number): void;
  /** The token of the socket ends in so many milliseconds. */
  tokenEnds(ms: number): void;
  /** The token has ended: the next one is to be asked for. */
  expired(): void;
  /** The socket is lost: HTTP says why, if there is a reason. */
  lost(): void;
  /** Access is lost, says the coordinator. */
  refused(): void;
}

export class LiveSocket {
  #ports: Ports;
  #url: string;
  #token: () => string | null;
  #hears: Hears;
  #socket: Socket | null = null;
  #isGreeted = false;
  #n = 0;
  #asked = new Map<number, (answer: Answer | null) => void>();
  #timers: Record<string, unknown> = {};
  #within = RECONNECT_MS;
  #failures = 0;
  #isClosed = false;

  constructor(ports: Ports, url: string, token: () => string | null, hears: Hears) {
    this.#ports = ports;
    this.#url = url;
    this.#token = token;
    this.#hears = hears;
  }

  get isOpen(): boolean {
    return this.#isGreeted && this.#socket?.readyState === OPEN;
  }

  open(): void {
    const token = this.#token();
    if (this.#socket || token === null) return;
    this.#isClosed = false;
    this.#clear("again");
    let socket: Socket | undefined;
    try {
      socket = this.#ports.socket?.(this.#url, ["headwater.v1", `bearer.${token}`]);
    } catch {
      // Sockets are forbidden here, or the URL is: HTTP says what is wrong.
    }
    if (!socket) return;
    this.#socket = socket;
    this.#after("silence", ANSWER_MS, () => this.#lose());
    socket.onmessage = ({ data }) => this.#socket === socket && this.#hear(String(data));
    socket.onclose = () => this.#socket === socket && this.#lose();
  }

  /** Closed until `open`. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#lose();
  }

  /** The connection is gone: another socket is opened as after any other loss. */
  drop(): void {
    if (this.#socket) this.#lose();
  }

  /** The connection was away: whether the socket is alive has to be found out, for it may not have noticed. */
  check(): void {
    if (this.isOpen) this.#ping();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends a request; null: it has to go by HTTP. */
  ask(request: Request): Promise<Answer | null> {
    const text = `{"type":"${request.kind}","n":${this.#n + 1},"body":${request.body}}`;
    const isTooLong = text.length > MESSAGE_MAX || (text.length * 3 > MESSAGE_MAX && bytesOf(text) > MESSAGE_MAX);
    if (!this.isOpen || request.kind === "grant" || request.isStream || isTooLong) return Promise.resolve(null);
    return this.#send(text);
  }

  /** A new token for the open socket. */
  renew(token: string): void {
    if (!this.isOpen) return this.#isClosed || this.#socket ? undefined : this.open();
    const text = `{"type":"token","n":${this.#n + 1},"token":${JSON.stringify(token)}}`;
    void this.#send(text).then((answer) => {
      const ms = answer?.body?.["tokenExpiresIn"];
      if (typeof ms === "number") this.#hears.tokenEnds(ms);
    });
  }

  #send(text: string): Promise<Answer | null> {
    this.#n += 1;
    const n = this.#n;
    this.#socket?.send(text);
    return new Promise((resolve) => {
      this.#asked.set(n, resolve);
      // Without an answer nothing is known, and a late one must not be taken for that of the repetition.
      this.#after(`answer ${n}`, ANSWER_MS, () => this.#lose());
    });
  }

  #hear(text: string): void {
    this.#after("silence", SILENCE_MS, () => this.#ping());
    let message: Live & { n?: number; status?: number; body?: Answer["body"]; [field: string]: unknown };
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    const { type, n = 0, status = 0, body = null } = message;
    if (type === "answer" || type === "use_http") {
      const resolve = this.#asked.get(n);
      this.#asked.delete(n);
      this.#clear(`answer ${n}`);
      const seconds = body?.["retryAfter"];
      resolve?.(type === "use_http" ? null : { status, body, ...(typeof seconds === "number" && { retryAfter: seconds * 1000 }) });
    } else if (type === "expired") {
      // The next one is opened with the next token, at once.
      this.#hears.expired();
      this.#lose();
    } else if (type === "closed") this.#hears.refused();
    else this.#tell(message);
  }

  #tell(message: Live & { [field: string]: unknown }): void {
    const { grant, grantExpiresIn, tokenExpiresIn, reconnectWithin } = message;
    if (!this.#isGreeted && message.type === "version") {
      this.#isGreeted = true;
      this.#failures = 0;
      if (typeof reconnectWithin === "number") this.#within = reconnectWithin;
      if (typeof tokenExpiresIn === "number") this.#hears.tokenEnds(tokenExpiresIn);
    }
    if (typeof grant === "string" && typeof grantExpiresIn === "number") this.#hears.grant(grant, grantExpiresIn);
    this.#hears.live(message);
  }

  #ping(): void {
    if (this.#socket?.readyState !== OPEN) return this.#lose();
    this.#socket.send(PING);
    this.#after("silence", PONG_MS, () => this.#lose());
  }

  /** The socket is gone: what was asked has no answer, and another one is opened later. */
  #lose(): void {
    const socket = this.#socket;
    const wasGreeted = this.#isGreeted;
    this.#socket = null;
    this.#isGreeted = false;
    this.#n = 0;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    if (socket) socket.close();
    for (const resolve of asked) resolve(NONE);
    if (this.#isClosed) return;
    // All sockets of a space end at once when its object moves: they come back one after the other.
    const within = Math.min(this.#within * 2 ** this.#failures, RECONNECT_MAX_MS);
    if (!wasGreeted) this.#failures += 1;
    this.#after("again", this.#ports.chance() * within, () => this.open());
    this.#hears.lost();
  }

  #after(name: string, ms: number, then: () => void): void {
    this.#clear(name);
    this.#timers[name] = this.#ports.setTimeout(() => {
      delete this.#timers[name];
      then();
    }, ms);
  }

  #clear(name: string): void {
    this.#ports.clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
