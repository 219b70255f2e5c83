// Rows that stand in a synced table and of which capture has not heard, uploaded by hand: written by an old build of the app, or by
// an import, past this package.
//
// A device keeps no copy of what is synced beside the app's rows, so only the server can say which rows are others there. Its state is
// pulled page by page and compared; what differs is kept until the end, because a later page may bring a record anew. Then both are
// brought to one version, where the difference is exactly what was written past capture, and that is written down as capture would
// have. Nothing here needs the lead: sync goes on, and a tab that adopts the same table finds the edits of this one.

import { decode } from "../../core/src/codec.ts";
import type { Line } from "../../core/src/records.ts";
import { type Answer, pullBody, type Request } from "../../core/src/requests.ts";
import { idOf, type Key, keyOf, type Load, type Position, type SpaceId, type Text } from "../../core/src/store.ts";
import { type Draft, encodeRow, outboxRows } from "./edits.ts";
import { BusyError, RefusedError, SchemaError, SpaceError } from "./errors.ts";
import { isSame } from "./existing.ts";
import type { Key as RowKey } from "./keys.ts";
import type { Decider } from "./notes.ts";
import { PRIVATE, type Row, type Synced } from "./schema.ts";
import type { DexieTx } from "./transaction.ts";

export interface Adopted {
  /** Rows that the server did not have, and rows that it had otherwise. They are in the outbox now. */
  created: number;
  changed: number;
  /** Rows that cannot be synced, and why. */
  refused: { key: unknown; error: unknown }[];
}

export interface AdoptOptions extends Decider {
  /** Asks the server, beside what the leader asks. */
  ask: (request: Request) => Promise<Answer>;
  /** Fulfilled when everything is pushed, and what the coordinator has now is here. */
  upToDate: () => Promise<void>;
  /** Whether a space is synced on this device. */
  isOpen: (space: SpaceId) => boolean;
}

/** Rows that are read, or written down, in one transaction. */
const CHUNK = 500;
/** Characters of the server's values that are kept at a time. What is more takes another round. */
const KEPT_MAX = 16 << 20;
/** So often sync may overtake a comparison before it is given up. */
const OVERTAKEN_MAX = 20;

/**
 * Rejects with `SchemaError` for a table that is not synced, as `upToDate` does, with `RefusedError` where the server refuses, and with
 * `BusyError`. What was adopted by then is adopted.
 */
export async function adopt(options: AdoptOptions, name: string): Promise<Adopted> {
  const table = options.tables.get(name);
  if (!table) throw new SchemaError(`"${name}" cannot be adopted: it is not a synced table. Name it in \`collections\`.`);
  const told: Adopted = { created: 0, changed: 0, refused: [] };
  for (let isMore = true; isMore; ) {
    const before = told.created + told.changed;
    isMore = false;
    await options.upToDate();
    const { spaces, refused } = await scan(options, table);
    told.refused = refused;
    for (const [space, keys] of spaces) {
      const adoption = new Adoption(options, table, space, keys, told);
      await adoption.run();
      isMore ||= adoption.isMore;
    }
    // What cannot be adopted now would be found for ever.
    isMore &&= told.created + told.changed > before;
  }
  return told;
}

/** The keys of the rows that can sync, by the spaces that they name. */
async function scan({ store, isOpen }: AdoptOptions, table: Synced): Promise<{ spaces: Map<SpaceId, Set<Key>>; refused: Adopted["refused"] }> {
  const spaces = new Map<SpaceId, Set<Key>>();
  const refused: Adopted["refused"] = [];
  const sort = ([key, row]: [unknown, Row]): void => {
    try {
      const id = table.idOf(key);
      const space = table.spaceOf(row);
      if (!isOpen(space)) throw new SpaceError(table.name, table.spaceProperty as string, "a space that is open on this device");
      encodeRow(table, id, row);
      spaces.set(space, (spaces.get(space) ?? new Set()).add(keyOf(table.name, id)));
    } catch (error) {
      refused.push({ key, error });
    }
  };
  for (let last: unknown, isLast = false; !isLast; ) {
    const rows = await store.edit((tx) => tx.rows.scan(table, last, CHUNK));
    rows.forEach(sort);
    last = rows.at(-1)?.[0];
    isLast = rows.length < CHUNK;
  }
  return { spaces, refused };
}

interface PullAnswer extends Position {
  reset: boolean;
  more: boolean;
  cursor: string | null;
  changes: Line[];
}

/** One table's rows in one space. */
class Adoption {
  readonly #options: AdoptOptions;
  readonly #table: Synced;
  readonly #space: SpaceId;
  readonly #told: Adopted;
  /** The records that the server does not have, as far as it has been asked: some of them have rows here. */
  readonly #absent: Set<Key>;
  /** What the server has of the records that differ here. */
  readonly #different = new Map<Key, Text>();
  #kept = 0;
  /** Where the server stood when it was asked last. */
  #position: Position | null = null;
  /** Not all that differs found room. */
  isMore = false;

  constructor(options: AdoptOptions, table: Synced, space: SpaceId, keys: Set<Key>, told: Adopted) {
    [this.#options, this.#table, this.#space, this.#absent, this.#told] = [options, table, space, keys, told];
  }

  async run(): Promise<void> {
    await this.#pull(null);
    for (let overtaken = 0; this.#absent.size + this.#different.size > 0; ) {
      const keys = [...this.#different.keys(), ...this.#absent].slice(0, CHUNK);
      const min = await this.#options.store.edit((tx) => this.#write(tx, keys));
      if (min === "written") {
        for (const key of keys) [this.#different, this.#absent].forEach((all) => all.delete(key));
        overtaken = 0;
      } else if ((overtaken += 1) > OVERTAKEN_MAX) throw new BusyError(this.#table.name);
      else await (min ? this.#pull(min) : this.#options.upToDate());
    }
  }

  async #ask(request: Pick<Request, "kind" | "body"> & Partial<Request>): Promise<NonNullable<Answer["body"]>> {
    const { status, body } = await this.#options.ask({ space: this.#space, isStream: false, ...request });
    if (status !== 200 || !body) throw new RefusedError(status, body?.code ?? "upstream", body?.detail ?? "not an answer of Headwater");
    return body;
  }

  /** Takes what has changed on the server since it was asked last, everything at first. */
  async #pull(min: Position | null): Promise<void> {
    const position = this.#position;
    const grant = this.#space === PRIVATE ? {} : { grant: String((await this.#ask({ kind: "grant", body: "" }))["grant"]) };
    for (let cursor: string | null = null, isFirst = true; isFirst || cursor !== null; isFirst = false) {
      const load = { cursor, since: position?.version ?? 0 } as Load;
      const page = (await this.#ask({ kind: "pull", body: pullBody({ position, load }, min, false), ...grant })) as unknown as PullAnswer;
      // Another history has begun, or too much has happened.
      if (page.reset && (position || !isFirst)) throw new BusyError(this.#table.name);
      await this.#compare(page.changes.filter(({ collection }) => collection === this.#table.name));
      this.#position = { epoch: page.epoch, version: page.version };
      cursor = page.more ? page.cursor : null;
    }
  }

  async #compare(lines: Line[]): Promise<void> {
    const keys = lines.map(({ id }) => keyOf(this.#table.name, id));
    const rows = keys.length > 0 ? await this.#options.store.edit((tx) => tx.rows.get(this.#space, keys)) : [];
    lines.forEach(({ value, deleted }, i) => {
      const [key, row = null] = [keys[i] as Key, rows[i]];
      this.#kept -= this.#different.get(key)?.length ?? 0;
      this.#different.delete(key);
      if (deleted) this.#absent.add(key);
      else this.#absent.delete(key);
      const text = JSON.stringify(value);
      // A row that is gone stays so, here and there.
      if (deleted || row === null || isSame(row, text)) return;
      if (this.#kept + text.length > KEPT_MAX) this.isMore = true;
      else {
        this.#different.set(key, text);
        this.#kept += text.length;
      }
    });
  }

  /**
   * Writes down what was written past capture, if this device stands where the server stood: then its rows are the server's records but
   * for that. Else gives where the device stands, or null if it is behind.
   */
  async #write(tx: DexieTx, keys: Key[]): Promise<"written" | Position | null> {
    const row = await tx.spaces.get(this.#space);
    const { epoch, version } = this.#position as Position;
    if (!row?.position || row.load || row.position.epoch !== epoch || row.position.version < version) return null;
    if (row.position.version > version && globalThis.__PLANTED__ !== "adopted from behind") return row.position;
    const [rows, bases] = [await tx.rows.get(this.#space, keys), await tx.base.get(this.#space, keys)];
    // What has a base has pending edits: it is known to differ.
    const drafts = keys.flatMap((key, i) => (typeof rows[i] === "string" && !bases[i] ? [this.#draft(key, rows[i])] : []));
    const { newTransaction, now } = this.#options;
    const captured = (all: Draft[]) =>
      outboxRows(this.#table, all, { tx: newTransaction(), at: now(), unsynced: false, known: new Map([[this.#space, row]]) });
    const creations = drafts.filter(({ old }) => !old);
    // A conflict parks all of one mutation, so each row that differs is one.
    const changes = drafts.filter(({ old }) => old).flatMap((draft) => captured([draft]));
    await tx.outbox.add([...captured(creations), ...changes]);
    this.#told.created += creations.length;
    this.#told.changed += changes.length;
    return "written";
  }

  #draft(key: Key, text: Text): Draft {
    const id = idOf(key);
    const rowOf = (text: Text): Row => this.#table.toRow(decode(text) as Row, this.#table.keyOf(id) as RowKey, this.#space);
    const row = rowOf(text);
    const there = this.#different.get(key);
    return { id, old: there === undefined ? undefined : rowOf(there), row, value: encodeRow(this.#table, id, row), refined: [] };
  }
}
