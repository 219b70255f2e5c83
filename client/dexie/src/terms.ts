// The leader's row, in the database.

import type { Dexie } from "dexie";
import type { LeaderRow, Terms } from "./leader.ts";
import { LEADER } from "./store.ts";

export function dexieTerms(db: Dexie): Terms {
  const meta = db.table<{ key: string; value: LeaderRow }>("_hw_meta");
  return {
    change: (change) => db.transaction("rw!", meta, async () => {
      const row = (await meta.get(LEADER))?.value;
      const changed = change(row);
      if (changed) await meta.put({ key: LEADER, value: changed });
      return changed ?? row;
    }),
  };
}
