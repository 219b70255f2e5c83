// The whole of what makes this app sync: a Dexie schema, and one call.

import { Dexie, type Table } from "dexie";
import { headwater, newId, type Sync } from "headwater-client/dexie";
import { Network } from "./network.ts";
import { tokenOf } from "./users.ts";

/** `space` is the id of the shared space; a list or note without one is private. A shared list has a space of its own. */
export interface List {
  id: string;
  title: string;
  space?: string;
}
export interface Note {
  id: string;
  list: string;
  text: string;
  isDone: boolean;
  /** When it was made, in milliseconds: the order in its list. */
  made: number;
  space?: string;
}

export class NotesDatabase extends Dexie {
  declare lists: Table<List, string>;
  declare notes: Table<Note, string>;

  constructor(user: string) {
    // A database belongs to one user.
    super(`notes ${user}`);
    this.version(1).stores({ lists: "id", notes: "id, [list+made]" });
  }
}

/** What a window works with while a user is signed in. */
export interface Session {
  user: string;
  db: NotesDatabase;
  sync: Sync;
  network: Network;
}

export function openSession(user: string): Session {
  const network = new Network(user);
  const db = new NotesDatabase(user);
  const sync = headwater(db, {
    url: location.origin,
    token: ({ reason }) => tokenOf(user, reason),
    collections: { lists: { space: "space" }, notes: { space: "space" } },
    fetch: network.fetch,
    WebSocket: network.WebSocket,
  });
  const session = { user, db, sync, network };
  // Lists that this user has made or joined on another device. Without a network the next look finds them.
  const look = () => void sync.ready.then(() => openShared(session)).catch(() => {});
  look();
  addEventListener("focus", look);
  return session;
}

export async function openShared({ sync }: Session): Promise<void> {
  const { spaces } = await sync.spaces.list();
  await Promise.all(spaces.map(({ space }) => sync.spaces.open(space)));
}

const notesOf = (db: NotesDatabase, list: string) => db.notes.where("[list+made]").between([list, Dexie.minKey], [list, Dexie.maxKey]);

/** The newest notes of a list. */
export const newestNotes = (db: NotesDatabase, list: string, limit: number) => notesOf(db, list).reverse().limit(limit).toArray();
export const countNotes = (db: NotesDatabase, list: string) => notesOf(db, list).count();

export async function addList(db: NotesDatabase, title: string): Promise<string> {
  return db.lists.add({ id: newId(), title });
}

export async function addNote(db: NotesDatabase, { id, space }: List, text: string): Promise<string> {
  return db.notes.add({ id: newId(), list: id, text, isDone: false, made: Date.now(), ...(space && { space }) });
}

/** Moves a private list with its notes into a space of its own, in one transaction. Asks the server for the space first. */
export async function shareList({ db, sync }: Session, list: List): Promise<void> {
  const space = await sync.spaces.create(list.id);
  await db.transaction("rw", db.lists, db.notes, async () => {
    await db.lists.update(list.id, { space });
    await notesOf(db, list.id).modify({ space });
  });
}

/** Deletes a list for everybody who sees it. */
export async function deleteList({ db, sync }: Session, list: List): Promise<void> {
  if (list.space) return sync.spaces.remove(list.space);
  await db.transaction("rw", db.lists, db.notes, async () => {
    await notesOf(db, list.id).delete();
    await db.lists.delete(list.id);
  });
}
