// Which tab of a database talks to the server. One lock per database says it; the others capture and watch.
//
// A page that closes frees the lock. A page that stands still holds it, so the leader writes a beat, and a visible tab that
// sees none takes the lock away. The old leader may wake with an answer in hand: each leadership has a number, the term, which
// is raised in the database when it begins and compared in every commit, so that a woken leader writes nothing.

/** The leader's row in `_hw_meta`. */
export interface LeaderRow {
  term: number;
  /** By the device's clock, in milliseconds. */
  beat: number;
  /** When the term was begun by taking the lock away; then a push of the earlier leader may still arrive. */
  stolen: number | null;
  /** The tab that leads, so that a lease without locks knows its own. */
  tab: string;
  /** The time at which a visible tab asked a hidden leader to yield. */
  wanted: number;
}

export interface Terms {
  /** Reads the leader's row, and writes what `change` makes of it unless it gives null, in one transaction. Answers what stands then. */
  change(change: (row: LeaderRow | undefined) => LeaderRow | null): Promise<LeaderRow | undefined>;
}

/** `navigator.locks`, as far as it is used. */
export interface Locks {
  request(name: string, options: { steal?: boolean; signal?: AbortSignal }, hold: () => Promise<void>): Promise<void>;
}

export interface LeaderOptions {
  /** Names the lock: one per database. */
  name: string;
  tab: string;
  terms: Terms;
  /** Absent on pages that are not secure: then a lease in the database decides. */
  locks: Locks | undefined;
  now: () => number;
  visible: () => boolean;
  /** Calls back after some milliseconds; gives what stops that. */
  after: (ms: number, call: () => void) => () => void;
  /** Rejects where the lead cannot be begun: it is given up, and asked for again later. */
  onLead: (term: number, stolen: boolean) => Promise<void>;
  onFollow: () => void;
}

export const BEAT_MS = 10_000;
export const SILENCE_MS = 30_000;
export const LEASE_MS = 15_000;
/** So long a push of a leader may still arrive from which the lock was taken. */
const STOLEN_MS = 60_000;
const LEASE_BEAT_MS = 5_000;
/** A lead that could not be begun is asked for again after so long, twice as long each time. */
const AGAIN_MS = 5_000;
const AGAIN_MAX_MS = 5 * 60_000;
/** A beat that says that nobody leads. */
const FREE = -1;

export class Leader {
  readonly #options: LeaderOptions;
  #term: number | null = null;
  #release: (() => void) | null = null;
  #stop: () => void = () => {};
  #waiting: AbortController | null = null;
  #closed = false;
  #failures = 0;
  /** Ends the pause after a lead that could not be begun. */
  #resting: (() => void) | null = null;
  /** When this tab first saw the beat that stands: only what is seen here to be old counts, whatever the clocks say. */
  #seen = { beat: Number.NaN, at: 0 };

  constructor(options: LeaderOptions) {
    this.#options = options;
  }

  get term(): number | null {
    return this.#term;
  }

  start(): void {
    if (this.#options.locks) this.#wait(false);
    else void this.look();
    this.#watch();
  }

  /** Gives up the lead and every claim to it. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const term = this.#term;
    this.#closed = true;
    this.#stop();
    this.#resting?.();
    this.#waiting?.abort();
    this.#follow();
    // A lock is free by now; of a lease somebody has to say so.
    if (!this.#options.locks && term !== null)
      await this.#beat(term, FREE).catch(() => {});
  }

  /** A commit has found another term: somebody else leads. */
  deposed(): void {
    this.#follow();
    if (!this.#closed && this.#options.locks && !this.#waiting) this.#wait(false);
  }

  /** The database cannot be written, or not as the lead needs it (closed, full): whoever waits next may do better. */
  #failed(): void {
    this.#follow();
    if (this.#closed || !this.#options.locks) return;
    this.#resting?.();
    this.#resting = this.#options.after(Math.min(AGAIN_MS * 2 ** this.#failures++, AGAIN_MAX_MS), () => {
      this.#resting = null;
      this.#wait(false);
    });
  }

  /** Looks at once, as when the page has become visible again. */
  look(): Promise<void> {
    return this.#closed ? Promise.resolve() : this.#tick().catch(() => {});
  }

  #wait(steal: boolean): void {
    const { locks, name } = this.#options;
    const waiting = new AbortController();
    this.#waiting?.abort();
    this.#waiting = waiting;
    let held = false;
    const hold = () => {
      held = true;
      if (this.#waiting === waiting) this.#waiting = null;
      return this.#closed ? Promise.resolve() : this.#hold(steal);
    };
    // A steal cannot be waited for, and so not be aborted either.
    locks?.request(name, steal ? { steal } : { signal: waiting.signal }, hold).catch(() => {
      // Rejected while held: the lock was taken away. Rejected before: this wait was given up for another, or the page closes.
      if (held) this.deposed();
    });
  }

  async #hold(stolen: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#release = resolve;
    try {
      await this.#begin(stolen);
    } catch {
      this.#failed();
    }
    return promise;
  }

  async #begin(stolen: boolean): Promise<void> {
    const { terms, now, tab, onLead } = this.#options;
    const at = now();
    const row = await terms.change((old) => {
      // A push of the leader before the last may still arrive too.
      const before = old?.stolen && at - old.stolen < STOLEN_MS ? old.stolen : null;
      return { term: (old?.term ?? 0) + 1, beat: at, stolen: stolen ? at : before, tab, wanted: 0 };
    });
    if (this.#closed || !row || (this.#options.locks && !this.#release)) return this.#follow();
    this.#term = row.term;
    onLead(row.term, row.stolen !== null).then(
      () => (this.#failures = 0),
      () => this.#term === row.term && this.#failed(),
    );
  }

  #follow(): void {
    this.#release?.();
    this.#release = null;
    if (this.#term === null) return;
    this.#term = null;
    this.#options.onFollow();
  }

  #watch(): void {
    const every = this.#options.locks ? BEAT_MS : LEASE_BEAT_MS;
    this.#stop = this.#options.after(every, () => {
      this.#tick().catch(() => {}).then(() => {
        if (!this.#closed) this.#watch();
      });
    });
  }

  #beat(term: number, beat: number): Promise<LeaderRow | undefined> {
    return this.#options.terms.change((row) => (row?.term === term ? { ...row, beat } : null));
  }

  /** The leader writes its beat; a follower looks for one. */
  async #tick(): Promise<void> {
    if (this.#term === null) return this.#look();
    const { now, visible, locks } = this.#options;
    const term = this.#term;
    const row = await this.#beat(term, now());
    if (row?.term !== term) return this.deposed();
    // Timers of hidden pages stand still, so a hidden leader yields to whoever looks at the app.
    if (row.wanted > 0 && !visible() && locks) {
      this.#follow();
      this.#wait(false);
    }
  }

  async #look(): Promise<void> {
    const { terms, now, visible, locks } = this.#options;
    const row = await terms.change((old) => (old && visible() && old.wanted === 0 && locks ? { ...old, wanted: now() } : null));
    const beat = row?.beat ?? 0;
    if (beat !== this.#seen.beat) this.#seen = { beat, at: now() };
    const silence = now() - this.#seen.at;
    if (!locks) return !row || beat === FREE ? this.#begin(false) : silence >= LEASE_MS ? this.#begin(true) : undefined;
    if (visible() && silence >= SILENCE_MS && !this.#resting) {
      this.#seen = { beat: Number.NaN, at: now() };
      this.#wait(true);
    }
  }
}
