//! A conflicting mutation is parked, what rests on it joins it, a resolution closes it; nothing of it is lost (I12).

use super::*;
use crate::{
    call::conflict::ConflictPage,
    coordinator::{
        conflicts::parking,
        ledger::{Conflict, ParkedChange},
    },
    limits,
    mutation::There,
    sim::Rng,
    version::ConflictId,
};

const A: &str = "client-a";
const B: &str = "client-b";
const C: &str = "client-c";

fn change(op: &str, id: &str, rest: &str) -> String {
    format!(r#"{{"op":"{op}","collection":"c","id":"{id}"{rest}}}"#)
}

fn set(id: &str, fields: &str) -> String {
    change("patch", id, &format!(r#","set":{{{fields}}}"#))
}

fn mutation(number: u64, fields: &str, changes: &[String]) -> String {
    format!(r#"{{"id":{number}{fields},"changes":[{}]}}"#, changes.join(","))
}

fn resolve(id: &ConflictId, rest: &str) -> String {
    format!(r#"{{"op":"resolve","conflict":"{id}",{rest}}}"#)
}

fn mine(id: &ConflictId) -> String {
    resolve(id, r#""take":"mine""#)
}

fn theirs(id: &ConflictId) -> String {
    resolve(id, r#""take":"theirs""#)
}

#[track_caller]
fn parked(settled: &Settled) -> ConflictId {
    match settled {
        Settled::Conflict { id, .. } => id.clone(),
        other => panic!("{other:?} is no conflict"),
    }
}

impl<L: Ledger> Desk<L> {
    /// Pushes one mutation with nothing acknowledged.
    fn unacked(&mut self, client: &str, mutation: &str) -> Settled {
        let answer = self.push(&body(client, &[mutation.to_owned()])).expect("an answer");
        answer.results[0].settled.clone()
    }

    fn listed(&mut self) -> ConflictPage {
        self.core.conflicts(&user("alice"), Version::ZERO).expect("a list")
    }

    fn is_open(&mut self, id: &ConflictId) -> bool {
        self.listed().conflicts.iter().any(|open| open.id == *id)
    }

    /// The parked changes of a conflict, by mutation.
    fn parked_under(&mut self, id: &ConflictId) -> Vec<(u64, Vec<String>)> {
        let page = self.listed();
        let open = page.conflicts.into_iter().find(|open| open.id == *id).expect("an open conflict");
        open.mutations.into_iter().map(|parked| (parked.id, parked.changes)).collect()
    }

    fn announcement(&mut self, id: &ConflictId) -> Option<String> {
        let key = parking::key_of(id);
        let record = self.core.ledger().record(&key).expect("a read")?;
        record.value(&key).map(str::to_owned)
    }
}

/// `r` is A's at 1 and B's at 2, and A's mutation 2, of `r` and of `t9` that nobody has, is parked at 3.
fn contested<L: Ledger>(desk: &mut Desk<L>) -> ConflictId {
    desk.put(A, 1, "r", r#"{"n":1}"#);
    desk.put(B, 1, "r", r#"{"n":2}"#);
    let both = [change("put", "r", r#","value":{"n":3}"#), change("put", "t9", r#","value":{"new":true}"#)];
    parked(&desk.settle(A, &mutation(2, r#","base":1"#, &both)))
}

#[test]
fn a_conflicting_mutation_is_parked_whole_under_the_step_that_it_takes() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    assert_eq!((id.opened, &id.epoch, desk.version()), (version(3), &desk.epoch(), 3));
    assert_eq!((desk.value("r").as_deref(), desk.value("t9")), (Some(r#"{"n":2}"#), None));
    let changes = vec![
        r#"{"op":"put","collection":"c","id":"r","value":{"n":3}}"#.to_owned(),
        r#"{"op":"put","collection":"c","id":"t9","value":{"new":true}}"#.to_owned(),
    ];
    assert_eq!(desk.parked_under(&id), [(2, changes)]);
}

#[test]
fn the_announcement_is_pinned_because_clients_read_it() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let lines = desk.core.ledger().lines_after(version(2), 10_000).expect("lines").text;
    let expected = format!(
        "{{\"version\":3,\"collection\":\"$conflicts\",\"id\":\"{id}\",\"value\":{{\"user\":\"{}\",\
         \"client\":\"client-a\",\"at\":{},\"records\":[{{\"collection\":\"c\",\"id\":\"r\"}},\
         {{\"collection\":\"c\",\"id\":\"t9\"}}],\"count\":2}}}}\n",
        user("alice").as_str(),
        START.0,
    );
    assert_eq!(lines, expected, "devices would not learn of conflicts");
    assert_eq!(desk.core.ledger().record(&parking::key_of(&id)).unwrap().unwrap().clock.writer, 0);
}

#[test]
fn the_result_names_the_conflict_and_a_repeat_names_it_again() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let again = mutation(3, r#","base":1"#, &[set("r", r#""n":4"#)]);
    let body = body(A, std::slice::from_ref(&again));
    let answers: Vec<_> = (0..2).map(|_| desk.push(&body).expect("an answer").to_json()).collect();
    assert!(answers[0].contains(&format!(r#""conflict":"{id}""#)), "{}", answers[0]);
    assert!(answers[1].contains(&format!(r#""conflict":"{id}","duplicate":true"#)), "{}", answers[1]);
    let core = open(desk.core.ledger.clone(), desk.now);
    desk.core = core;
    let restarted = desk.push(&body).expect("an answer").to_json();
    assert_eq!(restarted, answers[1], "I2: also after a restart");
    assert_eq!(desk.parked_under(&id).len(), 2, "a repeat is not parked again");
}

#[test]
fn h03_a_later_mutation_joins_the_parked_one_whose_ground_it_needs() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    let outbox = [
        mutation(
            1,
            r#","base":0"#,
            &[change("put", "r", r#","value":{}"#), change("put", "t9", r#","value":{}"#)],
        ),
        mutation(2, "", &[set("t9", r#""a":1"#)]),
        mutation(3, "", &[change("put", "other", r#","value":{}"#)]),
        mutation(4, "", &[]),
    ];
    let results = desk.push(&body(A, &outbox)).expect("an answer").results;
    let id = parked(&results[0].settled);
    assert_eq!(parked(&results[1].settled), id, "in one push");
    assert!(matches!(results[2].settled, Settled::Applied(_)), "the next goes on");
    assert!(matches!(results[3].settled, Settled::Applied(_)), "an empty mutation joins nothing");
    let later = desk.unacked(A, &mutation(5, "", &[set("t9", r#""b":2"#)]));
    assert_eq!(parked(&later), id, "in a later push");
    assert!(matches!(desk.settle(A, &mutation(6, "", &[mine(&id)])), Settled::Applied(_)));
    assert_eq!(desk.value("t9").as_deref(), Some(r#"{"a":1,"b":2}"#), "H3: with both edits");
    assert!(!desk.is_open(&id));
}

#[test]
fn what_is_made_after_the_conflict_was_acknowledged_does_not_join() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let known = desk.settle(A, &mutation(3, "", &[set("r", r#""known":1"#)]));
    assert!(matches!(known, Settled::Applied(_)));
    assert_eq!(desk.parked_under(&id).len(), 1);
}

#[test]
fn an_acknowledgement_of_what_is_yet_to_come_acknowledges_nothing_of_this_push() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    let outbox =
        [mutation(1, r#","base":0"#, &[set("r", r#""a":1"#)]), mutation(2, "", &[set("r", r#""b":1"#)])];
    let lying = format!(r#"{{"client":"{A}","acked":99,"mutations":[{}]}}"#, outbox.join(","));
    let results = desk.push(&lying).expect("an answer").results;
    assert_eq!(parked(&results[0].settled), parked(&results[1].settled));
}

#[test]
fn a_mutation_that_says_after_joins_whatever_it_touches_and_whichever_client_of_the_user_it_is_of() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let after =
        |number: u64, id: &str| mutation(number, &format!(r#","after":"{id}""#), &[set("q", r#""a":1"#)]);
    assert_eq!(parked(&desk.settle(A, &after(3, &id.to_string()))), id);
    assert_eq!(parked(&desk.settle(C, &after(1, &id.to_string()))), id, "a new client id after a new epoch");
    let unknown = ["x_0mwrnsa6yk3v9q2_3".to_owned(), format!("x_{}_99", id.epoch)];
    for (number, unknown) in (2..).zip(unknown) {
        let ignored = desk.settle(C, &after(number, &unknown));
        assert_eq!(
            code(&ignored),
            Some(RejectCode::NotFound),
            "{unknown} is not joined, and there is no record"
        );
    }
    let malformed = desk.settle(C, &after(4, "conflict 7"));
    assert_eq!(code(&malformed), Some(RejectCode::InvalidValue));
    let made = mutation(2, &format!(r#","after":"{id}""#), &[change("put", "q", r#","value":{}"#)]);
    let bob = desk.push_as(&user("bob"), &body(B, &[after(1, &id.to_string()), made])).expect("an answer");
    assert_eq!(
        code(&bob.results[0].settled),
        Some(RejectCode::NotFound),
        "another user's is as good as closed"
    );
    assert!(matches!(bob.results[1].settled, Settled::Applied(_)));
    assert_eq!(desk.parked_under(&id).len(), 3);
}

/// Three conflicts of A, each of a put of a record that B has made.
fn three(desk: &mut Desk) -> [ConflictId; 3] {
    [1, 2, 3].map(|number| {
        let name = format!("r{number}");
        desk.put(B, number, &name, "{}");
        let stale = change("put", &name, &format!(r#","base":0,"value":{{"by":{number}}}"#));
        parked(&desk.settle(A, &mutation(number, "", &[stale])))
    })
}

fn after(ids: &[&ConflictId]) -> String {
    let names: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!(r#","after":[{}]"#, names.join(","))
}

#[test]
fn a_mutation_joins_the_newest_of_those_that_it_names_and_waits_for_the_others_that_are_open() {
    let mut desk = Desk::new();
    let [old, closed, new] = three(&mut desk);
    desk.settle(B, &mutation(4, "", &[theirs(&closed)]));
    let unknown = ConflictId { opened: version(99), ..new.clone() };
    let all = after(&[&new, &unknown, &old, &closed, &old]);
    let edit = [set("r1", r#""more":1"#), set("r3", r#""more":3"#)];
    assert_eq!(parked(&desk.settle(A, &mutation(4, &all, &edit))), new);
    let too_early = desk.settle(A, &mutation(5, "", &[mine(&new)]));
    assert_eq!(code(&too_early), Some(RejectCode::InvalidValue), "the edits of the older one come first");
    assert!(matches!(desk.settle(A, &mutation(6, "", &[mine(&old), mine(&new)])), Settled::Applied(_)));
    assert_eq!(desk.value("r1").as_deref(), Some(r#"{"by":1,"more":1}"#));
    assert_eq!(desk.value("r3").as_deref(), Some(r#"{"by":3,"more":3}"#));
}

#[test]
fn i12_when_the_newest_of_those_that_a_mutation_names_is_closed_it_waits_with_an_older_one() {
    let mut desk = Desk::new();
    let [old, _, new] = three(&mut desk);
    desk.settle(B, &mutation(4, "", &[theirs(&new)]));
    let edit = mutation(4, &after(&[&old, &new]), &[set("r1", r#""more":1"#), set("r3", r#""more":3"#)]);
    assert_eq!(parked(&desk.settle(A, &edit)), old, "applied, r1 would have it before what comes first");
    desk.settle(B, &mutation(5, "", &[theirs(&old)]));
    let none = mutation(5, &after(&[&old, &new]), &[set("r1", r#""more":1"#)]);
    assert!(matches!(desk.settle(A, &none), Settled::Applied(_)), "all are closed");
    let nowhere = mutation(6, &after(&[&old, &new]), &[set("new", r#""more":1"#)]);
    assert_eq!(code(&desk.settle(A, &nowhere)), Some(RejectCode::NotFound));
}

#[test]
fn after_is_a_conflict_id_or_a_list_of_at_most_1_000() {
    let mut desk = Desk::new();
    let [id, ..] = three(&mut desk);
    let mut number = 3;
    let mut followed = |after: &str| {
        number += 1;
        desk.settle(
            A,
            &mutation(number, &format!(",\"after\":{after}"), &[change("put", "q", r#","value":{}"#)]),
        )
    };
    let list = |count: usize| format!("[{}]", vec![format!("\"{id}\""); count].join(","));
    assert_eq!(parked(&followed(&format!("\"{id}\""))), id);
    assert_eq!(parked(&followed(&list(1_000))), id);
    for nothing in ["null", "[]"] {
        assert!(matches!(followed(nothing), Settled::Applied(_)), "{nothing}");
    }
    for wrong in ["7", "{}", "\"conflict 7\"", "[7]", "[null]", "[[]]", "[\"x_1\"]", "true"] {
        assert_eq!(code(&followed(wrong)), Some(RejectCode::InvalidValue), "{wrong}");
    }
    assert_eq!(code(&followed(&list(1_001))), Some(RejectCode::TooLarge));
}

#[test]
fn after_a_conflict_that_was_closed_goes_on() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    desk.settle(B, &mutation(2, "", &[theirs(&id)]));
    let after = mutation(3, &format!(r#","after":"{id}""#), &[set("r", r#""a":1"#)]);
    assert!(matches!(desk.unacked(A, &after), Settled::Applied(_)));
}

/// A parks the creation of `new` beside a stale put, and B drops it.
fn dropped(desk: &mut Desk<MemoryLedger>) -> ConflictId {
    desk.settle(B, &mutation(1, "", &[change("put", "r", r#","value":{}"#)]));
    let stale = [change("put", "r", r#","base":0,"value":{}"#), change("put", "new", r#","value":{}"#)];
    let id = parked(&desk.unacked(A, &mutation(1, "", &stale)));
    desk.settle(B, &mutation(2, "", &[theirs(&id)]));
    id
}

#[test]
fn i12_what_changes_a_record_that_was_dropped_with_its_conflict_is_rejected() {
    let mut desk = Desk::new();
    let id = dropped(&mut desk);
    let edits = [
        set("new", r#""a":1"#),
        change("add", "new", r#","path":"n","by":1"#),
        change("include", "new", r#","path":"n","values":[1]"#),
    ];
    for (at, edit) in (2..).zip(edits) {
        let unaware = desk.unacked(A, &mutation(at, "", &[edit]));
        assert_eq!(code(&unaware), Some(RejectCode::NotFound));
    }
    let named = mutation(5, &format!(r#","after":"{id}""#), &[set("new", r#""a":1"#)]);
    assert_eq!(code(&desk.settle(A, &named)), Some(RejectCode::NotFound));
    let made = mutation(6, "", &[change("patch", "new", r#","set":{"a":1},"orPut":{}"#)]);
    assert!(matches!(desk.unacked(A, &made), Settled::Applied(_)));
    let found = mutation(7, "", &[set("new", r#""a":2"#)]);
    assert!(matches!(desk.unacked(A, &found), Settled::Applied(_)), "there is something to change now");
}

#[test]
fn i12_a_mutation_joins_however_many_came_since_the_one_that_it_follows() {
    let mut desk = Desk::new();
    desk.settle(B, &mutation(1, "", &[change("put", "r", r#","value":{}"#)]));
    let stale = [change("put", "r", r#","base":0,"value":{}"#), change("put", "new", r#","value":{}"#)];
    let id = parked(&desk.unacked(A, &mutation(1, "", &stale)));
    for first in [2, 502, 1_002] {
        let mutations: Vec<_> = (first..first + 500).map(|number| mutation(number, "", &[])).collect();
        desk.push(&body(A, &mutations)).expect("an answer");
    }
    let late = desk.unacked(A, &mutation(1_502, "", &[set("new", r#""a":1"#)]));
    assert_eq!(parked(&late), id);
}

#[test]
fn what_unacknowledged_conflicts_touch_is_bounded_by_what_it_takes_in_memory() {
    for (filler, bound) in [(230, 10..15), (0, 40..50)] {
        let mut desk = Desk::new();
        let wide = |number: u64| {
            let id = |at: u64| format!("{number:03}{at:03}{}", "x".repeat(filler));
            let deletions = (0..998).map(|at| change("delete", &id(at), ""));
            let stale = change("put", &format!("r{number}"), r#","base":0,"value":{}"#);
            mutation(number, "", &deletions.chain([stale]).collect::<Vec<_>>())
        };
        for number in 1..60 {
            desk.put(B, number, &format!("r{number}"), "{}");
        }
        let refused = (1..59).find(|number| code(&desk.unacked(A, &wide(*number))).is_some());
        let refused = refused.expect("a bound");
        assert!(bound.contains(&refused), "{refused} with names of {} bytes", filler + 6);
        // Acknowledging makes room.
        let settled = desk.settle(A, &wide(refused + 1));
        assert!(matches!(settled, Settled::Conflict { .. }), "{settled:?}");
    }
}

#[test]
fn joining_is_a_step_only_where_the_announcement_changes() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let after = format!(r#","after":"{id}""#);
    desk.settle(A, &mutation(3, &after, &[set("r", r#""x":1"#)]));
    assert_eq!(desk.version(), 3);
    desk.settle(A, &mutation(4, &after, &[set("s", r#""x":1"#)]));
    assert_eq!(desk.version(), 4);
    let announcement = desk.announcement(&id).expect("an announcement");
    assert!(announcement.ends_with(r#""count":3}"#), "{announcement}");
}

#[test]
fn what_a_joining_mutation_gets_wrong_is_judged_first() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let after = format!(r#","after":"{id}""#);
    let invalid = desk.settle(A, &mutation(3, &after, &[set("r", r#""__proto__":1"#)]));
    assert_eq!(code(&invalid), Some(RejectCode::InvalidValue));
    let unsupported = desk.settle(A, &mutation(4, &after, &[change("swap", "r", "")]));
    assert_eq!(code(&unsupported), Some(RejectCode::UnsupportedOp));
    assert_eq!(desk.parked_under(&id).len(), 1);
}

#[test]
fn what_rests_on_two_conflicts_joins_the_newer_one_which_then_waits_for_the_older() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    desk.put(B, 2, "s", "{}");
    let outbox = [
        mutation(1, r#","base":0"#, &[change("put", "r", r#","value":{"by":1}"#)]),
        mutation(2, r#","base":0"#, &[change("put", "s", r#","value":{"by":2}"#)]),
        mutation(3, "", &[set("r", r#""three":3"#), set("s", r#""three":3"#)]),
    ];
    let results = desk.push(&body(A, &outbox)).expect("an answer").results;
    let ids: Vec<_> = results.iter().map(|result| parked(&result.settled)).collect();
    assert!(ids[0] < ids[1] && ids[1] == ids[2], "{ids:?}");
    let too_early = desk.settle(A, &mutation(4, "", &[mine(&ids[1])]));
    assert_eq!(
        code(&too_early),
        Some(RejectCode::InvalidValue),
        "the edits of 3 would come before those of 1"
    );
    assert!(desk.is_open(&ids[1]));
    let wrong_order = desk.settle(A, &mutation(5, "", &[mine(&ids[1]), mine(&ids[0])]));
    assert_eq!(code(&wrong_order), Some(RejectCode::InvalidValue));
    assert!(matches!(desk.settle(A, &mutation(6, "", &[mine(&ids[0]), mine(&ids[1])])), Settled::Applied(_)));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"by":1,"three":3}"#));
    assert_eq!(desk.value("s").as_deref(), Some(r#"{"by":2,"three":3}"#));
}

#[test]
fn mine_applies_what_is_parked_over_the_present_state_in_one_step_of_the_resolver() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    desk.put(B, 2, "r", r#"{"n":7}"#);
    assert_eq!(desk.settle(B, &mutation(3, "", &[mine(&id)])), applied(5));
    let lines = desk.core.ledger().lines_after(version(4), 10_000).expect("lines").text;
    let expected = format!(
        "{{\"version\":5,\"collection\":\"$conflicts\",\"id\":\"{id}\",\"deleted\":true}}\n\
         {{\"version\":5,\"collection\":\"c\",\"id\":\"r\",\"value\":{{\"n\":3}}}}\n\
         {{\"version\":5,\"collection\":\"c\",\"id\":\"t9\",\"value\":{{\"new\":true}}}}\n"
    );
    assert_eq!(lines, expected);
    let own = mutation(4, r#","base":4"#, &[change("put", "r", r#","value":{}"#)]);
    assert_eq!(desk.settle(B, &own), applied(6), "the resolver wrote it");
    assert!(desk.listed().conflicts.is_empty());
}

#[test]
fn theirs_drops_what_is_parked_and_records_writes_merged_values() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    assert_eq!(desk.settle(A, &mutation(3, "", &[theirs(&id)])), applied(4));
    assert_eq!((desk.value("r").as_deref(), desk.value("t9")), (Some(r#"{"n":2}"#), None));
    let again = desk.settle(A, &mutation(4, "", &[mine(&id)]));
    assert_eq!(code(&again), Some(RejectCode::NotFound), "closed meanwhile");

    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let records = r#""records":[{"collection":"c","id":"r","value":{"merged":1},"base":2},
        {"collection":"c","id":"t9","deleted":true},{"collection":"d","id":"beside","value":{}}]"#;
    assert_eq!(desk.settle(A, &mutation(3, "", &[resolve(&id, records)])), applied(4));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"merged":1}"#));
    assert!(desk.listed().conflicts.is_empty());
}

#[test]
fn a_resolution_stands_among_ordinary_changes_in_order() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let changes = [set("r", r#""before":1"#), mine(&id), set("r", r#""behind":1"#)];
    desk.settle(A, &mutation(3, "", &changes));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":3,"behind":1}"#));
}

#[test]
fn a_base_that_has_moved_again_is_a_new_conflict_and_the_old_one_stays_open() {
    for rest in [
        r#""take":"mine","base":3"#,
        r#""take":"theirs","base":3"#,
        r#""records":[{"collection":"c","id":"r","value":{"merged":1},"base":3}]"#,
    ] {
        let mut desk = Desk::new();
        let first = contested(&mut desk);
        desk.put(B, 2, "r", r#"{"n":7}"#);
        let second = parked(&desk.settle(A, &mutation(3, "", &[resolve(&first, rest)])));
        assert_eq!((second.opened, desk.value("r").as_deref()), (version(5), Some(r#"{"n":7}"#)), "{rest}");
        assert!(desk.is_open(&first) && desk.is_open(&second));
        assert_eq!(desk.settle(A, &mutation(4, "", &[mine(&second)])), applied(6), "{rest}");
        let expected = match rest {
            _ if rest.contains("mine") => r#"{"n":3}"#,
            _ if rest.contains("theirs") => r#"{"n":7}"#,
            _ => r#"{"merged":1}"#,
        };
        assert_eq!(desk.value("r").as_deref(), Some(expected), "{rest}");
        assert!(desk.listed().conflicts.is_empty(), "both are closed");
    }
}

#[test]
fn a_base_at_which_nothing_has_moved_resolves() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    desk.put(B, 2, "untouched", "{}");
    assert_eq!(desk.settle(A, &mutation(3, r#","base":2"#, &[mine(&id)])), applied(5));
}

#[test]
fn a_parked_resolution_of_a_conflict_that_was_closed_meanwhile_is_not_found_and_stays_readable() {
    let mut desk = Desk::new();
    let first = contested(&mut desk);
    desk.put(B, 2, "r", r#"{"n":7}"#);
    let second = parked(&desk.settle(A, &mutation(3, "", &[resolve(&first, r#""take":"mine","base":3"#)])));
    desk.settle(B, &mutation(3, "", &[theirs(&first)]));
    assert_eq!(code(&desk.settle(A, &mutation(4, "", &[mine(&second)]))), Some(RejectCode::NotFound));
    assert_eq!(desk.parked_under(&second).len(), 1);
    assert!(matches!(desk.settle(A, &mutation(5, "", &[theirs(&second)])), Settled::Applied(_)));
}

#[test]
fn a_conflict_is_closed_once_in_a_mutation() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let twice = desk.settle(A, &mutation(3, "", &[theirs(&id), mine(&id)]));
    assert_eq!(code(&twice), Some(RejectCode::NotFound));
    assert!(desk.is_open(&id), "I10: nothing of it was done");
}

#[test]
fn resolutions_parked_in_each_other_come_to_an_end() {
    let mut desk = Desk::new();
    let mut id = contested(&mut desk);
    let mut nested = 0;
    for number in 3..100 {
        // B moves the record again each time before A resolves by what it saw.
        let base = desk.version();
        desk.put(B, number - 1, "r", &format!("{{\"n\":{}}}", number * 10));
        let resolution = resolve(&id, &format!(r#""take":"mine","base":{base}"#));
        match desk.settle(A, &mutation(number, "", &[resolution])) {
            Settled::Conflict { id: next, .. } => (id, nested) = (next, nested + 1),
            other => {
                assert_eq!(code(&other), Some(RejectCode::TooManyConflicts));
                break;
            }
        }
    }
    assert_eq!(nested, limits::RESOLUTIONS_NESTED_MAX - 1);
    assert!(
        matches!(desk.settle(C, &mutation(1, "", &[mine(&id)])), Settled::Applied(_)),
        "all of them at once"
    );
    assert_eq!((desk.value("r").as_deref(), desk.listed().conflicts.len()), (Some(r#"{"n":3}"#), 0));
}

#[test]
fn what_can_no_longer_be_applied_is_rejected_and_the_conflict_stays_open() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    desk.put(B, 1, "r", r#"{"x":1}"#);
    let id = parked(&desk.settle(A, &mutation(2, r#","base":1"#, &[set("r", r#""m.n":1"#)])));
    desk.put(B, 2, "r", r#"{"m":[]}"#);
    assert_eq!(code(&desk.settle(A, &mutation(3, "", &[mine(&id)]))), Some(RejectCode::InvalidValue));
    assert!(desk.is_open(&id));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"m":[]}"#));
}

#[test]
fn another_users_conflict_is_resolved_by_owners_only() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    desk.core.meta.scope = Scope::shared(&SpaceHash::shared(&SpaceId::parse("team").unwrap()), &desk.epoch());
    let push = |desk: &mut Desk, name: &str, number: u64| {
        let answer = desk.push_as(&user(name), &body(B, &[mutation(number, "", &[theirs(&id)])]));
        answer.expect("an answer").results[0].settled.clone()
    };
    let member = |desk: &mut Desk, name: &str, role: &str, at: u64| {
        let key = sharing::members::key_of(&user(name));
        let clock = ledger::Clock { version: version(at), writer: 0, foreign: Version::ZERO };
        let line = ledger::live_line(&key, &format!(r#"{{"sub":"{name}","role":"{role}"}}"#));
        let record = ledger::Record { clock, deleted_at: None, line, fields: None };
        desk.core.ledger().put_record(&key, &record).expect("a write");
        desk.core.version = version(at);
    };
    member(&mut desk, "bob", "writer", 4);
    assert_eq!(code(&push(&mut desk, "bob", 1)), Some(RejectCode::Forbidden));
    assert_eq!(desk.core.conflicts(&user("bob"), Version::ZERO).expect("a list").conflicts, []);
    assert!(matches!(desk.core.conflicts(&user("eve"), Version::ZERO), Err(ApiError::Forbidden(_))));
    member(&mut desk, "bob", "owner", 5);
    assert_eq!(desk.core.conflicts(&user("bob"), Version::ZERO).expect("a list").conflicts.len(), 1);
    assert!(matches!(push(&mut desk, "bob", 2), Settled::Applied(_)));
}

#[test]
fn a_plan_sees_what_it_opened_joined_and_closed_itself() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", r#"{"n":1}"#);
    let id = ConflictId { epoch: desk.epoch(), opened: version(2) };
    let a = parsed(&body(A, &[mutation(1, r#","base":0"#, &[change("put", "r", r#","value":{"n":2}"#)])]));
    let c = parsed(&body(C, &[mutation(1, "", &[mine(&id)]), mutation(2, "", &[mine(&id)])]));
    let again = parsed(&body(A, &[mutation(2, "", &[set("r", r#""m":1"#)])]));
    let alice = user("alice");
    let pushes = [(alice.clone(), a), (alice.clone(), again), (alice, c)];
    let answers = desk.core.push(&pushes, desk.now);
    let settled: Vec<_> = answers
        .into_iter()
        .flat_map(|answer| answer.expect("an answer").results)
        .map(|result| result.settled)
        .collect();
    assert_eq!((parked(&settled[0]), parked(&settled[1])), (id.clone(), id));
    assert_eq!((settled[2].clone(), code(&settled[3])), (applied(3), Some(RejectCode::NotFound)));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":2,"m":1}"#));
    assert!(desk.listed().conflicts.is_empty());
}

#[test]
fn a_push_that_resolves_too_much_is_refused_half_way_and_a_mutation_that_does_is_rejected() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    let many = |number: u64| mutation(number, r#","base":0"#, &vec![set("r", r#""x":1"#); 600]);
    let ids: Vec<_> = (1..=5).map(|number| parked(&desk.settle(A, &many(number)))).collect();
    let at_once = desk.settle(A, &mutation(6, "", &[theirs(&ids[0]), theirs(&ids[1])]));
    assert_eq!(code(&at_once), Some(RejectCode::TooLarge));
    let one_by_one: Vec<_> = (7..).zip(&ids).map(|(number, id)| mutation(number, "", &[mine(id)])).collect();
    let too_much = desk.push(&body(A, &one_by_one));
    assert!(matches!(too_much, Err(ApiError::TooLarge(_))), "{too_much:?}");
    assert_eq!(desk.listed().conflicts.len(), 1, "what came before the limit is done");
    let again = desk.push(&body(A, &one_by_one)).expect("repeated, it gets to its end");
    assert!(again.results.iter().all(|result| matches!(result.settled, Settled::Applied(_))), "{again:?}");
    assert_eq!(again.results.iter().filter(|result| result.duplicate).count(), 4);
}

#[test]
fn resolutions_that_are_rejected_count_as_what_they_made_us_read() {
    let mut desk = Desk::new();
    desk.put(B, 1, "r", "{}");
    let many = mutation(1, r#","base":0"#, &vec![set("r", r#""x":1"#); 900]);
    let id = parked(&desk.settle(A, &many));
    let twice = |number: u64| mutation(number, "", &[mine(&id), mine(&id)]);
    let outbox: Vec<_> = (2..6).map(twice).collect();
    assert!(matches!(desk.push(&body(A, &outbox)), Err(ApiError::TooLarge(_))));
    let split = desk.push(&body(A, &outbox[..3])).expect("an answer");
    let codes: Vec<_> = split.results.iter().map(|result| code(&result.settled)).collect();
    assert_eq!(codes, [Some(RejectCode::NotFound); 3]);
}

#[test]
fn what_follows_a_resolution_that_is_parked_joins_it_whichever_record_it_writes() {
    let mut desk = Desk::new();
    let first = contested(&mut desk);
    let records = r#""records":[{"collection":"c","id":"r","value":{},"base":1},
        {"collection":"c","id":"beside","value":{"made":1}}]"#;
    let second = parked(&desk.settle(A, &mutation(3, "", &[resolve(&first, records)])));
    assert_eq!(parked(&desk.unacked(A, &mutation(4, "", &[set("beside", r#""more":2"#)]))), second);
    assert!(matches!(desk.settle(A, &mutation(5, "", &[mine(&second)])), Settled::Applied(_)));
    assert_eq!(desk.value("beside").as_deref(), Some(r#"{"made":1,"more":2}"#));
}

#[test]
fn resolutions_of_the_wrong_form_are_rejected_alone() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let record = |rest: &str| format!(r#""records":[{{"collection":"c","id":"r"{rest}}}]"#);
    let mut number = 2;
    let mut rejected = |desk: &mut Desk, change: &str| {
        number += 1;
        code(&desk.settle(A, &mutation(number, "", &[change.to_owned()])))
    };
    for rest in [
        r#""take":"both""#.to_owned(),
        r#""take":"mine","records":[]"#.to_owned(),
        r#""records":[]"#.to_owned(),
        r#""records":{}"#.to_owned(),
        r#""base":1"#.to_owned(),
        r#""take":"mine","base":-1"#.to_owned(),
        record(""),
        record(r#","value":{},"deleted":true"#),
        record(r#","value":[]"#),
        record(r#","deleted":false"#),
        r#""records":[[]]"#.to_owned(),
    ] {
        assert_eq!(rejected(&mut desk, &resolve(&id, &rest)), Some(RejectCode::InvalidValue), "{rest}");
    }
    let reserved = r#""records":[{"collection":"$members","id":"x","value":{}}]"#;
    assert_eq!(rejected(&mut desk, &resolve(&id, reserved)), Some(RejectCode::Forbidden));
    for bad in [r#"{"op":"resolve"}"#, r#"{"op":"resolve","conflict":7,"take":"mine"}"#] {
        assert_eq!(rejected(&mut desk, bad), Some(RejectCode::InvalidValue), "{bad}");
    }
    let many = vec![r#"{"collection":"c","id":"r","value":{}}"#; 600].join(",");
    let many =
        [resolve(&id, &format!("\"records\":[{many}]")), resolve(&id, &format!("\"records\":[{many}]"))];
    let too_many = desk.settle(C, &mutation(1, "", &many));
    assert_eq!(code(&too_many), Some(RejectCode::TooLarge));
    assert_eq!(desk.parked_under(&id).len(), 1);
}

#[test]
fn a_policy_of_the_collection_counts_where_the_request_has_none() {
    for (policy, title, other) in
        [("merge", true, false), ("overwrite", false, false), ("reject", true, true), ("?", true, true)]
    {
        let mut desk = Desk::new();
        desk.put(A, 1, "r", r#"{"title":"x","other":1}"#);
        desk.settle(B, &mutation(1, "", &[set("r", r#""title":"y""#)]));
        let key = Key { collection: Collection::stored("$policies"), id: RecordId::stored("c") };
        let clock = ledger::Clock { version: version(3), writer: 0, foreign: Version::ZERO };
        let line = ledger::live_line(&key, &format!(r#"{{"onConflict":"{policy}"}}"#));
        let record = ledger::Record { clock, deleted_at: None, line, fields: None };
        desk.core.ledger().put_record(&key, &record).expect("a write");
        desk.core.version = version(3);
        let is_conflict = |settled: Settled| matches!(settled, Settled::Conflict { .. });
        let patched = |number: u64, field: &str| {
            mutation(number, r#","base":1"#, &[set("r", &format!("\"{field}\":2"))])
        };
        assert_eq!(is_conflict(desk.settle(A, &patched(2, "title"))), title, "{policy}");
        assert_eq!(is_conflict(desk.settle(A, &patched(3, "other"))), other, "{policy}");
        let asked = format!(
            r#"{{"client":"{A}","acked":3,"onConflict":"reject","mutations":[{}]}}"#,
            patched(4, "title")
        );
        let answer = desk.push(&asked).expect("an answer");
        assert!(is_conflict(answer.results[0].settled.clone()), "the request's own wins over {policy}");
    }
}

#[test]
fn reserved_collections_are_not_counted_among_the_200() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    for number in 2..=limits::COLLECTIONS_MAX as u64 {
        let put = format!(r#"{{"op":"put","collection":"c{number}","id":"r","value":{{}}}}"#);
        assert!(matches!(desk.settle(B, &mutation(number, "", &[put])), Settled::Applied(_)), "{number}");
    }
    let one_more = r#"{"op":"put","collection":"more","id":"r","value":{}}"#.to_owned();
    assert_eq!(code(&desk.settle(C, &mutation(1, "", &[one_more]))), Some(RejectCode::QuotaExceeded));
    assert!(matches!(desk.settle(C, &mutation(2, "", &[mine(&id)])), Settled::Applied(_)));
}

#[test]
fn the_rows_of_the_client_and_the_conflict_are_pinned_because_spaces_in_the_field_have_them() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let row =
        desk.core.ledger().client(&user("alice"), &ClientId::stored(A)).expect("a read").expect("a row");
    assert!(row.history.ends_with(&format!(" c{id}")), "{}: a repeat would be another conflict", row.history);
    let conflict = desk.core.ledger().conflict(version(3)).expect("a read").expect("a row");
    assert_eq!(
        conflict.touches, "\nc r\nc t9\n",
        "conflicts that were opened before an update could not be resolved"
    );
    let text = r#"{"op":"put","collection":"c","id":"r","value":{"n":3}}"#.to_owned();
    assert_eq!(desk.core.ledger().parked(version(3)).expect("a read")[0], ParkedChange { mutation: 2, text });
}

#[test]
fn the_list_is_pinned_and_comes_in_pages_oldest_first() {
    let mut desk = Desk::new();
    let id = contested(&mut desk);
    let expected = format!(
        "{{\"epoch\":\"{}\",\"version\":3,\"conflicts\":[{{\"conflict\":\"{id}\",\"user\":\"{}\",\
         \"client\":\"client-a\",\"at\":{},\"mutations\":[{{\"id\":2,\"changes\":[\
         {{\"op\":\"put\",\"collection\":\"c\",\"id\":\"r\",\"value\":{{\"n\":3}}}},\
         {{\"op\":\"put\",\"collection\":\"c\",\"id\":\"t9\",\"value\":{{\"new\":true}}}}]}}],\
         \"records\":[{{\"collection\":\"c\",\"id\":\"r\",\"version\":2,\"theirs\":{{\"n\":2}}}},\
         {{\"collection\":\"c\",\"id\":\"t9\",\"version\":0,\"deleted\":true}}]}}],\"more\":false,\"cursor\":null}}",
        id.epoch,
        user("alice").as_str(),
        START.0,
    );
    assert_eq!(desk.listed().to_json(), expected);

    let large = format!(r#","value":{{"x":"{}"}}"#, "x".repeat(100_000));
    for number in 3..10 {
        desk.settle(A, &mutation(number, r#","base":1"#, &[change("put", "r", &large)]));
    }
    let (mut after, mut pages, mut seen) = (Version::ZERO, 0, Vec::new());
    loop {
        let page = desk.core.conflicts(&user("alice"), after).expect("a page");
        assert!(!page.conflicts.is_empty() && page.to_json().len() < 400_000, "{}", page.to_json().len());
        seen.extend(page.conflicts.iter().map(|open| open.id.opened.get()));
        pages += 1;
        match page.cursor {
            Some(cursor) => after = cursor,
            None => break,
        }
    }
    assert_eq!((seen, pages), ((3..=10).collect(), 4));
}

#[test]
fn what_stands_there_is_told_up_to_1_mib_of_a_page() {
    let mut desk = Desk::new();
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(250_000));
    let ids: Vec<_> = (1..=6).map(|number| format!("r{number}")).collect();
    for (number, id) in (1..).zip(&ids) {
        desk.put(B, number, id, &large);
    }
    let changes: Vec<_> = ids.iter().map(|id| set(id, r#""y":1"#)).collect();
    parked(&desk.settle(A, &mutation(1, r#","base":0"#, &changes)));
    let told: Vec<_> =
        desk.listed().conflicts[0].standing.iter().map(|one| one.there != There::Untold).collect();
    assert_eq!(told, [true, true, true, true, false, false]);
    assert!(desk.listed().to_json().contains(r#"{"collection":"c","id":"r6","version":6}"#));
}

#[test]
fn a_page_of_conflicts_holds_no_more_than_it_tells_however_many_long_records_they_touch() {
    let mut desk = Desk::new();
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000));
    let ids: Vec<_> = (1..=150).map(|number| format!("r{number:03}")).collect();
    for (number, id) in (1..).zip(&ids) {
        desk.put(B, number, id, &large);
    }
    let changes: Vec<_> = ids.iter().map(|id| set(id, r#""y":1"#)).collect();
    for number in 1..=8 {
        parked(&desk.settle(A, &mutation(number, r#","base":0"#, &changes)));
    }
    let (mut after, mut listed, mut pages) = (Version::ZERO, 0, 0);
    loop {
        let page = desk.core.conflicts(&user("alice"), after).expect("a page");
        let standing = || page.conflicts.iter().flat_map(|open| &open.standing);
        let held: usize =
            standing().map(|one| if let There::Value(value) = &one.there { value.len() } else { 0 }).sum();
        assert!(held <= limits::CONFLICTS_THEIRS_MAX, "{held}");
        assert!(standing().count() <= limits::CONFLICT_CHANGES_MAX, "{}", standing().count());
        assert!(standing().all(|one| one.version > Version::ZERO), "what has no room has a version");
        (listed, pages) = (listed + page.conflicts.len(), pages + 1);
        match page.cursor {
            Some(cursor) => after = cursor,
            None => break,
        }
    }
    assert_eq!((listed, pages), (8, 2));
}

/// Merged patches of different fields, in any order and from any version, go together.
#[test]
fn patches_of_disjoint_fields_merge_to_the_same_record_in_any_interleaving() {
    const CLIENTS: [&str; 3] = [A, B, C];
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut desk = Desk::new();
        desk.put("client-0", 1, "r", r#"{"a":0,"b":0,"c":0}"#);
        // Each client has a field of its own, and one that it makes.
        let mut left: Vec<Vec<String>> = (0..3)
            .map(|who| {
                let field = ["a", "b", "c"][who];
                let mut edits: Vec<_> = (1..=rng.below(5)).map(|n| format!(r#""{field}":{n}"#)).collect();
                edits.extend((1..=rng.below(3)).map(|n| format!(r#""{field}{field}.x":{n}"#)));
                edits
            })
            .collect();
        let expected: BTreeMap<String, u64> = left
            .iter()
            .flatten()
            .map(|edit| edit.replace('"', ""))
            .map(|edit| {
                edit.split_once(':')
                    .map(|(f, n)| (f.to_owned(), n.parse().expect("a number")))
                    .expect("an edit")
            })
            .collect();
        let mut numbers = [0; 3];
        while left.iter().any(|edits| !edits.is_empty()) {
            let who = rng.index(3);
            if left[who].is_empty() {
                continue;
            }
            let edit = left[who].remove(0);
            numbers[who] += 1;
            let base = 1 + rng.below(desk.version());
            let push = format!(
                r#"{{"client":"{}","onConflict":"merge","mutations":[{}]}}"#,
                CLIENTS[who],
                mutation(numbers[who], &format!(r#","base":{base}"#), &[set("r", &edit)])
            );
            let settled = desk.push(&push).expect("an answer").results[0].settled.clone();
            assert!(matches!(settled, Settled::Applied(_)), "seed {seed}: {edit} at {base}: {settled:?}");
        }
        let value: serde_json::Value =
            serde_json::from_str(&desk.value("r").expect("a record")).expect("JSON");
        for (path, number) in &expected {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(
                value.pointer(&pointer).and_then(serde_json::Value::as_u64),
                Some(*number),
                "seed {seed}: {path}"
            );
        }
    }
}

mod lossless;
mod room;
