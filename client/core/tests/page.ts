// A page with a leader over HTTP and sockets that are simulated, against the small server.

import { capture } from "../src/capture.ts";
import { Device, type DeviceOptions } from "../src/device.ts";
import type { Change } from "../src/ops.ts";
import type { FetchAnswer, FetchInit, Ports, Socket } from "../src/ports.ts";
import type { Tell } from "../src/status.ts";
import { type Push, type Reply, Server } from "./server.ts";
import { MemoryStore } from "./store.ts";

export const EPOCH = "0aaaaaaaaaaa";
export const jwt = (sub: string, n = 0, exp?: number) => `h.${btoa(JSON.stringify({ iss: "i", sub, n, exp })).replace(/=+$/, "")}.s`;
export const settle = async () => {
  for (let turn = 0; turn < 60; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

export class FakeSocket implements Socket {
  readyState = 0;
  sent: { type: string; n: number; body?: unknown; [field: string]: unknown }[] = [];
  protocols: string[];
  onopen = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  constructor(protocols: string[]) {
    this.protocols = protocols;
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(code = 1006): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code });
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  greet(server: Server, fields: object = {}): void {
    this.readyState = 1;
    this.say({ type: "version", space: "~", epoch: server.epoch, version: server.model.version, tokenExpiresIn: 600_000, reconnectWithin: 5000, ...fields });
  }
}

/** A page with one leader, whose time passes when a test says so. */
export class PageOfApp {
  server = new Server(EPOCH);
  store = new MemoryStore();
  requests: { path: string; body: Record<string, unknown>; headers: Record<string, string> }[] = [];
  sockets: FakeSocket[] = [];
  tells: Tell[] = [];
  logs: unknown[] = [];
  asked: string[] = [];
  tokens: (string | null)[] = [jwt("alice")];
  time = 0;
  timers = new Map<number, { at: number; fn: () => void }>();
  ids = 0;
  deposed = 0;
  /** Requests that were left "open" and are wanted no more. */
  aborted = 0;
  /** The next token, when it comes. */
  #slow: Promise<string> | null = null;
  /** The user has been removed from s1. */
  isForbidden = false;
  /** How many grants pushes have brought. */
  grants = 0;
  /** What answers to pulls have beside what they always have. */
  pullHeaders: Record<string, string> = {};
  /** The spaces whose answers do not fit among others. */
  alone: string[] = [];
  /** Answers instead of the server, once each; null: no answer; "open": none until the request is aborted. */
  instead: (FetchAnswer | null | "open")[] = [];
  device: Device;

  constructor({ sockets = false, pack, ...options }: Partial<DeviceOptions> & { sockets?: boolean; pack?: Ports["pack"] } = {}) {
    const ports: Ports = {
      now: () => this.time,
      date: () => 1_700_000_000_000 + this.time,
      chance: () => 0.5,
      newId: () => `id_${String((this.ids += 1)).padStart(6, "0")}`,
      setTimeout: (fn, ms) => {
        this.timers.set((this.ids += 1), { at: this.time + ms, fn });
        return this.ids;
      },
      clearTimeout: (timer) => void this.timers.delete(timer as number),
      fetch: (url, init) => this.#fetch(url, init),
      // What it is packed to is the platform's; here it stays as it is.
      pack: pack ?? (async (text) => new Blob([text])),
      log: (...all) => this.logs.push(all),
      ...(sockets && {
        socket: (_url: string, protocols: string[]) => {
          const socket = new FakeSocket(protocols);
          this.sockets.push(socket);
          return socket;
        },
      }),
    };
    const token: DeviceOptions["token"] = async ({ reason }) => {
      this.asked.push(reason);
      if (this.#slow) return this.#slow;
      return (this.tokens.length > 1 ? this.tokens.shift() : this.tokens[0]) ?? null;
    };
    this.device = new Device({ url: "https://sync.test", store: this.store, ports, token, term: 1, tell: (tell) => this.tells.push(tell), deposed: () => (this.deposed += 1), ...options });
  }

  async #fetch(url: string, init: FetchInit): Promise<FetchAnswer> {
    const path = url.replace("https://sync.test", "");
    const body = JSON.parse(typeof init.body === "string" ? init.body : await (init.body?.text() ?? "null"));
    this.requests.push({ path, body, headers: init.headers });
    if (this.instead.length > 0) {
      const answer = this.instead.shift();
      if (answer === "open") return new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(new Error(`aborted ${(this.aborted += 1)}`))));
      if (!answer) throw new TypeError("no connection");
      return answer;
    }
    if (path === "/sync/pulls") return json(this.#several(body.pulls), this.pullHeaders);
    if (path.includes("s1") && this.isForbidden) return json({ status: 403, body: { code: "forbidden" } });
    if (path.endsWith("/grant")) return json({ status: 200, body: { grant: "g1", expiresIn: 600_000, role: "writer" } });
    if (path.startsWith("/sync/push")) return json(this.#pushed(path, body));
    if (init.headers["accept"] !== "application/x-ndjson") return json(this.server.pull(body), this.pullHeaders);
    return stream(this.linesOf(body), false, this.pullHeaders);
  }

  /** With the next grant of a shared space, if one is wanted. */
  #pushed(path: string, body: Record<string, unknown>): Reply {
    const reply = this.server.push(body as unknown as Push);
    if (!body["wantsGrant"] || reply.status !== 200) return reply;
    this.grants += 1;
    return { ...reply, body: { ...reply.body, grant: `g${this.grants} of ${path}`, grantExpiresIn: 600_000 } };
  }

  /** All spaces are the same small server here. */
  #several(asked: { space: string }[]): Reply {
    const forbidden: Reply = { status: 403, body: { code: "forbidden" } };
    const pulls = asked.map(({ space, ...body }) => {
      if (this.alone.includes(space)) return { alone: true };
      return space === "s1" && this.isForbidden ? forbidden : this.server.pull(body);
    });
    return { status: 200, body: { pulls } };
  }

  /** The lines of a load, one page of the server after the other. */
  linesOf(body: Record<string, unknown>): string[] {
    const lines: object[] = [];
    for (let cursor = body["cursor"]; ; ) {
      const page = this.server.pull({ ...body, cursor }).body as { epoch: string; version: number; reset: boolean; more: boolean; cursor: string; changes: object[] };
      if (lines.length === 0) lines.push({ epoch: page.epoch, version: page.version, reset: page.reset });
      lines.push(...page.changes, page.more ? { cursor: page.cursor } : { end: true, epoch: page.epoch, version: page.version });
      if (!page.more) return lines.map((line) => JSON.stringify(line));
      cursor = page.cursor;
    }
  }

  /** From now on a token comes when it is given. */
  slowToken(): PromiseWithResolvers<string> {
    const token = Promise.withResolvers<string>();
    this.#slow = token.promise;
    return token;
  }

  edit(...changes: Change[]): Promise<void> {
    return this.editIn("~", ...changes);
  }

  async editIn(space: string, ...changes: Change[]): Promise<void> {
    const tx = `tx${(this.ids += 1)}`;
    await this.store.commit(1, { wake: "rows" }, (store) => capture(store, { space, tx, at: 1, changes }));
    this.device.captured(space, this.store.seq);
  }

  async pass(ms: number): Promise<void> {
    await settle();
    for (const until = this.time + ms; ; ) {
      const due = [...this.timers].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) {
        this.time = until;
        return;
      }
      this.timers.delete(due[0]);
      this.time = due[1].at;
      due[1].fn();
      await settle();
    }
  }

  get phase() {
    return this.device.status("~")?.phase;
  }
  get pushes() {
    return this.requests.filter(({ path }) => path === "/sync/push");
  }
}

const headersOf = (all: Record<string, string>) => ({ get: (name: string) => all[name] ?? null });
export const json = ({ status, body }: Reply, headers: Record<string, string> = {}): FetchAnswer => {
  const type = status === 200 ? "application/json" : "application/problem+json; charset=utf-8";
  return { status, headers: headersOf({ "content-type": type, ...headers }), body: null, text: async () => JSON.stringify(body) };
};
export const html = (status: number): FetchAnswer => ({ status, headers: headersOf({ "content-type": "text/html" }), body: null, text: async () => "<p>no</p>" });
/** A stream in pieces of seven bytes; `cut`: it breaks off in the middle of the last line. */
export function stream(lines: string[], cut = false, headers: Record<string, string> = {}): FetchAnswer {
  const bytes = new TextEncoder().encode(`${lines.join("\n")}\n`).slice(0, cut ? -5 : undefined);
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += 7)));
      else if (cut) controller.error(new TypeError("broken"));
      else controller.close();
    },
  });
  return { status: 200, headers: headersOf({ "content-type": "application/x-ndjson", ...headers }), body, text: async () => "" };
}
export const write = (server: Server, id: string, value: object) => server.write([{ op: "put", collection: "c", id, value }]);
