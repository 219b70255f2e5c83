//! What pushes would do: everything is decided and checked here, in memory, before the first row is written.
//!
//! `part` takes as much of a push as a slice has room for, `judge` says what becomes of each mutation, `draft` applies it,
//! and `trial` tries what joins a conflict.

mod draft;
mod judge;
mod part;
mod transactions;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

pub(in crate::coordinator) use part::{Part, rejected_now};
use trial::Trial;

use crate::{
    coordinator::{
        conflicts::parking::Parking,
        ledger::{Client, Ledger, LedgerResult, Meta, OpenConflicts, Record},
        metering::DailyUsage,
        sharing::{invitations, members},
    },
    ids::{ClientId, Key, UserHash},
    limits,
    mutation::{Obstacle, Submitted, There},
    version::Version,
};

/// The effect of pushes that share a transaction, as rows to write.
#[derive(Debug)]
pub(in crate::coordinator) struct Plan {
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

/// The writer of reserved collections, which is no client: those are numbered from 1.
pub(in crate::coordinator) const OWN_WRITER: u64 = 0;

/// Clients by user and id.
pub(in crate::coordinator) type Clients = BTreeMap<(UserHash, ClientId), Client>;

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
    pub(in crate::coordinator) fn new(
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
    pub(in crate::coordinator) fn version(&self) -> Version {
        self.version
    }

    /// Bytes of record lines that this plan publishes, as a lower bound of what the tail grows by.
    #[must_use]
    pub(in crate::coordinator) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Bytes of record texts that have been read, or written, so far.
    #[must_use]
    pub(in crate::coordinator) fn work(&self) -> usize {
        self.work.since(Work::default())
    }

    /// Whether there is anything to write.
    #[must_use]
    pub(in crate::coordinator) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.clients.is_empty()
    }

    /// Writes what was planned: per changed record itself and its index entry, and a row per client. `last_says` gives the last of
    /// these the usage that it says, out of the one that it said before.
    ///
    /// # Errors
    /// When storage refuses a write; the caller's transaction takes the others back.
    pub(in crate::coordinator) fn write<L: Ledger>(
        &mut self,
        ledger: &mut L,
        last_says: &mut dyn FnMut(&L, &DailyUsage) -> DailyUsage,
    ) -> LedgerResult<()> {
        let planned = |key| self.records.get(key).and_then(Option::as_ref);
        let changed =
            self.changed.iter().map(|key| (key, planned(key).expect("BUG: a changed record is planned")));
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            ledger.put_records(&changed)?;
        }
        for key in self.changed.iter().filter(|key| key.collection == members::collection()) {
            invitations::note_set_by_hand(ledger, key.id.as_str(), self.version)?;
        }
        self.parking.write(ledger)?;
        if self.meta.writers != self.writers_before && !planted!(WritersNotCounted) {
            ledger.put_meta(&self.meta)?;
        }
        let mut left = self.clients.len();
        for ((user, client), row) in &mut self.clients {
            left -= 1;
            if left == 0 {
                row.usage = last_says(ledger, &row.usage);
            }
            let written = ledger.put_client(user, client, row);
            written.or_else(|error| if planted!(ErrorSwallowed) { Ok(()) } else { Err(error) })?;
        }
        for user in &self.newcomers {
            ledger.forget_clients(user, limits::CLIENTS_MAX)?;
        }
        Ok(())
    }

    /// What the caller keeps in memory once the plan is durable.
    #[must_use]
    pub(in crate::coordinator) fn into_state(
        self,
    ) -> (Meta, Option<BTreeSet<String>>, Option<OpenConflicts>, Clients) {
        (self.meta, self.collections, self.parking.into_open(), self.clients)
    }

    /// Whether clients that are remembered may have been forgotten to make room.
    #[must_use]
    pub(in crate::coordinator) fn has_newcomers(&self) -> bool {
        !self.newcomers.is_empty()
    }

    /// Reads the records that mutations name, together: each alone takes several times as long.
    fn read_ahead<L: Ledger>(&mut self, ledger: &L, mutations: &[Submitted]) -> LedgerResult<()> {
        let mutations = mutations.iter().filter_map(|submitted| submitted.intent.mutation());
        let keys = mutations.flat_map(|mutation| &mutation.changes).map(|change| &change.key);
        let unknown = keys.filter(|key| !self.records.contains_key(key) && !self.ahead.contains_key(key));
        let mut named = BTreeSet::new();
        named.extend(unknown);
        let unknown: Vec<_> = named.into_iter().collect();
        if unknown.len() > 1 {
            let records = ledger.records(&unknown, limits::GROUP_WORK_MAX)?;
            self.ahead.extend(unknown.into_iter().cloned().zip(records));
        }
        Ok(())
    }

    /// What is remembered of a client.
    fn client<L: Ledger>(
        &self,
        ledger: &L,
        remembered: &Clients,
        name: &(UserHash, ClientId),
    ) -> LedgerResult<Option<Client>> {
        match self.clients.get(name).or_else(|| remembered.get(name)) {
            Some(client) => Ok(Some(client.clone())),
            None => ledger.client(&name.0, &name.1),
        }
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
}

/// What stands under a key.
pub(in crate::coordinator) fn standing_of(key: &Key, record: Option<&Record>) -> Obstacle {
    Obstacle {
        key: key.clone(),
        version: record.map_or(Version::ZERO, |record| record.clock.version),
        there: match record.and_then(|record| record.value(key)) {
            Some(value) => There::Value(value.to_owned()),
            None => There::Nothing,
        },
    }
}
