//! Statements and their rows: types of this crate as bound parameters, and columns as types again.

use super::{Sql, SqlValue};
use crate::{
    coordinator::ledger::{LedgerError, LedgerResult},
    version::Version,
};

/// The columns of a row, from left to right. A column that is not what our own statement wrote is an error and not a
/// panic: a panic would take the other objects of the isolate along, at every request to this one.
pub(super) struct Row(std::vec::IntoIter<SqlValue>);

impl Row {
    pub(super) fn number_or_null(&mut self) -> LedgerResult<Option<u64>> {
        match self.0.next() {
            Some(SqlValue::Null) => Ok(None),
            Some(SqlValue::Integer(number)) => number.try_into().map(Some).map_err(|_| unexpected()),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn number(&mut self) -> LedgerResult<u64> {
        self.number_or_null()?.ok_or_else(unexpected)
    }

    pub(super) fn size(&mut self) -> LedgerResult<usize> {
        usize::try_from(self.number()?).map_err(|_| unexpected())
    }

    pub(super) fn version_or_null(&mut self) -> LedgerResult<Option<Version>> {
        let version = |number| Version::new(number).ok_or_else(unexpected);
        self.number_or_null()?.map(version).transpose()
    }

    pub(super) fn version(&mut self) -> LedgerResult<Version> {
        self.version_or_null()?.ok_or_else(unexpected)
    }

    pub(super) fn text_or_null(&mut self) -> LedgerResult<Option<String>> {
        match self.0.next() {
            Some(SqlValue::Null) => Ok(None),
            Some(SqlValue::Text(text)) => Ok(Some(text)),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn text(&mut self) -> LedgerResult<String> {
        self.text_or_null()?.ok_or_else(unexpected)
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> LedgerResult<T> {
        parse(&self.text()?).ok_or_else(unexpected)
    }
}

/// Runs a statement that gives no rows.
pub(super) fn run(sql: &impl Sql, statement: &str, params: &[SqlValue]) -> LedgerResult<()> {
    sql.query(statement, params).map(drop)
}

/// The first row of a query, if it has one.
pub(super) fn first<T>(
    sql: &impl Sql,
    statement: &str,
    params: &[SqlValue],
    read: impl FnOnce(&mut Row) -> LedgerResult<T>,
) -> LedgerResult<Option<T>> {
    let row = sql.query(statement, params)?.into_iter().next();
    row.map(|columns| read(&mut Row(columns.into_iter()))).transpose()
}

/// The one row of a query that always has one.
pub(super) fn only<T>(
    sql: &impl Sql,
    statement: &str,
    params: &[SqlValue],
    read: impl FnOnce(&mut Row) -> LedgerResult<T>,
) -> LedgerResult<T> {
    first(sql, statement, params, read)?.ok_or_else(unexpected)
}

/// All rows of a query.
pub(super) fn all<T>(
    sql: &impl Sql,
    statement: &str,
    params: &[SqlValue],
    read: impl Fn(&mut Row) -> LedgerResult<T>,
) -> LedgerResult<Vec<T>> {
    let rows = sql.query(statement, params)?.into_iter();
    rows.map(|columns| read(&mut Row(columns.into_iter()))).collect()
}

pub(super) fn unexpected() -> LedgerError {
    LedgerError::Failed("BUG: a row is not what this ledger writes".to_owned())
}

pub(super) fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

pub(super) fn integer(number: u64) -> SqlValue {
    assert!(number <= Version::MAX.get(), "BUG: the platform's SQL would round an integer above 2^53-1");
    SqlValue::Integer(number as i64)
}

pub(super) fn version(version: Version) -> SqlValue {
    integer(version.get())
}

/// A number of rows; more than SQL can count is all of them.
pub(super) fn size(number: usize) -> SqlValue {
    integer((number as u64).min(Version::MAX.get()))
}
