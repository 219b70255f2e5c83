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
  /** The one property that is the key and so not in the value; null for outbound and compound keys. */
  readonly keyProperty: string | null;
  readonly outbound: boolean;
  readonly spaceProperty: string | null;
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

function synced({ name, schema: { primKey } }: Table, options: CollectionOptions): Synced {
  const refuse = (what: string, why: string) => new SchemaError(`Table "${name}" cannot be synced: its ${what} ${why}.`);
  if (!COLLECTION.test(name)) throw refuse("name", "must be 1 to 64 of A-Z a-z 0-9 _ . -");
  if (primKey.auto) throw refuse('"++" key', "would be the same for different rows of two devices; use a string key and newId()");
  if (primKey.multi) throw refuse("key", "is multi-entry");
  const keyPath = primKey.keyPath || null;
  const spaceProperty = options.space ?? null;
  const isCompound = Array.isArray(keyPath);
  for (const path of [keyPath ?? [], spaceProperty ?? []].flat(2)) if (path.includes(".")) throw refuse(`property "${path}"`, "lies inside an object");
  if (isCompound && options.keys) throw refuse("key", "is compound: it takes no `keys`");
  if (isCompound && keyPath.includes(spaceProperty as string)) throw refuse(`property "${spaceProperty}" for the space`, "is a part of its key");
  const form: KeyForm = isCompound ? "compound" : (options.keys ?? "string");
  const keyProperty = isCompound ? null : (keyPath as string | null);
  const notOfValue = [keyProperty, spaceProperty].filter((property) => property !== null);
  const idOf = (key: unknown) => idOfKey(name, form, key);
  const spaceOf = (row: Row) => {
    const space = spaceProperty === null ? null : row[spaceProperty];
    if (space === null || space === undefined || space === PRIVATE) return PRIVATE;
    if (typeof space !== "string" || !SPACE.test(space)) throw new SpaceError(name, spaceProperty as string);
    return space;
  };
  return {
    name, keyProperty, outbound: keyPath === null, spaceProperty,
    idOf,
    idOrNull: (key) => attempt(() => idOf(key)) ?? null,
    keyOf: (id) => keyOfId(form, id),
    spaceOf,
    spaceOrNone: (row) => attempt(() => spaceOf(row)),
    toValue(row) {
      if (!notOfValue.some((property) => property in row)) return row;
      // An object of which a property was deleted is slow to walk.
      const value: Row = {};
      for (const property of Object.keys(row)) if (!notOfValue.includes(property)) value[property] = row[property];
      return value;
    },
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
  const named: [string, true | CollectionOptions][] = Array.isArray(collections) ? collections.map((name) => [name, true]) : Object.entries(collections);
  return new Map(named.map(([name, options]) => {
    const table = db.tables.find((one) => one.name === name);
    if (!table) throw new SchemaError(`\`collections\` names "${name}": there is no such table.`);
    for (const index of table.schema.indexes)
      if (index.unique) warn(`Table "${name}", unique index "${index.name}": of two rows of different devices with one value, one is not shown.`);
    return [name, synced(table, options === true ? {} : options)];
  }));
}

/** The lowest version that Dexie knows. */
const LOWEST = 0.1;

/**
 * Adds Headwater's stores to every declared version, by declaring them in one below all: later versions inherit them. Were they in
 * the newest only, Dexie would delete them, and the outbox in them, on the way from an earlier version that lacks them to it.
 * Called before the database is opened. Throws `SchemaError`.
 */
export function declareStores(db: Dexie): void {
  if (db.isOpen() || db.verno <= 0) throw new SchemaError("Call headwater() after the schema is declared, and before the database is opened.");
  db.version(LOWEST).stores(STORES);
}
