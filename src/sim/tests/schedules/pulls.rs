//! What readers are answered while the space moves under them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    call::Ask,
    fronts::headwater::answer::Format,
    sim::{DAY_MS, host::SectionFault},
    version::Position,
};

#[test]
fn h11_a_load_goes_on_elsewhere_whatever_became_of_the_head_it_began_with() {
    let parts = base_parts(&filled(14));
    assert!(parts >= 4, "{parts} parts");
    for taken in 1..parts {
        for are_gone in [false, true] {
            for is_forgotten in [false, true] {
                load_goes_on(taken, are_gone, is_forgotten);
            }
        }
    }
}

fn load_goes_on(taken: usize, are_gone: bool, is_forgotten: bool) {
    let mut world = filled(14);
    assert_eq!(world.pull_once(1, 0, Format::Ndjson, Some(taken)), Ok(false));
    let base = head(&world).base;
    delete(&mut world, "r00");
    delete(&mut world, "r13");
    for record in 0..6 {
        put(&mut world, &format!("s{record}"), FILLER);
    }
    world.settle(60);
    if is_forgotten {
        world.pass(61_000);
        put(&mut world, "t", 1);
        world.settle(60);
        assert!(horizon(&mut world) > Version::ZERO);
    }
    let now = head(&world);
    assert_ne!(now.base, base, "the head was replaced");
    if are_gone {
        let scope = Scope::private(world.space());
        let named: Vec<String> = now.parts().map(|part| scope.object_key(&part.sha256.0)).collect();
        for key in world.kv.keys(world.now) {
            if key.contains("/o/") && !named.contains(&key) {
                world.kv.evict(&key, world.now);
            }
        }
    }
    world.kv.forget_caches();
    world.pass(1);
    world.pull(1, 1, Format::Ndjson).expect("the rest");
    let why = format!("{taken} parts, gone {are_gone}, forgotten {is_forgotten}");
    assert_eq!(world.clients[1].records, world.spaces[0].oracle.records(), "{why}");
}

#[test]
fn h21_a_new_version_costs_one_request_per_location_whatever_the_number_of_readers() {
    let mut world = filled(14);
    for location in 0..3 {
        world.ask(location, "{}", Format::Ndjson).body.expect("an answer");
    }
    for round in 1..=5 {
        let at = world.spaces[0].oracle.here().clone();
        put(&mut world, "r03", round);
        let here = world.spaces[0].oracle.here().clone();
        let before = world.spaces[0].host.requests;
        for location in 0..3 {
            for reader in 0..50 {
                // All have heard of the new version; KV has not.
                let since = if reader % 5 == 0 { 0 } else { at.version.get() };
                let body = format!("{{\"epoch\":\"{}\",\"since\":{since},\"min\":\"{here}\"}}", at.epoch);
                let answer = world.ask(location, &body, Format::Ndjson);
                let text = answer.body.expect("an answer").text().to_owned();
                assert!(text.ends_with(&format!("\"version\":{}}}\n", here.version)), "{text}");
            }
        }
        assert_eq!(world.spaces[0].host.requests - before, 3, "version {}", here.version);
    }
}

/// The versions of each record, in the order in which `lines` bring them.
fn versions(lines: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in lines {
        if let Some(id) = line["id"].as_str() {
            let version = line["version"].as_u64().expect("a version");
            versions.entry(id.to_owned()).or_default().push(version);
        }
    }
    versions
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn h23_for_one_record_a_later_line_of_a_load_is_the_newer_one() {
    let mut world = filled(14);
    put(&mut world, "r03", 350);
    put(&mut world, "r04", 350);
    world.settle(60);
    put(&mut world, "r03", 1);
    delete(&mut world, "r04");
    world.settle(60);
    let published = head(&world);
    assert!(published.delta.is_some() && published.base.is_some());
    put(&mut world, "r03", 2);
    put(&mut world, "r04", 2);
    world.pass(1);
    let body = format!("{{\"min\":\"{}\"}}", world.spaces[0].oracle.here());
    let answer = world.ask(0, &body, Format::Ndjson).body.expect("an answer");
    let lines: Vec<Value> = answer.text().lines().map(parsed).collect();
    let seen = versions(&lines);
    assert_eq!(
        (seen["r03"].len(), seen["r04"].len()),
        (4, 4),
        "base, delta, tail and what is fresh: {seen:?}"
    );
    assert!(seen.values().all(|versions| versions.is_sorted()), "{seen:?}");
}

#[test]
fn h25_an_instance_that_cannot_write_does_not_say_that_it_has_nothing_as_new() {
    for hours in [0, 2] {
        let mut world = small();
        put(&mut world, "r", 1);
        world.settle(20);
        // As many epochs as claims may begin for now.
        for _ in 0..3 {
            let now = world.now;
            let core = world.spaces[0].host.core(now);
            let claimed = Position { version: core.position().version.next(), ..core.position() };
            assert_eq!(core.begin_epoch_after(&claimed, now, 1), Ok(true));
        }
        let epoch = world.spaces[0].host.core(world.now).position().epoch;
        world.spaces[0].oracle.learn_epoch(&epoch);
        world.pass(hours * DAY_MS / 24);
        let here = world.spaces[0].oracle.here().clone();
        let above = Position { version: here.version.next(), ..here.clone() };
        let claims = [
            Ask { epoch: Some(above.epoch.clone()), since: above.version, ..Ask::default() },
            Ask { min: Some(above.clone()), ..Ask::default() },
            Ask { held: Some(above.clone()), ..Ask::default() },
        ];
        for ask in &claims {
            world.spaces[0].host.section_fault = Some(SectionFault::Refused(1));
            let answer = world.ask_coordinator(ask);
            assert_eq!(answer, Err(ApiError::Internal), "its storage refuses: it was superseded");
            assert_eq!(world.spaces[0].host.core(world.now).position(), here, "and it begins no epoch");
        }
        let answer = world.ask_coordinator(&claims[0]);
        match hours {
            0 => {
                assert!(matches!(answer, Err(ApiError::PositionUnknown { .. })), "{answer:?}");
                let by_the_edge = world.ask_coordinator(&claims[2]);
                assert!(
                    by_the_edge.is_ok(),
                    "a client is not refused for what the edge holds: {by_the_edge:?}"
                );
            }
            _ => assert!(world.spaces[0].host.core(world.now).position() > above, "{answer:?}"),
        }
    }
}
