/** The tables of these tests: generated ids, ids of the app's own, keys of two parts. */
export const STORES = {
  items: "@id, title, n, kind",
  notes: "id, title, n, kind, realmId, *tags, [kind+n]",
  counters: "id, kind",
  pairs: "[a+b], n",
};
