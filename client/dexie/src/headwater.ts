// A Dexie database that syncs: what the app sees, put together.

import type { Dexie as Database, ObservabilitySet, Subscription } from "dexie";
import type { Early } from "../../core/src/events.ts";
import type { SpaceStatus, Tell } from "../../core/src/status.ts";
import type { NoteRow, OutboxRow, SpaceRow } from "../../core/src/store.ts";
import { adopt, type Adopted } from "./adopt.ts";
import { createCapture } from "./capture.ts";
import { Dexie, liveQuery, rangesOverlap, RangeSet } from "./dexie.ts";
import type { Driver } from "./driver.ts";
import type { Environment } from "./environment.ts";
import { HeldError, TimeoutError } from "./errors.ts";
import { dropProposals, type Existing, takeExisting } from "./existing.ts";
import { forget, forgetSpace } from "./forget.ts";
import { Leader } from "./leader.ts";
import { automatic, type Conflict, type Decider, type OnConflict, type Rejected, shown } from "./notes.ts";
import { Observable } from "./observable.ts";
import { isOutdated, outdated } from "./outdated.ts";
import { type Collections, declareStores, PRIVATE, readCollections, type Synced } from "./schema.ts";
import { combine, type Status } from "./status.ts";
import { DexieStore, silentTap } from "./store.ts";
import { type Message, Tabs, type Wish } from "./tabs.ts";
import { dexieTerms } from "./terms.ts";

export interface SyncOptions {
  collections: Collections;
  /** "ask", the default: conflicts are shown in `conflicts`. A function is asked first. */
  onConflict?: "ask" | OnConflict;
  /** What becomes of rows that were there before their table was synced. "upload" is the default. */
  existing?: Existing;
}

export class Headwater {
  readonly status: Observable<Status>;
  readonly conflicts = new Observable<readonly Conflict[]>([]);
  readonly rejected = new Observable<readonly Rejected[]>([]);
  readonly #db: Database;
  readonly #environment: Environment;
  readonly #tables: ReadonlyMap<string, Synced>;
  readonly #store: DexieStore;
  readonly #existing: Existing;
  readonly #decider: Decider;
  readonly #automatic: ReturnType<typeof automatic> | null;
  readonly #stops: (() => void)[] = [];
  readonly #spaces = new Map<string, SpaceStatus>();
  #leader: Leader | null = null;
  #driver: Driver | null = null;
  #tabs: Tabs | null = null;
  #isPaused = false;
  #isClosed = false;
  #isOutdated = false;
  #ready!: PromiseWithResolvers<void>;
  #isRefused = false;
  /** The last `seq` of the outbox of which the driver was told. */
  #told = 0;

  constructor(db: Database, options: SyncOptions, environment: Environment) {
    const { existing = "upload", onConflict = "ask", collections } = options;
    this.#db = db;
    this.#environment = environment;
    this.#existing = existing;
    this.#tables = readCollections(db, collections, environment.warn);
    declareStores(db);
    const tab = environment.newId();
    let transactions = 0;
    const newTransaction = () => `${tab} ${++transactions}`;
    const { now } = environment;
    const capture = createCapture({
      tables: this.#tables, unsynced: existing === "keep", now, newTransaction,
      ahead: (space) => this.#driver?.ahead(space) ?? null, completed: (early) => this.#completed(early),
    });
    const silent = silentTap();
    db.use(capture.middleware);
    db.use(silent.middleware);
    this.#store = new DexieStore({ db, tables: this.#tables, below: capture.below, silent: silent.below, onSpace: dropProposals });
    this.#decider = { store: this.#store, tables: this.#tables, newTransaction, now };
    this.#automatic = onConflict === "ask" ? null : automatic(onConflict);
    this.status = new Observable(combine([], false, null, now()));
    this.#newReady();
    // Not awaited: the app's first query must not wait for a leader.
    db.on("ready", () => this.#open(tab), true);
    // Outside of the transaction that makes it, in which Dexie calls this.
    db.on("populate", () => void environment.after(0, () => this.#isPaused || this.#isClosed || !environment.online() || environment.headStart?.()));
    db.on("versionchange", () => this.#shut());
    db.on("close", () => this.#shut());
  }

  /**
   * Fulfilled when the first load of the private space is complete; rejected with `HeldError` where somebody has to act first.
   * When somebody has, it is another promise.
   */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  #newReady(): void {
    this.#isRefused = false;
    this.#ready = Promise.withResolvers();
    // Nobody has to ask for it.
    this.#ready.promise.catch(() => {});
  }

  /** Fulfilled when everything is pushed, and what the coordinator has now is here. Rejected with `HeldError` or `TimeoutError`. */
  now({ timeoutMs = 30_000 }: { timeoutMs?: number } = {}): Promise<void> {
    const { promise, reject } = Promise.withResolvers<void>();
    const cancel = this.#environment.after(timeoutMs, () => reject(new TimeoutError(`not synced within ${timeoutMs} ms`)));
    const done = this.#wish("now").catch((error) => {
      const { reason } = this.status.value;
      throw reason ? new HeldError(reason) : error;
    });
    return Promise.race([done, promise]).finally(cancel);
  }

  /**
   * Uploads the rows of a synced table that were written past capture, by an old build of the app or an import: those that the server
   * does not have, and what differs in those that it has. A row that is gone here stays on the server. It needs a connection, and asks
   * for everything that the spaces of the table have. `timeoutMs`: for being up to date, as of `now`. Rejects as `now` does, with
   * `SchemaError` for a table that is not synced, and with `RefusedError` or `BusyError`; what was adopted by then is adopted.
   */
  adopt(table: string, within: { timeoutMs?: number } = {}): Promise<Adopted> {
    const isOpen = (name: string) => this.status.value.spaces.some(({ space, phase }) => space === name && phase !== "closed");
    return adopt({ ...this.#decider, ask: this.#environment.ask, upToDate: () => this.now(within), isOpen }, table);
  }

  /** Nothing is sent or asked for until `resume`, or the next start of the app. Edits are written down as ever. */
  pause(): void {
    this.#pause("pause");
  }

  /** Goes on, also where a space is held: it is tried again. */
  resume(): void {
    this.#pause("resume");
  }

  /** Gives up the mutation of a space that is held as `blocked`: it is shown as rejected, and those behind it go on. */
  withdraw(space: string): void {
    this.#wish("withdraw", space).catch(() => {});
  }

  /** The application has another token, or none any more: somebody has signed in or out. */
  signedIn(): void {
    this.#wish("signedIn").catch(() => {});
  }

  /** Syncs a shared space from now on; one that is held is tried again. */
  openSpace(space: string): Promise<void> {
    return this.#wish("open", space);
  }

  /** Stops syncing a shared space; edits of it that the server has not settled are lost with its rows, unless they are kept. */
  async closeSpace(space: string, keepRows: boolean): Promise<void> {
    await this.#wish("close", space);
    if (!keepRows) await this.#store.edit((tx) => forgetSpace(tx, space));
  }

  /** Lets go of the database in this tab; another one takes over. The database stays open, and edits are written down. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const released = this.#leader?.close();
    this.#shut();
    this.#tell();
    await released;
  }

  /**
   * Empties the synced tables and forgets what was synced, in every tab; they stop syncing. Rejects while there are edits that
   * the server has not settled, unless `evenUnsent`.
   */
  async forget({ evenUnsent = false }: { evenUnsent?: boolean } = {}): Promise<void> {
    await forget(this.#store, this.#tables, evenUnsent);
    this.#tabs?.say({ type: "forgotten" });
    await this.close();
  }

  #open(tab: string): void {
    if (this.#isClosed) return;
    this.#shut();
    const { channel, newId, after } = this.#environment;
    const name = `headwater ${this.#db.name}`;
    this.#tabs = new Tabs({ channel: channel(name), newId, hear: (message) => this.#hear(message), carryOut: (what) => this.#carryOut(what) });
    this.#isOutdated = isOutdated(this.#db);
    this.#leader = this.#isOutdated ? null : new Leader({
      ...this.#environment, name, tab, terms: dexieTerms(this.#db),
      onLead: (term, stolen) => this.#lead(term, stolen),
      onFollow: () => this.#follow(),
    });
    // Outside of the transaction zone in which Dexie calls this.
    this.#stops.push(after(0, () => this.#begin()));
  }

  #begin(): void {
    this.#watch();
    this.#leader?.start();
    if (this.#isOutdated) this.#tell();
    this.#tabs?.say({ type: "hello" });
    const shown = (isVisible: boolean) => {
      this.#driver?.visible(isVisible);
      void this.#leader?.look();
    };
    this.#stops.push(this.#environment.onPage(shown, () => this.#connected()));
  }

  #connected(): void {
    if (this.#environment.online()) this.#driver?.online();
    else this.#driver?.offline();
  }

  /** Notes and the first load are seen in every tab, from the database. */
  #watch(): void {
    const watch = <T>(query: () => PromiseLike<T>, see: (value: T) => void): Subscription => {
      const subscription: Subscription = liveQuery(query as () => Promise<T>).subscribe({ next: see, error: () => {} });
      this.#stops.push(() => subscription.unsubscribe());
      return subscription;
    };
    const notes = this.#db.table<NoteRow>("_hw_notes");
    watch(() => notes.toArray(), (rows) => this.#see(rows));
    const loading = watch(() => this.#db.table<SpaceRow>("_hw_spaces").get(PRIVATE), (row) => {
      if (row?.position) this.#ready.resolve();
      // The row changes with everything that comes, and has no more to say.
      if (row?.position) loading.unsubscribe();
    });
    const outbox = `idb://${this.#db.name}/_hw_outbox/`;
    const captured = (parts: ObservabilitySet) => {
      const seqs = parts[outbox];
      // What is in the driver's hands already needs no look.
      if (seqs && rangesOverlap(seqs, new RangeSet(this.#told + 1, Infinity))) void this.#look().catch(() => {});
    };
    Dexie.on("storagemutated", captured);
    this.#stops.push(() => Dexie.on.storagemutated.unsubscribe(captured));
  }

  #see(rows: NoteRow[]): void {
    const { conflicts, rejected } = shown(this.#decider, rows);
    this.conflicts.set(conflicts);
    this.rejected.set(rejected);
    this.#decide();
  }

  /** One tab asks the app's function, so that it is asked once. */
  #decide(): void {
    if (!this.#driver) return;
    this.#automatic?.(this.conflicts.value).catch((error) => this.#environment.warn(`onConflict failed: ${error}`));
  }

  async #lead(term: number, stolen: boolean): Promise<void> {
    const leader = this.#leader as Leader;
    // Every transaction of the driver comes after this one: no row from before may be overwritten by a load.
    const adopting = this.#store.commit(term, { wake: "nothing" }, async (tx) => {
      await takeExisting(tx, this.#tables, this.#existing, this.#environment.now());
      return { spaces: await tx.spaces.list(), rows: await tx.outbox.list() };
    });
    this.#spaces.clear();
    const driver = this.#environment.startDriver({
      store: this.#store, term, stolen, tell: (tell) => this.#hearTell(tell), deposed: () => leader.deposed(),
    });
    this.#driver = driver;
    if (this.#isPaused) driver.pause();
    if (!this.#environment.online()) driver.offline();
    driver.open(PRIVATE);
    driver.visible(this.#environment.visible());
    this.#told = 0;
    try {
      const { spaces, rows } = await adopting;
      if (driver !== this.#driver) return;
      for (const { space } of spaces) driver.open(space);
      this.#tellOf(rows);
    } catch (error) {
      // Whoever leads next tries again.
      this.#environment.warn(`sync has not begun: ${error}`);
      throw error;
    }
    this.#tabs?.say({ type: "lead" });
    this.#tabs?.askAgain();
    this.#decide();
  }

  #follow(): void {
    this.#driver?.stop();
    this.#driver = null;
  }

  /** Edits are written down here that can be sent before anything else is done. */
  #completed(early: Early): void {
    const seq = early.rows.at(-1)?.seq ?? 0;
    if (!this.#driver || seq <= this.#told) return;
    this.#told = seq;
    this.#driver.captured(early.row.space, seq, early);
  }

  /** Tells the driver of edits, made here or in another tab. */
  async #look(): Promise<void> {
    const driver = this.#driver;
    if (!driver) return;
    const rows = await this.#store.captured(this.#told);
    if (driver === this.#driver) this.#tellOf(rows);
  }

  #tellOf(rows: readonly OutboxRow[]): void {
    const driver = this.#driver as Driver;
    // Another look may have told of some of them meanwhile.
    const fresh = rows.filter(({ seq }) => seq > this.#told);
    this.#told = Math.max(this.#told, rows.at(-1)?.seq ?? 0);
    for (const { space, seq } of fresh) {
      // Whoever edits rows of a space wants it to be synced.
      driver.open(space);
      driver.captured(space, seq);
    }
  }

  #hearTell(tell: Tell): void {
    if (tell.type === "log") return this.#environment.warn(`${tell.message}${tell.detail ? ` ${tell.detail}` : ""}`);
    if (tell.type !== "status") return;
    const { status } = tell;
    const held = this.#spaces.get(status.space)?.held;
    // A space that has not begun knows nothing of tokens: that nobody is signed in was said by the device, and holds on.
    const stays = status.phase === "new" && held?.why === "signed-out";
    this.#spaces.set(status.space, stays ? { ...status, phase: "held", held } : status);
    this.#tell();
    this.#sayStatus();
  }

  #sayStatus(): void {
    if (this.#driver) this.#tabs?.say({ type: "status", spaces: [...this.#spaces.values()], isPaused: this.#isPaused });
  }

  #tell(): void {
    const { now } = this.#environment;
    const status = combine([...this.#spaces.values()], this.#isPaused, this.status.value, now());
    this.status.set(this.#isClosed ? { ...status, phase: "closed" } : this.#isOutdated ? outdated(status) : status);
    if (status.spaces.some(({ space, ready }) => space === PRIVATE && ready)) this.#ready.resolve();
    if (!status.reason) return this.#isRefused ? this.#newReady() : undefined;
    this.#isRefused = !status.spaces.some(({ space, ready }) => space === PRIVATE && ready);
    if (this.#isRefused) this.#ready.reject(new HeldError(status.reason));
  }

  #hear(message: Message): void {
    switch (message.type) {
      case "hello":
        return this.#sayStatus();
      case "status":
        if (this.#driver) return;
        this.#spaces.clear();
        for (const space of message.spaces) this.#spaces.set(space.space, space);
        this.#isPaused = message.isPaused;
        return this.#tell();
      case "forgotten":
        void this.close();
        return;
    }
  }

  #wish(what: Wish["do"], space = ""): Promise<void> {
    return this.#tabs?.ask({ do: what, space }) ?? Promise.reject(new TimeoutError("the database is not open"));
  }

  #carryOut({ do: what, space }: Wish): Promise<void> | null {
    const driver = this.#driver;
    if (!driver) return null;
    // An edit of this very moment may not have been noticed yet.
    if (what === "now") return this.#loaded().then(() => this.#look()).then(() => driver.now());
    const done = driver[what](space);
    if (what === "open") driver.retry(space);
    if (what === "pause" || what === "resume") {
      this.#isPaused = what === "pause";
      this.#tell();
      this.#sayStatus();
    }
    return Promise.resolve(done);
  }

  /** Fulfilled when every open space has had its first load, or is held. */
  #loaded(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.status.subscribe(({ spaces }) => {
      if (spaces.length > 0 && spaces.every(({ ready, held }) => ready || held)) resolve();
    });
    return promise.then(stop);
  }

  /** At once here, and as soon as there is a leader wherever it is. */
  #pause(what: "pause" | "resume"): void {
    this.#isPaused = what === "pause";
    this.#wish(what).catch(() => {});
    this.#tell();
  }

  #shut(): void {
    for (const stop of this.#stops.splice(0)) stop();
    void this.#leader?.close();
    this.#leader = null;
    this.#follow();
    this.#tabs?.close();
    this.#tabs = null;
  }
}
