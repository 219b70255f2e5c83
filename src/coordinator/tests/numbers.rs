//! Numbering: duplicates, forks, gaps, epochs, and versions without gap or repeat.

use super::*;
use crate::limits;

const A: &str = "client-a";

#[test]
fn i2_a_repeated_push_is_answered_alike_and_applied_once() {
    let mut desk = Desk::new();
    let add = |number: u64| {
        format!(
            r#"{{"id":{number},"changes":[{{"op":"add","collection":"c","id":"r","path":"n","by":1,"orPut":{{"n":1}}}}]}}"#
        )
    };
    let bad = r#"{"id":3,"changes":[{"op":"what","collection":"c","id":"r"}]}"#.to_owned();
    let push = body(A, &[add(1), add(2), bad]);
    let first = desk.push(&push).expect("an answer");
    let again = desk.push(&push).expect("an answer");
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":2}"#));
    assert!(again.results.iter().all(|result| result.duplicate));
    assert_eq!(again.results[1].settled, first.results[1].settled);
    assert_eq!(code(&again.results[2].settled), Some(RejectCode::UnsupportedOp));
    let mixed = desk.push(&body(A, &[add(2), r#"{"id":3,"changes":[]}"#.to_owned()]));
    assert!(matches!(mixed, Err(ApiError::ClientForked { last: 2, .. })));
}

#[test]
fn i2_a_mutation_that_is_written_anew_is_a_duplicate() {
    let mut desk = Desk::new();
    let mutations = [
        r#"{"id":1,"at":1795341182362,"changes":[{"op":"add","collection":"c","id":"r","path":"n","by":1,"orPut":{"n":1,"é":"a/b"}}]}"#,
        r#"{"changes":[{"by":1.0,"collection":"c","id":"r","op":"add","orPut":{"\u00e9":"a\/b","n":1e0},"path":"n","set":null,"base":7}],"base":3,"at":1.795341182362e12,"id":1}"#,
    ];
    for mutation in mutations {
        assert_eq!(desk.settle(A, mutation), applied(1));
    }
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":1,"é":"a/b"}"#));
}

#[test]
fn i2_a_restored_client_that_makes_the_same_edit_again_is_told_that_it_forked() {
    let mut desk = Desk::new();
    let add = |at: &str| {
        format!(
            r#"{{"id":1,{at}"changes":[{{"op":"add","collection":"c","id":"r","path":"n","by":1,"orPut":{{"n":1}}}}]}}"#
        )
    };
    let first = add(r#""at":1795341182362,"#);
    assert_eq!(desk.settle(A, &first), applied(1));
    for again in [add(r#""at":1795341182363,"#), add("")] {
        let forked = desk.push(&body(A, &[again]));
        assert!(matches!(forked, Err(ApiError::ClientForked { last: 0, .. })));
    }
    assert!(desk.push(&body(A, &[first])).expect("an answer").results[0].duplicate);
}

#[test]
fn after_a_409_nothing_of_the_request_is_applied() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", r#"{"n":1}"#);
    let forked = desk.push(&body(A, &[put(1, "r", r#"{"n":2}"#), put(2, "s", "{}")]));
    assert!(matches!(forked, Err(ApiError::ClientForked { last: 0, .. })));
    let gap = desk.push(&body(A, &[put(3, "s", "{}"), put(4, "s", "{}")]));
    assert_eq!(gap, Err(ApiError::OutOfOrder { expected: 2 }));
    assert_eq!((desk.value("s"), desk.version()), (None, 1));
    assert_eq!(desk.put(A, 2, "s", "{}"), applied(2));
}

#[test]
fn h04_a_restored_client_is_told_that_it_forked_and_not_that_its_edit_is_applied() {
    let mut desk = Desk::new();
    for number in 1..=20 {
        desk.put(A, number, "r", &format!("{{\"n\":{number}}}"));
    }
    let restored = desk.push(&body(A, &[put(16, "r", r#"{"another":"edit"}"#)]));
    assert!(matches!(restored, Err(ApiError::ClientForked { last: 15, .. })));
}

#[test]
fn i2_a_restored_client_is_told_what_of_its_outbox_had_been_applied() {
    let mut desk = Desk::new();
    let bad = r#"{"id":2,"changes":[{"op":"what","collection":"c","id":"r"}]}"#.to_owned();
    let outbox = [put(1, "r", "{}"), bad.clone(), put(3, "r", r#"{"n":3}"#)];
    desk.push(&body(A, &outbox)).expect("an answer");
    // The copy has the first two in its outbox too, and has made another third.
    let forked = desk.push(&body(A, &[put(1, "r", "{}"), bad, put(3, "s", "{}")]));
    let Err(ApiError::ClientForked { last, settled }) = forked else { panic!("a fork") };
    assert_eq!((last, settled.len(), settled[0].settled.clone()), (2, 2, applied(1)));
    assert_eq!(code(&settled[1].settled), Some(RejectCode::UnsupportedOp), "I12: the rejection is told");
}

#[test]
fn i12_a_restored_client_drops_nothing_of_its_own_when_the_epoch_has_changed_too() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    for number in 1..=3 {
        desk.put(A, number, "r", &format!("{{\"n\":{number}}}"));
    }
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    let mutations = [put(2, "r", r#"{"n":2}"#), put(3, "s", "{}")].join(",");
    let push = format!(r#"{{"client":"{A}","epoch":"{old}","mutations":[{mutations}]}}"#);
    let Err(ApiError::EpochMismatch { last, settled, .. }) = desk.push(&push) else { panic!("a mismatch") };
    assert_eq!((last, settled.len()), (2, 1), "its third is another one, and must not be dropped");
}

/// Does with what a client has not acknowledged what the contract says after 409 `epoch_mismatch`, sending `at_once` of it at
/// a time. Gives the results of which it was told and what it numbers anew, by its old numbers.
fn leaves_the_epoch(
    desk: &mut Desk,
    old: &Epoch,
    outbox: &[String],
    at_once: usize,
) -> (Vec<Settled>, Vec<u64>) {
    let (mut outbox, mut told) = (outbox.to_vec(), Vec::new());
    loop {
        let sent = outbox[..at_once.min(outbox.len())].join(",");
        let push = format!(r#"{{"client":"{A}","epoch":"{old}","mutations":[{sent}]}}"#);
        let Err(ApiError::EpochMismatch { last, settled, more, .. }) = desk.push(&push) else {
            panic!("a mismatch")
        };
        told.extend(settled.into_iter().map(|result| result.settled));
        let number = |mutation: &String| parsed(&body(A, std::slice::from_ref(mutation))).mutations[0].id;
        outbox.retain(|mutation| number(mutation) > last);
        if outbox.is_empty() || !more {
            return (told, outbox.iter().map(number).collect());
        }
    }
}

#[test]
fn i12_a_restored_backup_that_meets_a_new_epoch_drops_no_edit_however_little_it_sends_at_once() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    for number in 1..=5 {
        desk.put(A, number, "r", &format!("{{\"n\":{number}}}"));
    }
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    // The backup had the second in its outbox; the third, and those that follow, are its own.
    let outbox = [put(2, "r", r#"{"n":2}"#), put(3, "s", "{}"), put(4, "t", "{}")];
    for at_once in 1..=3 {
        let (told, left) = leaves_the_epoch(&mut desk, &old, &outbox, at_once);
        assert_eq!((told, left), (vec![Settled::Done], vec![3, 4]), "{at_once} at once");
    }
}

#[test]
fn i12_a_rejection_whose_answer_was_lost_is_told_in_a_new_epoch_however_little_is_sent_again() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    let bad = r#"{"id":3,"changes":[{"op":"what","collection":"c","id":"r"}]}"#.to_owned();
    let outbox = [put(1, "r", "{}"), put(2, "s", "{}"), bad, put(4, "t", "{}")];
    desk.push(&body(A, &outbox[..3])).expect("an answer that is lost");
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    for at_once in 1..=4 {
        let (told, left) = leaves_the_epoch(&mut desk, &old, &outbox, at_once);
        assert_eq!(told[..2], [applied(1), applied(2)], "{at_once} at once");
        assert_eq!((told.len(), code(&told[2])), (3, Some(RejectCode::UnsupportedOp)), "{at_once} at once");
        assert_eq!(left, [4], "{at_once} at once");
    }
}

#[test]
fn acknowledged_results_are_forgotten_and_their_repetition_is_done() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    desk.push(&format!(r#"{{"client":"{A}","acked":1,"mutations":[]}}"#)).expect("an answer");
    let again = desk.push(&body(A, &[put(1, "r", "{}")])).expect("an answer");
    assert_eq!((again.results[0].settled.clone(), again.results[0].duplicate), (Settled::Done, true));
}

#[test]
fn acknowledging_more_than_was_settled_forgets_no_later_result() {
    let mut desk = Desk::new();
    desk.push(&format!(r#"{{"client":"{A}","acked":50,"mutations":[{}]}}"#, put(1, "r", "{}")))
        .expect("an answer");
    desk.put(A, 2, "s", "{}");
    let again = desk.push(&body(A, &[put(2, "s", "{}")])).expect("an answer");
    assert_eq!(again.results[0].settled, applied(2));
}

#[test]
fn h20_a_client_id_of_another_user_is_another_client() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    let bob = desk.push_as(&user("bob"), &body(A, &[put(1, "s", "{}")])).expect("an answer");
    assert_eq!((bob.results[0].settled.clone(), bob.results[0].duplicate), (applied(2), false));
}

#[test]
fn another_epoch_is_answered_with_where_the_present_one_stands_and_what_it_contains() {
    let mut desk = Desk::new();
    let old = desk.epoch();
    for number in 1..=3 {
        desk.put(A, number, "r", &format!("{{\"n\":{number}}}"));
    }
    desk.core.begin_epoch(&old, desk.now, 1).expect("a new epoch");
    let push = |client: &str| {
        format!(r#"{{"client":"{client}","epoch":"{old}","mutations":[{}]}}"#, put(4, "s", "{}"))
    };
    let position = desk.core.position();
    assert_eq!(position.version, version(3), "records and the count of versions go on");
    let mismatch =
        |last| ApiError::EpochMismatch { position: position.clone(), last, settled: Vec::new(), more: false };
    assert_eq!(desk.push(&push(A)), Err(mismatch(3)));
    assert_eq!(desk.push(&push("client-b")), Err(mismatch(0)));
    assert_eq!(desk.value("s"), None);
}

#[test]
fn pushes_of_one_client_in_one_group_follow_each_other() {
    let mut desk = Desk::new();
    let pushes =
        [body(A, &[put(1, "r", "{}")]), body(A, &[put(2, "s", "{}")]), body(A, &[put(2, "s", "{}")])];
    let pushes: Vec<_> = pushes.iter().map(|push| (user("alice"), parsed(push))).collect();
    let answers: Vec<_> =
        desk.core.push(&pushes, desk.now).into_iter().map(|a| a.expect("an answer")).collect();
    assert_eq!(answers[1].results[0].settled, applied(2));
    assert!(answers[2].results[0].duplicate);
    assert!(answers.iter().all(|answer| answer.position.version == version(2)), "all say what is durable");
}

#[test]
fn the_client_that_pushed_longest_ago_is_forgotten_first() {
    let mut desk = Desk::new();
    for number in 0..=limits::CLIENTS_MAX {
        desk.now = desk.now.plus(1);
        if number == limits::CLIENTS_MAX {
            desk.put("client-00000", 2, "r", "{\"again\":1}");
            desk.now = desk.now.plus(1);
        }
        desk.put(&format!("client-{number:05}"), 1, "r", &format!("{{\"n\":{number}}}"));
    }
    assert!(matches!(desk.put("client-00000", 3, "r", "{}"), Settled::Applied(_)), "it was used lately");
    let forgotten = desk.push(&body("client-00001", &[put(2, "r", "{}")]));
    assert_eq!(forgotten, Err(ApiError::OutOfOrder { expected: 1 }));
}

#[test]
fn i1_versions_go_on_after_the_newest_row_was_forgotten_and_after_a_restart() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    desk.delete(A, 2, "r");
    let mut meta = desk.core.meta.clone();
    let ledger = desk.core.ledger();
    let forgotten = ledger.forget_deletions(START.plus(1), version(2), 10).expect("a purge");
    assert_eq!(forgotten, Some(version(2)));
    (meta.floor, meta.horizon) = (version(2), version(2));
    ledger.put_meta(&meta).expect("a write");
    let mut again = Desk { core: open(ledger.clone(), START), now: START };
    assert_eq!(again.version(), 2);
    assert_eq!(again.put(A, 3, "r", "{}"), applied(3));
}

#[test]
fn h15_positions_from_the_future_begin_three_epochs_at_once_and_then_one_an_hour() {
    let mut desk = Desk::new();
    desk.put(A, 1, "r", "{}");
    let claim = |desk: &mut Desk, now: Millis| {
        let claimed = Position { version: version(57), ..desk.core.position() };
        assert!(desk.core.is_from_the_future(&claimed, now));
        let has_begun = desk.core.begin_epoch_after(&claimed, now, 1).expect("a write");
        assert_eq!(has_begun, desk.core.position() > claimed, "whoever was there is not taken back");
        assert_eq!(has_begun, !desk.core.is_from_the_future(&claimed, now));
        has_begun
    };
    let now = desk.now;
    assert_eq!([0; 4].map(|_| claim(&mut desk, now)), [true, true, true, false]);
    let epoch = desk.epoch();
    let ahead =
        format!(r#"{{"client":"{A}","epoch":"{epoch}","since":57,"mutations":[{}]}}"#, put(2, "s", "{}"));
    let position = desk.core.position();
    let refused = Err(ApiError::EpochMismatch { position, last: 1, settled: Vec::new(), more: false });
    assert_eq!(desk.push(&ahead), refused, "what stands above this history is refused meanwhile");
    desk.core = open(desk.core.ledger().clone(), now);
    assert!(!claim(&mut desk, now.plus(3_599_999)), "also after a restart");
    assert!(claim(&mut desk, now.plus(3_600_000)));
    assert!(!claim(&mut desk, now.plus(3_600_001)));
    assert!(claim(&mut desk, now.plus(7_200_000)));
}

#[test]
fn a_clock_that_has_gone_back_refuses_no_claim_for_longer_than_an_hour() {
    let mut desk = Desk::new();
    let ahead = desk.now.plus(40 * 86_400_000);
    for version_ahead in 1..=3 {
        let claimed = Position { version: version(version_ahead), ..desk.core.position() };
        assert_eq!(desk.core.begin_epoch_after(&claimed, ahead, 1), Ok(true));
    }
    // The epoch lies far ahead of the clock now. So does one that began after it and was lost with its storage.
    for claimed in [desk.core.position().epoch, Epoch::begin(desk.now, Some(&desk.core.position().epoch), 3)]
    {
        let claimed = Position { epoch: claimed, version: version(99) };
        assert!(desk.core.is_from_the_future(&claimed, desk.now));
        assert_eq!(desk.core.begin_epoch_after(&claimed, desk.now, 1), Ok(true));
        assert!(desk.core.position() > claimed);
    }
    let nonsense = Epoch::begin(desk.core.position().epoch.began().plus(1_001), None, 1);
    let nonsense = Position { epoch: nonsense, version: version(1) };
    assert!(!desk.core.is_from_the_future(&nonsense, desk.now));
}

#[test]
fn an_epoch_of_next_year_is_nonsense_and_begins_none() {
    let desk = Desk::new();
    let next_year = Epoch::begin(desk.now.plus(365 * 86_400_000), None, 1);
    let claimed = Position { epoch: next_year, version: version(1) };
    assert!(!desk.core.is_from_the_future(&claimed, desk.now));
}
