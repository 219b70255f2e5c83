//! Nothing is deleted: what is needed is put again before it expires (H8).

use super::*;

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

#[test]
fn a_space_that_nobody_reads_or_writes_leaves_kv_by_itself() {
    let mut world = large();
    world.pass(31 * DAY_MS);
    assert_eq!(world.kv.keys(world.now), Vec::<String>::new());
    put(&mut world, "r", 10);
    assert_settles(&mut world, "it comes back whole");
    world.pull(1, 1, Format::Ndjson).expect("a first load");
}
