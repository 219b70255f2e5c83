//! Who changed what: a mutation conflicts only with changes that its client has not seen and did not make (I13).

use super::*;
use crate::{limits, mutation::There, sim::Rng};

const A: &str = "client-a";
const B: &str = "client-b";

fn is_conflict(settled: &Settled) -> bool {
    matches!(settled, Settled::Conflict { .. })
}

/// A mutation on the record `r`.
fn change(number: u64, base: u64, op: &str) -> String {
    format!(r#"{{"id":{number},"base":{base},"changes":[{{{op},"collection":"c","id":"r"}}]}}"#)
}

#[test]
fn h02_two_offline_edits_of_one_record_by_one_client_do_not_conflict() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", r#"{"n":1}"#);
    let edits = [
        change(1, 1, r#""op":"put","value":{"n":2}"#),
        change(2, 1, r#""op":"patch","set":{"n":3}"#),
        change(3, 1, r#""op":"delete""#),
        change(4, 1, r#""op":"put","value":{"n":4}"#),
    ];
    let answer = desk.push(&body(A, &edits)).expect("an answer");
    assert!(answer.results.iter().all(|result| matches!(result.settled, Settled::Applied(_))), "{answer:?}");
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":4}"#));
}

#[test]
fn i12_a_base_that_this_history_has_not_reached_is_older_than_every_change_and_rejects_no_edit() {
    let mut desk = Desk::new();
    desk.put(A, 1, "mine", "{}");
    desk.put(B, 1, "r", r#"{"n":1}"#);
    let applied = desk
        .settle(A, r#"{"id":2,"base":99,"changes":[{"op":"put","collection":"c","id":"new","value":{}}]}"#);
    assert!(matches!(applied, Settled::Applied(_)), "{applied:?}");
    let own = desk.settle(
        A,
        r#"{"id":3,"base":99,"changes":[{"op":"put","collection":"c","id":"mine","value":{"n":2}}]}"#,
    );
    assert!(matches!(own, Settled::Applied(_)), "{own:?}");
    assert!(is_conflict(&desk.settle(A, &change(4, 99, r#""op":"put","value":{}"#))));
}

#[test]
fn h02_ones_own_change_does_not_hide_somebody_elses_before_it() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    desk.put(B, 1, "r", r#"{"n":2}"#);
    // The add never conflicts, and makes A the last writer without A having seen B's change.
    desk.settle(A, &change(2, 1, r#""op":"add","path":"n","by":1"#));
    assert!(is_conflict(&desk.settle(A, &change(3, 1, r#""op":"put","value":{}"#))));
    assert!(!is_conflict(&desk.settle(A, &change(4, 2, r#""op":"put","value":{}"#))));
}

#[test]
fn i13_an_unchecked_deletion_does_not_hide_from_what_follows_it_what_others_had_changed() {
    let delete = r#"{"op":"delete","collection":"c","id":"r"}"#;
    let unseen = [r#""op":"patch","set":{"by":"b"}"#, r#""op":"delete""#];
    let follows = [r#""op":"put","value":{"n":2}"#, r#""op":"patch","set":{},"orPut":{"n":2}"#];
    for (unseen, follows) in unseen.into_iter().flat_map(|unseen| follows.map(|follows| (unseen, follows))) {
        let changed = || {
            let mut desk = Desk::new();
            desk.put(A, 1, "r", r#"{"n":1}"#);
            desk.settle(B, &change(1, 1, unseen));
            desk
        };
        let mut apart = changed();
        assert!(!is_conflict(&apart.delete(A, 2, "r")), "it has no base");
        assert!(is_conflict(&apart.settle(A, &change(3, 1, follows))), "{unseen}, {follows}: two mutations");
        let seen = apart.version();
        assert!(!is_conflict(&apart.settle(A, &change(4, seen, follows))), "who has seen it goes on");
        let together =
            format!(r#"{{"id":2,"changes":[{delete},{{{follows},"base":1,"collection":"c","id":"r"}}]}}"#);
        assert!(is_conflict(&changed().settle(A, &together)), "{unseen}, {follows}: one mutation");
    }
}

#[test]
fn a_conflict_changes_nothing_says_what_stands_there_and_lets_the_next_go_on() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", r#"{"n":1}"#);
    desk.put(B, 2, "gone", "{}");
    desk.delete(B, 3, "gone");
    let both = r#"{"id":1,"base":1,"changes":[
        {"op":"put","collection":"c","id":"mine","value":{}},
        {"op":"put","collection":"c","id":"gone","value":{}},
        {"op":"put","collection":"c","id":"r","value":{},"base":0}]}"#;
    let answer = desk.push(&body(A, &[both.to_owned(), put(2, "next", "{}")])).expect("an answer");
    let Settled::Conflict { id, standing: records } = &answer.results[0].settled else {
        panic!("no conflict: {answer:?}")
    };
    let seen: Vec<_> =
        records.iter().map(|r| (r.key.id.as_str(), r.version.get(), r.there.clone())).collect();
    let value = There::Value(r#"{"n":1}"#.to_owned());
    assert_eq!(seen, [("gone", 3, There::Nothing), ("r", 1, value)]);
    assert_eq!(answer.results[1].settled, applied(5), "I1: parking was step 4");
    assert_eq!(desk.value("mine"), None);
    let again = desk.push(&body(A, &[both.to_owned()])).expect("an answer");
    assert_eq!(
        again.results[0].settled,
        Settled::Conflict { id: id.clone(), standing: Vec::new() },
        "I2: details may be missing"
    );
}

#[test]
fn all_bases_of_a_mutation_are_checked_against_the_state_before_it() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    let twice = r#"{"id":2,"base":1,"changes":[
        {"op":"delete","collection":"c","id":"r"},
        {"op":"put","collection":"c","id":"r","value":{"n":2}}]}"#;
    assert_eq!(desk.settle(A, twice), applied(2));
    assert!(is_conflict(&desk.settle(B, &change(1, 1, r#""op":"delete""#))));
}

#[test]
fn add_include_and_exclude_never_conflict() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    for (number, op) in [
        (1, r#""op":"add","path":"n","by":1"#),
        (2, r#""op":"include","path":"t","values":["a"]"#),
        (3, r#""op":"exclude","path":"t","values":["b"]"#),
    ] {
        assert!(!is_conflict(&desk.settle(B, &change(number, 0, op))), "{op}");
    }
}

fn with_policy(desk: &mut Desk, client: &str, policy: &str, mutation: &str) -> Settled {
    let acked = parsed(&body(client, &[mutation.to_owned()])).mutations[0].id - 1;
    let policy = format!(r#""onConflict":"{policy}","acked":{acked}"#);
    let push = format!(r#"{{"client":"{client}",{policy},"mutations":[{mutation}]}}"#);
    desk.push(&push).expect("an answer").results[0].settled.clone()
}

#[test]
fn overwrite_applies_what_would_conflict() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    let settled = with_policy(&mut desk, B, "overwrite", &change(1, 0, r#""op":"put","value":{}"#));
    assert_eq!(settled, applied(2));
    assert!(is_conflict(&with_policy(&mut desk, A, "reject", &change(2, 1, r#""op":"delete""#))));
}

#[test]
fn h18_merge_conflicts_by_top_level_field_and_a_put_touches_what_it_changes() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"title":"x","meta":{"n":1,"m":1},"old":1}"#);
    // Changes title, removes old, adds new; meta stays as it is.
    desk.settle(A, &change(2, 1, r#""op":"put","value":{"new":1,"title":"y","meta":{"n":1,"m":1}}"#));
    let mut number = 0;
    let mut merge = |desk: &mut Desk, op: &str| {
        number += 1;
        is_conflict(&with_policy(desk, B, "merge", &change(number, 1, op)))
    };
    for touched in ["title", "old", "new", "title.deep"] {
        assert!(merge(&mut desk, &format!(r#""op":"patch","set":{{"{touched}":2}}"#)), "{touched}");
    }
    assert!(merge(&mut desk, r#""op":"patch","unset":["title"]"#));
    assert!(merge(&mut desk, r#""op":"put","value":{}"#), "a put rests on the whole record");
    assert!(merge(&mut desk, r#""op":"delete""#));
    assert!(!merge(&mut desk, r#""op":"patch","set":{"meta.n":2}"#));
    assert!(!merge(&mut desk, r#""op":"patch","set":{"meta.m":2}"#), "its own change does not count");
    let foreign = with_policy(&mut desk, A, "merge", &change(3, 2, r#""op":"patch","set":{"meta.m":3}"#));
    assert!(is_conflict(&foreign), "meta.n and meta.m are one field");
}

#[test]
fn h18_a_patch_touches_what_it_names_and_has_changed_what_is_another_text_afterwards() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"title":"x","n":1}"#);
    // What it names: title is another one, n has the same text, nothing was there to unset.
    desk.settle(A, &change(2, 1, r#""op":"patch","set":{"title":"y","n":1},"unset":["due"]"#));
    let mut number = 0;
    let mut merge = |op: &str| {
        number += 1;
        is_conflict(&with_policy(&mut desk, B, "merge", &change(number, 1, op)))
    };
    assert!(!merge(r#""op":"patch","set":{"due":1}"#), "an unset of nothing has changed nothing");
    assert!(!merge(r#""op":"patch","set":{"n":2}"#), "nor has a set of the same text");
    assert!(merge(r#""op":"patch","set":{"title":"y"}"#), "though it would leave it as it is");
    assert!(merge(r#""op":"patch","unset":["title.x"]"#));
}

#[test]
fn records_of_an_answer_fill_64_kib_and_a_long_value_hides_no_other_record() {
    let mut desk = Desk::new();
    let long = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
    for (number, (id, bytes)) in (1..).zip([("a", 30_000), ("b", 40_000), ("c", 30_000), ("d", 9)]) {
        desk.put(B, number, id, &long(bytes));
    }
    let put = |id: &str| format!(r#"{{"op":"put","collection":"c","id":"{id}","value":{{}}}}"#);
    let mutation = |number: u64, ids: &[&str]| {
        let changes: Vec<_> = ids.iter().map(|id| put(id)).collect();
        format!(r#"{{"id":{number},"base":0,"changes":[{}]}}"#, changes.join(","))
    };
    let answer =
        desk.push(&body(A, &[mutation(1, &["c", "b", "a"]), mutation(2, &["d"])])).expect("an answer");
    let told = |result: usize| match &answer.results[result].settled {
        Settled::Conflict { standing, .. } => {
            let is_told = |there: &There| matches!(there, There::Value(_));
            let told =
                standing.iter().map(|one| (one.key.id.to_string(), one.version.get(), is_told(&one.there)));
            told.collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let named = |id: &str, version, is_told| (id.to_owned(), version, is_told);
    assert_eq!(told(0), [named("a", 1, true), named("b", 2, false), named("c", 3, true)]);
    assert_eq!(told(1), [named("d", 4, true)]);
    assert!(answer.to_json().contains(r#"{"collection":"c","id":"b","version":2}"#));
    assert!(answer.to_json().len() < limits::CONFLICT_BYTES_MAX + 1_000);

    // Names alone can fill it too.
    let ids: Vec<_> = (0..900).map(|at| format!("{at:03}{}", "n".repeat(200))).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    for (number, some) in (5..).zip(ids.chunks(100)) {
        desk.settle(B, &mutation(number, some));
    }
    let answer = desk.push(&body("client-c", &[mutation(1, &ids)])).expect("an answer");
    let Settled::Conflict { standing, .. } = &answer.results[0].settled else { panic!("no conflict") };
    let names: Vec<_> = standing.iter().map(|one| one.key.id.as_str()).collect();
    assert!(names.len() < 300 && names == ids[..names.len()], "the first of them: {}", names.len());
    assert!(answer.to_json().len() < limits::CONFLICT_BYTES_MAX + 1_000);
}

#[test]
fn h18_deletion_and_re_creation_touch_all_fields() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"a":1,"b":1}"#);
    desk.delete(A, 2, "r");
    desk.put(A, 3, "r", r#"{"a":1,"b":1}"#);
    let patch = change(1, 1, r#""op":"patch","set":{"b":2}"#);
    assert!(is_conflict(&with_policy(&mut desk, B, "merge", &patch)));
    let within = r#"{"id":4,"base":3,"changes":[{"op":"delete","collection":"c","id":"r"},
        {"op":"put","collection":"c","id":"r","value":{"a":2,"b":1}}]}"#;
    desk.settle(A, within);
    let patch = change(2, 3, r#""op":"patch","set":{"b":2}"#);
    assert!(is_conflict(&with_policy(&mut desk, B, "merge", &patch)), "also within one mutation");
}

#[test]
fn h17_bases_of_another_epoch_count_as_older_than_every_change() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    let stated = |number: u64, id: &str| {
        format!(
            r#"{{"id":{number},"epoch":"{old}","base":1,"changes":[{{"op":"put","collection":"c","id":"{id}","value":{{}}}}]}}"#
        )
    };
    assert!(is_conflict(&desk.settle(B, &stated(1, "r"))));
    assert_eq!(desk.settle(B, &stated(2, "new")), applied(3));
    let unstated = change(3, 1, r#""op":"put","value":{}"#);
    assert!(!is_conflict(&desk.settle(B, &unstated)), "without it the base is one of this epoch");
}

#[test]
fn h17_what_was_created_in_another_epoch_conflicts_with_nothing_that_was_ever_deleted() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    desk.put(A, 1, "r", "{}");
    desk.delete(A, 2, "r");
    desk.core.ledger().forget_deletions(START.plus(1), version(2), 10).expect("a purge");
    (desk.core.meta.floor, desk.core.meta.horizon) = (version(2), version(2));
    desk.put(A, 3, "there", "{}");
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    let from_old = |number: u64, base: u64, id: &str| {
        let change = format!(r#"{{"op":"put","collection":"c","id":"{id}","value":{{}}}}"#);
        format!(r#"{{"id":{number},"epoch":"{old}","base":{base},"changes":[{change}]}}"#)
    };
    assert_eq!(desk.settle(B, &from_old(1, 0, "new")), applied(4));
    assert!(is_conflict(&desk.settle(B, &from_old(2, 1, "r"))), "a copy of it may be of what was deleted");
    assert!(is_conflict(&desk.settle(B, &from_old(3, 0, "there"))));
}

#[test]
fn h17_an_absent_record_conflicts_if_it_was_or_may_have_been_deleted_unseen() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    desk.delete(A, 2, "r");
    assert!(is_conflict(&desk.settle(B, &change(1, 1, r#""op":"patch","set":{"n":1},"orPut":{}"#))));
    assert!(!is_conflict(&desk.settle(B, &change(2, 1, r#""op":"delete""#))));
    assert!(!is_conflict(&desk.settle(B, &change(3, 0, r#""op":"patch","set":{"n":1}"#))), "(c): a create");
    assert!(
        !is_conflict(&desk.settle(B, &change(4, 2, r#""op":"patch","set":{"n":1}"#))),
        "it saw the deletion"
    );
    desk.core.ledger().forget_deletions(START.plus(1), version(2), 10).expect("a purge");
    (desk.core.meta.floor, desk.core.meta.horizon) = (version(2), version(2));
    desk.put(A, 3, "s", "{}");
    assert!(is_conflict(&desk.settle(B, &change(5, 1, r#""op":"put","value":{}"#))), "(b): it may have been");
    assert!(!is_conflict(&desk.settle(B, &change(6, 3, r#""op":"put","value":{}"#))));
}

/// One record under three clients that see it now and then, against everything that ever happened to it.
#[test]
fn i13_conflicts_are_exact_against_the_full_history() {
    const CLIENTS: [&str; 3] = ["client-a", "client-b", "client-c"];
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut desk = Desk::new();
        let mut numbers = [0; 3];
        let mut history: Vec<(u64, usize, bool)> = Vec::new();
        for step in 0..30 {
            let who = rng.index(3);
            let base = rng.below(desk.version() + 1);
            numbers[who] += 1;
            let is_delete = rng.chance(25);
            let op = match is_delete {
                true => r#""op":"delete""#.to_owned(),
                false => format!(r#""op":"put","value":{{"n":{step}}}"#),
            };
            let policy = if rng.chance(30) { "overwrite" } else { "reject" };
            let is_there = history.last().is_some_and(|(_, _, is_deletion)| !is_deletion);
            let by_others = history.iter().any(|(at, writer, _)| *at > base && *writer != who);
            let is_creation = !is_there && (is_delete || base == 0);
            let expected = policy == "reject" && by_others && !is_creation;
            let before = desk.version();
            let settled = with_policy(&mut desk, CLIENTS[who], policy, &change(numbers[who], base, &op));
            assert_eq!(
                is_conflict(&settled),
                expected,
                "seed {seed}, step {step}: {history:?}, {who} at {base}"
            );
            if let Settled::Applied(at) = settled
                && at.get() > before
                && (!is_delete || is_there)
            {
                history.push((at.get(), who, is_delete));
            }
        }
    }
}
