// The object's storage.

// All rows as arrays of cells, then how many rows SQLite read and wrote: those two are what storage is billed by.
export function query(sql, text, params) {
  const cursor = sql.exec(text, ...params);
  const rows = [...cursor.raw()];
  return [rows, cursor.rowsRead, cursor.rowsWritten];
}

// Joins the first column, a line break after each row, until the text is longer than `limit` characters.
// Returns the text, whether rows were left over, and the two counters of `query`.
export function text(sql, text, params, limit) {
  const cursor = sql.exec(text, ...params);
  const rows = cursor.raw();
  let out = "";
  let next = rows.next();
  while (!next.done && out.length <= limit) {
    out += next.value[0] + "\n";
    next = rows.next();
  }
  return [out, !next.done, cursor.rowsRead, cursor.rowsWritten];
}

// When the next slice of pushes may be settled. All who wait meanwhile wait for the same promise, and one of them settles it.
export class Group {
  constructor(storage) {
    this.storage = storage;
    this.next = null;
    this.durable = null;
  }
  // Once the transaction before it is durable, so that pushes gather; or, if none is under way, or a long push is, which waits
  // for nobody, when the events that are ready have run.
  ready(isUnderWay) {
    this.next ??= (isUnderWay ? scheduler.wait(0) : (this.durable ?? scheduler.wait(0))).finally(() => {
      this.next = null;
    });
    return this.next;
  }
  committed() {
    const durable = this.storage.sync().finally(() => {
      if (this.durable === durable) this.durable = null;
    });
    // Whoever waits for it is told; the platform itself breaks the object when a write cannot be made durable.
    durable.catch(() => {});
    this.durable = durable;
  }
}
