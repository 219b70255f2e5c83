//! What resolutions come to: the changes they stand for, and the conflicts they close.

use std::collections::BTreeSet;

use crate::{
    coordinator::{
        conflicts::parking::{Held, Parking},
        ledger::{Ledger, LedgerResult, Meta},
        sharing::members,
    },
    ids::{Key, UserHash},
    limits::{self, ParkedMax},
    mutation::{Change, Decision, Mutation, Op, RejectCode, Rejection, Resolution, Submitted},
    role::Role,
    version::{ConflictId, Version},
};

/// What a mutation with resolutions comes to.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct Resolved {
    /// To check and to apply, in order.
    pub(in crate::coordinator) changes: Vec<Change>,
    /// Stands for records that the user has seen as of a base, to be checked as if they were put.
    pub(in crate::coordinator) seen: Vec<Change>,
    /// The conflicts that it closes.
    pub(in crate::coordinator) closed: Vec<ConflictId>,
    /// The records that they touch.
    pub(in crate::coordinator) touched: BTreeSet<Key>,
    /// How many parked changes it takes out.
    pub(in crate::coordinator) parked: usize,
    /// Bytes of their texts.
    pub(in crate::coordinator) bytes: usize,
    /// How many names and values those have that it re-applies.
    named: usize,
    /// How deep resolutions lie in each other.
    depth: usize,
    /// Whether edits come first that are parked under older conflicts.
    pub(in crate::coordinator) waits: bool,
}

impl Parking {
    /// What the changes and resolutions of a mutation come to where `user` sends it, or why it is rejected; then how far
    /// it was read.
    pub(in crate::coordinator) fn resolve<L: Ledger>(
        &mut self,
        ledger: &L,
        meta: &Meta,
        user: &UserHash,
        mutation: &Mutation,
    ) -> LedgerResult<(Resolved, Result<(), Rejection>)> {
        let mut resolved = Resolved::default();
        let outcome = self.expand(ledger, Some((meta, user)), mutation, 0, &mut resolved)?;
        let is_too_large = outcome.is_ok() && resolved.named + mutation.named > limits::NAMES_MAX;
        Ok((resolved, if is_too_large { Err(too_large()) } else { outcome }))
    }

    /// What `mine` of a conflict that was looked at comes to, whoever takes it and whether or not it has to wait.
    pub(in crate::coordinator) fn mine_of<L: Ledger>(
        &mut self,
        ledger: &L,
        opened: Version,
    ) -> LedgerResult<(Resolved, Result<(), Rejection>)> {
        let held = self.opened_at(ledger, opened)?.expect("BUG: a conflict that is joined is open");
        let (conflict, decision) = (held.row.id.clone(), Decision::Mine);
        let mine = Resolution { at: 0, conflict, base: None, decision };
        let mut resolved = Resolved::default();
        let outcome = self.expand_one(ledger, None, &mine, 0, &mut resolved)?;
        Ok((resolved, outcome))
    }

    /// Adds a mutation's changes and what its resolutions come to. The parked ones of a conflict may resolve others, which
    /// were opened before it, as nothing that resolves joins; so this ends.
    fn expand<L: Ledger>(
        &mut self,
        ledger: &L,
        who: Option<(&Meta, &UserHash)>,
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
        who: Option<(&Meta, &UserHash)>,
        resolution: &Resolution,
        depth: usize,
        resolved: &mut Resolved,
    ) -> LedgerResult<Result<(), Rejection>> {
        let (id, max) = (&resolution.conflict, self.max);
        let is_closed = resolved.closed.contains(id);
        let Some(held) = self.open(ledger, id)?.filter(|_| !is_closed) else {
            return Ok(Err(Rejection::new(RejectCode::NotFound, "the conflict is closed, or never was")));
        };
        if let Some((meta, user)) = who
            && held.row.user != *user
            && !planted!(AnybodyResolves)
            && members::role_of(ledger, meta, user)? < Some(Role::Owner)
        {
            return Ok(Err(Rejection::new(RejectCode::Forbidden, "the conflict is another user's")));
        }
        if !resolved.close(held, resolution.base, depth, max) {
            return Ok(Err(too_large()));
        }
        match &resolution.decision {
            Decision::Theirs => return Ok(Ok(())),
            Decision::Records(records) => {
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
        resolved.named += parked.named;
        if resolved.named > limits::NAMES_MAX {
            return Ok(Err(too_large()));
        }
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
                resolved.waits = true;
                if who.is_none() {
                    break;
                }
                let detail =
                    format!("its edits follow those of an older conflict: resolve {} first", older.row.id);
                return Ok(Err(Rejection::new(RejectCode::InvalidValue, detail)));
            }
        }
        Ok(Ok(()))
    }
}

impl Resolved {
    /// Whether a mutation with these changes can be re-applied behind all of it within the limits of one.
    pub(in crate::coordinator) fn has_room_for(
        &self,
        mutation: &Mutation,
        submitted: &Submitted,
        changes: &[Change],
        max: ParkedMax,
    ) -> bool {
        let keys = changes.iter().map(|change| &change.key);
        let mut new = BTreeSet::new();
        new.extend(keys.filter(|key| !self.touched.contains(*key)));
        self.parked + mutation.size() <= max.changes
            && self.bytes + submitted.changes.len() <= limits::CONFLICT_TEXT_MAX
            && self.touched.len() + new.len() <= max.changes
            && self.named + mutation.named <= limits::NAMES_MAX
    }

    /// Whether the mutation that it is of can be parked itself.
    pub(in crate::coordinator) fn is_parkable(
        &self,
        mutation: &Mutation,
        submitted: &Submitted,
        max: ParkedMax,
    ) -> bool {
        self.depth < max.nested && self.has_room_for(mutation, submitted, &self.changes, max)
    }

    /// Takes in a mutation for which there is room.
    pub(in crate::coordinator) fn join(&mut self, mutation: &Mutation, submitted: &Submitted) {
        self.parked += mutation.size();
        self.bytes += submitted.changes.len();
        self.touched.extend(mutation.changes.iter().map(|change| change.key.clone()));
        self.named += mutation.named;
    }

    /// Takes in a conflict that is resolved at this depth, unless that is too much: what has to be read, written and removed
    /// in one section.
    fn close(&mut self, held: &Held, base: Option<Version>, depth: usize, max: ParkedMax) -> bool {
        self.parked += usize::try_from(held.row.changes).unwrap_or(usize::MAX);
        self.bytes += usize::try_from(held.row.bytes).unwrap_or(usize::MAX);
        self.touched.extend(held.touches.records.iter().cloned());
        if self.parked > max.changes
            || self.bytes > limits::CONFLICT_TEXT_MAX
            || self.touched.len() > 2 * max.changes
            || depth == max.nested
        {
            return false;
        }
        self.depth = self.depth.max(depth + 1);
        self.closed.push(held.row.id.clone());
        if base.is_some() {
            let seen = |key: &Key| Change { key: key.clone(), base, op: Op::Put("{}".to_owned()) };
            self.seen.extend(held.touches.records.iter().map(seen));
        }
        true
    }
}

fn too_large() -> Rejection {
    let rule = "it resolves more than 1,000 parked changes, 4 MiB of them or 20,000 names and values at once";
    Rejection::new(RejectCode::TooLarge, rule)
}
