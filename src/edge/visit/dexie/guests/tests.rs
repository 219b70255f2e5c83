//! Who is asked about the realms of a user, and who is told of invitations.

use super::{
    super::super::{Event, Outgoing, PartDone, Request, tests::request},
    super::several::several,
    *,
};
use crate::{
    access::session::Account,
    call::{Caller, Membership, Standing},
    config::Config,
    ids::{SpaceId, UserHash},
    sim::START,
    version::{Epoch, Position, Version},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://issuer.example";
const PULL: &str = r#"{"clientIdentity":"abc","changes":[]}"#;
const LINES: &str =
    "{\"version\":7,\"collection\":\"members\",\"id\":\"m1\",\"value\":{\"email\":\"b@x\"}}\n";

fn isolate() -> Isolate {
    let config = Config::read(|name| (name == "GRANT_SECRET").then(|| SECRET.to_owned()));
    Isolate::new(config.edge, &[], &[], false)
}

/// A sync of somebody up to its first effect behind the body.
fn sync(isolate: &mut Isolate, email: Option<&str>, body: &str) -> (Visit, Effect) {
    let (iss, email) = (ISSUER.to_owned(), email.map(str::to_owned));
    let account = Account { iss, sub: "alice".to_owned(), email, name: None };
    let session = isolate.sessions.sign(&account, START.plus(3_600_000)).expect("a key");
    let authorization = format!("Bearer {session}");
    let request = Request { authorization, ..request("POST", "/dexie/sync", START) };
    let length = |name: &str| if name == "content-length" { body.len().to_string() } else { String::new() };
    let (mut visit, effect) = isolate.begin(request, &length);
    assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
    let effect = isolate.step(&mut visit, Event::Body(Ok(body.as_bytes().to_vec())), START);
    (visit, effect)
}

fn called(effect: Effect) -> (SpaceHash, Call, Caller) {
    let Effect::Call(call) = effect else { panic!("{effect:?} is no call") };
    let Outgoing { object, call, caller, .. } = *call;
    (object, call, caller)
}

fn says(body: &str) -> Event {
    let body = Ok(body.to_owned());
    Event::Called(Called { result: body, position: None, aside: None, timing: String::new() })
}

fn refuses() -> Event {
    let at = Position { epoch: Epoch::begin(START, None, 7), version: Version::ZERO.next() };
    let incarnation = at.epoch.clone();
    let aside = Membership { incarnation, standing: Standing::None, since: at.version, at };
    Event::Called(Called {
        aside: Some(Aside::Membership(aside)),
        ..Called::failed(ApiError::Forbidden("no"))
    })
}

fn page(space: &str) -> String {
    format!(r#"{{"spaces":[],"invitations":[{{"space":"{space}"}}],"cursor":null}}"#)
}

fn list() -> Call {
    Call::Directory(DirectoryCall::List { cursor: None })
}

/// The one space that is asked, and the effect of its visit.
fn asked(effect: Effect) -> (Visit, Effect) {
    let Effect::Several(parts) = effect else { panic!("{effect:?}") };
    let [part] = <[_; 1]>::try_from(parts).expect("one space");
    (part.visit, part.effect)
}

fn own() -> SpaceHash {
    SpaceHash::directory(ISSUER, "alice")
}

fn of_address() -> SpaceHash {
    SpaceHash::directory_of_address(ISSUER, "alice@example.com")
}

#[test]
fn a_pull_asks_the_directory_of_the_user_and_that_of_a_verified_address_in_the_name_of_the_address() {
    let mut isolate = isolate();
    let (mut visit, effect) = sync(&mut isolate, Some("Alice@example.com"), PULL);
    let (object, call, caller) = called(effect);
    assert_eq!((object, call, caller.user), (own(), list(), UserHash::new(ISSUER, "alice")));
    let effect = isolate.step(&mut visit, says("{}"), START);
    let (object, call, caller) = called(effect);
    assert_eq!((object, call, caller.user), (of_address(), list(), of_address().into()));
    let effect = isolate.step(&mut visit, says(&page("dx_cmxtMQ")), START);
    let (_, effect) = asked(effect);
    let (object, ..) = called(effect);
    assert_eq!(object, SpaceHash::shared(&SpaceId::stored("dx_cmxtMQ")));
    let (_, effect) = sync(&mut isolate, Some("alice@example.com"), PULL);
    assert!(matches!(effect, Effect::Several(_)), "both are known for a while");
}

#[test]
fn without_a_verified_address_no_other_directory_is_asked() {
    let mut isolate = isolate();
    let (mut visit, effect) = sync(&mut isolate, None, PULL);
    assert_eq!(called(effect).0, own());
    let effect = isolate.step(&mut visit, says("{}"), START);
    assert!(!matches!(effect, Effect::Call(_)), "{effect:?}");
}

/// A pull of somebody who is no member of the realm that the directory names, up to the question whether they are invited.
fn guest_asks(isolate: &mut Isolate) -> (Visit, Visit, Call) {
    let (mut whole, _) = sync(isolate, Some("alice@example.com"), PULL);
    isolate.step(&mut whole, says("{}"), START);
    let effect = isolate.step(&mut whole, says(&page("dx_cmxtMQ")), START);
    let (mut part, effect) = asked(effect);
    assert_eq!(called(effect).1, Call::Administer(Administration::Grant { claim: None }));
    let effect = isolate.step(&mut part, refuses(), START);
    assert!(isolate.take_errands().is_empty(), "a directory would drop the hint");
    let (_, call, _) = called(effect);
    (whole, part, call)
}

#[test]
fn whoever_is_no_member_is_shown_the_rows_of_an_invitation() {
    let mut isolate = isolate();
    let (mut whole, mut part, call) = guest_asks(&mut isolate);
    let Call::Administer(Administration::Invited(guest)) = call else { panic!("{call:?}") };
    assert_eq!((&*guest.realm, guest.email.as_deref()), ("rlm1", Some("alice@example.com")));
    assert_eq!((&*guest.person.sub, &*guest.iss), ("alice", ISSUER));
    let Effect::Answer(answer) = isolate.step(&mut part, says(LINES), START) else { panic!("no answer") };
    isolate.step(&mut whole, Event::Several(vec![PartDone { visit: part, answer: *answer }]), START);
    let invited: Vec<_> = several(&mut whole).invited.iter().map(|it| (&*it.realm.id, &*it.lines)).collect();
    assert_eq!(invited, [("rlm1", LINES)]);
}

#[test]
fn a_hint_of_a_realm_that_invites_nobody_ends_in_both_directories() {
    let mut isolate = isolate();
    let (_, mut part, _) = guest_asks(&mut isolate);
    let effect = isolate.step(&mut part, refuses(), START);
    assert!(matches!(&effect, Effect::Answer(answer) if answer.is_err()), "{effect:?}");
    let told = isolate.take_errands().into_iter().map(|mut errand| {
        let (object, call, caller) = called(isolate.step(&mut errand, Event::Begun, START));
        assert!(
            matches!(call, Call::Directory(DirectoryCall::Note(entry)) if entry.standing == Standing::None)
        );
        (object, caller.user)
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&(of_address(), of_address().into())), "in the name of the address");
    assert!(told.contains(&(own(), UserHash::new(ISSUER, "alice"))));
    let (_, effect) = sync(&mut isolate, Some("alice@example.com"), PULL);
    assert!(!matches!(effect, Effect::Several(_)), "it is not asked again: {effect:?}");
}

#[test]
fn an_answer_goes_to_the_space_of_each_invitation_and_who_is_let_in_pushes_there_too() {
    let body = r#"{"clientIdentity":"abc","lastPull":{"serverRevision":"0mwrnsa6yk3v9q2.57","realms":["alice"],"inviteRealms":["rlm1"]},"changes":[{"table":"members","muts":[{"type":"update","keys":["m1"],"changeSpecs":[{"accepted":{"$t":"Date","v":"2026"}}]}]}]}"#;
    let mut isolate = isolate();
    let (_, effect) = sync(&mut isolate, None, body);
    let Effect::Several(mut parts) = effect else { panic!("{effect:?}") };
    let mut guest = parts.pop().expect("the own space, and that of the realm");
    let Call::Administer(Administration::Respond { row, accepts, at, .. }) = called(guest.effect).1 else {
        panic!("no answer to the invitation")
    };
    assert_eq!((&*row, accepts, &*at), ("m1", true, "2026"));
    let effect = isolate.step(&mut guest.visit, says(r#"{"role":"writer"}"#), START);
    let Effect::Call(call) = effect else { panic!("{effect:?}") };
    assert_eq!(
        (&call.call, &*call.body()),
        (&Call::Dexie { is_part: true }, body),
        "it may have rows of the realm"
    );
    assert_eq!(parts.len(), 1, "the own space");

    let body = body.replace("accepted", "rejected");
    let (_, effect) = sync(&mut isolate, None, &body);
    let Effect::Several(mut parts) = effect else { panic!("{effect:?}") };
    let mut guest = parts.pop().expect("that of the realm");
    let effect = isolate.step(&mut guest.visit, says(""), START);
    assert_eq!(called(effect).1, Call::Administer(Administration::Grant { claim: None }));
}

#[test]
fn whom_a_push_invites_is_told_by_subject_or_by_address_and_nobody_else_is() {
    let body = r#"{"clientIdentity":"abc","lastPull":{"serverRevision":"{\"~\":\"0mwrnsa6yk3v9q2.57\",\"rlm1\":\"0mwrnsa6yk3v9q2.3\"}","realms":["alice","rlm1"]},"changes":[{"table":"members","muts":[{"type":"update","keys":["m1","m2","m3","m4","m5"],"changeSpecs":[{"x":1}]}]}]}"#;
    let mut isolate = isolate();
    let (_, effect) = sync(&mut isolate, None, body);
    let Effect::Several(parts) = effect else { panic!("{effect:?}") };
    let mut part = parts.into_iter().next().expect("the space of the realm").visit;
    let rows: String = [
        ("m1", r#"{"userId":"bob"}"#),
        ("m2", r#"{"email":"Carol@example.com","invite":true}"#),
        ("m3", r#"{"userId":"alice"}"#),
        ("m4", r#"{"userId":"dave","rejected":{"$t":"Date","v":"2026"}}"#),
        ("not-named", r#"{"userId":"eve"}"#),
    ]
    .map(|(id, row)| {
        format!("{{\"version\":7,\"collection\":\"members\",\"id\":\"{id}\",\"value\":{row}}}\n")
    })
    .concat();
    let said = PartAnswer { at: None, touched: rows, ..PartAnswer::default() };
    isolate.step(&mut part, says(&said.to_text()), START);
    let hinted = isolate.take_errands().into_iter().map(|mut errand| {
        let (object, call, _) = called(isolate.step(&mut errand, Event::Begun, START));
        let Call::Directory(call) = call else { panic!("{call:?}") };
        (object, matches!(call, DirectoryCall::Invite { .. }))
    });
    let carol = SpaceHash::directory_of_address(ISSUER, "carol@example.com");
    assert_eq!(hinted.collect::<Vec<_>>(), [(SpaceHash::directory(ISSUER, "bob"), false), (carol, true)]);
}
