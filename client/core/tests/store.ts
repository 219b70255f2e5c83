// A store in memory: sorted lists of rows, and for each transaction a list of how to undo it.

import {
  type BaseRow,
  collectionOf,
  type ExtraRow,
  type NoteRow,
  type OutboxRow,
  type Scope,
  type SentRow,
  type SpaceRow,
  type Store,
  TermOver,
  type Text,
  type Tx,
  type Why,
} from "../src/store.ts";

class Table<Row> {
  rows = new Map<string, Row>();
  undo: () => (() => void)[];
  constructor(undo: () => (() => void)[]) {
    this.undo = undo;
  }
  get(key: string): Row | undefined {
    const row = this.rows.get(key);
    return row === undefined ? undefined : structuredClone(row);
  }
  set(key: string, row: Row | undefined): void {
    const before = this.rows.get(key);
    this.undo().push(() => (before === undefined ? this.rows.delete(key) : this.rows.set(key, before)));
    if (row === undefined) this.rows.delete(key);
    else this.rows.set(key, structuredClone(row));
  }
  all(): Row[] {
    return [...this.rows.values()].map((row) => structuredClone(row));
  }
}

/** A row of the app: which space it belongs to, and its value. */
interface AppRow {
  space: string;
  value: Text;
}

const of = (space: string, key: string | number) => `${space}\n${key}`;

export class MemoryStore implements Store {
  term = 1;
  undoList: (() => void)[] = [];
  turn: Promise<unknown> = Promise.resolve();
  seq = 0;
  noteN = 0;
  #undo = () => this.undoList;
  outbox = new Table<OutboxRow>(this.#undo);
  sent = new Table<SentRow>(this.#undo);
  base = new Table<BaseRow>(this.#undo);
  extra = new Table<ExtraRow>(this.#undo);
  spaces = new Table<SpaceRow>(this.#undo);
  marks = new Table<string[]>(this.#undo);
  notes = new Table<NoteRow>(this.#undo);
  meta = new Table<{ value: unknown }>(this.#undo);
  rows = new Table<AppRow>(this.#undo);
  /** Thrown at the next commit. */
  failure: Error | null = null;
  commits = 0;
  /** The tables of this version of the app. */
  tables: Set<string> | null = null;
  /** The field that is a unique index, in every table. */
  unique: string | null = null;

  async commit<T>(term: number, _scope: Scope, body: (tx: Tx) => Promise<T>): Promise<T> {
    const run = async () => {
      if (this.failure) {
        const { failure } = this;
        this.failure = null;
        throw failure;
      }
      if (term !== this.term && globalThis.__PLANTED__ !== "no term") throw new TermOver();
      this.commits += 1;
      this.undoList = [];
      try {
        return await body(this.tx());
      } catch (error) {
        for (const undo of this.undoList.reverse()) undo();
        throw error;
      }
    };
    const result = this.turn.then(run);
    this.turn = result.catch(() => {});
    return result;
  }

  /** The rows of one space, for comparison: key and value, sorted. */
  state(space: string): [string, unknown][] {
    const rows = [...this.rows.rows].filter(([, row]) => row.space === space).map(([key, { value }]) => [key, value] as const);
    const extra = [...this.extra.rows.values()].filter((row) => row.space === space).map(({ key, value }) => [key, value] as const);
    return [...rows, ...extra].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, JSON.parse(value)]);
  }

  #place(space: string, key: string, value: Text): Why | null {
    if (this.tables && !this.tables.has(collectionOf(key))) return "unknown";
    const there = this.rows.get(key);
    if (there && there.space !== space) return "taken";
    const { unique } = this;
    if (!unique) return null;
    const wanted = JSON.parse(value)[unique];
    if (wanted === undefined) return null;
    for (const [other, row] of this.rows.rows) {
      if (other !== key && collectionOf(other) === collectionOf(key) && JSON.parse(row.value)[unique] === wanted) return "unique";
    }
    return null;
  }

  tx(): Tx {
    const { outbox, sent, base, extra, spaces, marks, notes, meta, rows } = this;
    return {
      outbox: {
        list: async (space) => outbox.all().filter((row) => !space || row.space === space).sort((a, b) => a.seq - b.seq),
        last: async () => this.seq,
        add: async (list) =>
          list.map((row) => {
            this.seq += 1;
            outbox.set(String(this.seq), { ...row, seq: this.seq });
            return this.seq;
          }),
        put: async (list) => list.forEach((row) => outbox.set(String(row.seq), row)),
        delete: async (seqs) => seqs.forEach((seq) => outbox.set(String(seq), undefined)),
      },
      sent: {
        list: async (space) => sent.all().filter((row) => row.space === space).sort((a, b) => a.n - b.n),
        put: async (list) => list.forEach((row) => sent.set(of(row.space, row.n), row)),
        delete: async (space, ns) => ns.forEach((n) => sent.set(of(space, n), undefined)),
      },
      base: {
        get: async (space, keys) => keys.map((key) => base.get(of(space, key))),
        keys: async (space) => base.all().filter((row) => row.space === space).map(({ key }) => key).sort(),
        put: async (list) => list.forEach((row) => base.set(of(row.space, row.key), row)),
        delete: async (space, keys) => keys.forEach((key) => base.set(of(space, key), undefined)),
      },
      extra: {
        get: async (space, keys) => keys.map((key) => extra.get(of(space, key))),
        keys: async (space) => extra.all().filter((row) => row.space === space).map(({ key }) => key).sort(),
        waiting: async (collections) =>
          extra.all().filter(({ why, key }) => why !== "unknown" && collections.includes(collectionOf(key))),
        put: async (list) => list.forEach((row) => extra.set(of(row.space, row.key), row)),
        delete: async (space, keys) => keys.forEach((key) => extra.set(of(space, key), undefined)),
      },
      spaces: {
        get: async (space) => spaces.get(space),
        list: async () => spaces.all(),
        put: async (row) => spaces.set(row.space, row),
        delete: async (space) => spaces.set(space, undefined),
      },
      marks: {
        add: async (load, keys) => marks.set(load, [...(marks.get(load) ?? []), ...keys]),
        all: async (load) => marks.get(load) ?? [],
        clear: async (load) => marks.set(load, undefined),
      },
      notes: {
        list: async (space) => notes.all().filter((note) => !space || note.space === space).sort((a, b) => a.n - b.n),
        add: async (note) => {
          this.noteN += 1;
          notes.set(String(this.noteN), { ...note, n: this.noteN } as NoteRow);
          return this.noteN;
        },
        put: async (note) => notes.set(String(note.n), note),
        delete: async (ns) => ns.forEach((n) => notes.set(String(n), undefined)),
      },
      meta: {
        get: async (key) => meta.get(key)?.value,
        put: async (key, value) => meta.set(key, { value }),
      },
      rows: {
        get: async (space, keys) => keys.map((key) => (rows.get(key)?.space === space ? (rows.get(key)?.value ?? null) : null)),
        put: async (space, list) =>
          list.flatMap(({ key, value }) => {
            const why = this.#place(space, key, value);
            if (why === null) rows.set(key, { space, value });
            else if (rows.get(key)?.space === space) rows.set(key, undefined);
            return why ? [{ key, why }] : [];
          }),
        delete: async (space, keys) => keys.forEach((key) => rows.get(key)?.space === space && rows.set(key, undefined)),
        keys: async (space) => [...rows.rows].filter(([, row]) => row.space === space).map(([key]) => key).sort(),
      },
    };
  }
}
