//! How the durable state gets into KV, and when. The world's oracle checks every head that is put (I4 to I7).

mod demand;
mod lifetimes;
mod settling;

use super::*;
use crate::{
    coordinator::publication::{Effect, PutOutcome},
    fronts::headwater::answer::Format,
    sim::{
        DAY_MS, EAGER, Settings, World,
        check::{Edit, Row},
        client::Name,
        host::SectionFault,
        kv::PutFault,
    },
    snapshot::head::{Head, HeadMetadata},
};

fn name(id: &str) -> Name {
    ("c".to_owned(), id.to_owned())
}

/// One push of client 0.
fn change(world: &mut World, edits: Vec<Edit>) {
    let (mark, changes) = world.spaces[0].oracle.plan(edits);
    world.clients[0].queue(changes, mark);
    world.push(0, false).expect("an answer");
}

fn put(world: &mut World, id: &str, filler: usize) {
    let row = Row { count: 0, tag: world.rng.below(1_000_000), filler };
    change(world, vec![Edit::Put(name(id), row)]);
}

fn delete(world: &mut World, id: &str) {
    change(world, vec![Edit::Delete(name(id))]);
}

/// Records `r00` … of 200 KB each.
fn fill(world: &mut World, records: usize) {
    for index in 0..records {
        put(world, &format!("r{index:02}"), 200_000);
    }
}

fn head_key(world: &World) -> String {
    Scope::private(world.space()).head_key()
}

fn metadata(world: &World) -> Option<HeadMetadata> {
    HeadMetadata::parse(&world.kv.central(&head_key(world), world.now)?.metadata)
}

fn head(world: &World) -> Head {
    let value = world.kv.central(&head_key(world), world.now).expect("a head").value.clone();
    Head::decode(&value, &Scope::private(world.space())).expect("a head that can be read").0
}

fn head_version(world: &World) -> u64 {
    metadata(world).map_or(0, |metadata| metadata.v.get())
}

/// I8, and with it that no alarm is left.
fn assert_settles(world: &mut World, why: &str) {
    world.settle(60);
    let durable = world.spaces[0].host.core(world.now).position();
    assert_eq!(metadata(world).map(|metadata| metadata.position()), Some(durable), "I8: {why}");
    assert_eq!(world.spaces[0].host.alarm, None, "I8: an alarm is left: {why}");
}

/// Storage goes back, and somebody pushes.
fn restore(world: &mut World, old: MemoryLedger) {
    world.spaces[0].host.restore(old);
    let position = world.spaces[0].host.core(world.now).position();
    world.spaces[0].oracle.forget_published();
    world.spaces[0].oracle.go_back_to(position);
    let row = Row { count: 0, tag: 0, filler: 50 };
    let (mark, changes) = world.spaces[0].oracle.plan(vec![Edit::Put(name("s"), row)]);
    world.clients[1].queue(changes, mark);
    world.push(1, false).expect("an answer");
}

fn eager() -> World {
    World::new(&Settings::eager(1))
}

fn by_demand() -> World {
    World::new(&Settings::by_demand(1))
}

/// A published space with a base of several parts.
fn large() -> World {
    let mut world = eager();
    fill(&mut world, 15);
    assert_settles(&mut world, "a large space");
    assert!(head(&world).base.is_some_and(|base| base.parts.len() > 1));
    world
}

#[test]
fn a_small_space_is_one_key_and_one_put() {
    let mut world = eager();
    put(&mut world, "r", 100);
    put(&mut world, "s", 100);
    assert_settles(&mut world, "a small space");
    assert_eq!(world.kv.puts.len(), 1);
    assert_eq!(world.kv.keys(world.now), [head_key(&world)]);
}

#[test]
fn a_space_that_was_never_written_publishes_nothing() {
    let mut world = eager();
    assert!(world.ask(0, "{}", Format::Json).body.is_ok());
    assert_eq!((world.spaces[0].host.alarm, world.kv.puts.len()), (None, 0));
}

#[test]
fn what_does_not_fit_the_tail_moves_into_a_base_and_then_into_a_delta() {
    let mut world = large();
    let base = head(&world).base.expect("a base");
    put(&mut world, "r03", 1_000);
    assert_settles(&mut world, "a small change");
    assert!(head(&world).delta.is_none() && head(&world).base.as_ref() == Some(&base));
    put(&mut world, "r04", 150_000);
    put(&mut world, "r05", 150_000);
    assert_settles(&mut world, "a tail above 256 KiB");
    let parts = head(&world);
    assert_eq!(parts.base.as_ref(), Some(&base));
    assert_eq!(parts.delta.map(|delta| (delta.from, delta.to)), Some((base.to, parts.version)));
}

#[test]
fn h09_a_record_that_moves_while_a_base_is_built_is_in_the_tail_behind_it() {
    for gap in 1..6 {
        let mut world = eager();
        fill(&mut world, 15);
        world.pass(1_000);
        world.spaces[0].host.begin_turn(world.now);
        for _ in 0..gap {
            world.step(0);
        }
        let is_building = world.spaces[0].host.core(world.now).publisher().row().building.is_some();
        put(&mut world, "r00", 10);
        put(&mut world, "r14", 10);
        while world.step(0) {}
        assert!(is_building || gap != 3, "the gap lies between two parts");
        assert_settles(&mut world, "the oracle has compared each head with its version");
    }
}

#[test]
fn a_crash_between_any_two_effects_leaves_nothing_undone() {
    for steps in 0.. {
        let mut world = eager();
        fill(&mut world, 15);
        world.pass(1_000);
        world.spaces[0].host.begin_turn(world.now);
        let goes_on = (0..steps).all(|_| world.step(0));
        world.spaces[0].host.kill();
        put(&mut world, "r07", 20);
        assert_settles(&mut world, "killed in a turn");
        if !goes_on {
            assert!(steps > 4, "a turn of several effects");
            break;
        }
    }
}

#[test]
fn parts_that_were_put_before_a_crash_are_not_put_again() {
    let mut world = eager();
    fill(&mut world, 15);
    world.pass(1_000);
    world.spaces[0].host.begin_turn(world.now);
    while world.kv.puts.len() < 2 {
        world.step(0);
    }
    world.spaces[0].host.kill();
    assert_settles(&mut world, "killed while the second part was put");
    let again = world.kv.puts.iter().filter(|(key, _)| *key == world.kv.puts[0].0).count();
    assert_eq!(again, 1);
}

#[test]
fn an_alarm_may_come_early_twice_or_late() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    assert_settles(&mut world, "version 1");
    put(&mut world, "r", 200);
    for _ in 0..2 {
        world.spaces[0].host.begin_turn(world.now);
        while world.step(0) {}
        assert_eq!(world.kv.puts.len(), 1, "early: nothing is due");
        assert!(world.spaces[0].host.alarm.is_some(), "and it comes again");
    }
    world.pass(3 * DAY_MS);
    assert!(world.fire_alarm());
    assert_eq!((head_version(&world), world.spaces[0].host.alarm), (2, None));
    world.spaces[0].host.begin_turn(world.now);
    while world.step(0) {}
    assert_eq!((world.kv.puts.len(), world.spaces[0].host.alarm), (2, None), "twice: nothing is left to do");
}

#[test]
fn an_alarm_that_fires_into_a_turn_that_broke_off_takes_over() {
    for gap in 0..4 {
        let mut world = eager();
        put(&mut world, "r", 100);
        world.pass(1_000);
        world.spaces[0].host.begin_turn(world.now);
        for _ in 0..gap {
            world.step(0);
        }
        put(&mut world, "s", 100);
        world.spaces[0].host.begin_turn(world.now);
        while world.step(0) {}
        assert_settles(&mut world, "the turn that was cut short is not missed");
    }
}

#[test]
fn two_pushes_while_a_head_is_being_put_are_published_next() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.pass(1_000);
    world.spaces[0].host.begin_turn(world.now);
    while world.kv.puts.is_empty() {
        world.step(0);
    }
    put(&mut world, "s", 100);
    put(&mut world, "t", 100);
    while world.step(0) {}
    assert_eq!(head_version(&world), 1);
    assert!(
        world.spaces[0].host.alarm.is_some(),
        "I8: the pushes set no alarm of their own while a turn was under way"
    );
    assert_settles(&mut world, "two pushes in flight");
}

#[test]
fn i8_an_epoch_that_begins_while_a_head_is_being_put_is_published_at_once() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    world.pass(16 * 60_000);
    world.spaces[0].host.begin_turn(world.now);
    while world.kv.puts.is_empty() {
        world.step(0);
    }
    let epoch = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch").epoch;
    while world.step(0) {}
    let wait = world.spaces[0].host.alarm.expect("an alarm").since(world.now);
    assert!(wait <= 30_000, "readers of the old epoch are told within the interval, not after {wait} ms");
    assert_settles(&mut world, "a new epoch");
    assert_eq!(head(&world).epoch, epoch);
}

#[test]
fn h10a_what_was_deleted_stays_deleted_on_a_new_device_after_it_is_forgotten() {
    let mut world = large();
    delete(&mut world, "r02");
    assert_settles(&mut world, "a deletion");
    for day in 0..40 {
        world.pass(DAY_MS);
        put(&mut world, "daily", 100 + day);
        assert_settles(&mut world, "a change a day");
    }
    assert!(world.spaces[0].host.core(world.now).meta.horizon > Version::ZERO, "the deletion was forgotten");
    world.pull(1, 1, Format::Ndjson).expect("a first load");
    assert!(!world.clients[1].records.contains_key(&name("r02")));
}

#[test]
fn h10a_a_deletion_that_becomes_due_while_a_head_is_put_outlives_the_older_base() {
    let publication = PublicationConfig { retain_ms: 60_000, ..EAGER };
    let mut world = World::new(&Settings { publication, ..Settings::eager(1) });
    fill(&mut world, 15);
    assert_settles(&mut world, "a base");
    let deleted_at = world.now;
    delete(&mut world, "r02");
    assert_settles(&mut world, "the deletion is in the tail");
    put(&mut world, "new", 10);
    let wait = deleted_at.plus(59_500).since(world.now);
    world.pass(wait);
    world.spaces[0].host.begin_turn(world.now);
    let puts = world.kv.puts.len();
    while world.kv.puts.len() == puts {
        world.step(0);
    }
    world.pass(1_000);
    while world.step(0) {}
    assert_eq!(world.spaces[0].host.core(world.now).meta.horizon, Version::ZERO, "the base still has r02");
    world.pull(1, 1, Format::Ndjson).expect("a first load");
    assert!(!world.clients[1].records.contains_key(&name("r02")));
    put(&mut world, "newer", 10);
    assert_settles(&mut world, "the base is folded");
    assert_eq!(world.spaces[0].host.core(world.now).meta.horizon, version(16), "then it is forgotten");
    world.pull(2, 1, Format::Ndjson).expect("a first load");
    assert!(!world.clients[2].records.contains_key(&name("r02")));
}

#[test]
fn a_delta_that_has_grown_is_folded_into_the_base_and_parts_that_did_not_change_stay() {
    let mut world = eager();
    fill(&mut world, 30);
    assert_settles(&mut world, "a base");
    let before = head(&world).base.expect("a base");
    for round in 0..3 {
        for index in 24..30 {
            put(&mut world, &format!("r{index}"), 190_000 + round);
        }
        assert_settles(&mut world, "changes at the end");
        if head(&world).base.as_ref().is_some_and(|base| base.to > before.to) {
            break;
        }
    }
    let after = head(&world);
    let base = after.base.expect("a base");
    assert_eq!((after.delta, base.to), (None, after.version), "folded");
    let kept = before.parts.iter().filter(|part| base.parts.contains(part)).count();
    assert!(kept + 2 >= before.parts.len(), "{kept} of {} parts stayed", before.parts.len());
    let first = Scope::private(world.space()).object_key(&before.parts[0].sha256.0);
    assert_eq!(world.kv.puts.iter().filter(|(key, _)| *key == first).count(), 1, "and are not put again");
}

#[test]
fn a_clock_that_goes_back_between_two_deletions_stops_nothing() {
    let settings =
        Settings { publication: PublicationConfig { retain_ms: 60_000, ..EAGER }, ..Settings::eager(1) };
    let mut world = World::new(&settings);
    put(&mut world, "a", 10);
    put(&mut world, "b", 10);
    world.pass(100_000);
    delete(&mut world, "a");
    // The object moves to a machine whose clock is behind.
    world.now = Millis(world.now.0 - 50_000);
    delete(&mut world, "b");
    for _ in 0..5 {
        world.pass(61_000);
        put(&mut world, "c", 10);
        world.settle(5);
    }
    assert_settles(&mut world, "both deletions are forgotten");
    assert_eq!(
        world.spaces[0].host.core(world.now).meta.horizon,
        version(4),
        "the newest that was forgotten"
    );
}

#[test]
fn a_row_that_this_build_cannot_read_is_taken_for_none_and_all_is_put_again() {
    let mut world = large();
    world.spaces[0]
        .host
        .core(world.now)
        .ledger()
        .put_private("publication", "", "{\"published\":7}")
        .expect("a write");
    world.spaces[0].host.kill();
    world.spaces[0].oracle.forget_published();
    let puts = world.kv.puts.len();
    put(&mut world, "r", 10);
    assert_settles(&mut world, "an unreadable row");
    assert!(world.kv.puts.len() > puts + 2);
}
