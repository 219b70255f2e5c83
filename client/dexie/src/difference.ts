// The difference of two encoded values, as the paths that a patch sets and unsets.

import type { Tree, TreeObject } from "../../core/src/codec.ts";
import { isObject, own } from "../../core/src/ops.ts";

/** The most names that a path may have (PROTOCOL.md, Ops). */
const PATH_NAMES = 16;
const NO_NAMES = new Set(["", "__proto__", "prototype", "constructor"]);

export interface Difference {
  set: Map<string, Tree>;
  unset: string[];
}

const isName = (name: string): boolean => !NO_NAMES.has(name) && !name.includes(".");

/** An object that a path may enter. A tagged value is one thing, like an array. */
const isOpen = (tree: Tree | undefined): tree is TreeObject => isObject(tree) && !Object.hasOwn(tree, "$t");

export const same = (left: unknown, right: unknown): boolean =>
  left === right || (typeof left === "object" && typeof right === "object" && JSON.stringify(left) === JSON.stringify(right));

/** Adds what differs below `path`. False: it cannot be said by paths, so the object itself is to be set. */
function walk(old: TreeObject, now: TreeObject, path: string, depth: number, into: Difference): boolean {
  if (depth > PATH_NAMES) return false;
  for (const [name, value] of Object.entries(now)) {
    const before = own(old, name);
    if (before !== undefined && same(before, value)) continue;
    if (!isName(name)) return false;
    const full = path + name;
    if (isOpen(before) && isOpen(value)) {
      const inner: Difference = { set: new Map(), unset: [] };
      if (walk(before, value, `${full}.`, depth + 1, inner)) {
        for (const [one, tree] of inner.set) into.set.set(one, tree);
        into.unset.push(...inner.unset);
        continue;
      }
    }
    into.set.set(full, value);
  }
  for (const name of Object.keys(old)) {
    if (Object.hasOwn(now, name)) continue;
    if (!isName(name)) return false;
    into.unset.push(path + name);
  }
  return true;
}

/** Null: no difference. "put": the whole value has to be written, because a name at its top cannot stand in a path. */
export function difference(old: TreeObject, now: TreeObject): Difference | "put" | null {
  const into: Difference = { set: new Map(), unset: [] };
  if (!walk(old, now, "", 1, into)) return "put";
  return into.set.size + into.unset.length > 0 ? into : null;
}

/** A path of the app's row as a path of the encoded value, where a name that begins with `$` has one more. */
export function encodedPath(path: string): string {
  return path.includes("$") ? path.split(".").map((name) => (name[0] === "$" ? `$${name}` : name)).join(".") : path;
}
