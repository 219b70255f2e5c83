//! SQLite itself behind the port [`Sql`], with the platform's limits and a way to fail.

use std::{cell::Cell, rc::Rc};

use rusqlite::{Connection, ErrorCode, Row, ToSql, types::ValueRef};

use crate::coordinator::ledger::{LedgerError, LedgerResult, Rows, Sql, SqlValue};

/// A database in memory. A clone is the same database, as an object that starts anew finds it.
#[derive(Debug, Clone)]
pub(crate) struct Sqlite {
    pub(crate) database: Rc<Connection>,
    fail: Rc<Cell<Option<u64>>>,
    writes: Rc<Cell<u64>>,
}

impl Sqlite {
    pub(crate) fn in_memory() -> Self {
        let database = Connection::open_in_memory().expect("a database in memory");
        Self { database: Rc::new(database), fail: Rc::default(), writes: Rc::default() }
    }

    /// Lets the n-th further statement that writes fail, once.
    pub(crate) fn fail_write(&self, n: u64) {
        assert!(n > 0, "the first further write is number 1");
        self.fail.set(Some(n));
    }

    /// How many statements have asked to write, the failed ones included.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.get()
    }

    fn run<T>(
        &self,
        sql: &str,
        params: &[SqlValue],
        read: impl FnOnce(&mut rusqlite::Rows<'_>) -> rusqlite::Result<T>,
    ) -> LedgerResult<T> {
        assert!(params.len() <= 100, "the platform binds at most 100 parameters");
        assert!(sql.len() <= 100_000, "the platform takes at most 100 KB of SQL");
        let mut statement = self.database.prepare_cached(sql).map_err(failed)?;
        if !statement.readonly() {
            self.writes.set(self.writes.get() + 1);
            let left = self.fail.get().map(|n| n - 1);
            self.fail.set(left.filter(|left| *left > 0));
            if left == Some(0) {
                return Err(LedgerError::Failed("a write failed because a test said so".to_owned()));
            }
        }
        let params: Vec<_> = params.iter().map(bound).collect();
        let params: Vec<&dyn ToSql> = params.iter().map(|param| &**param).collect();
        let mut rows = statement.query(&params[..]).map_err(failed)?;
        read(&mut rows).map_err(failed)
    }
}

impl Sql for Sqlite {
    fn rows(&self) -> Rows {
        Rows::default()
    }

    fn query(&self, sql: &str, params: &[SqlValue]) -> LedgerResult<Vec<Vec<SqlValue>>> {
        self.run(sql, params, |rows| {
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(columns(row)?);
            }
            Ok(all)
        })
    }

    fn text(&self, sql: &str, params: &[SqlValue], bytes_max: usize) -> LedgerResult<(String, bool)> {
        self.run(sql, params, |rows| {
            let mut text = String::new();
            while let Some(row) = rows.next()? {
                if text.len() > bytes_max {
                    return Ok((text, true));
                }
                text.push_str(row.get_ref(0)?.as_str()?);
                text.push('\n');
            }
            Ok((text, false))
        })
    }

    fn atomically(&self, section: &mut dyn FnMut() -> LedgerResult<()>) -> LedgerResult<()> {
        self.database.execute_batch("SAVEPOINT section").map_err(failed)?;
        let result = section();
        // SQLite has ended the transaction itself if the database is full.
        if !self.database.is_autocommit() {
            let end = if result.is_ok() { "RELEASE section" } else { "ROLLBACK TO section; RELEASE section" };
            self.database.execute_batch(end).map_err(failed)?;
        }
        result
    }
}

/// Integers travel as doubles, as they do on the platform.
fn bound(value: &SqlValue) -> Box<dyn ToSql> {
    match value {
        SqlValue::Null => Box::new(rusqlite::types::Null),
        SqlValue::Integer(integer) => {
            assert!(integer.unsigned_abs() < 1 << 53, "the platform would round {integer}");
            Box::new(*integer as f64)
        }
        SqlValue::Text(text) => {
            assert!(text.len() <= 2_000_000, "the platform takes at most 2 MB of text");
            Box::new(text.clone())
        }
    }
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Vec<SqlValue>> {
    (0..row.as_ref().column_count())
        .map(|column| match row.get_ref(column)? {
            ValueRef::Null => Ok(SqlValue::Null),
            ValueRef::Integer(integer) => Ok(SqlValue::Integer(integer)),
            value => Ok(SqlValue::Text(value.as_str()?.to_owned())),
        })
        .collect()
}

fn failed(error: rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LedgerError::Full,
        _ => LedgerError::Failed(error.to_string()),
    }
}
