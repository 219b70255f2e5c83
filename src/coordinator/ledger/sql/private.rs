//! Private rows, which no reader of a space ever sees: one table for all kinds.

use super::{
    Sql, SqlLedger,
    row::{Row, all, first, run, size, text},
};
use crate::coordinator::ledger::{LedgerResult, PrivateTable};

pub(super) const TABLE: &str = "CREATE TABLE private (kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, \
     PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID";

pub(super) const PRIVATE: &str = "SELECT text FROM private WHERE kind = ?1 AND key = ?2";
pub(super) const PRIVATE_ROWS: &str =
    "SELECT key, text FROM private WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
pub(super) const PUT_PRIVATE: &str = "INSERT INTO private (kind, key, text) VALUES (?1, ?2, ?3) \
     ON CONFLICT (kind, key) DO UPDATE SET text = excluded.text";
pub(super) const DELETE_PRIVATE: &str = "DELETE FROM private WHERE kind = ?1 AND key = ?2";

impl<S: Sql> PrivateTable for SqlLedger<S> {
    fn private(&self, kind: &str, key: &str) -> LedgerResult<Option<String>> {
        first(self.sql(), PRIVATE, &[text(kind), text(key)], Row::text)
    }

    fn private_rows(&self, kind: &str, after: &str, count: usize) -> LedgerResult<Vec<(String, String)>> {
        let params = [text(kind), text(after), size(count)];
        all(self.sql(), PRIVATE_ROWS, &params, |row| Ok((row.text()?, row.text()?)))
    }

    fn put_private(&mut self, kind: &str, key: &str, value: &str) -> LedgerResult<()> {
        run(self.sql(), PUT_PRIVATE, &[text(kind), text(key), text(value)])
    }

    fn delete_private(&mut self, kind: &str, key: &str) -> LedgerResult<()> {
        run(self.sql(), DELETE_PRIVATE, &[text(kind), text(key)])
    }
}
