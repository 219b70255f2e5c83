// Tells the app of what was written: at least once, in the order of versions, also when the object or the app fails on the way.
//
// The queue is the space itself: its records by version, and how far the app has been told, which is a value in the same storage.
// So there is nothing to write beside a push, and nothing to lose: whatever ends the object, it goes on from there at its next event,
// at the latest when its alarm publishes.

// @ts-ignore: made by the build, in the packed package.
import { Coordinator as Inner } from "./headwater.js";

/** What was written to a space since the app was told before. */
export interface Commit {
  /** The id of a shared space; "~" is a private one. */
  space: string;
  /** The space's name in storage: for a private space, a hash of its user's issuer and subject. */
  scope: string;
  /** Versions of another epoch are another history: the space was restored or emptied. */
  epoch: string;
  /** The version that the app was told of before; 0 at first, so that the first commits bring all that the space has. */
  from: number;
  version: number;
  /** What the records are now. One that was written twice since `from` is here once. Collections that begin with `$` are Headwater's own. */
  changes: { version: number; collection: string; id: string; value?: unknown; deleted?: true }[];
}
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
}

const KEY = "told of commits";
const LINES = `SELECT version, '{"version":' || version || ',' || line AS line FROM records WHERE version > ? ORDER BY version, collection, id`;
/** So much text is read at once, and one version more. */
const BYTES_MAX = 1024 * 1024;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 15 * 60_000;

/** The object of a space, with whoever is to be told of its commits. */
export function objectOf<Env>(onCommit: OnCommit<Env>): new (state: unknown, env: unknown) => object {
  return class Coordinator {
    readonly #inner: Record<"fetch" | "alarm" | "webSocketMessage" | "webSocketClose" | "webSocketError", (...event: unknown[]) => Promise<unknown>>;
    readonly #state: State;
    readonly #env: Env;
    #telling: Promise<void> | null = null;
    #retryMs = RETRY_MIN_MS;

    constructor(state: unknown, env: unknown) {
      this.#inner = new Inner(state, env);
      this.#state = state as State;
      this.#env = env as Env;
    }

    // The answer is not kept waiting; an alarm is, because whatever it leaves behind ends with it.
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
    async alarm(...event: unknown[]): Promise<void> {
      await this.#inner.alarm(...event);
      await this.#tell();
    }

    async #after<T>(work: Promise<T>): Promise<T> {
      try {
        return await work;
      } finally {
        this.#state.waitUntil(this.#tell());
      }
    }

    #tell(): Promise<void> {
      this.#telling ??= this.#tellAll().finally(() => (this.#telling = null));
      return this.#telling;
    }

    async #tellAll(): Promise<void> {
      try {
        for (let commit = this.#next(); commit; commit = this.#next()) {
          // What was read may not be durable yet.
          await this.#state.storage.sync();
          await onCommit(commit, this.#env);
          this.#state.storage.kv.put(KEY, { epoch: commit.epoch, version: commit.version } satisfies Told);
          this.#retryMs = RETRY_MIN_MS;
        }
      } catch (error) {
        console.error(`onCommit failed, and is called again in ${this.#retryMs} ms:`, error);
        await this.#wakeIn(this.#retryMs);
        this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MAX_MS);
      }
    }

    #next(): Commit | null {
      const { sql, kv } = this.#state.storage;
      // An object that has never been written has no tables.
      if ([...sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'records'")].length === 0) return null;
      const [meta] = [...sql.exec("SELECT scope, epoch, space FROM meta")] as { scope: string; epoch: string; space: string | null }[];
      if (!meta) return null;
      const { version: from } = (kv.get(KEY) as Told | undefined) ?? { version: 0 };
      const lines: string[] = [];
      let [version, bytes] = [from, 0];
      for (const row of sql.exec(LINES, from) as Iterable<{ version: number; line: string }>) {
        // A version is told whole.
        if (bytes >= BYTES_MAX && row.version !== version) break;
        lines.push(row.line);
        bytes += row.line.length;
        version = row.version;
      }
      if (lines.length === 0) return null;
      const { scope, epoch, space } = meta;
      return { space: space ?? "~", scope, epoch, from, version, changes: JSON.parse(`[${lines.join()}]`) };
    }

    /** The space's own alarm, where it comes earlier, does as well. */
    async #wakeIn(ms: number): Promise<void> {
      const { storage } = this.#state;
      const [due, at] = [await storage.getAlarm(), Date.now() + ms];
      if (due === null || due > at) await storage.setAlarm(at);
    }
  };
}
