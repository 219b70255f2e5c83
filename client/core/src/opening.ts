/** The row of a space: made when a leader first opens it, and what holds it. */

import { change, openOf, type Stored } from "./records.ts";
import type { Held, Tx } from "./store.ts";

export interface Opened extends Stored {
  /** Mutations may have reached the server, and nothing is known of them. */
  hasTried: boolean;
}

/** The row of the space; a database that has none is a new client. */
export async function openSpace(tx: Tx, space: string, user: string, client: string): Promise<Opened> {
  if (!(await tx.spaces.get(space))) {
    const kept = globalThis.__PLANTED__ === "client id kept" ? ((await tx.meta.get("client")) as string) : client;
    await tx.spaces.put({ space, user, position: null, client: kept, next: 1, nextN: 1, acked: 0, load: null, min: null, held: null });
  }
  const isEarly = (await tx.outbox.list(space)).some(({ early }) => early) && globalThis.__PLANTED__ !== "early untried";
  const hasTried = isEarly || (await openOf(tx, space)).some(({ tried }) => tried);
  return { ...(await change(tx, space, () => {})), hasTried };
}

export const hold = (tx: Tx, space: string, held: Held | null): Promise<Stored> => change(tx, space, (row) => (row.held = held));
