//! Epochs, horizons, and loads that are interrupted.

use super::*;

/// Deletions are forgotten a minute after they were made.
const FORGETFUL: PublicationConfig = PublicationConfig { retain_ms: 60_000, ..EAGER };

#[test]
fn h01_a_location_that_holds_an_earlier_epoch_takes_nobody_back() {
    let mut world = eager();
    for round in 0..5 {
        put(&mut world, "r", round);
    }
    world.settle(5);
    world.pass(1_000);
    world.pull(1, 0, Format::Json).expect("a pull");
    world.pull(1, 1, Format::Json).expect("a pull");
    let position = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch");
    world.spaces[0].oracle.learn_epoch(&position.epoch);
    world.clients[1].min = Some(position.clone());
    world.pull(1, 0, Format::Json).expect("a pull");
    assert_eq!(world.clients[1].position, Some(position));
    // The other location still has the old head in memory, cache and KV. The client and the oracle assert I3.
    for format in [Format::Json, Format::Ndjson] {
        world.pull(1, 1, format).expect("a pull");
    }
}

#[test]
fn h01_a_client_of_the_earlier_epoch_is_not_trapped_there() {
    let mut world = eager();
    put(&mut world, "r", 1);
    world.settle(5);
    world.pass(1_000);
    world.pull(1, 0, Format::Json).expect("a pull");
    let position = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch");
    world.spaces[0].oracle.learn_epoch(&position.epoch);
    let (mark, changes) = world.spaces[0].oracle.plan(vec![Edit::Delete(name("r"))]);
    world.clients[1].queue(changes, mark);
    assert!(matches!(world.push(1, false), Err(ApiError::EpochMismatch { .. })));
    world.pull(1, 0, Format::Json).expect("a pull with min");
    world.push(1, false).expect("an answer");
    assert!(world.clients[1].outbox.is_empty());
}

#[test]
fn h01_min_of_another_epoch_is_not_reached_by_a_higher_version_of_this_one() {
    let mut world = eager();
    for round in 0..5 {
        put(&mut world, "r", round);
    }
    world.settle(5);
    world.pass(1_000);
    let old = since(&world, 4);
    world.ask(0, &old, Format::Json);
    let position = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch");
    world.spaces[0].oracle.learn_epoch(&position.epoch);
    let min = Position { version: crate::version::Version::ZERO, ..position };
    let answer = world.ask(0, &old.replace('}', &format!(",\"min\":\"{min}\"}}")), Format::Json);
    assert!(is_reset(&answer) && answer.source == Source::Coordinator);
}

#[test]
fn h11_page_2_at_another_location_after_the_head_was_replaced() {
    for format in [Format::Json, Format::Ndjson] {
        let mut world = large(EAGER, 20);
        assert_eq!(world.pull_once(1, 0, format, Some(1)), Ok(false));
        delete(&mut world, "r00");
        put(&mut world, "r19", 1);
        for index in 0..8 {
            put(&mut world, &format!("s{index}"), 200_000);
        }
        world.settle(20);
        world.kv.forget_caches();
        world.pull(1, 1, format).expect("the rest");
        assert!(!world.clients[1].records.contains_key(&name("r00")), "nothing deleted returns");
    }
}

#[test]
fn h11_a_load_whose_objects_are_gone_is_taken_over_by_the_coordinator() {
    let mut world = large(EAGER, 20);
    assert_eq!(world.pull_once(1, 0, Format::Ndjson, Some(1)), Ok(false));
    for key in world.kv.keys(world.now).into_iter().filter(|key| key.contains("/o/")) {
        world.kv.evict(&key, world.now);
    }
    world.pass(1);
    world.pull(1, 0, Format::Ndjson).expect("pages of the coordinator, after a reset");
    world.pull(2, 0, Format::Ndjson).expect("a first load");
    assert_eq!(world.clients[2].records, world.spaces[0].oracle.records());
}

#[test]
fn a_cursor_of_a_load_is_good_for_its_epoch_and_format_alone() {
    let mut world = large(EAGER, 20);
    for format in [Format::Json, Format::Ndjson] {
        assert_eq!(world.pull_once(1, 0, Format::Ndjson, Some(1)), Ok(false));
        let position = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch");
        world.spaces[0].oracle.learn_epoch(&position.epoch);
        world.settle(20);
        world.kv.forget_caches();
        forget(&mut world, 0);
        world.pull(1, 0, format).expect("it starts over");
        assert_eq!(world.clients[1].position, Some(position));
        world.clients[1].start_over();
    }
}

#[test]
fn h10c_a_load_that_goes_on_does_not_bring_back_what_was_deleted_and_forgotten() {
    let mut world = large(FORGETFUL, 20);
    assert_eq!(world.pull_once(1, 0, Format::Ndjson, Some(1)), Ok(false));
    for index in 0..19 {
        delete(&mut world, &format!("r{index:02}"));
    }
    world.settle(20);
    world.pass(61_000);
    put(&mut world, "s", 1);
    world.settle(20);
    // Somebody else brings an overlay from 0 to this location: the space is small by now.
    world.locations[0].forget_cache();
    let strong = world.ask(0, "{\"consistency\":\"strong\"}", Format::Json);
    assert_eq!(version(&strong), world.spaces[0].oracle.here().version.get());
    world.pull(1, 0, Format::Ndjson).expect("the rest");
}

#[test]
fn a_horizon_that_passes_a_client_between_two_heads_resets_it_and_is_no_error() {
    let mut world = large(FORGETFUL, 16);
    put(&mut world, "other", 1);
    world.settle(20);
    world.pull(1, 0, Format::Json).expect("a pull");
    assert_eq!(world.clients[1].position.as_ref().map(|position| position.version.get()), Some(17));
    delete(&mut world, "r03");
    world.settle(20);
    world.kv.forget_caches();
    forget(&mut world, 0);
    assert_eq!(
        version(&world.ask(0, &since(&world, 17), Format::Json)),
        18,
        "the location holds the head at 18"
    );
    world.pass(61_000);
    put(&mut world, "other", 2);
    world.settle(20);
    world.clients[1].min = Some(world.spaces[0].oracle.here().clone());
    world.kv.faults.reads = 100;
    world.pull(1, 0, Format::Json).expect("a full state, or the increment: no error");
    assert!(!world.clients[1].records.contains_key(&name("r03")));
}

#[test]
fn a_client_below_the_horizon_of_the_head_is_reset() {
    let mut world = large(FORGETFUL, 16);
    world.pull(1, 0, Format::Json).expect("a pull");
    delete(&mut world, "r03");
    for round in 0..3 {
        world.pass(61_000);
        put(&mut world, "other", round);
        world.settle(20);
    }
    for location in 0..3 {
        for format in [Format::Json, Format::Ndjson] {
            let answer = world.ask(location, &since(&world, 16), format);
            assert!(is_reset(&answer));
        }
    }
    world.pull(1, 1, Format::Json).expect("a pull");
    assert!(!world.clients[1].records.contains_key(&name("r03")));
}

#[test]
fn h15_a_location_that_holds_more_than_storage_has_gets_a_new_epoch_and_no_error() {
    let mut world = large(EAGER, 16);
    let old = world.spaces[0].host.copy_of_storage(world.now);
    put(&mut world, "a", 1);
    put(&mut world, "a", 2);
    world.settle(20);
    world.kv.forget_caches();
    let above = world.spaces[0].oracle.here().clone();
    world.ask(0, "{}", Format::Ndjson);
    world.pass(2 * 3_600_000);
    world.spaces[0].host.restore(old);
    let before = world.spaces[0].host.core(world.now).position();
    world.spaces[0].oracle.forget_published();
    world.spaces[0].oracle.go_back_to(before.clone());
    let answer = world.ask(0, "{}", Format::Ndjson);
    assert!(answer.body.is_ok());
    assert!(world.spaces[0].host.core(world.now).position() > above);
}

#[test]
fn a_claim_that_cannot_be_is_told_where_the_space_stands() {
    let mut world = eager();
    put(&mut world, "r", 1);
    // Claims have begun as many epochs as they may for now.
    for _ in 0..3 {
        let claim = Ask {
            epoch: Some(world.spaces[0].host.core(world.now).position().epoch),
            since: crate::version::Version::MAX,
            ..Ask::default()
        };
        assert!(world.ask_coordinator(&claim).is_ok());
    }
    let here = world.spaces[0].host.core(world.now).position();
    world.spaces[0].oracle.learn_epoch(&here.epoch);
    let answer = world.ask(0, &since(&world, 99), Format::Json);
    assert!(
        matches!(answer.body, Err(ApiError::PositionUnknown { ref position }) if position == world.spaces[0].oracle.here())
    );
    world.pass(3_600_000);
    let claim = Ask {
        epoch: Some(world.spaces[0].oracle.here().epoch.clone()),
        since: crate::version::Version::MAX,
        ..Ask::default()
    };
    assert!(world.ask_coordinator(&claim).is_ok(), "an hour later it begins an epoch");
    assert!(world.spaces[0].host.core(world.now).position() > *world.spaces[0].oracle.here());
}
