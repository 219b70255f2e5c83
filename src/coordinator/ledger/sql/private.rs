//! Private rows, which no reader of a space ever sees: one table for all kinds.

use super::{
    Sql,
    row::{Row, all, first, run, size, text},
};
use crate::coordinator::ledger::LedgerResult;

pub(super) const TABLE: &str = "CREATE TABLE private (kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, \
     PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID";

pub(super) const PRIVATE: &str = "SELECT text FROM private WHERE kind = ?1 AND key = ?2";
pub(super) const PRIVATE_ROWS: &str =
    "SELECT key, text FROM private WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
pub(super) const PUT_PRIVATE: &str = "INSERT INTO private (kind, key, text) VALUES (?1, ?2, ?3) \
     ON CONFLICT (kind, key) DO UPDATE SET text = excluded.text";
pub(super) const DELETE_PRIVATE: &str = "DELETE FROM private WHERE kind = ?1 AND key = ?2";

pub(super) fn read(sql: &impl Sql, kind: &str, key: &str) -> LedgerResult<Option<String>> {
    first(sql, PRIVATE, &[text(kind), text(key)], Row::text)
}

pub(super) fn list(
    sql: &impl Sql,
    kind: &str,
    after: &str,
    count: usize,
) -> LedgerResult<Vec<(String, String)>> {
    let params = [text(kind), text(after), size(count)];
    all(sql, PRIVATE_ROWS, &params, |row| Ok((row.text()?, row.text()?)))
}

pub(super) fn write(sql: &impl Sql, kind: &str, key: &str, value: &str) -> LedgerResult<()> {
    run(sql, PUT_PRIVATE, &[text(kind), text(key), text(value)])
}

pub(super) fn delete(sql: &impl Sql, kind: &str, key: &str) -> LedgerResult<()> {
    run(sql, DELETE_PRIVATE, &[text(kind), text(key)])
}
