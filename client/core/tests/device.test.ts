// The leader of a device over HTTP and sockets that are simulated, against the small server.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { capture } from "../src/capture.ts";
import { Device, type DeviceOptions } from "../src/device.ts";
import type { Change } from "../src/ops.ts";
import type { FetchAnswer, FetchInit, Ports, Socket } from "../src/ports.ts";
import type { Tell } from "../src/status.ts";
import { put } from "./bench.ts";
import { type Push, type Reply, Server } from "./server.ts";
import { MemoryStore } from "./store.ts";

const EPOCH = "0aaaaaaaaaaa";
const jwt = (sub: string, n = 0) => `h.${btoa(JSON.stringify({ iss: "i", sub, n })).replace(/=+$/, "")}.s`;
const settle = async () => {
  for (let turn = 0; turn < 60; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

class FakeSocket implements Socket {
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
class PageOfApp {
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
  /** Answers instead of the server, once each; null: no answer. */
  instead: (FetchAnswer | null)[] = [];
  device: Device;

  constructor({ sockets = false, ...options }: Partial<DeviceOptions> & { sockets?: boolean } = {}) {
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
      return (this.tokens.length > 1 ? this.tokens.shift() : this.tokens[0]) ?? null;
    };
    this.device = new Device({ url: "https://sync.test", store: this.store, ports, token, term: 1, tell: (tell) => this.tells.push(tell), deposed: () => (this.deposed += 1), ...options });
  }

  async #fetch(url: string, init: FetchInit): Promise<FetchAnswer> {
    const path = url.replace("https://sync.test", "");
    const body = JSON.parse(init.body ?? "null");
    this.requests.push({ path, body, headers: init.headers });
    if (this.instead.length > 0) {
      const answer = this.instead.shift();
      if (!answer) throw new TypeError("no connection");
      return answer;
    }
    if (path === "/sync/push") return json(this.server.push(body as Push));
    if (init.headers["accept"] !== "application/x-ndjson") return json(this.server.pull(body));
    return stream(this.linesOf(body));
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

  async edit(...changes: Change[]): Promise<void> {
    const tx = `tx${(this.ids += 1)}`;
    await this.store.commit(1, { wake: "rows" }, (store) => capture(store, { space: "~", tx, at: 1, changes }));
    this.device.captured("~");
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
const json = ({ status, body }: Reply, headers: Record<string, string> = {}): FetchAnswer => {
  const type = status === 200 ? "application/json" : "application/problem+json; charset=utf-8";
  return { status, headers: headersOf({ "content-type": type, ...headers }), body: null, text: async () => JSON.stringify(body) };
};
const html = (status: number): FetchAnswer => ({ status, headers: headersOf({ "content-type": "text/html" }), body: null, text: async () => "<p>no</p>" });
/** A stream in pieces of seven bytes; `cut`: it breaks off in the middle of the last line. */
function stream(lines: string[], cut = false): FetchAnswer {
  const bytes = new TextEncoder().encode(`${lines.join("\n")}\n`).slice(0, cut ? -5 : undefined);
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += 7)));
      else if (cut) controller.error(new TypeError("broken"));
      else controller.close();
    },
  });
  return { status: 200, headers: headersOf({ "content-type": "application/x-ndjson" }), body, text: async () => "" };
}
const write = (server: Server, id: string, value: object) => server.write([{ op: "put", collection: "c", id, value }]);

let page: PageOfApp;
async function started(options: ConstructorParameters<typeof PageOfApp>[0] = {}): Promise<PageOfApp> {
  page = new PageOfApp(options);
  page.device.open("~");
  await settle();
  return page;
}
afterEach(() => page.device.stop());

describe("by HTTP", () => {
  test("loads line by line, pushes, and has what others write at the next poll", async () => {
    page = new PageOfApp();
    for (let n = 0; n < 10; n += 1) write(page.server, `r${n}é`, { n });
    page.device.open("~");
    await page.pass(100);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.requests[0]?.headers["authorization"], `Bearer ${jwt("alice")}`);
    await page.edit(put("mine"));
    await page.pass(60);
    assert.equal(page.pushes.length, 1);
    write(page.server, "theirs", { x: 1 });
    await page.pass(80_000);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.phase, "idle");
  });

  test("a load that breaks off goes on from the cursor whose lines are stored", async () => {
    page = new PageOfApp();
    for (let n = 0; n < 10; n += 1) write(page.server, `r${n}`, { n });
    page.instead = [stream(page.linesOf({}), true)];
    page.device.open("~");
    await page.pass(2000);
    const loads = page.requests.filter(({ path }) => path === "/sync/pull");
    assert.equal(loads.length, 2);
    assert.ok(loads[1]?.body["cursor"]);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("now: everything is pushed, and what the coordinator has is here", async () => {
    await started();
    await page.pass(100);
    await page.edit(put("mine"));
    write(page.server, "theirs", { x: 1 });
    const now = page.device.now();
    await page.pass(1000);
    await now;
    assert.ok(page.requests.some(({ body }) => body?.["consistency"] === "strong"));
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("a page of a proxy is no refusal, whatever its status", async () => {
    await started();
    await page.pass(100);
    page.instead = [html(403)];
    await page.edit(put("a"));
    await page.pass(2000);
    assert.equal(page.pushes.length, 2);
    assert.deepEqual(page.pushes[0]?.body, page.pushes[1]?.body);
    assert.equal(page.phase, "idle");
  });

  test("without a connection nothing is lost, and `online` makes it try again", async () => {
    await started();
    await page.pass(100);
    page.instead = [null, null, null, null, null];
    await page.edit(put("a"));
    await page.pass(10_000);
    page.instead = [];
    page.device.online();
    await page.pass(100);
    await page.pass(60_000);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.device.status("~")?.pending, 0);
  });

  test("Retry-After is obeyed", async () => {
    await started();
    await page.pass(100);
    page.instead = [json({ status: 503, body: { code: "overloaded" } }, { "retry-after": "20" })];
    await page.edit(put("a"));
    await page.pass(19_000);
    assert.equal(page.pushes.length, 1);
    await page.pass(12_000);
    assert.equal(page.pushes.length, 2);
  });
});

describe("the token", () => {
  test("one that is refused is asked for again once; the next refusal holds the space", async () => {
    page = new PageOfApp();
    page.tokens = [jwt("alice"), jwt("alice", 2)];
    const refused = () => json({ status: 401, body: { code: "token_expired" } });
    page.instead = [refused()];
    page.device.open("~");
    await page.pass(100);
    assert.deepEqual([page.asked, page.phase], [["start", "refused"], "idle"]);
    assert.equal(page.requests.at(-1)?.headers["authorization"], `Bearer ${jwt("alice", 2)}`);
    page.instead = [refused(), refused()];
    await page.edit(put("a"));
    await page.pass(100);
    assert.equal(page.device.status("~")?.held?.why, "signed-out");
    page.device.resume();
    await page.pass(100);
    assert.equal(page.phase, "idle");
  });

  test("while nobody is signed in everything is kept, and goes out when somebody is", async () => {
    page = new PageOfApp();
    page.tokens = [null, jwt("alice")];
    page.device.open("~");
    await page.edit(put("a"));
    await page.pass(1000);
    assert.equal(page.device.status("~")?.held?.why, "signed-out");
    await assert.rejects(page.device.now(), /signed-out/);
    assert.equal(page.requests.length, 0);
    await page.device.signedIn();
    await page.pass(1000);
    assert.deepEqual(page.server.state(), [["c a", { mine: 1 }]]);
  });

  test("another user's holds the space: nothing of the first one's goes out", async () => {
    await started();
    await page.pass(100);
    page.tokens = [jwt("bob")];
    await page.device.signedIn();
    await page.edit(put("a"));
    await page.pass(1000);
    assert.equal(page.device.status("~")?.held?.why, "other-user");
    assert.equal(page.pushes.length, 0);
  });

  test("is renewed on the open socket before it ends", async () => {
    await started({ sockets: true });
    page.sockets[0]?.greet(page.server, { tokenExpiresIn: 100_000 });
    page.tokens = [jwt("alice", 3)];
    await page.pass(41_000);
    const sent = page.sockets[0]?.sent.filter(({ type }) => type === "token");
    assert.deepEqual(sent?.map(({ token }) => token), [jwt("alice", 3)]);
  });
});

describe("the socket", () => {
  /** Answers the messages of a socket as the server does. */
  function serve(socket: FakeSocket, from = 0): void {
    for (const { type, n, body } of socket.sent.slice(from)) {
      if (type === "push") socket.say({ type: "answer", n, ...page.server.push(body as Push) });
      if (type === "pull") socket.say({ type: "answer", n, ...page.server.pull(body as Record<string, unknown>) });
    }
  }
  async function greeted(): Promise<FakeSocket> {
    await started({ sockets: true });
    await page.pass(100);
    const socket = page.sockets.at(-1) as FakeSocket;
    socket.greet(page.server);
    await page.pass(100);
    return socket;
  }

  test("names the token, and carries pushes and live changes; what is on the device needs no pull", async () => {
    const socket = await greeted();
    assert.deepEqual(socket.protocols, ["headwater.v1", `bearer.${jwt("alice")}`]);
    await page.edit(put("a"));
    await page.pass(60);
    serve(socket);
    await page.pass(10);
    assert.deepEqual([page.pushes.length, page.server.state().length], [0, 1]);
    const requests = page.requests.length;
    const from = page.server.model.version;
    write(page.server, "b", { x: 1 });
    socket.say(page.server.live(from));
    await page.pass(10);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.requests.length, requests);
  });

  test("that is lost in the middle of an outbox loses and repeats nothing: the same mutations go by HTTP", async () => {
    const socket = await greeted();
    await page.edit({ op: "add", collection: "c", id: "n", path: "n", by: 1, orPut: { n: 1 } });
    await page.pass(60);
    const sent = socket.sent.at(-1)?.body as Push;
    // The server does it, and its answer does not come.
    page.server.push(sent);
    socket.close();
    await page.edit({ op: "add", collection: "c", id: "n", path: "n", by: 1, orPut: { n: 1 } });
    await page.pass(5000);
    assert.deepEqual((page.pushes[0]?.body as unknown as Push).mutations, sent.mutations);
    assert.deepEqual(page.server.state(), [["c n", { n: 2 }]]);
    assert.deepEqual(page.store.state("~"), page.server.state());
    // And back again: the next socket carries what comes next.
    const next = page.sockets.at(-1) as FakeSocket;
    assert.notEqual(next, socket);
    next.greet(page.server);
    const byHttp = page.pushes.length;
    await page.edit(put("b"));
    await page.pass(60);
    serve(next);
    await page.pass(10);
    assert.deepEqual([page.pushes.length, page.server.state().length], [byHttp, 2]);
  });

  test("what is too large for a message goes by HTTP", async () => {
    const socket = await greeted();
    await page.edit(put("a"));
    await page.pass(60);
    const { n } = socket.sent.at(-1) as { n: number };
    socket.say({ type: "use_http", n });
    await page.pass(10);
    assert.equal(page.pushes.length, 1);
    await page.edit(...["b", "c"].map((id) => put(id, { text: "x".repeat(140_000) })));
    await page.pass(60);
    assert.equal(page.pushes.length, 2);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("a message without an answer for 30 s is one without an answer, and the socket is given up", async () => {
    const socket = await greeted();
    await page.edit(put("a"));
    await page.pass(40_000);
    assert.equal(socket.readyState, 3);
    assert.deepEqual(page.server.state(), [["c a", { mine: 1 }]]);
  });

  test("silence is asked about, and a socket that stays silent is replaced", async () => {
    const socket = await greeted();
    await page.pass(56_000);
    assert.deepEqual(socket.sent.map(({ type }) => type).filter((type) => type === "ping"), ["ping"]);
    socket.say({ type: "pong", space: "~", epoch: EPOCH, version: page.server.model.version });
    await page.pass(56_000);
    assert.equal(socket.readyState, 1);
    await page.pass(30_000);
    assert.equal(socket.readyState, 3);
    assert.ok(page.sockets.length > 1);
  });
});

test("a leader whose term is over writes nothing, and says so", async () => {
  await started();
  await page.pass(100);
  await page.edit(put("a"));
  page.store.term += 1;
  await page.pass(100);
  assert.equal(page.deposed, 1);
  assert.equal(page.pushes.length, 0);
  assert.equal(page.timers.size, 0, "no timer is left");
});
