//! Open conflicts, and a row for each change that is parked under one: a row has at most 2 MB. What a conflict touches
//! stands in its own row, so that what is parked is read only to be told or re-applied.

use super::{
    Sql, SqlLedger, SqlValue,
    row::{Row, all, first, integer, run, size, text, version},
};
use crate::{
    coordinator::ledger::{Conflict, ConflictTable, LedgerResult, OpenConflicts, ParkedChange},
    ids::{ClientId, UserHash},
    time::Millis,
    version::{ConflictId, Epoch, Version},
};

pub(super) const TABLE: &str = "CREATE TABLE conflicts (opened INTEGER PRIMARY KEY, epoch TEXT NOT NULL, \
     user TEXT NOT NULL, client TEXT NOT NULL, at INTEGER NOT NULL, changes INTEGER NOT NULL, \
     bytes INTEGER NOT NULL, touches TEXT NOT NULL) STRICT";
pub(super) const CHANGES_TABLE: &str = "CREATE TABLE conflict_changes (opened INTEGER NOT NULL, \
     seq INTEGER NOT NULL, mutation INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (opened, seq)) \
     STRICT, WITHOUT ROWID";

macro_rules! conflicts_where {
    ($condition:literal) => {
        concat!(
            "SELECT opened, epoch, user, client, at, changes, bytes, touches FROM conflicts WHERE ",
            $condition
        )
    };
}
pub(super) const CONFLICT: &str = conflicts_where!("opened = ?1");
// Of one user's conflicts there is no index: it would cost every parking a row, and a space has 10,000 conflicts at most.
pub(super) const CONFLICTS: &str =
    conflicts_where!("opened > ?1 AND (?2 IS NULL OR user = ?2) ORDER BY opened LIMIT ?3");
pub(super) const OPEN_CONFLICTS: &str = "SELECT user, count(*) FROM conflicts GROUP BY user";
pub(super) const PUT_CONFLICT: &str = "INSERT OR REPLACE INTO conflicts \
     (opened, epoch, user, client, at, changes, bytes, touches) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
pub(super) const PARKED: &str = "SELECT mutation, text FROM conflict_changes WHERE opened = ?1 ORDER BY seq";
pub(super) const PARK: &str =
    "INSERT INTO conflict_changes (opened, seq, mutation, text) VALUES (?1, ?2, ?3, ?4)";
pub(super) const UNPARK: &str = "DELETE FROM conflict_changes WHERE opened = ?1";
pub(super) const CLOSE_CONFLICT: &str = "DELETE FROM conflicts WHERE opened = ?1";
const UNPARK_ALL: &str = "DELETE FROM conflict_changes";
const CLOSE_CONFLICTS: &str = "DELETE FROM conflicts";

impl<S: Sql> ConflictTable for SqlLedger<S> {
    fn conflict(&self, opened: Version) -> LedgerResult<Option<Conflict>> {
        first(self.sql(), CONFLICT, &[version(opened)], conflict)
    }

    fn conflicts(
        &self,
        after: Version,
        user: Option<&UserHash>,
        count: usize,
    ) -> LedgerResult<Vec<Conflict>> {
        let user = user.map_or(SqlValue::Null, |user| text(user.as_str()));
        all(self.sql(), CONFLICTS, &[version(after), user, size(count)], conflict)
    }

    fn open_conflicts(&self) -> LedgerResult<OpenConflicts> {
        let counts = all(self.sql(), OPEN_CONFLICTS, &[], |row| Ok((row.parsed(user)?, row.size()?)))?;
        let mut open = OpenConflicts::new();
        open.extend(counts);
        Ok(open)
    }

    fn put_conflict(&mut self, conflict: &Conflict) -> LedgerResult<()> {
        let params = [
            version(conflict.id.opened),
            text(conflict.id.epoch.as_str()),
            text(conflict.user.as_str()),
            text(conflict.client.as_str()),
            integer(conflict.at.0),
            integer(conflict.changes),
            integer(conflict.bytes),
            text(&conflict.touches),
        ];
        run(self.sql(), PUT_CONFLICT, &params)
    }

    fn parked(&self, opened: Version) -> LedgerResult<Vec<ParkedChange>> {
        let change = |row: &mut Row| Ok(ParkedChange { mutation: row.number()?, text: row.text()? });
        all(self.sql(), PARKED, &[version(opened)], change)
    }

    fn park(&mut self, opened: Version, at: u64, change: &ParkedChange) -> LedgerResult<()> {
        run(self.sql(), PARK, &[version(opened), integer(at), integer(change.mutation), text(&change.text)])
    }

    fn close_conflict(&mut self, opened: Version) -> LedgerResult<()> {
        run(self.sql(), UNPARK, &[version(opened)])?;
        run(self.sql(), CLOSE_CONFLICT, &[version(opened)])
    }

    fn close_conflicts(&mut self) -> LedgerResult<()> {
        run(self.sql(), UNPARK_ALL, &[])?;
        run(self.sql(), CLOSE_CONFLICTS, &[])
    }
}

fn conflict(row: &mut Row) -> LedgerResult<Conflict> {
    let opened = row.version()?;
    Ok(Conflict {
        id: ConflictId { opened, epoch: row.parsed(Epoch::parse)? },
        user: row.parsed(user)?,
        client: ClientId::stored(&row.text()?),
        at: Millis(row.number()?),
        changes: row.number()?,
        bytes: row.number()?,
        touches: row.text()?,
    })
}

fn user(text: &str) -> Option<UserHash> {
    UserHash::parse(text).ok()
}
