// Which tables are synced, how a row becomes a record, and the stores that Headwater adds to the app's database.

import type { Dexie, Table } from "dexie";
import { attempt } from "../../core/src/attempt.ts";
import { SchemaError, SpaceError } from "./errors.ts";
import { idOfKey, type Key, type KeyForm, keyOfId } from "./keys.ts";

/** The private space, which every user has. */
export const PRIVATE = "~";

export interface CollectionOptions {
  /** The property that holds the id of the row's space. Absent or null there means the private space. */
  space?: string;
  /** For tables whose keys are all numbers. Otherwise keys are strings, or compound. */
  keys?: "string" | "number";
}
export type Collections = readonly string[] | Readonly<Record<string, true | CollectionOptions>>;

export type Row = Record<string, unknown>;

/** What stands in the app's database for Headwater; the rows are those of the core's store. */
export const STORES = {
  _hw_outbox: "++seq",
  _hw_sent: "[space+n]",
  _hw_base: "[space+key]",
  _hw_extra: "[space+key], why",
  _hw_spaces: "space",
  _hw_marks: "++n, load",
  _hw_notes: "++n",
  _hw_meta: "key",
} as const;
export type StoreName = keyof typeof STORES;
export const STORE_NAMES = Object.keys(STORES) as StoreName[];

const COLLECTION = /^[A-Za-z0-9_.-]{1,64}$/;
const SPACE = /^[A-Za-z0-9_-]{1,64}$/;

/** A synced table. */
export interface Synced {
  readonly name: string;
  readonly form: KeyForm;
  /** The one property that is the key and so not in the value; null for outbound and compound keys. */
  readonly keyProperty: string | null;
  readonly outbound: boolean;
  readonly spaceProperty: string | null;
  /** Names of unique indexes: a row that comes may be refused by one. */
  readonly unique: readonly string[];
  /** The id of the record. Throws `KeyError`. */
  idOf(key: unknown): string;
  /** The same, null where the key names no record: such a row was there before and never was synced. */
  idOrNull(key: unknown): string | null;
  keyOf(id: string): Key | undefined;
  /** The space that a row belongs to. Throws `SpaceError`. */
  spaceOf(row: Row): string;
  /** The same, undefined where the row names none: it was there before and never was synced. */
  spaceOrNone(row: Row): string | undefined;
  /** The row without what is not of the record's value. Never changes `row`; may be `row`. */
  toValue(row: Row): Row;
  /** The row for a record's value, which becomes part of it. */
  toRow(value: Row, key: Key, space: string): Row;
}

function without(row: Row, first: string | null, second: string | null): Row {
  if ((first === null || !(first in row)) && (second === null || !(second in row))) return row;
  const value: Row = {};
  for (const name of Object.keys(row)) if (name !== first && name !== second) value[name] = row[name];
  return value;
}

function synced(table: Table, options: CollectionOptions): Synced {
  const { name } = table;
  const { primKey, indexes } = table.schema;
  const refuse = (why: string) => new SchemaError(`Table "${name}" cannot be synced: ${why}.`);
  if (!COLLECTION.test(name)) throw refuse("its name must be 1 to 64 of A-Z a-z 0-9 _ . -");
  if (primKey.auto) throw refuse('two devices would give the same "++" key to different rows; use a string key and newId()');
  if (primKey.multi) throw refuse("its key is multi-entry");
  const { keyPath } = primKey;
  const outbound = keyPath === null || keyPath === undefined || keyPath === "";
  for (const path of outbound ? [] : [keyPath].flat()) if (path.includes(".")) throw refuse(`its key "${path}" lies inside an object`);
  const form: KeyForm = Array.isArray(keyPath) ? "compound" : (options.keys ?? "string");
  if (Array.isArray(keyPath) && options.keys) throw refuse("its key is compound, so `keys` cannot be given");
  const keyProperty = typeof keyPath === "string" && !outbound ? keyPath : null;
  const spaceProperty = options.space ?? null;
  if (spaceProperty?.includes(".")) throw refuse(`the property "${spaceProperty}" for its space lies inside an object`);
  if (spaceProperty !== null && Array.isArray(keyPath) && keyPath.includes(spaceProperty))
    throw refuse(`the property "${spaceProperty}" for its space is a part of its key`);
  const idOf = (key: unknown) => idOfKey(name, form, key);
  const spaceOf = (row: Row) => {
    const space = spaceProperty === null ? null : row[spaceProperty];
    if (space === null || space === undefined || space === PRIVATE) return PRIVATE;
    if (typeof space !== "string" || !SPACE.test(space)) throw new SpaceError(name, spaceProperty as string);
    return space;
  };
  return {
    name, form, keyProperty, outbound, spaceProperty,
    unique: indexes.filter((index) => index.unique).map((index) => index.name),
    idOf,
    idOrNull: (key) => attempt(() => idOf(key)) ?? null,
    keyOf: (id) => keyOfId(form, id),
    spaceOf,
    spaceOrNone: (row) => attempt(() => spaceOf(row)),
    toValue: (row) => without(row, keyProperty, spaceProperty),
    toRow(value, key, space) {
      if (spaceProperty !== null && space !== PRIVATE) value[spaceProperty] = space;
      if (keyProperty !== null) value[keyProperty] = key;
      return value;
    },
  };
}

/**
 * Reads `collections` against the declared tables. Throws `SchemaError` for what cannot sync; `warn` is told what can and may
 * surprise.
 */
export function readCollections(db: Dexie, collections: Collections, warn: (text: string) => void): Map<string, Synced> {
  const named = Array.isArray(collections)
    ? collections.map((name): [string, CollectionOptions] => [name, {}])
    : Object.entries(collections as Record<string, true | CollectionOptions>).map(
        ([name, options]): [string, CollectionOptions] => [name, options === true ? {} : options],
      );
  const found = new Map<string, Synced>();
  for (const [name, options] of named) {
    const table = db.tables.find((one) => one.name === name);
    if (!table) throw new SchemaError(`\`collections\` names "${name}", and the schema declares no such table.`);
    const one = synced(table, options);
    for (const index of one.unique)
      warn(`Table "${name}" has the unique index "${index}". Two devices can each make a row with one value of it: one of them is then kept aside and not shown.`);
    found.set(name, one);
  }
  return found;
}

/** The lowest version that Dexie knows. */
const LOWEST = 0.1;

/**
 * Adds Headwater's stores to every declared version, by declaring them in one below all: later versions inherit them. Were they in
 * the newest only, Dexie would delete them, and the outbox in them, on the way from an earlier version that lacks them to it.
 * Called before the database is opened. Throws `SchemaError`.
 */
export function declareStores(db: Dexie): void {
  if (db.isOpen()) throw new SchemaError("headwater() must be called before the database is opened.");
  if (db.verno <= 0) throw new SchemaError("headwater() must be called after the schema is declared with db.version().stores().");
  db.version(LOWEST).stores(STORES);
}
