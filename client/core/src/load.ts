/** What pulls bring, in transactions: single answers, and loads of several pages with a sweep at the end. */

import { announce } from "./announced.ts";
import { reaches } from "./positions.ts";
import { applyLines, basesOf, change, distinct, dropSettled, type Line, rebase, refold, type Stored, write } from "./records.ts";
import type { Key, Load, OutboxRow, Position, SpaceRow, Tx } from "./store.ts";

/** What one page, chunk of a stream, or live message brings. */
export interface Page {
  epoch: string;
  version: number;
  reset: boolean;
  lines: Line[];
  /** Where the load goes on behind these lines; null: not known. */
  cursor: string | null;
  /** The last page: its version is the client's. */
  end: boolean;
}

/** How the pull was asked for. */
export interface Asked {
  /** Without a cursor, and nothing of the answer has been stored yet. */
  begins: boolean;
  loadId: string;
  since: number;
  gaveUp: boolean;
}

/** An answer that breaks the contract: a bug to report. Nothing of it was stored. */
export class Wrong extends Error {
  override name = "Wrong";
}

/** What does not fit where the client stands: an earlier state, or another epoch without `reset`. */
function refuse({ position }: SpaceRow, load: Load, { epoch, version, reset }: Page): void {
  if (load.gaveUp || position === null) return;
  if (!reaches({ epoch, version }, position)) throw new Wrong(`from ${position.epoch}.${position.version} back to ${epoch}.${version}`);
  if (epoch !== position.epoch && load.since > 0 && !reset) throw new Wrong(`epoch ${epoch} without reset`);
}

/** A full state is being brought: of an edit made meanwhile nobody can say yet what it rests on. */
export const bringsAll = ({ load }: SpaceRow): boolean => load?.since === 0;

/**
 * A full state without a word of the server that it replaces what is here comes to who has nothing, not even where the space was empty:
 * then no record can have gone, and rows of which nobody has been told yet stay.
 */
const newLoad = (asked: Asked): Load => ({
  id: asked.loadId,
  cursor: null,
  since: asked.since,
  sweep: false,
  dirty: false,
  gaveUp: asked.gaveUp,
});

/** Stores a page and, with the last one, the position. */
export const storePage = (tx: Tx, space: string, page: Page, asked: Asked): Promise<Stored> =>
  change(tx, space, (row) => takePage(tx, row, page, asked));

async function takePage(tx: Tx, row: SpaceRow, page: Page, asked: Asked): Promise<void> {
  const isPaged = row.load !== null;
  const load = row.load ?? newLoad(asked);
  refuse(row, load, page);
  if (page.reset) {
    // What came before this page is no part of the state that begins here, so what it brought may have to be swept.
    await tx.marks.clear(load.id);
    Object.assign(load, { since: 0, sweep: row.position !== null || load.sweep || load.dirty });
  }
  const isFull = load.since === 0;
  // The same full state from its beginning: what was brought of it before may be gone by now.
  if (asked.begins && isFull && load.dirty) await startOver(tx, load);
  row.load = load;
  const { keys, touched } = await applyLines(tx, row, page.lines, page.epoch, isFull);
  const folded = new Set(touched);
  if (page.end) {
    if (load.sweep) for (const key of await sweep(tx, row, new Set(keys))) folded.add(key);
    await arrive(tx, row, page, isPaged);
    if (isPaged || load.sweep) await announce(tx, row, null);
    for (const key of await dropSettled(tx, row, load.gaveUp)) folded.add(key);
  } else {
    if (load.sweep) await tx.marks.add(load.id, keys);
    load.cursor = page.cursor ?? load.cursor;
    load.dirty ||= keys.length > 0;
  }
  await refold(tx, row.space, folded);
}

async function startOver(tx: Tx, load: Load): Promise<void> {
  if (globalThis.__PLANTED__ !== "marks kept") await tx.marks.clear(load.id);
  load.sweep = true;
}

/** Begins a load again from its first page: the cursor has expired. */
export const restartLoad = (tx: Tx, space: string): Promise<Stored> =>
  change(tx, space, ({ load }) => {
    if (load) load.cursor = null;
  });

/** Gives up the position: the server has told that it stands at `min`, which is below. What it brings replaces all. */
export const giveUp = (tx: Tx, space: string, newId: string, min: Position): Promise<Stored> =>
  change(tx, space, (row) => {
    // Edits of a load that was under way were marked under its id, so that it goes on.
    const id = row.load?.id ?? newId;
    Object.assign(row, { load: { id, cursor: null, since: 0, sweep: true, dirty: true, gaveUp: true }, min });
  });

/** The end of a load: the position, and on what edits that were made during it rest. */
async function arrive(tx: Tx, row: SpaceRow, { epoch, version }: Page, isPaged: boolean): Promise<void> {
  const load = row.load as Load;
  const wasWithout = row.position === null;
  const position = { epoch, version };
  if (isPaged || wasWithout) {
    const during = (await tx.outbox.list(row.space)).filter(({ pos, during }) => pos === null || during === load.id);
    const bases = await basesOf(tx, row.space, during.flatMap(({ stale }) => stale ?? []));
    // What had no synced copy goes out with a base of 0 anyway.
    const copied = new Map(bases.filter(({ fresh }) => !fresh).map(({ key, value }) => [key, value !== null]));
    await tx.outbox.put(during.map((one) => based(one, position, copied)));
  }
  if (load.sweep) await tx.marks.clear(load.id);
  Object.assign(row, { position, load: null, min: row.min && reaches(position, row.min) ? null : row.min });
  if (load.gaveUp) row.min = null;
}

/**
 * An edit made during the load that ends: it rests on the end, but for the records of which the load brought another
 * value than the one that was edited. Those rest on where the client stood before, so that nobody's change goes unseen.
 * `copied`: the records of which it had a copy, and whether they exist.
 */
function based(row: OutboxRow, position: Position, copied: Map<Key, boolean>): OutboxRow {
  const { stale = [], pos, ...rest } = row;
  if (globalThis.__PLANTED__ === "base of the end") return { ...rest, pos: position, during: null };
  const isStale = (key: Key) => stale.includes(key) && copied.has(key);
  // A position of another epoch names no version of this one: the edit goes out as older than every change.
  if (pos && pos.epoch !== position.epoch && row.keys.some(isStale)) return { ...rest, pos, during: null };
  const changes = row.changes.map((text, at) => {
    const key = row.keys[at] as Key;
    // Without a position: what exists through somebody else conflicts with a base of 0, what is absent with every other.
    return isStale(key) ? withBase(text, pos?.version || (copied.get(key) ? 0 : 1)) : text;
  });
  return { ...rest, changes, pos: position, during: null };
}

/** The text of a change with a base of its own, which it keeps if it has one. */
export const withBase = (change: string, base: number): string =>
  change.includes('"base":') && "base" in JSON.parse(change) ? change : `${change.slice(0, -1)},"base":${base}}`;

/** Deletes what the full state that has been loaded does not have; what has pending operations loses its base's value. */
async function sweep(tx: Tx, row: SpaceRow, marked: Set<Key>): Promise<Key[]> {
  const { space } = row;
  if (globalThis.__PLANTED__ !== "marks forgotten") for (const key of await tx.marks.all((row.load as Load).id)) marked.add(key);
  const unmarked = (keys: Key[]) => keys.filter((key) => !marked.has(key));
  const edited = unmarked(await tx.base.keys(space));
  await rebase(tx, row, (await basesOf(tx, space, edited)).map((base) => ({ row: base, value: null })));
  const isEdited = new Set(edited);
  const gone = unmarked([...(await tx.rows.keys(space)), ...(await tx.extra.keys(space))]).filter((key) => !isEdited.has(key));
  await write(tx, space, gone.map((key) => ({ key, value: null })));
  return edited;
}

/** The collections of lines: the tables that a page concerns. */
export const collectionsOf = (lines: Line[]): string[] => distinct(lines.map(({ collection }) => collection));
