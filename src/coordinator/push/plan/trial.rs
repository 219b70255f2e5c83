//! Whether `mine` of a conflict could still be applied with one more mutation behind what is parked: what joins is tried as a
//! resolution would do it.

use crate::{
    coordinator::{
        conflicts::parking::{self, Joining, Resolved},
        ledger::{Ledger, LedgerResult},
        push::plan::{
            Plan, Work,
            draft::{Draft, Unfit, too_many_collections},
        },
    },
    ids::Key,
    limits,
    mutation::{Change, Mutation, RejectCode, Rejection, Submitted},
    version::{ConflictId, Version},
};

/// Trials that are kept for the next mutations of a plan while they hold so many bytes.
const KEPT_BYTES: usize = limits::GROUP_WORK_MAX;

/// What `mine` of a conflict would come to now.
#[derive(Debug)]
pub(in crate::coordinator) struct Trial {
    resolved: Resolved,
    /// None where it could not be applied now, for which what joins is not to blame.
    draft: Option<Draft<'static>>,
}

impl Trial {
    /// Whether it would come to something else if the record were another.
    pub(in crate::coordinator) fn rests_on(&self, key: &Key) -> bool {
        self.draft.as_ref().is_none_or(|draft| draft.values.contains_key(key))
    }

    fn bytes(&self) -> usize {
        self.draft.as_ref().map_or(0, |draft| draft.work.read + draft.bytes)
    }
}

impl Plan {
    /// Tries a mutation behind what is parked under the conflict that it joins.
    ///
    /// # Errors
    /// When storage cannot be read. The mutation is rejected if with it `mine` could not be applied any more.
    pub(in crate::coordinator) fn try_behind<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        mutation: &Mutation,
        joining: &Joining,
    ) -> LedgerResult<Result<(), Rejection>> {
        if planted!(JoinedUntried) {
            return Ok(Ok(()));
        }
        if !self.parking.may_wait(joining) {
            return Ok(Err(no_room()));
        }
        let mut trial = match self.trials.remove(&joining.opened) {
            Some(trial) => trial,
            None => match self.trial(ledger, joining.opened)? {
                Ok(trial) => trial,
                Err(rejection) => return Ok(Err(rejection)),
            },
        };
        if !trial.resolved.has_room_for(mutation, submitted, &mutation.changes, self.parking.max) {
            self.trials.insert(joining.opened, trial);
            return Ok(Err(no_room()));
        }
        trial.resolved.join(mutation, submitted);
        trial.resolved.waits |= !joining.rests_on.is_empty();
        let (before, waits) = (trial.draft.take(), trial.resolved.waits);
        if let Some(mut draft) = before {
            match self.extend_all(ledger, &mut draft, &mutation.changes)? {
                Ok(()) => trial.draft = Some(draft),
                Err(Unfit::Whole(_)) => return Ok(Err(no_room())),
                // What stands there when its turn comes depends on the older ones.
                Err(Unfit::Change(_)) if waits => {}
                Err(Unfit::Change(rejection)) => return Ok(Err(rejection)),
            }
        }
        let id = trial.resolved.closed[0].clone();
        self.forget_trials_with(&id);
        if self.trials.values().map(Trial::bytes).sum::<usize>() > KEPT_BYTES {
            self.trials.clear();
        }
        self.trials.insert(joining.opened, trial);
        Ok(Ok(()))
    }

    /// Forgets what was found of conflicts whose `mine` takes out this one.
    pub(in crate::coordinator) fn forget_trials_with(&mut self, id: &ConflictId) {
        self.trials.retain(|_, trial| !trial.resolved.closed.contains(id));
    }

    /// What `mine` of a conflict would come to now, or why it can never be applied.
    fn trial<L: Ledger>(&mut self, ledger: &L, opened: Version) -> LedgerResult<Result<Trial, Rejection>> {
        let (mut resolved, outcome) = self.parking.mine_of(ledger, opened)?;
        self.work.read += resolved.bytes + self.parking.take_read();
        self.push_parked += resolved.parked;
        if let Err(rejection) = outcome {
            return Ok(Err(match rejection.code {
                RejectCode::TooLarge => no_room(),
                RejectCode::NotFound => {
                    let detail =
                        "it follows a resolution of a conflict that is closed by now: end that first";
                    Rejection::new(RejectCode::NotFound, detail)
                }
                _ => rejection,
            }));
        }
        let mut draft = Draft { work: Work { read: resolved.bytes, written: 0 }, ..Draft::default() };
        let changes = std::mem::take(&mut resolved.changes);
        let is_applied = self.extend_all(ledger, &mut draft, &changes)?.is_ok();
        Ok(Ok(Trial { resolved, draft: is_applied.then_some(draft) }))
    }

    fn extend_all<L: Ledger>(
        &mut self,
        ledger: &L,
        draft: &mut Draft<'_>,
        changes: &[Change],
    ) -> LedgerResult<Result<(), Unfit>> {
        for change in changes {
            if let Err(unfit) = self.extend(ledger, draft, change)? {
                return Ok(Err(unfit));
            }
        }
        let has_room = self.has_room_for(ledger, draft)?;
        Ok(if has_room { Ok(()) } else { Err(Unfit::Change(too_many_collections())) })
    }
}

/// The rejection of what together with what is parked is more than one mutation may do, or would come to nothing.
fn no_room() -> Rejection {
    parking::too_many("it belongs to a conflict that has no room left: resolve that first")
}
