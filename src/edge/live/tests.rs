//! Messages of sockets: order, bounds, and what is held.

use super::*;
use crate::{config::Config, ids::UserHash, sim::START};

fn isolate() -> Isolate {
    Isolate::new(Config::read(|_| None).edge, &[], &[], false)
}

fn user(name: &str) -> UserHash {
    UserHash::new("issuer", name)
}

fn push(n: u64) -> String {
    format!(r#"{{"type":"push","n":{n},"body":{{}}}}"#)
}

fn hear(
    conversations: &mut Conversations<String>,
    isolate: &mut Isolate,
    socket: u32,
    text: &str,
) -> Result<(), Closing> {
    let whole = Some((text.to_owned(), text.len()));
    conversations.hear(isolate, (socket, &user("alice")), Some(text), whole)
}

/// A message of the first socket has been answered.
fn served(conversations: &mut Conversations<String>, isolate: &mut Isolate, message: &Message<String>) {
    conversations.served(isolate, (1, &user("alice")), message, None).expect("its user is not refused");
}

#[test]
fn messages_of_a_socket_are_served_one_after_the_other_and_sockets_beside_each_other() {
    let (mut conversations, mut isolate) = (Conversations::default(), isolate());
    for (socket, n) in [(1, 1), (1, 2), (2, 1), (1, 7)] {
        assert_eq!(hear(&mut conversations, &mut isolate, socket, &push(n)), Ok(()));
    }
    let first = conversations.next(1, START).expect("its turn");
    assert_eq!(first.n, 1);
    assert!(conversations.next(1, START).is_none(), "the first is being served");
    assert_eq!(hear(&mut conversations, &mut isolate, 1, &push(8)), Ok(()));
    assert_eq!(conversations.next(2, START).map(|message| message.n), Some(1));
    for n in [2, 7, 8] {
        let message = if n == 2 { &first } else { &conversations.next(1, START).expect("its turn") };
        served(&mut conversations, &mut isolate, message);
        if n == 2 {
            let next = conversations.next(1, START).expect("its turn");
            assert_eq!(next.n, n);
            served(&mut conversations, &mut isolate, &next);
        }
    }
}

#[test]
fn what_is_not_of_the_protocol_ends_the_socket() {
    let mut isolate = isolate();
    for (before, text) in [
        (push(3), push(3)),
        (push(3), push(2)),
        (push(1), "{}".to_owned()),
        (push(1), r#"{"type":"push","body":{}}"#.to_owned()),
    ] {
        let mut conversations = Conversations::default();
        assert_eq!(hear(&mut conversations, &mut isolate, 1, &before), Ok(()));
        let heard = hear(&mut conversations, &mut isolate, 1, &text);
        assert!(matches!(heard, Err(Closing::Violation(_))), "{text}: {heard:?}");
    }
    let mut conversations = Conversations::default();
    let many = limits::MESSAGES_UNANSWERED_MAX as u64;
    for n in 1..=many {
        assert_eq!(hear(&mut conversations, &mut isolate, 1, &push(n)), Ok(()));
    }
    let heard = hear(&mut conversations, &mut isolate, 1, &push(many + 1));
    assert!(matches!(heard, Err(Closing::Violation(_))), "{heard:?}");
}

#[test]
fn what_is_too_long_or_has_no_room_is_refused_in_its_turn_and_holds_nothing() {
    let (mut conversations, mut isolate, alice) = (Conversations::default(), isolate(), user("alice"));
    let text = push(1);
    conversations.hear(&mut isolate, (1, &alice), Some(&text), None).expect("a message");
    let half = limits::MESSAGES_HELD_MAX / 2;
    for (n, length, held) in [(2, half, half), (3, 1, half)] {
        let whole = Some((String::new(), length));
        conversations.hear(&mut isolate, (1, &alice), Some(&push(n)), whole).expect("a message");
        assert_eq!(isolate.messages_held(), held, "nobody holds more than is left for others");
    }
    let refusals = [Some(Refusal::UseHttp), None, Some(Refusal::Error(ApiError::Overloaded))];
    for refusal in refusals {
        let message = conversations.next(1, START).expect("its turn");
        assert_eq!(message.asks.as_ref().err(), refusal.as_ref());
        served(&mut conversations, &mut isolate, &message);
    }
    assert_eq!(isolate.messages_held(), 0);
}

#[test]
fn a_socket_that_ends_gives_back_what_waits_and_later_what_is_being_served() {
    let (mut conversations, mut isolate) = (Conversations::default(), isolate());
    for n in 1..4 {
        assert_eq!(hear(&mut conversations, &mut isolate, 1, &push(n)), Ok(()));
    }
    let last = conversations.next(1, START).expect("its turn");
    conversations.ended(&mut isolate, 1);
    assert_eq!(isolate.messages_held(), push(1).len());
    served(&mut conversations, &mut isolate, &last);
    assert_eq!(isolate.messages_held(), 0);
    assert!(conversations.next(1, START).is_none());
}
