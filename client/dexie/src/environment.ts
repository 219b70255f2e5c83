// What a browser gives: the one place that reaches for its globals.

import { Device, userOf } from "../../core/src/device.ts";
import { ask } from "../../core/src/http.ts";
import type { Ports, Socket, TokenReason, TokenSource } from "../../core/src/ports.ts";
import { type Answer, NO_ANSWER, type Request } from "../../core/src/requests.ts";
import type { StartDriver } from "./driver.ts";
import { HeadStart } from "./head-start.ts";
import type { Locks } from "./leader.ts";
import { newId } from "./new-id.ts";
import type { Channel } from "./tabs.ts";

/** What a browser gives, and tests replace. */
export interface Environment {
  startDriver: StartDriver;
  /** The database is being made: the first load may be asked for before there is a leader. */
  headStart?: () => void;
  locks: Locks | undefined;
  channel: (name: string) => Channel | undefined;
  newId: () => string;
  now: () => number;
  visible: () => boolean;
  /** What the browser says of the connection. */
  online: () => boolean;
  after: (ms: number, call: () => void) => () => void;
  /** Calls when the page is shown or hidden, and when the connection is back or gone; gives what ends that. */
  onPage: (shown: (isVisible: boolean) => void, connected: () => void) => () => void;
  warn: (text: string) => void;
  /** Asks the server, beside what the leader asks. */
  ask: (request: Request) => Promise<Answer>;
}

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
    ...(globalThis.CompressionStream && { pack: (text) => new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).blob() }),
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

/** Asks with a token of its own, and once more with another one if that is refused. */
export const asker = (url: string, ports: Ports, token: TokenSource) =>
  async function asks(request: Request, reason: TokenReason = "start"): Promise<Answer> {
    const text = await token({ reason });
    if (text === null) return { ...NO_ANSWER, body: { code: "unauthenticated", detail: "nobody is signed in" } };
    const answer = await ask(ports, url, text, request, new AbortController());
    return answer.status === 401 && reason === "start" ? asks(request, "refused") : answer;
  };

export function environmentOf({ url, token, policy = "merge" }: ServerOptions, ports: Ports): Environment {
  const start = new HeadStart(url, ports, token);
  return {
    startDriver: (lead) => new Device({ ...lead, url, ports: { ...ports, fetch: start.fetch }, token: start.token, onConflict: policy }),
    headStart: () => void start.begin().catch(() => {}),
    locks: globalThis.navigator?.locks as Environment["locks"],
    channel: (name) => (typeof BroadcastChannel === "function" ? (new BroadcastChannel(name) as never) : undefined),
    newId, visible: isVisible, online: isOnline, onPage,
    now: ports.date,
    ask: asker(url, ports, token),
    after(ms, call) {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    warn: (text) => console.warn(`headwater: ${text}`),
  };
}

export { userOf };
