//! A put whose end nobody knows, and a KV that lost something (H7).

use super::*;
use crate::snapshot::head::PartName;

/// Forgets what the locations know, lets one read KV with nothing to hold it, and tells the coordinator.
fn report(world: &mut World) {
    world.kv.forget_caches();
    for location in &mut world.locations {
        location.forget_memory();
        location.forget_cache();
    }
    let _ = world.ask(0, "{}", Format::Ndjson);
}

/// How many objects KV's head names that KV does not have.
fn missing(world: &World) -> usize {
    let key = |part: &PartName| Scope::private(world.space()).object_key(&part.sha256.0);
    head(world).parts().filter(|part| world.kv.central(&key(part), world.now).is_none()).count()
}

#[test]
fn h07_a_first_put_that_lands_after_the_second_is_put_right() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    world.pass(BY_DEMAND.private_max_delay_ms);
    world.kv.script.push_back(PutFault::Late(100_000));
    world.fire_alarm();
    put(&mut world, "s", 100);
    world.settle(1);
    assert_eq!(head_version(&world), 2, "the second put");
    world.pass(45_000);
    assert_eq!(head_version(&world), 1, "the first one lands");
    assert_settles(&mut world, "it is put once more");
    assert_eq!(head_version(&world), 2);
}

#[test]
fn h07_a_put_that_happened_without_an_answer_is_settled_too() {
    for fault in [PutFault::Unanswered, PutFault::Lost, PutFault::Late(119_000), PutFault::Refused] {
        let mut world = by_demand();
        put(&mut world, "r", 100);
        world.kv.script.push_back(fault);
        assert_settles(&mut world, &format!("{fault:?}"));
        let row = world.spaces[0].host.core(world.now).publisher().row().clone();
        assert_eq!((row.put_again_at, row.retry_at, row.attempts), (None, None, 0));
    }
}

#[test]
fn h07_a_put_of_an_instance_that_died_may_land_late() {
    for late in [1_000, 60_000, 119_000] {
        let mut world = by_demand();
        put(&mut world, "r", 100);
        world.pass(15 * 60_000);
        world.kv.script.push_back(PutFault::Late(late));
        world.spaces[0].host.begin_turn(world.now);
        while world.kv.puts.is_empty() {
            world.step(0);
        }
        world.spaces[0].host.kill();
        // Enough to be published at once, were it not for the put that may still land.
        put(&mut world, "s", 200_000);
        put(&mut world, "t", 200_000);
        assert_settles(&mut world, &format!("the put lands {late} ms after its sender has died"));
        world.pass(late);
        assert_eq!(head_version(&world), 3);
    }
}

#[test]
fn h07_an_emptied_namespace_is_filled_again_when_a_reader_reports_it() {
    let mut world = large();
    world.pass(3_600_000);
    world.kv.empty();
    report(&mut world);
    assert_settles(&mut world, "a reader saw nothing");
    world.pull(1, 1, Format::Ndjson).expect("a first load");
    assert_eq!(world.clients[1].records, world.spaces[0].oracle.records());
    assert!(world.spaces[0].host.requests < 20);
}

#[test]
fn h07_a_namespace_emptied_while_a_base_is_built_is_filled_whole() {
    let mut world = large();
    fill(&mut world, 15);
    world.pass(3_600_000);
    world.spaces[0].host.begin_turn(world.now);
    let puts = world.kv.puts.len();
    while world.kv.puts.len() < puts + 2 {
        world.step(0);
    }
    world.kv.empty();
    report(&mut world);
    while world.step(0) {}
    assert_settles(&mut world, "a reader saw nothing");
    assert_eq!(missing(&world), 0);
}

#[test]
fn h07_a_restarted_object_that_finds_no_head_forgets_what_it_believed_of_objects() {
    let mut world = large();
    world.pass(10 * 60_000);
    world.kv.empty();
    world.spaces[0].host.kill();
    put(&mut world, "r", 10);
    assert_settles(&mut world, "the first publication of the new instance");
    let loaded = world.ask(1, "{}", Format::Ndjson);
    assert!(loaded.body.expect("an answer").text().ends_with("}\n"));
    assert_eq!(missing(&world), 0, "I5: the head names objects that the same look has shown to be gone");
}

#[test]
fn h07_a_reported_old_head_is_put_right() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    assert_settles(&mut world, "version 1");
    let old = world.kv.puts.last().cloned().expect("a put");
    put(&mut world, "s", 100);
    assert_settles(&mut world, "version 2");
    world.pass(3_600_000);
    world.kv.put(&old.0, (*old.1).clone(), world.now);
    world.skip_puts();
    assert_eq!((head_version(&world), world.spaces[0].host.alarm), (1, None), "nobody knows yet");
    report(&mut world);
    assert_settles(&mut world, "a reader saw an old head");
    assert_eq!(head_version(&world), 2);
}

#[test]
fn h07_a_missing_object_is_put_again_an_hour_after_its_put_and_not_before() {
    let mut world = World::new(&Settings::by_demand(1));
    fill(&mut world, 15);
    assert_settles(&mut world, "a base");
    let part = head(&world).base.expect("a base").parts[0].clone();
    let key = Scope::private(world.space()).object_key(&part.sha256.0);
    world.kv.evict(&key, world.now);
    world.pass(50 * 60_000);
    report(&mut world);
    assert_eq!(world.spaces[0].host.alarm, None, "KV may still say so of an object that is there");
    world.pass(15 * 60_000);
    report(&mut world);
    assert_settles(&mut world, "a reader missed an object");
    assert!(world.kv.central(&key, world.now).is_some());
}

#[test]
fn h15_storage_that_went_back_is_found_out_by_the_first_publication() {
    let mut world = eager();
    put(&mut world, "r", 100);
    let old = world.spaces[0].host.copy_of_storage(world.now);
    put(&mut world, "r", 200);
    put(&mut world, "r", 300);
    assert_settles(&mut world, "version 3");
    let before = head(&world).position();
    world.pass(60_000);
    restore(&mut world, old);
    assert_settles(&mut world, "after the restore");
    assert!(head(&world).position() > before, "{} {before}", head(&world).position());
    assert!(head(&world).epoch > before.epoch, "version 2 must not mean two things");
}

#[test]
fn h07_a_put_settles_only_if_it_was_made_when_the_earlier_one_had_landed() {
    let mut world = by_demand();
    put(&mut world, "r", 100);
    let (t0, settle) = (world.now, 120_000);
    let core = world.spaces[0].host.core(t0);
    core.begin_turn(t0);
    core.next_effect(t0);
    core.head_was_read(None, t0, 1);
    core.next_effect(t0);
    core.head_was_put(PutOutcome::Unknown, t0);
    let made = t0.plus(settle - 10);
    core.begin_turn(made);
    let effect = core.next_effect(made);
    assert!(matches!(effect, Effect::PutHead { .. }), "{effect:?}");
    core.head_was_put(PutOutcome::Done, t0.plus(settle + 10));
    assert!(core.publisher().row().put_again_at.is_some(), "the first put may have landed after this one");
}

#[test]
fn h07_an_empty_space_of_a_later_epoch_is_published_also_after_a_crash() {
    let mut world = eager();
    let empty = world.spaces[0].host.copy_of_storage(world.now);
    let start = world.spaces[0].host.core(world.now).position();
    put(&mut world, "r", 100);
    assert_settles(&mut world, "the first epoch");
    world.spaces[0].host.restore(empty);
    world.spaces[0].host.alarm = None;
    world.spaces[0].oracle.go_back_to(start);
    world.spaces[0].oracle.forget_published();
    let later = world.spaces[0].host.reset_epoch(world.now, world.now).expect("an epoch");
    world.spaces[0].oracle.learn_epoch(&later.epoch);
    world.spaces[0].host.begin_turn(world.now.plus(1));
    world.spaces[0].host.kill();
    world.settle(60);
    let durable = world.spaces[0].host.core(world.now).position();
    assert_eq!(metadata(&world).map(|metadata| metadata.position()), Some(durable), "I8");
}

#[test]
fn i4_what_storage_refused_to_note_memory_does_not_know_either() {
    let mut world = eager();
    put(&mut world, "r", 100);
    world.pass(1_000);
    world.spaces[0].host.begin_turn(world.now);
    world.step(0);
    while head_version(&world) == 0 {
        assert!(world.step(0), "the head is put in this turn");
    }
    world.spaces[0].host.section_fault = Some(SectionFault::Refused(1));
    while world.step(0) {}
    let known = world.spaces[0].host.core(world.now).publisher().row().published.clone();
    assert_eq!(known, None, "an instance that begins now would not know it, and published would fall");
    assert_settles(&mut world, "the head is put once more");
}

#[test]
fn h07_a_put_of_which_storage_could_not_note_that_it_is_unsettled_does_not_stay_over_a_later_one() {
    for step_ms in [10, 600] {
        let mut world = eager();
        put(&mut world, "r0", 100);
        assert_settles(&mut world, "the first head");
        world.pass(5_000);
        put(&mut world, "r1", 100);
        let wait = world.spaces[0].host.alarm.expect("an alarm").since(world.now);
        world.pass(wait);
        world.kv.script.push_back(PutFault::Late(3_900));
        let puts = world.kv.puts.len();
        world.spaces[0].host.begin_turn(world.now);
        while world.kv.puts.len() == puts {
            assert!(world.step(0), "the head is put in this turn");
        }
        world.spaces[0].host.section_fault = Some(SectionFault::Refused(1));
        world.step(0);
        world.pass(step_ms);
        put(&mut world, "r2", 100);
        world.settle(60);
        world.pass(10_000);
        assert_settles(&mut world, "nothing that was put earlier lands any more");
    }
}
