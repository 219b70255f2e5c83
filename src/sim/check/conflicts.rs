//! What the contract makes of a mutation that conflicts, that follows one, or that resolves one: I10, I12, I13.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{Change, Edit, Oracle, Row, Take};
use crate::{
    coordinator::ledger::Ledger,
    limits,
    protocol::{
        push::{Change as WireChange, Mutation, PushRequest, RejectCode, Settled},
        role::Role,
    },
    sim::{client::Name, host::Host, user_hash},
    time::Millis,
    version::{ConflictId, Version},
};

/// An open conflict.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    id: ConflictId,
    user: usize,
    client: String,
    at: Millis,
    /// In the order in which `mine` applies them.
    changes: Vec<Change>,
    touches: BTreeSet<Name>,
    /// Older conflicts whose edits come before these.
    rests_on: BTreeSet<Version>,
}

impl Parked {
    /// The name of the record that announces it.
    pub(super) fn name(&self) -> Name {
        ("$conflicts".to_owned(), self.id.to_string())
    }

    /// The text of that record.
    fn announcement(&self) -> Rc<str> {
        let named = self.touches.iter().take(limits::CONFLICT_NAMES_MAX);
        let named =
            named.map(|(collection, id)| format!("{{\"collection\":\"{collection}\",\"id\":\"{id}\"}}"));
        let named: Vec<String> = named.collect();
        let (user, client, at) = (user_hash(self.user), &self.client, self.at.0);
        let (names, count) = (named.join(","), self.touches.len());
        format!(
            "{{\"user\":\"{}\",\"client\":\"{client}\",\"at\":{at},\"records\":[{names}],\"count\":{count}}}",
            user.as_str()
        )
        .into()
    }
}

/// A mutation as it was pushed.
pub(super) struct Submission<'a> {
    pub(super) mark: u64,
    pub(super) changes: Vec<Change>,
    pub(super) grounds: Vec<u64>,
    pub(super) mutation: &'a Mutation,
    pub(super) push: &'a PushRequest,
    pub(super) user: usize,
    pub(super) writer: &'a Rc<str>,
}

/// What a mutation comes to when its resolutions are replaced by what they write.
#[derive(Debug, Default)]
struct Expanded {
    edits: Vec<(Edit, Option<Version>)>,
    /// Records whose user has seen them as of a base, if a resolution says so.
    seen: Vec<(Edit, Option<Version>)>,
    closed: Vec<Version>,
    touched: BTreeSet<Name>,
}

impl Submission<'_> {
    /// The base of all that it changes: model clients give one per mutation.
    fn base(&self) -> Option<Version> {
        let change = self.mutation.changes.first().map(|change: &WireChange| change.base);
        change.unwrap_or_else(|| self.mutation.resolutions.first().and_then(|resolution| resolution.base))
    }

    /// The records that it changes, but for those that are parked.
    fn names(&self) -> BTreeSet<Name> {
        self.changes.iter().flat_map(Change::names).cloned().collect()
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
        if let Err(code) = self.expand(&sent.changes, sent.base(), sent.user, 0, &mut expanded) {
            let is_rejected = matches!(settled, Settled::Rejected(rejection) if rejection.code == code);
            assert!(is_rejected, "I12: mutation {mark} cannot resolve, {code:?}, and was {settled:?}");
            return;
        }
        let joins = self.joins(sent);
        if let Some((newest, others)) = joins {
            let Settled::Conflict { id, .. } = settled else {
                panic!("I12: mutation {mark} follows what is parked under {newest} and was {settled:?}")
            };
            assert!(
                id.opened == newest,
                "I12: mutation {mark} follows what is parked under {newest}, not {id}"
            );
            self.join(sent, newest, others);
            self.now.told.entry(writer.to_string()).or_default().push((number, id.clone()));
            return;
        }
        self.check_conflict(sent, &expanded, settled, horizon);
        let is_parked = matches!(settled, Settled::Conflict { .. });
        if !is_parked && self.has_lost_ground(sent) && self.is_in_vain(&expanded) {
            let is_told =
                matches!(settled, Settled::Rejected(rejection) if rejection.code == RejectCode::NotFound);
            assert!(
                is_told,
                "I12: mutation {mark} does nothing without what is dropped, and was {settled:?}"
            );
            return;
        }
        match settled {
            Settled::Applied(version) | Settled::Missing(version) => {
                let is_told = matches!(settled, Settled::Missing(_));
                assert!(
                    is_told == self.is_in_vain(&expanded),
                    "I12: mutation {mark} was {settled:?}, although what it finds says otherwise"
                );
                // What one copy of a database has acknowledged, another one may not know. And a mutation that rests on two
                // conflicts can name but one, which may be closed by now.
                let names_one = sent.mutation.after.is_some();
                let is_known = |ground: &&u64| !names_one && !self.copied.contains(ground);
                for ground in sent.grounds.iter().filter(is_known) {
                    let parked = self.now.settled.get(ground);
                    let is_parked = matches!(parked, Some(Settled::Conflict { id, .. }) if self.is_open(id));
                    assert!(
                        !is_parked,
                        "I12: mutation {mark} was made behind {ground}, which is parked, and was applied"
                    );
                }
                let edits: Vec<Edit> = expanded.edits.into_iter().map(|(edit, _)| edit).collect();
                self.apply(&edits, &expanded.closed, writer, *version);
            }
            Settled::Conflict { id, .. } => {
                self.park(sent, expanded, id, now);
                self.now.told.entry(writer.to_string()).or_default().push((number, id.clone()));
            }
            // Only resolutions of what is parked deeper than the simulator goes could be refused.
            _ => panic!("I12: mutation {mark} can be applied or parked and was {settled:?}"),
        }
    }

    fn is_open(&self, id: &ConflictId) -> bool {
        self.now.conflicts.get(&id.opened).is_some_and(|parked| parked.id == *id)
    }

    /// Open conflicts, for whoever wants to resolve one that does not exist.
    #[must_use]
    pub fn open_conflicts(&self) -> usize {
        self.now.conflicts.len()
    }

    fn expand(
        &self,
        changes: &[Change],
        base: Option<Version>,
        user: usize,
        depth: usize,
        into: &mut Expanded,
    ) -> Result<(), RejectCode> {
        for change in changes {
            let (id, take) = match change {
                Change::Edit(edit) => {
                    into.edits.push((edit.clone(), base));
                    continue;
                }
                Change::Resolve(id, take) => (id, take),
            };
            let open = self.now.conflicts.get(&id.opened).filter(|parked| parked.id == *id);
            let parked = open.filter(|_| !into.closed.contains(&id.opened)).ok_or(RejectCode::NotFound)?;
            if parked.user != user && self.role(user) < Some(Role::Owner) {
                return Err(RejectCode::Forbidden);
            }
            into.closed.push(id.opened);
            into.touched.extend(parked.touches.iter().cloned());
            if base.is_some() {
                let row = Row { count: 0, tag: 0, filler: 0 };
                let seen = |name: &Name| (Edit::Put(name.clone(), row.clone()), base);
                into.seen.extend(parked.touches.iter().map(seen));
            }
            match take {
                Take::Theirs => {}
                Take::Records(records) => into.edits.extend(records.iter().map(|edit| (edit.clone(), base))),
                Take::Mine if depth == limits::RESOLUTIONS_NESTED_MAX => return Err(RejectCode::TooLarge),
                Take::Mine => {
                    self.expand(&parked.changes, None, user, depth + 1, into)?;
                    let is_first = |older: &Version| {
                        self.now.conflicts.contains_key(older) && !into.closed.contains(older)
                    };
                    if parked.rests_on.iter().any(is_first) {
                        return Err(RejectCode::InvalidValue);
                    }
                }
            }
        }
        Ok(())
    }

    /// The conflict that a mutation has to join, and the older ones on which it rests as well: the one that it names, and
    /// those of its client under which a record of its is parked, while their results are not acknowledged.
    fn joins(&self, sent: &Submission<'_>) -> Option<(Version, BTreeSet<Version>)> {
        let resolves = sent.changes.iter().any(|change| matches!(change, Change::Resolve(..)));
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
        if let Some(after) = sent.mutation.after.as_ref().filter(|after| self.is_open(after))
            && self.now.conflicts[&after.opened].user == sent.user
        {
            joined.insert(after.opened);
        }
        joined.pop_last().map(|newest| (newest, joined))
    }

    /// Whether a mutation was made behind one that was parked, in a conflict that is closed without its client's knowledge.
    fn has_lost_ground(&self, sent: &Submission<'_>) -> bool {
        let acked = self.now.acked.get(&**sent.writer).copied().unwrap_or(0);
        let told = self.now.told.get(&**sent.writer).into_iter().flatten();
        let mut unacknowledged = told.filter(|(number, _)| *number > acked).map(|(_, id)| id);
        let resolves = sent.changes.iter().any(|change| matches!(change, Change::Resolve(..)));
        let is_closed = |id: &ConflictId| !self.is_open(id);
        !resolves && (sent.mutation.after.as_ref().is_some_and(is_closed) || unacknowledged.any(is_closed))
    }

    /// Whether one of the edits finds no record to change.
    fn is_in_vain(&self, expanded: &Expanded) -> bool {
        let mut there: BTreeMap<&Name, bool> = BTreeMap::new();
        expanded.edits.iter().any(|(edit, _)| {
            let is_there =
                there.entry(edit.name()).or_insert_with(|| self.now.records.contains_key(edit.name()));
            let in_vain = !*is_there && matches!(edit, Edit::Fill(..) | Edit::Add(..));
            *is_there = match edit {
                Edit::Put(..) | Edit::Patch(..) => true,
                Edit::Delete(_) => false,
                Edit::Fill(..) | Edit::Add(..) => *is_there,
            };
            in_vain
        })
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
            self.now.own.insert(name, announcement);
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
            changes: sent.changes.clone(),
            touches,
            rests_on: BTreeSet::new(),
        };
        self.now.own.insert(parked.name(), parked.announcement());
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
            // Below the horizon, and without a base in this epoch, the coordinator no longer knows everything.
            is_exact &= horizon == Version::ZERO || (is_present && base >= horizon);
            let base = (is_present || base == Version::ZERO).then_some(base);
            let history = &self.now.history;
            let policy = push.on_conflict.unwrap_or_else(|| self.policy_of(&edit.name().0));
            conflicts |= history.conflicts(edit, base, sent.writer, policy);
            surely |= history.surely_conflicts(edit, base, sent.writer, policy);
        }
        let is_conflict = matches!(settled, Settled::Conflict { .. });
        assert!(
            if is_exact { is_conflict == conflicts } else { is_conflict || !surely },
            "I13: mutation {} by {} was {settled:?}, by the whole history it conflicts: {conflicts}",
            sent.mark,
            sent.writer
        );
    }

    /// I10, I12: storage has the open conflicts, and all that is parked under those that `settled` names.
    pub(super) fn check_parked<'a>(
        &self,
        settled: impl Iterator<Item = &'a Settled>,
        host: &mut Host,
        now: Millis,
    ) {
        let ledger = host.core(now).ledger();
        let open = ledger.open_conflicts().expect("storage in memory can be read");
        let should = self.now.conflicts.len();
        assert!(open == should, "I12: storage has {open} open conflicts where {should} are");
        for settled in settled {
            let Settled::Conflict { id, .. } = settled else { continue };
            let parked = self.now.conflicts.get(&id.opened).filter(|parked| parked.id == *id);
            let Some(parked) = parked else { continue };
            self.check_one(parked, ledger);
        }
    }

    /// I12: everything that was ever parked and not resolved is in storage.
    pub fn check_all_parked(&self, host: &mut Host, now: Millis) {
        self.check_parked(std::iter::empty(), host, now);
        let ledger = host.core(now).ledger();
        self.now.conflicts.values().for_each(|parked| self.check_one(parked, ledger));
    }

    fn check_one(&self, parked: &Parked, ledger: &impl Ledger) {
        let texts = ledger.parked(parked.id.opened).expect("storage in memory can be read");
        let is_it = |(change, stored): (&Change, &String)| change.is_text(stored, self.brand);
        let stored: Vec<String> = texts.into_iter().map(|change| change.text).collect();
        let is_whole = stored.len() == parked.changes.len() && parked.changes.iter().zip(&stored).all(is_it);
        assert!(is_whole, "I12: under {} storage has parked {stored:?}, not {:?}", parked.id, parked.changes);
    }
}
