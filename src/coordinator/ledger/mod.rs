//! What the coordinator keeps: the port to its storage, and the rows as types.
//!
//! The trait is synchronous because the platform's SQL is. An await between a decision and its rows, in which another
//! request could change what the decision rests on, is thereby impossible to write.

mod line;
mod sql;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use line::{deleted_line, live_line};
pub use sql::{Sql, SqlLedger, SqlValue};

use super::metering::DailyUsage;
use crate::{
    call::Usage,
    error::{ApiError, is_used_up},
    ids::{ClientId, Collection, Key, RecordId, SpaceId, UserHash},
    snapshot::{
        keys::Scope,
        lines::{newest_first, version_of},
    },
    time::Millis,
    version::{ConflictId, Epoch, Version},
};

/// Why storage did not do what it was told. Nothing of the section in which it happened remains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// The space is full (SQLITE_FULL: 10 GB, on the free plan 1 GB). Reads and deletions still work.
    Full,
    /// The rows that the free plan gives for a day are used up.
    UsedUp,
    /// Anything else. The text is for the log, never for a client.
    Failed(String),
}

impl LedgerError {
    /// Out of the platform's own words.
    #[must_use]
    pub fn of_words(words: String) -> Self {
        if is_used_up(&words) {
            Self::UsedUp
        } else if words.contains("SQLITE_FULL") || words.contains("database or disk is full") {
            Self::Full
        } else {
            Self::Failed(words)
        }
    }

    /// What whoever asked is told.
    pub(in crate::coordinator) fn told(&self) -> ApiError {
        match self {
            Self::Full => ApiError::StorageFull,
            Self::UsedUp => ApiError::UsedUp { retry_after_s: None },
            Self::Failed(_) => ApiError::Internal,
        }
    }
}

/// Shorthand of this folder.
pub type LedgerResult<T> = Result<T, LedgerError>;

/// When something last changed and by whom: enough to say exactly whether somebody other than a client changed it
/// after any version (`docs/ARCHITECTURE.md`, "Who changed what").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Version, u64, Version)", into = "(Version, u64, Version)")]
pub struct Clock {
    /// The last change.
    pub version: Version,
    /// The client that made it, by its number in this space.
    pub writer: u64,
    /// The last change by anybody else, before this writer's latest streak of changes. 0: none.
    pub foreign: Version,
}

impl From<(Version, u64, Version)> for Clock {
    fn from((version, writer, foreign): (Version, u64, Version)) -> Self {
        Self { version, writer, foreign }
    }
}

impl From<Clock> for (Version, u64, Version) {
    fn from(clock: Clock) -> Self {
        (clock.version, clock.writer, clock.foreign)
    }
}

impl Clock {
    /// The clock of something that `writer` makes at `version`, or changes if it has a clock already.
    #[must_use]
    pub fn tick(before: Option<Self>, writer: u64, version: Version) -> Self {
        let foreign = match before {
            None => Version::ZERO,
            Some(clock) if clock.writer == writer || planted!(OwnMasksForeign) => clock.foreign,
            Some(clock) => clock.version,
        };
        Self { version, writer, foreign }
    }

    /// The last change by anybody other than `writer`. 0: there was none.
    #[must_use]
    pub fn last_by_others(&self, writer: u64) -> Version {
        if self.writer == writer && !planted!(OwnCountsAsForeign) { self.foreign } else { self.version }
    }
}

/// The clocks of a record's top-level fields: one for all, and those that have moved since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldClocks {
    /// Of every field that is not named below: the record's last creation.
    pub rest: Clock,
    /// By name; a field that was removed keeps its entry.
    pub named: BTreeMap<String, Clock>,
}

/// A record, or the memory of a deleted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When and by whom it was last changed. Its version is the record's.
    pub clock: Clock,
    /// When it was deleted; absent for a live record.
    pub deleted_at: Option<Millis>,
    /// The published line behind the version: `"collection":"todos","id":"t1","value":{…}}` or `…,"deleted":true}`.
    /// It holds the value, so nothing is stored twice, and pages are joined without parsing.
    pub line: String,
    /// Absent when every field changed with the record's last change.
    pub fields: Option<FieldClocks>,
}

/// What is remembered of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its number in this space, never used twice.
    pub writer: u64,
    /// The last settled mutation.
    pub last: u64,
    /// The highest mutation whose result the client has stored.
    pub acked: u64,
    /// When it last pushed.
    pub used_at: Millis,
    /// Digests of its latest mutations and the results it has not acknowledged, oldest first; see `numbering`.
    pub history: String,
    /// What was written down with its pushes of what the space has used (`metering`).
    pub usage: DailyUsage,
}

/// An open conflict, without the changes that are parked under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// When and in which history it was opened: its name.
    pub id: ConflictId,
    /// Whose edits are parked.
    pub user: UserHash,
    /// The client that opened it.
    pub client: ClientId,
    /// When it was opened.
    pub at: Millis,
    /// How many changes are parked.
    pub changes: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// The records that they touch, and the older conflicts on whose edits they rest: text that belongs to `parking`.
    pub touches: String,
}

/// How many conflicts each user has open, of those that have one.
pub type OpenConflicts = BTreeMap<UserHash, usize>;

/// A parked change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedChange {
    /// The number of its mutation, of the client that pushed it.
    pub mutation: u64,
    /// As it was pushed, without white space between tokens.
    pub text: String,
}

/// The one row that says which history this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Under what its keys stand in KV: an alarm does not say whose it is.
    pub scope: Scope,
    /// The present history.
    pub epoch: Epoch,
    /// The first epoch of this space: what tells it from an earlier space of the same name.
    pub incarnation: Epoch,
    /// A version known to be used although its row may be gone: forgetting deletions raises it in the same section.
    pub floor: Version,
    /// The newest deletion that has been forgotten.
    pub horizon: Version,
    /// The highest writer number that was given out.
    pub writers: u64,
    /// Until when the epochs that claims have begun are as many as may be: each counts for an hour.
    pub claims_until: Millis,
    /// The id of a shared space; a private one has none.
    pub space: Option<SpaceId>,
    /// When the space was deleted. Its id is never used again, so this row stays when everything else is gone.
    pub gone_at: Option<Millis>,
}

/// Rows that SQL has read and written: they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// Read.
    pub read: u32,
    /// Written.
    pub written: u32,
}

impl Rows {
    /// And these.
    pub fn add(&mut self, more: Self) {
        *self = Self { read: self.read + more.read, written: self.written + more.written };
    }

    /// As what was used.
    #[must_use]
    pub fn used(self) -> Usage {
        Usage { rows_read: self.read.into(), rows_written: self.written.into(), ..Usage::default() }
    }
}

/// Lines of records, each `{"version":57,"collection":…}` and a line feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// The lines.
    pub text: String,
    /// The version of the last line.
    pub last: Option<Version>,
    /// Whether lines that qualify were left out because of the limit.
    pub more: bool,
}

impl Lines {
    /// Whether nothing was left out, and the limit was kept: one version alone may pass it.
    #[must_use]
    pub fn are_all(&self, bytes_max: usize) -> bool {
        !self.more && self.text.len() <= bytes_max
    }
}

/// Records and remembered deletions.
pub trait RecordTable {
    /// The highest version of any record or remembered deletion; 0 if there is none.
    fn newest(&self) -> LedgerResult<Version>;
    /// A record or remembered deletion.
    fn record(&self, key: &Key) -> LedgerResult<Option<Record>>;
    /// The version of a record or remembered deletion, whose line is not read; 0 if there is none.
    fn version_of(&self, key: &Key) -> LedgerResult<Version>;
    /// What stands under the first of several keys, about `bytes_max` bytes of it: as many answers as there was room for. In
    /// SQL, a row is read for each key beside the record's own.
    fn records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>>;
    /// Writes a record: two rows, itself and its place in the order of versions; one more when it is deleted.
    fn put_record(&mut self, key: &Key, record: &Record) -> LedgerResult<()> {
        self.put_records(&[(key, record)])
    }
    /// Writes records of different keys: the same rows, in fewer statements. In SQL, a row is read for each that shares one.
    fn put_records(&mut self, records: &[(&Key, &Record)]) -> LedgerResult<()>;
    /// The names of all collections that have a record or a remembered deletion, in order.
    fn collections(&self) -> LedgerResult<Vec<String>>;
    /// Lines above `after`, by (version, collection, id), oldest first, about `bytes_max` bytes, cut only between
    /// versions: all changes of a step share its version, and a cut inside it would lose the rest.
    fn lines_after(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines>;
    /// Lines above `after`, newest first (by version descending, then collection and id ascending). With `more` set
    /// they did not fit into `bytes_max`, and `text` is empty.
    fn lines_newest_first(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines> {
        let lines = self.lines_after(after, bytes_max)?;
        if !lines.are_all(bytes_max) {
            return Ok(Lines { more: true, ..Lines::default() });
        }
        let text = newest_first(&lines.text);
        Ok(Lines { last: text.lines().next_back().map(version_of), text, more: false })
    }
    /// Lines with versions up to `to` whose key comes after `after`, by key, about `bytes_max` bytes (the limit is passed by
    /// the last line at most). Reads all rows behind `after` by key, until it has so many bytes.
    fn lines_by_key(&self, after: Option<&Key>, to: Version, bytes_max: usize) -> LedgerResult<Lines>;
    /// Lines with versions up to `to` that come after a version, or after a key within it, by (version, collection, id), about
    /// `bytes_max` bytes (the limit is passed by the last line at most). Reads no other rows.
    fn lines_by_version(
        &self,
        after: (Version, Option<&Key>),
        to: Version,
        bytes_max: usize,
    ) -> LedgerResult<Lines>;
    /// The newest deletion made before `before`, or none.
    fn newest_deletion_before(&self, before: Millis) -> LedgerResult<Option<Version>>;
    /// Forgets at most `count` deletions made before `before` with versions up to `to`, oldest first, and returns the
    /// newest one that was forgotten.
    fn forget_deletions(
        &mut self,
        before: Millis,
        to: Version,
        count: usize,
    ) -> LedgerResult<Option<Version>>;
    /// Live records of a collection behind `after` by id, at most `count` of them, with their values.
    fn records_of(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>>;
    /// How many live records a collection has. Reads each of them.
    fn count_of(&self, collection: &Collection) -> LedgerResult<usize>;
    /// Removes all records and remembered deletions.
    fn erase_records(&mut self) -> LedgerResult<()>;
}

/// What is remembered of clients.
pub trait ClientTable {
    /// What is remembered of a client.
    fn client(&self, user: &UserHash, client: &ClientId) -> LedgerResult<Option<Client>>;
    /// Writes a client: one row.
    fn put_client(&mut self, user: &UserHash, client: &ClientId, row: &Client) -> LedgerResult<()>;
    /// Forgets all but the `keep` clients of `user` that pushed last.
    fn forget_clients(&mut self, user: &UserHash, keep: usize) -> LedgerResult<()>;
    /// What all clients' rows say that the space has used. Reads each of them.
    fn usage_of_clients(&self) -> LedgerResult<DailyUsage>;
    /// Forgets all clients.
    fn erase_clients(&mut self) -> LedgerResult<()>;
}

/// Open conflicts, and the changes that are parked under them.
pub trait ConflictTable {
    /// The open conflict that was opened at that version.
    fn conflict(&self, opened: Version) -> LedgerResult<Option<Conflict>>;
    /// Open conflicts that were opened after `after`, oldest first, at most `count`; only those of `user` if one is given.
    fn conflicts(&self, after: Version, user: Option<&UserHash>, count: usize)
    -> LedgerResult<Vec<Conflict>>;
    /// How many conflicts each user has open. Reads each of them.
    fn open_conflicts(&self) -> LedgerResult<OpenConflicts>;
    /// Writes an open conflict: one row.
    fn put_conflict(&mut self, conflict: &Conflict) -> LedgerResult<()>;
    /// What is parked under a conflict, in order.
    fn parked(&self, opened: Version) -> LedgerResult<Vec<ParkedChange>>;
    /// Parks the change number `at`, from 0, of a conflict: one row.
    fn park(&mut self, opened: Version, at: u64, change: &ParkedChange) -> LedgerResult<()>;
    /// Removes a conflict with all that is parked under it: a row each.
    fn close_conflict(&mut self, opened: Version) -> LedgerResult<()>;
    /// Removes all conflicts with all that is parked, when the space is deleted.
    fn close_conflicts(&mut self) -> LedgerResult<()>;
}

/// Private rows, which no reader of the space ever sees; what a kind of them means is its user's.
pub trait PrivateTable {
    /// The text of a private row.
    fn private(&self, kind: &str, key: &str) -> LedgerResult<Option<String>>;
    /// Private rows of a kind behind `after` by key, at most `count`, as (key, text). No key comes before the empty one.
    fn private_rows(&self, kind: &str, after: &str, count: usize) -> LedgerResult<Vec<(String, String)>>;
    /// Writes a private row: one row.
    fn put_private(&mut self, kind: &str, key: &str, text: &str) -> LedgerResult<()>;
    /// Removes a private row: one row if it is there.
    fn delete_private(&mut self, kind: &str, key: &str) -> LedgerResult<()>;
}

/// The row that says which history this is.
pub trait MetaTable {
    /// The row that says which history this is; absent in a space that was never used.
    fn meta(&self) -> LedgerResult<Option<Meta>>;
    /// Writes that row.
    fn put_meta(&mut self, meta: &Meta) -> LedgerResult<()>;
}

/// Storage of one object: a space, or a directory. Reads see earlier writes at once.
pub trait Ledger: RecordTable + ClientTable + ConflictTable + PrivateTable + MetaTable {
    /// Runs `section`; if it fails, none of its writes remains.
    fn atomically(&mut self, section: &mut dyn FnMut(&mut Self) -> LedgerResult<()>) -> LedgerResult<()>;
    /// Rows that were counted and not taken yet by whoever owns the storage.
    fn rows(&self) -> Rows;
}
