// Keys of IndexedDB and ids of records, in both directions.

import { attempt } from "../../core/src/attempt.ts";
import { isLonger } from "../../core/src/codec.ts";
import { KeyError } from "./errors.ts";

export type KeyForm = "string" | "number" | "compound";
export type Key = string | number | readonly (string | number)[];

/** The protocol's bound on a record's id, in bytes of UTF-8. */
const MAX_ID_BYTES = 256;
// biome-ignore lint/suspicious/noControlCharactersInRegex: ids must not hold any.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
function checkId(table: string, key: unknown, id: string): string {
  if (id === "" || isLonger(id, MAX_ID_BYTES)) throw new KeyError(table, key, `it must have 1 to ${MAX_ID_BYTES} bytes`);
  if (CONTROL.test(id)) throw new KeyError(table, key, "it holds a control character");
  if (!id.isWellFormed()) throw new KeyError(table, key, "it holds half of a surrogate pair");
  return id;
}

function checkNumber(table: string, key: unknown, part: number): void {
  if (!Number.isFinite(part)) throw new KeyError(table, key, "it must be finite");
}

/** The id of the record that this key names. Throws `KeyError` where there is none. */
export function idOfKey(table: string, form: KeyForm, key: unknown): string {
  if (form === "string") {
    if (typeof key !== "string") throw new KeyError(table, key, "it must be a string, or the table be declared with keys: 'number'");
    return checkId(table, key, key);
  }
  if (form === "number") {
    if (typeof key !== "number") throw new KeyError(table, key, "it must be a number");
    checkNumber(table, key, key);
    return String(key === 0 ? 0 : key);
  }
  if (!Array.isArray(key)) throw new KeyError(table, key, "it must be a compound key");
  for (const part of key) {
    if (typeof part === "number") checkNumber(table, key, part);
    else if (typeof part !== "string") throw new KeyError(table, key, "its parts must be strings or numbers");
  }
  return checkId(table, key, JSON.stringify(key));
}

/** The key of the row for this record, or undefined where no key of this form has that id: such a record has no row. */
export function keyOfId(form: KeyForm, id: string): Key | undefined {
  if (form === "string") return id;
  return attempt(() => {
    const key: unknown = form === "number" ? Number(id) : JSON.parse(id);
    return idOfKey("", form, key) === id ? (key as Key) : undefined;
  });
}
