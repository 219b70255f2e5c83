// From the old row and the new one of a record to the operations that are written down.

import { attempt } from "../../core/src/attempt.ts";
import { isObject } from "../../core/src/ops.ts";
import { memo } from "../../core/src/memo.ts";
import type { Key, SpaceId, SpaceRow, Text } from "../../core/src/store.ts";
import { keyOf } from "../../core/src/store.ts";
import { seen } from "../../core/src/capture.ts";
import { encoded, type TreeObject, UnsupportedValueError, ValueTooLargeError } from "../../core/src/codec.ts";
import { difference, encodedPath } from "./difference.ts";
import type { Refined } from "./refine.ts";
import type { CapturedRow } from "./rows.ts";
import type { Row, Synced } from "./schema.ts";

/** One record of a request: what stood there, and what the app writes. Undefined: no row. */
export interface Draft {
  id: string;
  old: Row | undefined;
  row: Row | undefined;
  /** The new value, encoded: that comes before the write, because it may refuse it. */
  value: Value | undefined;
  refined: readonly Refined[];
}

export interface Value {
  tree: TreeObject;
  text: Text;
}

/** A row of the app, encoded. Throws `UnsupportedValueError` or `ValueTooLargeError`, which name table, key and path. */
export function encodeRow(table: Synced, id: string, row: unknown): Value {
  try {
    if (!isObject(row)) throw new UnsupportedValueError("a row that is not an object", []);
    const value = encoded(table.toValue(row as Row)) as Value;
    if (Object.hasOwn(value.tree, "$t")) throw new UnsupportedValueError("a row that is not an object", []);
    return value;
  } catch (error) {
    if (error instanceof UnsupportedValueError || error instanceof ValueTooLargeError) error.message = `${table.name}, ${id}: ${error.message}`;
    throw error;
  }
}

/** The old value; undefined too where it holds what cannot sync, because then no other device has it. */
const oldValue = (table: Synced, { id, old }: Draft): Value | undefined => old && attempt(() => encodeRow(table, id, old));

/** What is written down of one record in one space. */
interface Edit {
  space: SpaceId;
  key: Key;
  changes: Text[];
  before: Text | null;
  /** The space in which the record appears, if this deletion is the other half of a move. */
  waits?: SpaceId;
}

const json = JSON.stringify;

/** A change; `more`: its members behind those that all have. */
const changeText = (op: string, table: Synced, id: string, more = ""): Text =>
  `{"op":"${op}","collection":${json(table.name)},"id":${json(id)}${more}}`;

export const putText = (table: Synced, id: string, value: Text): Text => changeText("put", table, id, `,"value":${value}`);

function patchTexts(table: Synced, draft: Draft, now: Value, old: Value, orPut: boolean): Text[] {
  const { id } = draft;
  const parts = difference(old.tree, now.tree);
  if (parts === null) return [];
  if (parts === "put") return [putText(table, id, now.text)];
  const texts: Text[] = [];
  const tail = orPut ? `,"orPut":${now.text}` : "";
  for (const one of draft.refined) {
    const path = encodedPath(one.path);
    // A difference that does not lie exactly at the path says more than the refinement would.
    if (!parts.set.delete(path)) continue;
    const what = one.op === "add" ? `"by":${json(one.by)}` : `"values":${json(one.values)}`;
    texts.push(changeText(one.op, table, id, `,"path":${json(path)},${what}${tail}`));
  }
  if (parts.set.size + parts.unset.length > 0) {
    const set = parts.set.size > 0 ? `,"set":${json(Object.fromEntries(parts.set))}` : "";
    const unset = parts.unset.length > 0 ? `,"unset":${json(parts.unset)}` : "";
    texts.unshift(changeText("patch", table, id, set + unset + tail));
  }
  return texts;
}


/** How much of the old rows of a space the server may know. */
type Known = Pick<SpaceRow, "position" | "load"> | undefined;

function editsOf(table: Synced, draft: Draft, known: ReadonlyMap<SpaceId, Known>, unsynced: boolean): Edit[] {
  const { id, old, row } = draft;
  const key = keyOf(table.name, id);
  const [from, to] = [old && table.spaceOrNone(old), row && table.spaceOf(row)];
  // Before the first load no row is a synced copy.
  const isKnown = (space: SpaceId): boolean => !!(known.get(space)?.position || known.get(space)?.load);
  const before = from !== undefined && isKnown(from) ? oldValue(table, draft) : undefined;
  const removal = (space: SpaceId): Edit => ({ space, key, changes: [changeText("delete", table, id)], before: before?.text ?? null });
  if (to === undefined) return from === undefined ? [] : [removal(from)];
  const value = draft.value as Value;
  if (from !== to || before === undefined) {
    const creation: Edit = { space: to, key, changes: [putText(table, id, value.text)], before: null };
    return from === undefined || from === to ? [creation] : [creation, { ...removal(from), waits: to }];
  }
  // A row that no server has seen yet must not become a patch of nothing.
  const changes = patchTexts(table, draft, value, before, unsynced || !known.get(to)?.position);
  return changes.length ? [{ space: to, key, changes, before: before.text }] : [];
}

/** The spaces that drafts touch. */
export function spacesOf(table: Synced, drafts: readonly Draft[]): Set<SpaceId> {
  const spaces = new Set<SpaceId>();
  for (const { old, row } of drafts) {
    const from = old && table.spaceOrNone(old);
    if (from !== undefined) spaces.add(from);
    if (row) spaces.add(table.spaceOf(row));
  }
  return spaces;
}

export interface About {
  tx: string;
  at: number;
  /** The schema is being upgraded. */
  upgrade?: true;
  /** Rows from before need not be on the server (`existing: 'keep'`). */
  unsynced: boolean;
  known: ReadonlyMap<SpaceId, SpaceRow | undefined>;
}

/** The rows to write down: one for each space, and one more for the deletions of what moves from it to another. */
export function outboxRows(table: Synced, drafts: readonly Draft[], about: About): CapturedRow[] {
  const rows = new Map<string, CapturedRow>();
  for (const draft of drafts) {
    for (const edit of editsOf(table, draft, about.known, about.unsynced)) {
      const { tx, at, upgrade, known } = about;
      const row = memo(rows, `${edit.space} ${edit.waits ?? ""}`, (): CapturedRow => ({
        space: edit.space, tx, at, ...seen(known.get(edit.space)), changes: [], keys: [], before: [],
        ...(edit.waits !== undefined && { waits: { space: edit.waits, tx } }),
        // Every device makes the changes of an upgrade, so they rest on nothing and conflict with nothing.
        ...(upgrade && { upgrade, pos: null }),
      }));
      for (const change of edit.changes) {
        row.changes.push(change);
        row.keys.push(edit.key);
        row.before.push(edit.before);
      }
    }
  }
  return [...rows.values()];
}
