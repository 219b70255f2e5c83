//! What a shared space keeps beside its records: whose homes have to be told. And what is left of a deleted one.

use super::{Row, Sql, SqlLedger, size, text, unexpected};
use crate::{
    coordinator::ledger::{LedgerResult, Untold, value_of},
    ids::{Collection, Key, RecordId, SpaceHash, UserHash},
    time::Millis,
};

/// The index is partial, so that asking whether anybody has to be told reads nothing where nobody has.
pub(super) const MIGRATION: &[&str] = &[
    "ALTER TABLE meta ADD COLUMN space TEXT",
    "ALTER TABLE meta ADD COLUMN gone_at INTEGER",
    "CREATE TABLE members (user TEXT NOT NULL, home TEXT NOT NULL, untold INTEGER NOT NULL, \
     PRIMARY KEY (user)) STRICT, WITHOUT ROWID",
    "CREATE INDEX members_untold ON members (user) WHERE untold > 0",
];

/// Whom to tell next is a queue: by the time before which a home is left alone, 0 for one that was never told anything. The
/// rows of old are of homes that may have been told. Who is no member any more and was told is forgotten.
pub(super) const QUEUE_MIGRATION: &[&str] = &[
    "ALTER TABLE members ADD COLUMN next_at INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE members ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX members_untold",
    "CREATE INDEX members_untold ON members (next_at, user) WHERE untold > 0",
    "DELETE FROM members WHERE untold = 0 AND user NOT IN \
     (SELECT id FROM records WHERE collection = '$members' AND deleted_at IS NULL)",
    "UPDATE members SET next_at = 1",
];

pub(in super::super) const RECORDS_OF: &str = "SELECT id, line FROM records \
     WHERE collection = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3";
pub(in super::super) const COUNT_OF: &str =
    "SELECT count(*) FROM records WHERE collection = ?1 AND +deleted_at IS NULL";
pub(super) const PUT_MEMBER: &str = "INSERT INTO members (user, home, untold) VALUES (?1, ?2, ?3) \
     ON CONFLICT (user) DO UPDATE SET home = excluded.home, untold = excluded.untold";
pub(super) const END_MEMBER: &str = "UPDATE members SET untold = ?2 WHERE user = ?1";
pub(super) const FORGET_NEVER_TOLD: &str = "DELETE FROM members WHERE user = ?1 AND next_at = 0";
pub(in super::super) const UNTOLD: &str =
    "SELECT user, home, untold, next_at, tries FROM members WHERE untold > 0 ORDER BY next_at, user LIMIT 1";
pub(super) const IS_TELLING: &str = "UPDATE members SET next_at = ?2, tries = tries + 1 WHERE user = ?1";
pub(super) const WAS_TOLD: &str = "UPDATE members SET untold = CASE WHEN untold = ?2 THEN 0 ELSE untold END, \
     next_at = ?3, tries = 0 WHERE user = ?1";
pub(super) const FORGET_MEMBER: &str = "DELETE FROM members WHERE user = ?1 AND untold = ?2";
pub(super) const TELL_ALL: &str = "UPDATE members SET untold = ?1";
pub(super) const FORGET_ALL_NEVER_TOLD: &str = "DELETE FROM members WHERE next_at = 0";
pub(super) const TELL_ALL_AGAIN: &str = "UPDATE members SET untold = ?1 WHERE untold = 0";
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

    pub(super) fn next_untold(&self) -> LedgerResult<Option<Untold>> {
        let Some(mut row) = self.row(UNTOLD, &[])? else { return Ok(None) };
        let user = UserHash::parse(&row.text()?).map_err(|_| unexpected())?;
        let home = SpaceHash::parse(&row.text()?).map_err(|_| unexpected())?;
        let (version, next_at) = (row.version()?, Millis(row.number()?));
        Ok(Some(Untold { user, home, version, next_at, tries: row.number()? }))
    }
}
