//! What is published: runs that take several turns, deletions that are forgotten, storage that went back.

use super::*;
use crate::{fronts::headwater::answer::Format, sim::host::SectionFault};

#[test]
fn h09_a_base_that_takes_several_turns_is_exact_for_every_head_that_names_it() {
    for gap in 0.. {
        for dies in [false, true] {
            let mut world = small();
            for record in 0..14 {
                put(&mut world, &format!("r{record:02}"), FILLER);
            }
            world.pass(1_000);
            let mut turns = 0;
            let mut halves = 0;
            let mut moved = false;
            while world.spaces[0].host.in_turn() || world.spaces[0].host.alarm.is_some() {
                if halves == gap {
                    // One is in the first part, the other in the last, which is not yet cut.
                    put(&mut world, "r00", FILLER);
                    put(&mut world, "r13", FILLER);
                    moved = true;
                    if dies {
                        world.spaces[0].host.kill();
                    }
                }
                if world.spaces[0].host.in_turn() {
                    world.step(0);
                } else {
                    world.pass(1_000);
                    world.spaces[0].host.begin_turn(world.now);
                    turns += 1;
                }
                halves += 1;
                assert!(halves < 100, "I8");
            }
            if !moved {
                assert!(gap > 10 && turns >= 4 && base_parts(&world) >= 4, "{gap} {turns}");
                return;
            }
            // The oracle has compared every head with its version.
            world.pull(1, 1, Format::Ndjson).expect("a first load");
            assert_eq!(world.clients[1].records, world.spaces[0].oracle.records());
        }
    }
}

#[test]
fn h10b_a_deletion_forgotten_between_any_two_pages_does_not_bring_the_record_back() {
    for is_increment in [false, true] {
        for pages in 1.. {
            let mut world = filled(14);
            // Without KV the coordinator answers page by page.
            world.kv.faults.reads = 100;
            if is_increment {
                world.pull(1, 0, Format::Json).expect("a first load");
                for record in 0..14 {
                    put(&mut world, &format!("r{record:02}"), FILLER);
                }
            }
            let mut ended = false;
            for _ in 0..pages {
                ended |= world.pull_once(1, 0, Format::Json, None) == Ok(true);
            }
            if ended {
                assert!(pages > 4, "{pages} pages");
                break;
            }
            delete(&mut world, "r01");
            delete(&mut world, "r12");
            world.settle(60);
            world.pass(61_000);
            world.kv.faults.reads = 0;
            put(&mut world, "r05", 1);
            world.settle(60);
            assert!(horizon(&mut world) > Version::ZERO, "the deletions are forgotten");
            world.kv.faults.reads = 100;
            world.pull(1, 0, Format::Json).expect("the rest");
            assert_eq!(world.clients[1].records, world.spaces[0].oracle.records());
        }
    }
}

/// What may go wrong at one step of the turn that finds it out.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Section(SectionFault),
    Read,
    Death,
}

#[test]
fn h15_whatever_fails_while_storage_that_went_back_is_found_out_no_position_means_two_things() {
    let troubles = [
        Trouble::None,
        Trouble::Section(SectionFault::Refused(1)),
        Trouble::Section(SectionFault::Lost),
        Trouble::Section(SectionFault::Kept),
        Trouble::Read,
        Trouble::Death,
    ];
    for trouble in troubles {
        for at in 0..6 {
            went_back(trouble, at);
        }
    }
}

fn went_back(trouble: Trouble, at: usize) {
    let mut world = small();
    put(&mut world, "r", 1);
    let old = world.spaces[0].host.copy_of_storage(world.now);
    put(&mut world, "r", 2);
    put(&mut world, "r", 3);
    world.settle(20);
    let before = head(&world).position();
    world.pass(60_000);
    world.spaces[0].host.restore(old);
    let position = world.spaces[0].host.core(world.now).position();
    world.spaces[0].oracle.forget_published();
    world.spaces[0].oracle.go_back_to(position);
    let puts = world.kv.puts.len();
    let (mark, changes) =
        world.spaces[0].oracle.plan(vec![Edit::Put(name("s"), Row { count: 0, tag: 0, filler: 1 })]);
    world.clients[1].queue(changes, mark);
    world.push(1, false).expect("an answer");
    for half in 0..60 {
        if !world.spaces[0].host.in_turn() {
            let Some(alarm) = world.spaces[0].host.alarm else { break };
            world.pass(alarm.since(world.now));
        }
        if half == at {
            match trouble {
                Trouble::None => {}
                Trouble::Section(fault) => world.spaces[0].host.section_fault = Some(fault),
                Trouble::Read => world.kv.faults.reads = 100,
                Trouble::Death => world.spaces[0].host.kill(),
            }
        }
        if world.spaces[0].host.in_turn() {
            world.step(0);
        } else if world.spaces[0].host.alarm.is_some() {
            world.spaces[0].host.begin_turn(world.now);
        }
        world.kv.faults.reads = 0;
    }
    for (_, entry) in world.kv.puts[puts..].iter().filter(|(key, _)| key.ends_with("/head")) {
        let put = Head::decode(&entry.value, &Scope::private(world.space())).expect("a head").0;
        assert!(put.epoch > before.epoch, "{trouble:?} at {at}: {} means two things", put.position());
    }
    assert_eq!(
        head(&world).position(),
        world.spaces[0].host.core(world.now).position(),
        "I8: {trouble:?} at {at}"
    );
    world.pull(2, 0, Format::Json).expect("a pull");
    assert_eq!(world.clients[2].records, world.spaces[0].oracle.records());
}
