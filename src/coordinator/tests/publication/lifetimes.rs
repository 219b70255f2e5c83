//! What is needed is put again before it expires (H8), and what is not is deleted.

use super::*;
use crate::limits::Sizes;
use crate::sim::check::Deed;

#[test]
fn h08_objects_are_put_again_after_15_days_although_nothing_in_them_changed() {
    let mut world = large();
    for day in 1..=60 {
        world.pass(DAY_MS);
        put(&mut world, "daily", day);
        assert_settles(&mut world, "a change a day");
        let left = metadata(&world).expect("a head").x.since(world.now);
        assert!(left >= 15 * DAY_MS, "on day {day} the head lives for {left} ms");
    }
    world.pull(1, 1, Format::Ndjson).expect("a first load");
    assert_eq!(world.clients[1].records, world.spaces[0].oracle.records());
}

#[test]
fn h08_a_head_expires_with_the_first_of_its_objects() {
    let mut world = large();
    let put_at = world.now;
    world.pass(9 * DAY_MS);
    put(&mut world, "daily", 1);
    assert_settles(&mut world, "nine days later");
    let expires = metadata(&world).expect("a head").x;
    assert!(expires <= put_at.plus(30 * DAY_MS), "{}", expires.since(put_at));
    assert_eq!(head(&world).expires, expires);
}

#[test]
fn h08_an_object_that_lands_late_over_its_repetition_lives_as_long_as_the_head_that_names_it() {
    let mut world = eager();
    fill(&mut world, 3);
    world.kv.script.push_back(PutFault::Late(3_000));
    assert_settles(&mut world, "the first put of the base has landed after the second");
    world.pass(3_000);
    assert_eq!(world.kv.puts[0].0, world.kv.puts[1].0, "it was put twice");
    let (head, expires) = (head(&world), metadata(&world).expect("a head").x);
    let scope = Scope::private(world.space());
    for part in head.parts() {
        let object = world.kv.central(&scope.object_key(&part.sha256.0), world.now).expect("an object");
        assert!(object.expires >= expires, "{} ms too early", expires.since(object.expires));
    }
}

/// A pull that reads KV and tells the coordinator of it.
fn read(world: &mut World, location: usize) {
    world.locations[location].forget_memory();
    world.locations[location].forget_cache();
    world.ask(location, "{}", Format::Ndjson).body.expect("an answer");
}

#[test]
fn h08_a_space_that_is_only_read_is_renewed_in_the_last_third_of_its_life() {
    let mut world = large();
    world.pass(19 * DAY_MS);
    read(&mut world, 0);
    assert_eq!(world.spaces[0].host.alarm, None, "it has a third of its life left");
    world.pass(DAY_MS + DAY_MS / 2);
    read(&mut world, 0);
    assert!(world.spaces[0].host.alarm.is_some());
    assert_settles(&mut world, "a reader said that the head is expiring");
    let left = metadata(&world).expect("a head").x.since(world.now);
    assert!(left > 29 * DAY_MS, "the objects were put again: {left} ms");
}

#[test]
fn h08_locations_that_still_see_the_expiring_head_do_not_have_it_renewed_again_and_again() {
    let mut world = World::new(&Settings { locations: 20, ..Settings::by_demand(1) });
    fill(&mut world, 15);
    assert_settles(&mut world, "a large space");
    world.pass(21 * DAY_MS);
    world.kv.faults.lag_ms = 0;
    let before = world.kv.puts.len();
    for location in 0..20 {
        read(&mut world, location);
    }
    let mut heads = 0;
    for round in 0..20 {
        world.pass(31_000);
        world.kv.faults.lag_ms = 600_000;
        read(&mut world, round);
        world.fire_alarm();
        heads = world.kv.puts[before..].iter().filter(|(key, _)| key.ends_with("/head")).count();
    }
    assert!(heads <= 2, "{heads} publications for one renewal");
}

/// Bytes that stand in KV, and those of them that the head names, with its own.
fn bytes_in_kv(world: &World) -> (usize, usize) {
    let bytes = |key: &String| world.kv.central(key, world.now).expect("a value").value.len();
    let named = head(world).parts().map(|part| part.bytes).sum::<usize>() + bytes(&head_key(world));
    (world.kv.keys(world.now).iter().map(bytes).sum(), named)
}

/// Every turn that is due within a quarter of an hour.
fn publish(world: &mut World) {
    while let Some(wait) = world.spaces[0].host.alarm.map(|alarm| alarm.since(world.now))
        && wait < 15 * 60_000
    {
        world.pass(wait);
        world.fire_alarm();
    }
}

/// A large space whose base was built anew a moment ago: none of its parts is what it was.
fn rebuilt() -> World {
    let mut world = large();
    for index in 0..15 {
        put(&mut world, &format!("r{index:02}"), 210_000);
    }
    publish(&mut world);
    let (bytes, named) = bytes_in_kv(&world);
    assert!(bytes > 2 * named - 500_000, "both bases are there: {bytes} bytes, {named} of them named");
    assert_eq!(world.kv.deletions, Vec::<String>::new());
    world
}

#[test]
fn a_part_that_no_head_names_is_deleted_a_day_and_up_to_two_hours_later() {
    let mut world = rebuilt();
    let wait = world.spaces[0].host.alarm.expect("the alarm brings the deletion").since(world.now);
    let hour = 3_600_000;
    assert!((DAY_MS + hour - 15 * 60_000..DAY_MS + 2 * hour).contains(&wait), "{wait} ms");
    let puts = world.kv.puts.len();
    assert_settles(&mut world, "deletions");
    let (bytes, named) = bytes_in_kv(&world);
    assert_eq!(
        (bytes, world.kv.puts.len()),
        (named, puts),
        "nothing else is there, and nothing was put for that"
    );
    world.pull(1, 1, Format::Ndjson).expect("a first load");
}

#[test]
fn after_a_week_of_scattered_edits_kv_holds_what_the_head_names_and_what_a_day_has_replaced() {
    let mut world = large();
    let mut of_last_days = 0;
    for hour in 0..7 * 24_u64 {
        world.pass(3_600_000);
        put(&mut world, &format!("r{:02}", hour * 7 % 15), 200_000 + usize::try_from(hour).expect("hours"));
        let before = world.kv.puts.len();
        publish(&mut world);
        let bytes = |(_, entry): &(String, Rc<crate::sim::kv::Entry>)| entry.value.len();
        of_last_days += if hour >= 5 * 24 { world.kv.puts[before..].iter().map(bytes).sum() } else { 0 };
    }
    let (bytes, named) = bytes_in_kv(&world);
    let put: usize = world.kv.puts.iter().map(|(_, entry)| entry.value.len()).sum();
    println!("{put} bytes put, {} deletions, {bytes} bytes in KV, {named} named", world.kv.deletions.len());
    assert!(
        bytes < named + of_last_days && of_last_days < put / 2,
        "{bytes} bytes, {named} named, {of_last_days} of two days"
    );
}

#[test]
fn a_space_that_is_ahead_of_its_head_deletes_all_the_same() {
    let mut world = rebuilt();
    let wait = world.spaces[0].host.alarm.expect("the alarm brings the deletion").since(world.now);
    world.pass(wait);
    for _ in 0..3 {
        put(&mut world, "r00", 10);
        world.pass(1);
        world.fire_alarm();
    }
    assert!(!world.kv.deletions.is_empty());
    assert!(head_version(&world) < world.spaces[0].host.core(world.now).position().version.get());
}

#[test]
fn deletions_that_kv_takes_no_more_of_wait_for_another_day() {
    let mut world = rebuilt();
    world.kv.script.push_back(PutFault::Exhausted);
    let wait = world.spaces[0].host.alarm.expect("an alarm").since(world.now);
    world.pass(wait);
    world.fire_alarm();
    assert_eq!(world.kv.deletions.len(), 1, "the others were not tried");
    assert!(world.spaces[0].host.alarm.expect("an alarm").since(world.now) > DAY_MS);
    assert_settles(&mut world, "the others");
    assert!(world.kv.deletions.len() > 1);
}

/// A deletion that is due has the base built anew, and is forgotten then.
fn fold(world: &mut World, changed: &str) {
    publish(world);
    world.pass(1_001);
    put(world, changed, 10);
    publish(world);
}

/// The key of the last part of the base.
fn last_part(world: &World) -> String {
    let part = head(world).base.and_then(|base| base.parts.last().cloned()).expect("a part");
    Scope::private(world.space()).object_key(&part.sha256.0)
}

/// A space whose deletions are forgotten after a second. Its base was built anew, with `z` in another last part than the one
/// whose key is given.
fn with_a_last_part_replaced() -> (World, PublicationConfig, String) {
    let publication = PublicationConfig { retain_ms: 1_000, interval_ms: 10_000, ..EAGER };
    let mut world = World::new(&Settings { publication, ..Settings::eager(1) });
    fill(&mut world, 15);
    assert_settles(&mut world, "a base");
    let last = last_part(&world);
    put(&mut world, "z", 200_000);
    put(&mut world, "a", 10);
    delete(&mut world, "a");
    fold(&mut world, "b");
    (world, publication, last)
}

#[test]
fn a_part_that_is_cut_again_is_not_put_while_its_deletion_may_still_land() {
    let (mut world, publication, last) = with_a_last_part_replaced();
    let wait = world.spaces[0].host.alarm.expect("the alarm brings the deletion").since(world.now);
    world.pass(wait);
    world.kv.script.extend([PutFault::Late(publication.landing_ms()); 2]);
    world.fire_alarm();
    assert!(world.kv.deletions.contains(&last), "{:?}", world.kv.deletions);
    // The base after that has the deletion of `z`, and then nothing tells that it was there.
    delete(&mut world, "z");
    fold(&mut world, "b");
    put(&mut world, "a", 10);
    delete(&mut world, "a");
    fold(&mut world, "b");
    assert_settles(&mut world, "when the deletions have landed");
    assert_eq!(world.kv.puts.iter().filter(|(key, _)| *key == last).count(), 2, "it was cut again");
    assert!(world.kv.central(&last, world.now).is_some());
}

#[test]
fn storage_that_went_back_keeps_what_a_head_names_that_kv_does_not_show_yet() {
    let (mut world, _, last) = with_a_last_part_replaced();
    // The base after that has the deletion of `z`, …
    delete(&mut world, "z");
    fold(&mut world, "b");
    assert_ne!(last_part(&world), last);
    let old = world.spaces[0].host.copy_of_storage(world.now);
    world.pass(26 * 3_600_000);
    // … and a day later one more names the first part again.
    put(&mut world, "a", 10);
    delete(&mut world, "a");
    fold(&mut world, "b");
    assert_eq!(last_part(&world), last);
    world.kv.faults.lag_ms = 3_600_000;
    restore(&mut world, old);
    // Somebody knows more than storage does: it has gone back.
    let _ = world.pull(0, 0, Format::Ndjson);
    assert_settles(&mut world, "the oracle would see a deletion of what a head named a moment ago");
    assert!(world.kv.central(&last, world.now).is_none(), "it is deleted in the end");
}

#[test]
fn storage_that_went_back_puts_what_was_deleted_since() {
    for is_ahead in [true, false] {
        let mut world = large();
        let old = world.spaces[0].host.copy_of_storage(world.now);
        let first = head(&world).base.expect("a base").parts.remove(0);
        let first = Scope::private(world.space()).object_key(&first.sha256.0);
        if is_ahead {
            // The history goes on: KV's head is from the future.
            world.pass(2 * DAY_MS);
            put(&mut world, "r00", 210_000);
            put(&mut world, "r01", 210_000);
            put(&mut world, "r02", 210_000);
            assert_settles(&mut world, "others have taken their place");
        } else {
            // It does not, but KV has a head that storage does not know.
            world.pass(2 * DAY_MS);
            world.kv.evict(&head_key(&world), world.now);
            read(&mut world, 0);
            assert_settles(&mut world, "another head");
        }
        world.pass(60_000);
        world.kv.evict(&first, world.now);
        restore(&mut world, old);
        assert_settles(&mut world, "after the restore");
        assert!(world.kv.central(&first, world.now).is_some(), "{is_ahead}: the head names it");
    }
}

#[test]
fn storage_that_went_back_to_a_run_under_construction_puts_its_parts_again() {
    let sizes = Sizes { parts_per_turn: 1, ..Sizes::DEPLOYED };
    let publication = PublicationConfig { sizes, ..EAGER };
    let mut world = World::new(&Settings { publication, ..Settings::eager(1) });
    fill(&mut world, 15);
    world.pass(1_000);
    world.fire_alarm();
    let old = world.spaces[0].host.copy_of_storage(world.now);
    let first = world.kv.puts.last().expect("a part").0.clone();
    assert_settles(&mut world, "the whole base");
    for index in 0..15 {
        put(&mut world, &format!("r{index:02}"), 210_000);
    }
    assert_settles(&mut world, "another base, and the deletion of the first");
    assert!(world.kv.deletions.contains(&first) && world.kv.central(&first, world.now).is_none());
    world.pass(60_000);
    restore(&mut world, old);
    assert_settles(&mut world, "the oracle has found each part that a head names");
    assert!(world.kv.central(&first, world.now).is_some());
}

#[test]
fn a_space_that_nobody_reads_or_writes_leaves_kv_by_itself() {
    let mut world = large();
    world.pass(31 * DAY_MS);
    assert_eq!(world.kv.keys(world.now), Vec::<String>::new());
    put(&mut world, "r", 10);
    assert_settles(&mut world, "it comes back whole");
    world.pull(1, 1, Format::Ndjson).expect("a first load");
}

#[test]
fn a_part_is_kept_for_a_day_after_an_older_head_that_has_landed_over_the_one_that_replaced_it() {
    let mut world = large();
    world.pass(3_600_000);
    put(&mut world, "r", 9);
    world.kv.script.push_back(PutFault::Late(3_000));
    world.settle(1);
    let named: Vec<_> = head(&world).parts().map(|part| part.sha256.0.clone()).collect();
    assert!(!named.is_empty());
    world.administer(0, 0, &Deed::Delete).expect("it is alice's");
    world.settle(1);
    assert_eq!(head(&world).parts().count(), 0, "nothing is left to be named");
    world.pass(1_500);
    assert_eq!(head(&world).parts().count(), named.len(), "the first one lands");
    // Then KV takes nothing for two days.
    world.kv.script.extend([PutFault::Exhausted; 2]);
    world.settle(2);
    let scope = Scope::private(world.space());
    let is_there = |world: &World| {
        named.iter().all(|hash| world.kv.central(&scope.object_key(hash), world.now).is_some())
    };
    assert!(is_there(&world));
    // KV itself asserts that no part goes that a head has named within a day.
    assert_settles(&mut world, "the head is put again");
    world.pass(2 * DAY_MS);
    assert_settles(&mut world, "a day later");
    assert!(!is_there(&world), "then they are deleted");
}
