//! Which mutations of a push are new, which were settled before, and which cannot be trusted (I2).

use crate::{
    call::PushRequest,
    coordinator::ledger::Client,
    error::ApiError,
    limits::{DIGESTS_KEPT, UNACKED_KEPT},
    mutation::{MutationDigest, MutationResult, RejectCode, Rejection, Settled, Submitted},
    version::{ConflictId, Version},
};

/// What a client's row remembers of its mutations.
///
/// As text, words joined by spaces: first the digests of the latest mutations, oldest first and without anything between
/// them. Then how the last so many of them ended, which are those that the client has not acknowledged: `a<version>` for
/// applied, `a<version>+<n>` for that and `n` more, each a version later, `m<version>` for applied where a
/// record was missing, `c<conflict id>` for parked, `r<code>` for rejected. Then `!<number>:<conflict id>` for each older mutation that is parked and not
/// acknowledged: what follows it has to be known for as long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator) struct History {
    last: u64,
    digests: String,
    results: Vec<Settled>,
    parked: Vec<(u64, ConflictId)>,
}

/// The detail of a rejection that is repeated.
const BEFORE: &str = "rejected before";

impl History {
    /// What the row remembers; nothing for a client that has none.
    #[must_use]
    pub(in crate::coordinator) fn of(client: Option<&Client>) -> Self {
        let Some(client) = client else { return Self::default() };
        let mut words = client.history.split_terminator(' ');
        let digests = words.next().unwrap_or_default().to_owned();
        let mut history = Self { last: client.last, digests, ..Self::default() };
        for word in words {
            let (kind, rest) = word.split_at_checked(1).unwrap_or_default();
            match kind {
                "!" => {
                    let (number, conflict) = rest.split_once(':').unwrap_or_default();
                    history.parked.extend(number.parse().ok().zip(ConflictId::parse(conflict)));
                }
                "a" => {
                    let (first, more) = rest.split_once('+').unwrap_or((rest, "0"));
                    let (first, more) = (first.parse().unwrap_or(0), more.parse().unwrap_or(0));
                    let versions = (first..=first + more).map_while(Version::new);
                    history.results.extend(versions.map(Settled::Applied));
                }
                _ => history.results.push(stored(kind, rest).unwrap_or(Settled::Done)),
            }
        }
        history
    }

    /// The last settled mutation.
    #[must_use]
    pub(in crate::coordinator) fn last(&self) -> u64 {
        self.last
    }

    /// Checks the numbers of a push and returns the results of those of its mutations that were settled before.
    ///
    /// # Errors
    /// [`ApiError::OutOfOrder`] for a gap. [`ApiError::ClientForked`] when a settled number comes with other changes or
    /// is too old to be compared: a restored backup, a copied profile or an edited outbox would otherwise be told that
    /// an edit it has just made is applied.
    pub(in crate::coordinator) fn admit(&self, push: &PushRequest) -> Result<Vec<MutationResult>, ApiError> {
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

    /// The results of the first mutations of a push, as far as they are settled and are the same.
    pub(in crate::coordinator) fn settled(&self, push: &PushRequest) -> Vec<MutationResult> {
        let same = |mutation: &&Submitted| {
            let digest = self.digest(mutation.id);
            digest.is_some_and(|digest| digest == mutation.digest.as_str() || planted!(RepeatsNotCompared))
        };
        push.mutations.iter().take_while(same).map(|mutation| self.repeat(mutation.id)).collect()
    }

    /// The highest mutation of which is known that this history and the client which sends `push` have it in common, and
    /// whether they may have more: this history goes on, and the push does not say how the client does. A copy of the
    /// client's database may have numbered something else alike, so nothing is said of what the push does not name.
    pub(in crate::coordinator) fn in_common(&self, push: &PushRequest, settled: usize) -> (u64, bool) {
        match push.mutations.get(settled) {
            _ if planted!(LastTooHigh) => (self.last, false),
            Some(other) => (self.last.min(other.id - 1), false),
            None if planted!(UnnamedInCommon) => (self.last, false),
            None => {
                let named = push.mutations.last().map_or(push.acked, |last| last.id);
                (self.last.min(named), self.last > named && !planted!(MoreNotSaid))
            }
        }
    }

    /// The result of a settled mutation.
    fn repeat(&self, id: u64) -> MutationResult {
        let result = self.results.len().checked_sub(self.age(id) + 1).and_then(|at| self.results.get(at));
        MutationResult { id, settled: result.cloned().unwrap_or(Settled::Done), duplicate: true }
    }

    /// Notes the next mutation.
    pub(in crate::coordinator) fn settle(&mut self, digest: &MutationDigest, settled: &Settled) {
        self.last += 1;
        self.digests.push_str(digest.as_str());
        self.results.push(repeated(settled));
    }

    /// Forgets the results up to `acked`, and the digests of what is neither recent nor unacknowledged: a push whose answer
    /// was lost must be recognized as a whole when it comes again.
    pub(in crate::coordinator) fn acknowledge(&mut self, acked: u64) {
        let unacknowledged = usize::try_from(self.last.saturating_sub(acked)).unwrap_or(usize::MAX);
        let forgotten = self.results.len().saturating_sub(unacknowledged.min(UNACKED_KEPT));
        let forgotten = (self.first_result()..).zip(self.results.drain(..forgotten));
        self.parked.extend(forgotten.filter_map(|(id, result)| Some((id, parked_under(&result)?.clone()))));
        self.parked.retain(|(id, _)| *id > acked);
        let kept = MutationDigest::LEN * unacknowledged.clamp(DIGESTS_KEPT, UNACKED_KEPT);
        self.digests.drain(..self.digests.len().saturating_sub(kept));
    }

    /// The conflicts under which mutations above `acked` are parked: later ones were made without knowing of them.
    pub(in crate::coordinator) fn conflicts_above(&self, acked: u64) -> Vec<ConflictId> {
        let results = (self.first_result()..).zip(&self.results);
        let recent = results.filter_map(|(id, result)| Some((id, parked_under(result)?)));
        let parked = self.parked.iter().map(|(id, conflict)| (*id, conflict));
        let mut conflicts: Vec<_> = parked
            .chain(recent)
            .filter(|(id, _)| *id > acked)
            .map(|(_, conflict)| conflict.clone())
            .collect();
        conflicts.sort();
        conflicts.dedup();
        conflicts
    }

    /// The number of the oldest mutation whose result is known.
    fn first_result(&self) -> u64 {
        self.last + 1 - self.results.len() as u64
    }

    /// The text of the row.
    #[must_use]
    pub(in crate::coordinator) fn text(&self) -> String {
        let mut text = self.digests.clone();
        for run in self.results.chunk_by(follows_on) {
            text.push_str(&match &run[0] {
                Settled::Applied(first) if run.len() > 1 => format!(" a{first}+{}", run.len() - 1),
                Settled::Applied(version) => format!(" a{version}"),
                Settled::Missing(version) => format!(" m{version}"),
                Settled::Conflict { id, .. } => format!(" c{id}"),
                Settled::Rejected(rejection) => format!(" r{}", rejection.code.as_str()),
                Settled::Done => " d".to_owned(),
            });
        }
        for (id, conflict) in &self.parked {
            text.push_str(&format!(" !{id}:{conflict}"));
        }
        text
    }

    fn digest(&self, id: u64) -> Option<&str> {
        let end = self.digests.len().checked_sub(self.age(id).checked_mul(MutationDigest::LEN)?)?;
        self.digests.get(end.checked_sub(MutationDigest::LEN)?..end)
    }

    /// How many settled mutations are younger; of one that is not settled more than there can be.
    fn age(&self, id: u64) -> usize {
        self.last.checked_sub(id).and_then(|age| usize::try_from(age).ok()).unwrap_or(usize::MAX - 1)
    }
}

/// Whether both are applied, the next one a version later: then the row has one word for both.
fn follows_on(one: &Settled, next: &Settled) -> bool {
    matches!((one, next), (Settled::Applied(one), Settled::Applied(next)) if one.next() == *next)
}

/// A result, out of a word of the row.
fn stored(kind: &str, rest: &str) -> Option<Settled> {
    match kind {
        "m" => Version::parse(rest).map(Settled::Missing),
        "c" => ConflictId::parse(rest).map(|id| Settled::Conflict { id, standing: Vec::new() }),
        "r" => RejectCode::parse(rest).map(|code| Settled::Rejected(Rejection::new(code, BEFORE))),
        _ => None,
    }
}

/// A result as it is repeated.
fn repeated(settled: &Settled) -> Settled {
    match settled {
        Settled::Conflict { id, .. } => Settled::Conflict { id: id.clone(), standing: Vec::new() },
        Settled::Rejected(rejection) => Settled::Rejected(Rejection::new(rejection.code, BEFORE)),
        Settled::Applied(_) | Settled::Missing(_) | Settled::Done => settled.clone(),
    }
}

/// The conflict under which a mutation of this result is parked.
fn parked_under(result: &Settled) -> Option<&ConflictId> {
    if let Settled::Conflict { id, .. } = result { Some(id) } else { None }
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
        assert_eq!(history.in_common(&copy, settled.len()), (2, false));
    }

    #[test]
    fn nothing_is_said_of_what_a_push_does_not_name_but_that_there_is_more() {
        let history = settled(3);
        let mut acked = push(&[]);
        acked.acked = 1;
        let cases = [
            (push(&[(1, "r1"), (2, "r2")]), (2, true)),
            (push(&[(2, "r2"), (3, "r3")]), (3, false)),
            (push(&[(3, "r3"), (4, "new")]), (3, false)),
            (push(&[(4, "new")]), (3, false)),
            (push(&[(9, "new")]), (3, false)),
            (push(&[(2, "other")]), (1, false)),
            (push(&[]), (0, true)),
            (acked, (1, true)),
        ];
        for (push, expected) in cases {
            assert_eq!(history.in_common(&push, history.settled(&push).len()), expected, "{push:?}");
        }
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
        assert_eq!(history.text().find(' '), Some(DIGESTS_KEPT * MutationDigest::LEN));
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
        for (id, version) in [(3, 30), (4, 31), (5, 31), (6, 33)] {
            let push = push(&[(id, &format!("r{id}"))]);
            history.settle(&push.mutations[0].digest, &applied(version));
        }
        let id = ConflictId::parse("x_0mwrnsa6yk3v9q2_34").expect("an id");
        history.parked.push((1, id.clone()));
        history.settle(&two.mutations[0].digest, &Settled::Conflict { id, standing: Vec::new() });
        let text = history.text();
        assert_eq!(
            text,
            "8F8RYVlEQttW0fh_etYlnNDYnNHeqtVlEQt rtoo_large a30+1 a31 a33 cx_0mwrnsa6yk3v9q2_34 !1:x_0mwrnsa6yk3v9q2_34",
            "clients that pushed before an update would be told that they forked"
        );
        let row = Client {
            writer: 1,
            last: 7,
            acked: 1,
            used_at: Millis(0),
            history: text,
            usage: crate::coordinator::metering::DailyUsage::default(),
        };
        assert_eq!(History::of(Some(&row)), history);
    }
}
