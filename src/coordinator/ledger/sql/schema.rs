//! The tables of a database, and how an object gets them.

use super::{
    Sql, clients, conflicts, meta, private, records,
    row::{only, run, size},
};
use crate::coordinator::ledger::{LedgerError, LedgerResult};

/// The statements that lead from each schema version to the next. Objects in the field have run some of them, so they
/// are only ever added to. Columns are named in every statement, so that an added one disturbs none.
///
/// Percentages of a deployment give some objects to newer code and may give them back, and so does a rollback. So a step only
/// adds tables, indexes, and columns with a default that is right where older code has replaced the row.
///
/// Tables of many rows are WITHOUT ROWID, because a key in an index of its own is one more row written each time.
pub(super) const MIGRATIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, \
     oldest INTEGER NOT NULL) STRICT",
        meta::TABLE,
        records::TABLE,
        records::BY_VERSION,
        records::DELETIONS_BY_VERSION,
        clients::TABLE,
        conflicts::TABLE,
        conflicts::CHANGES_TABLE,
        private::TABLE,
    ],
    &[clients::WITH_USAGE],
];

/// The oldest schema version whose code may still write to a database of the present one. A step that does more than add
/// raises it, and takes the way back.
pub(super) const OLDEST: usize = 1;

// Asked first because reading a table that is missing is an error. `CREATE … IF NOT EXISTS` would not need to ask, but
// it counts as a write even where it does nothing, and an object that only reads must not begin to write.
const HAS_SCHEMA: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
const SCHEMA_VERSION: &str = "SELECT version, oldest FROM schema_version";
const PUT_SCHEMA_VERSION: &str =
    "INSERT OR REPLACE INTO schema_version (one, version, oldest) VALUES (1, ?1, ?2)";

/// Whether a database has its tables.
pub(super) fn is_there(sql: &impl Sql) -> LedgerResult<bool> {
    Ok(!sql.query(HAS_SCHEMA, &[])?.is_empty())
}

/// Runs those of `migrations` that a database lacks, all or none. Nothing is written if it lacks none, or if newer code has
/// migrated it that lets code of these write.
pub(super) fn bring_up_to_date(sql: &impl Sql, migrations: &[&[&str]], oldest: usize) -> LedgerResult<()> {
    let (present, oldest_there) = match is_there(sql)? {
        true => only(sql, SCHEMA_VERSION, &[], |row| Ok((row.size()?, row.size()?)))?,
        false => (0, 0),
    };
    if migrations.len() < oldest_there {
        return Err(LedgerError::Failed(format!("schema version {present} is newer than this code")));
    }
    let missing = migrations.get(present..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    sql.atomically(&mut || {
        missing.iter().copied().flatten().try_for_each(|statement| run(sql, statement, &[]))?;
        run(sql, PUT_SCHEMA_VERSION, &[size(migrations.len()), size(oldest)])
    })
}
