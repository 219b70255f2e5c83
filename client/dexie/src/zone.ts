// A way back into the zone of a Dexie transaction.
//
// Dexie keeps the present transaction in a zone, and its layers ask for it: the query cache does at each request. Zones follow Dexie's
// own promises surely, and native ones as far as Dexie can guess, which fails where a transaction's code awaits what was begun elsewhere.
// So the core's code runs outside of the zone, and every request is carried into it by a promise of Dexie's that was made there.

import { Dexie } from "./dexie.ts";

/** To be called in the zone that it leads to: what it gives makes requests there. */
export function zone(): <T>(ask: () => Promise<T>) => Promise<T> {
  let jobs: (() => void)[] = [];
  let wake = () => {};
  const arm = () => {
    const woken = new Dexie.Promise<void>((resolve) => {
      wake = () => resolve();
    });
    // What follows on a promise runs in the zone in which it was asked to follow: in this one.
    woken.then(() => {
      const due = jobs;
      jobs = [];
      arm();
      for (const job of due) job();
    });
  };
  arm();
  return (ask) =>
    new Promise((resolve, reject) => {
      jobs.push(() => {
        try {
          ask().then(resolve, reject);
        } catch (error) {
          reject(error);
        }
      });
      wake();
    });
}
