// A tab of an older version of the app, beside a newer one that has upgraded their database.
//
// Dexie closes the older one's database and opens it again for its next query. Then it may write and show what it knows, but not lead:
// what comes for tables that it does not have would stand in `_hw_extra`, and rows of them that are deleted would stay.

import type { Dexie } from "dexie";
import { PRIVATE } from "./schema.ts";
import type { Status } from "./status.ts";

/**
 * The database is of a newer version than the app. A native version is ten times the one that is declared, and some more where Dexie has
 * added what the schema had and the database had not.
 */
export const isOutdated = (db: Dexie): boolean => Math.floor(db.backendDB().version / 10) > db.verno;

const detail = "a newer version of the app has upgraded the database: reload the page";

export const outdated = (status: Status): Status => ({ ...status, phase: "held", reason: { why: "outdated", detail, space: PRIVATE } });
