// What a browser gives: the one place that reaches for its globals.

import { Device, userOf } from "../../core/src/device.ts";
import type { Ports, Socket, TokenSource } from "../../core/src/ports.ts";
import { HeadStart } from "./head-start.ts";
import type { Environment } from "./headwater.ts";
import { newId } from "./new-id.ts";

export interface ServerOptions {
  /** Where the Worker is, `https://sync.example.com`. */
  url: string;
  /** Gives the user's token, or null: signed out, and everything works locally. */
  token: TokenSource;
  /** False: everything goes by HTTP. */
  socket?: boolean;
  /** Instead of the browser's own: to watch what is sent, or to cut it off. */
  fetch?: typeof globalThis.fetch;
  WebSocket?: typeof globalThis.WebSocket;
  /** What the server does with an edit of what others have changed; "merge" by default: edits of different fields merge. */
  policy?: "reject" | "merge" | "overwrite";
}

export function portsOf(options: Pick<ServerOptions, "socket" | "fetch" | "WebSocket">): Ports {
  const WebSocket = options.socket === false ? undefined : (options.WebSocket ?? globalThis.WebSocket);
  return {
    now: () => performance.now(),
    date: () => Date.now(),
    chance: () => Math.random(),
    newId,
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (timer) => clearTimeout(timer as number),
    fetch: (url, init) => (options.fetch ?? fetch)(url, init),
    ...(WebSocket && { socket: (url, protocols) => new WebSocket(url, protocols) as unknown as Socket }),
    log: (message, detail) => console.error(`headwater: ${message}`, detail ?? ""),
  };
}

/** Undefined in a worker. */
const page: Document | undefined = globalThis.document;
const isVisible = (): boolean => page?.visibilityState !== "hidden";

const isOnline = (): boolean => globalThis.navigator?.onLine !== false;

/** Calls when the page is shown or hidden, and when the connection is back or gone. */
function onPage(shown: (isVisible: boolean) => void, connected: () => void): () => void {
  const look = () => shown(isVisible());
  const end = new AbortController();
  const events: [EventTarget | undefined, string, () => void][] = [
    [globalThis, "online", connected], [globalThis, "offline", connected], [globalThis, "focus", look], [page, "visibilitychange", look],
  ];
  for (const [target, event, call] of events) target?.addEventListener?.(event, call, { signal: end.signal });
  return () => end.abort();
}

export function environmentOf({ url, token, policy = "merge" }: ServerOptions, ports: Ports): Environment {
  const start = new HeadStart(url, ports, token);
  return {
    startDriver: (lead) => new Device({ ...lead, url, ports: { ...ports, fetch: start.fetch }, token: start.token, onConflict: policy }),
    headStart: () => void start.begin(),
    locks: globalThis.navigator?.locks as Environment["locks"],
    channel: (name) => (typeof BroadcastChannel === "function" ? (new BroadcastChannel(name) as never) : undefined),
    newId, visible: isVisible, online: isOnline, onPage,
    now: ports.date,
    after(ms, call) {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    warn: (text) => console.warn(`headwater: ${text}`),
  };
}

export { userOf };
