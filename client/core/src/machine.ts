/**
 * The machine of one space: numbering, pushing, pulling, and what every answer makes of it (SPEC.md is its table).
 *
 * It has no I/O, no clock and no chance of its own. `on(event, now)` takes one event and gives the effects that it has, in
 * order; whoever drives it carries them out, and brings back what came of them as further events. One thing is under way
 * at a time: a transaction or a request. So whatever arrives meanwhile (an edit, a live message, a wish to pull) is
 * noted, and looked at by `#next`, which decides what to do when nothing is under way.
 */

import type { Effect, Event, TimerName } from "./events.ts";
import { type Asked, collectionsOf, giveUp, type Page, restartLoad, type Stored, storePage, Wrong } from "./load.ts";
import { type Batch, takeBatch } from "./numbering.ts";
import { hold, openSpace } from "./opening.ts";
import { Patience } from "./patience.ts";
import { later, positionOf, reaches } from "./positions.ts";
import type { Line } from "./records.ts";
import { type Answer, type Live, pullBody, pushBody, type Request } from "./requests.ts";
import { type PushAnswer, type Pushed, type Settled, settle, withdrawFirst } from "./settle.ts";
import type { Phase, SpaceStatus, Tell } from "./status.ts";
import { DeviceFull, type Held, type HeldWhy, type Position, type Scope, type SentRow, type SpaceRow, StoreClosed, TermOver, type Tx } from "./store.ts";
import { verdictOf } from "./verdict.ts";

export interface Options {
  space: string;
  newId: () => string;
  /** `onConflict` of every push; absent: what the collection says. */
  onConflict?: "reject" | "merge" | "overwrite";
}

type Push = { kind: "push"; id: number; mutations: SentRow[]; isWhole: boolean; since: boolean; client: string };
/** `queue`: what has come and is not stored; `storing`: the transaction of what is being stored; `over`: nothing more comes. */
type Pull = { kind: "pull"; id: number; asked: Asked; queue: Page[]; storing: number; over: "" | "broken" | "page" };
type Work = { kind: "commit"; id: number; then: (result: never) => void } | { kind: "grant"; id: number } | Push | Pull;

const MINUTE = 60_000;
const LIVE_MAX = 32;
const FULL_RETRY_MS = 5 * MINUTE;
const GRANT_REFUSED_MAX_MS = 10 * MINUTE;
const PUSH_DELAY_MS = 50;
const PUSH_DELAY_MAX_MS = 250;
const PULL_SPREAD_MS = 2000;
const NOTHING: Scope = { collections: [], wake: "nothing" };
const ROWS: Scope = { wake: "rows" };

export class SpaceMachine {
  #options: Options;
  #row: SpaceRow | null = null;
  #pending = 0;
  #user = "";
  #work: Work | null = null;
  #purpose: Phase = "new";
  #held: Held | null = null;
  #closed = false;
  #paused = false;
  #deviceFull = false;
  #patience = new Patience();
  #wants = { push: false, pull: false, strong: false, withdraw: false };
  /** A position that a live message has told of. */
  #min: Position | null = null;
  #isPullDelayed = false;
  #live: Live[] = [];
  #pushTimerSince: number | null = null;
  #noNewClientUntil = 0;
  #grant: { text: string; since: number; until: number } | null = null;
  #grantRefusedSince: number | null = null;
  #progress: { lines: number; bytes: number } | null = null;
  #pulls = 0;
  #waitsForToken = false;
  #ids = 0;
  #now = 0;
  #effects: Effect[] = [];
  #told = "";

  constructor(options: Options) {
    this.#options = options;
  }

  /** `now` in milliseconds of a clock that does not jump. */
  on(event: Event, now: number): Effect[] {
    this.#now = now;
    if (!this.#closed) this.#take(event);
    const { waitMs, ...status } = this.status;
    const told = JSON.stringify(status);
    if (told !== this.#told) this.#tell({ type: "status", status: { ...status, waitMs } });
    this.#told = told;
    return this.#effects.splice(0);
  }

  get status(): SpaceStatus {
    const wait = this.#patience.waitsUntil;
    return {
      space: this.#options.space,
      phase: this.#phase(),
      pending: this.#pending,
      progress: this.#progress && { ...this.#progress },
      held: this.#held,
      deviceFull: this.#deviceFull,
      waitMs: wait === null ? null : Math.max(0, wait - this.#now),
      ready: !!this.#row?.position,
      pulls: this.#pulls,
    };
  }

  get position(): Position | null {
    return this.#row?.position ?? null;
  }

  #phase(): Phase {
    const row = this.#row;
    if (this.#closed) return "closed";
    if (this.#held) return "held";
    if (!row) return "new";
    if (this.#patience.unsure) return "unsure";
    if (this.#patience.waitsUntil !== null || this.#waitsForToken) return "waiting";
    if (!this.#work) return row.position ? "idle" : "loading";
    return this.#purpose === "pulling" && (!row.position || row.load?.since === 0) ? "loading" : this.#purpose;
  }

  #tell(tell: Tell): void {
    this.#effects.push({ type: "tell", tell });
  }

  #log(message: string, detail?: unknown): void {
    this.#tell({ type: "log", message, detail });
  }

  #take(event: Event): void {
    switch (event.type) {
      case "open":
        return this.#open(event.user, event.stolen === true);
      case "captured":
        return this.#captured();
      case "poll":
        this.#wants.pull = true;
        this.#wants.strong ||= event.strong === true;
        return this.#next();
      case "online":
        return this.#hurry();
      case "live":
        return this.#hear(event.message);
      case "grant":
        return this.#grants(event.grant, event.expiresIn);
      case "answer":
        return this.#answered(event.id, event.answer);
      case "page":
        return this.#streamed(event.id, event.page, event.bytes);
      case "committed":
        return this.#committed(event.id, event.result);
      case "failed":
        return this.#failed(event.id, event.error);
      case "timer":
        return this.#timer(event.name);
      case "token":
        return this.#token(event.user);
      case "pause":
        this.#paused = true;
        return;
      case "withdraw":
        this.#wants.withdraw = true;
        return this.#resume();
      case "resume":
        return this.#resume();
      case "close":
        return this.#close();
    }
  }

  // ——— What comes next.

  #next(): void {
    const row = this.#row;
    if (this.#work || !row || this.#held || this.#paused || this.#waitsForToken) return;
    if (row.held) return this.#commit("idle", NOTHING, (tx) => hold(tx, row.space, null), (stored: Stored) => this.#stored(stored));
    if (this.#patience.waitsUntil !== null) return;
    if (this.#wants.withdraw) return this.#withdrawFirst("blocked");
    // A push of which nothing is known comes before everything, and a pull that a push has asked for before the next push.
    if (this.#patience.unsure && !row.load) return this.#push();
    const mayPull = !this.#deviceFull;
    if (mayPull && (!row.position || row.load || row.min)) return this.#pull();
    if (!row.position || row.load) return;
    while (mayPull && this.#live.length > 0) {
      this.#hear(this.#live.shift() as Live);
      if (this.#work) return;
    }
    if (this.#wants.push) return this.#push();
    const isBehind = this.#min !== null && !this.#isPullDelayed;
    if (mayPull && (this.#wants.pull || isBehind)) this.#pull();
  }

  #commit<T>(purpose: Phase, scope: Scope, body: (tx: Tx) => Promise<T>, then: (result: T) => void): void {
    this.#ids += 1;
    this.#purpose = purpose;
    this.#work = { kind: "commit", id: this.#ids, then };
    this.#effects.push({ type: "commit", id: this.#ids, scope, body });
  }

  #request(work: Work, purpose: Phase, request: { body: string; grant?: string; isStream?: boolean }): void {
    this.#purpose = purpose;
    this.#work = work;
    const { space } = this.#options;
    const send = { kind: work.kind as Request["kind"], space, isStream: false, ...request };
    this.#effects.push({ type: "send", id: work.id, request: send });
  }

  #newId(): number {
    this.#ids += 1;
    return this.#ids;
  }

  #stored({ row, pending }: Stored): void {
    this.#row = row;
    this.#pending = pending;
    if (this.#min && reaches(row.position, this.#min)) this.#min = null;
  }

  #open(user: string, stolen: boolean): void {
    const { space, newId } = this.#options;
    this.#user = user;
    if (stolen) this.#noNewClientUntil = this.#now + MINUTE;
    this.#commit("new", NOTHING, (tx) => openSpace(tx, space, user, newId()), (opened) => {
      this.#stored(opened);
      const { held, min } = opened.row;
      // Who is signed in is found out anew.
      if (held && held.why !== "signed-out" && held.why !== "other-user") this.#held = held;
      // What was sent may be on its way still. If a pull was to come first, an answer had settled what could be.
      this.#patience.unsure = opened.hasSent && min === null;
      Object.assign(this.#wants, { push: opened.pending > 0, pull: true });
      this.#checkUser();
    });
  }

  #captured(): void {
    this.#pending += 1;
    this.#hurry();
    const since = this.#pushTimerSince ?? this.#now;
    if (this.#pushTimerSince !== null && this.#now - since > PUSH_DELAY_MAX_MS - PUSH_DELAY_MS) return;
    this.#pushTimerSince = since;
    this.#effects.push({ type: "timer", name: "push", ms: PUSH_DELAY_MS, spread: 0 });
  }

  #timer(name: TimerName): void {
    if (name === "wait") this.#patience.goOn();
    else if (name === "pull") this.#isPullDelayed = false;
    else if (name === "full") this.#deviceFull = false;
    else {
      this.#pushTimerSince = null;
      this.#wants.push = true;
    }
    this.#next();
  }

  /** The connection is better, or the user does something: a wait that the server has not asked for ends, once. */
  #hurry(): void {
    if (!this.#patience.hurry()) return;
    this.#effects.push({ type: "cancel", name: "wait" });
    this.#next();
  }

  #wait(ms?: number): void {
    this.#effects.push({ type: "timer", name: "wait", ...this.#patience.wait(this.#now, ms) });
  }

  #hold(why: HeldWhy, detail = ""): void {
    const held = { why, detail };
    const { space } = this.#options;
    this.#held = held;
    this.#patience.reset();
    this.#commit("held", NOTHING, (tx) => hold(tx, space, held), (stored) => this.#stored(stored));
  }

  #resume(): void {
    this.#paused = false;
    if (this.#held?.why === "other-user") return;
    if (this.#held) Object.assign(this.#wants, { pull: true, push: true });
    this.#held = null;
    this.#patience.reset();
    this.#next();
  }

  #close(): void {
    const work = this.#work;
    if (work && work.kind !== "commit") this.#effects.push({ type: "abort", id: work.id });
    this.#work = null;
    this.#closed = true;
    for (const name of ["wait", "push", "pull", "full"] as const) this.#effects.push({ type: "cancel", name });
  }

  #checkUser(): void {
    if (this.#row?.user === this.#user || globalThis.__PLANTED__ === "any user") return;
    this.#hold("other-user", "the database belongs to another user");
  }

  #token(user: string | null): void {
    this.#waitsForToken = false;
    if (user !== null) this.#user = user;
    if (!this.#row || this.#work || (this.#held && this.#held.why !== "signed-out")) return;
    if (user === null) return this.#held ? undefined : this.#hold("signed-out");
    if (this.#held) this.#resume();
    // Nothing is under way here, so nothing has gone out under another user's token.
    if (this.#row.user !== user && this.#work === null) return this.#checkUser();
    this.#next();
  }

  // ——— What came of transactions.

  #committed(id: number, result: unknown): void {
    const work = this.#work;
    if (globalThis.__PLANTED__ === "live at once" && id === 0) return this.#stored(result as Stored);
    if (work?.kind === "pull" && work.storing === id) return this.#storedPage(work, result as Stored);
    if (work?.kind !== "commit" || work.id !== id) return;
    this.#work = null;
    work.then(result as never);
    this.#next();
  }

  #failed(id: number, error: unknown): void {
    const work = this.#work;
    if (!work || id !== (work.kind === "pull" ? work.storing : work.id)) return;
    if (error instanceof TermOver || error instanceof StoreClosed) return this.#close();
    if (work.kind === "pull") this.#effects.push({ type: "abort", id: work.id });
    this.#work = null;
    if (error instanceof DeviceFull) {
      this.#deviceFull = true;
      this.#effects.push({ type: "timer", name: "full", ms: FULL_RETRY_MS, spread: 0 });
      // What goes out needs a little room too, and is not tried without a pause.
      if (work.kind !== "pull") this.#wait();
      return this.#next();
    }
    this.#log(error instanceof Wrong ? "an answer was not taken" : "a transaction failed", error);
    if (this.#purpose === "pushing") this.#wants.push = true;
    else this.#wants.pull = true;
    this.#wait();
  }

  // ——— Answers.

  #answered(id: number, answer: Answer): void {
    const work = this.#work;
    if (!work || work.kind === "commit" || work.id !== id) return;
    if (work.kind === "pull" && (work.storing || work.queue.length > 0)) {
      // The lines that came before the stream ended are stored first.
      work.over = "broken";
      return;
    }
    this.#work = null;
    this.#judge(work, answer);
    this.#next();
  }

  #judge(work: Exclude<Work, { kind: "commit" }>, answer: Answer): void {
    const verdict = verdictOf(answer);
    const { body, retryAfter, status } = answer;
    const patience = this.#patience;
    const mutations = work.kind === "push" ? work.mutations.length : 0;
    const code = body?.code ?? "";
    if (work.kind === "push") {
      this.#wants.push = true;
      // Whatever ends a push in the middle leaves its first mutations settled.
      const isNothing = verdict.is === "token" || verdict.is === "late" || (verdict.is === "later" && !verdict.isDone);
      patience.unsure ||= !isNothing;
    } else if (work.kind === "pull" && verdict.is !== "told") this.#wants.pull = true;
    if (verdict.is !== "token") patience.isTokenNew = false;
    if (verdict.is !== "later") patience.answered(code);
    switch (verdict.is) {
      case "token":
        if (patience.isTokenNew) return this.#hold("signed-out", body?.detail);
        patience.isTokenNew = true;
        this.#waitsForToken = true;
        this.#effects.push({ type: "token" });
        return;
      case "grant":
        return this.#refuseGrant(body?.detail);
      case "late":
        return patience.late(mutations) ? undefined : this.#hold("timeout", body?.detail);
      case "later":
        if (work.kind === "push") patience.kept(verdict.isForeign, mutations, status);
        return this.#wait(retryAfter);
      case "held":
        if (verdict.why === "bug") this.#log(`refused: ${code}`, { body, work });
        return this.#hold(verdict.why, body?.detail ?? code);
      case "told":
        if (work.kind === "push") return this.#pushTold(work, verdict.code, answer);
        return work.kind === "pull" ? this.#pullTold(work, verdict.code, answer) : this.#granted(answer);
    }
  }

  // ——— Pushes.

  #push(): void {
    const { space } = this.#options;
    const { mutationsMax, isProbing } = this.#patience;
    if (isProbing) return this.#send([], false);
    this.#wants.push = false;
    this.#commit("pushing", NOTHING, (tx) => takeBatch(tx, space, mutationsMax), (batch: Batch) => {
      this.#stored(batch);
      if (batch.mutations.length > 0) return this.#send(batch.mutations, batch.isWhole);
      this.#patience.unsure = false;
    });
  }

  #send(mutations: SentRow[], isWhole: boolean): void {
    const row = this.#row as SpaceRow;
    const since = (isWhole || globalThis.__PLANTED__ === "changes of a part") && !this.#deviceFull;
    const body = pushBody(row, mutations, since, this.#options.onConflict);
    this.#request({ kind: "push", id: this.#newId(), mutations, isWhole, since, client: row.client }, "pushing", { body });
  }

  #pushTold(work: Push, code: string, { body, position }: Answer): void {
    const { space, newId } = this.#options;
    const patience = this.#patience;
    const { mutations } = work;
    if (patience.isProbing) {
      // Something gets through, so it is for what it held that the push did not.
      const blocked = patience.probed();
      if (code === "" && blocked === "stop") return this.#hold("blocked", "a change does not reach the server");
      if (code === "") return blocked ? this.#withdrawFirst("blocked") : undefined;
    }
    if (code === "too_large") return mutations.length > 1 ? patience.halve(mutations.length) : this.#withdrawFirst(code);
    if (code === "cursor_expired") return this.#hold("bug", code);
    // A push of the leader before may still arrive: a new client id could then do the same once more.
    if (code !== "" && this.#now < this.#noNewClientUntil) return this.#wait(this.#noNewClientUntil - this.#now);
    const told = body as Record<string, unknown>;
    if (typeof told["grant"] === "string") this.#grants(told["grant"], Number(told["grantExpiresIn"]));
    const at = positionOf(typeof told["position"] === "string" ? told["position"] : position);
    const answer = { ...told, code: code || "ok", position: at } as PushAnswer;
    const pushed: Pushed = { client: work.client, mutations, isWhole: work.isWhole, since: work.since, newClient: newId() };
    const isEmpty = code === "" && mutations.length > 0 && !answer.results?.length;
    if (code === "") patience.passed(mutations.length);
    this.#commit("pushing", ROWS, (tx) => settle(tx, space, pushed, answer), (settled) => {
      patience.unsure = settled.again;
      this.#settled(settled);
      // Overtaken, and nothing of it is settled: it is sent again, but not at once.
      if (isEmpty) this.#wait();
    });
  }

  #settled(settled: Settled): void {
    this.#stored(settled);
    this.#wants.push = settled.pending > 0;
    if (settled.released) this.#effects.push({ type: "released" });
    if (settled.added.length > 0) this.#tell({ type: "notes", space: this.#options.space, added: settled.added });
  }

  /** Uses up the number of the first mutation that has no result, so that those behind it go on. */
  #withdrawFirst(code: string): void {
    const { space } = this.#options;
    this.#wants.withdraw = false;
    this.#commit("pushing", ROWS, (tx) => withdrawFirst(tx, space, code), (settled) => this.#settled(settled));
  }

  // ——— Pulls.

  #pull(): void {
    const { space, newId } = this.#options;
    const row = this.#row as SpaceRow;
    const isShared = space !== "~";
    if (isShared && !(this.#grant && this.#now < this.#grant.until)) {
      return this.#request({ kind: "grant", id: this.#newId() }, "pulling", { body: "" });
    }
    const { load } = row;
    this.#wants.pull = false;
    const since = load?.since ?? row.position?.version ?? 0;
    const asked = { loadId: load?.id ?? newId(), since, gaveUp: load?.gaveUp ?? false };
    const body = pullBody(row, load?.gaveUp ? row.min : later(row.min, this.#min), this.#wants.strong);
    const isStream = since === 0;
    if (isStream) this.#progress ??= { lines: 0, bytes: 0 };
    const grant = isShared && this.#grant ? { grant: this.#grant.text } : {};
    this.#request({ kind: "pull", id: this.#newId(), asked, queue: [], storing: 0, over: "" }, "pulling", { body, isStream, ...grant });
  }

  #pullTold(work: Pull, code: string, { status, body, position }: Answer): void {
    const { space, newId } = this.#options;
    const stored = (result: Stored) => this.#stored(result);
    if (code === "cursor_expired") {
      if (this.#patience.hasRestarted) return this.#hold("bug", "cursors expire at once");
      this.#patience.hasRestarted = true;
      this.#wants.strong = true;
      return this.#commit("pulling", NOTHING, (tx) => restartLoad(tx, space), stored);
    }
    if (code === "epoch_mismatch") {
      const at = positionOf(typeof body?.["position"] === "string" ? body["position"] : position);
      if (work.asked.gaveUp || !at) return this.#hold("epoch", body?.detail);
      this.#min = null;
      return this.#commit("pulling", NOTHING, (tx) => giveUp(tx, space, newId(), at), stored);
    }
    if (code !== "") return this.#hold("bug", code);
    if (status === 304) return this.#arrived();
    // A stream that has ended without its last line.
    if (!body?.["changes"]) {
      this.#wants.pull = true;
      return this.#wait();
    }
    const { epoch, version, reset, more, cursor, changes } = body as unknown as Page & { more: boolean; changes: Line[] };
    this.#work = work;
    work.queue.push({ epoch, version, reset, cursor, lines: changes, end: !more });
    work.over = "page";
    this.#storePage(work);
  }

  #streamed(id: number, page: Page, bytes: number): void {
    const work = this.#work;
    if (work?.kind !== "pull" || work.id !== id) return;
    this.#patience.answered("");
    this.#progress = { lines: (this.#progress?.lines ?? 0) + page.lines.length, bytes: (this.#progress?.bytes ?? 0) + bytes };
    work.queue.push(page);
    if (!work.storing) this.#storePage(work);
  }

  #storePage(work: Pull): void {
    const page = work.queue.shift() as Page;
    const { space } = this.#options;
    work.storing = this.#newId();
    // The chunks of a full state wake nobody: each would have every query run again. Its end wakes all, once.
    const isFull = page.reset || work.asked.since === 0;
    const chunk: Scope = { collections: collectionsOf(page.lines), wake: isFull ? "nothing" : "rows", relaxed: isFull };
    const scope: Scope = page.end ? { wake: isFull || this.#row?.load?.since === 0 ? "everything" : "rows" } : chunk;
    this.#effects.push({ type: "commit", id: work.storing, scope, body: (tx) => storePage(tx, space, page, work.asked) });
  }

  #storedPage(work: Pull, stored: Stored): void {
    this.#stored(stored);
    work.storing = 0;
    work.asked.since = stored.row.load?.since ?? work.asked.since;
    if (!stored.row.load) {
      this.#work = null;
      this.#arrived();
    } else if (work.queue.length > 0) return this.#storePage(work);
    else if (work.over) {
      this.#work = null;
      if (work.over === "broken") this.#wait();
    }
    this.#next();
  }

  /** The present state is here. */
  #arrived(): void {
    this.#progress = null;
    this.#grantRefusedSince = null;
    this.#patience.hasRestarted = false;
    this.#pulls += 1;
    if (!this.#wants.pull) this.#wants.strong = false;
    this.#wants.push ||= this.#pending > 0;
    // What it was told of has not come, though the server promises it: asked for again, but not at once.
    if (this.#row?.min || this.#min) this.#wait();
  }

  // ——— Grants.

  #grants(text: string, expiresIn: number): void {
    // A minute before it ends it counts as ended, and one that lasts less than two for half of its time.
    this.#grant = { text, since: this.#now, until: this.#now + Math.max(expiresIn - MINUTE, expiresIn / 2) };
  }

  #granted({ body }: Answer): void {
    const { grant, expiresIn } = body as { grant?: unknown; expiresIn?: unknown };
    if (typeof grant === "string" && typeof expiresIn === "number") this.#grants(grant, expiresIn);
    else this.#wait();
  }

  /** A grant is refused that is younger than a minute: a secret is being changed, which says nothing about the member. */
  #refuseGrant(detail?: string): void {
    const isYoung = this.#grant !== null && this.#now - this.#grant.since < MINUTE;
    this.#grant = null;
    if (!isYoung) return;
    this.#grantRefusedSince ??= this.#now;
    if (this.#now - this.#grantRefusedSince >= GRANT_REFUSED_MAX_MS) return this.#hold("grant", detail);
    this.#wait();
  }

  // ——— Live messages.

  #hear(message: Live): void {
    const { type, epoch, version, from = Number.POSITIVE_INFINITY, changes = [] } = message;
    if (!epoch || version === undefined || !this.#row) return;
    const { position, load } = this.#row;
    const at = { epoch, version };
    if (reaches(position, at)) return;
    const isFitting = type === "changes" && position !== null && epoch === position.epoch && from <= position.version;
    const { space, newId } = this.#options;
    const page: Page = { epoch, version, reset: false, lines: changes as Line[], cursor: null, end: true };
    const asked: Asked = { loadId: newId(), since: position?.version ?? 0, gaveUp: false };
    if (globalThis.__PLANTED__ === "live at once" && isFitting && this.#work) {
      this.#effects.push({ type: "commit", id: 0, scope: ROWS, body: (tx) => storePage(tx, space, page, asked) });
      return;
    }
    const isBusy = this.#work !== null || this.#patience.unsure || this.#patience.waitsUntil !== null;
    if (type === "changes" && (isBusy || load) && this.#live.length < LIVE_MAX) this.#live.push(message);
    else if (isFitting && !isBusy && !load && !this.#deviceFull) {
      this.#commit("pulling", ROWS, (tx) => storePage(tx, space, page, asked), (stored) => this.#stored(stored));
    } else if (!this.#min || !reaches(this.#min, at)) {
      this.#min = at;
      this.#isPullDelayed = true;
      this.#effects.push({ type: "timer", name: "pull", ms: 0, spread: PULL_SPREAD_MS });
    }
  }
}
