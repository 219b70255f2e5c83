//! The tables of a database, and how an object gets them.

use super::{
    Sql, clients, conflicts, meta, private, records,
    row::{Row, only, run, size},
};
use crate::coordinator::ledger::{LedgerError, LedgerResult};

/// The statements that lead from each schema version to the next. Objects in the field have run some of them, so they
/// are only ever added to. Columns are named in every statement, so that an added one disturbs none.
///
/// Tables of many rows are WITHOUT ROWID, because a key in an index of its own is one more row written each time.
pub(super) const MIGRATIONS: &[&[&str]] = &[&[
    "CREATE TABLE schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL) STRICT",
    meta::TABLE,
    records::TABLE,
    records::BY_VERSION,
    records::DELETIONS_BY_VERSION,
    clients::TABLE,
    conflicts::TABLE,
    conflicts::CHANGES_TABLE,
    private::TABLE,
]];

// Asked first because reading a table that is missing is an error. `CREATE … IF NOT EXISTS` would not need to ask, but
// it counts as a write even where it does nothing, and an object that only reads must not begin to write.
const HAS_SCHEMA: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
const SCHEMA_VERSION: &str = "SELECT version FROM schema_version";
const PUT_SCHEMA_VERSION: &str = "INSERT OR REPLACE INTO schema_version (one, version) VALUES (1, ?1)";

/// Whether a database has its tables.
pub(super) fn is_there(sql: &impl Sql) -> LedgerResult<bool> {
    Ok(!sql.query(HAS_SCHEMA, &[])?.is_empty())
}

/// Runs those of `migrations` that a database lacks, all or none. Nothing is written if it lacks none.
pub(super) fn bring_up_to_date(sql: &impl Sql, migrations: &[&[&str]]) -> LedgerResult<()> {
    let present = if is_there(sql)? { only(sql, SCHEMA_VERSION, &[], Row::size)? } else { 0 };
    let Some(missing) = migrations.get(present..) else {
        return Err(LedgerError::Failed(format!("schema version {present} is newer than this code")));
    };
    if missing.is_empty() {
        return Ok(());
    }
    sql.atomically(&mut || {
        missing.iter().copied().flatten().try_for_each(|statement| run(sql, statement, &[]))?;
        run(sql, PUT_SCHEMA_VERSION, &[size(migrations.len())])
    })
}
