//! What a shared space keeps beside its records: whose homes have to be told. And what is left of a deleted one.

use super::{Row, Sql, SqlLedger, size, text, unexpected};
use crate::{
    coordinator::ledger::{LedgerResult, Untold, value_of},
    ids::{Collection, Key, RecordId, SpaceHash, UserHash},
};

/// The index is partial, so that asking whether anybody has to be told reads nothing where nobody has.
pub(super) const MIGRATION: &[&str] = &[
    "ALTER TABLE meta ADD COLUMN space TEXT",
    "ALTER TABLE meta ADD COLUMN gone_at INTEGER",
    "CREATE TABLE members (user TEXT NOT NULL, home TEXT NOT NULL, untold INTEGER NOT NULL, \
     PRIMARY KEY (user)) STRICT, WITHOUT ROWID",
    "CREATE INDEX members_untold ON members (user) WHERE untold > 0",
];

pub(in super::super) const RECORDS_OF: &str = "SELECT id, line FROM records \
     WHERE collection = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3";
pub(in super::super) const COUNT_OF: &str =
    "SELECT count(*) FROM records WHERE collection = ?1 AND +deleted_at IS NULL";
pub(super) const PUT_MEMBER: &str = "INSERT INTO members (user, home, untold) VALUES (?1, ?2, ?3) \
     ON CONFLICT (user) DO UPDATE SET home = excluded.home, untold = excluded.untold";
pub(in super::super) const UNTOLD: &str =
    "SELECT user, home, untold FROM members WHERE untold > 0 AND user > ?1 ORDER BY user LIMIT 1";
pub(super) const WAS_TOLD: &str = "UPDATE members SET untold = 0 WHERE user = ?1 AND untold = ?2";
pub(super) const TELL_ALL: &str = "UPDATE members SET untold = ?1 WHERE user IN \
     (SELECT id FROM records WHERE collection = '$members' AND deleted_at IS NULL)";
// Without a condition, so that SQLite drops the pages and does not visit the rows.
pub(super) const ERASE_RECORDS: &str = "DELETE FROM records";
pub(super) const ERASE_CLIENTS: &str = "DELETE FROM clients";

impl<S: Sql> SqlLedger<S> {
    pub(super) fn live_records(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>> {
        // No id is empty, so an empty one comes before all others.
        let after = after.map_or("", RecordId::as_str);
        let rows = self.sql.query(RECORDS_OF, &[text(collection.as_str()), text(after), size(count)])?;
        let read = |columns: Vec<_>| {
            let mut row = Row(columns.into_iter());
            let key = Key { collection: collection.clone(), id: RecordId::stored(&row.text()?) };
            let line = row.text()?;
            let value = value_of(&line, &key).to_owned();
            Ok((key.id, value))
        };
        rows.into_iter().map(read).collect()
    }

    pub(super) fn next_untold(&self, after: Option<&UserHash>) -> LedgerResult<Option<Untold>> {
        let Some(mut row) = self.row(UNTOLD, &[text(after.map_or("", UserHash::as_str))])? else {
            return Ok(None);
        };
        let user = UserHash::parse(&row.text()?).map_err(|_| unexpected())?;
        let home = SpaceHash::parse(&row.text()?).map_err(|_| unexpected())?;
        Ok(Some(Untold { user, home, version: row.version()? }))
    }
}
