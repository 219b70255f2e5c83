/**
 * Values of the app to JSON trees and back.
 *
 * What JSON lacks is written as an object `{"$t": type, "v": …}`; a key of the app's own that begins with `$` gets one more,
 * so that nothing of the app's is taken for a tag. The form is that of Dexie Cloud's client (TSON), so both read each
 * other's records, but for `bigint`, which that one shows as an object.
 */

/** What `JSON.parse` gives. */
export type Tree = null | boolean | number | string | Tree[] | TreeObject;
export type TreeObject = { [name: string]: Tree };

/** The most that a value may have: bytes of its text, and objects and arrays in each other (PROTOCOL.md, Limits). */
export const VALUE_BYTES_MAX = 256 * 1024;
export const DEPTH_MAX = 64;

/** A value that cannot be synced. `path` leads to it within the row, joined by dots. The adapter adds table and key. */
export class UnsupportedValueError extends Error {
  override name = "UnsupportedValueError";
  path: string;
  constructor(what: string, path: string[]) {
    super(`${what} at ${path.join(".") || "the row itself"} cannot be synced`);
    this.path = path.join(".");
  }
}
/** A value above 256 KiB as text, or above 64 levels. */
export class ValueTooLargeError extends Error {
  override name = "ValueTooLargeError";
}

const tagged = (type: string, v?: Tree): TreeObject => (v === undefined ? { $t: type } : { $t: type, v });
const typeOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
const whole = (text: string): string => text.toWellFormed();
const VIEW = /^((Big)?(Ui|I)nt\d+|Uint8Clamped|Float\d+)Array$|^DataView$/;

/**
 * The tree of a row, or of part of one. Half a surrogate pair becomes U+FFFD, as the server would refuse it.
 *
 * @throws UnsupportedValueError for Blob, File, RegExp, Error, functions, cycles and one object in two places
 * @throws ValueTooLargeError above 64 levels
 */
export function toTree(value: unknown): Tree {
  const seen = new Set<unknown>();
  const path: string[] = [];
  const refuse = (what: string) => new UnsupportedValueError(what, path);

  const within = (name: string, inner: unknown, depth: number): Tree => {
    path.push(name);
    const tree = walk(inner, depth);
    path.pop();
    return tree;
  };
  const list = (all: Iterable<unknown>, depth: number): Tree[] => Array.from(all, (one, at) => within(String(at), one, depth));

  const object = (value: object, depth: number): Tree => {
    const type = typeOf(value);
    if (seen.has(value)) throw refuse("an object that is in the row twice");
    seen.add(value);
    if (depth > DEPTH_MAX) throw new ValueTooLargeError(`more than ${DEPTH_MAX} levels`);
    if (Array.isArray(value)) return list(value, depth + 1);
    if (type === "Date") {
      const time = (value as Date).getTime();
      return tagged(type, Number.isNaN(time) ? "NaN" : (value as Date).toISOString());
    }
    // The list of a Map or Set is one level below its tag.
    if (type === "Map" || type === "Set") return tagged(type, list(value as Set<unknown>, depth + 2));
    if (type === "ArrayBuffer") return tagged(type, toLex(new Uint8Array(value as ArrayBuffer)));
    if (VIEW.test(type)) {
      const { buffer, byteOffset, byteLength } = value as Uint8Array;
      return tagged(type, toLex(new Uint8Array(buffer, byteOffset, byteLength)));
    }
    if (type !== "Object") throw refuse(`a value of type ${type}`);
    // Without a prototype, so that a property named __proto__ is one like all others.
    const tree: TreeObject = Object.create(null);
    for (const [name, inner] of Object.entries(value)) {
      if (inner === undefined) continue;
      tree[name[0] === "$" ? `$${whole(name)}` : whole(name)] = within(name, inner, depth + 1);
    }
    return tree;
  };

  const walk = (value: unknown, depth: number): Tree => {
    switch (typeof value) {
      case "string":
        return whole(value);
      case "number":
        return Number.isFinite(value) ? value : tagged("number", String(value));
      case "boolean":
        return value;
      case "undefined":
        return tagged("undefined");
      case "bigint":
        return tagged("bigint", String(value));
      case "object":
        return value === null ? null : object(value, depth);
      default:
        throw refuse(`a ${typeof value}`);
    }
  };
  return walk(value, 1);
}

/**
 * The tree of a row, and its text as it is stored and sent.
 *
 * @throws what `toTree` throws, and ValueTooLargeError above 256 KiB
 */
export function encoded(value: unknown): { tree: Tree; text: string } {
  const tree = toTree(value);
  const text = JSON.stringify(tree);
  if (isLonger(text, VALUE_BYTES_MAX)) throw new ValueTooLargeError(`more than ${VALUE_BYTES_MAX} bytes`);
  return { tree, text };
}

export const encode = (value: unknown): string => encoded(value).text;

/** The value of a tree. A tag that this version does not know stays the object that it is. */
export function fromTree(tree: Tree): unknown {
  if (Array.isArray(tree)) return tree.map(fromTree);
  if (tree === null || typeof tree !== "object") return tree;
  if (typeof tree["$t"] === "string") {
    const untagged = fromTag(tree["$t"], tree["v"]);
    if (untagged) return untagged.value;
  }
  const value = {};
  for (const [name, inner] of Object.entries(tree)) {
    const own = name.startsWith("$$") ? name.slice(1) : name;
    const is = fromTree(inner);
    if (own === "__proto__") Object.defineProperty(value, own, { value: is, enumerable: true, writable: true, configurable: true });
    else (value as Record<string, unknown>)[own] = is;
  }
  return value;
}

export const decode = (text: string): unknown => fromTree(JSON.parse(text));

function fromTag(type: string, v: Tree | undefined): { value: unknown } | undefined {
  if (type === "undefined") return { value: undefined };
  if (type === "Map" && Array.isArray(v)) return { value: new Map(fromTree(v) as [unknown, unknown][]) };
  if (type === "Set" && Array.isArray(v)) return { value: new Set(fromTree(v) as unknown[]) };
  if (typeof v !== "string") return undefined;
  if (type === "Date") return { value: new Date(v === "NaN" ? Number.NaN : v) };
  if (type === "number") return { value: Number(v) };
  if (type === "bigint") return { value: BigInt(v) };
  if (type !== "ArrayBuffer" && !VIEW.test(type)) return undefined;
  const { buffer } = fromLex(v);
  const View = (globalThis as unknown as Record<string, new (buffer: ArrayBufferLike) => unknown>)[type];
  return { value: type === "ArrayBuffer" || !View ? buffer : new View(buffer) };
}

/** The bytes that a text has in UTF-8. */
export const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/** Whether it has more bytes. Three a unit is the most there can be, so most texts need no count. */
export const isLonger = (text: string, bytes: number): boolean => text.length * 3 > bytes && bytesOf(text) > bytes;

// Base64 in an alphabet that sorts as the bytes do; `-` fills up.
const LEX = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz|";

function toLex(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const bits = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    for (let digit = 0; digit < 4; digit += 1) {
      text += digit > bytes.length - at ? "-" : LEX[(bits >> (18 - 6 * digit)) & 63];
    }
  }
  return text;
}

function fromLex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(/-+$/, "");
  const bytes = new Uint8Array((digits.length * 3) >> 2);
  let bits = 0;
  for (let at = 0, to = 0; at < digits.length; at += 1) {
    bits = (bits << 6) | LEX.indexOf(digits[at] as string);
    if (at % 4 > 0) bytes[to++] = bits >> (6 - 2 * (at % 4));
  }
  return bytes;
}
