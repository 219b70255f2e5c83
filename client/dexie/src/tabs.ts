// What the tabs of one database say to each other: followers ask, the leader answers and tells how it stands.

import type { SpaceStatus } from "../../core/src/status.ts";

export type Message =
  /** A tab has come and wants to know how things stand. */
  | { type: "hello" }
  /** This tab leads from now on. */
  | { type: "lead" }
  | { type: "status"; spaces: SpaceStatus[]; isPaused: boolean }
  /** A tab asks the leader, and is answered by `done` of the same id. */
  | { type: "ask"; id: string; what: Wish }
  | { type: "done"; id: string; error: string }
  /** The database has been emptied: every tab lets go of it. */
  | { type: "forgotten" };

/** What only the leader can do: methods of its driver, of which some concern one space. */
export interface Wish {
  do: "now" | "pause" | "resume" | "signedIn" | "withdraw" | "open" | "close";
  space: string;
}

/** `BroadcastChannel`, as far as it is used. */
export interface Channel {
  postMessage(message: unknown): void;
  close(): void;
  onmessage: ((event: never) => unknown) | null;
}

interface Asked {
  what: Wish;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface TabsOptions {
  /** Undefined: this tab is alone. */
  channel: Channel | undefined;
  newId: () => string;
  /** Told what other tabs say. */
  hear: (message: Message) => void;
  /** Does it here, if this tab leads; null if it does not. */
  carryOut: (what: Wish) => Promise<void> | null;
}

export class Tabs {
  readonly #options: TabsOptions;
  /** What nobody has done yet: there may be no leader now. */
  readonly #asked = new Map<string, Asked>();

  constructor(options: TabsOptions) {
    this.#options = options;
    const { channel } = options;
    if (channel) channel.onmessage = ({ data }: { data: Message }) => this.#hear(data);
  }

  #hear(message: Message): void {
    const { hear, carryOut } = this.#options;
    if (message.type === "done") {
      const asked = this.#asked.get(message.id);
      this.#asked.delete(message.id);
      if (message.error) asked?.reject(new Error(message.error));
      else asked?.resolve();
    } else if (message.type === "ask") {
      const done = (error = "") => this.say({ type: "done", id: message.id, error });
      carryOut(message.what)?.then(() => done(), (error) => done(String(error)));
    } else {
      if (message.type === "lead") this.askAgain();
      hear(message);
    }
  }

  say(message: Message): void {
    this.#options.channel?.postMessage(message);
  }

  /** Fulfilled when a leader has done it, this tab or another, now or later: the caller bounds how long it waits. */
  ask(what: Wish): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const id = this.#options.newId();
    this.#asked.set(id, { what, resolve, reject });
    this.#pass(id);
    return promise;
  }

  /** A leader has come, here or in another tab. */
  askAgain(): void {
    for (const id of this.#asked.keys()) this.#pass(id);
  }

  #pass(id: string): void {
    const { what, resolve, reject } = this.#asked.get(id) as Asked;
    const done = this.#options.carryOut(what);
    if (!done) return this.say({ type: "ask", id, what });
    this.#asked.delete(id);
    done.then(resolve, reject);
  }

  close(): void {
    for (const { reject } of this.#asked.values()) reject(new Error("closed"));
    this.#asked.clear();
    this.#options.channel?.close();
  }
}
