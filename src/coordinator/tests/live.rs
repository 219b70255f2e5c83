//! Who listens, what they are told, and when they lose their sockets.

use super::{
    spaces::team,
    tasks::{AT, CONFIG, answer, go_on, instance_with, task},
    *,
};
use crate::{
    call::{
        Administration, Call, Destination, Person,
        live::{Closing, News},
    },
    coordinator::{
        cache::Common,
        live::{Listener, Outlet},
        object::{Applicant, Effect, Event, Moment, Object, Said, Task},
    },
};

/// Who is told, from which version with how many lines, if with any, and up to which version.
type Told = (Vec<u32>, Option<(u64, usize)>, u64);

/// The space `team` of alice, in which bob writes, and how its sockets are driven.
struct Hall {
    object: Object<MemoryLedger>,
    scope: Scope,
    now: Millis,
    next: u64,
}

impl Hall {
    fn new() -> Self {
        let (object, scope) = instance_with(&Common::default());
        let mut hall = Self { object, scope, now: START, next: 1 };
        let person = Person { user: user("bob"), sub: "bob".to_owned() };
        hall.administer(Administration::SetMember { person, role: Role::Writer });
        hall
    }

    fn task(&self, name: &str, call: &Call) -> Task {
        task(name, self.scope.clone(), call)
    }

    /// Drives a task to its answer, where time stands still.
    fn run(&mut self, task: &mut Task, body: &str) -> Result<Said, ApiError> {
        let (mut event, at) = (Event::Begun, Moment { now: self.now, ..AT });
        loop {
            event = match self.object.step(task, event, at) {
                Effect::ReadAlarm => Event::Alarm(None),
                Effect::SetAlarm(_) => Event::AlarmSet(true),
                Effect::ReadHead { .. } => Event::Head(Ok(None)),
                Effect::ReadBody { .. } => Event::Body(Ok(body.as_bytes().to_vec())),
                Effect::Sign { .. } => Event::Signed(Ok(("grant".to_owned(), self.now.plus(600_000)))),
                Effect::Answer(answer) => return answer.result,
                _ => Event::Resumed,
            };
        }
    }

    fn administer(&mut self, administration: Administration) {
        let call = Call::Administer(administration);
        let mut task = self.task("alice", &call);
        self.run(&mut task, &call.body()).expect("it is done");
    }

    fn push(&mut self, id: &str, value: &str) {
        let push = body("client-0", &[put(self.next, id, value)]);
        self.next += 1;
        let mut task = self.task("alice", &Call::Push);
        self.run(&mut task, &push).expect("it is taken");
    }

    fn apply(&mut self, name: &str, expires: Millis) -> Result<Box<Applicant>, ApiError> {
        let call = Call::Listen { expires, tells_usage: false, peer: None };
        let mut task = self.task(name, &call);
        match self.run(&mut task, &call.body())? {
            Said::Listening(applicant) => Ok(applicant),
            said => panic!("{said:?}"),
        }
    }

    /// A socket of a user, whose token is good for a minute.
    fn listen(&mut self, name: &str) -> u32 {
        let applicant = self.apply(name, self.now.plus(60_000)).expect("a member");
        let joined = self.object.join(*applicant, Moment { now: self.now, ..AT }).expect("there is room");
        assert_eq!(joined.greeting.at, self.here());
        joined.socket
    }

    fn here(&self) -> Position {
        self.object.core().expect("it is open").position()
    }

    /// What is to be done with sockets, but for pings.
    fn outlets(&mut self) -> Vec<Outlet> {
        let outlets = self.object.live().take();
        outlets.into_iter().filter(|outlet| !matches!(outlet, Outlet::AnswerPings(_))).collect()
    }

    /// What sockets are told, where none is closed.
    fn told(&mut self) -> Vec<Told> {
        let told = |outlet| match outlet {
            Outlet::Tell(sockets, News::Version(at)) => (sockets, None, at.version.get()),
            Outlet::Tell(sockets, News::Changes { from, at, lines }) => {
                (sockets, Some((from.get(), lines.lines().count())), at.version.get())
            }
            other => panic!("{other:?}"),
        };
        self.outlets().into_iter().map(told).collect()
    }
}

#[test]
fn what_is_kept_with_a_socket_is_pinned_because_it_may_outlive_the_build_that_wrote_it() {
    let (hash, epoch) = ("cd".repeat(32), "0mwrnsa6yk3v9q2");
    let scope = |text: &str| Scope::parse(text).expect("a scope");
    let listener = |destination| Listener {
        user: UserHash::parse(&"ab".repeat(32)).expect("a hash"),
        destination,
        expires: Millis(1_795_341_182_000),
        role: Role::Writer,
        tells_usage: false,
        peer: None,
    };
    let shared = scope(&format!("{hash}.{epoch}"));
    for (destination, rest) in [
        (Destination::Private(scope(&hash)), format!(r#""scope":"{hash}"}}"#)),
        (
            Destination::Shared { id: team(), scope: Some(shared) },
            format!(r#""scope":"{hash}.{epoch}","space":"team"}}"#),
        ),
    ] {
        let text =
            format!(r#"{{"user":"{}","expires":"1795341182000","role":"writer",{rest}"#, "ab".repeat(32));
        let consequence = "clients would lose sockets that are good";
        assert_eq!(listener(destination.clone()).to_text(), text, "{consequence}");
        assert_eq!(Listener::parse(&text), Some(listener(destination)), "{consequence}");
    }
    let asked = Listener { tells_usage: true, ..listener(Destination::Private(scope(&hash))) };
    assert!(asked.to_text().ends_with(r#","usage":"yes"}"#));
    assert_eq!(Listener::parse(&asked.to_text()), Some(asked));
    let foreign = Listener { peer: Some("7 x".to_owned()), ..listener(Destination::Private(scope(&hash))) };
    assert!(foreign.to_text().ends_with(r#","peer":"7 x"}"#));
    assert_eq!(Listener::parse(&foreign.to_text()), Some(foreign));
    for text in ["", "{}", r#"{"user":"ab"}"#] {
        assert_eq!(Listener::parse(text), None, "{text}");
    }
}

#[test]
fn a_commit_is_told_at_once_and_those_that_follow_together() {
    let mut hall = Hall::new();
    let sockets = vec![hall.listen("alice"), hall.listen("bob")];
    let begun = hall.here().version.get();
    hall.push("a", "{}");
    assert_eq!(hall.told(), [(sockets.clone(), Some((begun, 1)), begun + 1)]);
    hall.push("b", "{}");
    assert_eq!(hall.outlets(), [Outlet::Coalesce]);
    hall.push("c", "{}");
    hall.push("b", r#"{"n":1}"#);
    assert_eq!(hall.outlets(), [], "one waits already");
    let mut news = Task::news();
    let at = Moment { now: hall.now.plus(30), ..AT };
    let effect = hall.object.step(&mut news, Event::Begun, at);
    assert!(matches!(effect, Effect::Pause(70)), "{effect:?}");
    assert_eq!(hall.outlets(), []);
    hall.now = hall.now.plus(100);
    let effect = hall.object.step(&mut news, Event::Resumed, Moment { now: hall.now, ..AT });
    assert!(matches!(effect, Effect::Rest), "{effect:?}");
    assert_eq!(hall.told(), [(sockets.clone(), Some((begun + 1, 2)), begun + 4)], "b is told once");
    hall.now = hall.now.plus(100);
    hall.push("d", "{}");
    assert_eq!(hall.told().len(), 1, "whoever commits seldom is told at once");
    hall.now = Millis(hall.now.0 - 3_600_000);
    hall.push("e", "{}");
    assert_eq!(hall.told().len(), 1, "a clock that goes back keeps nobody waiting");
}

#[test]
fn a_space_without_sockets_tells_nobody_and_waits_for_nothing() {
    let mut hall = Hall::new();
    hall.push("a", "{}");
    hall.push("b", "{}");
    assert_eq!(hall.outlets(), []);
    let socket = hall.listen("bob");
    assert_eq!(hall.outlets(), []);
    hall.object.live().left(socket);
    hall.push("c", "{}");
    assert_eq!(hall.object.live().take(), []);
}

#[test]
fn what_is_long_and_an_epoch_that_begins_are_told_without_lines() {
    let mut hall = Hall::new();
    let socket = hall.listen("bob");
    let begun = hall.here().version.get();
    hall.push("a", &format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000)));
    assert_eq!(hall.told(), [(vec![socket], None, begun + 1)]);
    hall.now = hall.now.plus(1_000);
    hall.administer(Administration::ResetEpoch);
    assert_eq!(hall.told(), [(vec![socket], None, begun + 1)]);
}

#[test]
fn bytes_for_all_sockets_together_are_bounded() {
    let mut hall = Hall::new();
    let alice = hall.listen("alice");
    let text = Listener::parse(&{
        let listener = hall.object.live().listener(alice).expect("it listens");
        listener.to_text()
    });
    let listener = text.expect("a listener");
    let texts: Vec<_> = (0..200)
        .map(|name| Listener { user: user(&name.to_string()), ..listener.clone() }.to_text())
        .collect();
    hall.object.sockets_remain((1_000..).zip(texts.iter().map(String::as_str)));
    for (length, has_lines) in [(30_000, true), (60_000, false)] {
        hall.now = hall.now.plus(1_000);
        hall.push("a", &format!(r#"{{"text":"{}"}}"#, "x".repeat(length)));
        let told = hall.told();
        assert_eq!((told.len(), told[0].0.len(), told[0].1.is_some()), (1, 201, has_lines), "{length}");
    }
}

#[test]
fn whoever_is_removed_loses_all_sockets_at_once_and_hears_nothing_more() {
    let mut hall = Hall::new();
    let [first, other, second] = ["bob", "alice", "bob"].map(|name| hall.listen(name));
    let bob = Person { user: user("bob"), sub: "bob".to_owned() };
    hall.administer(Administration::RemoveMember(bob));
    let outlets = hall.outlets();
    let lost = Closing::Lost(ApiError::Forbidden("You are not a member of this space."));
    assert_eq!(outlets[0], Outlet::Close(vec![first, second], lost));
    assert!(matches!(&outlets[1], Outlet::Tell(sockets, _) if *sockets == [other]), "{outlets:?}");
    let refused = hall.apply("bob", hall.now.plus(60_000)).expect_err("no member");
    assert!(matches!(refused, ApiError::Forbidden(_)));
    hall.administer(Administration::Delete);
    assert_eq!(hall.outlets(), [Outlet::Close(vec![other], Closing::Lost(ApiError::Gone))]);
    assert_eq!(hall.apply("alice", hall.now.plus(60_000)).expect_err("no space"), ApiError::Gone);
}

#[test]
fn whoever_is_removed_while_a_socket_is_being_made_does_not_get_it() {
    let mut hall = Hall::new();
    let applicant = hall.apply("bob", hall.now.plus(60_000)).expect("a member");
    let bob = Person { user: user("bob"), sub: "bob".to_owned() };
    hall.administer(Administration::RemoveMember(bob));
    let joined = hall.object.join(*applicant, Moment { now: hall.now, ..AT });
    assert!(matches!(joined, Err(Closing::Lost(ApiError::Forbidden(_)))), "{joined:?}");
}

#[test]
fn a_token_that_has_ended_closes_its_socket_when_something_touches_it() {
    let mut hall = Hall::new();
    let [old, renewed, spoken] = ["bob", "bob", "alice"].map(|name| hall.listen(name));
    let later = hall.now.plus(600_000);
    assert_eq!(hall.object.live().renew(renewed, later, hall.now), 600_000);
    let kept = hall.object.live().listener(renewed).expect("it listens").to_text();
    assert_eq!(hall.outlets(), [Outlet::Note(renewed, kept)], "it is good after a sleep, too");
    hall.now = hall.now.plus(60_000);
    assert_eq!(hall.object.live().hear(spoken, hall.now), Err(Closing::Expired));
    assert_eq!(hall.outlets(), [Outlet::Close(vec![spoken], Closing::Expired)]);
    hall.push("a", "{}");
    let outlets = hall.outlets();
    assert_eq!(outlets[0], Outlet::Close(vec![old], Closing::Expired));
    assert!(matches!(&outlets[1], Outlet::Tell(sockets, _) if *sockets == [renewed]), "{outlets:?}");
}

#[test]
fn sockets_are_known_again_after_a_sleep_and_hear_what_the_waking_event_commits() {
    let mut hall = Hall::new();
    let socket = hall.listen("bob");
    hall.push("a", "{}");
    let (heard, note) =
        (hall.here().version.get(), hall.object.live().listener(socket).expect("one").to_text());
    let rows = hall.object.rows().clone();
    hall.object = Object::new(rows, CONFIG, Common::default(), hall.now);
    hall.object.sockets_remain([(socket, note.as_str()), (9, "of a later build")].into_iter());
    assert_eq!(hall.outlets(), [Outlet::Close(vec![9], Closing::Restart)]);
    hall.push("b", "{}");
    assert_eq!(hall.told(), [(vec![socket], Some((heard, 1)), heard + 1)]);
    assert_eq!(hall.listen("alice"), 10, "no number is used twice");
}

#[test]
fn sockets_are_bounded_for_each_user_and_for_the_space() {
    let mut hall = Hall::new();
    for _ in 0..limits::SOCKETS_OF_USER_MAX {
        hall.listen("bob");
    }
    let applicant = hall.apply("bob", hall.now.plus(60_000)).expect("a member");
    assert_eq!(hall.object.join(*applicant, AT), Err(Closing::Full));
    let alice = hall.listen("alice");
    let note = hall.object.live().listener(alice).expect("it listens").clone();
    let left = limits::SOCKETS_MAX - limits::SOCKETS_OF_USER_MAX - 1;
    let others: Vec<_> =
        (0..left).map(|name| Listener { user: user(&name.to_string()), ..note.clone() }.to_text()).collect();
    hall.object.sockets_remain((1_000..).zip(others.iter().map(String::as_str)));
    assert_eq!(hall.object.live().reconnect_within_ms(), 100_000);
    let applicant = hall.apply("alice", hall.now.plus(60_000)).expect("a member");
    assert_eq!(hall.object.join(*applicant.clone(), AT), Err(Closing::Full));
    hall.object.live().left(alice);
    hall.object.join(*applicant, AT).expect("there is room again");
}

#[test]
fn a_call_for_a_socket_of_a_private_space_opens_it_and_brings_no_grant() {
    let mut object = Object::new(MemoryLedger::default(), CONFIG, Common::default(), START);
    let call = Call::Listen { expires: START.plus(1_000), tells_usage: false, peer: None };
    let caller = crate::call::Caller {
        user: user("alice"),
        destination: Destination::Private(scope()),
        request: String::new(),
        origin: String::new(),
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    let mut task = Task::call(call.name(), caller, || 0);
    let answer = answer(go_on(&mut object, &mut task, Event::Begun, &call.body()));
    let Ok(Said::Listening(applicant)) = answer.result else { panic!("{:?}", answer.result) };
    let joined = object.join(*applicant, AT).expect("a socket");
    assert_eq!((joined.greeting.at.version, joined.greeting.membership), (Version::ZERO, None));
    assert_eq!((joined.greeting.token_expires_in_ms, joined.greeting.reconnect_within_ms), (1_000, 5_000));
}

#[test]
fn sockets_whose_tokens_have_ended_take_no_place_from_others_and_nobody_joins_with_such_a_token() {
    let mut hall = Hall::new();
    for _ in 0..limits::SOCKETS_OF_USER_MAX {
        hall.listen("bob");
    }
    let late = hall.apply("bob", hall.now.plus(60_000)).expect("a member");
    hall.now = hall.now.plus(60_000);
    let at = Moment { now: hall.now, ..AT };
    assert_eq!(hall.object.join(*late, at), Err(Closing::Expired), "it waited for too long");
    hall.listen("bob");
    assert_eq!(hall.object.live().len(), 1);
}

#[test]
fn a_socket_of_whose_client_nothing_is_heard_is_told_less_and_then_ends() {
    let mut hall = Hall::new();
    let [silent, reads] = ["bob", "alice"].map(|name| {
        let applicant = hall.apply(name, hall.now.plus(3_600_000)).expect("a member");
        hall.object.join(*applicant, Moment { now: hall.now, ..AT }).expect("there is room").socket
    });
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(30_000));
    let (mut whole, mut told, mut is_ended) = (0, 0, false);
    for number in 0..2_000 {
        hall.now = hall.now.plus(limits::NEWS_EVERY_MS);
        hall.push(&format!("r{}", number % 5), &long.replace("xxx", &format!("{number:03}")));
        hall.object.live().hear(reads, hall.now).expect("its token is good");
        for outlet in hall.outlets() {
            match outlet {
                Outlet::Tell(sockets, News::Changes { .. }) => {
                    assert!(sockets.contains(&reads), "who is heard is told all of it");
                    whole += usize::from(sockets.contains(&silent));
                }
                Outlet::Tell(sockets, News::Version(_)) => {
                    assert_eq!(sockets, [silent]);
                    told += 1;
                }
                Outlet::Close(sockets, why) => {
                    assert_eq!((sockets, why), (vec![silent], Closing::Restart));
                    is_ended = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(whole >= 3 && whole * 30_000 <= limits::NEWS_UNREAD_MAX, "{whole} whole");
    assert!(told > 100 && is_ended, "{told} told, ended: {is_ended}");
    assert_eq!(hall.object.live().len(), 1);
}
