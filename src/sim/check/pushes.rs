//! What pushes are answered, and what leaves outboxes: I2, I10, I11, I12.

use std::{collections::BTreeSet, rc::Rc};

use super::{Intent, Oracle, Sent, conflicts::Submission};
use crate::{
    call::{PushAnswer, PushRequest},
    coordinator::ledger::RecordTable,
    error::ApiError,
    ids::{Collection, Key, RecordId},
    mutation::{MutationResult, Settled},
    role::Role,
    sim::{
        client::{Name, Outcome},
        host::Host,
    },
    time::Millis,
    version::Version,
};

impl Oracle {
    /// Takes in the results that a slice gave to mutations of a push that follow each other, whether or not anybody is told.
    /// I1: versions without gap or repeat. I2: nothing twice, and a repeated result is the first one. I11: what is wrong is
    /// rejected, alone. I13: conflicts are those of the whole history.
    ///
    /// A client id is nobody's: `user` and client id together are who wrote.
    pub fn learn_results(
        &mut self,
        user: usize,
        push: &PushRequest,
        sent: &[Sent],
        results: &[MutationResult],
        horizon: Version,
        now: Millis,
    ) {
        if push.wording.is_some() {
            return self.learn_transactions(user, push, sent, results);
        }
        let writer: Rc<str> = format!("{user}/{}", push.client.as_str()).into();
        let last = self.now.last.get(&*writer).copied().unwrap_or_default();
        let first = push.mutations.first().map_or(0, |first| first.id);
        let acked = self.now.acked.entry(writer.to_string()).or_default();
        if results.first().is_none_or(|result| result.id == first) {
            // What was not settled when it pushed it cannot have been told.
            *acked = push.acked.min(last).min(first.saturating_sub(1)).max(*acked);
        }
        let acked = *acked;
        for result in results {
            let submitted = push.mutations.iter().find(|submitted| submitted.id == result.id);
            let submitted = submitted.expect("a result of what was sent");
            let mark = mark_of(sent, result.id);
            if result.duplicate {
                assert!(
                    result.settled != Settled::Done || result.id <= acked,
                    "I2: how {} of {writer} ended was forgotten and never acknowledged",
                    result.id
                );
                self.check_repeated(mark, result);
                continue;
            }
            self.check_pusher((user, Role::Writer), &Ok::<_, ApiError>(()));
            let last = self.now.last.insert(writer.to_string(), result.id).unwrap_or(0);
            assert!(result.id == last + 1, "I2: {writer} numbers {} behind {last}", result.id);
            let first = self.now.settled.get(&mark);
            assert!(first.is_none(), "I2: mutation {mark} was settled twice, first {first:?}");
            match (self.intent(mark).clone(), &result.settled) {
                (Intent::Transaction(_), _) => panic!("BUG: mutation {mark} is a transaction"),
                (Intent::Invalid, settled) => {
                    let is_rejected = matches!(settled, Settled::Rejected(_));
                    assert!(is_rejected, "I11: mutation {mark} cannot be applied and was {settled:?}");
                }
                (Intent::Changes(changes, grounds), settled) => {
                    let Some(mutation) = submitted.intent.mutation() else {
                        panic!("I11: mutation {mark} was refused: {submitted:?}")
                    };
                    let (changes, grounds) = (&*changes, &*grounds);
                    let sent = Submission { mark, changes, grounds, mutation, push, user, writer: &writer };
                    self.learn_result(&sent, result.id, settled, horizon, now);
                }
            }
            self.now.settled.insert(mark, result.settled.clone());
            self.ever_settled.entry(mark).or_default().push(result.settled.clone());
        }
    }

    /// Takes in the answer to a push, after its results. I11: it has one for each mutation, or, to a push that was overtaken, for
    /// what was settled before. I1: it is at the end of them.
    pub fn check_answer(&self, user: usize, push: &PushRequest, answer: &PushAnswer) {
        let numbers = |ids: &mut dyn Iterator<Item = u64>| ids.collect::<Vec<_>>();
        let answered = numbers(&mut answer.results.iter().map(|result| result.id));
        let sent = numbers(&mut push.mutations.iter().map(|submitted| submitted.id));
        let acked = self.now.acked.get(&format!("{user}/{}", push.client.as_str()));
        let is_overtaken = sent.first().is_some_and(|first| acked.is_some_and(|acked| first <= acked));
        let is_overtaken = is_overtaken && answer.results.iter().all(|result| result.duplicate);
        assert!(
            answered == sent || (is_overtaken && sent.starts_with(&answered)),
            "I11: of the mutations {sent:?} those have results: {answered:?}"
        );
        let text = answer.worded.as_ref().unwrap_or(&answer.changes);
        self.check_brand(text, "the answer to a push");
        assert!(
            answer.position >= self.now.here,
            "I1: the answer to a push is at {}, below {}",
            answer.position,
            self.now.here
        );
    }

    fn check_repeated(&self, mark: u64, result: &MutationResult) {
        let first = self.now.settled.get(&mark);
        let same = first.is_some_and(|first| is_repetition(&result.settled, first));
        assert!(same, "I2: {result:?} repeats what was {first:?}");
    }

    /// I10: of the records that pushes name exactly what their results say is in storage, also when they failed. Looks at
    /// the end of their transaction, at each record and each conflict once.
    pub fn check_storage<'a>(
        &self,
        pushes: impl Iterator<Item = (&'a PushRequest, &'a [MutationResult])>,
        host: &mut Host,
        now: Millis,
    ) {
        let (mut keys, mut conflicts) = (BTreeSet::new(), BTreeSet::new());
        let pushes: Vec<_> = pushes.collect();
        let is_worded = pushes.iter().any(|(push, _)| push.wording.is_some());
        let names = self.now.records.keys().filter(|_| is_worded);
        let key =
            |name: &Rc<Name>| Key { collection: Collection::stored(&name.0), id: RecordId::stored(&name.1) };
        let all: Vec<Key> = names.map(key).collect();
        let worded = pushes.iter().filter_map(|(push, _)| push.wording.as_ref());
        let touched: Vec<Key> = worded.flat_map(|wording| wording.touched()).collect();
        keys.extend(&touched);
        for (push, results) in pushes {
            let mutations = push.mutations.iter().filter_map(|submitted| submitted.intent.mutation());
            keys.extend(mutations.flat_map(|mutation| &mutation.changes).map(|change| &change.key));
            if push.wording.is_some() {
                // Which records its criteria mean is not said.
                keys.extend(if results.is_empty() { &[][..] } else { &all });
            }
            conflicts.extend(results.iter().filter_map(|result| match &result.settled {
                Settled::Conflict { id, .. } => Some(id),
                _ => None,
            }));
        }
        self.check_parked(conflicts.into_iter(), host, now);
        let ledger = host.core(now).ledger();
        for key in keys {
            let record = ledger.record(key).expect("storage in memory can be read");
            let value = record.as_ref().and_then(|record| record.value(key));
            let name = (key.collection.as_str().to_owned(), key.id.as_str().to_owned());
            let text = self.now.records.get(&name).map(|text| &**text);
            assert!(value == text, "I10: storage has {value:?} of {name:?}, not {text:?}");
        }
    }

    /// I12: what left an outbox left it with its end, which the application is told, or because it had ended.
    pub fn learn_outcome(&mut self, outcome: &Outcome) {
        for (mark, told) in &outcome.settled {
            let ends = self.ever_settled.get(mark);
            let ends =
                ends.unwrap_or_else(|| panic!("I12: mutation {mark} left the outbox and was never settled"));
            let is_true = ends.iter().any(|end| is_repetition(told, end));
            assert!(is_true, "I12: mutation {mark} was {ends:?}, and the application is told {told:?}");
            // Made after the copy, and acknowledged by the number of another mutation.
            if *told == Settled::Done && !self.copied_names.is_empty() {
                self.copied.insert(*mark);
            }
        }
        if let Some(mark) = outcome.dropped.first() {
            panic!("I12: mutation {mark} left the outbox and nobody was told how it ended");
        }
    }
}

/// Whether a result says of the end of a mutation what was said first, in full or with less detail.
fn is_repetition(result: &Settled, first: &Settled) -> bool {
    match (result, first) {
        (Settled::Conflict { id: now, .. }, Settled::Conflict { id: first, .. }) => now == first,
        (Settled::Done, _) => true,
        (Settled::Rejected(now), Settled::Rejected(first)) => now.code == first.code,
        (now, first) => now == first,
    }
}

pub(super) fn mark_of(sent: &[Sent], id: u64) -> u64 {
    sent.iter().find(|(sent, _)| *sent == id).expect("an answer to what was sent").1
}
