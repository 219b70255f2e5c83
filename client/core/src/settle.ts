/** What answers to pushes say of mutations, in one transaction each. */

import type { Change } from "./ops.ts";
import { fold } from "./ops.ts";
import { later, reaches } from "./positions.ts";
import { applyLines, basesOf, change, changesOf, changesOn, distinct, dropSettled, type Line, openOf, queuedOn, refold, type Stored } from "./records.ts";
import { type ConflictNote, type Key, keyOf, type OutboxRow, type Position, type SentRow, type SpaceRow, type Text, type Tx } from "./store.ts";

export interface Result {
  id: number;
  status: string;
  version?: number;
  code?: string;
  detail?: string;
  conflict?: string;
  missing?: boolean;
  records?: { collection: string; id: string; version?: number; theirs?: unknown; deleted?: boolean }[];
}

/** What a push was answered, as far as it settles something. */
export interface PushAnswer {
  /** 200; or 409 with these codes. */
  code: "ok" | "out_of_order" | "epoch_mismatch" | "client_forked";
  results?: Result[];
  epoch?: string;
  version?: number;
  reset?: boolean;
  more?: boolean;
  changes?: Line[];
  expected?: number;
  last?: number;
  position?: Position | null;
}

/** What was pushed: under which client id, and the mutations `SentRow.n` with their numbers. */
export interface Pushed {
  client: string;
  mutations: SentRow[];
  /** The push named where the client stands, so its answer brings what is newer. */
  since: boolean;
  /** A new client id, if it should be needed. */
  newClient: string;
}

export interface Settled extends Stored {
  /** Notes that the application has not seen. */
  added: number[];
  /** The answer is to be pushed on from, without a pull before. */
  again: boolean;
  /** Other spaces have edits that waited for this. */
  released: boolean;
}

export async function settle(tx: Tx, space: string, pushed: Pushed, answer: PushAnswer): Promise<Settled> {
  let again = false;
  const told: Pick<Settled, "added" | "released"> = { added: [], released: false };
  const stored = await change(tx, space, async (row) => {
    const settling = new Settling(tx, row, pushed);
    // An answer to what is not sent any more says nothing.
    if (row.client === pushed.client) again = await settling.answered_(answer);
    Object.assign(told, { added: settling.added_, released: settling.released_ });
    await refold(tx, space, [...settling.touched_, ...(await dropSettled(tx, row))]);
  });
  return { ...stored, ...told, again };
}

/**
 * Uses up the number of the first mutation without a result, but not the mutation: it leaves the outbox, and the
 * application is told.
 */
export async function withdrawFirst(tx: Tx, space: string, code: string): Promise<Settled> {
  const added: number[] = [];
  const stored = await change(tx, space, async () => {
    const [sent] = await openOf(tx, space);
    if (!sent || sent.withdrawn) return;
    added.push(await reject(tx, space, code, sent));
    await tx.sent.put([{ ...sent, changes: "[]", keys: [], withdrawn: true }]);
    await refold(tx, space, sent.keys);
  });
  return { ...stored, added, again: true, released: false };
}

const textsOf = (row: SentRow | OutboxRow): Text[] => changesOf(row).map((change) => JSON.stringify(change));
const reject = (tx: Tx, space: string, code: string, row: SentRow | OutboxRow, detail = ""): Promise<number> =>
  tx.notes.add({ kind: "rejected", space, code, detail, changes: textsOf(row) });
/** The same, made behind a conflict. */
const behind = <Row extends SentRow | OutboxRow>(rows: Row[], conflict: string): Row[] =>
  rows.map((row) => ({ ...row, after: distinct([...(row.after ?? []), conflict]) }));

class Settling {
  tx_: Tx;
  row_: SpaceRow;
  pushed_: Pushed;
  touched_ = new Set<Key>();
  added_: number[] = [];
  released_ = false;
  /** What was applied, to be stored at once. */
  settled_: SentRow[] = [];
  /** Edits of other spaces that wait for mutations of this one. */
  waiting_: OutboxRow[] | null = null;

  constructor(tx: Tx, row: SpaceRow, pushed: Pushed) {
    this.tx_ = tx;
    this.row_ = row;
    this.pushed_ = pushed;
  }

  /** Takes an answer. Whether the push goes on from it, without a pull before. */
  async answered_(answer: PushAnswer): Promise<boolean> {
    const { row_: row } = this;
    const { position, last = 0, code, results = [] } = answer;
    await this.take_(answer);
    if (code === "ok") {
      const again = (await this.open_()).some(({ tried }) => tried);
      await this.arrive_(answer, this.pushed_.since && (!again || globalThis.__PLANTED__ === "changes of a part"));
      return again;
    }
    if (code === "out_of_order") return this.expect_(answer.expected ?? 0);
    const at = position ?? row.min ?? row.position;
    if (at) await this.dropUpTo_(last, at, results);
    const again = code === "client_forked" ? await this.fork_(last) : answer.more === true && (await this.open_()).length > 0;
    if (again) return true;
    await this.renew_();
    if (code === "epoch_mismatch") row.min = at;
    return false;
  }

  /** The mutations under the present client id that nothing is known of, in order. */
  async open_(): Promise<SentRow[]> {
    return (await openOf(this.tx_, this.row_.space)).filter(({ client }) => client === this.row_.client);
  }

  /** Results by their numbers. What was refused leaves the outbox; what was applied stays on top until a pull has it. */
  async take_(answer: PushAnswer): Promise<void> {
    const open = new Map((await this.open_()).map((sent) => [sent.num, sent]));
    const epoch = answer.position?.epoch ?? answer.epoch ?? this.row_.position?.epoch ?? "";
    for (const result of answer.results ?? []) {
      const sent = open.get(result.id);
      if (!sent) continue;
      this.row_.acked = Math.max(this.row_.acked, result.id);
      if (result.status === "conflict") await this.parked_(sent, result);
      else if (result.status === "rejected") await this.rejected_(sent, result);
      else await this.applied_(sent, result, { epoch, version: result.version ?? answer.position?.version ?? answer.version ?? 0 });
    }
    await this.tx_.sent.put(this.settled_.splice(0));
  }

  touch_(keys: Key[]): void {
    for (const key of keys) this.touched_.add(key);
  }

  /** Tells the application that this was not done. */
  async reject_(row: SentRow | OutboxRow, code: string, detail?: string): Promise<void> {
    this.added_.push(await reject(this.tx_, row.space, code, row, detail));
  }

  async applied_(sent: SentRow, result: Result, settled: Position): Promise<void> {
    const { tx_: tx, row_: row } = this;
    this.touch_(sent.keys);
    if (globalThis.__PLANTED__ === "dropped when acknowledged") await tx.sent.delete(row.space, [sent.n]);
    else this.settled_.push({ ...sent, settled });
    if (result.missing && changesOf(sent).some(({ op }) => op !== "delete")) await this.reject_(sent, "missing");
    await this.closeConflicts_(sent, "not_found");
    const waiting = await this.waitingFor_(sent);
    this.released_ ||= waiting.length > 0;
    await tx.outbox.put(waiting.map(({ waits: _, ...one }) => one));
  }

  async rejected_(sent: SentRow, { code = "unsupported_op", detail = "" }: Result): Promise<void> {
    await this.remove_(sent);
    if (sent.withdrawn) return;
    await this.closeConflicts_(sent, code);
    await this.reject_(sent, code, detail);
    await this.takeBackOrphans_(sent);
  }

  async parked_(sent: SentRow, { conflict = "", records = [] }: Result): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const { space } = row;
    await this.remove_(sent);
    await this.closeConflicts_(sent, "");
    const known = (await this.conflicts_()).find((note) => note.conflict === conflict);
    // What has been announced before the result came says less than the result.
    const isNew = !known || known.fetched !== undefined;
    const note: ConflictNote | Omit<ConflictNote, "n"> = isNew ? { ...(known && { n: known.n }), kind: "conflict", space, conflict, records: [], changes: [] } : known;
    const theirs = new Map(records.map((one) => [keyOf(one.collection, one.id), one]));
    this.touch_([...theirs.keys()]);
    const keys = distinct([...sent.keys, ...theirs.keys()]).filter(Boolean);
    const bases = await tx.base.get(space, keys);
    keys.forEach((key, at) => {
      const { was, value = null } = bases[at] ?? {};
      const base = was === undefined ? value : was;
      let record = note.records.find((one) => one.key === key);
      if (!record) note.records.push((record = { key, base, mine: base }));
      record.mine = fold(record.mine ?? null, changesOn(sent, key));
      const there = theirs.get(key);
      if (there?.deleted) record.theirs = null;
      else if (there?.theirs !== undefined) record.theirs = JSON.stringify(there.theirs);
      if (there?.version !== undefined) record.version = there.version;
    });
    note.changes.push(...textsOf(sent));
    if ("n" in note) await tx.notes.put(note);
    else this.added_.push(await tx.notes.add(note));
    if (globalThis.__PLANTED__ !== "no after") await this.follow_(sent.keys, conflict);
  }

  /** Takes a mutation away; what waited for it in another space is given up, and that is told. */
  async remove_(sent: SentRow): Promise<void> {
    const { tx_: tx, row_: row } = this;
    this.touch_(sent.keys);
    await tx.sent.delete(row.space, [sent.n]);
    for (const other of await this.waitingFor_(sent)) {
      await tx.outbox.delete([other.seq]);
      await this.reject_(other, "move");
      // The new place first, so that the row can go back to its old one.
      await refold(tx, row.space, sent.keys);
      await refold(tx, other.space, other.keys);
    }
  }

  async waitingFor_(sent: SentRow): Promise<OutboxRow[]> {
    this.waiting_ ??= (await this.tx_.outbox.list()).filter(({ waits }) => waits?.space === this.row_.space);
    const found = this.waiting_.filter(({ waits, keys }) => waits && sent.txs.includes(waits.tx) && keys.some((key) => sent.keys.includes(key)));
    // Whatever becomes of them, they wait no longer.
    this.waiting_ = this.waiting_.filter((one) => !found.includes(one));
    return found;
  }

  /** What is queued on the records of a conflict was made behind it, and says so. */
  async follow_(keys: Key[], conflict: string): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const on = new Set(keys.filter(Boolean));
    await tx.outbox.put(behind(await queuedOn(tx, row.space, on), conflict));
    const sent = (await this.open_()).filter((one) => one.keys.some((key) => on.has(key)));
    await tx.sent.put(behind(sent, conflict));
  }

  /** Edits of a record whose creation was rejected have nothing to rest on: they are taken back with it. */
  async takeBackOrphans_(sent: SentRow): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const bases = await basesOf(tx, row.space, sent.keys);
    const orphans = new Set(bases.filter(({ value }) => value === null).map(({ key }) => key));
    for (const one of await queuedOn(tx, row.space, orphans)) {
      const stays = (change: Change, at: number) => {
        const key = one.keys[at] as Key;
        // What makes the record anew is no orphan, and neither is what follows it.
        if (change.op === "put" || "orPut" in change) orphans.delete(key);
        return !orphans.has(key);
      };
      const isStaying = changesOf(one).map(stays);
      const part = (stay: boolean): OutboxRow => {
        const of = <T>(list: T[]) => list.filter((_, at) => isStaying[at] === stay);
        return { ...one, changes: of(one.changes), keys: of(one.keys) };
      };
      const [rest, orphaned] = [part(true), part(false)];
      if (orphaned.keys.length === 0) continue;
      if (rest.keys.length > 0) await tx.outbox.put([rest]);
      else await tx.outbox.delete([one.seq]);
      await this.reject_(orphaned, "parent");
    }
  }

  async conflicts_(): Promise<ConflictNote[]> {
    return (await this.tx_.notes.list(this.row_.space)).filter((note) => note.kind === "conflict");
  }

  /** What a mutation was to resolve is closed, or found closed (`not_found`); with any other code it is open again. */
  async closeConflicts_(sent: SentRow, code: string): Promise<void> {
    if (!sent.keys.includes("")) return;
    const ids = (changesOf(sent) as unknown as { conflict?: string }[]).map(({ conflict }) => conflict);
    for (const { resolving: _, ...note } of (await this.conflicts_()).filter(({ conflict }) => ids.includes(conflict))) {
      if (code === "not_found") await this.tx_.notes.delete([note.n]);
      else await this.tx_.notes.put(note);
    }
  }

  /** The changes that came with the answer, and the position; or how far the next pull has to go. */
  async arrive_({ epoch = "", version = 0, reset, more, changes = [] }: PushAnswer, since: boolean): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const position = { epoch, version };
    const brings = since && !more && !reset && row.load === null && row.position?.epoch === epoch;
    if (!brings) {
      row.min = later(row.min, position);
      return;
    }
    if (globalThis.__PLANTED__ === "lines before results") await tx.base.delete(row.space, [...this.touched_]);
    const { touched } = await applyLines(tx, row, changes, epoch, false);
    this.touch_(touched);
    if (reaches(position, row.position as Position)) row.position = position;
    if (row.min && reaches(row.position, row.min)) row.min = null;
  }

  /** Sends again from a number, if it is there with all that follow it; else under a new client id. */
  async expect_(expected: number): Promise<boolean> {
    const { tx_: tx, row_: row } = this;
    const all = (await tx.sent.list(row.space)).filter(({ client, num }) => client === row.client && num >= expected);
    const isWhole = all.length > 0 && all.every(({ num }, at) => num === expected + at);
    // It was sent from there: the server contradicts itself, or answers an earlier push.
    const isNew = this.pushed_.mutations[0]?.num !== expected;
    if (isWhole && isNew) await tx.sent.put(all.map(({ settled: _, ...one }) => one));
    else await this.renew_();
    return isWhole && isNew;
  }

  /** Of the mutations that were pushed, those up to `last` are settled, also where their results are forgotten. */
  async dropUpTo_(last: number, at: Position, results: Result[]): Promise<void> {
    const told = new Set(results.map(({ id }) => id));
    const pushed = new Set(this.pushed_.mutations.map(({ num }) => num));
    for (const sent of await this.open_()) {
      if (sent.num > last || told.has(sent.num) || !pushed.has(sent.num)) continue;
      this.row_.acked = Math.max(this.row_.acked, sent.num);
      await this.applied_(sent, { id: sent.num, status: "done" }, at);
    }
    await this.tx_.sent.put(this.settled_.splice(0));
  }

  /** A fork that is about what replaced a mutation: that one was done after all. Whether the client id stays. */
  async fork_(last: number): Promise<boolean> {
    const [first] = await this.open_();
    if (!first?.withdrawn || first.num !== last + 1) return false;
    await this.tx_.sent.delete(this.row_.space, [first.n]);
    this.row_.acked = first.num;
    return true;
  }

  /** A new client id: what is left is numbered from 1. */
  async renew_(): Promise<void> {
    const { row_: row, tx_: tx, pushed_: pushed } = this;
    const open = await this.open_();
    await tx.sent.put(open.map(({ tried: _, ...sent }, at) => ({ ...sent, client: pushed.newClient, num: at + 1 })));
    Object.assign(row, { client: pushed.newClient, next: open.length + 1, acked: 0 });
  }
}
