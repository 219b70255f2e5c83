//! Messages of sockets: order, bounds, and what is held.

use jwt_compact::{
    AlgorithmExt, Claims, Header,
    alg::{Hs256, Hs256Key},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    access::grant::Granter,
    call::{Call, Caller, Destination, OrderedCursor, PullReply, Usage, encode_reply},
    config::Config,
    ids::{SpaceHash, SpaceId, UserHash},
    role::Role,
    sim::START,
    snapshot::keys::Scope,
    version::{Epoch, Position, Version},
};

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
    let mut isolate = isolate();
    let mut conversations = Conversations::begin(&mut isolate, "object");
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
        let mut conversations = Conversations::begin(&mut isolate, "object");
        assert_eq!(hear(&mut conversations, &mut isolate, 1, &before), Ok(()));
        let heard = hear(&mut conversations, &mut isolate, 1, &text);
        assert!(matches!(heard, Err(Closing::Violation(_))), "{text}: {heard:?}");
    }
    let mut conversations = Conversations::begin(&mut isolate, "object");
    let many = limits::MESSAGES_UNANSWERED_MAX as u64;
    for n in 1..=many {
        assert_eq!(hear(&mut conversations, &mut isolate, 1, &push(n)), Ok(()));
    }
    let heard = hear(&mut conversations, &mut isolate, 1, &push(many + 1));
    assert!(matches!(heard, Err(Closing::Violation(_))), "{heard:?}");
}

#[test]
fn what_is_too_long_or_has_no_room_is_refused_in_its_turn_and_holds_nothing() {
    let (mut isolate, alice) = (isolate(), user("alice"));
    let mut conversations = Conversations::begin(&mut isolate, "object");
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
    let mut isolate = isolate();
    let mut conversations = Conversations::begin(&mut isolate, "object");
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

#[test]
fn what_waited_in_an_instance_that_the_platform_has_ended_is_free_when_the_next_one_of_its_object_begins() {
    let mut isolate = isolate();
    let begin = |isolate: &mut Isolate, object: &str| Conversations::<String>::begin(isolate, object);
    let (mut ended, mut other) = (begin(&mut isolate, "object"), begin(&mut isolate, "other"));
    for n in 1..3 {
        assert_eq!(hear(&mut ended, &mut isolate, 1, &push(n)), Ok(()));
        assert_eq!(hear(&mut other, &mut isolate, 1, &push(n)), Ok(()));
    }
    let late = ended.next(1, START).expect("its turn");
    let mut next = begin(&mut isolate, "object");
    assert_eq!(isolate.messages_held(), 2 * push(1).len(), "what the other object holds stays held");
    assert_eq!(hear(&mut next, &mut isolate, 1, &push(1)), Ok(()));
    // What still runs of the one that has ended gives nothing back twice.
    served(&mut ended, &mut isolate, &late);
    ended.ended(&mut isolate, 1);
    assert_eq!(isolate.messages_held(), 3 * push(1).len());
    for conversations in [&mut next, &mut other] {
        conversations.ended(&mut isolate, 1);
    }
    assert_eq!(isolate.messages_held(), 0);
}

/// What the exchange of one message says, where `answer` stands for the object and the platform, and what it has asked for on the way.
fn exchange(
    isolate: &mut Isolate,
    text: &str,
    caller: Sender,
    mut answer: impl FnMut(&Effect) -> Option<Event>,
) -> (String, Vec<String>) {
    let mut conversations = Conversations::begin(isolate, "object");
    let whole = Some((text.to_owned(), text.len()));
    conversations.hear(isolate, (1, &caller.caller.user), Some(text), whole).expect("a message");
    let message = conversations.next(1, START).expect("its turn");
    let (mut exchange, mut effect) = isolate.begin_exchange(&message, 1, caller, START);
    let mut asked = Vec::new();
    loop {
        let event = match (&effect, answer(&effect)) {
            (Effect::Say(said), _) => return (said.clone(), asked),
            (_, Some(event)) => event,
            (Effect::Admit, None) => Event::Admitted(Ok(())),
            (Effect::ReadBody { .. }, None) => {
                Event::Body(Some(text[message.body_at..text.len() - 1].to_owned()))
            }
            (effect, None) => panic!("nobody answers {effect:?}"),
        };
        asked.push(format!("{effect:?}").split([' ', '(']).next().unwrap_or_default().to_owned());
        effect = isolate.step_exchange(&mut exchange, event, START);
    }
}

fn alice() -> Sender {
    let destination = Destination::Private(Scope::private(&SpaceHash::private("issuer", "alice")));
    let caller = Caller {
        user: user("alice"),
        destination,
        request: String::new(),
        origin: String::new(),
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    Sender { caller, role: Role::Owner, tells_usage: false }
}

fn bob_of_team() -> Sender {
    let (id, epoch) = (SpaceId::stored("team"), Epoch::begin(START, None, 1));
    let scope = Some(Scope::shared(&SpaceHash::shared(&id), &epoch));
    let destination = Destination::Shared { id, scope };
    let caller = Caller {
        user: user("bob"),
        destination,
        request: String::new(),
        origin: String::new(),
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    Sender { caller, role: Role::Writer, tells_usage: false }
}

fn here(version: u64) -> Position {
    Position { epoch: Epoch::begin(START, None, 1), version: Version::new(version).expect("a version") }
}

/// The object's answer to a pull from `from`: these lines.
fn overlay(from: u64, at: &Position, lines: &str) -> Event {
    let reply = PullReply::Overlay {
        epoch: at.epoch.clone(),
        from: Version::new(from).expect("a version"),
        version: at.version,
        horizon: Version::ZERO,
        asked_at: START,
    };
    Event::Called(Ok(Some(encode_reply(&reply, lines))), Usage::default())
}

#[test]
fn a_push_is_passed_on_as_it_is_and_its_answer_has_its_number() {
    let called = |effect: &Effect| {
        let is_push = matches!(effect, Effect::Call(Call::Push));
        is_push.then(|| Event::Called(Ok(Some(r#"{"version":1}"#.to_owned())), Usage::default()))
    };
    let (said, asked) = exchange(&mut isolate(), &push(7), alice(), called);
    assert_eq!(said, r#"{"type":"answer","n":7,"status":200,"body":{"version":1}}"#);
    assert_eq!(asked, ["Call"], "nothing else is asked, and the body is not read here");
    let refused =
        |_: &Effect| Some(Event::Called(Err(ApiError::OutOfOrder { expected: 3 }), Usage::default()));
    let (said, _) = exchange(&mut isolate(), &push(7), alice(), refused);
    assert!(said.starts_with(r#"{"type":"answer","n":7,"status":409,"body":{"#), "{said}");
    assert!(said.contains(r#""expected":3"#) && said.contains(r#""request":"live-1-7""#), "{said}");
}

#[test]
fn an_answer_to_a_push_in_a_shared_space_brings_a_grant_that_is_good() {
    let secret = "0123456789abcdef0123456789abcdef";
    let config = Config::read(|name| (name == "GRANT_SECRET").then(|| secret.to_owned()));
    let mut isolate = Isolate::new(config.edge, &[], &[], false);
    let called = |_: &Effect| Some(Event::Called(Ok(Some(r#"{"version":1}"#.to_owned())), Usage::default()));
    let (said, _) = exchange(&mut isolate, &push(1), bob_of_team(), called);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["body"]["version"], 1);
    assert_eq!(said["body"]["grantExpiresIn"], limits::GRANT_MS);
    let Sender { caller, .. } = bob_of_team();
    let grant = said["body"]["grant"].as_str().expect("a grant");
    let opened = Granter::new(Some(secret), None).open(
        grant,
        &caller.user,
        &SpaceHash::shared(&SpaceId::stored("team")),
        START,
    );
    assert_eq!(opened.as_ref().ok(), caller.destination.scope());
    let (said, _) = exchange(&mut isolate, &push(1), alice(), called);
    assert!(!said.contains("grant"), "{said}");
}

#[test]
fn a_pull_is_answered_by_the_object_alone_with_304_where_nothing_is_new() {
    let at = here(5);
    let pull = |fields: &str| format!(r#"{{"type":"pull","n":2,"body":{{{fields}}}}}"#);
    let epoch = &at.epoch;
    let (said, asked) = exchange(
        &mut isolate(),
        &pull(&format!(r#""epoch":"{epoch}","since":5,"consistency":"eventual""#)),
        alice(),
        |effect| matches!(effect, Effect::Call(_)).then(|| overlay(5, &at, "")),
    );
    assert_eq!(
        (said.as_str(), asked),
        (r#"{"type":"answer","n":2,"status":304}"#, vec!["ReadBody".to_owned(), "Call".to_owned()])
    );
    let line = "{\"version\":5,\"collection\":\"c\",\"id\":\"a\",\"value\":{}}\n";
    let (said, _) = exchange(&mut isolate(), &pull(""), alice(), |effect| {
        matches!(effect, Effect::Call(_)).then(|| overlay(0, &at, line))
    });
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["status"], &said["body"]["version"]), (&json!(200), &json!(5)));
    assert_eq!(said["body"]["changes"].as_array().map(Vec::len), Some(1));
    let page = |effect: &Effect| {
        let Effect::Call(_) = effect else { return None };
        let (epoch, version) = (at.epoch.clone(), at.version);
        let next = OrderedCursor {
            epoch: epoch.clone(),
            start: Version::ZERO,
            reached: version,
            horizon: Version::ZERO,
        };
        let reply = PullReply::Page { epoch, version, reset: false, next: Some(next) };
        Some(Event::Called(Ok(Some(encode_reply(&reply, line))), Usage::default()))
    };
    let (said, _) = exchange(&mut isolate(), &pull(""), alice(), page);
    assert_eq!(said, r#"{"type":"use_http","n":2}"#);
    let (said, asked) = exchange(&mut isolate(), &pull(r#""sinse":1"#), alice(), |_| None);
    assert!(said.contains(r#""status":400"#), "{said}");
    assert_eq!(asked, ["ReadBody", "Admit"], "who may have no more of the object is not told why either");
    let refused = ApiError::RateLimited { retry_after_s: 1, of_space: false };
    let (said, _) = exchange(&mut isolate(), &pull(r#""sinse":1"#), alice(), |effect| {
        matches!(effect, Effect::Admit).then(|| Event::Admitted(Err(refused.clone())))
    });
    assert!(said.contains(r#""status":429"#), "a refusal costs a look too: {said}");
}

#[test]
fn a_token_is_looked_at_only_for_whoever_may_have_more_of_the_object() {
    let text = r#"{"type":"token","n":3,"token":"a.b.c"}"#;
    let refused = |effect: &Effect| {
        let error = ApiError::RateLimited { retry_after_s: 2, of_space: false };
        matches!(effect, Effect::Admit).then(|| Event::Admitted(Err(error)))
    };
    let (said, asked) = exchange(&mut isolate(), text, alice(), refused);
    assert!(said.contains(r#""status":429"#), "{said}");
    assert_eq!(asked, ["Admit"]);
    let (said, asked) = exchange(&mut isolate(), text, alice(), |_| None);
    assert!(said.contains(r#""code":"internal""#), "no key is configured: {said}");
    assert_eq!(asked, ["Admit", "ReadBody"]);
}

#[test]
fn a_good_token_of_the_same_user_renews_its_socket_and_no_other_does() {
    let secret = "0123456789abcdef0123456789abcdef";
    let token = |sub: &str| {
        let claims = json!({ "iss": "issuer", "sub": sub, "exp": START.0 / 1000 + 600 });
        let key = Hs256Key::new(secret.as_bytes());
        Hs256.token(&Header::empty(), &Claims::new(claims), &key).expect("a token")
    };
    for (sub, is_renewed) in [("alice", true), ("bob", false)] {
        let config = Config::read(|name| (name == "JWT_SECRET").then(|| secret.to_owned()));
        let mut isolate = Isolate::new(config.edge, &[], &[], false);
        let text = format!(r#"{{"type":"token","n":3,"token":"{}"}}"#, token(sub));
        let mut until = None;
        let (said, _) = exchange(&mut isolate, &text, alice(), |effect| {
            let Effect::Renew(expires) = effect else { return None };
            until = Some(*expires);
            Some(Event::Renewed(expires.since(START)))
        });
        let ends = 660_000 - START.0 % 1000;
        let expected =
            format!(r#"{{"type":"answer","n":3,"status":200,"body":{{"tokenExpiresIn":{ends}}}}}"#);
        assert_eq!((said == expected, until.is_some()), (is_renewed, is_renewed), "{sub}: {said}");
    }
}

#[test]
fn whoever_has_asked_for_it_is_told_what_each_message_has_used() {
    let used = Usage { rows_read: 4, rows_written: 3, alarms_set: 1, ..Usage::default() };
    let called = |effect: &Effect| {
        let is_push = matches!(effect, Effect::Call(Call::Push));
        is_push.then(|| Event::Called(Ok(Some(r#"{"version":1}"#.to_owned())), used))
    };
    let asked = |tells_usage| Sender { tells_usage, ..alice() };
    let (said, _) = exchange(&mut isolate(), &push(7), asked(false), called);
    assert_eq!(said, r#"{"type":"answer","n":7,"status":200,"body":{"version":1}}"#);
    let (told, _) = exchange(&mut isolate(), &push(7), asked(true), called);
    let used = r#","used":{"messages":1,"rowsRead":4,"rowsWritten":3,"alarmsSet":1}}"#;
    assert_eq!(told, format!("{}{used}", &said[..said.len() - 1]));
}

#[test]
fn whoever_goes_on_beyond_the_rate_loses_the_socket() {
    let (mut isolate, alice) = (isolate(), alice());
    let mut conversations: Conversations<String> = Conversations::begin(&mut isolate, "object");
    for n in 1..=limits::MESSAGES_REFUSED_MAX as u64 + 1 {
        let text = push(n);
        let whole = Some((text.clone(), text.len()));
        conversations.hear(&mut isolate, (1, &alice.caller.user), Some(&text), whole).expect("a message");
        let message = conversations.next(1, START).expect("its turn");
        let (mut exchange, _) = isolate.begin_exchange(&message, 1, alice.clone(), START);
        let refused = ApiError::RateLimited { retry_after_s: 1, of_space: false };
        isolate.step_exchange(&mut exchange, Event::Called(Err(refused), Usage::default()), START);
        let served = conversations.served(&mut isolate, (1, &alice.caller.user), &message, Some(&exchange));
        assert_eq!(served.is_err(), n == limits::MESSAGES_REFUSED_MAX as u64 + 1, "message {n}");
    }
}
