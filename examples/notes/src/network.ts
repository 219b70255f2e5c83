// The network as the client sees it. It can be cut, and tells of each exchange for the panel.

import { type Exchange, kindOf, layerOf, spaceOf, usedByMessage, usedOf, versionOf } from "./exchange.ts";

type Watch = (exchange: Exchange) => void;

const bytesOf = (body: unknown): number => (typeof body === "string" ? new Blob([body]).size : body instanceof Uint8Array ? body.length : 0);

export class Network {
  readonly #watches = new Set<Watch>();
  readonly #switches = new Set<() => void>();
  readonly #sockets = new Set<WebSocket>();
  readonly #key: string;
  /** Aborted for as long as the network is cut. */
  #connection = new AbortController();
  #next = 1;

  constructor(user: string) {
    this.#key = `network of ${user}`;
    this.#obey();
    addEventListener("storage", ({ key }) => key === this.#key && this.#obey());
  }

  get isCut(): boolean {
    return this.#connection.signal.aborted;
  }

  watch(call: Watch): () => void {
    this.#watches.add(call);
    return () => this.#watches.delete(call);
  }

  /** Calls when the network was cut or joined, here or in another window. */
  onSwitch = (call: () => void): (() => void) => {
    this.#switches.add(call);
    return () => this.#switches.delete(call);
  };

  /**
   * No exchange of this user leaves this browser, and none under way arrives, also after a reload, until the network is
   * joined again. One window talks to the server for all windows of a user, so the switch is for all of them.
   */
  cut(isCut: boolean): void {
    if (isCut) localStorage.setItem(this.#key, "cut");
    else localStorage.removeItem(this.#key);
    this.#obey();
  }

  #obey(): void {
    const isCut = localStorage.getItem(this.#key) === "cut";
    if (isCut === this.isCut) return;
    if (isCut) {
      this.#connection.abort(new TypeError("The network is cut."));
      for (const socket of this.#sockets) socket.close();
    } else {
      this.#connection = new AbortController();
      dispatchEvent(new Event("online"));
    }
    for (const call of this.#switches) call();
  }

  fetch: typeof fetch = (input, init) => this.#fetch(input, init, false);

  /** For what the panel itself asks: it shows that, and leaves it out of its sums. */
  fetchForPanel: typeof fetch = (input, init) => this.#fetch(input, init, true);

  async #fetch(input: RequestInfo | URL, init: RequestInit | undefined, isOfPanel: boolean): Promise<Response> {
    const url = new URL(input instanceof Request ? input.url : input, location.href);
    const began = performance.now();
    const signal = AbortSignal.any([this.#connection.signal, ...(init?.signal ? [init.signal] : [])]);
    const answer = await fetch(input, { ...init, signal });
    const { status, headers } = answer;
    const tell = (down: number) =>
      this.#tell({
        kind: kindOf(url.pathname), over: "HTTP", space: spaceOf(url), layer: layerOf(headers), version: versionOf(headers), status, isOfPanel,
        up: bytesOf(init?.body), down, ms: performance.now() - began, used: usedOf(headers),
      });
    // An answer without a body is handed on as it is: no other may have the status of a redirect or of a 304.
    if (!answer.body) {
      tell(0);
      return answer;
    }
    let down = 0;
    const counter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(bytes, controller) {
        down += bytes.length;
        controller.enqueue(bytes);
      },
      flush: () => tell(down),
    });
    return new Response(answer.body.pipeThrough(counter), answer);
  }

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
    if (this.isCut) return new WebSocket("ws://127.0.0.1:9");
    // Each answer says then what its message used.
    url.searchParams.set("usage", "1");
    const socket = new WebSocket(url, protocols);
    const of = { over: "socket", space: spaceOf(url), layer: "object", isOfPanel: false } as const;
    const began = performance.now();
    this.#sockets.add(socket);
    socket.addEventListener("close", () => this.#sockets.delete(socket));
    socket.addEventListener("open", () => {
      // A browser shows no headers of this answer, so the rows that it read are not known here.
      this.#tell({ ...of, kind: "opening", status: 101, up: 0, down: 0, ms: performance.now() - began, used: { worker: 1, object: 1 } });
    });
    const sent = new Map<number, { type: string; up: number; at: number }>();
    const send = socket.send.bind(socket);
    socket.send = (text) => {
      const { type, n = 0 } = JSON.parse(String(text));
      sent.set(n, { type, up: bytesOf(text), at: performance.now() });
      send(text);
    };
    socket.addEventListener("message", ({ data }) => {
      const { type, n = 0, status = 200, version, body = {}, used = {} } = JSON.parse(data);
      const told = { ...of, version: version ?? body?.version, status, down: bytesOf(data) };
      if (type === "changes" || type === "version") return this.#tell({ ...told, kind: "news", up: 0, ms: 0, used: {} });
      const asked = sent.get(n);
      sent.delete(n);
      if (!asked) return;
      this.#tell({ ...told, kind: asked.type, up: asked.up, ms: performance.now() - asked.at, used: usedByMessage(used) });
    });
    return socket;
  }

  #tell(exchange: Omit<Exchange, "id" | "at">): void {
    const told = { ...exchange, id: this.#next++, at: Date.now() };
    for (const watch of this.#watches) watch(told);
  }
}
