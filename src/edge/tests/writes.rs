//! What was written is seen at the location where it was written.

use super::*;
use crate::edge::writes::WRITTEN_MS;

/// One push of client 0, whose answer passes a location.
fn write_at(world: &mut World, location: usize, id: &str) {
    put(world, id, 100);
    let position = world.spaces[0].oracle.here().clone();
    world.pass_write(location, 0, &position);
}

fn by_demand() -> World {
    World::new(&Settings { plan: ReadPlan::of(true, false), ..Settings::by_demand(1) })
}

#[test]
fn i14_a_location_shows_what_was_written_there_to_everybody_at_once() {
    for mut world in [by_demand(), eager()] {
        write_at(&mut world, 0, "a");
        world.ask(0, "{}", Format::Json);
        for round in 2..10 {
            write_at(&mut world, 0, "a");
            for (body, format) in [
                ("{}", Format::Json),
                ("{\"consistency\":\"eventual\"}", Format::Json),
                ("{}", Format::Ndjson),
            ] {
                assert_eq!(version(&world.ask(0, body, format)), round, "{body} {format:?}");
            }
            world.pass(50);
        }
    }
}

#[test]
fn i14_another_isolate_of_the_location_knows_it_too_where_there_is_a_cache() {
    for has_cache in [true, false] {
        let mut world = by_demand();
        world.locations[0].has_cache = has_cache;
        write_at(&mut world, 0, "a");
        world.ask(0, "{}", Format::Json);
        write_at(&mut world, 0, "a");
        world.pass(1_001);
        world.locations[0].forget_memory();
        // Without a cache this isolate knows nothing at all, and asks.
        assert_eq!(version(&world.ask(0, "{}", Format::Json)), 2, "{has_cache}");
    }
}

#[test]
fn a_write_costs_its_location_one_request_to_the_coordinator_whoever_pulls() {
    let mut world = by_demand();
    write_at(&mut world, 0, "a");
    assert_eq!(cost(&world.ask(0, "{}", Format::Json)), (1, 0, 1));
    for _ in 0..3 {
        write_at(&mut world, 0, "a");
        let requests = world.spaces[0].host.requests;
        for _ in 0..20 {
            world.ask(0, "{}", Format::Json);
            world.pass(1_100);
        }
        assert_eq!(world.spaces[0].host.requests - requests, 1);
    }
    write_at(&mut world, 1, "a");
    assert_eq!(cost(&world.ask(0, "{}", Format::Json)).2, 0, "elsewhere nothing is dearer");
}

#[test]
fn kv_is_not_read_for_what_was_written_a_moment_ago_and_is_again_once_it_shows_it() {
    let mut world = eager();
    write_at(&mut world, 0, "a");
    assert_eq!(cost(&world.ask(0, &since(&world, 0), Format::Json)), (1, 0, 1));
    world.settle(5);
    world.kv.forget_caches();
    world.locations[0].forget_memory();
    world.pass(WRITTEN_MS - 10_000);
    let answer = world.ask(0, &since(&world, 0), Format::Json);
    assert_eq!((version(&answer), answer.usage.object), (1, 0), "the overlay of before is as new");
}

#[test]
fn while_the_coordinator_does_not_answer_only_eventual_pulls_go_on_without_the_write() {
    let mut world = by_demand();
    write_at(&mut world, 0, "a");
    world.ask(0, "{}", Format::Json);
    write_at(&mut world, 0, "a");
    world.spaces[0].host.is_unreachable = true;
    let refused = world.ask(0, "{}", Format::Json);
    assert!(matches!(refused.body, Err(ApiError::Upstream | ApiError::Overloaded)), "{:?}", refused.body);
    assert_eq!(version(&world.ask(0, "{\"consistency\":\"eventual\"}", Format::Json)), 1);
    world.spaces[0].host.is_unreachable = false;
    assert_eq!(version(&world.ask(0, "{}", Format::Json)), 2);
}

#[test]
fn i14_an_isolate_that_the_locations_cache_told_of_a_write_never_answers_without_it() {
    for is_unreachable in [true, false] {
        let mut world = by_demand();
        write_at(&mut world, 0, "a");
        world.ask(0, "{}", Format::Json);
        // More than fits an overlay, so the coordinator's answer leaves nothing in memory.
        (0..400).for_each(|record| put(&mut world, &format!("r{record}"), 200));
        write_at(&mut world, 0, "a");
        world.pass(1_001);
        world.locations[0].forget_memory();
        world.spaces[0].host.is_unreachable = is_unreachable;
        for _ in 0..3 {
            let answer = world.ask(0, &since(&world, 1), Format::Json);
            assert!(is_unreachable == answer.body.is_err(), "{:?}", answer.body);
        }
    }
}

#[test]
fn a_write_that_storage_has_lost_is_asked_for_and_refuses_nobody() {
    let mut world = by_demand();
    write_at(&mut world, 0, "a");
    let lost = Position {
        version: world.spaces[0].oracle.here().version.next(),
        ..world.spaces[0].oracle.here().clone()
    };
    world.pass_write(0, 0, &lost);
    for _ in 0..3 {
        let answer = world.ask(0, "{}", Format::Json);
        assert_eq!((version(&answer), answer.usage.object), (1, 1));
    }
    // The location was told a second later.
    world.pass(WRITTEN_MS + 1_001);
    world.ask(0, "{}", Format::Json);
    assert_eq!(cost(&world.ask(0, "{}", Format::Json)).2, 0);
}

#[test]
fn i14_an_isolate_that_tells_late_takes_nothing_back_that_another_has_told() {
    let mut world = by_demand();
    write_at(&mut world, 0, "a");
    world.pass(10);
    // Told a second after the first.
    write_at(&mut world, 0, "a");
    world.ask(0, "{}", Format::Json);
    world.pass(10);
    world.locations[0].switch_isolate();
    write_at(&mut world, 0, "a");
    for _ in 0..40 {
        world.pass(500);
        world.locations[0].switch_isolate();
        let shown = version(&world.ask(0, "{}", Format::Json));
        assert!(shown == 3 || world.now.since(crate::sim::START) < 3_000, "{shown}");
    }
}

#[test]
fn i14_a_head_that_kv_showed_to_a_strong_pull_is_not_taken_for_checked() {
    let mut world = by_demand();
    write_at(&mut world, 0, "a");
    world.ask(0, "{}", Format::Json);
    world.settle(50);
    write_at(&mut world, 0, "a");
    // The location has been told, and KV still shows the head of before.
    world.pass(1_001);
    world.locations[0].forget_memory();
    world.spaces[0].host.is_unreachable = true;
    let strong = world.ask(0, "{\"consistency\":\"strong\"}", Format::Json);
    assert!(strong.body.is_err() && strong.usage.kv == 1, "{strong:?}");
    for body in ["{}", "{\"consistency\":\"eventual\"}"] {
        let answer = world.ask(0, body, Format::Json);
        assert!(answer.body.is_err() || answer.source != Source::Edge, "{body}: {answer:?}");
    }
    let plain = world.ask(0, "{}", Format::Json);
    assert!(plain.body.is_err(), "{plain:?}");
}
