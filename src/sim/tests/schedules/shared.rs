//! Shared spaces: who has left, who has an old grant, and ids that are used again.

use super::*;
use crate::{
    fronts::headwater::answer::Format,
    limits,
    role::Role,
    sim::{check::Deed, location::Reader},
};

const ALICE: usize = 0;
const BOB: usize = 1;

/// A published space of alice's with bob as a writer, and a client each: alice's is 0 and bob's 1. All locations know it.
fn team() -> (World, usize) {
    let mut world = World::new(&Settings { publication: SMALL, clients: 0, ..Settings::eager(1) });
    let team = world.add_shared_space("team", ALICE);
    world.add_private_space(BOB);
    world.administer(ALICE, team, &Deed::SetMember(BOB, Role::Writer)).expect("she is its owner");
    world.add_client(ALICE, team);
    world.add_client(BOB, team);
    for index in 0..14 {
        edit(&mut world, ALICE, &format!("r{index:02}"));
    }
    world.settle(60);
    read_everywhere(&mut world);
    (world, team)
}

fn edit(world: &mut World, client: usize, id: &str) {
    let space = world.clients[client].space;
    let row = Row { count: 0, tag: 0, filler: FILLER };
    let (mark, changes) = world.spaces[space].oracle.plan(vec![Edit::Put(name(id), row)]);
    world.clients[client].queue(changes, mark);
    let _ = world.push(client, false);
}

fn read_everywhere(world: &mut World) {
    world.pass(1);
    for client in 0..2 {
        world.renew_grant(client);
        for location in 0..3 {
            let _ = world.pull(client, location, Format::Ndjson);
        }
    }
}

/// What a new device of `user` is answered with `grant`.
fn load(world: &mut World, user: usize, grant: Option<String>, location: usize) -> Result<String, ApiError> {
    let space = world.clients[0].space;
    let request = PullRequest::from_body(b"{}", &world.spaces[space].hash).expect("a pull");
    let reader = Reader { user, space, grant };
    let answer = world.answer(&reader, location, ("{}", &request), Format::Ndjson, None);
    answer.body.map(|wire| wire.text().to_owned())
}

#[test]
fn h06_an_id_that_is_used_again_shows_nobody_what_is_not_theirs() {
    let (mut world, team) = team();
    let old = [world.clients[ALICE].grant.clone(), world.clients[BOB].grant.clone()];
    world.begin_again(team, BOB, world.now);
    let new = world.ask_grant(BOB, team);
    assert_eq!(world.ask_grant(ALICE, team), None, "she is no member of it");
    let bobs = edit_of(&mut world, "bobs");
    world.pass(31_000);
    let mut hers_served = 0;
    for published in [false, true] {
        for location in 0..3 {
            let mine = load(&mut world, BOB, new.clone(), location).expect("it is his");
            assert!(mine.contains(&bobs) && !mine.contains("\"r00\""), "{mine}");
            // What the location knows of the old one is hers as long as her grant is, unless it has heard that there is something
            // newer: then the coordinator is asked, and refuses.
            match load(&mut world, ALICE, old[ALICE].clone(), location) {
                Ok(hers) => {
                    assert!(hers.contains("\"r00\"") && !hers.contains(&bobs), "{hers}");
                    hers_served += 1;
                }
                Err(error) => assert!(matches!(error, ApiError::Forbidden(_)), "{error:?}"),
            }
            assert_eq!(
                load(&mut world, ALICE, new.clone(), location),
                Err(ApiError::GrantRequired),
                "his grant"
            );
        }
        if !published {
            world.settle(60);
            world.kv.forget_caches();
        }
    }
    assert!(hers_served > 0, "where nobody has heard of the new space, the old one is read");
    world.pass(limits::GRANT_MS);
    for (user, grant) in old.into_iter().enumerate() {
        for location in 0..3 {
            assert_eq!(
                load(&mut world, user, grant.clone(), location),
                Err(ApiError::GrantRequired),
                "it ended"
            );
        }
    }
}

/// Bob writes into the space as it is now; gives the name of the record.
fn edit_of(world: &mut World, id: &str) -> String {
    world.clients[BOB].start_over();
    world.clients[BOB].grant = None;
    world.renew_grant(BOB);
    world.pull(BOB, 0, Format::Json).expect("it is his");
    edit(world, BOB, id);
    format!("\"{id}\"")
}

#[test]
fn h20_a_client_id_that_another_member_goes_on_with_is_another_client() {
    let (mut world, team) = team();
    let copy = world.copy_client(ALICE);
    world.restore_client(BOB, &copy);
    for client in [BOB, ALICE, BOB, ALICE] {
        edit(&mut world, client, "r03");
        world.pull(client, 1, Format::Json).expect("a pull");
    }
    for _ in 0..3 {
        let _ = world.push(BOB, false);
    }
    assert!(
        world.clients.iter().all(|client| client.outbox.is_empty()),
        "nobody's numbers are in the other's way"
    );
    assert_eq!(world.spaces[team].oracle.role(BOB), Some(Role::Writer));
}

#[test]
fn h24_a_removed_member_writes_nothing_more_and_reads_what_locations_know_until_the_grant_ends() {
    let (mut world, team) = team();
    let grant = world.clients[BOB].grant.clone();
    world.administer(ALICE, team, &Deed::RemoveMember(BOB)).expect("she is its owner");
    let before = world.spaces[team].oracle.here().clone();
    edit(&mut world, BOB, "his");
    assert_eq!(world.clients[BOB].outbox.len(), 1, "it is refused, and he keeps it");
    assert_eq!(*world.spaces[team].oracle.here(), before);
    assert_eq!(world.ask_grant(BOB, team), None, "and there is no other grant");
    assert!(load(&mut world, BOB, grant.clone(), 0).is_ok(), "the location asks nobody");
    world.locations[1].forget_memory();
    world.locations[1].forget_cache();
    world.kv.empty();
    let refused = load(&mut world, BOB, grant.clone(), 1);
    assert!(matches!(refused, Err(ApiError::Forbidden(_))), "who has to be asked refuses: {refused:?}");
    world.pass(limits::GRANT_MS);
    assert_eq!(load(&mut world, BOB, grant, 0), Err(ApiError::GrantRequired), "it has ended");
    assert!(world.clients[ALICE].grant.is_some());
}

#[test]
fn h24_a_deleted_space_takes_and_tells_nothing_and_is_read_until_the_last_grant_ends() {
    let (mut world, team) = team();
    let grant = world.clients[BOB].grant.clone();
    let refused = world.administer(BOB, team, &Deed::Delete);
    assert!(matches!(refused, Err(ApiError::Forbidden(_))), "{refused:?}");
    world.administer(ALICE, team, &Deed::Delete).expect("she is its owner");
    for client in [ALICE, BOB] {
        edit(&mut world, client, "r00");
        assert_eq!(world.push(client, false), Err(ApiError::Gone));
        assert_eq!(world.clients[client].outbox.len(), 1);
        assert_eq!(world.ask_grant(client, team), None);
    }
    assert_eq!(world.administer(ALICE, team, &Deed::SetMember(BOB, Role::Owner)), Err(ApiError::Gone));
    assert!(load(&mut world, BOB, grant.clone(), 0).is_ok(), "the location asks nobody");
    world.settle(60);
    world.pass(limits::GRANT_MS);
    assert_eq!(load(&mut world, BOB, grant, 0), Err(ApiError::GrantRequired), "it has ended");
}
