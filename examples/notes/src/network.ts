// The network as the client sees it. It can be cut, and tells of each exchange for the panel.

import { kindOf, type Exchange, layerOf, usedOf } from "./exchange.ts";

type Watch = (exchange: Exchange) => void;

const CUT = "network is cut";
const bytesOf = (body: unknown): number => (typeof body === "string" ? new Blob([body]).size : body instanceof Uint8Array ? body.length : 0);

export class Network {
  readonly #watches = new Set<Watch>();
  readonly #sockets = new Set<WebSocket>();
  #next = 1;
  #isCut = sessionStorage.getItem(CUT) === "yes";

  get isCut(): boolean {
    return this.#isCut;
  }

  watch(call: Watch): () => void {
    this.#watches.add(call);
    return () => this.#watches.delete(call);
  }

  /** Nothing leaves this window and nothing comes, also after a reload, until it is joined again. */
  cut(isCut: boolean): void {
    this.#isCut = isCut;
    sessionStorage.setItem(CUT, isCut ? "yes" : "no");
    if (isCut) for (const socket of this.#sockets) socket.close();
    dispatchEvent(new Event(isCut ? "offline" : "online"));
  }

  fetch: typeof fetch = async (input, init) => {
    if (this.#isCut) throw new TypeError("The network is cut.");
    const url = new URL(input instanceof Request ? input.url : input, location.href);
    const began = performance.now();
    const answer = await fetch(input, init);
    // Counted on a copy: the client reads the answer as it comes.
    void answer.clone().arrayBuffer().then((body) => {
      const { status, headers } = answer;
      const version = Number(headers.get("headwater-version") ?? headers.get("headwater-position")?.split(".").at(-1)) || undefined;
      this.#tell({
        kind: kindOf(url.pathname), over: "HTTP", space: url.searchParams.get("space") ?? "~", layer: layerOf(url.pathname, headers), version, status,
        up: bytesOf(init?.body), down: body.byteLength, ms: performance.now() - began, used: usedOf(headers),
      });
    }, () => {});
    return answer;
  };

  /** The constructor that the client is given. */
  get WebSocket(): typeof WebSocket {
    const open = (url: string | URL, protocols?: string | string[]) => this.#open(new URL(url), protocols);
    return class {
      constructor(url: string | URL, protocols?: string | string[]) {
        return open(url, protocols);
      }
    } as unknown as typeof WebSocket;
  }

  #open(url: URL, protocols?: string | string[]): WebSocket {
    // A port on which nobody listens: refused as a cut network refuses.
    if (this.#isCut) url = new URL("ws://127.0.0.1:9");
    const socket = new WebSocket(url, protocols);
    if (this.#isCut) return socket;
    const space = url.searchParams.get("space") ?? "~";
    const began = performance.now();
    this.#sockets.add(socket);
    socket.addEventListener("close", () => this.#sockets.delete(socket));
    socket.addEventListener("open", () => {
      const used = { worker: 1, object: 1 };
      this.#tell({ kind: "opening", over: "socket", space, layer: "object", status: 101, up: 0, down: 0, ms: performance.now() - began, used });
    });
    const sent = new Map<number, { kind: string; up: number; at: number; changes: number }>();
    const send = socket.send.bind(socket);
    socket.send = (text) => {
      const { type, n = 0, body } = JSON.parse(String(text));
      const changes = (body?.mutations ?? []).reduce((sum: number, one: { changes: unknown[] }) => sum + one.changes.length, 0);
      sent.set(n, { kind: type, up: bytesOf(text), at: performance.now(), changes });
      send(text);
    };
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      const { type, n = 0 } = message;
      const asked = sent.get(type === "pong" ? 0 : n);
      sent.delete(n);
      const version = message.version ?? message.body?.version;
      const told = { over: "socket", space, layer: "object", version, down: bytesOf(data) } as const;
      if (type === "changes" || type === "version") return this.#tell({ ...told, kind: "news", status: 200, up: 0, ms: 0, used: {} });
      if (!asked) return;
      const used = type === "pong" ? {} : { message: 1, ...(asked.changes > 0 && { written: 1 + 2 * asked.changes, isEstimate: true }) };
      this.#tell({ ...told, kind: asked.kind, status: message.status ?? 200, up: asked.up, ms: performance.now() - asked.at, used });
    });
    return socket;
  }

  #tell(exchange: Omit<Exchange, "id" | "at">): void {
    const told = { ...exchange, id: this.#next++, at: Date.now() };
    for (const watch of this.#watches) watch(told);
  }
}
