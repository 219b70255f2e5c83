/** What answers to pushes say of mutations, in one transaction each. */

import type { Change } from "./ops.ts";
import { fold } from "./ops.ts";
import { later, reaches } from "./positions.ts";
import { applyLines, change, changesOf, dropSettled, type Line, refold, type Stored } from "./records.ts";
import type { ConflictNote, Key, NewNote, OutboxRow, Position, SentRow, SpaceRow, Text, Tx } from "./store.ts";

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
    const sent = (await tx.sent.list(space)).find(({ settled }) => !settled);
    if (!sent || sent.withdrawn) return;
    added.push(await tx.notes.add({ kind: "rejected", space, code, detail: "", changes: textsOf(sent) }));
    await tx.sent.put([{ ...sent, changes: "[]", keys: [], withdrawn: true }]);
    await refold(tx, space, sent.keys);
  });
  return { ...stored, added, again: true, released: false };
}

const textsOf = (row: SentRow | OutboxRow): Text[] => changesOf(row).map((change) => JSON.stringify(change));
const merged = (a: string[] | undefined, b: string[]): string[] => [...new Set([...(a ?? []), ...b])];

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
    return (await this.tx_.sent.list(this.row_.space)).filter(({ settled, client }) => !settled && client === this.row_.client);
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
    await this.flush_();
  }

  async flush_(): Promise<void> {
    const rows = this.settled_.splice(0);
    if (rows.length > 0) await this.tx_.sent.put(rows);
  }

  async applied_(sent: SentRow, result: Result, settled: Position): Promise<void> {
    const { tx_: tx, row_: row } = this;
    for (const key of sent.keys) this.touched_.add(key);
    if (globalThis.__PLANTED__ === "dropped when acknowledged") await tx.sent.delete(row.space, [sent.n]);
    else this.settled_.push({ ...sent, settled });
    if (result.missing && changesOf(sent).some(({ op }) => op !== "delete")) {
      await this.note_({ kind: "rejected", space: row.space, code: "missing", detail: "", changes: textsOf(sent) });
    }
    if (sent.keys.includes("")) await this.closeConflicts_(changesOf(sent));
    const waiting = await this.waitingFor_(sent);
    this.released_ ||= waiting.length > 0;
    if (waiting.length > 0) await tx.outbox.put(waiting.map(({ waits: _, ...one }) => one));
  }

  async rejected_(sent: SentRow, { code = "unsupported_op", detail = "" }: Result): Promise<void> {
    const { tx_: tx, row_: row } = this;
    await this.remove_(sent);
    if (sent.withdrawn) return;
    if (sent.keys.includes("")) await this.reopenConflicts_(changesOf(sent), code);
    await this.note_({ kind: "rejected", space: row.space, code, detail, changes: textsOf(sent) });
    await this.takeBackOrphans_(sent);
  }

  async parked_(sent: SentRow, { conflict = "", records = [] }: Result): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const { space } = row;
    await this.remove_(sent);
    if (sent.keys.includes("")) await this.reopenConflicts_(changesOf(sent), "");
    const notes = (await tx.notes.list(space)) as ConflictNote[];
    const known = notes.find((note) => note.kind === "conflict" && note.conflict === conflict);
    const note: ConflictNote | Omit<ConflictNote, "n"> = known ?? { kind: "conflict", space, conflict, records: [], changes: [] };
    for (const { collection, id } of records) this.touched_.add(`${collection} ${id}`);
    const keys = [...new Set([...sent.keys, ...records.map(({ collection, id }) => `${collection} ${id}`)])].filter(Boolean);
    const bases = await tx.base.get(space, keys);
    const changes = changesOf(sent);
    keys.forEach((key, at) => {
      const { was, value = null } = bases[at] ?? {};
      const base = was === undefined ? value : was;
      let record = note.records.find((one) => one.key === key);
      if (!record) note.records.push((record = { key, base, mine: base }));
      record.mine = fold(record.mine, changes.filter((_, index) => sent.keys[index] === key));
      const there = records.find(({ collection, id }) => `${collection} ${id}` === key);
      if (!there) return;
      if (there.deleted) record.theirs = null;
      else if (there.theirs !== undefined) record.theirs = JSON.stringify(there.theirs);
      if (there.version !== undefined) record.version = there.version;
    });
    note.changes.push(...textsOf(sent));
    if ("n" in note) await tx.notes.put(note);
    else this.added_.push(await tx.notes.add(note));
    if (globalThis.__PLANTED__ !== "no after") await this.follow_(sent.keys, conflict);
  }

  async note_(note: NewNote): Promise<void> {
    this.added_.push(await this.tx_.notes.add(note));
  }

  /** Takes a mutation away; what waited for it in another space is given up, and that is told. */
  async remove_(sent: SentRow): Promise<void> {
    const { tx_: tx, row_: row } = this;
    for (const key of sent.keys) this.touched_.add(key);
    await tx.sent.delete(row.space, [sent.n]);
    for (const other of await this.waitingFor_(sent)) {
      await tx.outbox.delete([other.seq]);
      await this.note_({ kind: "rejected", space: other.space, code: "move", detail: "", changes: textsOf(other) });
      // The new place first, so that the row can go back to its old one.
      await refold(tx, row.space, sent.keys);
      await refold(tx, other.space, other.keys);
    }
  }

  async waitingFor_(sent: SentRow): Promise<OutboxRow[]> {
    this.waiting_ ??= await this.tx_.outbox.waiting(this.row_.space);
    const found = this.waiting_.filter(({ waits, keys }) => waits && sent.txs.includes(waits.tx) && keys.some((key) => sent.keys.includes(key)));
    // Whatever becomes of them, they wait no longer.
    this.waiting_ = this.waiting_.filter((one) => !found.includes(one));
    return found;
  }

  /** What is queued on the records of a conflict was made behind it, and says so. */
  async follow_(keys: Key[], conflict: string): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const queued = await tx.outbox.touching(row.space, keys.filter(Boolean));
    if (queued.length > 0) await tx.outbox.put(queued.map((one) => ({ ...one, after: merged(one.after, [conflict]) })));
    const sent = (await this.open_()).filter((one) => one.keys.some((key) => key !== "" && keys.includes(key)));
    if (sent.length > 0) await tx.sent.put(sent.map((one) => ({ ...one, after: merged(one.after, [conflict]) })));
  }

  /** Edits of a record whose creation was rejected have nothing to rest on: they are taken back with it. */
  async takeBackOrphans_(sent: SentRow): Promise<void> {
    const { tx_: tx, row_: row } = this;
    const keys = [...new Set(sent.keys)].filter(Boolean);
    const bases = await tx.base.get(row.space, keys);
    const orphans = keys.filter((_, at) => bases[at]?.value === null);
    for (const one of await tx.outbox.touching(row.space, orphans)) {
      const stays = (change: Change, at: number) => {
        const key = one.keys[at] as Key;
        if (!orphans.includes(key)) return true;
        // What makes the record anew is no orphan, and neither is what follows it.
        if (change.op === "put" || "orPut" in change) orphans.splice(orphans.indexOf(key), 1);
        return !orphans.includes(key);
      };
      const isStaying = changesOf(one).map(stays);
      const changes = one.changes.filter((_, at) => !isStaying[at]);
      if (changes.length === 0) continue;
      const rest = { changes: one.changes.filter((_, at) => isStaying[at]), keys: one.keys.filter((_, at) => isStaying[at]) };
      if (rest.keys.length > 0) await tx.outbox.put([{ ...one, ...rest }]);
      else await tx.outbox.delete([one.seq]);
      await this.note_({ kind: "rejected", space: row.space, code: "parent", detail: "", changes });
    }
  }

  async notesOf_(changes: Change[]): Promise<ConflictNote[]> {
    const ids = (changes as unknown as { conflict?: string }[]).map(({ conflict }) => conflict);
    const notes = await this.tx_.notes.list(this.row_.space);
    return notes.filter((note) => note.kind === "conflict").filter((note) => ids.includes(note.conflict));
  }

  async closeConflicts_(changes: Change[]): Promise<void> {
    await this.tx_.notes.delete((await this.notesOf_(changes)).map(({ n }) => n));
  }

  /** A resolution that was not applied: the conflict is open still, or was closed by somebody else. */
  async reopenConflicts_(changes: Change[], code: string): Promise<void> {
    if (code === "not_found") return this.closeConflicts_(changes);
    for (const { resolving: _, ...note } of await this.notesOf_(changes)) await this.tx_.notes.put(note);
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
    for (const key of touched) this.touched_.add(key);
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
    await this.flush_();
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
