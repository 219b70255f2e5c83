/**
 * The leader of a device: it drives the machines of the open spaces, carries their effects out through the ports, holds
 * the user's token, and decides when nobody has asked for long enough.
 *
 * Commands: `open`, `retry` and `close` for each space, `captured`, `online`, `offline`, `visible`, `signedIn`, `pause`,
 * `resume` and `withdraw` as they happen, `stop` at the end, after which nothing is written. Queries: `status`, `now`. What it has to
 * say comes by `tell`, and by `deposed` when another leader has taken over or the database is closed.
 */

import { attempt } from "./attempt.ts";
import type { Early, Effect, Event, TimerName } from "./events.ts";
import { ask } from "./http.ts";
import { SpaceMachine } from "./space.ts";
import type { Ports, TokenReason, TokenSource } from "./ports.ts";
import { type Answer, NO_ANSWER, pathOf, type Request } from "./requests.ts";
import { LiveSocket } from "./socket.ts";
import type { SpaceStatus, Tell } from "./status.ts";
import type { SpaceId, SpaceRow, Store } from "./store.ts";
import { Timers } from "./timers.ts";
import { Together } from "./together.ts";

export interface DeviceOptions {
  /** Without a slash at the end. */
  url: string;
  store: Store;
  ports: Ports;
  token: TokenSource;
  /** The term of this leader, as `Store.commit` compares it. */
  term: number;
  /** The lock was taken from a leader that may still have a push on its way. */
  stolen?: boolean;
  tell: (tell: Tell) => void;
  deposed?: () => void;
  onConflict?: "reject" | "merge" | "overwrite";
}

/** Sockets that are open at once; further spaces are pulled. */
const SOCKETS_MAX = 8;
const POLL_VISIBLE_MS = 60_000;
const POLL_HIDDEN_MS = 15 * 60_000;
/** While the deployment's requests run low; what a location knows is good for as long then. */
const POLL_LOW_MS = 5 * 60_000;
const TOKEN_AHEAD_MS = 60_000;

interface Open {
  machine: SpaceMachine;
  socket: LiveSocket | null;
  /** Somebody was signed in since it was opened. */
  isBegun: boolean;
  timers: Timers<TimerName>;
  aborts: Map<number, AbortController>;
  /** The transaction that is being written. */
  writing: Promise<unknown>;
}

/** Issuer and subject of a token, as one text; "" if it is none. */
export function userOf(token: string): string {
  const { iss = "", sub = "" } = claimsOf(token);
  return sub ? `${iss} ${sub}` : "";
}

const claimsOf = (token: string): { iss?: string; sub?: string; exp?: number } =>
  attempt(() => {
    const text = atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  }) ?? {};

export class Device {
  #options: DeviceOptions;
  #spaces = new Map<SpaceId, Open>();
  #token: string | null = null;
  #asking: Promise<string | null> | null = null;
  #timers: Timers<"token" | "poll">;
  #together: Together;
  #isVisible = true;
  #isOffline = false;
  #isPaused = false;
  #isStopped = false;
  #lowUntil = 0;
  #watchers = new Set<() => void>();

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.#timers = new Timers(options.ports);
    this.#together = new Together(options.ports, options.url);
  }

  /** Begins with a space, or when somebody is signed in. */
  open(space: SpaceId): void {
    if (this.#isStopped || this.#spaces.has(space)) return;
    const { ports, onConflict } = this.#options;
    const machine = new SpaceMachine({ space, newId: ports.newId, ...(onConflict && { onConflict }) });
    const open: Open = { machine, socket: null, isBegun: false, timers: new Timers(ports), aborts: new Map(), writing: Promise.resolve() };
    if (ports.socket && this.#spaces.size < SOCKETS_MAX) open.socket = this.#socketOf(space);
    this.#spaces.set(space, open);
    if (this.#spaces.size === 1) this.#schedulePoll();
    if (this.#isPaused) this.#tell(space, { type: "pause" });
    if (this.#isOffline) this.#tell(space, { type: "offline" });
    if (this.#token === null) void this.#newToken("start");
    else this.#begin(space, open, this.#token);
  }

  /** Tries a space again that is held, and no other one: the application has reason to think that it may go on. */
  retry(space: SpaceId): void {
    // While it is paused, `resume` does.
    if (this.status(space)?.held && !this.#isPaused) this.#tell(space, { type: "resume" });
  }

  #socketOf(space: SpaceId): LiveSocket {
    const { ports, url } = this.#options;
    return new LiveSocket(ports, url.replace(/^http/, "ws") + pathOf("live", space), () => (this.#isOffline ? null : this.#token), {
      tell: (event) => this.#tell(space, event),
      tokenEnds: (ms) => this.#renewIn(ms - TOKEN_AHEAD_MS),
      expired: () => void this.#newToken("expiring"),
    });
  }

  #begin(space: SpaceId, open: Open, token: string): void {
    open.isBegun = true;
    this.#tell(space, { type: "open", user: userOf(token), stolen: this.#options.stolen === true });
    open.socket?.open();
  }

  close(space: SpaceId): void {
    const open = this.#spaces.get(space);
    if (!open) return;
    open.isBegun = false;
    this.#tell(space, { type: "close" });
    this.#spaces.delete(space);
    open.socket?.close();
    open.timers.clearAll();
  }

  /** Whatever is under way is forgotten. */
  stop(): void {
    this.#isStopped = true;
    for (const space of this.#spaces.keys()) this.close(space);
    this.#timers.clearAll();
    this.#watched();
  }

  status(space: SpaceId): SpaceStatus | null {
    const open = this.#spaces.get(space);
    return open ? this.#statusOf(open) : null;
  }

  /** An edit was committed, here or in another tab: row `seq` of the outbox. `early`: it was made while `ahead` gave a row. */
  captured(space: SpaceId, seq: number, early?: Early): void {
    this.#tell(space, { type: "captured", seq, early });
  }

  /** The row of the space, if an edit that is made now may be sent before it is numbered. */
  ahead(space: SpaceId): SpaceRow | null {
    return this.#spaces.get(space)?.machine.ahead(this.#options.ports.now()) ?? null;
  }

  /** The application gives up the mutation that is blocked. */
  withdraw(space: SpaceId): void {
    this.#tell(space, { type: "withdraw" });
  }

  pause(): void {
    this.#isPaused = true;
    this.#tellAll({ type: "pause" });
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#token === null) void this.#newToken("start");
    this.#tellAll({ type: "resume" });
  }

  /** The page is looked at, or is not. */
  visible(isVisible: boolean): void {
    this.#isVisible = isVisible;
    if (this.#spaces.size > 0) this.#schedulePoll();
    if (isVisible && !this.#isOffline) this.#hurry();
  }

  /** There is no connection: what is under way has no answer, and nothing is sent before `online` or `now`. */
  offline(): void {
    this.#isOffline = true;
    for (const { socket, aborts } of this.#spaces.values()) {
      for (const abort of aborts.values()) abort.abort();
      socket?.drop();
    }
    this.#tellAll({ type: "offline" });
  }

  online(): void {
    this.#isOffline = false;
    this.#hurry();
  }

  /** The connection is back, or somebody looks. */
  #hurry(): void {
    this.#tellAll({ type: "online" });
    for (const [space, { socket }] of this.#spaces) {
      if (!socket?.isClosed) socket?.open();
      if (socket?.isOpen) socket.check();
      else this.#tell(space, { type: "poll" });
    }
  }

  /** The application has another token, or none any more. */
  async signedIn(): Promise<void> {
    await this.#newToken("start");
  }

  /** Resolves when everything is pushed and what the coordinator has now is here. Rejects if a space is held. */
  now(): Promise<void> {
    // Browsers err about being offline: whoever asks has reason to try.
    if (this.#isOffline) this.online();
    const goals = [...this.#spaces].map(([space, { machine }]) => ({ space, wishes: machine.wishes, goal: machine.wishes.all + 1 }));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const watch = () => {
      // A space that was closed meanwhile is nobody's wish any more.
      const left = goals.map((one) => ({ ...one, status: this.status(one.space) })).filter(({ wishes, goal, status }) =>
        status && (wishes.done < goal || status.pending > 0 || status.phase !== "idle"));
      const held = left.find(({ status }) => status?.held)?.status?.held;
      if (this.#isStopped || held) reject(new Error(held ? `${held.why}: ${held.detail}` : "another tab leads"));
      else if (left.length === 0) resolve();
      else return;
      this.#watchers.delete(watch);
    };
    this.#watchers.add(watch);
    this.#tellAll({ type: "poll", strong: true });
    watch();
    return promise;
  }

  #watched(): void {
    for (const watch of this.#watchers) watch();
  }

  #tellAll(event: Event): void {
    for (const space of this.#spaces.keys()) this.#tell(space, event);
  }

  // ——— Effects.

  /** `of`: whose event it is. A space may have been closed and opened again since, and every machine counts its effects from 1. */
  #tell(space: SpaceId, event: Event, of?: Open): void {
    const open = this.#spaces.get(space);
    if (!open || (of && of !== open)) return;
    for (const effect of open.machine.on(event, this.#options.ports.now())) this.#carryOut(space, open, effect);
    this.#watched();
  }

  #carryOut(space: SpaceId, open: Open, effect: Effect): void {
    const { store, ports, tell } = this.#options;
    switch (effect.type) {
      case "commit": {
        const { id, scope, body } = effect;
        open.writing = store.commit(this.#options.term, scope, body).then(
          (result) => this.#tell(space, { type: "committed", id, result }, open),
          (error) => this.#tell(space, { type: "failed", id, error }, open),
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
        return open.timers.set(name, ms + ports.chance() * spread, () => this.#tell(space, { type: "timer", name }));
      }
      case "cancel":
        return open.timers.clear(effect.name);
      case "token":
        void this.#newToken("refused");
        return;
      case "released":
        return this.#tellAll({ type: "captured", seq: 0 });
      case "tell":
        tell(effect.tell);
        if (effect.tell.type === "log") ports.log?.(effect.tell.message, effect.tell.detail);
        else if (effect.tell.type === "status") this.#mind(open, effect.tell.status);
    }
  }

  /** What is held keeps no socket; a machine that has closed itself says that another one leads. */
  #mind({ socket, isBegun }: Open, { held, phase }: SpaceStatus): void {
    if (held) socket?.close();
    else if (socket?.isClosed) socket.open();
    if (phase !== "closed" || !isBegun) return;
    this.stop();
    this.#options.deposed?.();
  }

  async #send(space: SpaceId, open: Open, id: number, request: Request): Promise<void> {
    const { ports, url } = this.#options;
    const abort = new AbortController();
    open.aborts.set(id, abort);
    const before = this.#token;
    const token = await (this.#asking ?? before ?? this.#newToken("start"));
    let answer: Answer | null = NO_ANSWER;
    // Somebody else may have signed in meanwhile: what was to be sent is not theirs.
    const isOthers = before !== null && token !== null && userOf(before) !== userOf(token);
    if (token !== null && !isOthers && !this.#isOffline && !abort.signal.aborted) {
      answer = (await open.socket?.ask(request)) ?? null;
      if (answer === null) {
        const isAlone = abort.signal.aborted || request.kind !== "pull" || request.isStream || this.#spaces.size < 2;
        answer = (isAlone ? null : await this.#together.ask(request, token, abort)) ?? (await ask(ports, url, token, request, abort, async (page, bytes) => {
          // The next part is read and parsed while this one is written, and no further.
          await open.writing;
          this.#tell(space, { type: "page", id, page, bytes }, open);
        }));
      }
    } else if (token === null) this.#tell(space, { type: "token", user: null }, open);
    open.aborts.delete(id);
    this.#runsLow(answer.lowFor);
    this.#tell(space, { type: "answer", id, answer }, open);
  }

  // ——— Polls.

  /** Without a socket, what is new is asked for now and then, of all such spaces at once. */
  #schedulePoll(): void {
    const { ports } = this.#options;
    const visible = ports.now() < this.#lowUntil ? POLL_LOW_MS : POLL_VISIBLE_MS;
    this.#timers.set("poll", (this.#isVisible ? visible : POLL_HIDDEN_MS) * (0.75 + ports.chance() / 2), () => {
      for (const [space, { socket }] of this.#spaces) if (!socket?.isOpen) this.#tell(space, { type: "poll" });
      this.#schedulePoll();
    });
  }

  /** For so many milliseconds, of which every answer says the same end. */
  #runsLow(ms = Number.NaN): void {
    const now = this.#options.ports.now();
    if (!(ms > 0) || now < this.#lowUntil || this.#isStopped) return;
    this.#lowUntil = now + ms;
    // The next poll was set for a day that has enough.
    this.#schedulePoll();
  }

  // ——— The token.

  /** Asks the application for a token, once at a time, and tells everybody who uses it. */
  #newToken(reason: TokenReason): Promise<string | null> {
    this.#asking ??= this.#askForToken(reason).finally(() => {
      this.#asking = null;
      for (const open of this.#spaces.values()) if (!open.isBegun) this.#options.tell({ type: "status", status: this.#statusOf(open) });
      this.#watched();
    });
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
    for (const [space, open] of this.#spaces) {
      if (open.isBegun) {
        this.#tell(space, { type: "token", user: token === null ? null : userOf(token) });
        if (token !== null && token !== before) open.socket?.renew(token);
      } else if (token !== null) this.#begin(space, open, token);
    }
    return token;
  }

  /** Of a space that has not begun: nobody is signed in, and what the user changes is kept until then. */
  #statusOf({ machine, isBegun }: Open): SpaceStatus {
    const { status } = machine;
    if (isBegun || this.#token !== null || this.#asking) return status;
    return { ...status, phase: "held", held: { why: "signed-out", detail: "nobody is signed in" } };
  }

  /** Asks for the next token in time. A clock that is wrong must not make it ask without end. */
  #renewIn(ms: number): void {
    if (this.#isStopped) return;
    const wait = Math.min(Math.max(ms, TOKEN_AHEAD_MS / 2), 2 ** 31 - 1);
    this.#timers.set("token", wait, () => void this.#newToken("expiring"));
  }
}
