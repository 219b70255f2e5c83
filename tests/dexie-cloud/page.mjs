// What the pages of these tests have: a database that syncs by the addon, and the cases that play a whole life of one.

import { Dexie, add, remove, replacePrefix } from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { openCloud } from "./open.mjs";
import { CASES } from "./upstream.mjs";

// For the functions that tests send here.
Object.assign(window, { Dexie, dexieCloud, add, remove, replacePrefix });

// `hw.db` is what a page uses whose policy forbids `run`.
export let db = null;

export async function open(settings) {
  db?.close();
  db = await openCloud(settings);
}

/** Calls a function, given as text, with the database. */
export const run = (text, args) => (0, eval)(`(${text})`)(db, ...args);

/** Plays a case, and gives what it saw. */
export const play = (name, url, user) => CASES[name](url, user);
