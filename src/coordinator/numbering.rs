//! Which mutations of a push are new, which were settled before, and which cannot be trusted (I2).

use std::collections::VecDeque;

use super::ledger::Client;
use crate::{
    limits::{DIGESTS_KEPT, UNACKED_KEPT},
    protocol::{
        error::ApiError,
        push::{MutationDigest, MutationResult, PushRequest, RejectCode, Rejection, Settled, Submitted},
    },
    version::{ConflictId, Version},
};

/// What a client's row remembers of its mutations, newest last.
///
/// As text: entries joined by spaces, each 16 hex digits, and while the client has not acknowledged the result `:` and
/// `a<version>` for applied, `c<conflict id>` for parked, `r<code>` for rejected. Before them `!<number>:<conflict id>` for
/// each older mutation that is parked and not acknowledged: what follows it has to be known for as long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct History {
    last: u64,
    parked: Vec<(u64, ConflictId)>,
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    digest: MutationDigest,
    result: Option<String>,
}

impl Entry {
    /// The conflict under which the mutation is parked, while that is not acknowledged.
    fn conflict(&self) -> Option<ConflictId> {
        ConflictId::parse(self.result.as_deref()?.strip_prefix('c')?)
    }
}

impl History {
    /// What the row remembers; nothing for a client that has none.
    #[must_use]
    pub(super) fn of(client: Option<&Client>) -> Self {
        let Some(client) = client else { return Self::default() };
        let mut history = Self { last: client.last, ..Self::default() };
        for entry in client.history.split_terminator(' ') {
            let (digest, result) =
                entry.split_once(':').map_or((entry, None), |(digest, result)| (digest, Some(result)));
            if let Some(number) = digest.strip_prefix('!') {
                let conflict = result.and_then(ConflictId::parse);
                history.parked.extend(number.parse().ok().zip(conflict));
                continue;
            }
            let (digest, result) = (MutationDigest::stored(digest), result.map(str::to_owned));
            history.entries.push_back(Entry { digest, result });
        }
        history
    }

    /// The last settled mutation.
    #[must_use]
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Checks the numbers of a push and returns the results of those of its mutations that were settled before.
    ///
    /// # Errors
    /// [`ApiError::OutOfOrder`] for a gap. [`ApiError::ClientForked`] when a settled number comes with other changes or
    /// is too old to be compared: a restored backup, a copied profile or an edited outbox would otherwise be told that
    /// an edit it has just made is applied.
    pub(super) fn admit(&self, push: &PushRequest) -> Result<Vec<MutationResult>, ApiError> {
        if push.mutations.first().is_some_and(|first| first.id > self.last + 1) {
            return Err(ApiError::OutOfOrder { expected: self.last + 1 });
        }
        let settled = self.settled(push);
        match push.mutations.get(settled.len()) {
            Some(other) if other.id <= self.last => {
                Err(ApiError::ClientForked { last: other.id - 1, settled })
            }
            _ => Ok(settled),
        }
    }

    /// The results of the first mutations of a push, as far as they are settled and their changes are the same.
    pub(super) fn settled(&self, push: &PushRequest) -> Vec<MutationResult> {
        let same = |mutation: &&Submitted| {
            self.entry(mutation.id)
                .is_some_and(|entry| entry.digest == mutation.digest || planted!(RepeatsNotCompared))
        };
        push.mutations.iter().take_while(same).map(|mutation| self.repeat(mutation)).collect()
    }

    /// The highest mutation that this history and the client which sends `push` have in common, as far as can be told:
    /// a copy of the client's database may have numbered something else alike.
    pub(super) fn last_in_common(&self, push: &PushRequest, settled: usize) -> u64 {
        let other =
            push.mutations.get(settled).filter(|other| other.id <= self.last && !planted!(LastTooHigh));
        other.map_or(self.last, |other| other.id - 1)
    }

    /// The result of a settled mutation.
    fn repeat(&self, mutation: &Submitted) -> MutationResult {
        let result = self.entry(mutation.id).and_then(|entry| entry.result.as_deref()).unwrap_or_default();
        let settled = match result.split_at_checked(1) {
            Some(("a", version)) => Version::parse(version).map_or(Settled::Done, Settled::Applied),
            // Without an id it was refused by code that did not park, and its client has it.
            Some(("c", id)) => ConflictId::parse(id)
                .map_or(Settled::Done, |id| Settled::Conflict { id, standing: Vec::new() }),
            Some(("r", code)) => RejectCode::parse(code)
                .map_or(Settled::Done, |code| Settled::Rejected(Rejection::new(code, "rejected before"))),
            _ => Settled::Done,
        };
        MutationResult { id: mutation.id, settled, duplicate: true }
    }

    /// Notes the next mutation.
    pub(super) fn settle(&mut self, digest: &MutationDigest, settled: &Settled) {
        let result = match settled {
            Settled::Applied(version) => Some(format!("a{version}")),
            Settled::Conflict { id, .. } => Some(format!("c{id}")),
            Settled::Rejected(rejection) => Some(format!("r{}", rejection.code.as_str())),
            Settled::Done => None,
        };
        self.last += 1;
        self.entries.push_back(Entry { digest: *digest, result });
    }

    /// Forgets the results up to `acked`, and the digests of what is neither recent nor unacknowledged: a push whose answer
    /// was lost must be recognized as a whole when it comes again.
    pub(super) fn acknowledge(&mut self, acked: u64) {
        let unacknowledged = usize::try_from(self.last.saturating_sub(acked)).unwrap_or(usize::MAX);
        let keep = unacknowledged.clamp(DIGESTS_KEPT, UNACKED_KEPT);
        let forgotten = self.entries.len().saturating_sub(keep);
        let first = self.first();
        let forgotten = (first..).zip(self.entries.drain(..forgotten));
        self.parked.extend(forgotten.filter_map(|(id, entry)| Some((id, entry.conflict()?))));
        self.parked.retain(|(id, _)| *id > acked);
        for (id, entry) in (self.first()..).zip(&mut self.entries) {
            if id <= acked {
                entry.result = None;
            }
        }
    }

    /// The conflicts under which mutations above `acked` are parked: later ones were made without knowing of them.
    pub(super) fn conflicts_above(&self, acked: u64) -> Vec<ConflictId> {
        let entries = (self.first()..).zip(&self.entries);
        let recent = entries.filter_map(|(id, entry)| Some((id, entry.conflict()?)));
        let parked = self.parked.iter().cloned().chain(recent).filter(|(id, _)| *id > acked);
        let mut conflicts: Vec<_> = parked.map(|(_, conflict)| conflict).collect();
        conflicts.dedup();
        conflicts
    }

    /// The number of the oldest entry.
    fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// The text of the row.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.entries.len() * 24);
        for (id, conflict) in &self.parked {
            text.push_str(&format!("!{id}:{conflict} "));
        }
        for entry in &self.entries {
            text.push_str(entry.digest.as_str());
            if let Some(result) = &entry.result {
                text.push(':');
                text.push_str(result);
            }
            text.push(' ');
        }
        text
    }

    fn entry(&self, id: u64) -> Option<&Entry> {
        let age = usize::try_from(self.last.checked_sub(id)?).ok()?;
        self.entries.len().checked_sub(age + 1).and_then(|index| self.entries.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    fn push(ids: &[(u64, &str)]) -> PushRequest {
        let mutations: Vec<String> = ids
            .iter()
            .map(|(id, record)| {
                format!(
                    r#"{{"id":{id},"changes":[{{"op":"put","collection":"c","id":"{record}","value":{{}}}}]}}"#
                )
            })
            .collect();
        PushRequest::parse(
            format!(r#"{{"client":"c_9f2k1m0a","mutations":[{}]}}"#, mutations.join(",")).as_bytes(),
        )
        .expect("a push")
    }

    fn settled(count: u64) -> History {
        let mut history = History::default();
        for id in 1..=count {
            let push = push(&[(id, &format!("r{id}"))]);
            history.settle(
                &push.mutations[0].digest,
                &Settled::Applied(Version::new(id * 10).expect("a version")),
            );
        }
        history
    }

    fn applied(version: u64) -> Settled {
        Settled::Applied(Version::new(version).expect("a version"))
    }

    fn results(history: &History, push: &PushRequest) -> Vec<Settled> {
        history.admit(push).expect("no refusal").into_iter().map(|result| result.settled).collect()
    }

    fn forked_after(history: &History, ids: &[(u64, &str)]) -> Option<u64> {
        match history.admit(&push(ids)) {
            Err(ApiError::ClientForked { last, .. }) => Some(last),
            _ => None,
        }
    }

    #[test]
    fn a_gap_is_refused_with_the_number_that_comes_next() {
        assert_eq!(settled(3).admit(&push(&[(5, "x")])), Err(ApiError::OutOfOrder { expected: 4 }));
        assert_eq!(settled(3).admit(&push(&[(4, "x")])), Ok(Vec::new()));
    }

    #[test]
    fn a_repeated_number_with_the_same_changes_repeats_its_result() {
        let history = settled(3);
        let again = push(&[(2, "r2"), (3, "r3"), (4, "new")]);
        assert_eq!(results(&history, &again), [applied(20), applied(30)]);
    }

    #[test]
    fn a_repeated_number_with_other_changes_is_a_fork() {
        assert_eq!(forked_after(&settled(3), &[(3, "other")]), Some(2));
    }

    #[test]
    fn a_fork_says_what_both_have_in_common_and_how_that_ended() {
        let history = settled(3);
        let copy = push(&[(2, "r2"), (3, "other"), (4, "new")]);
        let Err(ApiError::ClientForked { last, settled }) = history.admit(&copy) else { panic!("a fork") };
        assert_eq!((last, settled.len(), settled[0].settled.clone()), (2, 1, applied(20)));
        assert_eq!(history.last_in_common(&copy, settled.len()), 2);
        assert_eq!(history.last_in_common(&push(&[(2, "r2")]), 1), 3);
    }

    #[test]
    fn a_number_too_old_to_compare_is_a_fork_even_with_the_same_changes() {
        let mut history = settled(DIGESTS_KEPT as u64 + 1);
        history.acknowledge(DIGESTS_KEPT as u64);
        assert_eq!(forked_after(&history, &[(1, "r1")]), Some(0));
        assert_eq!(results(&history, &push(&[(2, "r2")])).len(), 1);
    }

    #[test]
    fn what_is_not_acknowledged_is_recognized_up_to_two_full_pushes() {
        let mut history = settled(UNACKED_KEPT as u64 + 1);
        history.acknowledge(0);
        assert_eq!(forked_after(&history, &[(1, "r1")]), Some(0));
        assert_eq!(results(&history, &push(&[(2, "r2")])).len(), 1);
        history.acknowledge(UNACKED_KEPT as u64);
        assert_eq!(history.text().split_terminator(' ').count(), DIGESTS_KEPT);
    }

    #[test]
    fn acknowledged_results_are_forgotten_and_their_digests_are_not() {
        let mut history = settled(3);
        history.acknowledge(2);
        let again = push(&[(2, "r2"), (3, "r3")]);
        assert_eq!(results(&history, &again), [Settled::Done, applied(30)]);
        assert_eq!(forked_after(&history, &[(2, "other")]), Some(1));
    }

    #[test]
    fn the_row_is_pinned_because_every_client_in_the_field_has_one() {
        let mut history = settled(1);
        history.acknowledge(1);
        let two = push(&[(2, "r2")]);
        history
            .settle(&two.mutations[0].digest, &Settled::Rejected(Rejection::new(RejectCode::TooLarge, "x")));
        let text = history.text();
        assert_eq!(
            text, "181433ea55bc54ce 0c688b44dde8d3b1:rtoo_large ",
            "clients that pushed before an update would be told that they forked"
        );
        let row = Client { writer: 1, last: 2, acked: 1, used_at: Millis(0), history: text };
        assert_eq!(History::of(Some(&row)), history);
    }
}
