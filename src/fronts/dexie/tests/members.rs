//! What transactions in a realm's space make of its members.

use std::collections::BTreeMap;

use crate::{
    call::{Caller, Destination, PushRequest, Usage},
    error::ApiError,
    fronts::dexie::{push::SyncReading, realm::space_of},
    ids::{Collection, Key, RecordId, SpaceId, UserHash},
    mutation::{Change, Intent, Op, RejectCode, Scanned, Unread, View},
    role::Role,
};

const ISSUER: &str = "https://issuer.example";

/// A realm's space in memory, as one of its users sees it.
struct Space {
    records: BTreeMap<Key, String>,
    role: Role,
    /// Whom the last push has made what.
    set: Vec<(String, Option<Role>)>,
}

impl View for Space {
    fn value(&mut self, key: &Key) -> Result<Option<String>, Unread> {
        Ok(self.records.get(key).cloned())
    }

    fn role(&self) -> Role {
        self.role
    }

    fn set_member(&mut self, user: UserHash, sub: &str, role: Option<Role>) {
        assert_eq!(user, UserHash::new(ISSUER, sub), "a subject of the caller's issuer");
        self.set.push((sub.to_owned(), role));
    }

    fn records(&mut self, of: &Collection, after: Option<&RecordId>, _: usize) -> Result<Scanned, Unread> {
        let behind = self
            .records
            .iter()
            .filter(|(key, _)| key.collection == *of && after.is_none_or(|after| key.id > *after));
        let records = behind.map(|(key, value)| (key.id.clone(), value.clone())).collect();
        Ok(Scanned { records, next: None })
    }
}

fn key(table: &str, id: &str) -> Key {
    Key { collection: Collection::stored(table), id: RecordId::stored(id) }
}

fn read(sub: &str, space: SpaceId, is_part: bool, muts: &str) -> PushRequest {
    let caller = Caller {
        user: UserHash::new(ISSUER, sub),
        destination: Destination::Shared { id: space, scope: None },
        request: String::new(),
        origin: String::new(),
        sub: sub.to_owned(),
        iss: ISSUER.to_owned(),
        spent: Usage::default(),
    };
    let body = format!(r#"{{"clientIdentity":"abc","changes":[{muts}]}}"#);
    SyncReading::of(body.into_bytes(), &caller, is_part).expect("an envelope").finish().expect("a push")
}

impl Space {
    fn of(rows: &[(&str, &str, &str)]) -> Self {
        let records = rows.iter().map(|(table, id, value)| (key(table, id), (*value).to_owned())).collect();
        Self { records, role: Role::Owner, set: Vec::new() }
    }

    /// Does what somebody of this role sends; whom it has made what, or that nothing was done.
    fn push(&mut self, sub: &str, role: Role, muts: &str) -> Result<Vec<(String, Option<Role>)>, RejectCode> {
        let push = read(sub, space_of("rlm1").expect("a space"), true, muts);
        (self.role, self.set) = (role, Vec::new());
        for submitted in &push.mutations {
            let Intent::Transaction(transaction) = &submitted.intent else { panic!("a transaction") };
            let changes =
                transaction.derive(self).expect("a space in memory").map_err(|rejection| rejection.code)?;
            for Change { key, op, .. } in changes {
                match op {
                    Op::Put(value) => self.records.insert(key, value),
                    Op::Delete => self.records.remove(&key),
                    other => panic!("{other:?}"),
                };
            }
        }
        Ok(std::mem::take(&mut self.set))
    }
}

fn op(table: &str, kind: &str, id: &str, rest: &str) -> String {
    let key = crate::json::json_text(id);
    format!(r#"{{"table":"{table}","muts":[{{"type":"{kind}","keys":[{key}]{rest},"txid":"t"}}]}}"#)
}

fn insert(id: &str, row: &str) -> String {
    op("members", "insert", id, &format!(r#","values":[{{"realmId":"rlm1",{row}}}]"#))
}

fn update(table: &str, id: &str, spec: &str) -> String {
    op(table, "update", id, &format!(r#","changeSpecs":[{spec}]"#))
}

fn delete(table: &str, id: &str) -> String {
    op(table, "delete", id, "")
}

fn made(sub: &str, role: Role) -> Vec<(String, Option<Role>)> {
    vec![(sub.to_owned(), Some(role))]
}

fn unmade(sub: &str) -> Vec<(String, Option<Role>)> {
    vec![(sub.to_owned(), None)]
}

const BOB: &str = r#"{"realmId":"rlm1","userId":"bob","permissions":{"add":"*"}}"#;
const ACCEPTS: &str = r#"{"accepted":{"$t":"Date","v":"2026-12-01T00:00:00.000Z"}}"#;
const REJECTS: &str = r#"{"rejected":{"$t":"Date","v":"2026-12-01T00:00:00.000Z"}}"#;

#[test]
fn whom_an_owner_adds_to_the_rows_is_a_member_with_the_role_of_the_row_and_who_is_removed_is_none() {
    let mut space = Space::of(&[]);
    let mut by_owner = |muts: &str| space.push("alice", Role::Owner, muts).expect("she is an owner");
    assert_eq!(by_owner(&insert("m1", r#""userId":"bob""#)), made("bob", Role::Reader));
    assert_eq!(
        by_owner(&update("members", "m1", r#"{"permissions":{"add":"*"}}"#)),
        made("bob", Role::Writer)
    );
    assert_eq!(
        by_owner(&update("members", "m1", r#"{"permissions":{"manage":"*"}}"#)),
        made("bob", Role::Owner)
    );
    let instead = by_owner(&update("members", "m1", r#"{"userId":"eve"}"#));
    assert_eq!(instead, [unmade("bob"), made("eve", Role::Owner)].concat());
    assert_eq!(by_owner(&delete("members", "m1")), unmade("eve"));
    assert_eq!(
        by_owner(&insert("m2", r#""userId":"bob","invite":true"#)),
        [],
        "he was asked and is nothing yet"
    );
    assert_eq!(by_owner(&insert("m3", r#""email":"bob@example.com""#)), []);
    assert_eq!(by_owner(&update("members", "m2", REJECTS)), []);
}

#[test]
fn a_member_has_the_rights_of_the_roles_that_the_row_names_whenever_those_change() {
    let mut space = Space::of(&[("members", "m1", r#"{"userId":"bob","roles":["editor"]}"#)]);
    let id = r#"["rlm1","editor"]"#;
    let put = |permissions: &str| {
        op("roles", "upsert", id, &format!(r#","values":[{{"realmId":"rlm1","permissions":{permissions}}}]"#))
    };
    let mut by_owner = |muts: &str| space.push("alice", Role::Owner, muts).expect("she is an owner");
    assert_eq!(by_owner(&put(r#"{"update":"*"}"#)), made("bob", Role::Writer));
    assert_eq!(by_owner(&put(r#"{"manage":"*"}"#)), made("bob", Role::Owner));
    assert_eq!(by_owner(&insert("m2", r#""userId":"eve","roles":["editor","x"]"#)), made("eve", Role::Owner));
    let all = by_owner(&delete("roles", id));
    assert_eq!(all, [made("bob", Role::Reader), made("eve", Role::Reader)].concat());
}

#[test]
fn only_owners_change_who_the_members_are() {
    let rows = [
        ("members", "m1", BOB),
        ("members", "m2", r#"{"userId":"eve"}"#),
        ("realms", "rlm1", r#"{"realmId":"rlm1","name":"x"}"#),
        ("roles", r#"["rlm1","r"]"#, r#"{"realmId":"rlm1"}"#),
    ];
    for muts in [
        insert("m3", r#""userId":"mallory""#),
        update("members", "m1", r#"{"permissions":{"manage":"*"}}"#),
        update("members", "m1", r#"{"accepted":{"$t":"undefined"},"invite":true}"#),
        update("members", "m2", REJECTS),
        delete("members", "m2"),
        update("realms", "rlm1", r#"{"name":"y"}"#),
        delete("roles", r#"["rlm1","r"]"#),
        op("roles", "insert", r#"["rlm1","s"]"#, r#","values":[{"realmId":"rlm1","permissions":{}}]"#),
    ] {
        let mut space = Space::of(&rows);
        let before = space.records.clone();
        assert_eq!(space.push("bob", Role::Writer, &muts), Err(RejectCode::Forbidden), "{muts}");
        assert_eq!(space.records, before, "{muts}");
        assert!(space.push("alice", Role::Owner, &muts).is_ok(), "{muts}");
    }
    let mut space = Space::of(&rows);
    for muts in [insert("m4", r#""userId":"x""#).replace("rlm1", "rlm2"), delete("members", "unknown")] {
        assert_eq!(space.push("bob", Role::Writer, &muts), Ok(Vec::new()), "of another realm: {muts}");
    }
}

#[test]
fn everybody_may_leave_and_a_reader_does_nothing_else() {
    for role in [Role::Reader, Role::Writer] {
        for muts in [delete("members", "m1"), update("members", "m1", REJECTS)] {
            let mut space = Space::of(&[("members", "m1", BOB)]);
            assert_eq!(space.push("bob", role, &muts), Ok(unmade("bob")), "{muts}");
        }
    }
    let mut space = Space::of(&[("members", "m1", BOB)]);
    let insert = op("todos", "insert", "a", r#","values":[{"realmId":"rlm1"}]"#);
    for muts in [insert.clone(), format!("{},{insert}", delete("members", "m1"))] {
        assert_eq!(space.push("bob", Role::Reader, &muts), Err(RejectCode::Forbidden), "{muts}");
    }
}

#[test]
fn an_open_invitation_raises_a_member_who_accepts_it_and_an_old_row_does_not() {
    let invitation = r#"{"realmId":"rlm1","userId":"bob","invite":true,"permissions":{"manage":"*"}}"#;
    let mut space = Space::of(&[("members", "m1", invitation), ("members", "m2", BOB)]);
    assert_eq!(
        space.push("bob", Role::Writer, &update("members", "m1", ACCEPTS)),
        Ok(made("bob", Role::Owner))
    );
    assert_eq!(
        space.push("bob", Role::Reader, &update("members", "m2", ACCEPTS)),
        Ok(Vec::new()),
        "an owner has given less since"
    );
    let taken_back = update("members", "m1", r#"{"accepted":{"$t":"undefined"}}"#);
    assert_eq!(space.push("bob", Role::Writer, &taken_back), Err(RejectCode::Forbidden));
}

#[test]
fn an_edge_that_does_not_say_whose_subject_somebody_is_is_refused_a_realm() {
    let caller = Caller {
        user: UserHash::new(ISSUER, "alice"),
        destination: Destination::Shared { id: space_of("rlm1").expect("a space"), scope: None },
        request: String::new(),
        origin: String::new(),
        sub: "alice".to_owned(),
        iss: String::new(),
        spent: Usage::default(),
    };
    let read =
        |caller: &Caller| SyncReading::of(br#"{"clientIdentity":"abc"}"#.to_vec(), caller, true).map(|_| ());
    assert_eq!(read(&caller), Err(ApiError::Upstream), "members of no issuer would be made");
    assert_eq!(read(&Caller { iss: ISSUER.to_owned(), ..caller }), Ok(()));
}

#[test]
fn rows_of_other_spaces_make_nobody_a_member_and_reserved_names_are_refused_in_parts_too() {
    let row = insert("m1", r#""userId":"bob""#);
    let push = read("alice", SpaceId::stored("team"), false, &row);
    let mut space = Space::of(&[]);
    let Intent::Transaction(transaction) = &push.mutations[0].intent else { panic!("a transaction") };
    assert_eq!(transaction.derive(&mut space).expect("in memory").expect("no rejection").len(), 1);
    assert_eq!(space.set, []);
    let reserved = row.replace("\"members\"", "\"$members\"");
    let push = read("alice", space_of("rlm1").expect("a space"), true, &reserved);
    assert!(push.mutations.is_empty(), "there is nothing to do");
    assert_eq!(push.wording.expect("a wording").refused(), 1);
}
