//! Files that are put beside a space's records: who may put them, and how much of them a day.

use super::*;
use crate::{call::Administration, limits};

const HALF: u64 = limits::BLOB_BYTES_PER_DAY / 2;

fn upload(bytes: u64) -> Administration {
    Administration::Upload { bytes }
}

#[test]
fn whoever_writes_may_put_a_file_and_whoever_reads_may_not() {
    for (name, may) in [("alice", true), ("bob", true), ("rita", false), ("eve", false)] {
        let mut desk = Desk::staffed();
        let before = (desk.core.position(), format!("{:?}", desk.core.ledger()));
        let done = desk.administer(name, &upload(1));
        assert_eq!(done.is_ok(), may, "{name}");
        assert_eq!(desk.core.position(), before.0, "it is no step of the space");
        if let Err(error) = done {
            assert!(matches!(error, ApiError::Forbidden(_)), "{name}: {error:?}");
            assert_eq!(format!("{:?}", desk.core.ledger()), before.1, "{name}");
        }
    }
}

#[test]
fn a_day_has_room_for_so_many_bytes_of_all_users_and_the_next_one_for_as_many() {
    let mut desk = Desk::staffed();
    for (name, bytes, fits) in [
        ("alice", HALF, true),
        ("bob", HALF + 1, false),
        ("bob", HALF, true),
        ("alice", 1, false),
        ("alice", 0, true),
        ("alice", u64::MAX, false),
    ] {
        let done = desk.administer(name, &upload(bytes));
        assert_eq!(done.map(drop), if fits { Ok(()) } else { Err(ApiError::StorageFull) }, "{name} {bytes}");
    }
    desk.now = Millis(desk.now.next_day().0 - 1);
    assert_eq!(desk.administer("bob", &upload(1)), Err(ApiError::StorageFull));
    desk.now = desk.now.next_day();
    assert!(desk.administer("bob", &upload(limits::BLOB_BYTES_PER_DAY)).is_ok());
    assert_eq!(desk.administer("bob", &upload(1)), Err(ApiError::StorageFull));
}

#[test]
fn a_file_costs_its_space_one_row_and_a_deleted_space_takes_none() {
    let mut desk = Desk::staffed();
    let before = desk.core.ledger().rows().written;
    desk.administer("bob", &upload(1)).expect("a writer");
    assert_eq!(desk.core.ledger().rows().written - before, 1);
    desk.administer("alice", &Administration::Delete).expect("an owner");
    assert_eq!(desk.administer("alice", &upload(1)), Err(ApiError::Gone));
}

const DAY_MS: u64 = 86_400_000;

impl Desk {
    /// Whether it is time for a look, and behind which file that begins.
    fn collection(&mut self) -> Option<String> {
        let said = self.administer("bob", &Administration::Collection).expect("a writer");
        said["behind"].as_str().map(str::to_owned)
    }

    /// What of these files is to be deleted, and how many calls it took to find out.
    fn collect(&mut self, files: &str) -> (String, usize) {
        let (mut ids, mut after) = (files.to_owned(), Version::ZERO);
        for calls in 1.. {
            let asked = Administration::Collect { ids: ids.clone(), after, behind: "z".to_owned() };
            let said = self.administer("bob", &asked).expect("a writer");
            if let Some(deleted) = said["deleted"].as_str() {
                return (deleted.to_owned(), calls);
            }
            let text = |name: &str| said[name].as_str().expect("it goes on").to_owned();
            (ids, after) = (text("ids"), Version::parse(&text("after")).expect("a version"));
        }
        unreachable!("it comes to an end")
    }

    /// A record `id` that names these files, as the clients write them.
    fn names(&mut self, number: u64, id: &str, files: &[&str], length: usize) {
        let named: Vec<_> = files
            .iter()
            .map(|file| format!(r#"{{"_bt":"Blob","ref":"{file}","size":5,"ct":"image/png"}}"#))
            .collect();
        let value = format!(r#"{{"files":[{}],"rest":"{}"}}"#, named.join(","), "x".repeat(length));
        let pushed = self.push_as(&user("bob"), &body("client-0", &[put(number, id, &value)]));
        pushed.expect("a writer");
    }
}

#[test]
fn a_file_is_deleted_when_no_record_has_named_it_for_a_month() {
    let mut desk = Desk::staffed();
    let files = "kept|kept lost|lost later";
    desk.names(1, "r", &["kept|kept", "later"], 0);
    assert_eq!(desk.collection().as_deref(), Some(""));
    assert_eq!(desk.collect(files).0, "", "it has just been found");
    desk.names(2, "r", &["kept|kept"], 0);
    for (days, deleted) in [(20, ""), (9, ""), (1, "lost|lost"), (20, "later"), (30, "lost|lost")] {
        desk.now = desk.now.plus(days * DAY_MS);
        assert_eq!(desk.collect(files).0, deleted, "after {days} more days");
    }
    assert_eq!(desk.collection().as_deref(), Some("z"), "the next look begins where the last one ended");
}

#[test]
fn a_file_that_is_named_again_has_another_month() {
    let mut desk = Desk::staffed();
    assert_eq!(desk.collect("a").0, "");
    desk.names(1, "r", &["a"], 0);
    desk.now = desk.now.plus(31 * DAY_MS);
    assert_eq!(desk.collect("a").0, "");
    desk.names(2, "r", &[], 0);
    assert_eq!(desk.collect("a").0, "");
    desk.now = desk.now.plus(30 * DAY_MS);
    assert_eq!(desk.collect("a").0, "a");
}

#[test]
fn a_large_space_is_looked_through_in_steps_and_a_record_at_its_end_counts() {
    let mut desk = Desk::staffed();
    for number in 1..=20 {
        let last: &[&str] = if number == 20 { &["last"] } else { &[] };
        desk.names(number, &number.to_string(), last, 200_000);
    }
    let (deleted, calls) = desk.collect("last lost");
    assert_eq!(deleted, "");
    assert!((2..=4).contains(&calls), "{calls} calls for 4 MB");
    desk.now = desk.now.plus(30 * DAY_MS);
    assert_eq!(desk.collect("last lost").0, "lost");
}

#[test]
fn there_is_a_look_once_a_week() {
    let mut desk = Desk::staffed();
    assert_eq!(desk.collection().as_deref(), Some(""));
    for _ in 0..6 {
        desk.now = desk.now.plus(DAY_MS);
        assert_eq!(desk.collection(), None);
    }
    desk.now = desk.now.plus(DAY_MS);
    assert_eq!(desk.collection().as_deref(), Some(""), "also where the last one has broken off");
    for name in ["rita", "eve"] {
        assert!(matches!(desk.administer(name, &Administration::Collection), Err(ApiError::Forbidden(_))));
    }
}
