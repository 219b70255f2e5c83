// headwater-client/dexie: makes a Dexie database sync with a Headwater server.

import type { Dexie } from "dexie";
import { environmentOf, portsOf, type ServerOptions } from "./environment.ts";
import { Headwater, type SyncOptions } from "./headwater.ts";
import { Spaces } from "./spaces.ts";

export type HeadwaterOptions = ServerOptions & SyncOptions;

/** A database that syncs, and its shared spaces. */
export type Sync = Headwater & { readonly spaces: Spaces };

/**
 * Makes the named tables of a database sync. To be called after the schema is declared and before the database is opened; throws
 * `SchemaError` for what cannot sync. Everything works at once, offline and signed out; see `Headwater` for what it gives.
 */
export function headwater(db: Dexie, options: HeadwaterOptions): Sync {
  const ports = portsOf(options);
  const { token } = options;
  const url = options.url.replace(/\/+$/, "");
  const sync = new Headwater(db, options, environmentOf({ ...options, url }, ports));
  const spaces = new Spaces({
    url, ports, token, open: (space) => sync.openSpace(space), close: (space, keepRows) => sync.closeSpace(space, keepRows),
  });
  return Object.assign(sync, { spaces });
}

export type { Adopted } from "./adopt.ts";
export { UnsupportedValueError, ValueTooLargeError } from "../../core/src/codec.ts";
export type { SpaceStatus } from "../../core/src/status.ts";
export type { ServerOptions } from "./environment.ts";
export { BusyError, HeldError, KeyError, RefusedError, SchemaError, SpaceError, TimeoutError } from "./errors.ts";
export type { Existing } from "./existing.ts";
export { UnsentError } from "./forget.ts";
export type { Headwater, SyncOptions } from "./headwater.ts";
export { newId } from "./new-id.ts";
export type { Choice, Conflict, ConflictingRecord, OnConflict, Rejected } from "./notes.ts";
export type { Observable, Observer, Subscription } from "./observable.ts";
export type { CollectionOptions, Collections, Row } from "./schema.ts";
export type { Member, Role, Spaces } from "./spaces.ts";
export type { Status } from "./status.ts";
