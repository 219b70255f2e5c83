/**
 * What the core is handed beside the store: time, chance, timers, HTTP and sockets. In a browser these are one line each;
 * in tests they are a simulated world. Nothing in the core reaches for a global of the browser.
 */

export interface Ports {
  /** Milliseconds of a clock that does not jump (`performance.now()`); used for how long things last. */
  now(): number;
  /** Milliseconds since the Unix epoch by the device's clock; used for `at` only. */
  date(): number;
  /** A number in [0, 1), each time another (`Math.random`). */
  chance(): number;
  /** A new client or load id: 8 to 64 of `A-Za-z0-9_-`, never the same on two devices. */
  newId(): string;
  setTimeout(fn: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** The global `fetch`, or the part of it that is used. */
  fetch(url: string, init: FetchInit): Promise<FetchAnswer>;
  /** A text packed with gzip (`CompressionStream`); absent: bodies go as they are. */
  pack?(text: string): Promise<Blob>;
  /** Opens a socket (`new WebSocket(url, protocols)`); absent: everything goes by HTTP. */
  socket?(url: string, protocols: string[]): Socket;
  /** For bugs of the client or the server that somebody should see (`console.error`). */
  log?(message: string, detail?: unknown): void;
}

/** Without `cache`: the answers say "no-store" themselves, and where the request says it, a browser asks before each one whether it may. */
export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  body?: string | Blob;
  signal?: AbortSignal;
  redirect: "manual";
  credentials: "omit";
}

export interface FetchAnswer {
  status: number;
  headers: { get(name: string): string | null };
  /** A stream of bytes, where the environment has them; else `text()` is used. */
  body: ReadableStream<Uint8Array> | null;
  text(): Promise<string>;
}

/** The part of `WebSocket` that is used. */
export interface Socket {
  readyState: number;
  send(text: string): void;
  close(code?: number): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
}

export type TokenReason = "start" | "expiring" | "refused";
/** The user's token, or null: signed out, and everything works locally. One call is under way at a time. */
export type TokenSource = (asked: { reason: TokenReason }) => Promise<string | null>;
