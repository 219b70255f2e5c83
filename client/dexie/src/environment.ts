// What a browser gives: the one place that reaches for its globals.

import { Device, userOf } from "../../core/src/device.ts";
import type { Ports, Socket, TokenSource } from "../../core/src/ports.ts";
import type { Environment } from "./headwater.ts";
import { newId } from "./new-id.ts";

export interface ServerOptions {
  /** Where the Worker is, `https://sync.example.com`. */
  url: string;
  /** Gives the user's token, or null: signed out, and everything works locally. */
  token: TokenSource;
  /** False: everything goes by HTTP. */
  socket?: boolean;
  /** What the server does with an edit of what others have changed; "merge" by default: edits of different fields merge. */
  policy?: "reject" | "merge" | "overwrite";
}

export function portsOf({ socket = true }: Pick<ServerOptions, "socket">): Ports {
  return {
    now: () => performance.now(),
    date: () => Date.now(),
    chance: () => Math.random(),
    newId,
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (timer) => clearTimeout(timer as number),
    fetch: (url, init) => fetch(url, init),
    ...(socket && typeof WebSocket === "function" && { socket: (url, protocols) => new WebSocket(url, protocols) as unknown as Socket }),
    log: (message, detail) => console.error(`headwater: ${message}`, detail ?? ""),
  };
}

/** Undefined in a worker. */
const page: Document | undefined = globalThis.document;
const isVisible = (): boolean => page?.visibilityState !== "hidden";

/** Calls when the page is shown or hidden, and when the connection is back. */
function onPage(shown: (isVisible: boolean) => void, online: () => void): () => void {
  const look = () => shown(isVisible());
  const end = new AbortController();
  const events: [EventTarget | undefined, string, () => void][] = [[globalThis, "online", online], [globalThis, "focus", look], [page, "visibilitychange", look]];
  for (const [target, event, call] of events) target?.addEventListener?.(event, call, { signal: end.signal });
  return () => end.abort();
}

export function environmentOf({ url, token, policy = "merge" }: ServerOptions, ports: Ports): Environment {
  return {
    startDriver: (lead) => new Device({ ...lead, url, ports, token, onConflict: policy }),
    locks: globalThis.navigator?.locks as Environment["locks"],
    channel: (name) => (typeof BroadcastChannel === "function" ? (new BroadcastChannel(name) as never) : undefined),
    newId, visible: isVisible, onPage,
    now: ports.date,
    after(ms, call) {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    warn: (text) => console.warn(`headwater: ${text}`),
  };
}

export { userOf };
