// What the tabs of one database say to each other: followers ask, the leader answers and tells how it stands.

import type { SpaceStatus } from "../../core/src/status.ts";

export type Message =
  /** A tab has come and wants to know how things stand. */
  | { type: "hello" }
  | { type: "status"; spaces: SpaceStatus[]; isPaused: boolean }
  /** A tab asks the leader, and is answered by `done` of the same id. */
  | { type: "ask"; id: string; what: Wish }
  | { type: "done"; id: string; error: string | null }
  /** The database has been emptied: every tab lets go of it. */
  | { type: "forgotten" };

/** What only the leader can do. */
export type Wish =
  | { do: "now" }
  | { do: "pause" }
  | { do: "resume" }
  /** Gives up the mutation that is blocked. */
  | { do: "withdraw"; space: string }
  | { do: "open" | "close"; space: string };

/** `BroadcastChannel`, as far as it is used. */
export interface Channel {
  postMessage(message: unknown): void;
  close(): void;
  onmessage: ((event: never) => unknown) | null;
}

export class Tabs {
  readonly #channel: Channel | undefined;
  readonly #newId: () => string;
  readonly #asked = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();

  /** `hear` is told what other tabs say. Without a channel this tab is alone. */
  constructor(channel: Channel | undefined, newId: () => string, hear: (message: Message) => void) {
    this.#channel = channel;
    this.#newId = newId;
    if (!channel) return;
    channel.onmessage = ({ data }: { data: Message }) => {
      if (data.type !== "done") return hear(data);
      const asked = this.#asked.get(data.id);
      this.#asked.delete(data.id);
      if (data.error === null) asked?.resolve();
      else asked?.reject(new Error(data.error));
    };
  }

  say(message: Message): void {
    this.#channel?.postMessage(message);
  }

  /** Fulfilled when a leader has done it. It waits for ever where there is none: the caller bounds it. */
  ask(what: Wish): Promise<void> {
    return new Promise((resolve, reject) => {
      const id = this.#newId();
      this.#asked.set(id, { resolve, reject });
      this.say({ type: "ask", id, what });
    });
  }

  close(): void {
    for (const { reject } of this.#asked.values()) reject(new Error("closed"));
    this.#asked.clear();
    this.#channel?.close();
  }
}
