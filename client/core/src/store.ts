/**
 * The Store port: what the core asks of the database of the device.
 *
 * One method matters: `commit(term, scope, body)` runs `body` in one read-write transaction, which is kept whole or not at
 * all. It begins by comparing `term` with the term of the present leader, and rejects with `TermOver` where the leader is
 * another one by now; then nothing is written. A database without room for the transaction rejects with `DeviceFull`, one
 * that is closed with `StoreClosed`; every other error of `body` is passed on.
 *
 * `body` awaits nothing but the methods of its transaction, so that a transaction of IndexedDB stays alive. Methods take
 * and give lists, because a request costs more than a row, and an empty list costs none. Lists of rows come in the order of
 * their keys.
 *
 * All values of records are JSON texts, encoded as section "Values" says (codec.ts): what the wire carries, and without
 * the record's own key and the space property. The store never looks into them; the adapter that knows the app's
 * tables decodes and encodes at `rows`.
 *
 * A record is named by its key, `collection + " " + id` (`keyOf`, `splitKey`): no name of a collection has a space.
 * Several spaces share the stores; every row but those of `meta` names its space ("~" is the private one).
 */

/** A JSON text. */
export type Text = string;
/** `collection + " " + id`. */
export type Key = string;
/** `"~"`, or the id of a shared space. */
export type SpaceId = string;

export interface Position {
  epoch: string;
  version: number;
}

/**
 * One captured `mutate`, or part of it: not numbered yet. Written by capture in the transaction of the app, together with
 * the rows that it changes and with `base` rows for records that had none.
 */
export interface OutboxRow {
  /** Given by the store, rising over all spaces. */
  seq: number;
  space: SpaceId;
  /** The transaction of the app. Rows of one transaction and space become one mutation. */
  tx: string;
  /** `SpaceRow.position` as read in the same transaction; null where the space has none yet. */
  pos: Position | null;
  /** `SpaceRow.load?.id` as read in the same transaction, or null. */
  during: string | null;
  /** Milliseconds of the device's clock. */
  at: number;
  /** The operations, each the JSON text of one change; capture gives none a `base`. */
  changes: Text[];
  /** The record of each change: as long as `changes`. A `resolve` has "". */
  keys: Key[];
  /** Records for which the load named by `during` brought another value than the one that was edited. Set by the core. */
  stale?: Key[];
  /** Conflicts behind which this was made. Set by the core. */
  after?: string[];
  /**
   * It may have been sent before it was numbered: the next number is that of its transaction, which becomes a mutation as it stands.
   * Set where it is written down, when nothing else of its space waits (`SpaceMachine.ahead`).
   */
  early?: true;
  /** Not numbered before the mutation of this transaction in another space is applied; given up if it is not (moves). */
  waits?: { space: SpaceId; tx: string };
}
export type NewOutboxRow = Omit<OutboxRow, "seq">;

/** One numbered mutation. Its texts are never rewritten, except where its number is used up without it. */
export interface SentRow {
  space: SpaceId;
  /** Counts the mutations of this space on this device, whatever their client id: the key is `[space, n]`. */
  n: number;
  /** The client id and number under which it is sent; both change with a new client id. */
  client: string;
  num: number;
  txs: string[];
  at: number;
  /** The JSON text of the list of changes as it is sent, and the record of each. */
  changes: Text;
  keys: Key[];
  /** The version at which it was made and its epoch; null: pushed without a base. */
  base: Position | null;
  after?: string[];
  /** It may have reached the server: it is pushed again before anything is pulled, which could hold its echo. */
  tried?: true;
  /** Set when the server has applied it: it stays on top of the synced state until a pull has reached this. */
  settled?: Position;
  /** Its number is used up by an empty mutation: `changes` is `[]`. */
  withdrawn?: true;
}

/** The synced state of a record, there exactly while the record has pending operations. */
export interface BaseRow {
  space: SpaceId;
  key: Key;
  /** null: the record is absent there. */
  value: Text | null;
  /**
   * The user saw no synced copy when the first pending operation was captured: that one goes out with `"base":0`. A record
   * that waits in `extra` is not seen either; `value` is then what stands there.
   */
  fresh?: true;
  /** The position of the line that brought the value, where one came since the first pending operation. */
  at?: Position;
  /** Where one came: the value on which the first pending operation rests, which a conflict shows as its base. */
  was?: Text | null;
}

/** Why a synced record has no row of the app. */
export type Why =
  /** A collection that begins with `$`, or that is not a table of this version of the app. */
  | "unknown"
  /** A row of another space has this key. */
  | "taken"
  /** A unique index refuses it. */
  | "unique";

export interface ExtraRow {
  space: SpaceId;
  key: Key;
  value: Text;
  why: Why;
}

/** A load that brings pages, each stored when it comes, while the position stays where it was. */
export interface Load {
  id: string;
  /** Where the next page begins; null: at the beginning. */
  cursor: string | null;
  /** Where this pull began. 0: it brings the full state. */
  since: number;
  /** Records that are not marked at the end are deleted. */
  sweep: boolean;
  /** Rows have been stored. */
  dirty: boolean;
  /** The server asked the client to give up its position: the end may lie below it. */
  gaveUp: boolean;
}

export interface SpaceRow {
  space: SpaceId;
  /** Whose it is: issuer and subject as one text. */
  user: string;
  position: Position | null;
  client: string;
  /** The next number under `client`. */
  next: number;
  /** The next `SentRow.n`. */
  nextN: number;
  /** The last number under `client` whose result is stored. */
  acked: number;
  load: Load | null;
  /** A position that a push was told of and that the next pull has to reach. */
  min: Position | null;
  held: Held | null;
  /** Notes of other devices' conflicts wait for their contents. */
  unread?: true;
}

/** Why nothing is sent for a space, until the application says so. */
export type HeldWhy =
  | "bug"
  | "signed-out"
  | "forbidden"
  | "gone"
  | "full"
  | "timeout"
  | "blocked"
  | "grant"
  | "epoch"
  | "other-user"
  /** A newer version of the application has upgraded the database: this one writes down, and does not lead. */
  | "outdated";
export interface Held {
  why: HeldWhy;
  detail: string;
}

/** What the application is shown until it has dealt with it. */
export type NoteRow = ConflictNote | RejectedNote;
export type NewNote = Omit<ConflictNote, "n"> | Omit<RejectedNote, "n">;
export interface ConflictNote {
  /** Given by the store, rising. */
  n: number;
  kind: "conflict";
  space: SpaceId;
  /** The id of the conflict on the server. */
  conflict: string;
  records: NotedRecord[];
  /** The parked changes. */
  changes: Text[];
  /** A resolution has been captured. */
  resolving?: true;
  /** Another device of the user has opened it: whether its contents are here, or only the names of its records. Absent: this device has. */
  fetched?: boolean;
}
export interface NotedRecord {
  key: Key;
  /** Absent: another device has made the edit. */
  base?: Text | null;
  /** Absent: not here yet, or `theirs` is absent for an edit of another device. */
  mine?: Text | null;
  /** null: deleted; absent: the server had no room to say. */
  theirs?: Text | null;
  /** The version of `theirs`. */
  version?: number;
}
export interface RejectedNote {
  n: number;
  kind: "rejected";
  space: SpaceId;
  /**
   * A code of PROTOCOL.md ("Codes of a rejected mutation"), or `too_large`, `blocked` (see Errors), `missing` (an operation
   * found no record and did nothing), `parent` (it rested on a creation that was rejected), `move` (the other half of a
   * move was not applied).
   */
  code: string;
  /** Of the server; "" for the codes that the device gives. */
  detail: string;
  changes: Text[];
}

/** Which rows a transaction wakes live queries for. */
export type Wake =
  /** For the rows that it writes. */
  | "rows"
  /** For none: a chunk of a load. */
  | "nothing"
  /** For every synced table as a whole, once: the end of a load. */
  | "everything";

export interface Scope {
  /** The collections whose rows may be read and written; absent: all that are tables of the app. */
  collections?: string[];
  wake: Wake;
}

export interface Store {
  commit<T>(term: number, scope: Scope, body: (tx: Tx) => Promise<T>): Promise<T>;
}

/** The transaction. No method may be called after `body` has ended. */
export interface Tx {
  outbox: {
    /** All rows of a space, or of all spaces, in the order of `seq`. Asked for often in one transaction. */
    list(space?: SpaceId): Promise<OutboxRow[]>;
    /** The highest `seq` so far, of any space, as far as this transaction sees. */
    last(): Promise<number>;
    /** Gives the `seq` of each. */
    add(rows: NewOutboxRow[]): Promise<number[]>;
    put(rows: OutboxRow[]): Promise<void>;
    delete(seqs: number[]): Promise<void>;
  };
  sent: {
    /** All rows of a space, in the order of `n`. There are at most a few pushes of them. */
    list(space: SpaceId): Promise<SentRow[]>;
    put(rows: SentRow[]): Promise<void>;
    delete(space: SpaceId, ns: number[]): Promise<void>;
  };
  base: {
    /** One entry for each key, in their order. Cheap where the store is empty. */
    get(space: SpaceId, keys: Key[]): Promise<(BaseRow | undefined)[]>;
    keys(space: SpaceId): Promise<Key[]>;
    put(rows: BaseRow[]): Promise<void>;
    delete(space: SpaceId, keys: Key[]): Promise<void>;
  };
  extra: {
    /** One entry for each key, in their order. Cheap where the store is empty. */
    get(space: SpaceId, keys: Key[]): Promise<(ExtraRow | undefined)[]>;
    keys(space: SpaceId): Promise<Key[]>;
    /** Rows of all spaces with `why` other than "unknown" in these collections. Cheap where the store is empty. */
    waiting(collections: string[]): Promise<ExtraRow[]>;
    put(rows: ExtraRow[]): Promise<void>;
    delete(space: SpaceId, keys: Key[]): Promise<void>;
  };
  spaces: {
    get(space: SpaceId): Promise<SpaceRow | undefined>;
    list(): Promise<SpaceRow[]>;
    put(row: SpaceRow): Promise<void>;
    delete(space: SpaceId): Promise<void>;
  };
  marks: {
    /** Appends the keys that a load has brought. */
    add(load: string, keys: Key[]): Promise<void>;
    all(load: string): Promise<Key[]>;
    clear(load: string): Promise<void>;
  };
  notes: {
    list(space?: SpaceId): Promise<NoteRow[]>;
    add(note: NewNote): Promise<number>;
    put(note: NoteRow): Promise<void>;
    delete(ns: number[]): Promise<void>;
  };
  meta: {
    get(key: string): Promise<unknown>;
    put(key: string, value: unknown): Promise<void>;
  };
  rows: {
    /** The encoded rows of the app that belong to this space; null where there is none, or one of another space. */
    get(space: SpaceId, keys: Key[]): Promise<(Text | null)[]>;
    /**
     * Writes rows below capture (no hooks, nothing captured) and gives those that have no place; they are not written, and
     * a row that stood under the key for this space is gone. The rest is written. Keys with `$` are not given here.
     */
    put(space: SpaceId, rows: { key: Key; value: Text }[]): Promise<{ key: Key; why: Why }[]>;
    /** Deletes rows that belong to this space; one of another space under the same key stays. */
    delete(space: SpaceId, keys: Key[]): Promise<void>;
    /** The keys of all rows that belong to this space, in every synced table. */
    keys(space: SpaceId): Promise<Key[]>;
  };
}

/** Another leader has taken over: whatever this one still holds is to be forgotten. */
export class TermOver extends Error {
  override name = "TermOver";
}
/** The device has no room. Nothing was written. */
export class DeviceFull extends Error {
  override name = "DeviceFull";
}
/** The database was closed. Nothing was written. */
export class StoreClosed extends Error {
  override name = "StoreClosed";
}

export const keyOf = (collection: string, id: string): Key => `${collection} ${id}`;
export const collectionOf = (key: Key): string => key.slice(0, key.indexOf(" "));
export const idOf = (key: Key): string => key.slice(key.indexOf(" ") + 1);
