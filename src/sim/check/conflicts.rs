//! What the contract makes of a mutation that conflicts, that follows one, or that resolves one: I10, I12, I13.

use std::{collections::BTreeSet, rc::Rc};

use super::{Change, Oracle, Planned, Take, parked::Parked};
use crate::{
    call::PushRequest,
    mutation::{Mutation, RejectCode, Settled},
    role::Role,
    sim::{
        client::Name,
        reference::{
            reading::{self, Kind},
            rules,
        },
    },
    time::Millis,
    version::{ConflictId, Version},
};

/// A mutation as it was pushed.
pub(super) struct Submission<'a> {
    pub(super) mark: u64,
    pub(super) changes: &'a [Rc<Planned>],
    pub(super) grounds: &'a [u64],
    pub(super) mutation: &'a Mutation,
    pub(super) push: &'a PushRequest,
    pub(super) user: usize,
    pub(super) writer: &'a Rc<str>,
}

/// What a mutation comes to when its resolutions are replaced by what they write.
#[derive(Debug, Default)]
struct Expanded {
    edits: Vec<(Rc<reading::Change>, Option<u64>)>,
    /// Records whose user has seen them as of a base, if a resolution says so.
    seen: Vec<(Rc<reading::Change>, Option<u64>)>,
    closed: Vec<Version>,
    touched: BTreeSet<Name>,
    /// How deep resolutions lie in each other.
    depth: usize,
    /// How many parked changes are taken out.
    parked: usize,
}

impl Submission<'_> {
    /// The base of the mutation, by the first of its changes that has none of its own.
    fn base(&self) -> Option<u64> {
        let edits = self.changes().filter(|change| !matches!(change, Change::Resolve(..)));
        let mut bases = edits.zip(&self.mutation.changes).filter(|(edit, _)| matches!(edit, Change::Edit(_)));
        let base = match bases.next() {
            Some((_, change)) => change.base,
            None => self.mutation.resolutions.first().and_then(|resolution| resolution.base),
        };
        base.map(Version::get)
    }

    /// The records that it changes, but for those that are parked.
    fn names(&self) -> BTreeSet<Name> {
        self.changes().flat_map(Change::names).cloned().collect()
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().map(|planned| &planned.change)
    }
}

impl Oracle {
    /// I10, I12, I13: a new result of a mutation that can be applied is the one of the contract, and what follows from it.
    pub(super) fn learn_result(
        &mut self,
        sent: &Submission<'_>,
        number: u64,
        settled: &Settled,
        horizon: Version,
        now: Millis,
    ) {
        let (mark, writer) = (sent.mark, sent.writer);
        let mut expanded = Expanded::default();
        if let Err(code) = self.expand(sent.changes, sent.base(), Some(sent.user), 0, &mut expanded) {
            let is_rejected = matches!(settled, Settled::Rejected(rejection) if rejection.code == code);
            assert!(is_rejected, "I12: mutation {mark} cannot resolve, {code:?}, and was {settled:?}");
            return;
        }
        if let Some((newest, others)) = self.joins(sent) {
            self.learn_join(sent, number, settled, newest, others);
            return;
        }
        self.check_conflict(sent, &expanded, settled, horizon);
        let is_conflict = is_conflict(settled);
        let is_change = |edit: &reading::Change| !matches!(edit.kind, Kind::Delete);
        let resolves = sent.changes().any(|change| matches!(change, Change::Resolve(..)));
        if !is_conflict && self.has_lost_ground(sent) && self.finds_nothing(&expanded, is_change) {
            let is_told =
                matches!(settled, Settled::Rejected(rejection) if rejection.code == RejectCode::NotFound);
            assert!(
                is_told,
                "I12: mutation {mark} does nothing without what is dropped, and was {settled:?}"
            );
            return;
        }
        let is_full = self.is_full(sent, &expanded);
        match settled {
            Settled::Rejected(rejection) if rejection.code == RejectCode::TooManyConflicts => {
                assert!(is_full, "I12: mutation {mark} has room to be parked and was {settled:?}");
            }
            Settled::Applied(version) | Settled::Missing(version) => {
                let is_told = matches!(settled, Settled::Missing(_));
                assert!(
                    is_told == self.finds_nothing(&expanded, |edit| !resolves || is_change(edit)),
                    "I12: mutation {mark} was {settled:?}, although what it finds says otherwise"
                );
                // What one copy of a database has acknowledged, another one may not know.
                let is_known = |ground: &&u64| !self.copied.contains(ground);
                for ground in sent.grounds.iter().filter(is_known) {
                    let parked = self.now.settled.get(ground);
                    let is_parked = matches!(parked, Some(Settled::Conflict { id, .. }) if self.is_open(id));
                    assert!(
                        !is_parked,
                        "I12: mutation {mark} was made behind {ground}, which is parked, and was applied"
                    );
                }
                let edits = expanded.edits.iter().map(|(edit, _)| &**edit);
                self.apply(edits, &expanded.closed, writer, *version);
            }
            Settled::Conflict { id, .. } => {
                assert!(!is_full, "I12: mutation {mark} has no room to be parked and was {settled:?}");
                self.park(sent, expanded, id, now);
                self.now.told.entry(writer.to_string()).or_default().push((number, id.clone()));
            }
            // Only resolutions of what is parked deeper than the simulator goes could be refused.
            _ => panic!("I12: mutation {mark} can be applied or parked and was {settled:?}"),
        }
    }

    /// I12: a mutation that follows what is parked is parked with it, or told why it cannot be.
    fn learn_join(
        &mut self,
        sent: &Submission<'_>,
        number: u64,
        settled: &Settled,
        newest: Version,
        others: BTreeSet<Version>,
    ) {
        let mark = sent.mark;
        if let Some(code) = self.refusal_to_join(sent, newest) {
            let is_rejected = matches!(settled, Settled::Rejected(rejection) if rejection.code == code);
            assert!(
                is_rejected,
                "I12: mutation {mark} cannot follow what is parked under {newest}, {code:?}, and was {settled:?}"
            );
            return;
        }
        let Settled::Conflict { id, .. } = settled else {
            panic!("I12: mutation {mark} follows what is parked under {newest} and was {settled:?}")
        };
        assert!(id.opened == newest, "I12: mutation {mark} follows what is parked under {newest}, not {id}");
        self.join(sent, newest, others);
        self.now.told.entry(sent.writer.to_string()).or_default().push((number, id.clone()));
    }

    pub(super) fn is_open(&self, id: &ConflictId) -> bool {
        self.now.conflicts.get(&id.opened).is_some_and(|parked| parked.id == *id)
    }

    /// Whether a conflict can be followed: another user's cannot, whether or not it is open.
    fn is_open_for(&self, id: &ConflictId, user: usize) -> bool {
        self.is_open(id) && self.now.conflicts[&id.opened].user == user
    }

    /// Open conflicts, for whoever wants to resolve one that does not exist.
    #[must_use]
    pub fn open_conflicts(&self) -> usize {
        self.now.conflicts.len()
    }

    /// What changes come to where `user` sends them; without one, whoever may and whatever comes first.
    fn expand(
        &self,
        changes: &[Rc<Planned>],
        base: Option<u64>,
        user: Option<usize>,
        depth: usize,
        into: &mut Expanded,
    ) -> Result<(), RejectCode> {
        changes.iter().try_for_each(|planned| self.expand_one(planned, base, user, depth, into))
    }

    fn expand_one(
        &self,
        planned: &Planned,
        base: Option<u64>,
        user: Option<usize>,
        depth: usize,
        into: &mut Expanded,
    ) -> Result<(), RejectCode> {
        let with_base = |edit: &Rc<reading::Change>| {
            // Of what is re-applied the bases are forgotten.
            let own = edit.base.filter(|_| depth == 0);
            (Rc::clone(edit), own.or(base))
        };
        let edits = planned.edits.iter().map(with_base);
        let Change::Resolve(id, take) = &planned.change else {
            into.edits.extend(edits);
            return Ok(());
        };
        let open = self.now.conflicts.get(&id.opened).filter(|parked| parked.id == *id);
        let parked = open.filter(|_| !into.closed.contains(&id.opened)).ok_or(RejectCode::NotFound)?;
        if user.is_some_and(|user| parked.user != user && self.role(user) < Some(Role::Owner)) {
            return Err(RejectCode::Forbidden);
        }
        into.closed.push(id.opened);
        into.depth = into.depth.max(depth + 1);
        into.parked += parked.changes.len();
        into.touched.extend(parked.touches.iter().cloned());
        let max = self.max;
        if into.depth > max.nested || into.parked > max.changes || into.touched.len() > 2 * max.changes {
            return Err(RejectCode::TooLarge);
        }
        if base.is_some() {
            let seen = |name: &Name| {
                let kind = Kind::Put(String::new());
                (Rc::new(reading::Change { name: name.clone(), base: None, kind }), base)
            };
            into.seen.extend(parked.touches.iter().map(seen));
        }
        match take {
            Take::Theirs => {}
            Take::Records(_) => into.edits.extend(edits),
            Take::Mine => {
                self.expand(&parked.changes, None, user, depth + 1, into)?;
                let is_first =
                    |older: &Version| self.now.conflicts.contains_key(older) && !into.closed.contains(older);
                if user.is_some() && parked.rests_on.iter().any(is_first) {
                    return Err(RejectCode::InvalidValue);
                }
            }
        }
        Ok(())
    }

    /// The conflict that a mutation has to join, and the older ones on which it rests as well: those that it names, and
    /// those of its client under which a record of its is parked, while their results are not acknowledged.
    fn joins(&self, sent: &Submission<'_>) -> Option<(Version, BTreeSet<Version>)> {
        let resolves = sent.changes().any(|change| matches!(change, Change::Resolve(..)));
        if resolves || sent.changes.is_empty() {
            return None;
        }
        let names = sent.names();
        let acked = self.now.acked.get(&**sent.writer).copied().unwrap_or(0);
        let told = self.now.told.get(&**sent.writer).into_iter().flatten();
        let unacknowledged = told.filter(|(number, id)| *number > acked && self.is_open(id));
        let touching =
            unacknowledged.filter(|(_, id)| !self.now.conflicts[&id.opened].touches.is_disjoint(&names));
        let mut joined: BTreeSet<Version> = touching.map(|(_, id)| id.opened).collect();
        let named = sent.mutation.after.iter().filter(|after| self.is_open_for(after, sent.user));
        joined.extend(named.map(|after| after.opened));
        joined.pop_last().map(|newest| (newest, joined))
    }

    /// Whether a mutation was made behind one that was parked, in a conflict that is closed without its client's knowledge.
    fn has_lost_ground(&self, sent: &Submission<'_>) -> bool {
        let acked = self.now.acked.get(&**sent.writer).copied().unwrap_or(0);
        let told = self.now.told.get(&**sent.writer).into_iter().flatten();
        let mut unacknowledged = told.filter(|(number, _)| *number > acked).map(|(_, id)| id);
        let resolves = sent.changes().any(|change| matches!(change, Change::Resolve(..)));
        let is_closed = |id: &ConflictId| !self.is_open_for(id, sent.user);
        !resolves && (sent.mutation.after.iter().any(is_closed) || unacknowledged.any(is_closed))
    }

    /// Whether one of these edits finds no record and does nothing.
    fn finds_nothing(&self, expanded: &Expanded, is_of_them: impl Fn(&reading::Change) -> bool) -> bool {
        let edits = expanded.edits.iter().map(|(edit, _)| &**edit);
        rules::finds_nothing(edits, |name| self.now.records.contains_key(name), is_of_them)
    }

    /// Whether there is no room for one more conflict: in the space, in the share of the user, because of what the client has
    /// not acknowledged, or because too much would be parked in each other.
    fn is_full(&self, sent: &Submission<'_>, expanded: &Expanded) -> bool {
        let acked = self.now.acked.get(&**sent.writer).copied().unwrap_or(0);
        let told = self.now.told.get(&**sent.writer).into_iter().flatten();
        let unacked: BTreeSet<_> = told.filter(|(number, _)| *number > acked).map(|(_, id)| id).collect();
        let open = &self.now.conflicts;
        let own = open.values().filter(|parked| parked.user == sent.user).count();
        let is_shared = self.now.roles.is_some();
        open.len() >= self.max.conflicts
            || (is_shared && own >= self.max.of_user)
            || unacked.len() >= self.max.unacked
            || expanded.depth >= self.max.nested
            || !self.fits(expanded, sent)
    }

    /// Whether a mutation can be re-applied behind what is parked.
    fn fits(&self, expanded: &Expanded, sent: &Submission<'_>) -> bool {
        let size = |change: &Change| change.names().count().max(1);
        let changes = expanded.parked + sent.changes().map(size).sum::<usize>();
        let records = expanded.touched.union(&sent.names()).count();
        expanded.closed.is_empty() || (changes <= self.max.changes && records <= self.max.changes)
    }

    /// Why a mutation cannot join: with it `mine` would be more than one mutation may do, or it can be applied no more.
    /// Whatever simulated mutations do can be done to whatever stands there.
    fn refusal_to_join(&self, sent: &Submission<'_>, newest: Version) -> Option<RejectCode> {
        let mine = Change::Resolve(self.now.conflicts[&newest].id.clone(), Take::Mine);
        let mut expanded = Expanded::default();
        match self.expand_one(&Planned::new(mine, self.brand), None, None, 0, &mut expanded) {
            Ok(()) => (!self.fits(&expanded, sent)).then_some(RejectCode::TooManyConflicts),
            Err(RejectCode::TooLarge) => Some(RejectCode::TooManyConflicts),
            Err(code) => Some(code),
        }
    }

    fn join(&mut self, sent: &Submission<'_>, newest: Version, others: BTreeSet<Version>) {
        let parked = self.now.conflicts.get_mut(&newest).expect("an open conflict");
        let before = parked.announcement();
        parked.changes.extend(sent.changes.iter().cloned());
        parked.touches.extend(sent.names());
        parked.rests_on.extend(others);
        let (name, announcement) = (parked.name(), parked.announcement());
        if announcement != before {
            self.now.here.version = self.now.here.version.next();
            self.now.own.insert(name.into(), announcement);
            self.note_state();
        }
    }

    /// I10: what is parked changes no user's record; only that there is a conflict is a step.
    fn park(&mut self, sent: &Submission<'_>, expanded: Expanded, id: &ConflictId, now: Millis) {
        self.now.here.version = self.now.here.version.next();
        let here = &self.now.here;
        let is_named = id.epoch == here.epoch && id.opened == here.version;
        assert!(is_named, "I1: the conflict {id} was opened at {here}");
        let mut touches = expanded.touched;
        touches.extend(sent.names());
        let parked = Parked {
            id: id.clone(),
            user: sent.user,
            client: sent.push.client.to_string(),
            at: now,
            changes: sent.changes.to_vec(),
            touches,
            rests_on: BTreeSet::new(),
        };
        self.now.own.insert(parked.name().into(), parked.announcement());
        self.now.conflicts.insert(id.opened, parked);
        self.note_state();
    }

    /// I13: what conflicts does so by the whole history.
    fn check_conflict(
        &self,
        sent: &Submission<'_>,
        expanded: &Expanded,
        settled: &Settled,
        horizon: Version,
    ) {
        let (mutation, push, here) = (sent.mutation, sent.push, &self.now.here);
        let epoch = mutation.epoch.as_ref().or(push.epoch.as_ref());
        let is_present = epoch.is_none_or(|epoch| *epoch == here.epoch);
        let (mut conflicts, mut surely, mut is_exact) = (false, false, true);
        for (edit, base) in expanded.edits.iter().chain(&expanded.seen) {
            let Some(base) = *base else { continue };
            // A base above the history is not of it: a client has rewritten what it made in another epoch.
            let base = rules::known(base, is_present, here.version.get());
            // Below the horizon, and without a base in this epoch, the coordinator no longer knows everything.
            is_exact &= horizon == Version::ZERO || base.is_some_and(|base| base >= horizon.get());
            let history = &self.now.history;
            let policy = push.on_conflict.unwrap_or_else(|| self.policy_of(&edit.name.0)).as_str();
            conflicts |= history.conflicts(edit, base, sent.writer, policy);
            surely |= history.surely_conflicts(edit, base, sent.writer, policy);
        }
        let is_conflict = is_conflict(settled);
        assert!(
            if is_exact { is_conflict == conflicts } else { is_conflict || !surely },
            "I13: mutation {} by {} was {settled:?}, by the whole history it conflicts: {conflicts}",
            sent.mark,
            sent.writer
        );
    }
}

/// Whether a mutation conflicted, though there may have been no room to park it.
fn is_conflict(settled: &Settled) -> bool {
    match settled {
        Settled::Conflict { .. } => true,
        Settled::Rejected(rejection) => rejection.code == RejectCode::TooManyConflicts,
        Settled::Applied(_) | Settled::Missing(_) | Settled::Done => false,
    }
}
