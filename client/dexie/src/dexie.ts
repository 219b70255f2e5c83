// What is used of Dexie, in one import: a bundle would have one for each file.

export { cmp, Dexie, liveQuery, PropModification, rangesOverlap, RangeSet } from "dexie";
