//! How much may be parked: by a space, by each of its users, by a client that takes nothing in, and under one conflict.

use std::collections::BTreeMap;

use super::*;
use crate::call::Administration;

/// A put of `r` that never saw what stands there.
fn stale(number: u64) -> String {
    mutation(number, r#","base":0"#, &[set("r", r#""x":1"#)])
}

/// Fills the space with conflicts of a user that are no more than rows, which a new instance finds.
fn open_many(desk: &mut Desk, name: &str, count: usize) -> ConflictId {
    let id = |opened: u64| ConflictId { epoch: desk.epoch(), opened: version(opened) };
    let ids: Vec<_> = (10_000..).take(count).map(id).collect();
    for id in &ids {
        let conflict = Conflict {
            id: id.clone(),
            user: user(name),
            client: ClientId::stored(C),
            at: START,
            changes: 1,
            bytes: 2,
            touches: "\n".to_owned(),
        };
        desk.core.ledger().put_conflict(&conflict).expect("a write");
    }
    desk.core = open(desk.core.ledger.clone(), desk.now);
    ids[0].clone()
}

#[test]
fn above_10_000_open_conflicts_a_mutation_that_conflicts_is_rejected_and_none_is_pruned() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    open_many(&mut desk, "alice", limits::CONFLICTS_MAX - 1);
    assert_eq!(code(&desk.settle(C, &stale(1))), Some(RejectCode::TooManyConflicts));
    let joins = format!(r#","after":"{id}""#);
    assert_eq!(
        parked(&desk.settle(A, &mutation(3, &joins, &[set("r", r#""x":1"#)]))),
        id,
        "joining opens none"
    );
    assert!(desk.is_open(&id));
    let room = desk.settle(C, &mutation(2, "", &[theirs(&id)]));
    assert!(matches!(room, Settled::Applied(_)));
    parked(&desk.settle(C, &stale(3)));
}

#[test]
fn a_conflict_holds_1_000_changes_and_4_mib_and_what_would_join_above_that_is_rejected() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let after = format!(r#","after":"{id}""#);
    let few = |count: usize| vec![set("r", r#""x":1"#); count];
    assert_eq!(parked(&desk.settle(A, &mutation(3, &after, &few(998)))), id);
    assert_eq!(code(&desk.settle(A, &mutation(4, &after, &few(1)))), Some(RejectCode::TooManyConflicts));
    assert!(
        matches!(desk.settle(A, &mutation(5, "", &[mine(&id)])), Settled::Applied(_)),
        "all of it at once"
    );

    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let after = format!(r#","after":"{id}""#);
    let large = change("put", "r", &format!(r#","value":{{"x":"{}"}}"#, "x".repeat(250_000)));
    let mut number = 3;
    while matches!(
        desk.settle(A, &mutation(number, &after, &vec![large.clone(); 4])),
        Settled::Conflict { .. }
    ) {
        number += 1;
    }
    assert_eq!(number, 3 + 4, "four mutations of a megabyte");
    assert!(matches!(desk.settle(A, &mutation(number + 1, "", &[mine(&id)])), Settled::Applied(_)));
}

impl Desk {
    /// Whether a stale mutation of a new client of that user is parked.
    fn parks(&mut self, name: &str, client: &str) -> bool {
        let answer = self.push_as(&user(name), &body(client, &[stale(1)])).expect("an answer");
        let settled = &answer.results[0].settled;
        let is_full = code(settled) == Some(RejectCode::TooManyConflicts);
        assert!(is_full || matches!(settled, Settled::Conflict { .. }), "{settled:?}");
        !is_full
    }
}

#[test]
fn in_a_shared_space_nobody_takes_the_room_of_the_others_and_what_is_closed_is_given_back() {
    let mut desk = Desk::staffed();
    desk.put(A, 1, "r", "{}");
    let first = open_many(&mut desk, "bob", limits::CONFLICTS_OF_USER_MAX - 1);
    assert!(desk.parks("bob", "client-1"));
    assert!(!desk.parks("bob", "client-2"), "1,000 are open");
    assert!(desk.parks("alice", "client-3"), "the others have room");
    assert!(!desk.parks("bob", "client-4"), "a share is of a user, not of a client");
    desk.settle(B, &mutation(1, "", &[theirs(&first)]));
    assert!(desk.parks("bob", "client-5"), "an owner has closed one");
    assert!(!desk.parks("bob", "client-6"));
    desk.core = open(desk.core.ledger.clone(), desk.now);
    assert!(!desk.parks("bob", "client-7"), "a new instance counts the same");
}

#[test]
fn what_a_push_closes_makes_room_for_what_it_parks() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    let first = open_many(&mut desk, "alice", limits::CONFLICTS_MAX);
    let both = [mutation(1, "", &[theirs(&first)]), stale(2), stale(3)];
    let results = desk.push(&body(A, &both)).expect("an answer").results;
    assert!(matches!(results[1].settled, Settled::Conflict { .. }), "{results:?}");
    assert!(matches!(results[2].settled, Settled::Conflict { .. }), "it joins");
    assert!(!desk.parks("alice", C));
}

#[test]
fn what_fails_to_be_written_is_not_counted() {
    let mut desk = Desk::staffed();
    desk.put(A, 1, "r", "{}");
    open_many(&mut desk, "bob", limits::CONFLICTS_OF_USER_MAX - 1);
    desk.core.ledger().fail_writes_after = Some(2);
    let lost = desk.push_as(&user("bob"), &body(C, &[stale(1)]));
    assert_eq!(lost.err(), Some(ApiError::Internal));
    assert!(desk.parks("bob", C));
}

#[test]
fn an_emptied_space_has_all_its_room_again() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    open_many(&mut desk, "alice", limits::CONFLICTS_MAX);
    assert!(!desk.parks("alice", A));
    desk.administer("alice", &Administration::Delete).expect("an end");
    desk.put(B, 2, "r", "{}");
    assert!(desk.parks("alice", C));
}

#[test]
fn a_client_that_never_says_what_it_has_taken_in_opens_1_000_conflicts_also_when_they_are_closed() {
    let mut desk = Desk::new();
    let fresh = |first: u64| -> Vec<String> {
        let stale =
            |number| mutation(number, "", &[change("put", &format!("r{number}"), r#","base":0,"value":{}"#)]);
        (first..first + 500).map(stale).collect()
    };
    for first in [1, 501, 1_001] {
        let made: Vec<_> =
            (first..first + 500).map(|number| put(number, &format!("r{number}"), "{}")).collect();
        desk.push(&body(B, &made)).expect("an answer");
    }
    for first in [1, 501] {
        let results = desk.push(&body(A, &fresh(first))).expect("an answer").results;
        let ids: Vec<_> = results.iter().map(|result| parked(&result.settled)).collect();
        let closing: Vec<_> =
            (first..).zip(&ids).map(|(number, id)| mutation(number, "", &[theirs(id)])).collect();
        desk.push(&body(C, &closing)).expect("an answer");
    }
    assert!(desk.listed().conflicts.is_empty());
    let refused = desk.push(&body(A, &fresh(1_001))).expect("an answer").results;
    assert!(refused.iter().all(|result| code(&result.settled) == Some(RejectCode::TooManyConflicts)));
    let taken_in = mutation(1_501, "", &[change("put", "r1", r#","base":0,"value":{}"#)]);
    parked(&desk.settle(A, &taken_in));
}

/// A conflict of A's mutation 1, which puts `r`, in a space in which B has made these records.
fn opened(records: &[(&str, &str)]) -> (Desk, ConflictId) {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    for (number, (id, value)) in (2..).zip(records) {
        desk.put(B, number, id, value);
    }
    let id = parked(&desk.settle(A, &mutation(1, "", &[change("put", "r", r#","base":0,"value":{"n":1}"#)])));
    (desk, id)
}

/// What becomes of A's further mutations of one change each, which name the conflict.
fn joining(desk: &mut Desk, id: &ConflictId, first: u64, edits: &[String]) -> Vec<Option<RejectCode>> {
    let settled = (first..).zip(edits).map(|(number, edit)| {
        let settled = desk.settle(A, &mutation(number, &after(&[id]), std::slice::from_ref(edit)));
        assert!(code(&settled).is_some() || parked(&settled) == *id);
        code(&settled)
    });
    settled.collect()
}

/// What `mine` of a conflict comes to, and would do to nothing but a copy.
fn mine_now(desk: &mut Desk, id: &ConflictId) -> Settled {
    let mut copy = Desk { core: open(desk.core.ledger.clone(), desk.now), now: desk.now };
    copy.settle("client-x", &mutation(1, "", &[mine(id)]))
}

fn filled(bytes: usize) -> String {
    format!(r#"{{"n":1,"x":"{}"}}"#, "x".repeat(bytes))
}

#[test]
fn what_together_is_more_than_one_mutation_may_do_does_not_join_and_the_rest_can_be_applied() {
    let fields: Vec<_> = (0..8_000).map(|at| format!("\"f{at}\":1")).collect();
    let large = filled(200_000);
    let names: Vec<_> = (0..24).map(|at| format!("l{at}")).collect();
    let all: Vec<_> = names.iter().map(|id| (id.as_str(), large.as_str())).collect();
    let each = names.iter().map(|id| set(id, r#""n":2"#)).collect();
    let counted = vec![change("add", "l0", r#","path":"n","by":1"#); 86];
    // At first so many in one mutation, then each in one of its own, of which so many join.
    for (edits, at_once, taken) in
        [(vec![set("r", &fields.join(",")); 4], 1, 1), (each, 18, 2), (counted, 80, 3)]
    {
        let (mut desk, id) = opened(&all);
        assert_eq!(parked(&desk.settle(A, &mutation(2, &after(&[&id]), &edits[..at_once]))), id);
        let codes = joining(&mut desk, &id, 3, &edits[at_once..]);
        let (joined, refused) = codes.split_at(taken);
        assert!(joined.iter().all(Option::is_none), "{codes:?}");
        let no_room = Some(RejectCode::TooManyConflicts);
        assert!(!refused.is_empty() && refused.iter().all(|code| *code == no_room), "{codes:?}");
        assert!(matches!(mine_now(&mut desk, &id), Settled::Applied(_)));
    }
}

#[test]
fn what_cannot_be_done_behind_what_is_parked_is_rejected_as_if_that_had_been_applied() {
    let (mut desk, id) = opened(&[("long", &filled(200_000))]);
    let edits = [
        (set("r", r#""m":[]"#), None),
        (set("r", r#""m.x":1"#), Some(RejectCode::InvalidValue)),
        (set("r", r#""k.x":1"#), None),
        (set("long", &format!(r#""y":"{}""#, "y".repeat(100_000))), Some(RejectCode::TooLarge)),
        (change("add", "r", r#","path":"n","by":1e308"#), None),
        (change("add", "r", r#","path":"n","by":1e308"#), None),
    ];
    let (edits, expected): (Vec<_>, Vec<_>) = edits.into_iter().unzip();
    let codes = joining(&mut desk, &id, 2, &edits);
    assert_eq!(codes[..5], expected[..5]);
    assert_eq!(codes[5], Some(RejectCode::InvalidValue), "the sum is not finite");
    assert!(matches!(mine_now(&mut desk, &id), Settled::Applied(_)));
}

#[test]
fn more_collections_than_a_space_has_do_not_join() {
    let (mut desk, id) = opened(&[]);
    let put = |at: usize| format!(r#"{{"op":"put","collection":"c{at}","id":"r","value":{{}}}}"#);
    let edits: Vec<_> = (0..limits::COLLECTIONS_MAX).map(put).collect();
    let codes = joining(&mut desk, &id, 2, &edits);
    assert!(codes[..199].iter().all(Option::is_none));
    assert_eq!(codes[199], Some(RejectCode::QuotaExceeded));
    assert!(matches!(mine_now(&mut desk, &id), Settled::Applied(_)));
}

#[test]
fn nothing_joins_what_resolves_a_conflict_that_is_closed_by_now() {
    let (mut desk, first) = opened(&[]);
    desk.put(B, 2, "r", r#"{"n":7}"#);
    let second = parked(&desk.settle(A, &mutation(2, "", &[resolve(&first, r#""take":"mine","base":2"#)])));
    let edit = [set("r", r#""m":1"#)];
    assert_eq!(joining(&mut desk, &second, 3, &edit), [None]);
    desk.settle(B, &mutation(3, "", &[theirs(&first)]));
    assert_eq!(joining(&mut desk, &second, 4, &edit), [Some(RejectCode::NotFound)]);
    assert_eq!(code(&mine_now(&mut desk, &second)), Some(RejectCode::NotFound));
    assert_eq!(desk.parked_under(&second).len(), 2, "what had joined before is still there");
}

#[test]
fn what_joins_a_parked_resolution_counts_with_what_that_takes_out() {
    let (mut desk, first) = opened(&[]);
    let many = |count: usize| vec![set("r", r#""m":1"#); count];
    assert_eq!(parked(&desk.settle(A, &mutation(2, &after(&[&first]), &many(600)))), first);
    desk.put(B, 2, "r", r#"{"n":7}"#);
    let again = resolve(&first, r#""take":"mine","base":2"#);
    let second = parked(&desk.settle(A, &mutation(3, "", &[again])));
    assert_eq!(
        code(&desk.settle(A, &mutation(4, &after(&[&second]), &many(399)))),
        Some(RejectCode::TooManyConflicts)
    );
    assert_eq!(parked(&desk.settle(A, &mutation(5, &after(&[&second]), &many(398)))), second);
    assert!(matches!(mine_now(&mut desk, &second), Settled::Applied(_)));
}

#[test]
fn what_joins_is_not_blamed_for_what_could_not_be_applied_before() {
    let (mut desk, id) = opened(&[("s", r#"{"m":{}}"#)]);
    assert_eq!(joining(&mut desk, &id, 2, &[set("s", r#""m.x":1"#)]), [None]);
    desk.put(B, 3, "s", r#"{"m":[]}"#);
    assert_eq!(code(&mine_now(&mut desk, &id)), Some(RejectCode::InvalidValue));
    assert_eq!(joining(&mut desk, &id, 3, &[set("s", r#""m.y":1"#), set("r", r#""a":1"#)]), [None, None]);
    desk.put(B, 4, "s", r#"{"m":{}}"#);
    assert!(matches!(mine_now(&mut desk, &id), Settled::Applied(_)));
}

/// Two conflicts of A: `r`, which it makes an object and B a list, and `s`.
fn two() -> (Desk, ConflictId, ConflictId) {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", r#"{"m":[]}"#);
    desk.put(B, 2, "s", "{}");
    let stale = |number, id: &str, value: &str| {
        mutation(number, "", &[change("put", id, &format!(r#","base":0,"value":{value}"#))])
    };
    let old = parked(&desk.settle(A, &stale(1, "r", r#"{"m":{}}"#)));
    let new = parked(&desk.settle(A, &stale(2, "s", "{}")));
    (desk, old, new)
}

#[test]
fn what_waits_for_an_older_conflict_is_not_judged_by_what_stands_there_now() {
    let (mut desk, old, new) = two();
    let both = [set("r", r#""m.x":1"#), set("s", r#""x":1"#)];
    assert_eq!(parked(&desk.settle(A, &mutation(3, &after(&[&old, &new]), &both))), new);
    assert!(matches!(desk.settle(A, &mutation(4, "", &[mine(&old), mine(&new)])), Settled::Applied(_)));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"m":{"x":1}}"#));
}

#[test]
fn what_joins_what_waits_for_an_older_conflict_is_not_judged_either() {
    let (mut desk, old, new) = two();
    let both = [set("r", r#""a":1"#), set("s", r#""x":1"#)];
    assert_eq!(parked(&desk.settle(A, &mutation(3, &after(&[&old, &new]), &both))), new);
    assert_eq!(joining(&mut desk, &new, 4, &[set("r", r#""m.x":1"#)]), [None]);
    assert!(matches!(desk.settle(A, &mutation(5, "", &[mine(&old), mine(&new)])), Settled::Applied(_)));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"m":{"x":1},"a":1}"#));
}

#[test]
fn what_joins_a_conflict_counts_for_what_then_joins_a_resolution_of_it() {
    let again = |disturbs: fn(&ConflictId) -> String| {
        let (mut desk, first) = opened(&[]);
        desk.put(B, 2, "r", r#"{"n":7}"#);
        let second =
            parked(&desk.settle(A, &mutation(2, "", &[resolve(&first, r#""take":"mine","base":2"#)])));
        let alice = user("alice");
        let joins = |number: u64, edit: String| body(A, &[mutation(number, &after(&[&second]), &[edit])]);
        let group = [
            joins(3, set("r", r#""a":1"#)),
            body("client-o", &[disturbs(&first)]),
            joins(4, set("r", r#""m.x":1"#)),
        ]
        .map(|push| (alice.clone(), parsed(&push)));
        let answers = desk.core.push(&group, desk.now).into_iter();
        let settled: Vec<_> =
            answers.map(|answer| answer.expect("an answer").results[0].settled.clone()).collect();
        assert_eq!(parked(&settled[0]), second);
        assert_eq!(code(&settled[1]), None);
        code(&settled[2])
    };
    assert_eq!(again(|_| put(1, "beside", "{}")), None);
    let joins_first = |first: &ConflictId| mutation(1, &after(&[first]), &[set("r", r#""m":[]"#)]);
    assert_eq!(again(joins_first), Some(RejectCode::InvalidValue));
}

#[test]
fn a_queue_of_500_mutations_joins_in_one_push_and_what_others_do_between_counts() {
    let (mut desk, id) = opened(&[("s", "{}"), ("t", "{}")]);
    // Every other one is applied, beside the conflict.
    let edit =
        |number: u64| set(if number.is_multiple_of(2) { "r" } else { "t" }, &format!(r#""a":{number}"#));
    let queue: Vec<_> = (2..502).map(|number| mutation(number, "", &[edit(number)])).collect();
    let results = desk.push(&body(A, &queue)).expect("an answer").results;
    assert_eq!(
        results.iter().filter(|result| matches!(result.settled, Settled::Conflict { .. })).count(),
        250
    );
    assert!(matches!(mine_now(&mut desk, &id), Settled::Applied(_)));

    let alice = user("alice");
    let joins = |number: u64, edit: String| {
        (alice.clone(), parsed(&body(A, &[mutation(number, &after(&[&id]), &[edit])])))
    };
    let disturbs = (alice.clone(), parsed(&body(B, &[put(4, "s", r#"{"m":[]}"#)])));
    let group = [joins(502, set("s", r#""k":1"#)), disturbs, joins(503, set("s", r#""m.x":1"#))];
    let answers = desk.core.push(&group, desk.now);
    let settled: Vec<_> =
        answers.into_iter().map(|answer| answer.expect("an answer").results[0].settled.clone()).collect();
    assert_eq!(parked(&settled[0]), id);
    assert_eq!(code(&settled[2]), Some(RejectCode::InvalidValue), "an array is there by now");
}

/// A change of the given kind of one of a few records.
fn any_change(rng: &mut Rng, kind: u64) -> String {
    let id = ["r", "s", "array", "long", "l0", "l1", "l2", "none"][rng.index(8)];
    match (kind, rng.below(7)) {
        (_, 0) => set(id, r#""m.x":1"#),
        (_, 1) => set(id, r#""m":[]"#),
        (_, 2) => change("delete", id, ""),
        (0, 3) => change("put", id, &format!(r#","value":{}"#, filled(250_000))),
        (0, 4) => set(id, &format!(r#""y{}":"{}""#, rng.below(3), "y".repeat(90_000))),
        (0, _) => set(&format!("l{}", rng.below(25)), r#""n":2"#),
        (1, 3..=5) => {
            let fields: Vec<_> = (0..9_000).map(|at| format!("\"k{at}\":1")).collect();
            set(id, &fields.join(","))
        }
        (2, 3..=4) => change("add", "long", r#","path":"n","by":1e307"#),
        (2, 5) => change("put", id, r#","value":{"m":{}}"#),
        (_, _) => change("add", id, r#","path":"m","by":1,"orPut":{"m":1}"#),
    }
}

/// Whatever joins, what `mine` could do before it can do with it, as long as nobody changes what stands there. What is refused
/// for what it says would be rejected behind `mine` too.
#[test]
fn i12_whatever_joins_mine_of_an_undisturbed_conflict_can_be_applied() {
    let mut seen = BTreeMap::<_, u64>::new();
    for seed in 0..9 {
        let kind = seed % 3;
        let large = filled(if kind == 0 { 180_000 } else { 100 });
        let names: Vec<_> = (0..25).map(|at| format!("l{at}")).collect();
        let mut there: Vec<_> = names.iter().map(|id| (id.as_str(), large.as_str())).collect();
        let long = filled(if kind == 1 { 100 } else { 240_000 });
        there.extend([("s", "{}"), ("array", r#"{"m":[]}"#), ("long", long.as_str())]);
        let (mut desk, id) = opened(&there);
        let mut rng = Rng::new(seed);
        for number in 2..30 {
            let count = if kind == 2 { 8 } else { 1 };
            let edits: Vec<_> = (0..count).map(|_| any_change(&mut rng, kind)).collect();
            let settled = desk.settle(A, &mutation(number, &after(&[&id]), &edits));
            let code = code(&settled);
            *seen.entry(code.map(RejectCode::as_str)).or_default() += 1;
            if code.is_none() {
                let applied = mine_now(&mut desk, &id);
                assert_eq!(self::code(&applied), None, "seed {seed}, {number}: {applied:?}");
                continue;
            }
            let mut copy = Desk { core: open(desk.core.ledger.clone(), desk.now), now: desk.now };
            copy.settle("client-x", &mutation(1, "", &[mine(&id)]));
            let behind = copy.settle("client-x", &mutation(2, "", &edits));
            let lacks_room = code == Some(RejectCode::TooManyConflicts);
            assert!(
                lacks_room || self::code(&behind) == code,
                "seed {seed}, {number}: {settled:?}, {behind:?}"
            );
        }
    }
    let tried = [None, Some("invalid_value"), Some("too_large"), Some("too_many_conflicts")];
    assert!(tried.iter().all(|code| seen.get(code).is_some_and(|count| *count > 2)), "{seen:?}");
}
