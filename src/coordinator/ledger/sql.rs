//! The ledger in SQLite. What runs the SQL is a port of its own: the object's storage, or SQLite itself in tests.

pub(super) mod private;
pub(super) mod records;

use std::rc::Rc;

use super::{
    Client, Clock, Conflict, Ledger, LedgerError, LedgerResult, Lines, Meta, OpenConflicts, ParkedChange,
    Record,
};
use crate::{
    ids::{ClientId, Collection, Key, RecordId, SpaceId, UserHash},
    snapshot::keys::Scope,
    time::Millis,
    version::{ConflictId, Epoch, Version},
};

/// A bound parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlValue {
    /// NULL
    Null,
    /// At most 2^53-1, because the platform takes and gives integers as doubles.
    Integer(i64),
    /// Text
    Text(String),
}

/// What runs SQL.
pub trait Sql {
    /// Runs one statement and returns its few rows.
    fn query(&self, sql: &str, params: &[SqlValue]) -> LedgerResult<Vec<Vec<SqlValue>>>;
    /// Runs a query and joins the first column of its rows, a line feed after each, until the text is longer than
    /// `bytes_max`; says whether rows were left. One crossing to JavaScript instead of one per row.
    fn text(&self, sql: &str, params: &[SqlValue], bytes_max: usize) -> LedgerResult<(String, bool)>;
    /// Runs `section` in one transaction; if it fails nothing of it remains, and its error is returned.
    fn atomically(&self, section: &mut dyn FnMut() -> LedgerResult<()>) -> LedgerResult<()>;
}

/// The statements that lead from each schema version to the next. Objects in the field have run some of them, so they
/// are only ever added to. Columns are named in every statement, so that an added one disturbs none.
///
/// Tables of many rows are WITHOUT ROWID, because a key in an index of its own is one more row written each time.
/// The index of deletions is partial, so that a put of a live record does not pay for it; it holds all that forgetting
/// looks at, in the order in which it forgets.
/// Each parked change has a row, because a row has at most 2 MB. What a conflict touches stands in its own row, so that
/// what is parked is read only to be told or re-applied.
pub(super) const MIGRATIONS: &[&[&str]] = &[&[
    "CREATE TABLE schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL) STRICT",
    "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), scope TEXT NOT NULL, epoch TEXT NOT NULL, \
     incarnation TEXT NOT NULL, floor INTEGER NOT NULL, horizon INTEGER NOT NULL, writers INTEGER NOT NULL, \
     claims_until INTEGER NOT NULL, space TEXT, gone_at INTEGER) STRICT",
    "CREATE TABLE publication (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL) STRICT",
    "CREATE TABLE records (collection TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, \
     writer INTEGER NOT NULL, foreign_version INTEGER NOT NULL, deleted_at INTEGER, line TEXT NOT NULL, fields TEXT, \
     PRIMARY KEY (collection, id)) STRICT, WITHOUT ROWID",
    "CREATE INDEX records_by_version ON records (version)",
    "CREATE INDEX deletions_by_version ON records (version, collection, id, deleted_at) \
     WHERE deleted_at IS NOT NULL",
    "CREATE TABLE clients (user TEXT NOT NULL, client TEXT NOT NULL, writer INTEGER NOT NULL, \
     last INTEGER NOT NULL, acked INTEGER NOT NULL, used_at INTEGER NOT NULL, history TEXT NOT NULL, \
     PRIMARY KEY (user, client)) STRICT, WITHOUT ROWID",
    "CREATE TABLE conflicts (opened INTEGER PRIMARY KEY, epoch TEXT NOT NULL, user TEXT NOT NULL, \
     client TEXT NOT NULL, at INTEGER NOT NULL, changes INTEGER NOT NULL, bytes INTEGER NOT NULL, \
     touches TEXT NOT NULL) STRICT",
    "CREATE TABLE conflict_changes (opened INTEGER NOT NULL, seq INTEGER NOT NULL, mutation INTEGER NOT NULL, \
     text TEXT NOT NULL, PRIMARY KEY (opened, seq)) STRICT, WITHOUT ROWID",
    private::TABLE,
]];

const SCHEMA_VERSION: &str = "SELECT version FROM schema_version";
const PUT_SCHEMA_VERSION: &str = "INSERT OR REPLACE INTO schema_version (one, version) VALUES (1, ?1)";
// Asked first because reading a table that is missing is an error. `CREATE … IF NOT EXISTS` would not need to ask, but
// it counts as a write even where it does nothing, and an object that only reads must not begin to write.
const HAS_SCHEMA: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";

const META: &str = "SELECT scope, epoch, incarnation, floor, horizon, writers, claims_until, space, gone_at \
     FROM meta";
const PUT_META: &str = "INSERT OR REPLACE INTO meta \
     (one, scope, epoch, incarnation, floor, horizon, writers, claims_until, space, gone_at) \
     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
// Names no column, because it is asked before the table is migrated.
const HAS_META: &str = "SELECT 1 FROM meta";

pub(super) const NEWEST: &str = "SELECT ifnull(max(version), 0) FROM records";
pub(super) const RECORD: &str = "SELECT version, writer, foreign_version, deleted_at, line, fields FROM records \
                                 WHERE collection = ?1 AND id = ?2";
pub(super) const VERSION_OF: &str = "SELECT version FROM records WHERE collection = ?1 AND id = ?2";

pub(super) const CLIENT: &str = "SELECT writer, last, acked, used_at, history FROM clients \
                                 WHERE user = ?1 AND client = ?2";
pub(super) const PUT_CLIENT: &str = "INSERT INTO clients (user, client, writer, last, acked, used_at, history) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (user, client) DO UPDATE SET \
     writer = excluded.writer, last = excluded.last, acked = excluded.acked, used_at = excluded.used_at, \
     history = excluded.history";
pub(super) const FORGET_CLIENTS: &str = "DELETE FROM clients WHERE user = ?1 AND client IN \
     (SELECT client FROM clients WHERE user = ?1 ORDER BY used_at DESC, writer DESC LIMIT -1 OFFSET ?2)";

// One seek per collection. DISTINCT would read every record.
pub(super) const COLLECTIONS: &str = "WITH RECURSIVE names (name) AS (SELECT min(collection) FROM records UNION ALL \
     SELECT (SELECT min(collection) FROM records WHERE collection > name) FROM names WHERE name IS NOT NULL) \
     SELECT name FROM names WHERE name IS NOT NULL";

macro_rules! lines_where {
    ($condition:literal) => {
        concat!("SELECT '{\"version\":' || version || ',' || line FROM records WHERE ", $condition)
    };
}
pub(super) const LINES_AFTER: &str = lines_where!("version > ?1 ORDER BY version, collection, id");
pub(super) const LINES_AT: &str = lines_where!("version = ?1 ORDER BY collection, id");
// The plus keeps SQLite from taking the index by version, which would sort all that qualify before the first line.
pub(super) const LINES_BY_KEY: &str =
    lines_where!("(collection, id) > (?1, ?2) AND +version > ?3 AND +version <= ?4 ORDER BY collection, id");
// Of a delta, which is an eighth of the base at most: there reading by version and sorting is the cheaper way.
pub(super) const LINES_OF_DELTA: &str =
    lines_where!("version > ?3 AND version <= ?4 AND (+collection, id) > (?1, ?2) ORDER BY +collection, id");

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

// Without a condition, so that SQLite drops the pages and does not visit the rows.
const ERASE_CLIENTS: &str = "DELETE FROM clients";

const PUBLICATION: &str = "SELECT text FROM publication";
const PUT_PUBLICATION: &str = "INSERT OR REPLACE INTO publication (one, text) VALUES (1, ?1)";

pub(super) const NEWEST_DELETION: &str =
    "SELECT version FROM records WHERE deleted_at < ?1 ORDER BY version DESC LIMIT 1";
macro_rules! deletions {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM records WHERE deleted_at < ?1 AND version <= ?2 ORDER BY version, collection, id LIMIT ?3"
        )
    };
}
pub(super) const NEWEST_OF_DELETIONS: &str =
    concat!("SELECT max(version) FROM (", deletions!("version"), ")");
pub(super) const FORGET_DELETIONS: &str =
    concat!("DELETE FROM records WHERE (collection, id) IN (", deletions!("collection, id"), ")");

/// A ledger in SQLite.
#[derive(Debug)]
pub struct SqlLedger<S: Sql> {
    // Shared with the section that runs, which borrows the whole ledger.
    sql: Rc<S>,
}

impl<S: Sql> SqlLedger<S> {
    /// Opens a database, and creates or migrates its tables if need be. Nothing is written if they are up to date.
    ///
    /// # Errors
    /// If SQL fails, or if newer code than this has migrated the database: what its rows mean is unknown here.
    pub fn open(sql: S) -> LedgerResult<Self> {
        Self::open_as(sql, MIGRATIONS)
    }

    /// Opens a database as code does that knows these migrations.
    pub(super) fn open_as(sql: S, migrations: &[&[&str]]) -> LedgerResult<Self> {
        let ledger = Self { sql: Rc::new(sql) };
        let present = ledger.schema_version()?;
        let Some(missing) = migrations.get(present..) else {
            return Err(LedgerError::Failed(format!("schema version {present} is newer than this code")));
        };
        if !missing.is_empty() {
            ledger.sql.atomically(&mut || {
                for statement in missing.iter().copied().flatten() {
                    ledger.sql.query(statement, &[])?;
                }
                ledger.sql.query(PUT_SCHEMA_VERSION, &[size(migrations.len())]).map(drop)
            })?;
        }
        Ok(ledger)
    }

    /// Whether a space was ever begun in a database. Writes nothing: whoever asks for a space that is none must not leave
    /// tables behind.
    ///
    /// # Errors
    /// If SQL fails.
    pub fn is_used(sql: &S) -> LedgerResult<bool> {
        Ok(Self::has_tables(sql)? && !sql.query(HAS_META, &[])?.is_empty())
    }

    /// Whether a database has its tables. Writes nothing.
    ///
    /// # Errors
    /// If SQL fails.
    pub fn has_tables(sql: &S) -> LedgerResult<bool> {
        Ok(!sql.query(HAS_SCHEMA, &[])?.is_empty())
    }

    /// What runs the SQL.
    #[cfg(test)]
    pub(crate) fn sql(&self) -> &S {
        &self.sql
    }

    fn schema_version(&self) -> LedgerResult<usize> {
        if self.row(HAS_SCHEMA, &[])?.is_none() {
            return Ok(0);
        }
        let version = self.row(SCHEMA_VERSION, &[])?.ok_or_else(unexpected)?.number()?;
        usize::try_from(version).map_err(|_| unexpected())
    }

    fn row(&self, sql: &str, params: &[SqlValue]) -> LedgerResult<Option<Row>> {
        Ok(self.sql.query(sql, params)?.into_iter().next().map(|columns| Row(columns.into_iter())))
    }
}

impl<S: Sql> Ledger for SqlLedger<S> {
    fn meta(&self) -> LedgerResult<Option<Meta>> {
        let Some(mut row) = self.row(META, &[])? else { return Ok(None) };
        Ok(Some(Meta {
            scope: row.scope()?,
            epoch: row.epoch()?,
            incarnation: row.epoch()?,
            floor: row.version()?,
            horizon: row.version()?,
            writers: row.number()?,
            claims_until: Millis(row.number()?),
            space: row.text_or_null()?.map(|id| SpaceId::stored(&id)),
            gone_at: row.number_or_null()?.map(Millis),
        }))
    }

    fn put_meta(&mut self, meta: &Meta) -> LedgerResult<()> {
        let params = [
            text(meta.scope.as_str()),
            text(meta.epoch.as_str()),
            text(meta.incarnation.as_str()),
            integer(meta.floor.get()),
            integer(meta.horizon.get()),
            integer(meta.writers),
            integer(meta.claims_until.0),
            meta.space.as_ref().map_or(SqlValue::Null, |id| text(id.as_str())),
            meta.gone_at.map_or(SqlValue::Null, |at| integer(at.0)),
        ];
        self.sql.query(PUT_META, &params).map(drop)
    }

    fn newest(&self) -> LedgerResult<Version> {
        self.row(NEWEST, &[])?.ok_or_else(unexpected)?.version()
    }

    fn record(&self, key: &Key) -> LedgerResult<Option<Record>> {
        let params = [text(key.collection.as_str()), text(key.id.as_str())];
        let Some(mut row) = self.row(RECORD, &params)? else { return Ok(None) };
        let clock = Clock { version: row.version()?, writer: row.number()?, foreign: row.version()? };
        let deleted_at = row.number_or_null()?.map(Millis);
        let line = row.text()?;
        let fields = row.text_or_null()?.map(|json| serde_json::from_str(&json).map_err(|_| unexpected()));
        Ok(Some(Record { clock, deleted_at, line, fields: fields.transpose()? }))
    }

    fn version_of(&self, key: &Key) -> LedgerResult<Version> {
        let row = self.row(VERSION_OF, &[text(key.collection.as_str()), text(key.id.as_str())])?;
        row.map_or(Ok(Version::ZERO), |mut row| row.version())
    }

    fn records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>> {
        self.read_records(keys, bytes_max)
    }

    fn put_records(&mut self, records: &[(&Key, &Record)]) -> LedgerResult<()> {
        self.write_records(records)
    }

    fn client(&self, user: &UserHash, client: &ClientId) -> LedgerResult<Option<Client>> {
        let params = [text(user.as_str()), text(client.as_str())];
        let Some(mut row) = self.row(CLIENT, &params)? else { return Ok(None) };
        Ok(Some(Client {
            writer: row.number()?,
            last: row.number()?,
            acked: row.number()?,
            used_at: Millis(row.number()?),
            history: row.text()?,
        }))
    }

    fn put_client(&mut self, user: &UserHash, client: &ClientId, row: &Client) -> LedgerResult<()> {
        let params = [
            text(user.as_str()),
            text(client.as_str()),
            integer(row.writer),
            integer(row.last),
            integer(row.acked),
            integer(row.used_at.0),
            text(&row.history),
        ];
        self.sql.query(PUT_CLIENT, &params).map(drop)
    }

    fn forget_clients(&mut self, user: &UserHash, keep: usize) -> LedgerResult<()> {
        self.sql.query(FORGET_CLIENTS, &[text(user.as_str()), size(keep)]).map(drop)
    }

    fn collections(&self) -> LedgerResult<Vec<String>> {
        let rows = self.sql.query(COLLECTIONS, &[])?;
        rows.into_iter().map(|columns| Row(columns.into_iter()).text()).collect()
    }

    fn lines_after(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines> {
        let (mut text, rows_left) = self.sql.text(LINES_AFTER, &[integer(after.get())], bytes_max)?;
        let Some(last) = last_version(&text)? else { return Ok(Lines::default()) };
        if !rows_left && text.len() <= bytes_max {
            return Ok(Lines { text, last: Some(last), more: false });
        }
        // The last version passed the limit, and lines of it may have been left. The next page begins with it, unless
        // this page has nothing else: then it comes whole, or the pages would never get past it.
        text.truncate(start_of_version(&text, last));
        if let Some(last) = last_version(&text)? {
            return Ok(Lines { text, last: Some(last), more: true });
        }
        let (text, _) = self.sql.text(LINES_AT, &[integer(last.get())], usize::MAX)?;
        Ok(Lines { text, last: Some(last), more: self.newest()? > last })
    }

    fn lines_by_key(
        &self,
        after: Option<&Key>,
        from: Version,
        to: Version,
        bytes_max: usize,
    ) -> LedgerResult<Lines> {
        // No name is empty, so empty names come before all others.
        let (collection, id) = after.map_or(("", ""), |key| (key.collection.as_str(), key.id.as_str()));
        let params = [text(collection), text(id), integer(from.get()), integer(to.get())];
        let statement = if from == Version::ZERO { LINES_BY_KEY } else { LINES_OF_DELTA };
        let (text, more) = self.sql.text(statement, &params, bytes_max)?;
        Ok(Lines { last: last_version(&text)?, text, more })
    }

    fn conflict(&self, opened: Version) -> LedgerResult<Option<Conflict>> {
        self.row(CONFLICT, &[integer(opened.get())])?.map(|mut row| row.conflict()).transpose()
    }

    fn conflicts(
        &self,
        after: Version,
        user: Option<&UserHash>,
        count: usize,
    ) -> LedgerResult<Vec<Conflict>> {
        let user = user.map_or(SqlValue::Null, |user| text(user.as_str()));
        let rows = self.sql.query(CONFLICTS, &[integer(after.get()), user, size(count)])?;
        rows.into_iter().map(|columns| Row(columns.into_iter()).conflict()).collect()
    }

    fn open_conflicts(&self) -> LedgerResult<OpenConflicts> {
        let of_user =
            |mut row: Row| Ok((row.user()?, usize::try_from(row.number()?).map_err(|_| unexpected())?));
        let rows = self.sql.query(OPEN_CONFLICTS, &[])?.into_iter();
        rows.map(|columns| of_user(Row(columns.into_iter()))).collect()
    }

    fn put_conflict(&mut self, conflict: &Conflict) -> LedgerResult<()> {
        let params = [
            integer(conflict.id.opened.get()),
            text(conflict.id.epoch.as_str()),
            text(conflict.user.as_str()),
            text(conflict.client.as_str()),
            integer(conflict.at.0),
            integer(conflict.changes),
            integer(conflict.bytes),
            text(&conflict.touches),
        ];
        self.sql.query(PUT_CONFLICT, &params).map(drop)
    }

    fn parked(&self, opened: Version) -> LedgerResult<Vec<ParkedChange>> {
        let rows = self.sql.query(PARKED, &[integer(opened.get())])?.into_iter();
        let change = |mut row: Row| Ok(ParkedChange { mutation: row.number()?, text: row.text()? });
        rows.map(|columns| change(Row(columns.into_iter()))).collect()
    }

    fn park(&mut self, opened: Version, at: u64, change: &ParkedChange) -> LedgerResult<()> {
        let params = [integer(opened.get()), integer(at), integer(change.mutation), text(&change.text)];
        self.sql.query(PARK, &params).map(drop)
    }

    fn close_conflict(&mut self, opened: Version) -> LedgerResult<()> {
        self.sql.query(UNPARK, &[integer(opened.get())])?;
        self.sql.query(CLOSE_CONFLICT, &[integer(opened.get())]).map(drop)
    }

    fn close_conflicts(&mut self) -> LedgerResult<()> {
        self.sql.query(UNPARK_ALL, &[])?;
        self.sql.query(CLOSE_CONFLICTS, &[]).map(drop)
    }

    fn publication(&self) -> LedgerResult<Option<String>> {
        self.row(PUBLICATION, &[])?.map(|mut row| row.text()).transpose()
    }

    fn put_publication(&mut self, json: &str) -> LedgerResult<()> {
        self.sql.query(PUT_PUBLICATION, &[text(json)]).map(drop)
    }

    fn newest_deletion_before(&self, before: Millis) -> LedgerResult<Option<Version>> {
        self.row(NEWEST_DELETION, &[integer(before.0)])?.map(|mut row| row.version()).transpose()
    }

    fn forget_deletions(
        &mut self,
        before: Millis,
        to: Version,
        count: usize,
    ) -> LedgerResult<Option<Version>> {
        let params = [integer(before.0), integer(to.get()), size(count)];
        let newest = self.row(NEWEST_OF_DELETIONS, &params)?.ok_or_else(unexpected)?.number_or_null()?;
        let Some(newest) = newest else { return Ok(None) };
        self.sql.query(FORGET_DELETIONS, &params)?;
        Version::new(newest).map(Some).ok_or_else(unexpected)
    }

    fn records_of(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>> {
        self.live_records(collection, after, count)
    }

    fn count_of(&self, collection: &Collection) -> LedgerResult<usize> {
        let count =
            self.row(records::COUNT_OF, &[text(collection.as_str())])?.ok_or_else(unexpected)?.number()?;
        usize::try_from(count).map_err(|_| unexpected())
    }

    fn private(&self, kind: &str, key: &str) -> LedgerResult<Option<String>> {
        self.row(private::PRIVATE, &[text(kind), text(key)])?.map(|mut row| row.text()).transpose()
    }

    fn private_rows(&self, kind: &str, after: &str, count: usize) -> LedgerResult<Vec<(String, String)>> {
        let rows =
            self.sql.query(private::PRIVATE_ROWS, &[text(kind), text(after), size(count)])?.into_iter();
        let read = |mut row: Row| Ok((row.text()?, row.text()?));
        rows.map(|columns| read(Row(columns.into_iter()))).collect()
    }

    fn put_private(&mut self, kind: &str, key: &str, value: &str) -> LedgerResult<()> {
        self.sql.query(private::PUT_PRIVATE, &[text(kind), text(key), text(value)]).map(drop)
    }

    fn delete_private(&mut self, kind: &str, key: &str) -> LedgerResult<()> {
        self.sql.query(private::DELETE_PRIVATE, &[text(kind), text(key)]).map(drop)
    }

    fn erase_records(&mut self) -> LedgerResult<()> {
        self.sql.query(records::ERASE_RECORDS, &[]).map(drop)
    }

    fn erase_clients(&mut self) -> LedgerResult<()> {
        self.sql.query(ERASE_CLIENTS, &[]).map(drop)
    }

    fn atomically(&mut self, section: &mut dyn FnMut(&mut Self) -> LedgerResult<()>) -> LedgerResult<()> {
        let sql = Rc::clone(&self.sql);
        sql.atomically(&mut || section(self))
    }
}

/// The columns of a row, from left to right. A column that is not what our own statement wrote is an error and not a
/// panic: a panic would take the other objects of the isolate along, at every request to this one.
struct Row(std::vec::IntoIter<SqlValue>);

impl Row {
    fn number_or_null(&mut self) -> LedgerResult<Option<u64>> {
        match self.0.next() {
            Some(SqlValue::Null) => Ok(None),
            Some(SqlValue::Integer(number)) => number.try_into().map(Some).map_err(|_| unexpected()),
            _ => Err(unexpected()),
        }
    }

    fn number(&mut self) -> LedgerResult<u64> {
        self.number_or_null()?.ok_or_else(unexpected)
    }

    fn version(&mut self) -> LedgerResult<Version> {
        Version::new(self.number()?).ok_or_else(unexpected)
    }

    fn text_or_null(&mut self) -> LedgerResult<Option<String>> {
        match self.0.next() {
            Some(SqlValue::Null) => Ok(None),
            Some(SqlValue::Text(text)) => Ok(Some(text)),
            _ => Err(unexpected()),
        }
    }

    fn text(&mut self) -> LedgerResult<String> {
        self.text_or_null()?.ok_or_else(unexpected)
    }

    fn epoch(&mut self) -> LedgerResult<Epoch> {
        Epoch::parse(&self.text()?).ok_or_else(unexpected)
    }

    fn user(&mut self) -> LedgerResult<UserHash> {
        UserHash::parse(&self.text()?).map_err(|_| unexpected())
    }

    fn conflict(&mut self) -> LedgerResult<Conflict> {
        let opened = self.version()?;
        Ok(Conflict {
            id: ConflictId { opened, epoch: self.epoch()? },
            user: self.user()?,
            client: ClientId::stored(&self.text()?),
            at: Millis(self.number()?),
            changes: self.number()?,
            bytes: self.number()?,
            touches: self.text()?,
        })
    }

    fn scope(&mut self) -> LedgerResult<Scope> {
        Scope::parse(&self.text()?).ok_or_else(unexpected)
    }
}

fn unexpected() -> LedgerError {
    LedgerError::Failed("BUG: a row is not what this ledger writes".to_owned())
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

fn integer(number: u64) -> SqlValue {
    assert!(number <= Version::MAX.get(), "BUG: the platform's SQL would round an integer above 2^53-1");
    SqlValue::Integer(number as i64)
}

/// A number of rows; more than SQL can count is all of them.
fn size(number: usize) -> SqlValue {
    integer((number as u64).min(Version::MAX.get()))
}

/// The version of the last line, or none if there is no line.
fn last_version(text: &str) -> LedgerResult<Option<Version>> {
    let Some(line) = text.lines().next_back() else { return Ok(None) };
    let digits = line.strip_prefix("{\"version\":").and_then(|rest| rest.split_once(','));
    digits.and_then(|(digits, _)| Version::parse(digits)).map(Some).ok_or_else(unexpected)
}

/// Where the lines of `last` begin, which are the last ones of `text`.
fn start_of_version(text: &str, last: Version) -> usize {
    let prefix = format!("{{\"version\":{last},");
    let lines = text.split_inclusive('\n').rev().take_while(|line| line.starts_with(&prefix));
    text.len() - lines.map(str::len).sum::<usize>()
}
