//! Many records in one statement: what a statement costs beside its rows is twice what a small row does. And those of one
//! collection, or all.

use super::{
    super::{Clock, LedgerResult, Record, value_of},
    Row as Columns, Sql, SqlLedger, SqlValue, integer, size, text, unexpected,
};
use crate::{
    ids::{Collection, Key, RecordId},
    time::Millis,
    version::Version,
};

/// Bytes of a record above which it is written by a statement of its own: what crosses as part of a larger text is escaped,
/// and read twice, which costs more than a statement (measured with lines of 200 to 4,000 bytes: the two meet at about 500).
const SHORT_MAX: usize = 512;
/// Records of one statement. With their names they have less than 450 KB; the platform binds 2 MB.
const TOGETHER_MAX: usize = 256;
/// Names of one statement that reads, with less than 600 KB.
const NAMES_MAX: usize = 1_000;

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
pub(in super::super) const PUT_RECORD: &str = put_records!("VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
// An element of the list is counted as a row read.
pub(in super::super) const PUT_RECORDS: &str = put_records!(
    "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7 \
     FROM json_each(?1) WHERE true"
);
// Neither a line nor the text of its clocks has a line feed. A record that is not there leaves its place out.
pub(in super::super) const RECORDS: &str = "SELECT wanted.key || ' ' || version || ' ' || writer || ' ' || \
     foreign_version || ' ' || ifnull(deleted_at, '') || char(10) || ifnull(fields, '') || char(10) || line \
     FROM json_each(?1) AS wanted CROSS JOIN records ON collection = wanted.value ->> 0 AND records.id = wanted.value ->> 1";

pub(in super::super) const RECORDS_OF: &str = "SELECT id, line FROM records \
     WHERE collection = ?1 AND id > ?2 AND deleted_at IS NULL ORDER BY id LIMIT ?3";
pub(in super::super) const COUNT_OF: &str =
    "SELECT count(*) FROM records WHERE collection = ?1 AND +deleted_at IS NULL";
// Without a condition, so that SQLite drops the pages and does not visit the rows.
pub(super) const ERASE_RECORDS: &str = "DELETE FROM records";

/// A row, in the order of its columns.
type Row<'a> = (&'a str, &'a str, u64, u64, u64, Option<u64>, &'a str, Option<String>);

fn row<'a>(key: &'a Key, record: &'a Record) -> LedgerResult<Row<'a>> {
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

impl<S: Sql> SqlLedger<S> {
    /// Writes records, short ones together.
    pub(super) fn write_records(&self, records: &[(&Key, &Record)]) -> LedgerResult<()> {
        let rows = records.iter().map(|(key, record)| row(key, record)).collect::<LedgerResult<Vec<_>>>()?;
        let bytes = |row: &Row<'_>| row.6.len() + row.7.as_ref().map_or(0, String::len);
        let (short, long): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| bytes(row) <= SHORT_MAX);
        for together in short.chunks(TOGETHER_MAX) {
            match together {
                [alone] => self.write_record(alone)?,
                _ => {
                    let rows = serde_json::to_string(together).map_err(|_| unexpected())?;
                    self.sql.query(PUT_RECORDS, &[SqlValue::Text(rows)])?;
                }
            }
        }
        long.iter().try_for_each(|row| self.write_record(row))
    }

    fn write_record(&self, row: &Row<'_>) -> LedgerResult<()> {
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
        self.sql.query(PUT_RECORD, &params).map(drop)
    }

    /// What stands under the first of `keys`, about `bytes_max` bytes of it.
    pub(super) fn read_records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>> {
        let keys = &keys[..keys.len().min(NAMES_MAX)];
        let names: Vec<_> = keys.iter().map(|key| (key.collection.as_str(), key.id.as_str())).collect();
        let names = serde_json::to_string(&names).map_err(|_| unexpected())?;
        let (rows, are_left) = self.sql.text(RECORDS, &[SqlValue::Text(names)], bytes_max)?;
        let mut records = Vec::with_capacity(keys.len());
        let mut lines = rows.lines();
        while let Some(clock) = lines.next() {
            let (fields, line) = lines.next().zip(lines.next()).ok_or_else(unexpected)?;
            let (at, record) = read(clock, fields, line).ok_or_else(unexpected)?;
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
            let mut row = Columns(columns.into_iter());
            let key = Key { collection: collection.clone(), id: RecordId::stored(&row.text()?) };
            let line = row.text()?;
            let value = value_of(&line, &key).to_owned();
            Ok((key.id, value))
        };
        rows.into_iter().map(read).collect()
    }
}

/// A row of [`RECORDS`] and its place among those that were asked for.
fn read(clock: &str, fields: &str, line: &str) -> Option<(usize, Record)> {
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
