// The leader's row, in the database.

import type { Dexie } from "dexie";
import type { LeaderRow, Terms } from "./leader.ts";
import { LEADER } from "./store.ts";

export class DexieTerms implements Terms {
  readonly #db: Dexie;
  constructor(db: Dexie) {
    this.#db = db;
  }

  async change(change: (row: LeaderRow | undefined) => LeaderRow | null): Promise<LeaderRow | undefined> {
    const meta = this.#db.table<{ key: string; value: LeaderRow }>("_hw_meta");
    return this.#db.transaction("rw!", meta, async () => {
      const row = (await meta.get(LEADER))?.value;
      const changed = change(row);
      if (changed) await meta.put({ key: LEADER, value: changed });
      return changed ?? row;
    });
  }
}
