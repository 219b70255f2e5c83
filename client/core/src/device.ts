/**
 * The leader of a device: it drives the machines of the open spaces, carries their effects out through the ports, holds
 * the user's token, and decides when nobody has asked for long enough.
 *
 * Order: `lead` once; `open` for each space; then `captured`, `poll`, `online`, `visible` as they happen; `close` at the
 * end, after which nothing is written. A term that is over closes the spaces by itself.
 */

import type { Effect, Event, TimerName } from "./events.ts";
import { ask } from "./http.ts";
import { SpaceMachine } from "./machine.ts";
import type { Ports, TokenReason, TokenSource } from "./ports.ts";
import type { Answer, Request } from "./requests.ts";
import { LiveSocket } from "./socket.ts";
import type { SpaceStatus, Tell } from "./status.ts";
import type { SpaceId, Store } from "./store.ts";

export interface DeviceOptions {
  /** Without a slash at the end. */
  url: string;
  store: Store;
  ports: Ports;
  token: TokenSource;
  tell: (tell: Tell) => void;
  onConflict?: "reject" | "merge" | "overwrite";
}

/** Sockets that are open at once; further spaces are pulled. */
const SOCKETS_MAX = 8;
const POLL_VISIBLE_MS = 60_000;
const POLL_HIDDEN_MS = 15 * 60_000;
const TOKEN_AHEAD_MS = 60_000;

interface Open {
  machine: SpaceMachine;
  socket: LiveSocket | null;
  timers: Map<TimerName | "poll", unknown>;
  aborts: Map<number, AbortController>;
  /** The transaction that is being written. */
  writing: Promise<unknown>;
}

/** Issuer and subject of a token, as one text; "" if it is none. */
export function userOf(token: string): string {
  const { iss = "", sub = "" } = claimsOf(token);
  return sub ? `${iss} ${sub}` : "";
}

function claimsOf(token: string): { iss?: string; sub?: string; exp?: number } {
  try {
    const text = atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  } catch {
    return {};
  }
}

export class Device {
  #options: DeviceOptions;
  #term = 0;
  #isStolen = false;
  #spaces = new Map<SpaceId, Open>();
  #token: string | null = null;
  #asking: Promise<string | null> | null = null;
  #tokenTimer: unknown;
  #isVisible = true;
  #isClosed = false;
  #watchers = new Set<() => void>();

  constructor(options: DeviceOptions) {
    this.#options = options;
  }

  /** Begins as the leader of `term`. Gives the user, or null if nobody is signed in: then no space can be opened. */
  async lead(term: number, { stolen = false } = {}): Promise<string | null> {
    this.#term = term;
    this.#isStolen = stolen;
    const token = await this.#newToken("start");
    return token && userOf(token);
  }

  open(space: SpaceId): void {
    if (this.#isClosed || this.#spaces.has(space) || this.#token === null) return;
    const { ports, url, onConflict } = this.#options;
    const machine = new SpaceMachine({ space, newId: ports.newId, ...(onConflict && { onConflict }) });
    const open: Open = { machine, socket: null, timers: new Map(), aborts: new Map(), writing: Promise.resolve() };
    this.#spaces.set(space, open);
    if (ports.socket && this.#spaces.size <= SOCKETS_MAX) {
      const path = `${url.replace(/^http/, "ws")}/sync/live${space === "~" ? "" : `?space=${space}`}`;
      open.socket = new LiveSocket(ports, path, () => this.#token, {
        live: (message) => this.#tell(space, { type: "live", message }),
        grant: (grant, expiresIn) => this.#tell(space, { type: "grant", grant, expiresIn }),
        tokenEnds: (ms) => this.#renewIn(ms - TOKEN_AHEAD_MS),
        expired: () => void this.#newToken("expiring"),
        lost: () => this.#schedulePoll(space),
      });
    }
    this.#tell(space, { type: "open", user: userOf(this.#token), stolen: this.#isStolen });
    open.socket?.open();
    this.#schedulePoll(space);
  }

  shut(space: SpaceId): void {
    const open = this.#spaces.get(space);
    this.#tell(space, { type: "close" });
    open?.socket?.close();
    this.#options.ports.clearTimeout(open?.timers.get("poll"));
    this.#spaces.delete(space);
  }

  close(): void {
    for (const space of [...this.#spaces.keys()]) this.shut(space);
    this.#isClosed = true;
    this.#options.ports.clearTimeout(this.#tokenTimer);
    this.#watched();
  }

  status(space: SpaceId): SpaceStatus | null {
    return this.#spaces.get(space)?.machine.status ?? null;
  }

  /** Tells one space, or all. */
  tell(event: Event, space?: SpaceId): void {
    for (const each of space === undefined ? [...this.#spaces.keys()] : [space]) this.#tell(each, event);
  }

  /** The page is looked at, or is not. */
  visible(isVisible: boolean): void {
    this.#isVisible = isVisible;
    for (const [space, { socket }] of this.#spaces) {
      if (isVisible && !socket?.isOpen) this.#tell(space, { type: "poll" });
      this.#schedulePoll(space);
    }
  }

  online(): void {
    this.tell({ type: "online" });
    for (const [space, { socket }] of this.#spaces) {
      socket?.open();
      if (!socket?.isOpen) this.#tell(space, { type: "poll" });
    }
  }

  /** The application has another token, or none. */
  async signedIn(): Promise<void> {
    await this.#newToken("start");
  }

  /** Resolves when everything is pushed and what the coordinator has now is here; rejects after `timeoutMs`. */
  now(timeoutMs: number): Promise<void> {
    const { ports } = this.#options;
    const goals = [...this.#spaces].map(([space, { machine }]) => {
      const { pulls, phase } = machine.status;
      return [space, pulls + (phase === "pulling" || phase === "loading" ? 2 : 1)] as const;
    });
    this.tell({ type: "poll", strong: true });
    return new Promise((resolve, reject) => {
      const done = (error?: Error) => {
        ports.clearTimeout(timer);
        this.#watchers.delete(watch);
        if (error) reject(error);
        else resolve();
      };
      const watch = () => {
        const isReached = goals.every(([space, goal]) => {
          const status = this.status(space);
          return !status || (status.pulls >= goal && status.pending === 0 && status.phase === "idle");
        });
        if (isReached) done();
        else if (this.#isClosed) done(new Error("another tab leads"));
      };
      const timer = ports.setTimeout(() => done(new Error(`not in ${timeoutMs} ms`)), timeoutMs);
      this.#watchers.add(watch);
      watch();
    });
  }

  #watched(): void {
    for (const watch of [...this.#watchers]) watch();
  }

  // ——— Effects.

  #tell(space: SpaceId, event: Event): void {
    const open = this.#spaces.get(space);
    if (!open) return;
    for (const effect of open.machine.on(event, this.#options.ports.now())) this.#carryOut(space, open, effect);
    this.#watched();
  }

  #carryOut(space: SpaceId, open: Open, effect: Effect): void {
    const { store, ports, tell } = this.#options;
    switch (effect.type) {
      case "commit": {
        const { id, scope, body } = effect;
        open.writing = store.commit(this.#term, scope, body).then(
          (result) => this.#tell(space, { type: "committed", id, result }),
          (error) => this.#tell(space, { type: "failed", id, error }),
        );
        return;
      }
      case "send":
        void this.#send(space, open, effect.id, effect.request);
        return;
      case "abort":
        open.aborts.get(effect.id)?.abort();
        return;
      case "timer": {
        const { name, ms, spread } = effect;
        this.#timer(open, name, ms + ports.chance() * spread, () => this.#tell(space, { type: "timer", name }));
        return;
      }
      case "cancel":
        ports.clearTimeout(open.timers.get(effect.name));
        return;
      case "token":
        void this.#newToken("refused");
        return;
      case "released":
        return this.tell({ type: "captured" });
      case "tell":
        if (effect.tell.type === "log") ports.log?.(effect.tell.message, effect.tell.detail);
        tell(effect.tell);
    }
  }

  #timer(open: Open, name: TimerName | "poll", ms: number, then: () => void): void {
    const { ports } = this.#options;
    ports.clearTimeout(open.timers.get(name));
    open.timers.set(name, ports.setTimeout(then, ms));
  }

  async #send(space: SpaceId, open: Open, id: number, request: Request): Promise<void> {
    const { ports, url } = this.#options;
    const token = await this.#goodToken();
    let answer: Answer | null = { status: 0, body: null };
    if (token !== null) {
      answer = (await open.socket?.ask(request)) ?? null;
      if (answer === null) {
        const abort = new AbortController();
        open.aborts.set(id, abort);
        answer = await ask(ports, url, token, request, abort, async (page, bytes) => {
          // The next part is read and parsed while this one is written, and no further.
          await open.writing;
          this.#tell(space, { type: "page", id, page, bytes });
        });
        open.aborts.delete(id);
      }
    } else this.#tell(space, { type: "token", user: null });
    this.#tell(space, { type: "answer", id, answer });
  }

  // ——— Polls.

  /** Without a socket, what is new is asked for now and then. */
  #schedulePoll(space: SpaceId): void {
    const open = this.#spaces.get(space);
    if (!open) return;
    const { chance } = this.#options.ports;
    const ms = (this.#isVisible ? POLL_VISIBLE_MS : POLL_HIDDEN_MS) * (0.75 + chance() / 2);
    this.#timer(open, "poll", ms, () => {
      if (!open.socket?.isOpen) this.#tell(space, { type: "poll" });
      this.#schedulePoll(space);
    });
  }

  // ——— The token.

  /** Asks the application for a token, once at a time, and tells everybody who uses it. */
  #newToken(reason: TokenReason): Promise<string | null> {
    this.#asking ??= this.#askForToken(reason).finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #askForToken(reason: TokenReason): Promise<string | null> {
    const { ports, token: source } = this.#options;
    const before = this.#token;
    try {
      this.#token = await source({ reason });
    } catch (error) {
      // The application could not get one now, which does not say that nobody is signed in.
      ports.log?.("no token", error);
      if (reason !== "refused") return before;
    }
    const token = this.#token;
    if (token !== null) {
      const { exp } = claimsOf(token);
      if (exp !== undefined) this.#renewIn(exp * 1000 - ports.date() - TOKEN_AHEAD_MS);
    }
    this.tell({ type: "token", user: token === null ? null : userOf(token) });
    if (token !== null && token !== before) for (const { socket } of this.#spaces.values()) socket?.renew(token);
    return token;
  }

  /** Asks for the next token in time. A clock that is wrong must not make it ask without end. */
  #renewIn(ms: number): void {
    const { ports } = this.#options;
    ports.clearTimeout(this.#tokenTimer);
    const wait = Math.min(Math.max(ms, TOKEN_AHEAD_MS / 2), 2 ** 31 - 1);
    this.#tokenTimer = ports.setTimeout(() => void this.#newToken("expiring"), wait);
  }

  async #goodToken(): Promise<string | null> {
    return this.#token ?? this.#newToken("start");
  }
}
