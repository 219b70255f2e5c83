/**
 * The machine of one space: numbering, pushing, pulling, and what every answer makes of it (SPEC.md is its table).
 *
 * This file decides what happens when, and what all answers have in common; space.ts has pushes, pulls and live messages.
 *
 * It has no I/O, no clock and no chance of its own. `on(event, now)` takes one event and gives the effects that it has, in
 * order; whoever drives it carries them out, and brings back what came of them as further events. One thing is under way
 * at a time: a transaction or a request. So whatever arrives meanwhile (an edit, a live message, a wish to pull) is
 * noted, and looked at by `next_`, which decides what to do when nothing is under way. Names that end in `_` are internal, and
 * are made short in the build.
 */

import type { Early, Effect, Event, Options, TimerName } from "./events.ts";
import { bringsAll, Wrong } from "./load.ts";
import { hold, openSpace } from "./opening.ts";
import { Patience } from "./patience.ts";
import { reaches } from "./positions.ts";
import type { Stored } from "./records.ts";
import type { Answer, Live, Request } from "./requests.ts";
import type { Phase, SpaceStatus, Tell } from "./status.ts";
import { DeviceFull, type Held, type HeldWhy, type Position, type Scope, type SentRow, type SpaceRow, StoreClosed, TermOver, type Tx } from "./store.ts";
import { verdictOf } from "./verdict.ts";
import type { Pull, Push, Work } from "./work.ts";

export const MINUTE = 60_000;
const FULL_RETRY_MS = 5 * MINUTE;
const PUSH_DELAY_MS = 50;
export const PUSH_DELAY_MAX_MS = 250;
/** What touches no row of the app. */
export const NOTHING: Scope = { collections: [], wake: "nothing" };

const isOfSigningIn = (held: Held | null): boolean => held?.why === "signed-out" || held?.why === "other-user";

/** An event of one type. Each has a method of its name, which nobody but `on` and the machine itself calls. */
export type Of<Type> = Extract<Event, { type: Type }>;

export abstract class Machine {
  protected options_: Options;
  protected row_: SpaceRow | null = null;
  protected pending_ = 0;
  protected sent_ = 0;
  /** The `seq` of the outbox up to which edits are counted. */
  protected counted_ = 0;
  protected user_ = "";
  protected work_: Work | null = null;
  protected purpose_: Phase = "new";
  protected held_: Held | null = null;
  protected closed_ = false;
  protected paused_ = false;
  protected offline_ = false;
  protected deviceFull_ = false;
  /** The day's budget has nothing left for pulls. */
  protected unbudgeted_ = false;
  protected patience_ = new Patience();
  protected wants_ = { push: false, pull: false, strong: false, withdraw: false };
  /** A position that a live message has told of. */
  protected min_: Position | null = null;
  protected isPullDelayed_ = false;
  protected live_: Live[] = [];
  protected pushTimerSince_: number | null = null;
  protected capturedAt_ = Number.NEGATIVE_INFINITY;
  protected noNewClientUntil_ = 0;
  protected progress_: { lines: number; bytes: number } | null = null;
  /** Wishes for what the coordinator has: so far, when the pull under way began, and fulfilled. */
  protected wished_ = { all: 0, asked: 0, done: 0 };
  protected waitsForToken_ = false;
  protected ids_ = 0;
  protected now_ = 0;
  protected effects_: Effect[] = [];
  protected told_ = "";

  constructor(options: Options) {
    this.options_ = options;
  }

  /** `now` in milliseconds of a clock that does not jump. */
  on(event: Event, now: number): Effect[] {
    this.now_ = now;
    if (!this.closed_) (this as Record<Event["type"], (event: never) => void>)[event.type](event as never);
    const { status } = this;
    const told = JSON.stringify({ ...status, waitMs: null });
    if (told !== this.told_) this.tell_({ type: "status", status });
    this.told_ = told;
    return this.effects_.splice(0);
  }

  /** How many strong polls there were so far, and how many of them have been fulfilled. */
  get wishes(): { all: number; done: number } {
    return this.wished_;
  }

  get status(): SpaceStatus {
    const wait = this.patience_.waitsUntil;
    return {
      space: this.options_.space,
      phase: this.phase_(),
      pending: this.pending_,
      progress: this.progress_ && { ...this.progress_ },
      held: this.held_,
      deviceFull: this.deviceFull_,
      waitMs: wait === null ? null : Math.max(0, wait - this.now_),
      ready: !!this.row_?.position,
    };
  }

  protected phase_(): Phase {
    const row = this.row_;
    if (this.closed_) return "closed";
    if (this.held_) return "held";
    if (!row) return "new";
    // While an answer is being stored it is known.
    if (this.patience_.unsure && !(this.work_?.kind === "commit" && this.purpose_ === "pushing")) return "unsure";
    if (this.patience_.waitsUntil !== null || this.waitsForToken_ || this.offline_) return "waiting";
    if (!this.work_) return this.unbudgeted_ ? "waiting" : row.position ? "idle" : "loading";
    return this.purpose_ === "pulling" && (!row.position || row.load?.since === 0) ? "loading" : this.purpose_;
  }

  protected tell_(tell: Tell): void {
    this.effects_.push({ type: "tell", tell });
  }

  protected log_(message: string, detail?: unknown): void {
    this.tell_({ type: "log", message, detail });
  }

  // ——— Events that only note something.

  offline(): void {
    this.offline_ = true;
  }

  poll({ strong }: Of<"poll">): void {
    this.wants_.pull = true;
    if (strong) {
      this.wants_.strong = true;
      this.wished_.all += 1;
    }
    this.next_();
  }

  pause(): void {
    this.paused_ = true;
  }

  withdraw(): void {
    this.wants_.withdraw = true;
    this.resume();
  }

  // ——— What comes next.

  protected next_(): void {
    const row = this.row_;
    if (this.work_ || !row || this.held_ || this.paused_ || this.offline_ || this.waitsForToken_) return;
    // Whoever is signed in by now: nothing of one user goes out under another's token.
    if (row.user !== this.user_ && globalThis.__PLANTED__ !== "any user") return this.hold_("other-user", "the database is another user's");
    if (row.held) return this.store_("idle", NOTHING, (tx, space) => hold(tx, space, null));
    if (this.patience_.waitsUntil !== null) return;
    if (this.wants_.withdraw) return this.withdrawFirst_("blocked");
    // A push of which nothing is known comes before everything, and a pull that a push has asked for before the next push.
    if (this.patience_.unsure && !bringsAll(row)) return this.push_();
    const mayPull = !this.deviceFull_ && !this.unbudgeted_;
    if (mayPull && (!row.position || row.load || row.min)) return this.pull_();
    // Under an epoch that has ended nothing can be pushed: the pull has to come first, when there is room for it.
    if (!row.position || bringsAll(row) || (row.min && row.min.epoch !== row.position.epoch)) return;
    while (mayPull && this.live_.length > 0) {
      this.live({ message: this.live_.shift() as Live });
      if (this.work_) return;
    }
    if (this.wants_.push) return this.push_();
    const isBehind = this.min_ !== null && !this.isPullDelayed_;
    if (mayPull && (this.wants_.pull || isBehind)) return this.pull_();
    if (mayPull && row.unread) this.list_();
  }

  /** One transaction; what it stores is known when `then` is called. */
  protected store_<T extends Stored>(purpose: Phase, scope: Scope, body: (tx: Tx, space: string) => Promise<T>, then?: (stored: T) => void): void {
    const id = this.newId_();
    this.purpose_ = purpose;
    this.work_ = {
      kind: "commit", id,
      then: (stored: T) => {
        this.stored_(stored);
        then?.(stored);
      },
    };
    this.effects_.push({ type: "commit", id, scope, body: (tx) => body(tx, this.options_.space) });
  }

  protected request_(work: Work, purpose: Phase, request: Partial<Request> & { body: string }): void {
    this.purpose_ = purpose;
    this.work_ = work;
    this.effects_.push({ type: "send", id: work.id, request: { kind: work.kind as Request["kind"], space: this.options_.space, isStream: false, ...request } });
  }

  protected newId_(): number {
    return (this.ids_ += 1);
  }

  protected stored_({ row, pending, counted, sent }: Stored): void {
    [this.row_, this.pending_, this.counted_, this.sent_] = [row, pending, counted, sent];
    if (this.min_ && reaches(row.position, this.min_)) this.min_ = null;
  }

  open({ user, stolen }: Of<"open">): void {
    this.user_ = user;
    if (stolen) this.noNewClientUntil_ = this.now_ + MINUTE;
    this.store_("new", NOTHING, (tx, space) => openSpace(tx, space, user, this.options_.newId()), (opened) => {
      const { held } = opened.row;
      // Who is signed in is found out anew.
      if (!isOfSigningIn(held)) this.held_ = held;
      this.patience_.unsure = opened.hasTried;
      Object.assign(this.wants_, { push: opened.pending > 0, pull: true });
    });
  }

  captured({ seq, early }: Of<"captured">): void {
    if (early && this.pushEarly_(early)) {
      this.capturedAt_ = this.now_;
      this.pending_ += early.rows.length;
      return;
    }
    if (seq > this.counted_) this.pending_ += early?.rows.length ?? 1;
    this.hurry_();
    const since = this.pushTimerSince_ ?? this.now_;
    if (this.pushTimerSince_ !== null && this.now_ - since > PUSH_DELAY_MAX_MS - PUSH_DELAY_MS) return;
    // The first edit after a pause goes out at once; those that follow it closely, as typing does, are gathered.
    const isAlone = this.now_ - this.capturedAt_ > PUSH_DELAY_MAX_MS;
    this.capturedAt_ = this.now_;
    this.pushTimerSince_ = since;
    this.later_("push", isAlone ? 0 : PUSH_DELAY_MS);
  }

  protected later_(name: TimerName, ms: number, spread = 0): void {
    this.effects_.push({ type: "timer", name, ms, spread });
  }

  timer({ name }: Of<"timer">): void {
    if (name === "wait") this.patience_.goOn();
    else if (name === "pull") this.isPullDelayed_ = false;
    else if (name === "full") this.deviceFull_ = false;
    else if (name === "budget") this.unbudgeted_ = false;
    else {
      this.pushTimerSince_ = null;
      this.wants_.push = true;
    }
    this.next_();
  }

  /** The connection is better, or the user does something: a wait that the server has not asked for ends, once. */
  protected hurry_(always = false): void {
    if (!this.patience_.hurry(always)) return;
    this.effects_.push({ type: "cancel", name: "wait" });
    this.next_();
  }

  online(): void {
    const was = this.offline_;
    this.offline_ = false;
    this.hurry_(was);
    if (was) this.next_();
  }

  protected wait_(ms?: number): void {
    const wait = this.patience_.wait(this.now_, ms);
    this.later_("wait", wait.ms, wait.spread);
  }

  protected hold_(why: HeldWhy, detail = ""): void {
    const held = (this.held_ = { why, detail });
    this.patience_.reset();
    this.store_("held", NOTHING, (tx, space) => hold(tx, space, held));
  }

  resume(): void {
    this.paused_ = false;
    if (this.held_) Object.assign(this.wants_, { pull: true, push: true });
    this.held_ = null;
    this.patience_.reset();
    this.next_();
  }

  close(): void {
    const work = this.work_;
    if (work && work.kind !== "commit") this.effects_.push({ type: "abort", id: work.id });
    this.work_ = null;
    this.closed_ = true;
  }

  token({ user }: Of<"token">): void {
    this.waitsForToken_ = false;
    if (user !== null) this.user_ = user;
    if (user === null && !this.held_ && !this.work_ && this.row_) return this.hold_("signed-out");
    if (user !== null && isOfSigningIn(this.held_)) return this.resume();
    this.next_();
  }

  // ——— What came of transactions.

  committed({ id, result }: Of<"committed">): void {
    const work = this.work_;
    if (globalThis.__PLANTED__ === "live at once" && id === 0) return this.stored_(result as Stored);
    if (work?.kind === "pull" && work.storing === id) return this.storedPage_(work, result as Stored);
    if (work?.kind !== "commit" || work.id !== id) return;
    this.work_ = null;
    work.then(result as never);
    this.next_();
  }

  failed({ id, error }: Of<"failed">): void {
    const work = this.work_;
    if (!work || id !== (work.kind === "pull" ? work.storing : work.id)) return;
    if (error instanceof TermOver || error instanceof StoreClosed) return this.close();
    if (work.kind === "pull") this.effects_.push({ type: "abort", id: work.id });
    this.work_ = null;
    if (error instanceof DeviceFull) {
      this.deviceFull_ = true;
      this.later_("full", FULL_RETRY_MS);
      // What goes out needs a little room too, and is not tried without a pause.
      if (work.kind !== "pull") this.wait_();
      return this.next_();
    }
    this.log_(error instanceof Wrong ? "an answer was not taken" : "a transaction failed", error);
    if (this.purpose_ === "pushing") this.wants_.push = true;
    else this.wants_.pull = true;
    this.wait_();
  }

  // ——— Answers.

  answer({ id, answer }: Of<"answer">): void {
    const work = this.work_;
    if (!work || work.kind === "commit" || work.id !== id) return;
    if (work.kind === "pull" && (work.storing || work.queue.length > 0)) {
      // The lines that came before the stream ended are stored first.
      work.over = "broken";
      return;
    }
    this.work_ = null;
    this.judge_(work, answer);
    this.next_();
  }

  protected judge_(work: Exclude<Work, { kind: "commit" }>, answer: Answer): void {
    const verdict = verdictOf(answer);
    const { body, retryAfter, status } = answer;
    const patience = this.patience_;
    const mutations = work.kind === "push" ? work.mutations.length : 0;
    const code = body?.code ?? "";
    const isLater = verdict === "limited" || verdict === "failed" || verdict === "foreign";
    if (work.kind === "push") {
      this.wants_.push = true;
      // Whatever ends a push in the middle leaves its first mutations settled.
      patience.unsure ||= verdict !== "token" && verdict !== "late" && verdict !== "limited";
    } else if (work.kind === "pull" && verdict !== "told") this.wants_.pull = true;
    if (verdict !== "token") patience.isTokenNew = false;
    if (isLater) {
      if (work.kind === "push") patience.kept(verdict === "foreign", mutations, status);
      if (work.kind !== "pull" || !body?.["budget"] || !retryAfter) return this.wait_(retryAfter);
      // That may be hours. Pushes go on: the last of a day is kept for them.
      this.unbudgeted_ = true;
      return this.later_("budget", retryAfter, MINUTE);
    }
    patience.answered(code);
    switch (verdict) {
      case "token":
        if (patience.isTokenNew) return this.hold_("signed-out", body?.detail);
        patience.isTokenNew = this.waitsForToken_ = true;
        this.effects_.push({ type: "token" });
        return;
      case "grant":
        return this.refuseGrant_(body?.detail);
      case "late":
        return patience.late(mutations) ? undefined : this.hold_("timeout", body?.detail);
      case "told":
        if (work.kind === "push") return this.pushTold_(work, code, answer);
        if (work.kind === "pull") return this.pullTold_(work, code, answer);
        return work.kind === "grant" ? this.granted_(answer) : this.listed_(answer);
      default:
        if (verdict === "bug") this.log_(`refused: ${code}`, { body, work });
        return this.hold_(verdict, body?.detail ?? code);
    }
  }

  protected abstract push_(): void;
  protected abstract pushEarly_(early: Early): boolean;
  protected abstract pull_(): void;
  abstract live(event: { message: Live }): void;
  abstract page(event: Of<"page">): void;
  abstract grant(event: { grant: string; expiresIn: number }): void;
  protected abstract storedPage_(work: Pull, stored: Stored): void;
  protected abstract pushTold_(work: Push, code: string, answer: Answer): void;
  protected abstract pullTold_(work: Pull, code: string, answer: Answer): void;
  protected abstract list_(): void;
  protected abstract listed_(answer: Answer): void;
  protected abstract granted_(answer: Answer): void;
  protected abstract refuseGrant_(detail?: string): void;
  protected abstract withdrawFirst_(code: string): void;
}
