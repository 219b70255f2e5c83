/** What the machine of a space does: pushes, pulls, grants, and live messages. When it does what, machine.ts decides. */

import { type Listed, readConflicts } from "./announced.ts";
import { type Asked, collectionsOf, giveUp, type Page, restartLoad, storePage } from "./load.ts";
import { Machine, MINUTE, NOTHING, type Of, PUSH_DELAY_MAX_MS } from "./machine.ts";
import type { Early } from "./events.ts";
import { numberedEarly, takeBatch } from "./numbering.ts";
import { later, positionOf, reaches } from "./positions.ts";
import type { Line, Stored } from "./records.ts";
import { type Answer, type Live, pullBody, pushBody } from "./requests.ts";
import { type PushAnswer, type Pushed, type Settled, settle, withdrawFirst } from "./settle.ts";
import type { Position, Scope, SentRow, SpaceRow, Tx } from "./store.ts";
import type { Pull, Push } from "./work.ts";

const LIVE_MAX = 32;
const GRANT_REFUSED_MAX_MS = 10 * MINUTE;
const PULL_SPREAD_MS = 2000;
const ROWS: Scope = { wake: "rows" };

export class SpaceMachine extends Machine {
  /** `until`: a minute before it ends. */
  protected grant_: { text: string; since: number; until: number } | null = null;
  protected grantRefusedSince_: number | null = null;
  protected grantRefusals_ = 0;
  /** The position that the last pull was told to reach. */
  protected minAsked_: Position | null = null;

  // ——— Pushes.

  protected push_(): void {
    const { mutationsMax, isProbing } = this.patience_;
    if (isProbing) return this.send_([], false);
    this.wants_.push = false;
    this.store_(this.patience_.unsure ? "unsure" : "pushing", NOTHING, (tx, space) => takeBatch(tx, space, mutationsMax), (batch) => {
      if (batch.mutations.length > 0) return this.send_(batch.mutations, batch.isWhole);
      this.patience_.unsure = false;
    });
  }

  /**
   * The row of the space, if an edit that is made now may be sent as soon as it is written down, before it is numbered: nothing is
   * under way and nothing waits, so whoever numbers it, now or after a crash, gives it the next number.
   */
  ahead(now: number): SpaceRow | null {
    const { row_: row, patience_: patience } = this;
    const isAlone = now - this.capturedAt_ > PUSH_DELAY_MAX_MS && this.pushTimerSince_ === null;
    const isIdle = !this.work_ && this.phase_() === "idle" && !this.paused_ && !this.deviceFull_ && !patience.isProbing;
    const isEmpty = this.pending_ + this.sent_ + this.live_.length === 0;
    return row && isAlone && isIdle && isEmpty && !row.load && !row.min && row.user === this.user_ ? row : null;
  }

  /** Sends what has just been written down. Its number is stored with the answer, or before it is sent again. */
  protected pushEarly_({ rows, fresh, row: { client, next } }: Early): boolean {
    const row = this.ahead(this.now_);
    if (row?.client !== client || row.next !== next) return false;
    const mutation = numberedEarly(row, rows, fresh);
    if (mutation) this.send_([mutation], true, true);
    return mutation !== null;
  }

  protected send_(mutations: SentRow[], isWhole: boolean, isEarly = false): void {
    const row = this.row_ as SpaceRow;
    // Changes could hold the echo of mutations that were tried and are left out here: an addition would show twice.
    const since = (isWhole || globalThis.__PLANTED__ === "changes of a part") && !this.deviceFull_;
    // In time: a socket brings one by itself.
    const wantsGrant = row.space !== "~" && !(this.grant_ && this.now_ < this.grant_.until - 5 * MINUTE);
    const body = pushBody(row, mutations, since, wantsGrant, this.options_.onConflict);
    this.request_({ kind: "push", id: this.newId_(), mutations, since, client: row.client, isEarly }, "pushing", { body });
  }

  protected pushTold_(work: Push, code: string, received: Answer): void {
    const patience = this.patience_;
    const { mutations } = work;
    if (patience.isProbing) {
      // Something gets through, so it is for what it held that the push did not.
      const blocked = patience.probed();
      if (code === "" && blocked === "stop") return this.hold_("blocked", "a change does not get through");
      if (code === "") return blocked ? this.withdrawFirst_("blocked") : undefined;
    }
    if (code === "too_large") return mutations.length > 1 ? patience.halve(mutations.length) : this.withdrawFirst_(code);
    if (code === "cursor_expired") return this.hold_("bug", code);
    // A push of the leader before may still arrive: a new client id could then do the same once more.
    if (code !== "" && this.now_ < this.noNewClientUntil_) return this.wait_(this.noNewClientUntil_ - this.now_);
    const told = received.body as Record<string, unknown>;
    if (typeof told["grant"] === "string") this.grant({ grant: told["grant"], expiresIn: Number(told["grantExpiresIn"]) });
    const answer = { ...told, code: code || "ok", position: positionOf(received) } as PushAnswer;
    const pushed: Pushed = { client: work.client, mutations, since: work.since, newClient: this.options_.newId() };
    const isEmpty = code === "" && mutations.length > 0 && !answer.results?.length;
    if (code === "") patience.passed(mutations.length);
    const settling = async (tx: Tx, space: string): Promise<Settled> => {
      const batch = work.isEarly && (await takeBatch(tx, space, 1));
      const isSame = ([one]: SentRow[], [other]: SentRow[]) => one?.num === other?.num && one?.changes === other?.changes;
      // Something else has its number: what that is to the server, only the server knows.
      if (batch && !isSame(batch.mutations, mutations)) return { ...batch, added: [], released: false, again: true };
      return settle(tx, space, pushed, answer);
    };
    this.store_("pushing", ROWS, settling, (settled) => {
      patience.unsure = settled.again;
      this.settled_(settled);
      // Overtaken, and nothing of it is settled: it is sent again, but not at once.
      if (isEmpty) this.wait_();
    });
  }

  protected settled_({ row, pending, added, released }: Settled): void {
    this.wants_.push = pending > 0;
    if (released) this.effects_.push({ type: "released" });
    if (added.length > 0) this.tell_({ type: "notes", space: row.space, added });
  }

  /** Uses up the number of the first mutation that has no result, so that those behind it go on. */
  protected withdrawFirst_(code: string): void {
    this.wants_.withdraw = false;
    this.store_("pushing", ROWS, (tx, space) => withdrawFirst(tx, space, code), (settled) => this.settled_(settled));
  }

  // ——— Pulls.

  protected pull_(): void {
    const row = this.row_ as SpaceRow;
    const isShared = row.space !== "~";
    if (isShared && !(this.grant_ && this.now_ < this.grant_.until)) {
      return this.request_({ kind: "grant", id: this.newId_() }, "pulling", { body: "" });
    }
    const { load } = row;
    this.wants_.pull = false;
    // Further pages of a load belong to the state that it began with.
    if (!load?.cursor) this.wished_.asked = this.wished_.all;
    else if (this.wished_.asked < this.wished_.all) this.wants_.pull = true;
    const since = load?.since ?? row.position?.version ?? 0;
    const asked = { begins: !load?.cursor, loadId: load?.id ?? this.options_.newId(), since, gaveUp: load?.gaveUp ?? false };
    // A first load asks for whatever there is, so that it can be begun before anything is known; a pull brings the rest.
    const isFirst = !row.position && !load;
    this.minAsked_ = isFirst || load?.gaveUp ? row.min : later(row.min, this.min_);
    const body = pullBody(row, this.minAsked_, this.wants_.strong);
    const isStream = since === 0;
    if (isStream) this.progress_ ??= { lines: 0, bytes: 0 };
    const grant = isShared && this.grant_ ? { grant: this.grant_.text } : {};
    this.request_({ kind: "pull", id: this.newId_(), asked, queue: [], storing: 0, over: "" }, "pulling", { body, isStream, ...grant });
  }

  protected pullTold_(work: Pull, code: string, answer: Answer): void {
    const { status, body } = answer;
    if (code === "cursor_expired") {
      if (this.patience_.hasRestarted) return this.hold_("bug", "cursors expire at once");
      this.patience_.hasRestarted = true;
      this.wants_.strong = true;
      return this.store_("pulling", NOTHING, restartLoad);
    }
    if (code === "epoch_mismatch") {
      const at = positionOf(answer);
      if (work.asked.gaveUp || !at) return this.hold_("epoch", body?.detail);
      this.min_ = null;
      return this.store_("pulling", NOTHING, (tx, space) => giveUp(tx, space, this.options_.newId(), at));
    }
    if (code !== "") return this.hold_("bug", code);
    if (status === 304) return this.arrived_();
    // A stream that has ended without its last line.
    if (!body?.["changes"]) {
      this.wants_.pull = true;
      return this.wait_();
    }
    const page = body as unknown as Page & { more: boolean; changes: Line[] };
    this.work_ = work;
    work.queue.push({ ...page, lines: page.changes, end: !page.more });
    work.over = "page";
    this.storePage_(work);
  }

  page({ id, page, bytes }: Of<"page">): void {
    const work = this.work_;
    if (work?.kind !== "pull" || work.id !== id) return;
    this.patience_.answered("");
    this.progress_ = { lines: (this.progress_?.lines ?? 0) + page.lines.length, bytes: (this.progress_?.bytes ?? 0) + bytes };
    work.queue.push(page);
    if (!work.storing) this.storePage_(work);
  }

  protected storePage_(work: Pull): void {
    const page = work.queue.shift() as Page;
    const { space } = this.options_;
    work.storing = this.newId_();
    // The chunks of a full state wake nobody: each would have every query run again. Its end wakes all, once.
    const isFull = page.reset || work.asked.since === 0;
    const chunk: Scope = { collections: collectionsOf(page.lines), wake: isFull ? "nothing" : "rows" };
    const scope: Scope = page.end ? { wake: isFull || this.row_?.load?.since === 0 ? "everything" : "rows" } : chunk;
    this.effects_.push({ type: "commit", id: work.storing, scope, body: (tx) => storePage(tx, space, page, work.asked) });
  }

  protected storedPage_(work: Pull, stored: Stored): void {
    this.stored_(stored);
    work.storing = 0;
    work.asked.begins = false;
    work.asked.since = stored.row.load?.since ?? work.asked.since;
    if (!stored.row.load) {
      this.work_ = null;
      this.arrived_();
    } else if (work.queue.length > 0) return this.storePage_(work);
    else if (work.over) {
      this.work_ = null;
      if (work.over === "broken") this.wait_();
    }
    this.next_();
  }

  /** The present state is here. */
  protected arrived_(): void {
    this.progress_ = null;
    this.grantRefusedSince_ = null;
    this.grantRefusals_ = 0;
    this.patience_.hasRestarted = false;
    this.wished_.done = this.wished_.asked;
    if (!this.wants_.pull) this.wants_.strong = false;
    this.wants_.push ||= this.pending_ > 0;
    // What it was told of has not come, though the server promises it: asked for again, but not at once.
    if (this.row_?.min || (this.min_ && reaches(this.minAsked_, this.min_))) this.wait_();
  }

  // ——— Conflicts of other devices.

  protected list_(cursor = ""): void {
    this.request_({ kind: "conflict", id: this.newId_() }, "pulling", { body: "", ...(cursor && { cursor }) });
  }

  protected listed_({ body }: Answer): void {
    const { conflicts, cursor } = body as { conflicts?: Listed[]; cursor?: string | null };
    if (!conflicts) return this.wait_();
    this.store_("pulling", NOTHING, (tx, space) => readConflicts(tx, space, conflicts, !cursor), ({ row, added }) => {
      if (added.length > 0) this.tell_({ type: "notes", space: row.space, added });
      if (row.unread && cursor) this.list_(cursor);
    });
  }

  // ——— Grants.

  grant({ grant, expiresIn }: { grant: string; expiresIn: number }): void {
    // A minute before it ends it counts as ended, and one that lasts less than two for half of its time.
    this.grant_ = { text: grant, since: this.now_, until: this.now_ + Math.max(expiresIn - MINUTE, expiresIn / 2) };
  }

  protected granted_({ body }: Answer): void {
    const { grant, expiresIn } = body as { grant?: unknown; expiresIn?: unknown };
    if (typeof grant === "string" && typeof expiresIn === "number") this.grant({ grant, expiresIn });
    else this.wait_();
  }

  /** A grant is refused that is younger than a minute: a secret is being changed, which says nothing about the member. */
  protected refuseGrant_(detail?: string): void {
    const isYoung = this.grant_ !== null && this.now_ - this.grant_.since < MINUTE;
    this.grant_ = null;
    if (!isYoung) return;
    this.grantRefusedSince_ ??= this.now_;
    this.grantRefusals_ += 1;
    if (this.now_ - this.grantRefusedSince_ >= GRANT_REFUSED_MAX_MS) return this.hold_("grant", detail);
    this.wait_(Math.min(1000 * 2 ** this.grantRefusals_, MINUTE));
  }

  // ——— Live messages.

  live({ message }: { message: Live }): void {
    const { type, epoch, version, from = Infinity, changes = [] } = message;
    if (!epoch || version === undefined || this.held_) return;
    // A greeting may come before the row has been read.
    const { position = null, load = null } = this.row_ ?? {};
    const at = { epoch, version };
    if (reaches(position, at)) return;
    const isFitting = type === "changes" && position !== null && epoch === position.epoch && from <= position.version;
    const { space, newId } = this.options_;
    const page: Page = { epoch, version, reset: false, lines: changes as Line[], cursor: null, end: true };
    const asked: Asked = { begins: false, loadId: newId(), since: position?.version ?? 0, gaveUp: false };
    if (globalThis.__PLANTED__ === "live at once" && isFitting && this.work_) {
      this.effects_.push({ type: "commit", id: 0, scope: ROWS, body: (tx) => storePage(tx, space, page, asked) });
      return;
    }
    const isBusy = this.paused_ || this.work_ !== null || this.patience_.unsure || this.patience_.waitsUntil !== null;
    if (type === "changes" && (isBusy || load) && this.live_.length < LIVE_MAX) this.live_.push(message);
    else if (isFitting && !isBusy && !load && !this.deviceFull_) {
      this.store_("pulling", ROWS, (tx) => storePage(tx, space, page, asked));
    } else if (!this.min_ || !reaches(this.min_, at)) {
      this.min_ = at;
      this.isPullDelayed_ = true;
      this.later_("pull", 0, PULL_SPREAD_MS);
    }
  }
}
