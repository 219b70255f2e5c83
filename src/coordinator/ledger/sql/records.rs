//! Records and remembered deletions, one by one, many in one statement (what a statement costs beside its rows is twice
//! what a small row does), and as the lines that are published of them.

use super::{
    Sql, SqlLedger, SqlValue,
    row::{Row, all, first, integer, only, run, size, text, unexpected, version},
};
use crate::{
    coordinator::ledger::{Clock, LedgerResult, Lines, Record, RecordTable, line::value_of},
    ids::{Collection, Key, RecordId},
    time::Millis,
    version::Version,
};

pub(super) const TABLE: &str = "CREATE TABLE records (collection TEXT NOT NULL, id TEXT NOT NULL, \
     version INTEGER NOT NULL, writer INTEGER NOT NULL, foreign_version INTEGER NOT NULL, deleted_at INTEGER, \
     line TEXT NOT NULL, fields TEXT, PRIMARY KEY (collection, id)) STRICT, WITHOUT ROWID";
pub(super) const BY_VERSION: &str = "CREATE INDEX records_by_version ON records (version)";
// Partial, so that a put of a live record does not pay for it; it holds all that forgetting looks at, in the order in
// which it forgets.
pub(super) const DELETIONS_BY_VERSION: &str = "CREATE INDEX deletions_by_version \
     ON records (version, collection, id, deleted_at) WHERE deleted_at IS NOT NULL";

/// Bytes of a record above which it is written by a statement of its own: what crosses as part of a larger text is escaped,
/// and read twice, which costs more than a statement (measured with lines of 200 to 4,000 bytes: the two meet at about 500).
const SHORT_MAX: usize = 512;
/// Records of one statement. With their names they have less than 450 KB; the platform binds 2 MB.
const TOGETHER_MAX: usize = 256;
/// Names of one statement that reads, with less than 600 KB.
const NAMES_MAX: usize = 1_000;

pub(super) const NEWEST: &str = "SELECT ifnull(max(version), 0) FROM records";
pub(super) const RECORD: &str = "SELECT version, writer, foreign_version, deleted_at, line, fields FROM records \
     WHERE collection = ?1 AND id = ?2";
const VERSION_OF: &str = "SELECT version FROM records WHERE collection = ?1 AND id = ?2";
// One seek per collection. DISTINCT would read every record.
pub(super) const COLLECTIONS: &str = "WITH RECURSIVE names (name) AS (SELECT min(collection) FROM records UNION ALL \
     SELECT (SELECT min(collection) FROM records WHERE collection > name) FROM names WHERE name IS NOT NULL) \
     SELECT name FROM names WHERE name IS NOT NULL";

macro_rules! put_records {
    ($rows:literal) => {
        concat!(
            "INSERT INTO records (collection, id, version, writer, foreign_version, deleted_at, line, fields) ",
            $rows,
            " ON CONFLICT (collection, id) DO UPDATE SET version = excluded.version, writer = excluded.writer, \
             foreign_version = excluded.foreign_version, deleted_at = excluded.deleted_at, line = excluded.line, \
             fields = excluded.fields"
        )
    };
}
pub(super) const PUT_RECORD: &str = put_records!("VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
// An element of the list is counted as a row read.
pub(super) const PUT_RECORDS: &str = put_records!(
    "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7 \
     FROM json_each(?1) WHERE true"
);
// Neither a line nor the text of its clocks has a line feed. A record that is not there leaves its place out.
pub(super) const RECORDS: &str = "SELECT wanted.key || ' ' || version || ' ' || writer || ' ' || \
     foreign_version || ' ' || ifnull(deleted_at, '') || char(10) || ifnull(fields, '') || char(10) || line \
     FROM json_each(?1) AS wanted CROSS JOIN records ON collection = wanted.value ->> 0 AND records.id = wanted.value ->> 1";

const RECORDS_OF: &str = "SELECT id, line FROM records \
     WHERE collection = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3";
const COUNT_OF: &str = "SELECT count(*) FROM records WHERE collection = ?1 AND +deleted_at IS NULL";
// Without a condition, so that SQLite drops the pages and does not visit the rows.
const ERASE_RECORDS: &str = "DELETE FROM records";

macro_rules! lines_where {
    ($condition:literal) => {
        concat!("SELECT '{\"version\":' || version || ',' || line FROM records WHERE ", $condition)
    };
}
pub(super) const LINES_AFTER: &str = lines_where!("version > ?1 ORDER BY version, collection, id");
pub(super) const LINES_AT: &str = lines_where!("version = ?1 ORDER BY collection, id");
// The plus keeps SQLite from taking the index by version, which would sort all that qualify before the first line.
pub(super) const LINES_BY_KEY: &str =
    lines_where!("(collection, id) > (?1, ?2) AND +version <= ?3 ORDER BY collection, id");
pub(super) const LINES_BY_VERSION: &str = lines_where!(
    "(version, collection, id) > (?1, ?2, ?3) AND version <= ?4 ORDER BY version, collection, id"
);

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

/// A row as it is written, in the order of its columns.
type Written<'a> = (&'a str, &'a str, u64, u64, u64, Option<u64>, &'a str, Option<String>);

impl<S: Sql> RecordTable for SqlLedger<S> {
    fn newest(&self) -> LedgerResult<Version> {
        only(self.sql(), NEWEST, &[], Row::version)
    }

    fn record(&self, key: &Key) -> LedgerResult<Option<Record>> {
        first(self.sql(), RECORD, &name(key), |row| {
            let clock = Clock { version: row.version()?, writer: row.number()?, foreign: row.version()? };
            let (deleted_at, line) = (row.number_or_null()?.map(Millis), row.text()?);
            let fields =
                row.text_or_null()?.map(|json| serde_json::from_str(&json).map_err(|_| unexpected()));
            Ok(Record { clock, deleted_at, line, fields: fields.transpose()? })
        })
    }

    fn version_of(&self, key: &Key) -> LedgerResult<Version> {
        Ok(first(self.sql(), VERSION_OF, &name(key), Row::version)?.unwrap_or(Version::ZERO))
    }

    fn records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>> {
        let keys = &keys[..keys.len().min(NAMES_MAX)];
        let names: Vec<_> = keys.iter().map(|key| (key.collection.as_str(), key.id.as_str())).collect();
        let names = serde_json::to_string(&names).map_err(|_| unexpected())?;
        let (rows, are_left) = self.sql().text(RECORDS, &[SqlValue::Text(names)], bytes_max)?;
        let mut records = Vec::with_capacity(keys.len());
        let mut lines = rows.lines();
        while let Some(clock) = lines.next() {
            let (fields, line) = lines.next().zip(lines.next()).ok_or_else(unexpected)?;
            let (at, record) = parse(clock, fields, line).ok_or_else(unexpected)?;
            if at < records.len() || at >= keys.len() {
                return Err(unexpected());
            }
            records.resize(at, None);
            records.push(Some(record));
        }
        // What comes behind the last row that was read may be there or not.
        if !are_left {
            records.resize(keys.len(), None);
        }
        Ok(records)
    }

    fn put_records(&mut self, records: &[(&Key, &Record)]) -> LedgerResult<()> {
        let rows =
            records.iter().map(|(key, record)| written(key, record)).collect::<LedgerResult<Vec<_>>>()?;
        let bytes = |row: &Written<'_>| row.6.len() + row.7.as_ref().map_or(0, String::len);
        let (short, long): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| bytes(row) <= SHORT_MAX);
        for together in short.chunks(TOGETHER_MAX) {
            match together {
                [alone] => write_one(self.sql(), alone)?,
                _ => {
                    let rows = serde_json::to_string(together).map_err(|_| unexpected())?;
                    run(self.sql(), PUT_RECORDS, &[SqlValue::Text(rows)])?;
                }
            }
        }
        long.iter().try_for_each(|row| write_one(self.sql(), row))
    }

    fn collections(&self) -> LedgerResult<Vec<String>> {
        all(self.sql(), COLLECTIONS, &[], Row::text)
    }

    fn lines_after(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines> {
        let (mut text, rows_left) = self.sql().text(LINES_AFTER, &[version(after)], bytes_max)?;
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
        let (text, _) = self.sql().text(LINES_AT, &[version(last)], usize::MAX)?;
        Ok(Lines { text, last: Some(last), more: self.newest()? > last })
    }

    fn lines_by_key(&self, after: Option<&Key>, to: Version, bytes_max: usize) -> LedgerResult<Lines> {
        // No name is empty, so empty names come before all others.
        let [collection, id] = after.map_or([text(""), text("")], name);
        let (text, more) = self.sql().text(LINES_BY_KEY, &[collection, id, version(to)], bytes_max)?;
        Ok(Lines { last: last_version(&text)?, text, more })
    }

    fn lines_by_version(
        &self,
        (from, after): (Version, Option<&Key>),
        to: Version,
        bytes_max: usize,
    ) -> LedgerResult<Lines> {
        let [collection, id] = after.map_or([text(""), text("")], name);
        let from = if after.is_some() { from } else { from.next() };
        let params = [version(from), collection, id, version(to)];
        let (text, more) = self.sql().text(LINES_BY_VERSION, &params, bytes_max)?;
        Ok(Lines { last: last_version(&text)?, text, more })
    }

    fn newest_deletion_before(&self, before: Millis) -> LedgerResult<Option<Version>> {
        first(self.sql(), NEWEST_DELETION, &[integer(before.0)], Row::version)
    }

    fn forget_deletions(
        &mut self,
        before: Millis,
        to: Version,
        count: usize,
    ) -> LedgerResult<Option<Version>> {
        let params = [integer(before.0), version(to), size(count)];
        let newest = only(self.sql(), NEWEST_OF_DELETIONS, &params, Row::version_or_null)?;
        if newest.is_some() {
            run(self.sql(), FORGET_DELETIONS, &params)?;
        }
        Ok(newest)
    }

    fn records_of(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>> {
        // No id is empty, so an empty one comes before all others.
        let after = after.map_or("", RecordId::as_str);
        all(self.sql(), RECORDS_OF, &[text(collection.as_str()), text(after), size(count)], |row| {
            let key = Key { collection: collection.clone(), id: RecordId::stored(&row.text()?) };
            let value = value_of(&row.text()?, &key).to_owned();
            Ok((key.id, value))
        })
    }

    fn count_of(&self, collection: &Collection) -> LedgerResult<usize> {
        only(self.sql(), COUNT_OF, &[text(collection.as_str())], Row::size)
    }

    fn erase_records(&mut self) -> LedgerResult<()> {
        run(self.sql(), ERASE_RECORDS, &[])
    }
}

fn write_one(sql: &impl Sql, row: &Written<'_>) -> LedgerResult<()> {
    let (collection, id, version, writer, foreign, deleted_at, line, fields) = row;
    let params = [
        text(collection),
        text(id),
        integer(*version),
        integer(*writer),
        integer(*foreign),
        deleted_at.map_or(SqlValue::Null, integer),
        text(line),
        fields.as_deref().map_or(SqlValue::Null, text),
    ];
    run(sql, PUT_RECORD, &params)
}

fn name(key: &Key) -> [SqlValue; 2] {
    [text(key.collection.as_str()), text(key.id.as_str())]
}

fn written<'a>(key: &'a Key, record: &'a Record) -> LedgerResult<Written<'a>> {
    assert!(!record.line.contains('\n'), "BUG: a line feed inside a line would break every page it is on");
    let Clock { version, writer, foreign } = record.clock;
    let fields = record.fields.as_ref().map(|clocks| serde_json::to_string(clocks).map_err(|_| unexpected()));
    Ok((
        key.collection.as_str(),
        key.id.as_str(),
        version.get(),
        writer,
        foreign.get(),
        record.deleted_at.map(|at| at.0),
        &record.line,
        fields.transpose()?,
    ))
}

/// A row of [`RECORDS`] and its place among those that were asked for.
fn parse(clock: &str, fields: &str, line: &str) -> Option<(usize, Record)> {
    let mut words = clock.split(' ');
    let place = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let clock =
        Clock { version: Version::new(number()?)?, writer: number()?, foreign: Version::new(number()?)? };
    let deleted_at = match words.next()? {
        "" => None,
        at => Some(Millis(at.parse().ok()?)),
    };
    let fields = match fields {
        "" => None,
        json => Some(serde_json::from_str(json).ok()?),
    };
    Some((place, Record { clock, deleted_at, line: line.to_owned(), fields }))
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
