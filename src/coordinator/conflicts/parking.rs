//! Conflicts: a mutation that conflicts is parked whole, those of its client that rest on it join it, and a resolution
//! closes it. What is parked is an edit that was acknowledged, so nothing here is ever dropped but by a resolution.
//!
//! A conflict is announced by a record of `$conflicts`, which syncs like data and holds names only.

mod resolve;

pub(in crate::coordinator) use resolve::Resolved;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::{
    coordinator::ledger::{Conflict, Ledger, LedgerError, LedgerResult, Meta, OpenConflicts, ParkedChange},
    ids::{Collection, Key, RecordId, UserHash},
    json::{elements, json_text},
    limits::{self, ParkedMax},
    mutation::{Mutation, RejectCode, Rejection, Submitted},
    version::{ConflictId, Version},
};

/// The conflicts that a plan has looked at, as they will be when it is written.
#[derive(Debug)]
pub(in crate::coordinator) struct Parking {
    pub(in crate::coordinator) max: ParkedMax,
    conflicts: BTreeMap<Version, Option<Held>>,
    /// How many are open, once somebody has asked.
    open: Option<OpenConflicts>,
    /// Bytes of what it has read of them and not told yet.
    read: usize,
}

/// A conflict in memory.
#[derive(Debug)]
struct Held {
    row: Conflict,
    touches: Touches,
    /// How many of its changes are in storage; none of a conflict that this plan has opened.
    stored: u64,
    /// Changes that this plan parks, behind those.
    parked: Vec<ParkedChange>,
    is_closed: bool,
}

/// What the parked mutations of a conflict rest on and change.
#[derive(Debug, Default)]
struct Touches {
    records: BTreeSet<Key>,
    /// Of the names of those.
    bytes: usize,
    /// Older conflicts that a mutation parked here follows as well: their edits come first.
    rests_on: BTreeSet<Version>,
}

/// Where a mutation joins, and the older conflicts that it rests on as well.
#[derive(Debug)]
pub(in crate::coordinator) struct Joining {
    pub(in crate::coordinator) opened: Version,
    pub(in crate::coordinator) rests_on: BTreeSet<Version>,
}

/// The record that announces a conflict.
#[must_use]
pub(in crate::coordinator) fn key_of(id: &ConflictId) -> Key {
    Key { collection: Collection::stored("$conflicts"), id: RecordId::stored(&id.to_string()) }
}

/// The records that what is parked under a conflict touches.
pub(in crate::coordinator) fn touched_by(row: &Conflict) -> LedgerResult<BTreeSet<Key>> {
    Touches::parse(&row.touches).map(|touches| touches.records)
}

/// The texts of a mutation's changes, as they are parked.
pub(in crate::coordinator) fn parkable(submitted: &Submitted) -> Vec<ParkedChange> {
    let parked = |change: &str| ParkedChange { mutation: submitted.id, text: change.to_owned() };
    elements(&submitted.changes).map(parked).collect()
}

impl Parking {
    /// Nothing has been looked at; `open` says how many are open, if that is known.
    pub(in crate::coordinator) fn new(max: ParkedMax, open: Option<OpenConflicts>) -> Self {
        Self { max, conflicts: BTreeMap::new(), open, read: 0 }
    }

    /// The conflict of that name, if it is open.
    fn open<L: Ledger>(&mut self, ledger: &L, id: &ConflictId) -> LedgerResult<Option<&mut Held>> {
        let held = self.opened_at(ledger, id.opened)?;
        Ok(held.filter(|held| held.row.id == *id))
    }

    /// The conflict of that name, if it is open and of that user: another's can be followed no more than a closed one.
    fn open_of<L: Ledger>(
        &mut self,
        ledger: &L,
        id: &ConflictId,
        user: &UserHash,
    ) -> LedgerResult<Option<&mut Held>> {
        Ok(self.open(ledger, id)?.filter(|held| held.row.user == *user))
    }

    fn opened_at<L: Ledger>(&mut self, ledger: &L, opened: Version) -> LedgerResult<Option<&mut Held>> {
        let held = match self.conflicts.entry(opened) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let row = ledger.conflict(opened)?;
                self.read += limits::ROW_BYTES + row.as_ref().map_or(0, |row| row.touches.len());
                unknown.insert(row.map(Held::stored).transpose()?)
            }
        };
        Ok(held.as_mut().filter(|held| !held.is_closed))
    }

    /// Why `user` may not open one more conflict, if that is so: in a shared space nobody takes the room of the others, and
    /// nobody makes us look at more and more without ever taking in what became of it.
    pub(in crate::coordinator) fn no_room<L: Ledger>(
        &mut self,
        ledger: &L,
        meta: &Meta,
        user: &UserHash,
        unacknowledged: &[ConflictId],
    ) -> LedgerResult<Option<Rejection>> {
        let open = match &self.open {
            Some(open) => open,
            None => {
                let mut open = ledger.open_conflicts()?;
                // To group them each is read twice.
                self.read += 2 * open.values().sum::<usize>() * limits::ROW_BYTES;
                // Storage does not know yet what this plan has closed.
                self.conflicts.values().flatten().filter(|held| held.is_closed).for_each(|held| {
                    count_closed(&mut open, &held.row.user);
                });
                self.open.insert(open)
            }
        };
        let own = open.get(user).copied().unwrap_or_default();
        let all: usize = open.values().sum();
        let why = if unacknowledged.len() >= self.max.unacked {
            "1,000 conflicts are not acknowledged: send acked"
        } else if meta.space.is_some() && own >= self.max.of_user && !planted!(ShareIgnored) {
            "a user has at most 1,000 open conflicts in a shared space: resolve some first"
        } else if all >= self.max.conflicts {
            "a space has at most 10,000 open conflicts"
        } else {
            return Ok(None);
        };
        Ok(Some(too_many(why)))
    }

    /// How many conflicts are open, if that was asked for: what is known once this is written.
    pub(in crate::coordinator) fn into_open(self) -> Option<OpenConflicts> {
        self.open
    }

    /// Bytes that were read of conflicts since this was asked.
    pub(in crate::coordinator) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    /// Whether the names that the conflicts of a client touch, which it has not acknowledged, leave room for more: they are
    /// looked at with each of its mutations.
    pub(in crate::coordinator) fn has_room_for_names(
        &self,
        unacknowledged: &[ConflictId],
        touched: &BTreeSet<Key>,
    ) -> bool {
        let held = unacknowledged.iter().filter_map(|id| self.conflicts.get(&id.opened)?.as_ref());
        let known: usize = held.filter(|held| !held.is_closed).map(|held| held.touches.bytes).sum();
        known + touched.iter().map(bytes_of_name).sum::<usize>() <= limits::CONFLICT_NAMES_BYTES_MAX
    }

    /// Whether a mutation was made behind a parked one whose conflict has been closed since, which its client does not know:
    /// it names it, or has not acknowledged its result. What the parked one would have made may then not be there.
    pub(in crate::coordinator) fn has_lost_ground<L: Ledger>(
        &mut self,
        ledger: &L,
        mutation: &Mutation,
        user: &UserHash,
        unacknowledged: &[ConflictId],
    ) -> LedgerResult<bool> {
        for id in mutation.after.iter().chain(unacknowledged) {
            if self.open_of(ledger, id, user)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The conflict that a mutation joins: the newest one that it follows. It names open ones of its user, or it touches a
    /// record of one whose result its client has not acknowledged, as it was made without knowing of it.
    pub(in crate::coordinator) fn joined_by<L: Ledger>(
        &mut self,
        ledger: &L,
        mutation: &Mutation,
        user: &UserHash,
        unacknowledged: &[ConflictId],
    ) -> LedgerResult<Result<Option<Joining>, Rejection>> {
        // A resolution was made in the knowledge of what stands, and parking one under a conflict that it closes would
        // close a circle.
        if mutation.changes.is_empty() || !mutation.resolutions.is_empty() || planted!(DependantsApplied) {
            return Ok(Ok(None));
        }
        let (mut rests_on, mut names) = (BTreeSet::new(), 0);
        for id in mutation.after.iter().filter(|_| !planted!(AfterIgnored)) {
            if let Some(held) = self.open_of(ledger, id, user)?
                && rests_on.insert(id.opened)
            {
                names += held.touches.bytes;
            }
            if names > limits::CONFLICT_NAMES_BYTES_MAX {
                return Ok(Err(too_many("the conflicts that it follows touch too many records")));
            }
            if planted!(AfterOneOnly) {
                break;
            }
        }
        for id in unacknowledged {
            let Some(held) = self.open(ledger, id)? else { continue };
            if mutation.changes.iter().any(|change| held.touches.records.contains(&change.key)) {
                rests_on.insert(id.opened);
            }
        }
        let newest = rests_on.pop_last();
        Ok(Ok(newest.map(|opened| Joining { opened, rests_on })))
    }

    /// Whether a conflict may wait for those as well that a joining mutation rests on.
    pub(in crate::coordinator) fn may_wait(&self, joining: &Joining) -> bool {
        let held = self.conflicts.get(&joining.opened).and_then(Option::as_ref);
        let held = held.expect("BUG: a conflict that is joined was looked at");
        held.touches.rests_on.union(&joining.rests_on).count() <= limits::CONFLICT_CHANGES_MAX
    }

    /// Opens a conflict and returns the announcement of it.
    pub(in crate::coordinator) fn park(
        &mut self,
        row: Conflict,
        touched: BTreeSet<Key>,
        parked: Vec<ParkedChange>,
    ) -> String {
        let mut touches = Touches::default();
        touches.add(touched);
        let opened = row.id.opened;
        if let Some(open) = &mut self.open {
            *open.entry(row.user.clone()).or_default() += 1;
        }
        let mut held = Held { row, touches, stored: 0, parked: Vec::new(), is_closed: false };
        held.add(parked);
        let announcement = held.announcement();
        let before = self.conflicts.insert(opened, Some(held));
        assert!(before.flatten().is_none(), "BUG: two conflicts were opened at {opened}");
        announcement
    }

    /// Parks a mutation behind those of a conflict, and returns the conflict with its announcement.
    pub(in crate::coordinator) fn join(
        &mut self,
        joining: Joining,
        touched: BTreeSet<Key>,
        parked: Vec<ParkedChange>,
    ) -> (ConflictId, String) {
        let held = self.conflicts.get_mut(&joining.opened).and_then(Option::as_mut);
        let held = held.expect("BUG: a conflict that is joined was looked at");
        held.touches.add(touched);
        held.touches.rests_on.extend(joining.rests_on);
        held.add(if planted!(JoinedLost) { Vec::new() } else { parked });
        (held.row.id.clone(), held.announcement())
    }

    /// Closes a conflict that a resolution names.
    pub(in crate::coordinator) fn close(&mut self, id: &ConflictId) {
        let held = self.conflicts.get_mut(&id.opened).and_then(Option::as_mut);
        let held = held.expect("BUG: a conflict that is closed was looked at");
        held.is_closed = true;
        if let Some(open) = self.open.as_mut().filter(|_| !planted!(ShareNotGivenBack)) {
            count_closed(open, &held.row.user);
        }
    }

    /// Writes what has changed: a row per conflict and one per change that is parked; a closed one's are removed.
    pub(in crate::coordinator) fn write<L: Ledger>(&self, ledger: &mut L) -> LedgerResult<()> {
        for held in self.conflicts.values().flatten() {
            let opened = held.row.id.opened;
            if held.is_closed {
                if held.stored > 0 {
                    ledger.close_conflict(opened)?;
                }
                continue;
            }
            if held.parked.is_empty() {
                continue;
            }
            ledger.put_conflict(&Conflict { touches: held.touches.text(), ..held.row.clone() })?;
            let parked = if planted!(ParkedByHalves) { &held.parked[..1] } else { &held.parked[..] };
            for (at, change) in (held.stored..).zip(parked) {
                ledger.park(opened, at, change)?;
            }
        }
        Ok(())
    }
}

impl Held {
    fn stored(row: Conflict) -> LedgerResult<Self> {
        let touches = Touches::parse(&row.touches)?;
        Ok(Self { stored: row.changes, touches, row, parked: Vec::new(), is_closed: false })
    }

    fn add(&mut self, parked: Vec<ParkedChange>) {
        self.row.changes += parked.len() as u64;
        self.row.bytes += bytes_of(&parked);
        self.parked.extend(parked);
    }

    fn announcement(&self) -> String {
        let Conflict { user, client, at, .. } = &self.row;
        let records = self.touches.records.iter().take(limits::CONFLICT_NAMES_MAX);
        let records: Vec<_> = records
            .map(|key| {
                format!("{{\"collection\":\"{}\",\"id\":{}}}", key.collection, json_text(key.id.as_str()))
            })
            .collect();
        format!(
            "{{\"user\":\"{}\",\"client\":\"{client}\",\"at\":{},\"records\":[{}],\"count\":{}}}",
            user.as_str(),
            at.0,
            records.join(","),
            self.touches.records.len()
        )
    }
}

impl Touches {
    fn add(&mut self, touched: BTreeSet<Key>) {
        for key in touched {
            let bytes = bytes_of_name(&key);
            self.bytes += if self.records.insert(key) { bytes } else { 0 };
        }
    }

    /// Out of a row: a line with the versions that opened the older conflicts, then a line per record, its collection and
    /// its id, of which neither can contain a line feed.
    fn parse(text: &str) -> LedgerResult<Self> {
        let unexpected =
            || LedgerError::Failed("BUG: what a conflict touches is not what was written".to_owned());
        let mut touches = Self::default();
        let (first, lines) = text.split_once('\n').ok_or_else(unexpected)?;
        for opened in first.split_terminator(' ') {
            touches.rests_on.insert(Version::parse(opened).ok_or_else(unexpected)?);
        }
        for line in lines.split_terminator('\n') {
            let (collection, id) = line.split_once(' ').ok_or_else(unexpected)?;
            let key = Key { collection: Collection::stored(collection), id: RecordId::stored(id) };
            touches.bytes += bytes_of_name(&key);
            touches.records.insert(key);
        }
        Ok(touches)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for opened in &self.rests_on {
            text.push_str(&opened.to_string());
            text.push(' ');
        }
        text.push('\n');
        for key in &self.records {
            for part in [key.collection.as_str(), " ", key.id.as_str(), "\n"] {
                text.push_str(part);
            }
        }
        text
    }
}

fn count_closed(open: &mut OpenConflicts, user: &UserHash) {
    let of_user = open.get_mut(user).and_then(|open| Some((open.checked_sub(1)?, open)));
    let (left, open) = of_user.expect("BUG: more conflicts are closed than were open");
    *open = left;
}

fn bytes_of(parked: &[ParkedChange]) -> u64 {
    parked.iter().map(|change| change.text.len() as u64).sum()
}

/// What a key takes in memory.
fn bytes_of_name(key: &Key) -> usize {
    key.collection.as_str().len() + key.id.as_str().len() + limits::NAME_BYTES
}

/// The rejection of a mutation for which there is no room to be parked.
pub(in crate::coordinator) fn too_many(detail: &'static str) -> Rejection {
    Rejection::new(RejectCode::TooManyConflicts, detail)
}
