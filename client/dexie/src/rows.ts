// Rows as they stand in the database, where they hold more than the core's store knows of.

import type { NewOutboxRow, Text } from "../../core/src/store.ts";

/**
 * What capture writes. Beside what the core reads it holds the text of each record's value before the change, aligned with
 * `changes`; null where there was no synced copy. The store makes `base` rows of them at the beginning of its next transaction, in
 * the order of the outbox, where the record has none: so the first pending edit of a record says what its synced state is, and the
 * app's own transaction writes one row of ours and not one more for each record.
 */
export interface CapturedRow extends NewOutboxRow {
  /** Given by the database. */
  seq?: number;
  before: (Text | null)[];
  /** Written by an upgrade of the schema or by `populate`. */
  upgrade?: true;
}
