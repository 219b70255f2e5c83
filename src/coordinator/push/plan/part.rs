//! As much of a push as one slice takes.

use crate::{
    call::{OnConflict, PushRequest, Usage},
    coordinator::{
        ledger::{Client, Ledger, LedgerResult},
        metering::DailyUsage,
        push::{
            numbering::History,
            plan::{Clients, Plan},
            queue::{self, Progress, Waiting},
        },
    },
    error::ApiError,
    ids::{ClientId, UserHash},
    limits::{self, SliceMax},
    mutation::{Intent, MutationResult, Settled, Submitted},
    role::Role,
    time::Millis,
    version::{ConflictId, Position},
};

/// Why a mutation is rejected that changes who the members of a realm are.
pub(super) const GOVERNED: &str = "only owners change who the members of a realm are";

/// How far a push gets with a plan.
#[derive(Debug)]
pub(in crate::coordinator) struct Part {
    pub(in crate::coordinator) progress: Progress,
    pub(in crate::coordinator) is_whole: bool,
}

/// Who pushes, and what holds for all mutations of the push.
pub(in crate::coordinator) struct Author<'a> {
    pub(in crate::coordinator) user: &'a UserHash,
    pub(in crate::coordinator) client: &'a ClientId,
    /// What that user may do.
    pub(in crate::coordinator) role: Role,
    pub(in crate::coordinator) writer: u64,
    pub(in crate::coordinator) on_conflict: Option<OnConflict>,
    /// Conflicts of which the client did not know when it made the mutation.
    pub(in crate::coordinator) unacknowledged: Vec<ConflictId>,
    pub(in crate::coordinator) now: Millis,
}

impl Plan {
    /// Plans as much of a push as one slice takes, behind what was planned before. An [`ApiError`] means that nothing of it is.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub(in crate::coordinator) fn part<L: Ledger>(
        &mut self,
        ledger: &L,
        remembered: &Clients,
        (waiting, role): (&Waiting, Role),
        max: SliceMax,
        now: Millis,
    ) -> LedgerResult<Result<Part, ApiError>> {
        let (push, work_before) = (&waiting.push, self.work());
        if let Some(wording) = &push.wording {
            if role < Role::Writer && !wording.concerns_members() {
                return Ok(Ok(Part::of_reader(waiting)));
            }
            return self.part_of_transactions(ledger, remembered, (waiting, role), max, now).map(Ok);
        }
        let anybody = planted!(ClientIdIsAnybodys).then(|| UserHash::new("", ""));
        let user = anybody.as_ref().unwrap_or(&waiting.user);
        let name = (user.clone(), push.client.clone());
        let known = self.client(ledger, remembered, &name)?;
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
            role,
            writer,
            on_conflict: push.on_conflict,
            unacknowledged: history.conflicts_above(progress.acked),
            now,
        };
        (self.push_parked, self.records_room) = (progress.parked, progress.records_room);
        let rest = &push.mutations[begin..];
        let slice = &rest[..queue::fitting(rest, max)];
        self.read_ahead(ledger, slice)?;
        self.settle(ledger, slice, &mut by, &mut history, &mut progress)?;
        // A result that it has not had yet it cannot have stored, whatever another history has told it.
        history.acknowledge(progress.acked);
        let is_whole = progress.results.len() == push.mutations.len();
        if is_whole || !planted!(PrefixNotNoted) {
            let (last, acked) = (history.last(), progress.acked);
            let usage = known.map_or_else(DailyUsage::default, |client| client.usage);
            let client = Client { writer, last, acked, used_at: now, history: history.text(), usage };
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
        if planted!(BadMutationBlocks)
            && push.mutations.iter().any(|submitted| matches!(submitted.intent, Intent::Rejected(_)))
        {
            return Err(ApiError::Internal);
        }
        Ok(if planted!(RepeatsApplied) { Vec::new() } else { settled })
    }

    /// Settles mutations in order, until they have been much work.
    fn settle<L: Ledger>(
        &mut self,
        ledger: &L,
        slice: &[Submitted],
        by: &mut Author<'_>,
        history: &mut History,
        progress: &mut Progress,
    ) -> LedgerResult<()> {
        for (at, submitted) in slice.iter().enumerate() {
            let is_much = self.work() > limits::GROUP_WORK_MAX || self.push_parked >= limits::CHANGES_MAX;
            if is_much && at > 0 {
                break;
            }
            let settled = match &submitted.intent {
                Intent::Mutation(mutation) => self.mutation(ledger, submitted, mutation, by)?,
                Intent::Rejected(rejection) => Settled::Rejected(rejection.clone()),
                Intent::Transaction(_) => panic!("BUG: a transaction has come in a push of mutations"),
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
        Ok(())
    }

    pub(super) fn newcomer(&mut self, user: &UserHash) -> u64 {
        self.newcomers.insert(user.clone());
        self.meta.writers += 1;
        self.meta.writers
    }
}

/// What was rejected of pushes in a slice, without what earlier slices have rejected.
pub(in crate::coordinator) fn rejected_now(slice: &[Waiting], parts: &[Result<Part, ApiError>]) -> Usage {
    let rejected = slice.iter().zip(parts).filter_map(|(waiting, part)| {
        let before =
            waiting.progress.as_ref().map_or(0, |progress| waiting.push.rejected(&progress.results).0);
        Some(waiting.push.rejected(&part.as_ref().ok()?.progress.results).0 - before)
    });
    Usage { rejected: rejected.sum(), ..Usage::default() }
}
