//! What the spaces of an isolate keep in memory, together.

use super::{
    tasks::{AT, answer, go_on, instance_with, task},
    *,
};
use crate::{
    call::Call,
    coordinator::{
        cache::{Caches, Common},
        object::{Effect, Event, Object, Said},
    },
};

const KIB: usize = 1024;

/// What a call of alice's is answered.
pub(super) fn asked(
    object: &mut Object<MemoryLedger>,
    scope: &Scope,
    call: &Call,
    body: &str,
) -> Option<String> {
    let mut task = task("alice", scope.clone(), call);
    let mut effect = go_on(object, &mut task, Event::Begun, body);
    while let Effect::SetAlarm(_) = effect {
        effect = go_on(object, &mut task, Event::AlarmSet(true), body);
    }
    answer(effect).result.map(Said::into_text).expect("it is not refused")
}

fn pulled(object: &mut Object<MemoryLedger>, scope: &Scope) -> Option<String> {
    let pull = Call::Pull(Box::default());
    asked(object, scope, &pull, &pull.body())
}

fn sharing(caches: &Caches) -> (Object<MemoryLedger>, Scope) {
    instance_with(&Common { caches: caches.clone(), ..Common::default() })
}

/// A space into which alice has put so many bytes, and which she has then read.
fn used(caches: &Caches, bytes: usize) -> (Object<MemoryLedger>, Scope) {
    let (mut object, scope) = sharing(caches);
    let value = format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes));
    asked(&mut object, &scope, &Call::Push, &body("client-0", &[put(1, "a", &value)]));
    pulled(&mut object, &scope);
    (object, scope)
}

/// Bytes of the overlay that a space keeps, if it keeps one, and how many clients.
fn kept(object: &Object<MemoryLedger>) -> (Option<usize>, usize) {
    let cache = object.core().expect("it is open").cache.borrow();
    (cache.overlay.as_ref().map(|overlay| overlay.lines.len() / KIB), cache.clients.len())
}

#[test]
fn spaces_used_once_keep_together_no_more_than_their_isolate_has_for_them() {
    let (caches, mut spaces) = (Caches::default(), Vec::new());
    for _ in 0..200 {
        spaces.push(used(&caches, 200 * KIB));
        let taken = spaces.iter().map(|(object, _)| kept(object).0.unwrap_or(0) * KIB).sum::<usize>();
        assert!(taken <= caches.bytes() && caches.bytes() <= limits::CACHES_BYTES_MAX, "{taken}");
    }
    let keep = spaces.iter().filter(|(object, _)| kept(object) != (None, 0)).count();
    assert!((30..=40).contains(&keep), "{keep} spaces of 200 KiB in 8 MiB");
}

#[test]
fn the_space_that_was_used_longest_ago_forgets_first() {
    let caches = Caches::new(300 * KIB);
    let mut spaces = [100, 100].map(|kib| used(&caches, kib * KIB));
    let whole = (Some(100), 1);
    assert_eq!(spaces.each_ref().map(|(object, _)| kept(object)), [whole, whole]);
    let (object, scope) = &mut spaces[0];
    pulled(object, scope);
    let third = used(&caches, 150 * KIB);
    assert_eq!(spaces.each_ref().map(|(object, _)| kept(object)), [whole, (None, 0)]);
    assert_eq!(kept(&third.0), (Some(150), 1));
}

#[test]
fn a_space_that_would_keep_more_than_all_may_keeps_nothing() {
    let caches = Caches::new(100 * KIB);
    assert_eq!(kept(&used(&caches, 150 * KIB).0), (None, 0));
    assert_eq!(caches.bytes(), 0);
}

#[test]
fn a_space_that_forgets_between_any_two_events_answers_like_one_that_remembers() {
    let push = |number: u64| {
        let mutations = [put(number, "a", "{}"), put(number + 1, &format!("b{number}"), r#"{"n":1}"#)];
        body("client-0", &mutations)
    };
    let answers = [0, limits::CACHES_BYTES_MAX].map(|bytes_max| {
        let (mut object, scope) = sharing(&Caches::new(bytes_max));
        let mut answers = Vec::new();
        for number in [1, 3, 3, 5] {
            answers.push(asked(&mut object, &scope, &Call::Push, &push(number)));
            answers.extend([pulled(&mut object, &scope), pulled(&mut object, &scope)]);
            let conflicts = Call::Conflicts { after: Version::ZERO };
            answers.push(asked(&mut object, &scope, &conflicts, &conflicts.body()));
        }
        assert_eq!(kept(&object) == (None, 0), bytes_max == 0);
        object.step(&mut task("alice", scope, &Call::Push), Event::Begun, AT);
        answers
    });
    assert_eq!(answers[0], answers[1]);
}
