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

use super::{Ledger, LedgerResult, Rows};

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
    /// Rows that it has counted and nobody has taken yet.
    fn rows(&self) -> Rows;
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
    fn atomically(&mut self, section: &mut dyn FnMut(&mut Self) -> LedgerResult<()>) -> LedgerResult<()> {
        let sql = Rc::clone(&self.sql);
        sql.atomically(&mut || section(self))
    }

    fn rows(&self) -> Rows {
        self.sql.rows()
    }
}
