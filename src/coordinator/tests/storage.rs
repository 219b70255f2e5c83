//! What becomes of pushes when storage fails, and what they cost it.

use super::*;
use crate::coordinator::ledger::{SqlLedger, tests::sqlite::Sqlite};

const MUTATIONS: u64 = 3;

/// Each push makes two records and overwrites one that is there.
fn pushes(clients: &[&str]) -> Vec<(UserHash, PushRequest)> {
    let push = |client: &&str| {
        let record = |number: u64| match number {
            MUTATIONS => put(number, "shared", &format!("{{\"by\":\"{client}\"}}")),
            _ => put(number, &format!("{client}-{number}"), "{}"),
        };
        (user("alice"), parsed(&body(client, &(1..=MUTATIONS).map(record).collect::<Vec<_>>())))
    };
    clients.iter().map(push).collect()
}

/// Everything that can be seen of a space.
fn seen<L: Ledger>(core: &mut Coordinator<L>) -> (Position, String) {
    let position = core.position();
    (position, core.ledger().lines_after(Version::ZERO, usize::MAX).expect("lines").text)
}

#[test]
fn i10_whichever_write_fails_nothing_of_a_push_remains_and_its_repetition_is_applied() {
    let mut failures = 0;
    for n in 1.. {
        let mut desk = Desk::new();
        desk.put("client-0", 1, "shared", "{}");
        let before = seen(&mut desk.core);
        desk.core.ledger().fail_writes_after = Some(n);
        let answers = desk.core.push(&pushes(&["client-a"]), desk.now);
        if answers[0].is_ok() {
            break;
        }
        failures += 1;
        assert_eq!(answers, [Err(ApiError::Internal)]);
        assert_eq!(seen(&mut desk.core), before, "write {n} failed");
        assert!(desk.core.take_failure().is_some(), "the log hears of it");
        let restarted = seen(&mut open(desk.core.ledger().clone(), desk.now));
        assert_eq!(restarted, before, "storage holds no more than memory");
        let again = desk.core.push(&pushes(&["client-a"]), desk.now).remove(0).expect("an answer");
        assert!(again.results.iter().all(|result| !result.duplicate));
        assert_eq!(desk.version(), 1 + MUTATIONS);
    }
    assert!(failures >= 4, "only {failures} writes were seen to fail");
}

#[test]
fn i10_when_a_group_fails_its_pushes_are_taken_one_by_one() {
    let group = ["client-a", "client-b", "client-c"];
    for n in 1..=12 {
        let mut desk = Desk::new();
        desk.core.ledger().fail_writes_after = Some(n);
        let answers = desk.core.push(&pushes(&group), desk.now);
        assert!(answers.iter().all(Result::is_ok), "a fault that passes is not seen by anybody: {n}");
        assert_eq!(desk.version(), 9, "I1: {n}");
    }
}

#[test]
fn i10_only_the_push_that_fails_is_refused() {
    let sql = Sqlite::in_memory();
    let mut desk = Desk::on(SqlLedger::open(sql.clone()).expect("a ledger"));
    desk.put("client-0", 1, "shared", "{}");
    let group = ["client-a", "client-b", "client-c"];
    // A trigger that refuses one client's record fails each transaction that this push is part of.
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN NEW.id = 'client-b-2' \
                  BEGIN SELECT RAISE(FAIL, 'refused'); END";
    sql.database.execute_batch(refuse).expect("a trigger");
    let answers = desk.core.push(&pushes(&group), desk.now);
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1], Err(ApiError::Internal));
    assert_eq!(desk.version(), 1 + 2 * MUTATIONS, "I1: the refused push leaves no gap");
    assert_eq!(desk.value("client-b-1"), None);
    assert_eq!(desk.value("shared").as_deref(), Some(r#"{"by":"client-c"}"#));
    sql.database.execute_batch("DROP TRIGGER refuse").expect("no trigger");
    let again = desk.core.push(&pushes(&["client-b"]), desk.now).remove(0).expect("an answer");
    assert!(again.results.iter().all(|result| !result.duplicate));
}

#[test]
fn a_push_of_one_record_writes_its_record_and_its_client_and_nothing_else() {
    let sql = Sqlite::in_memory();
    let mut desk = Desk::on(SqlLedger::open(sql.clone()).expect("a ledger"));
    desk.put("client-a", 1, "r", "{}");
    for number in 2..10 {
        let before = sql.writes();
        desk.put(
            "client-a",
            number,
            if number % 2 == 0 { "r" } else { "new" },
            &format!("{{\"n\":{number}}}"),
        );
        assert_eq!(sql.writes() - before, 2, "mutation {number}");
    }
    let before = sql.writes();
    desk.put("client-a", 9, "new", "{\"n\":9}");
    assert_eq!(sql.writes() - before, 0, "a duplicate writes nothing");
}

#[test]
fn a_restart_loses_nothing() {
    let mut desk = Desk::new();
    desk.put("client-a", 1, "r", r#"{"n":1}"#);
    desk.put("client-b", 1, "r", r#"{"n":2}"#);
    let before = seen(&mut desk.core);
    let mut again = Desk { core: open(desk.core.ledger().clone(), desk.now), now: desk.now };
    assert_eq!(seen(&mut again.core), before);
    let stale = r#"{"id":2,"base":1,"changes":[{"op":"put","collection":"c","id":"r","value":{}}]}"#;
    assert!(matches!(again.settle("client-a", stale), Settled::Conflict { .. }), "who changed what survives");
    assert!(
        again.push(&body("client-b", &[put(1, "r", r#"{"n":2}"#)])).expect("an answer").results[0].duplicate
    );
}

#[test]
fn the_platform_s_words_say_whether_a_space_is_full_a_day_is_used_up_or_something_has_failed() {
    for (words, error) in [
        ("database or disk is full: SQLITE_FULL", LedgerError::Full),
        ("Exceeded allowed rows written in Durable Objects free tier.", LedgerError::UsedUp),
        ("no such table: meta", LedgerError::Failed("no such table: meta".to_owned())),
    ] {
        assert_eq!(LedgerError::of_words(words.to_owned()), error);
    }
}
