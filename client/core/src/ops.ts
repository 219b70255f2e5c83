/**
 * The operations of a push, computed as the server computes them (PROTOCOL.md, Ops; fixtures/operations.json).
 *
 * A client makes the operations that it folds, so a path that is none, or a patch that names a path twice, does not
 * come here and is not looked for.
 */

import type { Tree, TreeObject } from "./codec.ts";
import type { Text } from "./store.ts";

export type Change = { collection: string; id: string; base?: number } & (
  | { op: "put"; value: TreeObject }
  | { op: "delete" }
  | { op: "patch"; set?: TreeObject; unset?: string[]; orPut?: TreeObject }
  | { op: "add"; path: string; by: number; orPut?: TreeObject }
  | { op: "include" | "exclude"; path: string; values: Tree[]; orPut?: TreeObject }
);

/** The operation cannot be done on what stands there, or is not known: the server rejects the mutation, and says why. */
export class Refused extends Error {}

export const isObject = (value: unknown): value is TreeObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const own = (object: TreeObject, name: string): Tree | undefined => (Object.hasOwn(object, name) ? object[name] : undefined);

/** Changes what stands at a path, undefined for nothing. With `make`, objects on the way are made; else nothing happens where they are missing. */
function at(object: TreeObject, path: string, make: boolean, change: (there: Tree | undefined) => Tree | undefined): TreeObject {
  const names = path.split(".");
  const last = names.pop() as string;
  let here = object;
  for (const name of names) {
    let next = own(here, name);
    if (Array.isArray(next)) throw new Refused();
    if (!isObject(next)) {
      if (!make) return object;
      here[name] = next = {};
    }
    here = next;
  }
  const value = change(own(here, last));
  if (value === undefined) delete here[last];
  else here[last] = value;
  return object;
}

/** What becomes of a record's value, undefined where there is none. Changes `value` itself. */
export function applied(value: TreeObject | undefined, change: Change): TreeObject | undefined {
  if (change.op === "put") return structured(change.value);
  if (change.op === "delete") return undefined;
  if (value === undefined) return change.orPut && structured(change.orPut);
  switch (change.op) {
    case "patch":
      for (const [path, field] of Object.entries(change.set ?? {})) at(value, path, true, () => structured(field));
      for (const path of change.unset ?? []) at(value, path, false, () => undefined);
      return value;
    case "add":
      return at(value, change.path, true, (there) => {
        const sum = (typeof there === "number" ? there : 0) + change.by;
        if (!Number.isFinite(sum)) throw new Refused();
        return sum;
      });
    case "include":
      return at(value, change.path, true, (there) => distinctBehind(Array.isArray(there) ? there : [], change.values));
    case "exclude":
      return at(value, change.path, false, (there) => (Array.isArray(there) ? there.filter((one) => !change.values.includes(one)) : there));
    default:
      throw new Refused();
  }
}

/** What `include` makes of a list: what it lacks comes behind it, once. */
export const distinctBehind = <T>(list: T[], values: T[]): T[] => list.concat([...new Set(values)].filter((one) => !list.includes(one)));

/** A copy, so that later operations do not reach into the operation itself. */
const structured = <T extends Tree>(tree: T): T => JSON.parse(JSON.stringify(tree));

/** The value after operations in order. One that cannot be done is passed over: the server will say so. */
export function fold(base: Text | null, changes: Change[]): Text | null {
  if (changes.length === 0) return base;
  let value: TreeObject | undefined = base === null ? undefined : JSON.parse(base);
  for (const change of changes) {
    try {
      value = applied(value, change);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      // It may have been done in part, so what came before it is done again without it.
      return fold(base, changes.filter((other) => other !== change));
    }
  }
  return value === undefined ? null : JSON.stringify(value);
}
