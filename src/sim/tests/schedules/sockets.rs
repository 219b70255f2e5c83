//! Clients that change over between sockets and HTTP, and sockets that end in the middle of something.

use super::*;
use crate::{
    call::Call,
    fronts::headwater::answer::Format,
    sim::{
        check::{Change, Take},
        client::OUTBOX,
        messages::Asks,
        network::SentPush,
    },
    version::ConflictId,
};

/// A client that knows the space, with an open socket.
fn connected() -> World {
    let mut world = small();
    world.pull(0, 0, Format::Json).expect("an answer");
    world.connect(0);
    assert!(world.connection_of(0).is_some(), "nobody has refused it");
    world
}

fn queue(world: &mut World, id: &str) -> u64 {
    let row = Row { count: 0, tag: 1, filler: 0 };
    let (mark, changes) = world.spaces[0].oracle.plan(vec![Edit::Put(name(id), row)]);
    world.clients[0].queue(changes, mark);
    mark
}

/// Sends what is queued over the socket. It is on its way.
fn say_push(world: &mut World) {
    let connection = world.connection_of(0).expect("a socket");
    let (sender, sent) = (world.next_request(0, OUTBOX), world.compose(0));
    world.say(connection, Asks::Push(sender, sent.into()));
}

/// Everything on its way arrives, and is answered.
fn arrive(world: &mut World) {
    while let Some(at) = world.network.next_arrival() {
        let wait = at.since(world.now);
        world.pass(wait);
        world.deliver();
        world.settle_pushes(0);
    }
}

#[test]
fn i2_a_queue_changes_over_between_socket_and_http_in_its_middle_and_nothing_is_lost_or_repeated() {
    let mut world = connected();
    // Over the socket; by HTTP; over the socket, whose answer is lost with the instance; by HTTP again; over the next socket.
    queue(&mut world, "a");
    say_push(&mut world);
    arrive(&mut world);
    queue(&mut world, "b");
    world.push(0, false).expect("an answer");
    let lost = queue(&mut world, "c");
    say_push(&mut world);
    let connection = world.connection_of(0).expect("a socket");
    world.message_comes(connection);
    world.settle_pushes(0);
    assert!(world.spaces[0].oracle.is_settled(lost), "it was done");
    world.disconnect(0);
    assert_eq!(world.clients[0].outbox.len(), 1, "and nobody was told");
    queue(&mut world, "d");
    world.push(0, false).expect("an answer");
    world.connect(0);
    queue(&mut world, "e");
    say_push(&mut world);
    arrive(&mut world);
    assert!(world.clients[0].outbox.is_empty(), "{:?}", world.clients[0].outbox);
    let here = world.spaces[0].oracle.here().version;
    assert_eq!(here.get(), 5, "each was applied once");
}

#[test]
fn i2_what_comes_over_a_socket_after_its_end_is_not_done() {
    let mut world = connected();
    let mark = queue(&mut world, "a");
    say_push(&mut world);
    // Its client is gone before the message has come, or the server has ended the socket.
    let connection = world.connection_of(0).expect("a socket");
    world.spaces[0].host.lose_sockets(0);
    world.message_comes(connection);
    world.settle_pushes(0);
    assert!(!world.spaces[0].oracle.is_settled(mark));
    assert_eq!(world.clients[0].outbox.len(), 1, "the client still has it");
    assert!(world.connection_of(0).is_none(), "and knows that the socket has ended");
    world.push(0, false).expect("an answer");
    assert!(world.spaces[0].oracle.is_settled(mark));
}

#[test]
fn i2_a_resolution_over_a_socket_is_the_push_that_it_is_short_for() {
    let mut world = connected();
    queue(&mut world, "a");
    world.push(0, false).expect("an answer");
    let conflict = ConflictId::parse("x_0mwrnsa6yk3v9q2_7").expect("a conflict");
    let resolve = Change::Resolve(conflict, Take::Theirs);
    let (mark, text) = world.spaces[0].oracle.plan_behind(vec![resolve], &[]);
    world.clients[0].queue(text, mark);
    let body = world.clients[0].resolution_body().expect("it does nothing else");
    assert!(body.contains(r#""resolutions":[{"conflict":"x_"#) && !body.contains("op"), "{body}");
    let connection = world.connection_of(0).expect("a socket");
    let (sender, sent) = (world.next_request(0, OUTBOX), world.compose(0));
    let sent = SentPush { body, call: Call::Resolve, ..sent };
    world.say(connection, Asks::Push(sender, sent.into()));
    arrive(&mut world);
    assert!(world.clients[0].outbox.is_empty(), "there is no such conflict, which was told");
    assert!(world.spaces[0].oracle.is_settled(mark));
}
