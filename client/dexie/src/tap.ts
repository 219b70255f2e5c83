// A place in Dexie's layers.

import type { DBCore, Middleware } from "dexie";

/** A middleware, and the core below it, which there is once the database is open. */
export function tap(name: string, level: number, layer = (core: DBCore): DBCore => core): { middleware: Middleware<DBCore>; below: () => DBCore } {
  let below: DBCore | undefined;
  const create = (core: DBCore): DBCore => layer((below = core));
  return { middleware: { stack: "dbcore", name, level, create }, below: () => below as DBCore };
}
