// A way back into the zone of a Dexie transaction.
//
// Dexie keeps the present transaction in a zone, and its layers ask for it: the query cache does at each request. Zones follow Dexie's
// own promises surely, and native ones as far as Dexie can guess, which fails where a transaction's code awaits what was begun elsewhere.
// So the core's code runs outside of the zone, and every request is carried into it by a promise of Dexie's that was made there.

import { type DBCoreTable, Dexie } from "dexie";

export class Zone {
  #jobs: (() => void)[] = [];
  #wake: () => void = () => {};

  /** To be made in the zone that it leads to. */
  constructor() {
    this.#arm();
  }

  #arm(): void {
    const woken = new Dexie.Promise<void>((resolve) => {
      this.#wake = () => resolve();
    });
    // What follows on a promise runs in the zone in which it was asked to follow: in this one.
    woken.then(() => {
      const jobs = this.#jobs;
      this.#jobs = [];
      this.#arm();
      for (const job of jobs) job();
    });
  }

  run<T>(ask: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#jobs.push(() => {
        try {
          ask().then(resolve, reject);
        } catch (error) {
          reject(error);
        }
      });
      this.#wake();
    });
  }

  /** The table, each of the requests of our stores in the zone. */
  table(table: DBCoreTable): DBCoreTable {
    return {
      ...table,
      mutate: (request) => this.run(() => table.mutate(request)),
      getMany: (request) => this.run(() => table.getMany(request)),
      query: (request) => this.run(() => table.query(request)),
    };
  }
}
