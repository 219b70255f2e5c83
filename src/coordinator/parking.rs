//! Conflicts: a mutation that conflicts is parked whole, those of its client that rest on it join it, and a resolution
//! closes it. What is parked is an edit that was acknowledged, so nothing here is ever dropped but by a resolution.
//!
//! A conflict is announced by a record of `$conflicts`, which syncs like data and holds names only.

mod resolve;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::ledger::{Conflict, Ledger, LedgerError, LedgerResult, ParkedChange};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    limits,
    protocol::push::{Mutation, RejectCode, Rejection, Submitted},
    value::{elements, json_text},
    version::{ConflictId, Version},
};

/// The conflicts that a plan has looked at, as they will be when it is written.
#[derive(Debug, Default)]
pub(super) struct Parking {
    conflicts: BTreeMap<Version, Option<Held>>,
    open: Option<usize>,
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
    /// Older conflicts that touch records of a mutation parked here: their edits come first.
    rests_on: Vec<Version>,
}

/// Where a mutation joins, and the older conflicts that it rests on as well.
#[derive(Debug)]
pub(super) struct Joining {
    opened: Version,
    rests_on: Vec<Version>,
}

/// The record that announces a conflict.
#[must_use]
pub(super) fn key_of(id: &ConflictId) -> Key {
    Key { collection: Collection::stored("$conflicts"), id: RecordId::stored(&id.to_string()) }
}

/// The records that what is parked under a conflict touches.
pub(super) fn touched_by(row: &Conflict) -> LedgerResult<BTreeSet<Key>> {
    Touches::parse(&row.touches).map(|touches| touches.records)
}

/// The texts of a mutation's changes, as they are parked.
pub(super) fn parkable(submitted: &Submitted) -> Vec<ParkedChange> {
    let parked = |change: &str| ParkedChange { mutation: submitted.id, text: change.to_owned() };
    elements(&submitted.changes).map(parked).collect()
}

impl Parking {
    /// The conflict of that name, if it is open.
    fn open<L: Ledger>(&mut self, ledger: &L, id: &ConflictId) -> LedgerResult<Option<&mut Held>> {
        let held = self.opened_at(ledger, id.opened)?;
        Ok(held.filter(|held| held.row.id == *id))
    }

    fn opened_at<L: Ledger>(&mut self, ledger: &L, opened: Version) -> LedgerResult<Option<&mut Held>> {
        let held = match self.conflicts.entry(opened) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let row = ledger.conflict(opened)?;
                self.read += row.as_ref().map_or(0, |row| row.touches.len());
                unknown.insert(row.map(Held::stored).transpose()?)
            }
        };
        Ok(held.as_mut().filter(|held| !held.is_closed))
    }

    /// Whether one more may be opened.
    pub(super) fn has_room<L: Ledger>(&mut self, ledger: &L) -> LedgerResult<bool> {
        let open = match self.open {
            Some(open) => open,
            None => *self.open.insert(ledger.open_conflicts()?),
        };
        Ok(open < limits::CONFLICTS_MAX)
    }

    /// Bytes that were read of conflicts since this was asked.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    /// Whether the names that the conflicts of a client touch, which it has not acknowledged, leave room for more: they are
    /// looked at with each of its mutations.
    pub(super) fn has_room_for_names(&self, unacknowledged: &[ConflictId], touched: &BTreeSet<Key>) -> bool {
        let held = unacknowledged.iter().filter_map(|id| self.conflicts.get(&id.opened)?.as_ref());
        let known: usize = held.filter(|held| !held.is_closed).map(|held| held.touches.bytes).sum();
        known + touched.iter().map(bytes_of_name).sum::<usize>() <= limits::CONFLICT_NAMES_BYTES_MAX
    }

    /// Whether a mutation was made behind a parked one whose conflict has been closed since, which its client does not know:
    /// it names it, or has not acknowledged its result. What the parked one would have made may then not be there.
    pub(super) fn has_lost_ground<L: Ledger>(
        &mut self,
        ledger: &L,
        mutation: &Mutation,
        unacknowledged: &[ConflictId],
    ) -> LedgerResult<bool> {
        for id in mutation.after.iter().chain(unacknowledged) {
            if self.open(ledger, id)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The conflict that a mutation joins: the newest one that it names or rests on. It names an open one of its user, or it
    /// touches a record of one whose result its client has not acknowledged, as it was made without knowing of it.
    pub(super) fn joined_by<L: Ledger>(
        &mut self,
        ledger: &L,
        mutation: &Mutation,
        user: &UserHash,
        unacknowledged: &[ConflictId],
    ) -> LedgerResult<Option<Joining>> {
        // A resolution was made in the knowledge of what stands, and parking one under a conflict that it closes would
        // close a circle.
        if mutation.changes.is_empty() || !mutation.resolutions.is_empty() || planted!(DependantsApplied) {
            return Ok(None);
        }
        let mut rests_on = Vec::new();
        if let Some(after) = mutation.after.as_ref().filter(|_| !planted!(AfterIgnored))
            && self.open(ledger, after)?.is_some_and(|held| held.row.user == *user)
        {
            rests_on.push(after.opened);
        }
        for id in unacknowledged {
            let Some(held) = self.open(ledger, id)? else { continue };
            if mutation.changes.iter().any(|change| held.touches.records.contains(&change.key)) {
                rests_on.push(id.opened);
            }
        }
        let newest = rests_on.iter().max().copied();
        Ok(newest.map(|opened| {
            rests_on.retain(|older| *older != opened);
            Joining { opened, rests_on }
        }))
    }

    /// Opens a conflict and returns the announcement of it.
    pub(super) fn park(
        &mut self,
        row: Conflict,
        touched: BTreeSet<Key>,
        parked: Vec<ParkedChange>,
    ) -> String {
        let mut touches = Touches::default();
        touches.add(touched);
        let opened = row.id.opened;
        let mut held = Held { row, touches, stored: 0, parked: Vec::new(), is_closed: false };
        held.add(parked);
        let announcement = held.announcement();
        let before = self.conflicts.insert(opened, Some(held));
        assert!(before.flatten().is_none(), "BUG: two conflicts were opened at {opened}");
        self.open = self.open.map(|open| open + 1);
        announcement
    }

    /// Parks a mutation behind those of a conflict, and returns the conflict with its announcement.
    ///
    /// # Errors
    /// A [`Rejection`] when the conflict has no room for it.
    pub(super) fn join(
        &mut self,
        joining: Joining,
        touched: BTreeSet<Key>,
        parked: Vec<ParkedChange>,
    ) -> Result<(ConflictId, String), Rejection> {
        let held = self.conflicts.get_mut(&joining.opened).and_then(Option::as_mut);
        let held = held.expect("BUG: a conflict that is joined was looked at");
        let (changes, bytes) = (held.row.changes + parked.len() as u64, held.row.bytes + bytes_of(&parked));
        let new = touched.iter().filter(|key| !held.touches.records.contains(*key)).count();
        let records = held.touches.records.len() + new;
        if changes > limits::CONFLICT_CHANGES_MAX as u64
            || bytes > limits::CONFLICT_TEXT_MAX as u64
            || records > limits::CONFLICT_CHANGES_MAX
        {
            return Err(too_many("it belongs to a conflict that has no room left: resolve that first"));
        }
        held.touches.add(touched);
        for older in joining.rests_on {
            if !held.touches.rests_on.contains(&older) {
                held.touches.rests_on.push(older);
            }
        }
        held.add(if planted!(JoinedLost) { Vec::new() } else { parked });
        Ok((held.row.id.clone(), held.announcement()))
    }

    /// Closes a conflict that a resolution names.
    pub(super) fn close(&mut self, id: &ConflictId) {
        let held = self.conflicts.get_mut(&id.opened).and_then(Option::as_mut);
        held.expect("BUG: a conflict that is closed was looked at").is_closed = true;
        self.open = self.open.map(|open| open - 1);
    }

    /// Writes what has changed: a row per conflict and one per change that is parked; a closed one's are removed.
    pub(super) fn write<L: Ledger>(&self, ledger: &mut L) -> LedgerResult<()> {
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
            touches.rests_on.push(Version::parse(opened).ok_or_else(unexpected)?);
        }
        for line in lines.split_terminator('\n') {
            let (collection, id) = line.split_once(' ').ok_or_else(unexpected)?;
            let key = Key { collection: Collection::stored(collection), id: RecordId::stored(id) };
            touches.records.insert(key);
        }
        touches.bytes = lines.len();
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

fn bytes_of(parked: &[ParkedChange]) -> u64 {
    parked.iter().map(|change| change.text.len() as u64).sum()
}

/// A line of [`Touches::text`].
fn bytes_of_name(key: &Key) -> usize {
    key.collection.as_str().len() + key.id.as_str().len() + 2
}

/// The rejection of a mutation for which there is no room to be parked.
pub(super) fn too_many(detail: &'static str) -> Rejection {
    Rejection::new(RejectCode::TooManyConflicts, detail)
}
