//! Which layer answers which pull, and what that costs.

use std::rc::Rc;

use super::*;
use crate::{
    edge::known::{Known, KnownHead, Overlay},
    snapshot::head::HeadMetadata,
    version::Version,
};

#[test]
fn memory_then_cache_then_kv_then_the_coordinator() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.settle(10);
    world.pass(1_000);
    let body = since(&world, 0);
    assert_eq!(cost(&world.ask(0, &body, Format::Json)), (1, 1, 0), "a head, whatever the space");
    assert_eq!(cost(&world.ask(0, &body, Format::Json)), (0, 0, 0));
    world.pass(1_001);
    assert_eq!(cost(&world.ask(0, &body, Format::Json)), (1, 0, 0));
    world.locations[0].forget_memory();
    let answer = world.ask(0, &body, Format::Json);
    assert_eq!((cost(&answer), answer.source), ((1, 0, 0), Source::Edge));
    world.pass(31_000);
    let answer = world.ask(0, &body, Format::Json);
    assert_eq!((cost(&answer), answer.source), ((1, 1, 0), Source::Kv));
    let strong = body.replace('}', ",\"consistency\":\"strong\"}");
    let answer = world.ask(0, &strong, Format::Json);
    assert_eq!((cost(&answer), answer.source), ((0, 0, 1), Source::Coordinator));
}

#[test]
fn while_kv_is_current_no_pull_reaches_the_coordinator() {
    let mut world = eager();
    for round in 1..20 {
        put(&mut world, "r", round);
        world.settle(5);
        world.kv.forget_caches();
        world.pass(31_000);
        let before = world.spaces[0].host.requests;
        world.pull(1, 0, Format::Json).expect("an increment");
        world.pull(2, 1, Format::Ndjson).expect("an increment");
        assert_eq!(world.spaces[0].host.requests, before);
    }
}

#[test]
fn a_first_load_reads_one_key_for_the_head_and_one_per_part() {
    let mut world = large(EAGER, 20);
    let loaded = world.ask(0, "{}", Format::Ndjson);
    let bytes: usize =
        world.kv.puts.iter().filter(|(key, _)| key.contains("/o/")).map(|(_, e)| e.value.len()).sum();
    let parts = bytes.div_ceil(1 << 20) as u64;
    assert!(cost(&loaded).1 <= 1 + parts, "{:?} for {bytes} bytes", cost(&loaded));
    assert_eq!((cost(&loaded).2, version(&loaded)), (0, 20));
}

#[test]
fn an_increment_of_a_large_space_is_one_key_or_one_request() {
    let mut world = large(EAGER, 20);
    put(&mut world, "r03", 100);
    let kv_lags = world.ask(0, &since(&world, 19).replace('}', &min(&world)), Format::Json);
    assert_eq!((cost(&kv_lags), version(&kv_lags)), ((1, 1, 1), 21));
    world.settle(5);
    world.pass(1_000);
    let published = world.ask(1, &since(&world, 20), Format::Json);
    assert_eq!((cost(&published), version(&published)), ((1, 1, 0), 21));
}

/// `min` at where the space stands, to be put at the end of a body.
fn min(world: &World) -> String {
    format!(",\"min\":\"{}\"}}", world.spaces[0].oracle.here())
}

#[test]
fn h21_one_request_per_location_and_version_whatever_the_number_of_clients() {
    let mut world = large(EAGER, 20);
    for body in ["{}".to_owned(), since(&world, 20)] {
        world.ask(0, &body, Format::Ndjson);
    }
    put(&mut world, "r03", 100);
    let before = world.spaces[0].host.requests;
    for client in 0..100 {
        let body = if client % 3 == 0 { "{}".to_owned() } else { since(&world, 18 + client % 3) };
        let body =
            if body == "{}" { min(&world).replacen(',', "{", 1) } else { body.replace('}', &min(&world)) };
        let format = if client % 2 == 0 || client % 3 == 0 { Format::Ndjson } else { Format::Json };
        let answer = world.ask(0, &body, format);
        assert_eq!(version(&answer), 21);
    }
    assert!(
        world.spaces[0].host.requests - before <= 2,
        "{} requests",
        world.spaces[0].host.requests - before
    );
}

#[test]
fn i3_when_kv_lags_behind_min_the_coordinator_is_asked() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.settle(5);
    world.pass(1_000);
    world.ask(0, "{}", Format::Json);
    put(&mut world, "r", 200);
    let lagging = world.ask(0, &since(&world, 0), Format::Json);
    assert_eq!((cost(&lagging).2, version(&lagging)), (0, 1), "without min the old state is good enough");
    let body = min(&world).replacen(',', "{", 1);
    let answer = world.ask(0, &body, Format::Json);
    assert_eq!((cost(&answer).2, version(&answer)), (1, 2));
    world.pass(1_500);
    assert_eq!(version(&world.ask(0, "{}", Format::Json)), 2, "a location does not go back");
    world.locations[0].forget_memory();
    assert_eq!(version(&world.ask(0, "{}", Format::Json)), 2, "nor does its other isolate");
}

#[test]
fn a_location_asks_the_coordinator_every_10_minutes_whether_its_head_is_the_newest() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.settle(5);
    let body = since(&world, 1);
    let mut asked = Vec::new();
    for second in 0..3_600 {
        world.pass(1_000);
        if cost(&world.ask(0, &body, Format::Json)).2 > 0 {
            asked.push(second);
        }
    }
    assert!((5..=7).contains(&asked.len()), "{asked:?}");
}

#[test]
fn a_private_space_looks_for_increments_with_the_coordinator_and_for_first_loads_in_kv() {
    let plan = ReadPlan::of(true, false);
    let mut world = World::new(&Settings { plan, ..Settings::eager(1) });
    put(&mut world, "r", 100);
    world.settle(5);
    world.pass(60_000);
    assert_eq!(cost(&world.ask(0, &since(&world, 1), Format::Json)), (1, 0, 1));
    assert_eq!(cost(&world.ask(1, "{}", Format::Ndjson)).1, 1);
}

#[test]
fn without_the_coordinator_whatever_does_not_take_back_is_good_enough() {
    let mut world = large(EAGER, 20);
    world.pass(DAY_MS);
    world.spaces[0].host.is_unreachable = true;
    for (body, format) in [
        ("{}".to_owned(), Format::Ndjson),
        (since(&world, 19), Format::Ndjson),
        (since(&world, 20), Format::Json),
    ] {
        assert_eq!(version(&world.ask(0, &body, format)), 20, "{body}");
    }
    let strong = since(&world, 20).replace('}', ",\"consistency\":\"strong\"}");
    assert_eq!(world.ask(0, &strong, Format::Json).body, Err(ApiError::Upstream));
    assert_eq!(world.ask(0, &since(&world, 21), Format::Json).body, Err(ApiError::Upstream), "I3");
    let eventual = since(&world, 21).replace('}', ",\"consistency\":\"eventual\"}");
    let answer = world.ask(0, &eventual, Format::Json);
    assert_eq!((version(&answer), is_nothing(&answer)), (21, true), "its own position");
}

#[test]
fn without_kv_everything_comes_from_the_coordinator() {
    let mut world = large(EAGER, 20);
    world.kv.faults.reads = 100;
    world.pull(1, 0, Format::Ndjson).expect("a stream of pages");
    world.pull(2, 0, Format::Json).expect("pages");
    put(&mut world, "r03", 100);
    world.pass(60_000);
    world.pull(1, 0, Format::Json).expect("an increment");
    assert_eq!(world.clients[1].position.as_ref(), Some(world.spaces[0].oracle.here()));
}

#[test]
fn h16_whether_there_is_something_new_depends_on_since_alone() {
    let mut world = eager();
    for round in 0..5 {
        put(&mut world, "r", round);
    }
    world.settle(5);
    world.pass(1_000);
    for (at, nothing) in [(0, false), (4, false), (5, true)] {
        assert_eq!(is_nothing(&world.ask(0, &since(&world, at), Format::Json)), nothing, "since {at}");
    }
}

#[test]
fn a_head_of_another_space_or_another_hand_counts_as_none() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.settle(5);
    let key = Scope::private(world.space()).head_key();
    let entry = world.kv.central(&key, world.now).expect("a head");
    for value in [
        entry.value.replace("xxx", "yyy"),
        "nonsense".to_owned(),
        entry.value.replace("\"format\":1", "\"format\":2"),
    ] {
        world.kv.forget_caches();
        world.kv.put(&key, crate::sim::kv::Entry { value, ..(*entry).clone() }, world.now);
        world.pass(1);
        forget(&mut world, 0);
        let answer = world.ask(0, "{}", Format::Json);
        assert_eq!((answer.source, version(&answer)), (Source::Coordinator, 1));
        assert!(!text(&answer).contains("yyy"), "I6");
    }
}

#[test]
fn a_location_never_replaces_what_it_knows_by_something_older() {
    let mut world = eager();
    let key = Scope::private(world.space()).head_key();
    let mut heads = Vec::new();
    for round in 0..2 {
        put(&mut world, "r", round);
        world.settle(5);
        world.pass(2_000);
        let entry = world.kv.central(&key, world.now).expect("a head");
        let metadata = HeadMetadata::parse(&entry.metadata).expect("metadata");
        let head =
            KnownHead::new(metadata, Some(entry.value.clone()), &Scope::private(world.space()), world.now);
        heads.push(Rc::new(head.expect("a head")));
    }
    let (older, newer) = (Rc::clone(&heads[0]), Rc::clone(&heads[1]));
    let tail = |head: &KnownHead| Overlay {
        epoch: head.metadata.e.clone(),
        from: Version::ZERO,
        version: head.metadata.v,
        horizon: Version::ZERO,
        asked_at: head.read_at,
        lines: String::new(),
    };
    let mut known = Known::default();
    known.learn_head(Rc::clone(&newer));
    known.learn_overlay(Rc::new(tail(&newer)));
    let before = known.clone();
    known.learn(Known { overlay: Some(Rc::new(tail(&older))), head: Some(older) });
    assert_eq!(known, before);
}

#[test]
fn a_location_that_asked_for_parts_too_early_looks_again_before_a_load_goes_to_the_coordinator() {
    for (remembered_for_ms, source) in [(29_000, Source::Coordinator), (31_000, Source::Kv)] {
        let mut world = large(EAGER, 20);
        world.pass(60_000);
        let parts: Vec<_> = world.kv.keys(world.now).into_iter().filter(|key| key.contains("/o/")).collect();
        assert!(!parts.is_empty());
        world.kv.forget_caches();
        for part in &parts {
            let too_early = world.kv.read(1, part, 86_400_000, Millis(0)).expect("an answer");
            assert!(too_early.is_none());
        }
        // As if it had asked so long ago, before any of them was put.
        world.kv.backdate(1, Millis(world.now.0 - remembered_for_ms));
        let loaded = world.ask(1, "{}", Format::Ndjson);
        assert_eq!((loaded.source, version(&loaded)), (source, 20), "{remembered_for_ms}");
    }
}
