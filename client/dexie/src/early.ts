// What is sent as soon as the app's transaction is complete, before it is numbered: a lone edit in the tab that leads.

import type { Early } from "../../core/src/events.ts";
import type { SpaceRow } from "../../core/src/store.ts";
import type { CapturedRow } from "./rows.ts";
import { firstBases } from "./transaction.ts";

/** What of one transaction may be sent early: all that it has written down, if that is of one space. */
export class EarlyRows {
  readonly #rows: CapturedRow[] = [];
  #read: SpaceRow | null = null;
  #isSpoilt = false;

  /**
   * Marks a row that is about to be written down where the outbox was `vacant`, and the row of the space that the transaction has
   * read is the one that the leader here knows, `ahead`. So the mark says, whoever reads it, that the next number is that of this
   * transaction.
   */
  mark(row: CapturedRow, vacant: boolean, read: SpaceRow | undefined, ahead: SpaceRow | null): void {
    const isKnown = read && ahead && read.client === ahead.client && read.next === ahead.next && !read.load;
    if (!vacant || !isKnown || row.upgrade || row.waits || read.space !== (this.#read ?? read).space) return this.spoil();
    row.early = true;
    this.#read = read;
  }

  /** A row has its place in the outbox. */
  add(row: CapturedRow): void {
    this.#rows.push(row);
  }

  /** What was written down is not what will stand there, or more than can be sent. */
  spoil(): void {
    this.#isSpoilt = true;
  }

  /** What may be sent now that the transaction is complete. */
  get(): Early | null {
    const row = this.#read;
    if (this.#isSpoilt || !row) return null;
    const bases = [...(firstBases(this.#rows).get(row.space)?.values() ?? [])];
    return { row, rows: this.#rows as Early["rows"], fresh: bases.filter(({ fresh }) => fresh).map(({ key }) => key) };
  }
}
