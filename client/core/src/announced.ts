/**
 * Conflicts that other devices of the user have opened. The server announces every open conflict as a record of `$conflicts`,
 * without contents (PROTOCOL.md, Conflicts). It is noted when the record comes; the contents are asked for by `GET /sync/conflict`;
 * and the note goes when the record does, whichever device has opened it.
 */

import { type Change, fold } from "./ops.ts";
import { change, type Stored } from "./records.ts";
import { type ConflictNote, idOf, type Key, keyOf, type NotedRecord, type SpaceRow, type Tx } from "./store.ts";

const ANNOUNCEMENTS = "$conflicts";
const isAnnouncement = (key: Key): boolean => key.startsWith(`${ANNOUNCEMENTS} `);

interface Named {
  collection: string;
  id: string;
}
/** An open conflict of `GET /sync/conflict`. */
export interface Listed {
  conflict: string;
  mutations: { changes: (Change & Named)[] }[];
  records: (Named & { version: number; theirs?: unknown; deleted?: boolean })[];
}

const conflictsOf = async (tx: Tx, space: string): Promise<ConflictNote[]> => (await tx.notes.list(space)).filter((note) => note.kind === "conflict");

/** Whether it is this user's. All members of a shared space see each other's announcements. */
async function isOwn(tx: Tx, { space, user }: SpaceRow, hash: string): Promise<boolean> {
  if (space === "~") return true;
  const [member] = await tx.extra.get(space, [keyOf("$members", hash)]);
  // The user is issuer and subject, with a space between them.
  return !!member && JSON.parse(member.value).sub === user.slice(user.indexOf(" ") + 1);
}

/**
 * Notes what has been announced, and drops what is closed. `came`: the records that lines have just brought or deleted; null: a load
 * has ended, and whatever stands there counts.
 */
export async function announce(tx: Tx, row: SpaceRow, came: Key[] | null): Promise<void> {
  if (came && !came.some(isAnnouncement)) return;
  const { space } = row;
  const open = (await tx.extra.keys(space)).filter(isAnnouncement);
  const notes = new Map((await conflictsOf(tx, space)).map((note) => [keyOf(ANNOUNCEMENTS, note.conflict), note]));
  // An edit of this device whose conflict is gone without a line, as after a restored backup, is still to be shown.
  const isClosed = (key: Key, { fetched }: ConflictNote) => !open.includes(key) && (fetched !== undefined || came?.includes(key));
  const closed = [...notes].filter(([key, note]) => isClosed(key, note));
  if (closed.length > 0 && globalThis.__PLANTED__ !== "closed conflict kept") await tx.notes.delete(closed.map(([, { n }]) => n));
  const fresh = open.filter((key) => (came ? came.includes(key) : !notes.has(key)));
  for (const extra of await tx.extra.get(space, fresh)) {
    const note = extra && notes.get(extra.key);
    const { user, records } = JSON.parse(extra?.value ?? "{}") as { user: string; records?: Named[] };
    // What this device has opened, it knows.
    if (!extra || (note ? note.fetched === undefined : !(await isOwn(tx, row, user)))) continue;
    row.unread = true;
    if (note) await tx.notes.put({ ...note, fetched: false });
    else {
      const named = (records ?? []).map(({ collection, id }) => ({ key: keyOf(collection, id) }));
      await tx.notes.add({ kind: "conflict", space, conflict: idOf(extra.key), records: named, changes: [], fetched: false });
    }
  }
}

/** One record of a listed conflict. Nobody here knows what it was before the edit; `mine` is what the edit makes of what stands there. */
function noted({ collection, id, version, theirs, deleted }: Listed["records"][number], changes: (Change & Named)[]): NotedRecord {
  if (!deleted && theirs === undefined) return { key: keyOf(collection, id), version };
  const there = deleted ? null : JSON.stringify(theirs);
  const mine = fold(there, changes.filter((one) => one.collection === collection && one.id === id));
  return { key: keyOf(collection, id), version, mine, theirs: there };
}

export interface Read extends Stored {
  /** The notes that have their contents now. */
  added: number[];
}

/** Stores the contents of noted conflicts. What is not listed up to the last page is closed by now, and its deletion will come. */
export async function readConflicts(tx: Tx, space: string, listed: Listed[], isLast: boolean): Promise<Read> {
  const added: number[] = [];
  const stored = await change(tx, space, async (row) => {
    const unread = (await conflictsOf(tx, space)).filter(({ fetched }) => fetched === false);
    for (const note of unread) {
      const one = listed.find(({ conflict }) => conflict === note.conflict);
      if (!one) continue;
      const changes = one.mutations.flatMap((mutation) => mutation.changes);
      const records = one.records.map((record) => noted(record, changes));
      await tx.notes.put({ ...note, records, changes: changes.map((one) => JSON.stringify(one)), fetched: true });
      added.push(note.n);
    }
    if (isLast || added.length === unread.length) delete row.unread;
  });
  return { ...stored, added };
}
