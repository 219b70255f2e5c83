//! The ledger in SQLite, a file per table. What runs the SQL is a port of its own: the object's storage, or SQLite itself in tests.

mod clients;
mod conflicts;
mod meta;
mod private;
mod records;
mod row;
mod schema;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use super::{Client, Conflict, Ledger, LedgerResult, Lines, Meta, OpenConflicts, ParkedChange, Record};
use crate::{
    ids::{ClientId, Collection, Key, RecordId, UserHash},
    time::Millis,
    version::Version,
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
    /// If SQL fails, or if newer code than this has migrated the database in a way that this code may not write to.
    pub fn open(sql: S) -> LedgerResult<Self> {
        Self::open_as(sql, schema::MIGRATIONS, schema::OLDEST)
    }

    /// Opens a database as code does that knows these migrations.
    fn open_as(sql: S, migrations: &[&[&str]], oldest: usize) -> LedgerResult<Self> {
        schema::bring_up_to_date(&sql, migrations, oldest)?;
        Ok(Self { sql: Rc::new(sql) })
    }

    /// Whether a space was ever begun in a database. Writes nothing: whoever asks for a space that is none must not leave
    /// tables behind.
    ///
    /// # Errors
    /// If SQL fails.
    pub fn is_used(sql: &S) -> LedgerResult<bool> {
        Ok(Self::has_tables(sql)? && meta::is_there(sql)?)
    }

    /// Whether a database has its tables. Writes nothing.
    ///
    /// # Errors
    /// If SQL fails.
    pub fn has_tables(sql: &S) -> LedgerResult<bool> {
        schema::is_there(sql)
    }

    /// What runs the SQL.
    pub(super) fn sql(&self) -> &S {
        &self.sql
    }
}

impl<S: Sql> Ledger for SqlLedger<S> {
    fn meta(&self) -> LedgerResult<Option<Meta>> {
        meta::read(self.sql())
    }

    fn put_meta(&mut self, row: &Meta) -> LedgerResult<()> {
        meta::write(self.sql(), row)
    }

    fn newest(&self) -> LedgerResult<Version> {
        records::newest(self.sql())
    }

    fn record(&self, key: &Key) -> LedgerResult<Option<Record>> {
        records::read(self.sql(), key)
    }

    fn version_of(&self, key: &Key) -> LedgerResult<Version> {
        records::version_of(self.sql(), key)
    }

    fn records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>> {
        records::read_together(self.sql(), keys, bytes_max)
    }

    fn put_records(&mut self, records: &[(&Key, &Record)]) -> LedgerResult<()> {
        records::write(self.sql(), records)
    }

    fn client(&self, user: &UserHash, client: &ClientId) -> LedgerResult<Option<Client>> {
        clients::read(self.sql(), user, client)
    }

    fn put_client(&mut self, user: &UserHash, client: &ClientId, row: &Client) -> LedgerResult<()> {
        clients::write(self.sql(), user, client, row)
    }

    fn forget_clients(&mut self, user: &UserHash, keep: usize) -> LedgerResult<()> {
        clients::forget(self.sql(), user, keep)
    }

    fn collections(&self) -> LedgerResult<Vec<String>> {
        records::collections(self.sql())
    }

    fn lines_after(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines> {
        records::lines_after(self.sql(), after, bytes_max)
    }

    fn lines_by_key(&self, after: Option<&Key>, to: Version, bytes_max: usize) -> LedgerResult<Lines> {
        records::lines_by_key(self.sql(), after, to, bytes_max)
    }

    fn lines_by_version(
        &self,
        after: (Version, Option<&Key>),
        to: Version,
        bytes_max: usize,
    ) -> LedgerResult<Lines> {
        records::lines_by_version(self.sql(), after, to, bytes_max)
    }

    fn conflict(&self, opened: Version) -> LedgerResult<Option<Conflict>> {
        conflicts::read(self.sql(), opened)
    }

    fn conflicts(
        &self,
        after: Version,
        user: Option<&UserHash>,
        count: usize,
    ) -> LedgerResult<Vec<Conflict>> {
        conflicts::list(self.sql(), after, user, count)
    }

    fn open_conflicts(&self) -> LedgerResult<OpenConflicts> {
        conflicts::count(self.sql())
    }

    fn put_conflict(&mut self, conflict: &Conflict) -> LedgerResult<()> {
        conflicts::write(self.sql(), conflict)
    }

    fn parked(&self, opened: Version) -> LedgerResult<Vec<ParkedChange>> {
        conflicts::parked(self.sql(), opened)
    }

    fn park(&mut self, opened: Version, at: u64, change: &ParkedChange) -> LedgerResult<()> {
        conflicts::park(self.sql(), opened, at, change)
    }

    fn close_conflict(&mut self, opened: Version) -> LedgerResult<()> {
        conflicts::close(self.sql(), opened)
    }

    fn close_conflicts(&mut self) -> LedgerResult<()> {
        conflicts::close_all(self.sql())
    }

    fn newest_deletion_before(&self, before: Millis) -> LedgerResult<Option<Version>> {
        records::newest_deletion_before(self.sql(), before)
    }

    fn forget_deletions(
        &mut self,
        before: Millis,
        to: Version,
        count: usize,
    ) -> LedgerResult<Option<Version>> {
        records::forget_deletions(self.sql(), before, to, count)
    }

    fn records_of(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>> {
        records::live(self.sql(), collection, after, count)
    }

    fn count_of(&self, collection: &Collection) -> LedgerResult<usize> {
        records::count(self.sql(), collection)
    }

    fn private(&self, kind: &str, key: &str) -> LedgerResult<Option<String>> {
        private::read(self.sql(), kind, key)
    }

    fn private_rows(&self, kind: &str, after: &str, count: usize) -> LedgerResult<Vec<(String, String)>> {
        private::list(self.sql(), kind, after, count)
    }

    fn put_private(&mut self, kind: &str, key: &str, text: &str) -> LedgerResult<()> {
        private::write(self.sql(), kind, key, text)
    }

    fn delete_private(&mut self, kind: &str, key: &str) -> LedgerResult<()> {
        private::delete(self.sql(), kind, key)
    }

    fn erase_records(&mut self) -> LedgerResult<()> {
        records::erase(self.sql())
    }

    fn erase_clients(&mut self) -> LedgerResult<()> {
        clients::erase(self.sql())
    }

    fn atomically(&mut self, section: &mut dyn FnMut(&mut Self) -> LedgerResult<()>) -> LedgerResult<()> {
        let sql = Rc::clone(&self.sql);
        sql.atomically(&mut || section(self))
    }
}
