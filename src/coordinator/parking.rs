//! Conflicts: a mutation that conflicts is parked whole, those of its client that rest on it join it, and a resolution
//! closes it. What is parked is an edit that was acknowledged, so nothing here is ever dropped but by a resolution.
//!
//! A conflict is announced by a record of `$conflicts`, which syncs like data and holds names only.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    ledger::{Conflict, Ledger, LedgerError, LedgerResult, Meta, ParkedChange},
    members,
};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    limits,
    protocol::{
        push::{Change, Decision, Mutation, Op, RejectCode, Rejection, Resolution, Submitted},
        role::Role,
    },
    version::{ConflictId, Version},
};

/// The conflicts that a plan has looked at, as they will be when it is written.
#[derive(Debug, Default)]
pub(super) struct Parking {
    conflicts: BTreeMap<Version, Option<Held>>,
    open: Option<usize>,
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
    /// Older conflicts that touch records of a mutation parked here: their edits come first.
    rests_on: BTreeSet<Version>,
}

/// [`Touches`] in a conflict's row.
#[derive(Serialize, Deserialize)]
struct TouchesText {
    records: Vec<(String, String)>,
    rests_on: Vec<Version>,
}

/// Where a mutation joins, and the older conflicts that it rests on as well.
#[derive(Debug)]
pub(super) struct Joining {
    opened: Version,
    rests_on: BTreeSet<Version>,
}

/// What a mutation with resolutions comes to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// To check and to apply, in order.
    pub(super) changes: Vec<Change>,
    /// Stands for records that the user has seen as of a base, to be checked as if they were put.
    pub(super) seen: Vec<Change>,
    /// The conflicts that it closes.
    pub(super) closed: Vec<ConflictId>,
    /// The records that they touch.
    pub(super) touched: BTreeSet<Key>,
    /// How many parked changes it takes out.
    pub(super) parked: usize,
    /// Bytes of their texts.
    pub(super) bytes: usize,
    /// How deep resolutions lie in each other.
    depth: usize,
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
    let changes = serde_json::from_str::<Vec<&RawValue>>(&submitted.changes);
    let changes = changes.expect("BUG: a mutation was read out of what is no list of changes");
    let parked = |change: &RawValue| ParkedChange { mutation: submitted.id, text: change.get().to_owned() };
    changes.into_iter().map(parked).collect()
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
            Entry::Vacant(unknown) => unknown.insert(ledger.conflict(opened)?.map(Held::stored).transpose()?),
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
        let mut rests_on = BTreeSet::new();
        if let Some(after) = mutation.after.as_ref().filter(|_| !planted!(AfterIgnored))
            && self.open(ledger, after)?.is_some_and(|held| held.row.user == *user)
        {
            rests_on.insert(after.opened);
        }
        for id in unacknowledged {
            let Some(held) = self.open(ledger, id)? else { continue };
            if mutation.changes.iter().any(|change| held.touches.records.contains(&change.key)) {
                rests_on.insert(id.opened);
            }
        }
        Ok(rests_on.pop_last().map(|opened| Joining { opened, rests_on }))
    }

    /// Opens a conflict and returns the announcement of it.
    pub(super) fn park(
        &mut self,
        row: Conflict,
        touched: BTreeSet<Key>,
        parked: Vec<ParkedChange>,
    ) -> String {
        let touches = Touches { records: touched, rests_on: BTreeSet::new() };
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
        let records = held.touches.records.union(&touched).count();
        if changes > limits::CONFLICT_CHANGES_MAX as u64
            || bytes > limits::CONFLICT_TEXT_MAX as u64
            || records > limits::CONFLICT_CHANGES_MAX
        {
            return Err(too_many("it belongs to a conflict that has no room left: resolve that first"));
        }
        held.touches.records.extend(touched);
        held.touches.rests_on.extend(joining.rests_on);
        held.add(if planted!(JoinedLost) { Vec::new() } else { parked });
        Ok((held.row.id.clone(), held.announcement()))
    }

    /// What the changes and resolutions of a mutation come to, as `user` may resolve.
    pub(super) fn resolve<L: Ledger>(
        &mut self,
        ledger: &L,
        meta: &Meta,
        user: &UserHash,
        mutation: &Mutation,
    ) -> LedgerResult<Result<Resolved, Rejection>> {
        let mut resolved = Resolved::default();
        let outcome = self.expand(ledger, (meta, user), mutation, 0, &mut resolved)?;
        Ok(outcome.map(|()| resolved))
    }

    /// Adds a mutation's changes and what its resolutions come to. The parked ones of a conflict may resolve others, which
    /// were opened before it, as nothing that resolves joins; so this ends.
    fn expand<L: Ledger>(
        &mut self,
        ledger: &L,
        who: (&Meta, &UserHash),
        mutation: &Mutation,
        depth: usize,
        resolved: &mut Resolved,
    ) -> LedgerResult<Result<(), Rejection>> {
        let mut from = 0;
        for resolution in &mutation.resolutions {
            resolved.changes.extend_from_slice(&mutation.changes[from..resolution.at]);
            from = resolution.at;
            if let Err(rejection) = self.expand_one(ledger, who, resolution, depth, resolved)? {
                return Ok(Err(rejection));
            }
        }
        resolved.changes.extend_from_slice(&mutation.changes[from..]);
        Ok(Ok(()))
    }

    fn expand_one<L: Ledger>(
        &mut self,
        ledger: &L,
        who: (&Meta, &UserHash),
        resolution: &Resolution,
        depth: usize,
        resolved: &mut Resolved,
    ) -> LedgerResult<Result<(), Rejection>> {
        let id = &resolution.conflict;
        let is_closed = resolved.closed.contains(id);
        let Some(held) = self.open(ledger, id)?.filter(|_| !is_closed) else {
            return Ok(Err(Rejection::new(RejectCode::NotFound, "the conflict is closed, or never was")));
        };
        if held.row.user != *who.1
            && !planted!(AnybodyResolves)
            && members::role_of(ledger, who.0, who.1)? < Some(Role::Owner)
        {
            return Ok(Err(Rejection::new(RejectCode::Forbidden, "the conflict is another user's")));
        }
        if let Err(rejection) = resolved.close(held, resolution.base, depth) {
            return Ok(Err(rejection));
        }
        match &resolution.decision {
            Decision::Theirs => return Ok(Ok(())),
            Decision::Records(records) => {
                // If this conflicts again, what follows it and touches one of them has to wait with it.
                resolved.touched.extend(records.iter().map(|record| record.key.clone()));
                resolved.changes.extend_from_slice(records);
                return Ok(Ok(()));
            }
            Decision::Mine => {}
        }
        let rests_on = held.touches.rests_on.clone();
        let stored = if held.stored > 0 { ledger.parked(id.opened)? } else { Vec::new() };
        let texts = stored.iter().chain(&held.parked).map(|change| change.text.as_str());
        let parked = match Mutation::parked(texts) {
            Ok(parked) => parked,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let earlier = |resolution: &Resolution| resolution.conflict.opened < id.opened;
        assert!(parked.resolutions.iter().all(earlier), "BUG: {id} resolves a conflict that came after it");
        if let Err(rejection) = self.expand(ledger, who, &parked, depth + 1, resolved)? {
            return Ok(Err(rejection));
        }
        if planted!(MineTakenTwice) {
            resolved.changes.extend_from_slice(&parked.changes);
        }
        for opened in rests_on {
            let is_closed = resolved.closed.iter().any(|id| id.opened == opened);
            if let Some(older) = self.opened_at(ledger, opened)?.filter(|_| !is_closed) {
                let detail =
                    format!("its edits follow those of an older conflict: resolve {} first", older.row.id);
                return Ok(Err(Rejection::new(RejectCode::InvalidValue, detail)));
            }
        }
        Ok(Ok(()))
    }

    /// Closes a conflict that a [`Resolved`] names.
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

impl Resolved {
    /// Whether the mutation, if it is parked itself, can be re-applied within the limits of one.
    pub(super) fn is_parkable(&self, mutation: &Mutation, submitted: &Submitted) -> bool {
        self.depth < limits::RESOLUTIONS_NESTED_MAX
            && self.parked + mutation.size() <= limits::CONFLICT_CHANGES_MAX
            && self.bytes + submitted.changes.len() <= limits::CONFLICT_TEXT_MAX
            && self.touched.len() + mutation.changes.len() <= limits::CONFLICT_CHANGES_MAX
    }

    fn close(&mut self, held: &Held, base: Option<Version>, depth: usize) -> Result<(), Rejection> {
        self.parked += usize::try_from(held.row.changes).unwrap_or(usize::MAX);
        self.bytes += usize::try_from(held.row.bytes).unwrap_or(usize::MAX);
        self.touched.extend(held.touches.records.iter().cloned());
        // What has to be read, written and removed in one section. One conflict alone never has more.
        if self.parked > limits::CONFLICT_CHANGES_MAX
            || self.bytes > limits::CONFLICT_TEXT_MAX
            || self.touched.len() > 2 * limits::CONFLICT_CHANGES_MAX
            || depth == limits::RESOLUTIONS_NESTED_MAX
        {
            return Err(too_large("it resolves more than 1,000 parked changes or 4 MiB of them at once"));
        }
        self.depth = self.depth.max(depth + 1);
        self.closed.push(held.row.id.clone());
        if base.is_some() {
            let seen = |key: &Key| Change { key: key.clone(), base, op: Op::Put("{}".to_owned()) };
            self.seen.extend(held.touches.records.iter().map(seen));
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
                format!("{{\"collection\":\"{}\",\"id\":{}}}", key.collection, Value::from(key.id.as_str()))
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
    fn parse(text: &str) -> LedgerResult<Self> {
        let text: TouchesText = serde_json::from_str(text).map_err(|_| {
            LedgerError::Failed("BUG: what a conflict touches is not what was written".to_owned())
        })?;
        let key = |(collection, id): (String, String)| Key {
            collection: Collection::stored(&collection),
            id: RecordId::stored(&id),
        };
        Ok(Self {
            records: text.records.into_iter().map(key).collect(),
            rests_on: text.rests_on.into_iter().collect(),
        })
    }

    fn text(&self) -> String {
        let name = |key: &Key| (key.collection.as_str().to_owned(), key.id.as_str().to_owned());
        let text = TouchesText {
            records: self.records.iter().map(name).collect(),
            rests_on: self.rests_on.iter().copied().collect(),
        };
        serde_json::to_string(&text).expect("BUG: names and numbers are JSON")
    }
}

fn bytes_of(parked: &[ParkedChange]) -> u64 {
    parked.iter().map(|change| change.text.len() as u64).sum()
}

/// The rejection of a mutation for which there is no room to be parked.
pub(super) fn too_many(detail: &'static str) -> Rejection {
    Rejection::new(RejectCode::TooManyConflicts, detail)
}

fn too_large(detail: &'static str) -> Rejection {
    Rejection::new(RejectCode::TooLarge, detail)
}
