//! What becomes of one mutation: applied, parked or rejected.

use std::collections::BTreeSet;

use crate::{
    call::OnConflict,
    coordinator::{
        conflicts::parking::{self, Joining, Resolved},
        ledger::{Conflict, Ledger, LedgerResult},
        push::{
            merge::{self, Base},
            plan::{
                OWN_WRITER, Plan,
                draft::{Draft, DraftValue, too_much_work},
                part::{Author, GOVERNED},
                standing_of,
            },
        },
    },
    ids::{Collection, Key, RecordId},
    json, limits,
    mutation::{Change, Mutation, Obstacle, RejectCode, Rejection, Settled, Submitted, There},
    role::Role,
    version::{ConflictId, Version},
};

/// Of a client that goes on pushing without taking in how its mutations ended.
const UNACKNOWLEDGED: &str = "conflicts that touch too many records are not acknowledged: send acked";

impl Plan {
    /// What becomes of one mutation: its resolutions are replaced by what they come to, then it joins a conflict, or is
    /// parked, or applied.
    pub(in crate::coordinator) fn mutation<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        mutation: &Mutation,
        by: &Author<'_>,
    ) -> LedgerResult<Settled> {
        let before = self.work;
        let resolved = match mutation.resolutions.is_empty() {
            true => None,
            false => {
                let (resolved, outcome) = self.parking.resolve(ledger, &self.meta, by.user, mutation)?;
                // Also what is rejected has been read.
                self.work.read += resolved.bytes;
                self.push_parked += resolved.parked;
                if let Err(rejection) = outcome {
                    return Ok(Settled::Rejected(rejection));
                }
                Some(resolved)
            }
        };
        let (changes, seen) = match &resolved {
            Some(resolved) => (&resolved.changes, &resolved.seen[..]),
            None => (&mutation.changes, &[][..]),
        };
        if by.role < Role::Owner && self.governs(submitted, changes) {
            return Ok(Settled::Rejected(Rejection::new(RejectCode::Forbidden, GOVERNED)));
        }
        let present_epoch = mutation.epoch.as_ref().is_none_or(|epoch| *epoch == self.meta.epoch);
        let checked = changes.iter().chain(seen);
        for change in checked.clone() {
            self.record(ledger, &change.key)?;
            if self.work.since(before) > limits::MUTATION_WORK_MAX {
                return Ok(Settled::Rejected(too_much_work()));
            }
        }
        let joining = self.parking.joined_by(ledger, mutation, by.user, &by.unacknowledged)?;
        self.work.read += self.parking.take_read();
        match joining {
            Ok(None) => {}
            Ok(Some(joining)) => return self.join(ledger, submitted, mutation, joining, by),
            Err(rejection) => return Ok(Settled::Rejected(rejection)),
        }
        if let Some(standing) = self.standing_in_the_way(ledger, checked, present_epoch, by)? {
            if resolved
                .as_ref()
                .is_some_and(|resolved| !resolved.is_parkable(mutation, submitted, self.parking.max))
            {
                let detail = "it conflicts again and is too large to be parked: resolve less at once";
                return Ok(Settled::Rejected(parking::too_many(detail)));
            }
            let mut touched = BTreeSet::new();
            touched.extend(changes.iter().map(|change| change.key.clone()));
            touched.extend(resolved.into_iter().flat_map(|resolved| resolved.touched));
            return self.park(ledger, submitted, touched, standing, by);
        }
        self.apply(ledger, mutation, resolved.as_ref(), by)
    }

    /// Whether changes of a mutation, or what its resolutions come to, concern who the members of a realm are. What a front has derived
    /// it has answered for.
    fn governs(&self, submitted: &Submitted, changes: &[Change]) -> bool {
        let space = self.meta.space.as_ref().filter(|_| submitted.intent.mutation().is_some());
        space.is_some_and(|space| changes.iter().any(|change| space.governs(&change.key.collection)))
    }

    /// Applies a mutation with nothing in its way, or what its resolutions have come to, and closes what those resolve.
    fn apply<L: Ledger>(
        &mut self,
        ledger: &L,
        mutation: &Mutation,
        resolved: Option<&Resolved>,
        by: &Author<'_>,
    ) -> LedgerResult<Settled> {
        let changes = resolved.map_or(&mutation.changes, |resolved| &resolved.changes);
        let read = resolved.map_or(0, |resolved| resolved.bytes);
        let mut draft = match self.draft(ledger, changes, read)? {
            Ok(draft) => draft,
            Err(rejection) => return Ok(Settled::Rejected(rejection)),
        };
        // Applied, it would leave the outbox and be nowhere.
        if draft.is_in_vain
            && resolved.is_none()
            && !planted!(ClosedGroundIgnored)
            && self.parking.has_lost_ground(ledger, mutation, by.user, &by.unacknowledged)?
        {
            let detail = "it changes a record that is not there, and follows a conflict that is closed";
            return Ok(Settled::Rejected(Rejection::new(RejectCode::NotFound, detail)));
        }
        for id in resolved.into_iter().flat_map(|resolved| &resolved.closed) {
            if !planted!(ResolvedStaysOpen) {
                self.parking.close(id);
                self.forget_trials_with(id);
            }
            if !planted!(AnnouncementStays) {
                self.announce(ledger, id, None, &mut draft)?;
            }
        }
        // Merged by a resolution, a record may well be deleted that was never there.
        let found_nothing = draft.is_in_vain || (draft.found_nothing && resolved.is_none());
        let found_nothing = found_nothing && !planted!(MissingNotTold);
        let version = self.adopt(draft, by.writer, by.now);
        Ok(if found_nothing { Settled::Missing(version) } else { Settled::Applied(version) })
    }

    /// What stands in the way of changes that conflict, as far as the answer has room; none if no change does.
    fn standing_in_the_way<'a, L: Ledger>(
        &mut self,
        ledger: &L,
        changes: impl Iterator<Item = &'a Change>,
        present_epoch: bool,
        by: &Author<'_>,
    ) -> LedgerResult<Option<Vec<Obstacle>>> {
        let mut in_the_way = BTreeSet::new();
        for change in changes {
            let base = Base::of(change, present_epoch, self.version);
            if self.conflicts(ledger, change, base, by)? {
                in_the_way.insert(&change.key);
            }
        }
        let told = || in_the_way.iter().filter_map(|key| self.told(key)).collect();
        Ok((!in_the_way.is_empty()).then(told))
    }

    /// What stands under a key, as far as the answer has room: without its value, or not at all.
    fn told(&mut self, key: &Key) -> Option<Obstacle> {
        let record = self.records.get(key).and_then(Option::as_ref);
        let version = record.map_or(Version::ZERO, |record| record.clock.version);
        let mut standing = Obstacle { key: key.clone(), version, there: There::Untold };
        let name = standing.to_json().len();
        let value = record.and_then(|record| record.value(key));
        let value = value.map_or(r#","deleted":true"#.len(), |value| r#","theirs":"#.len() + value.len());
        // What does not fit the answer is not copied either.
        let room = match self.records_room.checked_sub(name + value) {
            Some(room) => {
                standing = standing_of(key, record);
                room
            }
            None => self.records_room.checked_sub(name)?,
        };
        self.records_room = room;
        Some(standing)
    }

    /// Whether a change conflicts: by the policy of its push, or else by that of its collection, which is looked up only
    /// where it can make a difference.
    fn conflicts<L: Ledger>(
        &mut self,
        ledger: &L,
        change: &Change,
        base: Base,
        by: &Author<'_>,
    ) -> LedgerResult<bool> {
        let (writer, horizon) = (by.writer, self.meta.horizon);
        let policy = by.on_conflict.unwrap_or_default();
        let record = self.record(ledger, &change.key)?;
        if !merge::conflicts(change, record, base, writer, horizon, policy) {
            return Ok(false);
        }
        if by.on_conflict.is_some() {
            return Ok(true);
        }
        if planted!(PolicyIgnored) {
            return Ok(true);
        }
        let policy = self.policy(ledger, &change.key)?;
        let record = self.record(ledger, &change.key)?;
        Ok(merge::conflicts(change, record, base, writer, horizon, policy))
    }

    /// The policy of a record's collection.
    fn policy<L: Ledger>(&mut self, ledger: &L, of: &Key) -> LedgerResult<OnConflict> {
        let id = RecordId::stored(of.collection.as_str());
        let key = Key { collection: Collection::stored("$policies"), id };
        let value = self.record(ledger, &key)?.and_then(|record| record.value(&key));
        let fields = value.map(json::fields).unwrap_or_default();
        let policy = fields.iter().find(|(name, _)| name == "onConflict");
        let policy = policy.and_then(|(_, text)| OnConflict::parse(text.trim_matches('"')));
        Ok(policy.unwrap_or_default())
    }

    /// Parks a mutation under a conflict of its own, which is a step.
    fn park<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        touched: BTreeSet<Key>,
        standing: Vec<Obstacle>,
        by: &Author<'_>,
    ) -> LedgerResult<Settled> {
        let no_room = self.parking.no_room(ledger, &self.meta, by.user, &by.unacknowledged)?;
        self.work.read += self.parking.take_read();
        if let Some(rejection) = no_room {
            return Ok(Settled::Rejected(rejection));
        }
        if !self.parking.has_room_for_names(&by.unacknowledged, &touched) {
            return Ok(Settled::Rejected(parking::too_many(UNACKNOWLEDGED)));
        }
        let id = ConflictId { epoch: self.meta.epoch.clone(), opened: self.version.next() };
        let row = Conflict {
            id: id.clone(),
            user: by.user.clone(),
            client: by.client.clone(),
            at: by.now,
            changes: 0,
            bytes: 0,
            touches: String::new(),
        };
        let announcement = self.parking.park(row, touched, parking::parkable(submitted));
        let mut draft = Draft::default();
        self.announce(ledger, &id, Some(announcement), &mut draft)?;
        let opened = self.adopt(draft, OWN_WRITER, by.now);
        assert!(opened == id.opened, "BUG: {id} was opened at {opened}");
        Ok(Settled::Conflict { id, standing })
    }

    /// Parks a mutation behind others. That is a step only where the announcement changes.
    fn join<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        mutation: &Mutation,
        joining: Joining,
        by: &Author<'_>,
    ) -> LedgerResult<Settled> {
        let mut touched = BTreeSet::new();
        touched.extend(mutation.changes.iter().map(|change| change.key.clone()));
        if !self.parking.has_room_for_names(&by.unacknowledged, &touched) {
            return Ok(Settled::Rejected(parking::too_many(UNACKNOWLEDGED)));
        }
        if let Err(rejection) = self.try_behind(ledger, submitted, mutation, &joining)? {
            return Ok(Settled::Rejected(rejection));
        }
        let (id, announcement) = self.parking.join(joining, touched, parking::parkable(submitted));
        let mut draft = Draft::default();
        self.announce(ledger, &id, Some(announcement), &mut draft)?;
        self.adopt(draft, OWN_WRITER, by.now);
        Ok(Settled::Conflict { id, standing: Vec::new() })
    }

    /// Adds the record that announces a conflict to a draft; without an announcement its deletion.
    fn announce<L: Ledger>(
        &mut self,
        ledger: &L,
        id: &ConflictId,
        value: Option<String>,
        draft: &mut Draft<'_>,
    ) -> LedgerResult<()> {
        let key = parking::key_of(id);
        let before = self.record(ledger, &key)?.cloned();
        draft.values.insert(key, DraftValue { before, value, tops: None, was_absent: true });
        Ok(())
    }
}
