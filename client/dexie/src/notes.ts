// Conflicts and rejections as the app sees them, and what it decides.

import { decode, toTree } from "../../core/src/codec.ts";
import { capture, type Choice as CoreChoice, resolve } from "../../core/src/capture.ts";
import type { Change } from "../../core/src/ops.ts";
import { collectionOf, type ConflictNote, idOf, type NotedRecord, type NoteRow, type RejectedNote, type Text } from "../../core/src/store.ts";
import type { DexieStore } from "./store.ts";
import type { Row, Synced } from "./schema.ts";

/** "mine", "theirs", or the merged row of each record, null where it is to be deleted, in the order of `records`. */
export type Choice = "mine" | "theirs" | { rows: (Row | null)[] };

export interface ConflictingRecord {
  table: string;
  key: unknown;
  /** The row as it was when the edit was made. Null: it was not there. Undefined: another device has made the edit. */
  base: Row | null | undefined;
  /** The row as the edit leaves it. Null: deleted. Undefined: another device has made the edit, and its contents are not here. */
  mine: Row | null | undefined;
  /** The row as it stands on the server. Null: deleted. Undefined: the server's answer had no room for it. It is in the table. */
  theirs: Row | null | undefined;
}

export interface Conflict {
  id: string;
  space: string;
  /** While `isFetched` is false: those that the server has named, 100 at most. */
  records: ConflictingRecord[];
  /** Another device of the user has made the edit. */
  isElsewhere: boolean;
  /** The contents are here. Of an edit made elsewhere they come when there is a connection. */
  isFetched: boolean;
  /** Writes the decision down; it is carried out like an edit, also later and offline. */
  resolve(choice: Choice): Promise<void>;
}

export interface Rejected {
  space: string;
  /** A code of the protocol, or one of `RejectedNote` of the core. */
  code: string;
  detail: string;
  /** The operations that were refused. */
  changes: unknown[];
  /** Makes the edit again, on what stands there now. */
  retry(): Promise<void>;
  discard(): Promise<void>;
}

/** The last word of the app on one record that this device has edited, asked before a person is. Undefined: a person is asked. */
export type OnConflict = (record: ConflictingRecord) => "mine" | "theirs" | Row | null | undefined | Promise<"mine" | "theirs" | Row | null | undefined>;

export interface Decider {
  store: DexieStore;
  tables: ReadonlyMap<string, Synced>;
  newTransaction: () => string;
  now: () => number;
}

function recordOf({ tables }: Decider, space: string, { key, base, mine, theirs }: NotedRecord): ConflictingRecord {
  const [name, id] = [collectionOf(key), idOf(key)];
  const table = tables.get(name);
  const rowKey = table?.keyOf(id);
  const rowOf = (text: Text | null | undefined): Row | null | undefined => {
    if (typeof text !== "string") return text;
    const value = decode(text) as Row;
    return table && rowKey !== undefined ? table.toRow(value, rowKey, space) : value;
  };
  return { table: name, key: rowKey ?? id, base: rowOf(base), mine: rowOf(mine), theirs: rowOf(theirs) };
}

async function decide(decider: Decider, note: ConflictNote, choice: Choice): Promise<void> {
  const { records } = note;
  let taken: CoreChoice;
  if (typeof choice === "string") taken = choice;
  else {
    if (choice.rows.length !== records.length) throw new TypeError(`a conflict of ${records.length} records is resolved by as many rows`);
    taken = records.map(({ key }, i) => {
      const row = choice.rows[i] ?? null;
      return { key, value: row && toTree(decider.tables.get(collectionOf(key))?.toValue(row) ?? row) };
    });
  }
  await decider.store.edit(async (tx) => {
    // Another tab may have been quicker.
    const now = (await tx.notes.list(note.space)).find(({ n }) => n === note.n);
    if (now?.kind !== "conflict" || now.resolving) return;
    await resolve(tx, now, taken, { tx: decider.newTransaction(), at: decider.now() });
  });
}

async function retry(decider: Decider, note: RejectedNote): Promise<void> {
  await decider.store.edit(async (tx) => {
    if (!(await tx.notes.list(note.space)).some(({ n }) => n === note.n)) return;
    await tx.notes.delete([note.n]);
    const changes = note.changes.map((text) => JSON.parse(text) as Change);
    await capture(tx, { space: note.space, tx: decider.newTransaction(), at: decider.now(), changes });
  });
}

/** What is to be shown. A conflict that has been decided on is not: it returns if the decision is not carried out. */
export function shown(decider: Decider, notes: readonly NoteRow[]): { conflicts: Conflict[]; rejected: Rejected[] } {
  const conflicts: Conflict[] = [];
  const rejected: Rejected[] = [];
  for (const note of notes) {
    if (note.kind === "rejected") {
      rejected.push({
        space: note.space, code: note.code, detail: note.detail, changes: note.changes.map((text) => JSON.parse(text)),
        retry: () => retry(decider, note),
        discard: () => decider.store.edit((tx) => tx.notes.delete([note.n])),
      });
    } else if (!note.resolving) {
      conflicts.push({
        id: note.conflict, space: note.space, records: note.records.map((record) => recordOf(decider, note.space, record)),
        isElsewhere: note.fetched !== undefined, isFetched: note.fetched !== false,
        resolve: (choice) => decide(decider, note, choice),
      });
    }
  }
  return { conflicts, rejected };
}

/** So often the app's function is asked about one record; then a person is, or two devices could answer each other for ever. */
const ASKED_MAX = 3;

/** What asks the app's function about conflicts, and decides those about which it knows all. */
export function automatic(ask: OnConflict): (conflicts: readonly Conflict[]) => Promise<void> {
  const asked = new Map<string, number>();
  const begun = new Set<string>();
  const choose = async ({ space, records }: Conflict): Promise<Choice | null> => {
    const rows: (Row | null)[] = [];
    const words = new Set<unknown>();
    for (const record of records) {
      const name = JSON.stringify([space, record.table, record.key]);
      const times = (asked.get(name) ?? 0) + 1;
      asked.set(name, times);
      const said = times > ASKED_MAX ? undefined : await ask(record);
      const row = said === "mine" || said === "theirs" ? record[said] : said;
      if (row === undefined) return null;
      words.add(said);
      rows.push(row);
    }
    const [word] = words;
    return words.size === 1 && (word === "mine" || word === "theirs") ? word : { rows };
  };
  return async (conflicts) => {
    for (const conflict of conflicts) {
      // The device that has made the edit asks its own app: two answers to one conflict would be one too many.
      if (conflict.isElsewhere || begun.has(conflict.id)) continue;
      begun.add(conflict.id);
      const choice = await choose(conflict);
      if (choice) await conflict.resolve(choice);
    }
  };
}
