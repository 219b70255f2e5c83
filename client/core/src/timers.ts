/** Timers by name: one that is set again is set anew. */

import type { Ports } from "./ports.ts";

export class Timers<Name> {
  #ports: Ports;
  #timers = new Map<Name, unknown>();

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  /** Milliseconds. */
  set(name: Name, ms: number, then: () => void): void {
    this.clear(name);
    this.#timers.set(name, this.#ports.setTimeout(then, ms));
  }

  clear(name: Name): void {
    this.#ports.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  clearAll(): void {
    for (const name of this.#timers.keys()) this.clear(name);
  }
}
