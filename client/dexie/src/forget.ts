// Emptying the device of what was synced.

import type { LeaderRow } from "./leader.ts";
import { type DexieStore, LEADER } from "./store.ts";
import type { DexieTx } from "./transaction.ts";
import { STORE_NAMES, type Synced } from "./schema.ts";

/** There are edits that the server has not settled: forgetting would lose them. */
export class UnsentError extends Error {
  override readonly name = "UnsentError";
  readonly pending: number;
  constructor(pending: number) {
    super(`${pending} edits have not been synced: forget({ evenUnsent: true }) loses them.`);
    this.pending = pending;
  }
}

/** Rejects with `UnsentError`, and then nothing was forgotten. */
export function forget(store: DexieStore, tables: ReadonlyMap<string, Synced>, evenUnsent: boolean): Promise<void> {
  return store.edit(async (tx) => {
    const unsettled = (await tx.stores.sent.list()).filter(({ settled }) => !settled).length;
    const pending = unsettled + (await tx.outbox.list()).length;
    if (pending > 0 && !evenUnsent) throw new UnsentError(pending);
    const leader = (await tx.meta.get(LEADER)) as LeaderRow | undefined;
    for (const name of [...tables.keys(), ...STORE_NAMES]) await tx.clear(name);
    // A leader of another tab finds its term over, and writes nothing into the emptied stores.
    if (leader) await tx.meta.put(LEADER, { ...leader, term: leader.term + 1 });
  });
}

/** Takes a shared space off the device, with its rows and whatever was written for it. */
export async function forgetSpace(tx: DexieTx, space: string): Promise<void> {
  for (const store of [tx.rows, tx.base, tx.extra]) await store.delete(space, await store.keys(space));
  await tx.outbox.delete((await tx.outbox.list(space)).map(({ seq }) => seq));
  await tx.sent.delete(space, (await tx.sent.list(space)).map(({ n }) => n));
  await tx.notes.delete((await tx.notes.list(space)).map(({ n }) => n));
  await tx.spaces.delete(space);
}
