// The errors that an application sees: of a schema, a key or a value, at set-up or at the write; and of a wish that cannot be fulfilled now.

import type { Status } from "./status.ts";

/** The declared tables, or the options, cannot be synced as they are. Thrown by `headwater()`, before anything is opened. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

/** A row's key cannot name a record. The write is refused, so the transaction aborts and nothing is half stored. */
export class KeyError extends Error {
  override readonly name = "KeyError";
  readonly table: string;
  readonly key: unknown;
  constructor(table: string, key: unknown, why: string) {
    super(`${table}: this key cannot be synced, because ${why}.`);
    this.table = table;
    this.key = key;
  }
}

/** A row names a space by something that is not the id of a space, or not of one that is open. */
export class SpaceError extends Error {
  override readonly name = "SpaceError";
  constructor(table: string, property: string, what = "the id of a space, 1 to 64 of A-Z a-z 0-9 _ -") {
    super(`${table}: "${property}" must hold ${what}, or nothing.`);
  }
}

/** A space is held: somebody has to do something before anything is synced. */
export class HeldError extends Error {
  override readonly name = "HeldError";
  readonly reason: NonNullable<Status["reason"]>;
  constructor(reason: NonNullable<Status["reason"]>) {
    super(`space ${reason.space}: ${reason.why}${reason.detail ? `, ${reason.detail}` : ""}`);
    this.reason = reason;
  }
}

/** Nothing came of it in time, or there is no leader: the edits are in the outbox, and sync goes on by itself. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** A refusal of the server, with its code. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, detail: string) {
    super(`${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

/** Sync has overtaken what was asked for again and again, or a new history has begun meanwhile. To be tried again. */
export class BusyError extends Error {
  override readonly name = "BusyError";
  constructor(table: string) {
    super(`${table}: too much has changed meanwhile. What is adopted stays so; call again for the rest.`);
  }
}
