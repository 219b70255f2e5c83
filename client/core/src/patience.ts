/** How often a space has been refused, how long it waits for it, and how much it dares to send (PROTOCOL.md, Errors). */

const FIRST_MS = 1000;
const LONGEST_MS = 60_000;
const FOREIGN_BEFORE_PROBE = 2;
const REFUSED_ALONE_MAX = 3;

export class Patience {
  /** Until about when nothing is sent; null: it does not wait. */
  waitsUntil: number | null = null;
  /** A push may have been done, in whole or in part, and nothing is known of it: it is repeated before all else. */
  unsure = false;
  /** The token of the last request was asked for because the one before was refused. */
  isTokenNew = false;
  /** A pull has begun again because its cursor had expired. */
  hasRestarted = false;
  /** As many mutations as the next push may hold. */
  mutationsMax = Infinity;
  /** The next push goes without mutations, to find out whether anything gets through. */
  isProbing = false;

  #attempts = 0;
  #isObeying = false;
  #hurried = false;
  #lates = 0;
  #isSized = false;
  #isBlocked = false;
  #foreigns = 0;
  #probedMutations = 0;
  #refusedAlone = 0;
  #wasAnswered = true;

  /** Waits for `ms`, or longer each time; both with a random part on top. */
  wait(now: number, ms?: number): { ms: number; spread: number } {
    const wait = ms ?? Math.min(FIRST_MS * 2 ** this.#attempts, LONGEST_MS);
    const spread = Math.min(wait / 2, LONGEST_MS);
    this.#attempts += 1;
    this.#isObeying = ms !== undefined;
    this.waitsUntil = now + wait + spread;
    return { ms: wait, spread };
  }

  goOn(): void {
    this.waitsUntil = null;
  }

  /** Ends a wait early, unless the server has said how long: once until something is answered, or `always`. */
  hurry(always: boolean): boolean {
    if (this.waitsUntil === null || this.#isObeying || (this.#hurried && !always)) return false;
    this.#hurried = true;
    this.waitsUntil = null;
    return true;
  }

  /** Forgets waits: the application lets the space begin again. */
  reset(): void {
    this.waitsUntil = null;
    this.#attempts = this.#lates = this.#refusedAlone = 0;
    this.isTokenNew = this.hasRestarted = this.#hurried = false;
  }

  /** The server has answered, whatever it was. */
  answered(code: string): void {
    this.#attempts = 0;
    this.#foreigns = 0;
    this.#hurried = false;
    if (code !== "timeout") this.#lates = 0;
  }

  /** A push was settled with this many mutations. */
  passed(mutations: number): void {
    this.#refusedAlone = 0;
    this.#wasAnswered = true;
    if (this.#isSized) return;
    this.mutationsMax = this.#isBlocked ? Math.max(2 * mutations, 1) : Infinity;
  }

  halve(mutations: number): void {
    this.mutationsMax = Math.ceil(mutations / 2);
  }

  /** A request has run out of time: once it is repeated, then a push gets shorter. Whether there is anything left to try. */
  late(mutations: number): boolean {
    this.#lates += 1;
    if (this.#lates < 2) return true;
    this.#lates = 0;
    if (mutations < 2) return false;
    this.#isSized = true;
    this.halve(mutations);
    return true;
  }

  /** A push has to be repeated. `isForeign`: something that is not the server has answered, or nothing has. */
  kept(isForeign: boolean, mutations: number, status: number): void {
    this.#foreigns = isForeign ? this.#foreigns + 1 : 0;
    if (mutations === 0 || this.#foreigns < FOREIGN_BEFORE_PROBE) return;
    this.isProbing = true;
    this.#probedMutations = mutations;
    this.#wasAnswered &&= status > 0;
  }

  /** A push without mutations was answered. What becomes of the mutation that is kept back alone, if it is one. */
  probed(): "withdraw" | "stop" | null {
    this.isProbing = false;
    this.#isBlocked = true;
    this.halve(this.#probedMutations);
    if (this.#probedMutations > 1) return null;
    this.#refusedAlone += 1;
    if (this.#refusedAlone < REFUSED_ALONE_MAX) return null;
    const becomes = this.#wasAnswered ? "withdraw" : "stop";
    this.#refusedAlone = 0;
    this.#wasAnswered = true;
    return becomes;
  }
}
