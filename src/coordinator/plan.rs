//! What pushes would do: everything is decided and checked here, in memory, before the first row is written.

mod judge;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use trial::Trial;

use super::{
    ledger::{Client, Clock, Ledger, LedgerResult, Meta, OpenConflicts, Record, deleted_line, live_line},
    merge,
    numbering::History,
    parking::Parking,
    queue::{self, Progress, Waiting},
};
use crate::{
    call::OnConflict,
    ids::{ClientId, Key, UserHash},
    limits::{self, SliceMax},
    protocol::{
        error::ApiError,
        push::{
            Change, MutationResult, Op, PushRequest, RejectCode, Rejection, Settled, Standing, Submitted,
            There,
        },
    },
    time::Millis,
    version::{ConflictId, Position, Version},
};

/// The effect of pushes that share a transaction, as rows to write.
#[derive(Debug)]
pub(super) struct Plan {
    meta: Meta,
    writers_before: u64,
    version: Version,
    records: BTreeMap<Key, Option<Record>>,
    /// What was read together of records that nobody has asked for yet.
    ahead: BTreeMap<Key, Option<Record>>,
    changed: BTreeSet<Key>,
    clients: Clients,
    newcomers: BTreeSet<UserHash>,
    collections: Option<BTreeSet<String>>,
    line_bytes: usize,
    /// What has been done so far.
    work: Work,
    /// Bytes of `records` for which the answer to its push has room.
    records_room: usize,
    /// Parked changes that the push has taken out so far.
    push_parked: usize,
    parking: Parking,
    /// Of conflicts that mutations have joined, by when those were opened.
    trials: BTreeMap<Version, Trial>,
}

/// How far a push gets with a plan.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) progress: Progress,
    pub(super) is_whole: bool,
}

/// Who pushes, and what holds for all mutations of the push.
struct Author<'a> {
    user: &'a UserHash,
    client: &'a ClientId,
    writer: u64,
    on_conflict: Option<OnConflict>,
    /// Conflicts of which the client did not know when it made the mutation.
    unacknowledged: Vec<ConflictId>,
    now: Millis,
}

/// The writer of reserved collections, which is no client: those are numbered from 1.
pub(super) const OWN_WRITER: u64 = 0;

/// Clients by user and id.
pub(super) type Clients = BTreeMap<(UserHash, ClientId), Client>;

/// What one mutation does, kept apart until it is known to succeed as a whole.
#[derive(Debug, Default)]
struct Draft<'a> {
    values: BTreeMap<Key, DraftValue<'a>>,
    /// Bytes of those values.
    bytes: usize,
    /// What has been done for them.
    work: Work,
    /// Whether an operation found no record and did nothing.
    found_nothing: bool,
    /// Whether one of those wanted something else than that no record is there.
    is_in_vain: bool,
}

/// Why a change cannot follow those of a draft.
enum Unfit {
    /// It is not defined on what stands there.
    Change(Rejection),
    /// All of them together are more than one mutation may do.
    Whole(Rejection),
}

#[derive(Debug)]
struct DraftValue<'a> {
    before: Option<Record>,
    value: Option<String>,
    /// The top-level fields that operations named; none once one of them saw to the whole record.
    tops: Option<Vec<&'a str>>,
    /// Whether the record was absent at any moment: then all its fields count as touched.
    was_absent: bool,
}

/// Bytes of record texts that were read from storage, and that operations have written, each time anew.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    read: usize,
    written: usize,
}

impl Work {
    /// Whichever is more of what was done after `before`.
    fn since(self, before: Self) -> usize {
        (self.read - before.read).max(self.written - before.written)
    }
}

impl Plan {
    /// A plan that begins at the durable state: `version` is its version, `collections` its collections if known, `parking`
    /// how many conflicts are open.
    #[must_use]
    pub(super) fn new(
        meta: Meta,
        version: Version,
        collections: Option<BTreeSet<String>>,
        parking: Parking,
    ) -> Self {
        Self {
            writers_before: meta.writers,
            meta,
            version,
            records: BTreeMap::new(),
            ahead: BTreeMap::new(),
            changed: BTreeSet::new(),
            clients: BTreeMap::new(),
            newcomers: BTreeSet::new(),
            collections,
            line_bytes: 0,
            work: Work::default(),
            records_room: 0,
            push_parked: 0,
            parking,
            trials: BTreeMap::new(),
        }
    }

    /// The version after everything planned so far.
    #[must_use]
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Bytes of record lines that this plan publishes, as a lower bound of what the tail grows by.
    #[must_use]
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Bytes of record texts that have been read, or written, so far.
    #[must_use]
    pub(super) fn work(&self) -> usize {
        self.work.since(Work::default())
    }

    /// Whether there is anything to write.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.clients.is_empty()
    }

    /// Plans as much of a push as one slice takes, behind what was planned before. An [`ApiError`] means that nothing of it is.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub(super) fn part<L: Ledger>(
        &mut self,
        ledger: &L,
        remembered: &Clients,
        waiting: &Waiting,
        max: SliceMax,
        now: Millis,
    ) -> LedgerResult<Result<Part, ApiError>> {
        let (push, work_before) = (&waiting.push, self.work());
        let anybody = planted!(ClientIdIsAnybodys).then(|| UserHash::new("", ""));
        let user = anybody.as_ref().unwrap_or(&waiting.user);
        let name = (user.clone(), push.client.clone());
        let known = match self.clients.get(&name).or_else(|| remembered.get(&name)) {
            Some(client) => Some(client.clone()),
            None => ledger.client(user, &push.client)?,
        };
        let mut history = History::of(known.as_ref());
        let settled = match self.admit(&history, push) {
            Ok(settled) => settled,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let acked = known.as_ref().map_or(0, |client| client.acked);
        let first = push.mutations.first().map(|first| first.id);
        // What it sends its client has no result of, whatever it says: those results are kept until the push is done.
        let acked_now = push.acked.max(acked).min(history.last());
        let acked_now = first.map_or(acked_now, |first| acked_now.min(first - 1));
        let mut progress = waiting.progress.clone().unwrap_or_else(|| Progress::begin(acked_now));
        progress.results.extend(settled.into_iter().skip(progress.results.len()));
        let begin = progress.results.len();
        let nothing_new = begin == push.mutations.len() && push.acked.min(history.last()) <= acked;
        // What its client has acknowledged it does not send again: a later push has overtaken this one, or it is a restored
        // backup's. What follows was made without knowing those results, and is sent again with what they say.
        let is_overtaken = waiting.progress.is_none() && first.is_some_and(|first| first <= acked);
        if nothing_new || is_overtaken || (known.is_none() && push.mutations.is_empty()) {
            return Ok(Ok(Part { progress, is_whole: true }));
        }
        if let Some(limit) = progress.limit().filter(|_| begin < push.mutations.len()) {
            return Ok(Err(ApiError::TooLarge(limit)));
        }
        let writer = known.as_ref().map_or_else(|| self.newcomer(user), |client| client.writer);
        let mut by = Author {
            user,
            client: &push.client,
            writer,
            on_conflict: push.on_conflict,
            unacknowledged: history.conflicts_above(progress.acked),
            now,
        };
        (self.push_parked, self.records_room) = (progress.parked, progress.records_room);
        let rest = &push.mutations[begin..];
        let slice = &rest[..queue::fitting(rest, max)];
        self.read_ahead(ledger, slice)?;
        for (at, submitted) in slice.iter().enumerate() {
            let is_much = self.work() > limits::GROUP_WORK_MAX || self.push_parked >= limits::CHANGES_MAX;
            if is_much && at > 0 {
                break;
            }
            let settled = match &submitted.mutation {
                Ok(mutation) => self.mutation(ledger, submitted, mutation, &by)?,
                Err(rejection) => Settled::Rejected(rejection.clone()),
            };
            if let Settled::Conflict { id, .. } = &settled
                && !by.unacknowledged.contains(id)
            {
                by.unacknowledged.push(id.clone());
            }
            if !(planted!(RejectionNotNoted) && matches!(settled, Settled::Rejected(_))) {
                history.settle(&submitted.digest, &settled);
            }
            progress.results.push(MutationResult { id: submitted.id, settled, duplicate: false });
        }
        // A result that it has not had yet it cannot have stored, whatever another history has told it.
        history.acknowledge(progress.acked);
        let is_whole = progress.results.len() == push.mutations.len();
        if is_whole || !planted!(PrefixNotNoted) {
            let (last, acked) = (history.last(), progress.acked);
            let client = Client { writer, last, acked, used_at: now, history: history.text() };
            self.clients.insert(name, client);
        }
        (progress.parked, progress.records_room) = (self.push_parked, self.records_room);
        progress.work += self.work() - work_before;
        Ok(Ok(Part { progress, is_whole }))
    }

    /// The results of those mutations of a push that are settled, or why it is refused as it stands.
    fn admit(&self, history: &History, push: &PushRequest) -> Result<Vec<MutationResult>, ApiError> {
        let is_of_another = push.epoch.as_ref().is_some_and(|epoch| *epoch != self.meta.epoch);
        // What stands above this history belongs to another one, whose epoch had the same name before storage went back.
        if is_of_another || push.since.is_some_and(|since| since > self.version) {
            let position = Position { epoch: self.meta.epoch.clone(), version: self.version };
            let settled = history.settled(push);
            let (last, more) = history.in_common(push, settled.len());
            let settled = if planted!(ResultsLeftOut) { Vec::new() } else { settled };
            return Err(ApiError::EpochMismatch { position, last, settled, more });
        }
        let settled = history.admit(push)?;
        if planted!(BadMutationBlocks) && push.mutations.iter().any(|submitted| submitted.mutation.is_err()) {
            return Err(ApiError::Internal);
        }
        Ok(if planted!(RepeatsApplied) { Vec::new() } else { settled })
    }

    /// Writes what was planned: per changed record itself and its index entry, and a row per client.
    ///
    /// # Errors
    /// When storage refuses a write; the caller's transaction takes the others back.
    pub(super) fn write<L: Ledger>(&self, ledger: &mut L) -> LedgerResult<()> {
        let planned = |key| self.records.get(key).and_then(Option::as_ref);
        let changed =
            self.changed.iter().map(|key| (key, planned(key).expect("BUG: a changed record is planned")));
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            ledger.put_records(&changed)?;
        }
        self.parking.write(ledger)?;
        for ((user, client), row) in &self.clients {
            let written = ledger.put_client(user, client, row);
            written.or_else(|error| if planted!(ErrorSwallowed) { Ok(()) } else { Err(error) })?;
        }
        for user in &self.newcomers {
            ledger.forget_clients(user, limits::CLIENTS_MAX)?;
        }
        if self.meta.writers != self.writers_before && !planted!(WritersNotCounted) {
            ledger.put_meta(&self.meta)?;
        }
        Ok(())
    }

    /// What the caller keeps in memory once the plan is durable.
    #[must_use]
    pub(super) fn into_state(self) -> (Meta, Option<BTreeSet<String>>, Option<OpenConflicts>, Clients) {
        (self.meta, self.collections, self.parking.into_open(), self.clients)
    }

    /// Whether clients that are remembered may have been forgotten to make room.
    #[must_use]
    pub(super) fn has_newcomers(&self) -> bool {
        !self.newcomers.is_empty()
    }

    fn newcomer(&mut self, user: &UserHash) -> u64 {
        self.newcomers.insert(user.clone());
        self.meta.writers += 1;
        self.meta.writers
    }

    /// Reads the records that mutations name, together: each alone takes several times as long.
    fn read_ahead<L: Ledger>(&mut self, ledger: &L, mutations: &[Submitted]) -> LedgerResult<()> {
        let mutations = mutations.iter().filter_map(|submitted| submitted.mutation.as_ref().ok());
        let keys = mutations.flat_map(|mutation| &mutation.changes).map(|change| &change.key);
        let unknown = keys.filter(|key| !self.records.contains_key(key) && !self.ahead.contains_key(key));
        let unknown: Vec<_> = unknown.collect::<BTreeSet<_>>().into_iter().collect();
        if unknown.len() > 1 {
            let records = ledger.records(&unknown, limits::GROUP_WORK_MAX)?;
            self.ahead.extend(unknown.into_iter().cloned().zip(records));
        }
        Ok(())
    }

    fn record<L: Ledger>(&mut self, ledger: &L, key: &Key) -> LedgerResult<Option<&Record>> {
        if !self.records.contains_key(key) {
            let record = match self.ahead.remove(key) {
                Some(record) => record,
                None => ledger.record(key)?,
            };
            self.work.read += record.as_ref().map_or(0, |record| record.line.len());
            self.records.insert(key.clone(), record);
        }
        Ok(self.records.get(key).and_then(Option::as_ref))
    }

    /// Applies the changes in order, beside the plan; so many bytes were read to know them.
    fn draft<'a, L: Ledger>(
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
    fn extend<L: Ledger>(
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

    fn has_room_for<L: Ledger>(&mut self, ledger: &L, draft: &Draft<'_>) -> LedgerResult<bool> {
        let made = draft.values.iter().filter(|(_, entry)| entry.before.is_none() && entry.value.is_some());
        let names: BTreeSet<&str> =
            made.map(|(key, _)| key.collection.as_str()).fold(BTreeSet::new(), |mut names, name| {
                names.insert(name);
                names
            });
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
    fn adopt(&mut self, draft: Draft<'_>, writer: u64, now: Millis) -> Version {
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

fn too_many_collections() -> Rejection {
    Rejection::new(RejectCode::QuotaExceeded, "a space has at most 200 collections")
}

fn too_much_work() -> Rejection {
    let rule =
        "what a mutation reads or writes has at most 16 MiB, a record counted as often as it is changed";
    Rejection::new(RejectCode::TooLarge, rule)
}

/// What stands under a key.
pub(super) fn standing_of(key: &Key, record: Option<&Record>) -> Standing {
    Standing {
        key: key.clone(),
        version: record.map_or(Version::ZERO, |record| record.clock.version),
        there: match record.and_then(|record| record.value(key)) {
            Some(value) => There::Value(value.to_owned()),
            None => There::Nothing,
        },
    }
}
