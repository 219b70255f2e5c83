// Tells the app of what was written: what each record has come to, at least once, in the order of versions, also when the object or the
// app fails on the way.
//
// The queue is the space itself: its records by version, and how far the app has been told, which is a value in the same storage. So
// nothing is written beside a push, and there is nothing to lose. While the app has not been told of something, an alarm stands: that
// of the publication, which every push has set, or one of ours once the publication is done.

// @ts-ignore: made by the build, in the packed package.
import { Coordinator as Inner } from "./headwater.js";

/** What was written to a space since the app was told before. */
export interface Commit {
  /** The id of a shared space; "~" is a private one. */
  space: string;
  /** The space's name in storage. That of a user's private space is `scopeOf(user)`. */
  scope: string;
  epoch: string;
  /** The version that the app was told of before; 0 at first, so that the first commits bring all that the space has. */
  from: number;
  version: number;
  /** The space was emptied or restored: forget what is known of it; this commit and those after it bring all that it has. */
  reset: boolean;
  /** A shared space was deleted, for ever. */
  gone: boolean;
  /** What the records are now. One that was written twice since `from` is here once. Collections that begin with `$` are Headwater's own. */
  changes: { version: number; collection: string; id: string; value?: unknown; deleted?: true }[];
}
/** Throws, or takes more than half a minute: it is called again with the same, and maybe more. */
export type OnCommit<Env> = (commit: Commit, env: Env) => void | Promise<void>;

interface Storage {
  sql: { exec(query: string, ...params: unknown[]): Iterable<Record<string, unknown>> };
  kv: { get(key: string): unknown; put(key: string, value: unknown): void };
  sync(): Promise<void>;
  getAlarm(): Promise<number | null>;
  setAlarm(at: number): Promise<void>;
}
interface State {
  storage: Storage;
  waitUntil(promise: Promise<unknown>): void;
}
interface Told {
  epoch: string;
  version: number;
  gone: boolean;
}
interface Stands {
  scope: string;
  epoch: string;
  space: string | null;
  gone_at: number | null;
  newest: number | null;
}

const KEY = "told of commits";
const STANDS = "SELECT scope, epoch, space, gone_at, (SELECT max(version) FROM records) AS newest FROM meta";
const LINES = `SELECT version, '{"version":' || version || ',' || line AS line FROM records WHERE version > ? ORDER BY version, collection, id`;
/** So much text is read at once, and one version more. */
const BYTES_MAX = 1024 * 1024;
const CALL_MS = 30_000;
/** How long to wait before each further attempt while the object is awake; then it waits for an alarm. */
const QUICK_MS = [1_000, 4_000];
/**
 * Ours is set only where none stands, and no sooner than so many intervals of publication: an alarm of the publisher must never come
 * earlier than it was set, for until then a put of an instance that is gone may land (docs/decisions/0004-watchdog.md).
 */
const WATCHDOG_INTERVALS = 4;
const INTERVAL_MS = 30_000;

/** The object of a space, with whoever is to be told of its commits. */
export function objectOf<Env>(onCommit: OnCommit<Env>): new (state: unknown, env: unknown) => object {
  return class Coordinator {
    readonly #inner: Record<"fetch" | "alarm" | "webSocketMessage" | "webSocketClose" | "webSocketError", (...event: unknown[]) => Promise<unknown>>;
    readonly #state: State;
    readonly #env: Env;
    #isTelling = false;
    /** Something may have been written since the last look. */
    #isAsked = false;
    #hasTables = false;
    #told: Told | null | undefined;

    constructor(state: unknown, env: unknown) {
      this.#inner = new Inner(state, env);
      this.#state = state as State;
      this.#env = env as Env;
    }

    fetch(request: unknown): Promise<unknown> {
      return this.#after(this.#inner.fetch(request));
    }
    webSocketMessage(...event: unknown[]): Promise<unknown> {
      return this.#after(this.#inner.webSocketMessage(...event));
    }
    webSocketClose(...event: unknown[]): Promise<unknown> {
      return this.#inner.webSocketClose(...event);
    }
    webSocketError(...event: unknown[]): Promise<unknown> {
      return this.#inner.webSocketError(...event);
    }
    /** If it throws, the platform rings again by itself. The app is not waited for: the publication goes on without it. */
    async alarm(...event: unknown[]): Promise<void> {
      await this.#inner.alarm(...event);
      if (this.#next()) await this.#keepAlarm();
      this.#tell();
    }

    async #after<T>(work: Promise<T>): Promise<T> {
      try {
        return await work;
      } finally {
        this.#tell();
      }
    }

    /** One attempt is under way at a time; what comes meanwhile is told by it, or by the alarm. */
    #tell(): void {
      this.#isAsked = true;
      if (this.#isTelling) return;
      this.#isTelling = true;
      this.#state.waitUntil(this.#tellAll());
    }

    async #tellAll(): Promise<void> {
      try {
        while (this.#isAsked) {
          this.#isAsked = false;
          for (let commit = this.#next(); commit; commit = this.#next()) {
            // What was read may not be durable yet.
            await this.#state.storage.sync();
            if (!(await this.#call(commit))) return await this.#keepAlarm();
            this.#told = { epoch: commit.epoch, version: commit.version, gone: commit.gone };
            this.#state.storage.kv.put(KEY, this.#told);
          }
        }
      } finally {
        // In the moment of the last look: what is written after it is told by the next attempt.
        this.#isTelling = false;
      }
    }

    async #call(commit: Commit): Promise<boolean> {
      for (const pause of [0, ...QUICK_MS]) {
        if (pause > 0) await new Promise((later) => setTimeout(later, pause));
        let timer: ReturnType<typeof setTimeout> | undefined;
        const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("no answer within 30 s")), CALL_MS)));
        try {
          await Promise.race([onCommit(commit, this.#env), late]);
          return true;
        } catch (error) {
          console.error("onCommit failed, and is called again:", error);
        } finally {
          clearTimeout(timer);
        }
      }
      return false;
    }

    #next(): Commit | null {
      const { sql, kv } = this.#state.storage;
      // An object that was never written has no tables.
      this.#hasTables ||= [...sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'records'")].length > 0;
      const [stands] = (this.#hasTables ? [...sql.exec(STANDS)] : []) as unknown as Stands[];
      if (!stands) return null;
      this.#told ??= (kv.get(KEY) as Told | undefined) ?? null;
      const { scope, epoch, space, newest } = stands;
      const told = this.#told;
      const gone = stands.gone_at !== null;
      const reset = told !== null && told.epoch !== epoch;
      const from = told === null || reset ? 0 : told.version;
      if (told?.gone || (!gone && !reset && (newest ?? 0) <= from)) return null;
      const { version, changes } = this.#read(from);
      return { space: space ?? "~", scope, epoch, from, version, reset, gone, changes };
    }

    /** Whole versions above `from`, in order. */
    #read(from: number): Pick<Commit, "version" | "changes"> {
      const lines: string[] = [];
      let [version, bytes] = [from, 0];
      for (const row of this.#state.storage.sql.exec(LINES, from) as Iterable<{ version: number; line: string }>) {
        if (bytes >= BYTES_MAX && row.version !== version) break;
        lines.push(row.line);
        bytes += row.line.length;
        version = row.version;
      }
      return { version, changes: JSON.parse(`[${lines.join()}]`) };
    }

    async #keepAlarm(): Promise<void> {
      const { storage } = this.#state;
      if ((await storage.getAlarm()) !== null) return;
      const { PUBLISH_INTERVAL_MS } = this.#env as { PUBLISH_INTERVAL_MS?: string };
      await storage.setAlarm(Date.now() + WATCHDOG_INTERVALS * Math.max(1000, Number(PUBLISH_INTERVAL_MS) || INTERVAL_MS));
    }
  };
}
