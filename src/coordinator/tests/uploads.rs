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
