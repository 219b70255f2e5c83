/** From the outbox to numbered mutations: what one push carries, taken in one transaction. */

import { bytesOf } from "./codec.ts";
import { applied, type Change, Refused } from "./ops.ts";
import { bringsAll, withBase } from "./load.ts";
import { reaches } from "./positions.ts";
import { basesOf, distinct, openOf, pendingOf, type Stored } from "./records.ts";
import type { Key, OutboxRow, SentRow, SpaceRow, Text, Tx } from "./store.ts";

/** What one push carries at most, and one mutation of it (PROTOCOL.md, Limits, with room to spare). */
export const PUSH_MUTATIONS_MAX = 500;
const PUSH_CHANGES_MAX = 2000;
const PUSH_BYTES_MAX = 1 << 20;
const MUTATION_CHANGES_MAX = 1000;
const MUTATION_BYTES_MAX = 900_000;
const ROWS_MAX = 2000;

export interface Batch extends Stored {
  /** The mutations to push, in order: those that were sent and not settled, else as much of the outbox as fits. */
  mutations: SentRow[];
  /** None of the mutations behind them has been tried. */
  isWhole: boolean;
}

/** The next push: what was sent and has no result comes before all else, as it is. */
export async function takeBatch(tx: Tx, space: string, mutationsMax: number): Promise<Batch> {
  const row = (await tx.spaces.get(space)) as SpaceRow;
  let open = await openOf(tx, space);
  if (globalThis.__PLANTED__ === "sent compacted" && open.length > 0) {
    const last = open.at(-1) as SentRow;
    const [more] = await tx.outbox.list(space);
    if (more) {
      const changes = `${last.changes.slice(0, -1)},${more.changes.join(",")}]`;
      await tx.sent.put([{ ...last, changes, keys: [...last.keys, ...more.keys] }]);
      await tx.outbox.delete([more.seq]);
      open = await openOf(tx, space);
    }
  }
  if (open.length === 0 && !bringsAll(row)) open = await number(tx, row);
  const fits = fitting(open, mutationsMax);
  const mutations = open.slice(0, fits).map((sent) => ({ ...sent, tried: true as const }));
  const behind = open.slice(fits);
  await tx.sent.put([...mutations, ...behind]);
  return { row, mutations, isWhole: !behind.some(({ tried }) => tried), ...(await pendingOf(tx, space)) };
}

/** How many of the mutations one push can carry: one at least. */
function fitting(all: SentRow[], mutationsMax: number): number {
  let [changes, bytes] = [0, 0];
  const over = all.findIndex((row, at) => {
    changes += row.keys.length;
    bytes += bytesOf(row.changes);
    // What replaces a mutation goes alone: it may be answered as a fork, which is then about nothing else.
    const isAlone = at > 0 && (row.withdrawn || all[at - 1]?.withdrawn);
    return at > 0 && (isAlone || at >= mutationsMax || changes > PUSH_CHANGES_MAX || bytes > PUSH_BYTES_MAX);
  });
  return over < 0 ? all.length : over;
}

/** Numbers what is queued; the caller stores it. */
async function number(tx: Tx, row: SpaceRow): Promise<SentRow[]> {
  const { space } = row;
  const taken = firstGroups((await tx.outbox.list(space)).slice(0, ROWS_MAX));
  const rows = taken.flat();
  const fresh = (await basesOf(tx, space, rows.flatMap(({ keys }) => keys))).filter((base) => base.fresh);
  const isFresh = new Set(fresh.map(({ key }) => key));
  const sent = taken.flatMap((group) => mutationsOf(row, group, isFresh));
  await tx.outbox.delete(rows.map(({ seq }) => seq));
  await tx.base.put(fresh.map(({ fresh: _, ...base }) => base));
  await tx.spaces.put(row);
  return sent;
}

/** The mutation as which what was just written down will be numbered; null: it takes more than one. `fresh` as `BaseRow.fresh` says. */
export function numberedEarly(row: SpaceRow, rows: OutboxRow[], fresh: Iterable<Key>): SentRow | null {
  const [sent, ...more] = mutationsOf({ ...row }, rows, new Set(fresh));
  return sent && more.length === 0 && sent.changes.length <= PUSH_BYTES_MAX ? sent : null;
}

/** As many transactions as one push can carry, each a group that becomes one mutation; neighbours that are one edit are one. */
function firstGroups(rows: OutboxRow[]): OutboxRow[][] {
  const waiting = new Set<Key>();
  const groups: OutboxRow[][] = [];
  for (const row of rows) {
    // What waits for another space keeps its place before everything on its records, and lets the rest pass.
    if (row.waits || row.keys.some((key) => waiting.has(key))) for (const key of row.keys) waiting.add(key);
    else if (groups.at(-1)?.[0]?.tx === row.tx) groups.at(-1)?.push(row);
    else groups.push([row]);
  }
  const taken: OutboxRow[][] = [];
  let [bytes, changes] = [0, 0];
  for (const group of groups) {
    const before = taken.at(-1);
    // What may have been sent stays what it was, and goes alone, as it went.
    if (before && isEarly(before)) break;
    if (before && isSameEdit(before, group)) before.push(...group);
    else if (changes > PUSH_CHANGES_MAX || bytes > PUSH_BYTES_MAX || taken.length >= PUSH_MUTATIONS_MAX) break;
    else taken.push(group);
    for (const text of group.flatMap((row) => row.changes)) [bytes, changes] = [bytes + text.length, changes + 1];
  }
  return taken;
}

const isEarly = (group: OutboxRow[]): boolean => group.some(({ early }) => early) && globalThis.__PLANTED__ !== "early merged";

/** Whether an edit goes on with what the one before began, as typing does: the same one record, seen at the same time. */
function isSameEdit(before: OutboxRow[], next: OutboxRow[]): boolean {
  const all = [...before, ...next];
  const [{ pos, after, keys }] = all as [OutboxRow];
  const [key] = keys;
  const seen = JSON.stringify([pos, after]);
  return !!key && all.every((row) => JSON.stringify([row.pos, row.after]) === seen && row.keys.every((other) => other === key));
}

/** The mutations of a group: one, or several in order where one would be too long. */
function mutationsOf(row: SpaceRow, group: OutboxRow[], isFresh: Set<Key>): SentRow[] {
  const lowest = group.reduce((low, one) => (low.pos && one.pos && reaches(one.pos, low.pos) ? low : one));
  const after = distinct(group.flatMap((one) => one.after ?? []));
  const base = globalThis.__PLANTED__ === "base of numbering" ? row.position : lowest.pos;
  const all = swallowed(group);
  const sent: SentRow[] = [];
  for (let from = 0; from < all.length; ) {
    let bytes = 0;
    let to = from;
    const texts: Text[] = [];
    for (; to < all.length && to - from < MUTATION_CHANGES_MAX; to += 1) {
      const { key, text } = all[to] as Keyed;
      bytes += bytesOf(text);
      if (to > from && bytes > MUTATION_BYTES_MAX) break;
      const isCreation = isFresh.has(key) && globalThis.__PLANTED__ !== "no base of creation";
      texts.push(isCreation ? withBase(text, 0) : text);
    }
    const keys = all.slice(from, to).map(({ key }) => key);
    sent.push({
      space: row.space,
      n: row.nextN++,
      client: row.client,
      num: row.next++,
      txs: distinct(group.map(({ tx }) => tx)),
      at: (group[0] as OutboxRow).at,
      changes: `[${texts.join(",")}]`,
      keys,
      base,
      ...(after.length > 0 && { after }),
    });
    // In the mutations behind the first one the record is there, made by this client.
    for (const key of keys) isFresh.delete(key);
    from = to;
  }
  return sent;
}

interface Keyed {
  key: Key;
  text: Text;
}

/** The changes of a group; a `put` takes up what follows on its record, a field that is set twice is set once. */
function swallowed(group: OutboxRow[]): Keyed[] {
  const all: Keyed[] = [];
  const last = new Map<Key, number>();
  for (const row of group) {
    row.changes.forEach((text, index) => {
      const key = row.keys[index] as Key;
      const at = last.get(key);
      const both = at === undefined || key === "" ? undefined : together((all[at] as Keyed).text, text);
      if (both !== undefined) all[at as number] = { key, text: both };
      else last.set(key, all.push({ key, text }) - 1);
    });
  }
  return all;
}

/** One change that does what two do, if there is one that is exactly the same. */
function together(first: Text, second: Text): Text | undefined {
  const one: Change = JSON.parse(first);
  const two: Change = JSON.parse(second);
  if (one.op === "put") {
    try {
      const value = applied(one.value, two);
      return JSON.stringify({ ...one, op: value ? "put" : "delete", value });
    } catch (error) {
      if (error instanceof Refused) return undefined;
      throw error;
    }
  }
  if (one.op !== "patch" || two.op !== "patch" || one.unset || two.unset || one.orPut || two.orPut) return undefined;
  const set = { ...one.set, ...two.set };
  const paths = Object.keys(set);
  const overlaps = paths.some((path) => paths.some((other) => other.startsWith(`${path}.`)));
  return overlaps ? undefined : JSON.stringify({ ...one, set });
}
