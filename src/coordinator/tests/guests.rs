//! Members of the realm of Dexie Cloud: as its front sets them, and whoever is invited by a row.

use std::rc::Rc;

use serde_json::Value;

use super::{spaces::person, *};
use crate::{
    call::{Administration, Guest},
    limits,
    mutation::{
        Change, Intent, MutationDigest, MutationResult, Op, Outcome, RejectCode, Rejection, Settled,
        Submitted, Token, Transaction, Unread, View, Wording,
    },
};

const AT: &str = "2026-12-01T00:00:00.000Z";
const INVITATION: &str =
    r#"{"realmId":"rlm1","email":"bob@example.com","invite":true,"permissions":{"add":"*"}}"#;

/// Puts rows, and makes people what it says.
#[derive(Debug, Clone, Default)]
struct Sets {
    rows: Vec<(&'static str, &'static str)>,
    members: Vec<(&'static str, Option<Role>)>,
}

impl Transaction for Sets {
    fn token(&self) -> Option<Token> {
        None
    }

    fn derive(&self, view: &mut dyn View) -> Result<Result<Vec<Change>, Rejection>, Unread> {
        for (sub, role) in &self.members {
            view.set_member(user(sub), sub, *role);
        }
        let put = |(id, value): &(&str, &str)| Change {
            key: key(id),
            base: None,
            op: Op::Put((*value).to_owned()),
        };
        Ok(Ok(self.rows.iter().map(put).collect()))
    }

    fn size(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        0
    }
}

#[derive(Debug)]
struct Silent;

impl Wording for Silent {
    fn touched(&self) -> Vec<Key> {
        Vec::new()
    }

    fn concerns_members(&self) -> bool {
        true
    }

    fn say(&self, _: &Outcome<'_>) -> String {
        String::new()
    }
}

fn key(id: &str) -> Key {
    let (collection, id) = id.split_once('/').expect("a collection");
    Key { collection: Collection::stored(collection), id: RecordId::stored(id) }
}

fn guest(name: &str, email: Option<&str>) -> Guest {
    let iss = "https://issuer.example".to_owned();
    Guest { person: person(name), iss, email: email.map(str::to_owned), realm: "rlm1".to_owned() }
}

impl Desk {
    /// The space of the realm `rlm1`, which alice owns; bob is a writer, and rita a reader.
    fn realm() -> Self {
        let space = SpaceId::parse("dx_cmxtMQ").expect("an id");
        let core =
            Coordinator::create(MemoryLedger::default(), &space, &person("alice"), BY_DEMAND, START, 7);
        let mut desk = Self { core: core.expect("a space"), now: START };
        let staff = [("bob", Some(Role::Writer)), ("rita", Some(Role::Reader))];
        let rows = vec![("realms/rlm1", r#"{"realmId":"rlm1","name":"x"}"#)];
        assert_eq!(desk.sets("alice", Sets { rows, members: staff.to_vec() }), None);
        desk
    }

    /// Why it was rejected.
    fn sets(&mut self, name: &str, sets: Sets) -> Option<RejectCode> {
        let intent = Intent::Transaction(Rc::new(sets));
        let submitted = Submitted { id: 1, digest: MutationDigest::of(""), changes: String::new(), intent };
        let push = PushRequest {
            mutations: vec![submitted],
            wording: Some(Rc::new(Silent)),
            ..parsed(&body("dx_00000001", &[]))
        };
        let answer = self.core.push(&[(user(name), push)], self.now).remove(0).expect("no refusal");
        match &answer.results[..] {
            [MutationResult { settled: Settled::Rejected(rejection), .. }] => Some(rejection.code),
            [_] => None,
            results => panic!("{results:?}"),
        }
    }

    fn role(&mut self, name: &str) -> Option<Role> {
        self.core.admit(&user(name), Role::Reader).ok()
    }

    /// The lines that say that somebody is invited.
    fn asked(&mut self, guest: Guest) -> Result<String, ApiError> {
        let caller = guest.person.user.clone();
        let done = self.core.administer(&caller, &Administration::Invited(guest), self.now, 9);
        done.map(|done| done.body.expect("lines"))
    }

    fn respond(&mut self, guest: Guest, accepts: bool) -> Result<Value, ApiError> {
        let name = guest.person.sub.clone();
        let (row, at) = ("m1".to_owned(), AT.to_owned());
        self.administer(&name, &Administration::Respond { guest, row, accepts, at })
    }

    fn row(&mut self) -> String {
        let record = self.core.ledger().record(&key("members/m1")).expect("memory");
        record.and_then(|record| record.value(&key("members/m1")).map(str::to_owned)).unwrap_or_default()
    }
}

fn members(members: &[(&'static str, Option<Role>)]) -> Sets {
    Sets { rows: Vec::new(), members: members.to_vec() }
}

fn rows(rows: &[(&'static str, &'static str)]) -> Sets {
    Sets { rows: rows.to_vec(), members: Vec::new() }
}

#[test]
fn a_front_makes_members_in_the_step_that_changes_the_rows() {
    let mut desk = Desk::realm();
    let before = desk.core.position().version;
    let sets = Sets {
        rows: vec![("members/m9", "{}")],
        members: vec![("carol", Some(Role::Writer)), ("bob", None)],
    };
    assert_eq!(desk.sets("alice", sets), None);
    assert_eq!(desk.core.position().version, before.next(), "one version");
    assert_eq!(
        [desk.role("carol"), desk.role("bob"), desk.role("rita")],
        [Some(Role::Writer), None, Some(Role::Reader)]
    );
    assert_eq!(desk.sets("alice", members(&[("rita", Some(Role::Reader))])), None);
    assert_eq!(desk.core.position().version, before.next(), "nothing has changed");
}

#[test]
fn no_push_of_a_front_changes_what_an_owner_is() {
    let mut desk = Desk::realm();
    assert_eq!(desk.sets("alice", members(&[("carol", Some(Role::Owner))])), None);
    for (name, role) in
        [("alice", None), ("carol", None), ("carol", Some(Role::Reader)), ("alice", Some(Role::Writer))]
    {
        assert_eq!(desk.sets("alice", members(&[(name, role)])), None);
        assert_eq!([desk.role("alice"), desk.role("carol")], [Some(Role::Owner); 2], "{name}");
    }
}

#[test]
fn whoever_is_no_owner_changes_no_membership_but_their_own_and_a_reader_only_ends_it() {
    let mut desk = Desk::realm();
    let forbidden = Some(RejectCode::Forbidden);
    for (name, sets) in [
        ("bob", members(&[("rita", None)])),
        ("bob", members(&[("bob", None), ("mallory", Some(Role::Writer))])),
        ("rita", rows(&[("todos/a", "{}")])),
        ("rita", members(&[("bob", None)])),
        ("alice", rows(&[("$members/x", r#"{"sub":"x","role":"owner"}"#)])),
        ("alice", rows(&[("$policies/x", "{}")])),
    ] {
        let before = desk.core.position();
        assert_eq!(desk.sets(name, sets.clone()), forbidden, "{name} {sets:?}");
        assert_eq!(desk.core.position(), before, "{name} {sets:?}");
    }
    let leaves = Sets { rows: vec![("members/m2", "{}")], members: vec![("rita", None)] };
    assert_eq!(desk.sets("rita", leaves), None);
    assert_eq!([desk.role("rita"), desk.role("bob")], [None, Some(Role::Writer)]);
}

#[test]
fn a_realm_has_as_many_members_as_any_space() {
    let mut desk = Desk::realm();
    let names: Vec<&'static str> = (0..limits::MEMBERS_MAX - 3).map(|n| &*n.to_string().leak()).collect();
    for some in names.chunks(500) {
        let some: Vec<_> = some.iter().map(|name| (*name, Some(Role::Reader))).collect();
        assert_eq!(desk.sets("alice", members(&some)), None);
    }
    assert_eq!(desk.sets("alice", members(&[("late", Some(Role::Reader))])), Some(RejectCode::QuotaExceeded));
    assert_eq!(desk.role("late"), None);
    assert_eq!(desk.sets("alice", members(&[("bob", Some(Role::Reader))])), None, "he is one already");
}

#[test]
fn a_link_that_was_sent_before_does_not_undo_that_a_row_was_removed() {
    let mut desk = Desk::realm();
    let invite = Administration::Invite { role: Role::Writer, uses: 3, lasts_ms: limits::INVITATION_MS };
    let said = desk.administer("alice", &invite).expect("she is an owner");
    let number = said["invitation"].as_str().and_then(|number| number.parse().ok()).expect("a number");
    assert_eq!(desk.sets("alice", members(&[("bob", None)])), None);
    let (person, incarnation) = (person("bob"), desk.core.meta.incarnation.clone());
    let accept = Administration::Accept { person, incarnation, number };
    assert!(desk.administer("bob", &accept).is_err());
    assert_eq!(desk.role("bob"), None);
}

#[test]
fn a_native_push_of_a_writer_changes_no_row_that_says_who_the_members_are() {
    let mut desk = Desk::realm();
    let mut push = |name: &str, client: &str, number: u64, collection: &str| {
        let change = format!(r#"{{"op":"put","collection":"{collection}","id":"m1","value":{{}}}}"#);
        let body = body(client, &[format!(r#"{{"id":{number},"changes":[{change}]}}"#)]);
        desk.push_as(&user(name), &body).expect("no refusal").results[0].settled.clone()
    };
    for (number, collection) in (1..).zip(["members", "realms", "roles"]) {
        let settled = push("bob", "c_bob_00001", number, collection);
        assert!(
            matches!(settled, Settled::Rejected(Rejection { code: RejectCode::Forbidden, .. })),
            "{settled:?}"
        );
        let settled = push("alice", "c_alice_001", number, collection);
        assert!(matches!(settled, Settled::Applied(_)), "{settled:?}");
    }
    assert!(matches!(push("bob", "c_bob_00001", 4, "todos"), Settled::Applied(_)));
}

#[test]
fn a_writer_does_not_bring_such_a_row_in_by_ending_a_conflict_either() {
    let mut desk = Desk::realm();
    let mut push = |name: &str, client: &str, number: u64, change: &str| {
        let body = body(client, &[format!(r#"{{"id":{number},"changes":[{change}]}}"#)]);
        desk.push_as(&user(name), &body).expect("no refusal").results[0].settled.clone()
    };
    let put =
        |n: u64, base: &str| format!(r#"{{"op":"put","collection":"c","id":"a","value":{{"n":{n}}}{base}}}"#);
    push("alice", "c_alice_001", 1, &put(1, ""));
    let parked = push("bob", "c_bob_00001", 1, &put(2, r#","base":0"#));
    let Settled::Conflict { id, .. } = parked else { panic!("{parked:?}") };
    let resolve = |collection: &str| {
        format!(
            r#"{{"op":"resolve","conflict":"{id}","records":[{{"collection":"{collection}","id":"m1","value":{{}}}}]}}"#
        )
    };
    let settled = push("bob", "c_bob_00001", 2, &resolve("members"));
    assert!(
        matches!(settled, Settled::Rejected(Rejection { code: RejectCode::Forbidden, .. })),
        "{settled:?}"
    );
    let settled = push("bob", "c_bob_00001", 3, &resolve("c"));
    assert!(matches!(settled, Settled::Applied(_)), "{settled:?}");
}

#[test]
fn whoever_is_invited_sees_the_row_and_the_realms_and_nobody_else_sees_anything() {
    let mut desk = Desk::realm();
    let other = r#"{"realmId":"rlm1","email":"eve@example.com","invite":true}"#;
    desk.sets("alice", rows(&[("members/m1", INVITATION), ("members/m2", other), ("todos/a", "{}")]));
    let lines = desk.asked(guest("robert", Some("Bob@example.com"))).expect("he is invited");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(
        lines.contains(r#""collection":"realms","id":"rlm1""#) && lines.contains(r#""id":"m1""#),
        "{lines}"
    );
    for stranger in
        [guest("robert", None), guest("mallory", Some("mallory@example.com")), guest("bob@example.com", None)]
    {
        assert!(matches!(desk.asked(stranger.clone()), Err(ApiError::Forbidden(_))), "{stranger:?}");
        assert!(desk.respond(stranger, true).is_err());
    }
    assert_eq!(desk.role("mallory"), None);
    let of_another_issuer =
        Guest { iss: "https://other.example".to_owned(), ..guest("robert", Some("bob@example.com")) };
    assert!(desk.asked(of_another_issuer.clone()).is_err() && desk.respond(of_another_issuer, true).is_err());
}

#[test]
fn who_accepts_is_a_member_in_that_version_and_may_say_so_again() {
    let mut desk = Desk::realm();
    desk.sets("alice", rows(&[("members/m1", INVITATION)]));
    let robert = || guest("robert", Some("bob@example.com"));
    let before = desk.core.position().version;
    assert_eq!(desk.respond(robert(), true).expect("he is invited")["role"], "writer");
    assert_eq!(desk.core.position().version, before.next(), "one version");
    assert!(
        desk.row().contains(r#""userId":"robert","accepted":{"$t":"Date","v":"2026-12-01T00:00:00.000Z"}"#)
    );
    assert_eq!(desk.respond(robert(), true).expect("the answer may have been lost")["role"], "writer");
    assert_eq!(desk.core.position().version, before.next());
    assert!(desk.asked(robert()).is_err(), "it does not wait any more");
    desk.sets("alice", members(&[("robert", None)]));
    assert!(desk.respond(robert(), true).is_err(), "the row alone lets nobody in again");
    assert_eq!(desk.role("robert"), None);
}

#[test]
fn who_rejects_is_no_member_and_an_invitation_makes_nobody_less() {
    let mut desk = Desk::realm();
    desk.sets("alice", rows(&[("members/m1", INVITATION)]));
    desk.respond(guest("robert", Some("bob@example.com")), false).expect("he is invited");
    assert!(desk.row().contains(r#""userId":"robert","rejected":{"#));
    assert_eq!(desk.role("robert"), None);
    assert!(desk.respond(guest("robert", None), true).is_err());
    desk.sets("alice", rows(&[("members/m1", r#"{"userId":"alice","invite":true}"#)]));
    assert_eq!(desk.respond(guest("alice", None), true).expect("she is invited")["role"], "owner");
}

#[test]
fn nobody_is_invited_to_a_space_that_is_no_realms_or_shuts_the_client_out() {
    let mut desk = Desk::team();
    assert!(desk.asked(guest("bob", None)).is_err());
    let mut desk = Desk::realm();
    desk.sets("alice", rows(&[("members/m1", r#"{"userId":"carol","invite":true}"#)]));
    assert!(desk.asked(guest("carol", None)).is_ok());
    desk.administer("alice", &Administration::ShutDexie).expect("she is an owner");
    assert!(desk.asked(guest("carol", None)).is_err() && desk.respond(guest("carol", None), true).is_err());
}
