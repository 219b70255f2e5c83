//! When a publication is worth it.

use super::*;

/// Pulls that reach the coordinator.
fn pulls(world: &mut World, count: usize) {
    for _ in 0..count {
        world.ask(0, "{\"consistency\":\"strong\"}", Format::Json).body.expect("an answer");
    }
}

fn wait(world: &World) -> Option<u64> {
    world.spaces[0].host.alarm.map(|alarm| alarm.since(world.now))
}

#[test]
fn the_first_unpublished_change_is_published_after_the_longest_delay() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    assert_eq!(wait(&world), Some(BY_DEMAND.private_max_delay_ms));
    world.pass(5 * 3_600_000);
    put(&mut world, "s", 100);
    assert_eq!(wait(&world), Some(3_600_000), "a later change does not put it off");
    world.pass(3_600_000);
    assert!(world.fire_alarm());
    assert_eq!((head_version(&world), world.spaces[0].host.alarm), (2, None));
}

#[test]
fn fifty_answered_pulls_are_worth_a_publication() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    pulls(&mut world, 49);
    assert_eq!(wait(&world), Some(BY_DEMAND.private_max_delay_ms));
    pulls(&mut world, 1);
    assert_eq!(wait(&world), Some(1));
    assert_settles(&mut world, "fifty pulls");
    pulls(&mut world, 60);
    assert_eq!(world.spaces[0].host.alarm, None, "nothing new, nothing to publish");
}

#[test]
fn a_tail_that_would_not_fit_is_published_at_once() {
    let mut world = by_demand();
    put(&mut world, "r", 200_000);
    assert_eq!(wait(&world), Some(BY_DEMAND.private_max_delay_ms));
    put(&mut world, "s", 100_000);
    assert_eq!(wait(&world), Some(1));
}

#[test]
fn two_publications_are_never_closer_than_the_interval() {
    for mut world in [by_demand(), eager()] {
        let mut published: Vec<u64> = Vec::new();
        let interval = if world.spaces[0].host.running().is_some() { 0 } else { 1 };
        for round in 0..300 {
            put(&mut world, "r", round * 800);
            pulls(&mut world, 3);
            world.pass(700);
            let before = world.kv.puts.len();
            world.fire_alarm();
            if world.kv.puts[before..].iter().any(|(key, _)| key.ends_with("/head")) {
                published.push(world.now.0);
            }
        }
        let closest = published.windows(2).map(|pair| pair[1] - pair[0]).min().expect("two publications");
        let least = if published.len() > 30 { 1_000 } else { 30_000 };
        assert!(closest >= least && interval <= 1, "{closest} ms between two of {}", published.len());
    }
}

#[test]
fn eagerly_every_change_is_in_kv_within_the_interval() {
    let mut world = eager();
    for round in 1..5 {
        put(&mut world, "r", round);
        assert!(wait(&world).is_some_and(|wait| wait <= 1_000));
        world.settle(1);
        assert_eq!(head_version(&world), round as u64);
        world.pass(5_000);
    }
}

#[test]
fn when_the_days_writes_are_used_up_nothing_is_tried_before_midnight() {
    let mut world = eager();
    world.kv.script.push_back(PutFault::Exhausted);
    put(&mut world, "r", 100);
    world.settle(1);
    put(&mut world, "s", 100);
    let midnight = (world.now.0 / DAY_MS + 1) * DAY_MS;
    assert_eq!(world.spaces[0].host.alarm, Some(Millis(midnight)));
    assert_settles(&mut world, "the next day");
}

#[test]
fn failures_are_repeated_ever_more_slowly_and_a_restart_does_not_forget_that() {
    let mut world = eager();
    put(&mut world, "r", 100);
    let mut waits = Vec::new();
    for _ in 0..8 {
        world.kv.script.push_back(PutFault::Refused);
        world.settle(1);
        world.spaces[0].host.kill();
        world.spaces[0].host.core(world.now);
        waits.push(wait(&world).expect("an alarm"));
    }
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    put(&mut world, "s", 100);
    assert_eq!(wait(&world), waits.last().copied(), "a push does not hurry it");
    assert_settles(&mut world, "KV is back");
}

#[test]
fn an_alarm_that_never_came_is_set_again_by_the_next_event() {
    let mut world = eager();
    put(&mut world, "r", 100);
    let lost = world.spaces[0].host.alarm.take();
    world.pass(10 * 60_000);
    put(&mut world, "s", 100);
    assert!(world.spaces[0].host.alarm > lost, "the platform drops an alarm after six failures");
    assert_settles(&mut world, "a lost alarm");
}

#[test]
fn i8_a_space_that_goes_idle_is_published_by_its_alarm_although_nobody_remembers_why() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    world.spaces[0].host.kill();
    world.pass(BY_DEMAND.private_max_delay_ms);
    assert!(world.fire_alarm());
    assert_eq!((head_version(&world), world.spaces[0].host.alarm), (1, None));
}
