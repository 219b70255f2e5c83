// The first load of a database that is being made: it is asked for at once, and not when this tab has become the leader.
//
// Nothing is in such a database, so what the device will ask for first is known: the full state of the private space. The answer waits
// here until it does. Should another tab lead, nobody asks, and it is given up.

import { fetchable } from "../../core/src/http.ts";
import type { FetchAnswer, FetchInit, Ports, TokenSource } from "../../core/src/ports.ts";
import { pullBody } from "../../core/src/requests.ts";
import { PRIVATE } from "./schema.ts";

/** Nobody has asked for it in so long. */
const UNUSED_MS = 10_000;

export class HeadStart {
  readonly #url: string;
  readonly #ports: Ports;
  readonly #token: TokenSource;
  /** A token that nobody has taken yet. */
  #asked: Promise<string | null> | null = null;
  #unused: unknown;
  /** Counts the starts that were given up: what was asked for one of them is of no use. */
  #run = 0;
  #begun: { url: string; init: FetchInit; answer: Promise<FetchAnswer>; abort: AbortController } | null = null;

  constructor(url: string, ports: Ports, token: TokenSource) {
    [this.#url, this.#ports, this.#token] = [url, ports, token];
  }

  async begin(): Promise<void> {
    this.#giveUp();
    const run = this.#run;
    this.#asked = Promise.resolve(this.#token({ reason: "start" }));
    this.#unused = this.#ports.setTimeout(() => this.#giveUp(), UNUSED_MS);
    // Whoever takes the token hears why there is none.
    const token = await this.#asked.catch(() => null);
    if (token === null || run !== this.#run) return;
    const body = pullBody({ position: null, load: null }, null, false);
    const [url, init] = fetchable(this.#url, token, { kind: "pull", space: PRIVATE, body, isStream: true });
    const abort = new AbortController();
    const answer = this.#ports.fetch(url, { ...init, signal: abort.signal });
    answer.catch(() => {});
    this.#begun = { url, init, answer, abort };
  }

  #giveUp(): void {
    this.#run += 1;
    this.#ports.clearTimeout(this.#unused);
    this.#asked = null;
    this.#begun?.abort.abort();
    this.#begun = null;
  }

  /** The ports and the token source of a device that takes what was begun. */
  readonly token: TokenSource = (asked) => {
    const begun = asked.reason === "start" ? this.#asked : null;
    this.#asked = null;
    return begun ?? this.#token(asked);
  };

  readonly fetch = (url: string, init: FetchInit): Promise<FetchAnswer> => {
    const begun = this.#begun;
    if (url !== begun?.url) return this.#ports.fetch(url, init);
    // Another token, or a wish that it does not fulfil: then it was in vain.
    const isAsked = init.body === begun.init.body && init.headers["authorization"] === begun.init.headers["authorization"];
    if (!isAsked) {
      this.#giveUp();
      return this.#ports.fetch(url, init);
    }
    this.#begun = null;
    this.#ports.clearTimeout(this.#unused);
    init.signal?.addEventListener("abort", () => begun.abort.abort());
    return begun.answer;
  };
}
