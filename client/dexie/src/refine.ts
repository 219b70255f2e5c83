// What the app has said besides the new row: `add(1)`, `remove(["a"])`. It makes a change that merges where "set" would conflict.
//
// The rows are what counts: a modification refines the difference of old and new row, and only where the new value is what the
// modification makes of the old one. Hooks may have written something else.

import type { DBCorePutRequest } from "dexie";
import { cmp, Dexie, PropModification } from "./dexie.ts";
import { distinctBehind } from "../../core/src/ops.ts";
import { same } from "./difference.ts";
import type { Row } from "./schema.ts";

export type Spec = Readonly<Record<string, unknown>>;
type Scalar = string | number | boolean | null;

/** One refined change: the path stands in the value, and `row` has been made what the server will make of it. */
export type Refined =
  | { op: "add"; path: string; by: number }
  | { op: "include" | "exclude"; path: string; values: Scalar[] };

const { getByKeyPath, setByKeyPath, deepClone } = Dexie;

const holdsModification = (spec: Spec): boolean => Object.values(spec).some((value) => value instanceof PropModification);

/**
 * The specification of each row of a put, where one holds a modification. The keys of `updates` are all that were asked for, also
 * of rows that do not exist, in the order of the rows.
 */
export function specsOf(request: DBCorePutRequest, keys: readonly unknown[]): (Spec | undefined)[] | null {
  const { changeSpec, updates } = request;
  if (changeSpec) return holdsModification(changeSpec) ? keys.map(() => changeSpec) : null;
  if (!updates || !updates.changeSpecs.some(holdsModification)) return null;
  let next = 0;
  return keys.map((key) => {
    while (next < updates.keys.length && cmp(updates.keys[next], key) !== 0) next++;
    return updates.changeSpecs[next++];
  });
}

/**
 * `bulkUpdate` hands down modifications that it has not executed, and a key that is named twice with two copies of the old row.
 * Gives the row that was meant: `earlier` is the row as this request has left it so far.
 */
export function executeUpdates(earlier: Row, value: Row, spec: Spec): Row {
  const row = deepClone(earlier);
  // What is neither in the specification nor as before was added by a hook.
  const named = new Set(Object.keys(spec).map((path) => path.split(".", 1)[0]));
  for (const name of Object.keys(value)) if (!named.has(name)) row[name] = value[name];
  for (const name of Object.keys(row)) if (!named.has(name) && !(name in value)) delete row[name];
  for (const path of Object.keys(spec)) {
    const given: unknown = getByKeyPath(value, path);
    const meant = given instanceof PropModification ? given.execute(getByKeyPath(earlier, path)) : given;
    setByKeyPath(row, path, meant);
  }
  return row;
}

const isScalar = (value: unknown): value is Scalar =>
  value === null || typeof value === "string" || typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value));

const sameItems = (left: unknown, right: unknown): boolean =>
  Array.isArray(left) && Array.isArray(right) && left.length === right.length && left.every((item, i) => same(item, right[i]));

/** Whether the server comes to the same sum. A sum that is finite is one of finite numbers. */
const isSum = (old: unknown, by: number, now: unknown): boolean =>
  (old === undefined || old === null || typeof old === "number") && Number.isFinite(now) && Object.is((old ?? 0) + by, now);

/**
 * Refines the changes of one row. Arrays are rewritten in `row` to what the server will make of them (no item twice, not sorted), so
 * that its answer does not reorder what is on the screen. `row` is changed only along those paths, in copies.
 */
export function refine(old: Row, row: Row, spec: Spec): { row: Row; refined: Refined[] } {
  const refined: Refined[] = [];
  let mine = row;
  for (const [path, change] of Object.entries(spec)) {
    if (!(change instanceof PropModification)) continue;
    const { add, remove } = change["@@propmod"];
    const [before, now]: unknown[] = [getByKeyPath(old, path), getByKeyPath(row, path)];
    const term = add ?? remove;
    if (typeof term === "number") {
      const by = add === undefined ? -term : term;
      if (isSum(before, by, now)) refined.push({ op: "add", path, by });
      continue;
    }
    if (!Array.isArray(term) || !(term as unknown[]).every(isScalar) || !sameItems(change.execute(before), now)) continue;
    // The server's `exclude` leaves what is no array; Dexie's makes an empty one of it.
    if (add === undefined && !Array.isArray(before)) continue;
    const items: unknown[] = Array.isArray(before) ? before : [];
    const values = term as Scalar[];
    const result = add === undefined ? items.filter((item) => !values.includes(item as Scalar)) : distinctBehind(items, values);
    if (mine === row) mine = deepClone(row);
    setByKeyPath(mine, path, result);
    refined.push({ op: add === undefined ? "exclude" : "include", path, values });
  }
  return { row: mine, refined };
}
