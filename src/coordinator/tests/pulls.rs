//! What the coordinator answers edges with.

use super::*;
use crate::call::{Ask, OrderedCursor, PullReply};

const A: &str = "client-a";
const SMALL: usize = 200;

/// A space with records `r0`, `r1`, … too large for an overlay.
fn large() -> Desk {
    let mut desk = Desk::new();
    let filler = "x".repeat(100_000);
    for number in 0..4 {
        desk.put(A, number + 1, &format!("r{number}"), &format!("{{\"x\":\"{filler}\"}}"));
    }
    desk
}

type Page = (bool, u64, Option<OrderedCursor>, String);

fn page(desk: &mut Desk, ask: &Ask) -> Page {
    match desk.core.pull(&user("alice"), &scope(), ask, desk.now).expect("an answer") {
        (PullReply::Page { version, reset, next, .. }, lines) => (reset, version.get(), next, lines),
        (other, _) => panic!("no page: {other:?}"),
    }
}

fn going_on(cursor: Option<OrderedCursor>) -> Ask {
    Ask { cursor: Some(cursor.expect("a cursor")), page_bytes: SMALL, ..Ask::default() }
}

fn first(desk: &Desk, since: u64) -> Ask {
    let epoch = (since > 0).then(|| desk.epoch());
    Ask { epoch, since: version(since), page_bytes: SMALL, ..Ask::default() }
}

fn begin(desk: &mut Desk, since: u64) -> Page {
    let ask = first(desk, since);
    page(desk, &ask)
}

/// Forgets all deletions up to `to`, as publication does when they are due.
fn forget(desk: &mut Desk, to: u64) {
    let horizon = desk.core.ledger().forget_deletions(desk.now.plus(1), version(to), 100).expect("a purge");
    desk.core.meta.floor = desk.core.version;
    desk.core.meta.horizon = horizon.expect("something to forget");
    desk.core.forget_overlay();
}

#[test]
fn a_page_is_cut_only_between_versions() {
    let mut desk = large();
    let changes: Vec<_> = (0..50)
        .map(|n| format!(r#"{{"op":"put","collection":"c","id":"s{n:02}","value":{{"n":{n}}}}}"#))
        .collect();
    desk.settle(A, &format!(r#"{{"id":5,"changes":[{}]}}"#, changes.join(",")));
    desk.put(A, 6, "last", "{}");
    let cursor =
        OrderedCursor { epoch: desk.epoch(), start: version(0), reached: version(4), horizon: version(0) };
    let (_, _, next, lines) = page(&mut desk, &going_on(Some(cursor)));
    assert_eq!(lines.lines().count(), 50, "all changes of version 5");
    assert_eq!(next.as_ref().map(|next| next.reached), Some(version(5)));
    let (_, at, next, lines) = page(&mut desk, &going_on(next));
    assert_eq!((at, next.is_none(), lines.lines().count()), (6, true, 1));
}

#[test]
fn i7_what_is_changed_while_pages_are_read_comes_later() {
    let mut desk = large();
    let (reset, _, next, lines) = begin(&mut desk, 0);
    assert!(!reset && lines.contains("\"r0\""));
    desk.delete(A, 5, "r0");
    desk.put(A, 6, "r2", "{}");
    let mut rest = Vec::new();
    let mut next = next;
    while next.is_some() {
        let (reset, _, following, lines) = page(&mut desk, &going_on(next));
        assert!(!reset);
        rest.extend(lines.lines().map(|line| line[..40].to_owned()));
        next = following;
    }
    let expected = [
        r#"{"version":2,"collection":"c","id":"r1","#,
        r#"{"version":4,"collection":"c","id":"r3","#,
        r#"{"version":5,"collection":"c","id":"r0","#,
        r#"{"version":6,"collection":"c","id":"r2","#,
    ];
    assert_eq!(rest, expected);
}

#[test]
fn h10b_a_horizon_that_moves_between_two_pages_starts_the_answer_over() {
    let mut desk = large();
    desk.put(A, 5, "n", "{}");
    let (_, _, next, _) = begin(&mut desk, 1);
    assert_eq!(next.as_ref().map(|next| next.reached), Some(version(2)));
    desk.delete(A, 6, "n");
    forget(&mut desk, 6);
    let (reset, _, over, lines) = page(&mut desk, &going_on(next));
    assert!(reset && lines.contains("\"r0\""), "deletions above 2 were forgotten: a full state begins");
    let (reset, ..) = page(&mut desk, &going_on(over));
    assert!(!reset, "and goes on, although the horizon is above what it has reached");
}

#[test]
fn h10b_a_horizon_that_moves_behind_the_reader_disturbs_nobody() {
    let mut desk = Desk::new();
    desk.put(A, 1, "n", "{}");
    desk.delete(A, 2, "n");
    let mut number = 2;
    for id in ["r0", "r1", "r2"] {
        number += 1;
        desk.put(A, number, id, &format!("{{\"x\":\"{}\"}}", "x".repeat(100_000)));
    }
    let (_, _, next, _) = begin(&mut desk, 1);
    let (_, _, next, _) = page(&mut desk, &going_on(next));
    assert_eq!(next.as_ref().map(|next| next.reached), Some(version(3)));
    forget(&mut desk, 2);
    assert!(!page(&mut desk, &going_on(next)).0);
}

#[test]
fn below_the_horizon_a_client_gets_everything_with_reset() {
    let mut desk = large();
    desk.delete(A, 5, "r0");
    desk.put(A, 6, "s", "{}");
    forget(&mut desk, 5);
    assert!(begin(&mut desk, 4).0);
    let (reply, lines) =
        desk.core.pull(&user("alice"), &scope(), &first(&desk, 5), desk.now).expect("an answer");
    assert!(matches!(reply, PullReply::Overlay { from, .. } if from == version(5)));
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn h10c_a_head_below_the_horizon_is_not_continued() {
    let mut desk = large();
    desk.put(A, 5, "n", "{}");
    let held = Some(desk.core.position());
    desk.delete(A, 6, "n");
    forget(&mut desk, 6);
    let ask = Ask { held, ..first(&desk, 0) };
    assert!(
        matches!(desk.core.pull(&user("alice"), &scope(), &ask, desk.now), Ok((PullReply::Page { .. }, _))),
        "n is in neither"
    );
}

#[test]
fn h21_a_fresh_tail_continues_the_head_and_not_the_client() {
    let mut desk = large();
    let held = Some(desk.core.position());
    desk.put(A, 5, "n", "{}");
    for ask in [first(&desk, 0), first(&desk, 2), first(&desk, 4)] {
        let (reply, lines) = desk
            .core
            .pull(&user("alice"), &scope(), &Ask { held: held.clone(), ..ask }, desk.now)
            .expect("an answer");
        assert!(
            matches!(reply, PullReply::Overlay { from, version: to, .. } if (from, to) == (version(4), version(5)))
        );
        assert_eq!(lines.lines().count(), 1);
    }
    desk.put(A, 6, "m", "{}");
    let (_, lines) = desk
        .core
        .pull(&user("alice"), &scope(), &Ask { held, ..first(&desk, 2) }, desk.now)
        .expect("an answer");
    assert_eq!(lines.lines().count(), 2, "the kept bytes end with the next commit");
}

#[test]
fn h01_a_client_of_an_earlier_epoch_is_reset_and_one_of_a_later_is_refused() {
    let mut desk = large();
    let old = first(&desk, 4);
    desk.core.begin_epoch(&desk.epoch(), desk.now, 1).expect("a new epoch");
    assert!(page(&mut desk, &old).0);
    let later = Epoch::begin(desk.now.plus(1_000), None, 1);
    let ask = Ask { epoch: Some(later), since: version(1), ..Ask::default() };
    assert!(matches!(
        desk.core.pull(&user("alice"), &scope(), &ask, desk.now),
        Err(ApiError::PositionUnknown { .. })
    ));
    let min = Some(Position { version: version(99), ..desk.core.position() });
    let ask = Ask { min, ..first(&desk, 0) };
    assert!(matches!(
        desk.core.pull(&user("alice"), &scope(), &ask, desk.now),
        Err(ApiError::PositionUnknown { .. })
    ));
}

#[test]
fn whoever_was_told_where_the_space_stands_starts_over_from_a_position_that_never_was() {
    let mut desk = large();
    for own in [version(99), version(5)] {
        for epoch in [desk.epoch(), Epoch::parse("9zzzzzzzzzzzzz").expect("an epoch")] {
            let ask = Ask { epoch: Some(epoch), since: own, page_bytes: SMALL, ..Ask::default() };
            let refused = desk.core.pull(&user("alice"), &scope(), &ask, desk.now);
            let Err(ApiError::PositionUnknown { position }) = refused else {
                panic!("no refusal: {refused:?}")
            };
            let again = Ask { min: Some(position), ..ask };
            let (reset, _, mut next, first) = page(&mut desk, &again);
            let mut lines = first.lines().count();
            assert!(reset, "what it had is no part of this history");
            while let Some(cursor) = next {
                let (reset, _, following, more) =
                    page(&mut desk, &Ask { cursor: Some(cursor), ..again.clone() });
                assert!(!reset);
                (lines, next) = (lines + more.lines().count(), following);
            }
            assert_eq!(lines, 4, "a full state");
        }
    }
}

#[test]
fn a_cursor_of_another_epoch_or_of_nothing_that_was_is_expired() {
    let mut desk = large();
    let (_, _, next, _) = begin(&mut desk, 0);
    let mut absurd = next.clone().expect("a cursor");
    absurd.reached = version(99);
    assert_eq!(
        desk.core.pull(&user("alice"), &scope(), &going_on(Some(absurd)), desk.now),
        Err(ApiError::CursorExpired)
    );
    desk.core.begin_epoch(&desk.epoch(), desk.now, 1).expect("a new epoch");
    assert_eq!(
        desk.core.pull(&user("alice"), &scope(), &going_on(next), desk.now),
        Err(ApiError::CursorExpired)
    );
}

#[test]
fn a_restart_between_two_pages_is_not_noticed() {
    let mut desk = large();
    let (_, _, next, _) = begin(&mut desk, 0);
    let expected = page(&mut desk, &going_on(next.clone()));
    let mut again = Desk { core: open(desk.core.ledger().clone(), desk.now), now: desk.now };
    assert_eq!(page(&mut again, &going_on(next)), expected);
}

#[test]
fn a_bare_min_claims_nothing_about_this_history_and_begins_no_epoch() {
    let mut desk = large();
    let ask = Ask { min_version: Some(version(9_999)), ..Ask::default() };
    let later = desk.now.plus(2 * 3_600_000);
    assert_eq!(desk.core.claimed_by(&user("alice"), &scope(), &ask, later), Ok(None));
    assert!(matches!(
        desk.core.pull(&user("alice"), &scope(), &ask, later),
        Err(ApiError::PositionUnknown { .. })
    ));
}
