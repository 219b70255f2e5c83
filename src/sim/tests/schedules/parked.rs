//! What becomes of mutations that are parked, and of those that rest on them. The oracle checks every result.

use std::rc::Rc;

use super::*;
use crate::{
    fronts::headwater::answer::Format,
    sim::{
        check::{Change, Take},
        client::Records,
    },
    version::ConflictId,
};

const PULLS: [Format; 2] = [Format::Json, Format::Ndjson];

/// Client 0 has edited `r` from a base that client 1 has overtaken, and made `new`, in one mutation.
fn parked() -> World {
    let mut world = small();
    put(&mut world, "r", 1);
    for client in 0..3 {
        world.pull(client, 0, Format::Json).expect("a pull");
    }
    queue(&mut world, 1, vec![Change::Edit(Edit::Put(name("r"), row(2)))]);
    world.push(1, false).expect("an answer");
    let stale = Edit::Put(name("r"), row(3));
    queue(&mut world, 0, vec![Change::Edit(stale), Change::Edit(Edit::Put(name("new"), row(4)))]);
    world
}

fn row(filler: usize) -> Row {
    Row { count: 0, tag: 0, filler }
}

fn queue(world: &mut World, client: usize, changes: Vec<Change>) {
    let client = &mut world.clients[client];
    let waiting: Vec<u64> = client.outbox.iter().map(|queued| queued.mark).collect();
    let (mark, text) = world.spaces[0].oracle.plan_behind(changes, &waiting);
    client.queue(text, mark);
}

/// The conflicts that a device knows of.
fn known(records: &Records) -> Vec<ConflictId> {
    let known = records.keys().filter(|(collection, _)| collection == "$conflicts");
    known.filter_map(|(_, id)| ConflictId::parse(id)).collect()
}

/// What a device has of the record `id`, whatever the brand.
fn filler_of(world: &World, client: usize, id: &str) -> Option<usize> {
    let value = world.clients[client].records.get(&name(id))?;
    Some(value.matches('x').count())
}

fn all_pull(world: &mut World) {
    world.settle(20);
    world.kv.forget_caches();
    world.pass(31_000);
    for client in 0..3 {
        world.pull(client, client, PULLS[client % 2]).expect("a pull");
    }
}

#[test]
fn h03_what_follows_a_parked_mutation_waits_with_it_and_mine_brings_both() {
    // Whether the follower is sent with it, behind a lost answer, or behind one that was received and acknowledged.
    for when in 0..3 {
        let mut world = parked();
        if when < 2 {
            queue(&mut world, 0, vec![Change::Edit(Edit::Fill(name("new"), 40))]);
        }
        if when == 0 {
            world.push(0, false).expect("an answer");
        } else {
            let follower = (when == 1).then(|| world.clients[0].outbox.pop_back()).flatten();
            world.push(0, when == 1).expect("an answer");
            world.spaces[0].host.kill();
            world.clients[0].outbox.extend(follower);
            world.push(0, false).expect("an answer");
        }
        all_pull(&mut world);
        assert_eq!(filler_of(&world, 2, "new"), None, "{when}: nothing of it is there");
        let conflict = known(&world.clients[2].records);
        assert_eq!(conflict.len(), 1, "{when}: every device knows of one conflict");
        queue(&mut world, 2, vec![Change::Resolve(conflict[0].clone(), Take::Mine)]);
        world.push(2, false).expect("an answer");
        all_pull(&mut world);
        let filler = if when < 2 { 40 } else { 4 };
        assert_eq!(filler_of(&world, 1, "new"), Some(filler), "{when}");
        assert_eq!(known(&world.clients[0].records), [], "{when}");
    }
}

#[test]
fn h03_what_a_parked_resolution_would_write_is_ground_that_its_followers_wait_for() {
    let mut world = parked();
    world.push(0, false).expect("an answer");
    all_pull(&mut world);
    let conflict = known(&world.clients[0].records).remove(0);
    // Somebody is faster once more, so that the resolution is parked, with a record that only it names.
    queue(&mut world, 1, vec![Change::Edit(Edit::Put(name("r"), row(5)))]);
    world.push(1, false).expect("an answer");
    let merged = vec![Edit::Put(name("r"), row(6)), Edit::Put(name("apart"), row(7))];
    queue(&mut world, 0, vec![Change::Resolve(conflict, Take::Records(merged))]);
    queue(&mut world, 0, vec![Change::Edit(Edit::Fill(name("apart"), 50))]);
    world.push(0, false).expect("an answer");
    all_pull(&mut world);
    let open = known(&world.clients[1].records);
    assert_eq!(open.len(), 2, "the resolution is parked, and the conflict still open");
    queue(&mut world, 0, vec![Change::Resolve(open[1].clone(), Take::Mine)]);
    world.push(0, false).expect("an answer");
    all_pull(&mut world);
    assert_eq!(filler_of(&world, 1, "apart"), Some(50), "the follower's edit is not lost");
    assert_eq!(known(&world.clients[1].records), []);
}

#[test]
fn h27_a_conflict_is_a_record_that_every_layer_brings_and_its_end_too() {
    let mut world = parked();
    let before = world.spaces[0].oracle.here().clone();
    world.push(0, false).expect("an answer");
    assert!(
        *world.spaces[0].oracle.here() > before,
        "it is a step, so no reader is told that nothing is new"
    );
    all_pull(&mut world);
    let conflicts: Vec<_> = (0..3).map(|client| known(&world.clients[client].records)).collect();
    assert!(conflicts.iter().all(|known| known.len() == 1 && *known == conflicts[0]), "{conflicts:?}");
    queue(&mut world, 1, vec![Change::Resolve(conflicts[0][0].clone(), Take::Theirs)]);
    world.push(1, false).expect("an answer");
    all_pull(&mut world);
    assert!((0..3).all(|client| known(&world.clients[client].records).is_empty()));
    assert_eq!(filler_of(&world, 0, "r"), Some(2), "what was overtaken stays so");
}

#[test]
fn h28_of_two_devices_that_resolve_one_conflict_the_second_is_told_and_its_queue_goes_on() {
    for (first, second) in [(Take::Mine, Take::Theirs), (Take::Theirs, Take::Mine), (Take::Mine, Take::Mine)]
    {
        let mut world = parked();
        world.push(0, false).expect("an answer");
        all_pull(&mut world);
        let conflict = known(&world.clients[1].records).remove(0);
        let filler = if matches!(first, Take::Mine) { 3 } else { 2 };
        queue(&mut world, 1, vec![Change::Resolve(conflict.clone(), first)]);
        queue(&mut world, 2, vec![Change::Resolve(conflict, second)]);
        queue(&mut world, 2, vec![Change::Edit(Edit::Put(name("behind"), row(9)))]);
        world.push(1, false).expect("an answer");
        world.push(2, false).expect("an answer, not an error");
        assert!(world.clients[2].outbox.is_empty(), "nothing blocks what is queued behind it");
        all_pull(&mut world);
        assert_eq!(filler_of(&world, 0, "r"), Some(filler), "what was decided first holds");
        assert_eq!(filler_of(&world, 0, "behind"), Some(9));
    }
}

/// What the client gave up is on its way all the same, and arrives behind a push that acknowledges what is parked.
#[test]
fn h03_a_late_push_does_not_apply_what_was_made_behind_a_parked_mutation() {
    let mut world = small();
    world.pull(0, 0, Format::Json).expect("a pull");
    let put = |tag| Edit::Put(name("a"), Row { count: 0, tag, filler: 1 });
    let (mark, changes) = world.spaces[0].oracle.plan(vec![put(1)]);
    world.clients[1].queue(changes, mark);
    world.push(1, false).expect("an answer");
    let mut waiting = Vec::new();
    for edit in [
        put(2),
        Edit::Delete(name("b")),
        Edit::Delete(name("c")),
        Edit::Delete(name("d")),
        Edit::Add(name("a"), 1),
    ] {
        let (mark, changes) = world.spaces[0].oracle.plan_behind(vec![Change::Edit(edit)], &waiting);
        world.clients[0].queue(changes, mark);
        waiting.push(mark);
    }
    let late = world.compose(0);
    assert_eq!(late.marks.len(), 5);
    for _ in 0..2 {
        // Two mutations at once.
        world.clients[0].requests = 3;
        world.push(0, false).expect("an answer");
    }
    assert_eq!(world.clients[0].outbox.len(), 1, "the last one waits");
    world.push_arrives(0, &Rc::new(late)).expect("it is taken");
    world.settle_pushes(0);
}
