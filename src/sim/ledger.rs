//! The ledger in memory: what the simulator and the tests of the rules run on.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    mem::replace,
    ops::{
        Bound::{Excluded, Unbounded},
        RangeInclusive,
    },
};

use crate::{
    coordinator::ledger::{
        Client, ClientTable, Conflict, ConflictTable, Ledger, LedgerError, LedgerResult, Lines, Meta,
        MetaTable, OpenConflicts, ParkedChange, PrivateTable, Record, RecordTable,
    },
    ids::{ClientId, Collection, Key, RecordId, UserHash},
    time::Millis,
    version::Version,
};

/// A ledger in memory. A clone is a copy of the space as it stands.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    /// With `Some(n)` the n-th further write fails, once. Every method that writes counts as one write. Storage does
    /// fail between two writes of a section, and whether anything is left of it can only be seen if a test can ask.
    pub fail_writes_after: Option<u64>,
    /// Rows that were written, as storage of the platform bills them: a record has an entry in an index.
    pub rows_written: u64,
    meta: Option<Meta>,
    records: BTreeMap<Key, Record>,
    keys: BTreeMap<Version, BTreeSet<Key>>,
    deletions: BTreeSet<(Version, Key)>,
    clients: BTreeMap<(UserHash, ClientId), Client>,
    conflicts: BTreeMap<Version, Conflict>,
    parked: BTreeMap<(Version, u64), ParkedChange>,
    private: BTreeMap<(String, String), String>,
    /// What the running sections have overwritten. A copy of everything would make each push cost what the space holds.
    undo: Vec<Row>,
    /// How many sections are running, one inside the other.
    sections: usize,
}

/// A row with what is in it; nothing if it is not there.
#[derive(Debug, Clone)]
enum Row {
    Meta(Option<Meta>),
    Record(Key, Option<Record>),
    Client((UserHash, ClientId), Option<Client>),
    Conflict(Version, Option<Conflict>),
    Parked((Version, u64), Option<ParkedChange>),
    Private((String, String), Option<String>),
}

impl MemoryLedger {
    /// Writes and removes rows as one write.
    fn write(&mut self, rows: impl IntoIterator<Item = Row>) -> LedgerResult<()> {
        if let Some(left) = self.fail_writes_after {
            self.fail_writes_after = left.checked_sub(1).filter(|left| *left > 0);
            if self.fail_writes_after.is_none() {
                return Err(LedgerError::Failed("a write failed because a test said so".to_owned()));
            }
        }
        for row in rows {
            self.rows_written += if let Row::Record(..) = row { 2 } else { 1 };
            self.set(row);
        }
        Ok(())
    }

    fn set(&mut self, row: Row) {
        let before = match row {
            Row::Meta(meta) => Row::Meta(replace(&mut self.meta, meta)),
            Row::Record(key, record) => {
                let before = self.set_record(&key, record);
                Row::Record(key, before)
            }
            Row::Client(key, client) => Row::Client(key.clone(), set(&mut self.clients, key, client)),
            Row::Conflict(opened, conflict) => {
                Row::Conflict(opened, set(&mut self.conflicts, opened, conflict))
            }
            Row::Parked(at, change) => Row::Parked(at, set(&mut self.parked, at, change)),
            Row::Private(key, text) => Row::Private(key.clone(), set(&mut self.private, key, text)),
        };
        if self.sections > 0 {
            self.undo.push(before);
        }
    }

    /// Writes or removes a record and its entries in the other orders, and returns what was there.
    fn set_record(&mut self, key: &Key, record: Option<Record>) -> Option<Record> {
        let before = self.records.remove(key);
        if let Some(before) = &before {
            let version = before.clock.version;
            let emptied = self.keys.get_mut(&version).is_some_and(|keys| keys.remove(key) && keys.is_empty());
            if emptied {
                self.keys.remove(&version);
            }
            if before.deleted_at.is_some() {
                self.deletions.remove(&(version, key.clone()));
            }
        }
        if let Some(record) = record {
            let version = record.clock.version;
            self.keys.entry(version).or_default().insert(key.clone());
            if record.deleted_at.is_some() {
                self.deletions.insert((version, key.clone()));
            }
            self.records.insert(key.clone(), record);
        }
        before
    }

    /// Removes what is parked under the conflicts of a range, as one write, and those conflicts, as another.
    fn close(&mut self, opened: RangeInclusive<Version>) -> LedgerResult<()> {
        let (first, last) = (*opened.start(), *opened.end());
        let parked = self.parked.range((first, 0)..=(last, u64::MAX));
        let parked: Vec<_> = parked.map(|(at, _)| Row::Parked(*at, None)).collect();
        self.write(parked)?;
        let conflicts = self.conflicts.range(opened);
        let conflicts: Vec<_> = conflicts.map(|(opened, _)| Row::Conflict(*opened, None)).collect();
        self.write(conflicts)
    }

    fn known(&self, key: &Key) -> &Record {
        self.records.get(key).expect("BUG: the order of versions names a record that is not there")
    }

    fn deleted_before(&self, key: &Key, before: Millis) -> bool {
        self.known(key).deleted_at.is_some_and(|at| at < before)
    }
}

/// Writes or removes an entry, and returns what was there.
fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl RecordTable for MemoryLedger {
    fn newest(&self) -> LedgerResult<Version> {
        Ok(self.keys.last_key_value().map_or(Version::ZERO, |(version, _)| *version))
    }

    fn record(&self, key: &Key) -> LedgerResult<Option<Record>> {
        Ok(self.records.get(key).cloned())
    }

    fn version_of(&self, key: &Key) -> LedgerResult<Version> {
        Ok(self.records.get(key).map_or(Version::ZERO, |record| record.clock.version))
    }

    fn records(&self, keys: &[&Key], bytes_max: usize) -> LedgerResult<Vec<Option<Record>>> {
        let mut bytes = 0;
        let read = |key: &&Key| {
            let record = self.records.get(key).cloned();
            (bytes <= bytes_max).then(|| {
                bytes += record.as_ref().map_or(0, |record| record.line.len());
                record
            })
        };
        Ok(keys.iter().map_while(read).collect())
    }

    fn put_records(&mut self, records: &[(&Key, &Record)]) -> LedgerResult<()> {
        let are_lines = records.iter().all(|(_, record)| !record.line.contains('\n'));
        assert!(are_lines, "BUG: a line feed inside a line would break every page it is on");
        self.write(records.iter().map(|(key, record)| Row::Record((*key).clone(), Some((*record).clone()))))
    }

    fn collections(&self) -> LedgerResult<Vec<String>> {
        let mut names: Vec<_> = self.records.keys().map(|key| key.collection.as_str()).collect();
        names.dedup();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn lines_after(&self, after: Version, bytes_max: usize) -> LedgerResult<Lines> {
        let mut lines = Lines::default();
        for (version, keys) in self.keys.range((Excluded(after), Unbounded)) {
            let room = if planted!(PageCutInsideVersion) { 1 } else { keys.len() };
            let whole: String = keys.iter().take(room).map(|key| self.known(key).published_line()).collect();
            if lines.last.is_some() && lines.text.len() + whole.len() > bytes_max {
                lines.more = true;
                break;
            }
            lines.text.push_str(&whole);
            lines.last = Some(*version);
        }
        Ok(lines)
    }

    fn lines_by_key(&self, after: Option<&Key>, to: Version, bytes_max: usize) -> LedgerResult<Lines> {
        let behind = self.records.range((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(slice(behind.map(|(_, record)| record).filter(|record| record.clock.version <= to), bytes_max))
    }

    fn lines_by_version(
        &self,
        (from, after): (Version, Option<&Key>),
        to: Version,
        bytes_max: usize,
    ) -> LedgerResult<Lines> {
        let versions = self.keys.range(from..).take_while(|(version, _)| **version <= to);
        let behind = versions.flat_map(|(version, keys)| {
            keys.iter().filter(move |key| *version > from || after.is_some_and(|after| *key > after))
        });
        Ok(slice(behind.map(|key| self.known(key)), bytes_max))
    }

    fn newest_deletion_before(&self, before: Millis) -> LedgerResult<Option<Version>> {
        let mut newest_first = self.deletions.iter().rev();
        Ok(newest_first.find(|(_, key)| self.deleted_before(key, before)).map(|(version, _)| *version))
    }

    fn forget_deletions(
        &mut self,
        before: Millis,
        to: Version,
        count: usize,
    ) -> LedgerResult<Option<Version>> {
        let candidates = self.deletions.iter().take_while(|(version, _)| *version <= to);
        let due = candidates.filter(|(_, key)| self.deleted_before(key, before));
        let slice: Vec<_> = due.take(count).cloned().collect();
        let Some((newest, _)) = slice.last() else { return Ok(None) };
        let newest = *newest;
        self.write(slice.into_iter().map(|(_, key)| Row::Record(key, None)))?;
        Ok(Some(newest))
    }

    fn records_of(
        &self,
        collection: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> LedgerResult<Vec<(RecordId, String)>> {
        // No id is empty, so an empty one comes before all others.
        let id = after.cloned().unwrap_or_else(|| RecordId::stored(""));
        let start = Key { collection: collection.clone(), id };
        let records = self.records.range((Excluded(start), Unbounded));
        let records = records.take_while(|(key, _)| key.collection == *collection);
        let live = records.filter_map(|(key, record)| Some((key.id.clone(), record.value(key)?.to_owned())));
        Ok(live.take(count).collect())
    }

    fn count_of(&self, collection: &Collection) -> LedgerResult<usize> {
        self.records_of(collection, None, usize::MAX).map(|records| records.len())
    }

    fn erase_records(&mut self) -> LedgerResult<()> {
        let records: Vec<_> = self.records.keys().map(|key| Row::Record(key.clone(), None)).collect();
        self.write(records)
    }
}

impl ClientTable for MemoryLedger {
    fn client(&self, user: &UserHash, client: &ClientId) -> LedgerResult<Option<Client>> {
        Ok(self.clients.get(&(user.clone(), client.clone())).cloned())
    }

    fn put_client(&mut self, user: &UserHash, client: &ClientId, row: &Client) -> LedgerResult<()> {
        self.write([Row::Client((user.clone(), client.clone()), Some(row.clone()))])
    }

    fn forget_clients(&mut self, user: &UserHash, keep: usize) -> LedgerResult<()> {
        let mut clients: Vec<_> = self.clients.iter().filter(|((of, _), _)| of == user).collect();
        clients.sort_by_key(|(_, row)| Reverse((row.used_at, row.writer)));
        let forgotten: Vec<_> =
            clients.into_iter().skip(keep).map(|(key, _)| Row::Client(key.clone(), None)).collect();
        self.write(forgotten)
    }

    fn erase_clients(&mut self) -> LedgerResult<()> {
        let clients: Vec<_> = self.clients.keys().map(|key| Row::Client(key.clone(), None)).collect();
        self.write(clients)
    }
}

impl ConflictTable for MemoryLedger {
    fn conflict(&self, opened: Version) -> LedgerResult<Option<Conflict>> {
        Ok(self.conflicts.get(&opened).cloned())
    }

    fn conflicts(
        &self,
        after: Version,
        user: Option<&UserHash>,
        count: usize,
    ) -> LedgerResult<Vec<Conflict>> {
        let conflicts = self.conflicts.range((Excluded(after), Unbounded)).map(|(_, conflict)| conflict);
        let of_user = conflicts.filter(|conflict| user.is_none_or(|user| conflict.user == *user));
        Ok(of_user.take(count).cloned().collect())
    }

    fn open_conflicts(&self) -> LedgerResult<OpenConflicts> {
        let mut open = OpenConflicts::new();
        for conflict in self.conflicts.values() {
            *open.entry(conflict.user.clone()).or_default() += 1;
        }
        Ok(open)
    }

    fn put_conflict(&mut self, conflict: &Conflict) -> LedgerResult<()> {
        self.write([Row::Conflict(conflict.id.opened, Some(conflict.clone()))])
    }

    fn parked(&self, opened: Version) -> LedgerResult<Vec<ParkedChange>> {
        let parked = self.parked.range((opened, 0)..=(opened, u64::MAX));
        Ok(parked.map(|(_, change)| change.clone()).collect())
    }

    fn park(&mut self, opened: Version, at: u64, change: &ParkedChange) -> LedgerResult<()> {
        self.write([Row::Parked((opened, at), Some(change.clone()))])
    }

    fn close_conflict(&mut self, opened: Version) -> LedgerResult<()> {
        self.close(opened..=opened)
    }

    fn close_conflicts(&mut self) -> LedgerResult<()> {
        self.close(Version::ZERO..=Version::MAX)
    }
}

impl PrivateTable for MemoryLedger {
    fn private(&self, kind: &str, key: &str) -> LedgerResult<Option<String>> {
        Ok(self.private.get(&(kind.to_owned(), key.to_owned())).cloned())
    }

    fn private_rows(&self, kind: &str, after: &str, count: usize) -> LedgerResult<Vec<(String, String)>> {
        let rows = self.private.range((Excluded((kind.to_owned(), after.to_owned())), Unbounded));
        let rows = rows.take_while(|((of, _), _)| of == kind).take(count);
        Ok(rows.map(|((_, key), text)| (key.clone(), text.clone())).collect())
    }

    fn put_private(&mut self, kind: &str, key: &str, text: &str) -> LedgerResult<()> {
        self.write([Row::Private((kind.to_owned(), key.to_owned()), Some(text.to_owned()))])
    }

    fn delete_private(&mut self, kind: &str, key: &str) -> LedgerResult<()> {
        self.write([Row::Private((kind.to_owned(), key.to_owned()), None)])
    }
}

impl MetaTable for MemoryLedger {
    fn meta(&self) -> LedgerResult<Option<Meta>> {
        Ok(self.meta.clone())
    }

    fn put_meta(&mut self, meta: &Meta) -> LedgerResult<()> {
        self.write([Row::Meta(Some(meta.clone()))])
    }
}

impl Ledger for MemoryLedger {
    fn atomically(&mut self, section: &mut dyn FnMut(&mut Self) -> LedgerResult<()>) -> LedgerResult<()> {
        let start = self.undo.len();
        self.sections += 1;
        let result = section(self);
        self.sections -= 1;
        if result.is_err() && !planted!(SectionNotRolledBack) {
            let overwritten = self.undo.split_off(start);
            overwritten.into_iter().rev().for_each(|row| self.set(row));
            // Inside another section that was remembered like any write. It is undone already.
            self.undo.truncate(start);
        }
        if self.sections == 0 {
            self.undo.clear();
        }
        result
    }
}

/// The first lines, about `bytes_max` bytes of them.
fn slice<'a>(records: impl Iterator<Item = &'a Record>, bytes_max: usize) -> Lines {
    let mut lines = Lines::default();
    for record in records {
        if lines.text.len() > bytes_max {
            lines.more = true;
            break;
        }
        lines.text.push_str(&record.published_line());
        lines.last = Some(record.clock.version);
    }
    lines
}
