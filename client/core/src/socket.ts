/**
 * The socket of one space: live messages, and requests as numbered messages (PROTOCOL.md, GET /sync/live). It keeps itself
 * open: a lost one is opened again after a random time. What it carries is the same as by HTTP, so a request that has no
 * answer when it closes is repeated by whichever way is open then.
 */

import { attempt } from "./attempt.ts";
import { isLonger } from "./codec.ts";
import type { Event } from "./events.ts";
import type { Ports, Socket } from "./ports.ts";
import { type Answer, answerOf, type Body, type Live, NO_ANSWER, type Request } from "./requests.ts";
import { Timers } from "./timers.ts";

/** Bytes of a body, with room for what stands around it. */
const BODY_MAX = 256 * 1024 - 100;
const ANSWER_MS = 30_000;
const SILENCE_MS = 55_000;
const PONG_MS = 15_000;
const RECONNECT_MS = 30_000;
const RECONNECT_MAX_MS = 5 * 60_000;
const PING = '{"type":"ping"}';
const OPEN = 1;

export interface Hears {
  /** What the machine of the space hears. */
  tell(event: Event): void;
  /** The token of the socket ends in so many milliseconds. */
  tokenEnds(ms: number): void;
  /** The token has ended: the next one is to be asked for. */
  expired(): void;
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
  #timers: Timers<"silence" | "again" | number>;
  #within = RECONNECT_MS;
  #failures = 0;
  /** Until `open`. */
  isClosed = false;

  constructor(ports: Ports, url: string, token: () => string | null, hears: Hears) {
    this.#ports = ports;
    this.#url = url;
    this.#token = token;
    this.#hears = hears;
    this.#timers = new Timers(ports);
  }

  get isOpen(): boolean {
    return this.#isGreeted && this.#socket?.readyState === OPEN;
  }

  open(): void {
    const token = this.#token();
    if (this.#socket || token === null) return;
    this.isClosed = false;
    this.#timers.clear("again");
    // Where sockets are forbidden, or the URL is none, HTTP says what is wrong.
    const socket = attempt(() => this.#ports.socket?.(this.#url, ["headwater.v1", `bearer.${token}`]));
    if (!socket) return;
    this.#socket = socket;
    this.#timers.set("silence", ANSWER_MS, this.#lose);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#hear(String(data));
    socket.onclose = () => this.#socket === socket && this.#lose();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
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

  /** Sends a request; null: it has to go by HTTP. */
  async ask({ kind, body, isStream }: Request): Promise<Answer | null> {
    return !this.isOpen || !body || isStream || isLonger(body, BODY_MAX) ? null : this.#send(kind, `"body":${body}`);
  }

  /** A new token for the open socket. */
  async renew(token: string): Promise<void> {
    if (!this.isOpen) return this.isClosed ? undefined : this.open();
    this.#tokenEnds((await this.#send("token", `"token":${JSON.stringify(token)}`))?.body?.["tokenExpiresIn"]);
  }

  #send(type: string, field: string): Promise<Answer | null> {
    this.#n += 1;
    const n = this.#n;
    this.#socket?.send(`{"type":"${type}","n":${n},${field}}`);
    const { promise, resolve } = Promise.withResolvers<Answer | null>();
    this.#asked.set(n, resolve);
    // Without an answer nothing is known, and a late one must not be taken for that of the repetition.
    this.#timers.set(n, ANSWER_MS, this.#lose);
    return promise;
  }

  #tokenEnds(ms: unknown): void {
    if (typeof ms === "number") this.#hears.tokenEnds(ms);
  }

  #hear(text: string): void {
    this.#timers.set("silence", SILENCE_MS, this.#ping);
    const message: (Live & { n?: number; status?: number; body?: Body; [field: string]: unknown }) | undefined = attempt(() => JSON.parse(text));
    if (!message) return;
    const { type, n = 0, status = 0, body, grant, grantExpiresIn, reconnectWithin } = message;
    if (type === "answer" || type === "use_http") {
      this.#timers.clear(n);
      this.#asked.get(n)?.(type === "answer" ? answerOf(status, body) : null);
      this.#asked.delete(n);
    } else if (type === "expired") {
      // The next one is opened with the next token, at once.
      this.#hears.expired();
      this.#lose();
    } else if (type === "closed") {
      // Access is lost. A grant that lasts would have the copies answer for ten more minutes: only the coordinator knows.
      this.#hears.tell({ type: "poll", strong: true });
    } else {
      if (!this.#isGreeted && type === "version") {
        this.#isGreeted = true;
        this.#failures = 0;
        if (typeof reconnectWithin === "number") this.#within = reconnectWithin;
        this.#tokenEnds(message["tokenExpiresIn"]);
      }
      if (typeof grant === "string" && typeof grantExpiresIn === "number") this.#hears.tell({ type: "grant", grant, expiresIn: grantExpiresIn });
      this.#hears.tell({ type: "live", message });
    }
  }

  #ping = (): void => {
    if (this.#socket?.readyState !== OPEN) return this.#lose();
    this.#socket.send(PING);
    this.#timers.set("silence", PONG_MS, this.#lose);
  };

  /** The socket is gone: what was asked has no answer, and another one is opened later. */
  #lose = (): void => {
    const socket = this.#socket;
    const asked = [...this.#asked.values()];
    const wasGreeted = this.#isGreeted;
    this.#socket = null;
    this.#isGreeted = false;
    this.#n = 0;
    this.#timers.clearAll();
    this.#asked.clear();
    socket?.close();
    for (const resolve of asked) resolve(NO_ANSWER);
    if (this.isClosed) return;
    // All sockets of a space end at once when its object moves: they come back one after the other.
    const within = Math.min(this.#within * 2 ** this.#failures, RECONNECT_MAX_MS);
    if (!wasGreeted) this.#failures += 1;
    this.#timers.set("again", this.#ports.chance() * within, () => this.open());
    // HTTP says why, if there is a reason.
    this.#hears.tell({ type: "poll" });
  };
}
