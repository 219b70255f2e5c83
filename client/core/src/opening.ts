/** The row of a space: made when a leader first opens it, and what holds it. */

import { pendingOf } from "./records.ts";
import type { Held, SpaceRow, Tx } from "./store.ts";
import type { Stored } from "./load.ts";

export interface Opened extends Stored {
  /** Mutations may have reached the server, and nothing is known of them. */
  hasTried: boolean;
}

/** The row of the space; a database that has none is a new client. */
export async function openSpace(tx: Tx, space: string, user: string, client: string): Promise<Opened> {
  let row = await tx.spaces.get(space);
  if (!row) {
    const kept = globalThis.__PLANTED__ === "client id kept" ? ((await tx.meta.get("client")) as string) : client;
    row = { space, user, position: null, client: kept, next: 1, nextN: 1, acked: 0, load: null, min: null, held: null };
    await tx.spaces.put(row);
  }
  const hasTried = (await tx.sent.list(space)).some(({ settled, tried }) => tried && !settled);
  return { row, pending: await pendingOf(tx, space), hasTried };
}

export async function hold(tx: Tx, space: string, held: Held | null): Promise<Stored> {
  const row = (await tx.spaces.get(space)) as SpaceRow;
  row.held = held;
  await tx.spaces.put(row);
  return { row, pending: await pendingOf(tx, space) };
}
