//! What one mutation does, applied beside the plan and adopted as its next step.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    coordinator::{
        ledger::{Clock, Ledger, LedgerResult, Record, deleted_line, live_line},
        push::{
            merge,
            plan::{OWN_WRITER, Plan, Work},
        },
    },
    ids::Key,
    limits,
    mutation::{Change, Op, RejectCode, Rejection},
    time::Millis,
    version::Version,
};

/// What one mutation does, kept apart until it is known to succeed as a whole.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct Draft<'a> {
    pub(in crate::coordinator) values: BTreeMap<Key, DraftValue<'a>>,
    /// Bytes of those values.
    pub(in crate::coordinator) bytes: usize,
    /// What has been done for them.
    pub(super) work: Work,
    /// Whether an operation found no record and did nothing.
    pub(in crate::coordinator) found_nothing: bool,
    /// Whether one of those wanted something else than that no record is there.
    pub(in crate::coordinator) is_in_vain: bool,
}

/// Why a change cannot follow those of a draft.
pub(in crate::coordinator) enum Unfit {
    /// It is not defined on what stands there.
    Change(Rejection),
    /// All of them together are more than one mutation may do.
    Whole(Rejection),
}

#[derive(Debug)]
pub(in crate::coordinator) struct DraftValue<'a> {
    pub(in crate::coordinator) before: Option<Record>,
    pub(in crate::coordinator) value: Option<String>,
    /// The top-level fields that operations named; none once one of them saw to the whole record.
    pub(in crate::coordinator) tops: Option<Vec<&'a str>>,
    /// Whether the record was absent at any moment: then all its fields count as touched.
    pub(in crate::coordinator) was_absent: bool,
}

impl Plan {
    /// Applies the changes in order, beside the plan; so many bytes were read to know them.
    pub(in crate::coordinator) fn draft<'a, L: Ledger>(
        &mut self,
        ledger: &L,
        changes: &'a [Change],
        read: usize,
    ) -> LedgerResult<Result<Draft<'a>, Rejection>> {
        let mut draft = Draft { work: Work { read, written: 0 }, ..Draft::default() };
        for change in changes {
            match self.extend(ledger, &mut draft, change)? {
                Ok(()) => {}
                Err(Unfit::Change(rejection) | Unfit::Whole(rejection)) => return Ok(Err(rejection)),
            }
            let entry = draft.values.get_mut(&change.key).expect("BUG: the draft holds the record");
            entry.tops = entry.tops.take().zip(merge::tops(&change.op)).map(|(mut tops, more)| {
                tops.extend(more);
                tops
            });
        }
        if self.has_room_for(ledger, &draft)? {
            return Ok(Ok(draft));
        }
        Ok(Err(too_many_collections()))
    }

    /// Applies a change behind those of a draft.
    pub(in crate::coordinator) fn extend<L: Ledger>(
        &mut self,
        ledger: &L,
        draft: &mut Draft<'_>,
        change: &Change,
    ) -> LedgerResult<Result<(), Unfit>> {
        let key = &change.key;
        if !draft.values.contains_key(key) {
            let before = self.record(ledger, key)?.cloned();
            let value = before.as_ref().and_then(|record| record.value(key)).map(str::to_owned);
            draft.bytes += value.as_ref().map_or(0, String::len);
            draft.work.read += before.as_ref().map_or(0, |record| record.line.len());
            let was_absent = value.is_none();
            let tops = Some(Vec::new());
            draft.values.insert(key.clone(), DraftValue { before, value, tops, was_absent });
        }
        let entry = draft.values.get_mut(key).expect("BUG: the draft holds the record");
        let value = match merge::apply(&change.op, entry.value.as_deref()) {
            Ok(value) => value,
            Err(rejection) => return Ok(Err(Unfit::Change(rejection))),
        };
        let is_absent = entry.value.is_none() && value.is_none();
        draft.found_nothing |= is_absent;
        draft.is_in_vain |= is_absent && !matches!(change.op, Op::Delete);
        entry.was_absent |= value.is_none();
        let written = value.as_ref().map_or(0, String::len);
        draft.bytes = draft.bytes - entry.value.as_ref().map_or(0, String::len) + written;
        draft.work.written += written;
        self.work.written += written;
        entry.value = value;
        if draft.work.since(Work::default()) > limits::MUTATION_WORK_MAX {
            return Ok(Err(Unfit::Whole(too_much_work())));
        }
        if draft.bytes > limits::MUTATION_VALUES_MAX {
            let rule = "the records that a mutation changes have at most 4 MiB";
            return Ok(Err(Unfit::Whole(Rejection::new(RejectCode::TooLarge, rule))));
        }
        Ok(Ok(()))
    }

    pub(in crate::coordinator) fn has_room_for<L: Ledger>(
        &mut self,
        ledger: &L,
        draft: &Draft<'_>,
    ) -> LedgerResult<bool> {
        let made = draft.values.iter().filter(|(_, entry)| entry.before.is_none() && entry.value.is_some());
        let mut names = BTreeSet::new();
        names.extend(made.map(|(key, _)| key.collection.as_str()));
        self.has_room_for_collections(ledger, names)
    }

    /// Whether the space may have these collections too.
    pub(super) fn has_room_for_collections<L: Ledger>(
        &mut self,
        ledger: &L,
        mut names: BTreeSet<&str>,
    ) -> LedgerResult<bool> {
        names.retain(|name| !name.starts_with('$'));
        if names.is_empty() {
            return Ok(true);
        }
        let collections = match &mut self.collections {
            Some(collections) => collections,
            None => {
                let known = self.collections.insert(BTreeSet::new());
                // What Headwater writes itself does not count.
                known.extend(ledger.collections()?.into_iter().filter(|name| !name.starts_with('$')));
                known
            }
        };
        let new = names.into_iter().filter(|name| !collections.contains(*name)).count();
        Ok(new == 0 || collections.len() + new <= limits::COLLECTIONS_MAX)
    }

    /// Takes the draft over as the next step, if it changes anything, and returns the version.
    pub(in crate::coordinator) fn adopt(&mut self, draft: Draft<'_>, writer: u64, now: Millis) -> Version {
        let changed: Vec<_> = draft
            .values
            .into_iter()
            .filter(|(key, entry)| {
                entry.before.as_ref().and_then(|record| record.value(key)) != entry.value.as_deref()
            })
            .collect();
        if changed.is_empty() {
            return self.version;
        }
        self.trials.retain(|_, trial| !changed.iter().any(|(key, _)| trial.rests_on(key)));
        self.version = self.version.next();
        let room = if planted!(MutationNotWhole) { 1 } else { changed.len() };
        for (key, entry) in changed.into_iter().take(room) {
            let is_own = key.collection.as_str().starts_with('$');
            let record = self.step(&key, entry, if is_own { OWN_WRITER } else { writer }, now);
            self.line_bytes += record.line.len() + 24;
            if let Some(collections) = self.collections.as_mut().filter(|_| !is_own) {
                collections.insert(key.collection.as_str().to_owned());
            }
            self.records.insert(key.clone(), Some(record));
            self.changed.insert(key);
        }
        self.version
    }

    fn step(&self, key: &Key, entry: DraftValue<'_>, writer: u64, now: Millis) -> Record {
        let clock = Clock::tick(entry.before.as_ref().map(|record| record.clock), writer, self.version);
        let Some(value) = entry.value else {
            return Record { clock, deleted_at: Some(now), line: deleted_line(key), fields: None };
        };
        let fields = entry.before.as_ref().filter(|_| !entry.was_absent).and_then(|record| {
            let before = record.value(key).unwrap_or("{}");
            merge::field_clocks(record, (before, &value), entry.tops, writer, self.version)
        });
        Record { clock, deleted_at: None, line: live_line(key, &value), fields }
    }
}

pub(in crate::coordinator) fn too_many_collections() -> Rejection {
    Rejection::new(RejectCode::QuotaExceeded, "a space has at most 200 collections")
}

pub(in crate::coordinator) fn too_much_work() -> Rejection {
    let rule =
        "what a mutation reads or writes has at most 16 MiB, a record counted as often as it is changed";
    Rejection::new(RejectCode::TooLarge, rule)
}
