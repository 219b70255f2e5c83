//! Which objects are asked for a socket, and what is noted of what they tell.

use super::*;
use crate::{
    access::session::Account,
    config::Config,
    edge::visit::{Effect, PassedBody, tests::request},
    fronts::dexie::{live::Peer, realm::space_of},
    ids::SpaceHash,
    sim::START,
};

const REV: &str = r#"{"~":"0mwrnsa6yk3v9q2.5","rlm-a":"0mwrnsa6yk3v9q2.7","rlm-b":"0mwrnsa6yk3v9q2.9"}"#;

fn isolate() -> Isolate {
    let secret = "0123456789abcdef0123456789abcdef".to_owned();
    Isolate::new(Config::read(|name| (name == "GRANT_SECRET").then(|| secret.clone())).edge, &[], &[], false)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A client asks for its socket that is at `rev`.
fn begin(isolate: &mut Isolate, path: &str, rev: &str) -> (Visit, Box<Outgoing>, PassedBody) {
    let account = Account { iss: "i".to_owned(), sub: "alice".to_owned(), email: None, name: None };
    let session = isolate.sessions.sign(&account, START.plus(3_600_000)).expect("a key");
    let query = format!("v=3&rev={}&token={}", encoded(rev), encoded(&session));
    let asked = Request { query, ..request("GET", path, START) };
    let upgrade = |name: &str| if name == "upgrade" { "websocket".to_owned() } else { String::new() };
    match isolate.begin(asked, &upgrade) {
        (visit, Effect::Pass(call, body)) => (visit, call, body),
        (_, effect) => panic!("{effect:?} is no socket"),
    }
}

fn space(realm: &str) -> SpaceHash {
    SpaceHash::shared(&space_of(realm).expect("a space"))
}

fn relaying(body: PassedBody) -> Box<Relaying> {
    match body {
        PassedBody::Relay(relaying) => relaying,
        body => panic!("{body:?} is one socket"),
    }
}

#[test]
fn the_objects_of_all_its_spaces_are_asked_for_a_socket_in_the_name_of_the_client() {
    let mut isolate = isolate();
    let (visit, home, body) = begin(&mut isolate, "/dexie/changes", REV);
    assert_eq!(home.object, visit.target().hash);
    let relaying = relaying(body);
    let objects: Vec<_> =
        relaying.realms.iter().map(|(number, call)| (*number, call.object.clone())).collect();
    assert_eq!(objects, [(1, space("rlm-a")), (2, space("rlm-b"))]);
    for (_, Outgoing { call, caller, .. }) in &relaying.realms {
        assert_eq!((&caller.user, &caller.sub), (&home.caller.user, &"alice".to_owned()));
        let expires = visit.target().caller.expires;
        let peer = Some(Peer::new("alice").to_text());
        assert_eq!(*call, Call::Listen { expires, tells_usage: false, peer }, "access ends with its token");
    }
    assert_eq!(visit.usage().object, 2, "and its own space when that has answered");
}

#[test]
fn who_has_one_space_gets_the_socket_of_its_object() {
    let mut isolate = isolate();
    for (path, rev) in [
        ("/dexie/changes", "0mwrnsa6yk3v9q2.5"),
        ("/dexie/changes", "x"),
        ("/dexie/changes", ""),
        ("/dexie/team/changes", REV),
    ] {
        let (_, _, body) = begin(&mut isolate, path, rev);
        assert!(matches!(body, PassedBody::Upgrade), "{path} {rev}");
    }
}

#[test]
fn a_realm_that_has_told_its_user_to_come_back_later_is_not_asked() {
    let mut isolate = isolate();
    let (visit, ..) = begin(&mut isolate, "/dexie/changes", REV);
    let user = visit.target().caller.user.clone();
    isolate.refusals.note((&user, &space("rlm-a")), 10, false, START);
    let (_, _, body) = begin(&mut isolate, "/dexie/changes", REV);
    let relaying = relaying(body);
    assert_eq!(relaying.realms.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    assert_eq!(relaying.holder.relay.realms().count(), 1);
}

#[test]
fn what_a_realm_says_of_itself_counts_as_written_here_and_the_location_is_told() {
    let mut isolate = isolate();
    let (_, _, body) = begin(&mut isolate, "/dexie/changes", REV);
    let relaying = relaying(body);
    let at = Position::parse("0mwrnsa6yk3v9q2.10").expect("a position");
    isolate.relay_hears(&relaying.holder, 2, at.clone(), START);
    assert_eq!(isolate.writes.last(&space("rlm-b"), START), Some(at));
    assert_eq!(isolate.writes.last(&space("rlm-a"), START), None);
    let errands = isolate.take_errands();
    assert_eq!(
        errands.iter().map(|errand| errand.target().hash.clone()).collect::<Vec<_>>(),
        [space("rlm-b")]
    );
}
