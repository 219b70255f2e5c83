//! Shared spaces: who may do what, how they end, and what they say of memberships.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    call::{Administration, Aside, Ask, Membership, OnConflict, Person, Standing},
    coordinator::{
        ledger::{SqlLedger, tests::sqlite::Sqlite},
        publication::{Effect, PutOutcome},
    },
    ids::SpaceId,
    limits,
};

const OWNERS: ApiError = ApiError::Forbidden("Only an owner of the space may do this.");
const MEMBERS: ApiError = ApiError::Forbidden("You are not a member of this space.");
const LAST: ApiError =
    ApiError::Forbidden("The last owner has to make another one first, or to delete the space.");

pub(super) fn person(name: &str) -> Person {
    Person { user: user(name), sub: name.to_owned() }
}

fn set(name: &str, role: Role) -> Administration {
    Administration::SetMember { person: person(name), role }
}

fn remove(name: &str) -> Administration {
    Administration::RemoveMember(person(name))
}

fn merge(collection: &str) -> Administration {
    Administration::SetPolicy { collection: Collection::stored(collection), policy: OnConflict::Merge }
}

fn no_policy(collection: &str) -> Administration {
    Administration::RemovePolicy(Collection::stored(collection))
}

pub(super) fn team() -> SpaceId {
    SpaceId::parse("team").expect("an id")
}

pub(super) fn create<L: Ledger>(ledger: L) -> Coordinator<L> {
    Coordinator::create(ledger, &team(), &person("alice"), BY_DEMAND, START, 7).expect("a space")
}

impl Desk {
    /// The space `team`, which alice owns.
    pub(super) fn team() -> Self {
        Self { core: create(MemoryLedger::default()), now: START }
    }

    /// `team` with bob as a writer, and rita as a reader.
    pub(super) fn staffed() -> Self {
        let mut desk = Self::team();
        desk.set("alice", "bob", "writer").expect("a member");
        desk.set("alice", "rita", "reader").expect("a member");
        desk
    }
}

impl<L: Ledger> Desk<L> {
    pub(super) fn administer(
        &mut self,
        caller: &str,
        administration: &Administration,
    ) -> Result<Value, ApiError> {
        let done = self.core.administer(&user(caller), administration, self.now, 9);
        done.map(|done| done.body.map_or(Value::Null, |body| serde_json::from_str(&body).expect("JSON")))
    }

    fn set(&mut self, caller: &str, name: &str, role: &str) -> Result<Value, ApiError> {
        self.administer(caller, &set(name, Role::parse(role).expect("a role")))
    }

    fn remove(&mut self, caller: &str, name: &str) -> Result<Value, ApiError> {
        self.administer(caller, &remove(name))
    }

    fn put_as(&mut self, name: &str, client: &str, number: u64, id: &str) -> Result<Settled, ApiError> {
        let answer = self.push_as(&user(name), &body(client, &[put(number, id, "{}")]))?;
        Ok(answer.results[0].settled.clone())
    }

    fn pull_as(&mut self, name: &str) -> Result<String, ApiError> {
        let scope = self.core.scope().clone();
        self.core.pull(&user(name), &scope, &Ask::default(), self.now).map(|(_, lines)| lines)
    }

    /// One alarm.
    fn turn(&mut self) {
        self.core.begin_turn(self.now);
        for _ in 0..1_000 {
            match self.core.next_effect(self.now) {
                Effect::ReadHead { .. } => self.core.head_was_read(None, self.now, 1),
                Effect::PutObject { .. } => self.core.object_was_put(PutOutcome::Done, self.now),
                Effect::PutHead { .. } => self.core.head_was_put(PutOutcome::Done, self.now),
                Effect::DeleteObject { .. } => self.core.object_was_deleted(PutOutcome::Done, self.now),
                Effect::Sleep(_) => return,
            }
        }
        panic!("the turn has no end")
    }

    /// What the space says of a membership.
    fn membership(&mut self, name: &str) -> Membership {
        self.core.membership(&user(name)).expect("a read").expect("a shared space")
    }
}

#[test]
fn who_makes_a_space_owns_it_and_the_record_says_so() {
    let mut desk = Desk::team();
    assert_eq!(desk.version(), 1);
    let shown = json!({ "space": "team", "role": "owner", "epoch": desk.epoch(), "version": 1 });
    assert_eq!(desk.administer("alice", &Administration::Show), Ok(shown.clone()));
    assert_eq!(
        desk.administer("alice", &Administration::Create { owner: person("alice") }),
        Ok(shown),
        "a lost answer is repeated"
    );
    assert_eq!(
        desk.administer("mallory", &Administration::Create { owner: person("mallory") }),
        Err(MEMBERS),
        "the id is taken"
    );
    let line = format!(
        "{{\"version\":1,\"collection\":\"$members\",\"id\":\"{}\",\"value\":{{\"sub\":\"alice\",\"role\":\"owner\"}}}}\n",
        user("alice").as_str()
    );
    let consequence = "members of every space would lose their roles, or clients could not read who they are";
    assert_eq!(desk.pull_as("alice"), Ok(line), "{consequence}");
}

#[test]
fn every_role_may_do_what_the_table_says() {
    let all = [
        (Administration::Show, "reader"),
        (Administration::Create { owner: person("bob") }, "owner"),
        (Administration::Members { after: None }, "reader"),
        (Administration::Member(person("bob")), "reader"),
        (Administration::Policies, "reader"),
        (Administration::Grant { claim: None }, "reader"),
        (set("mallory", Role::Reader), "owner"),
        (remove("bob"), "owner"),
        (merge("todos"), "owner"),
        (no_policy("todos"), "owner"),
        (Administration::ShutDexie, "owner"),
        (Administration::AdmitDexie, "owner"),
        (Administration::ResetEpoch, "owner"),
        (Administration::Delete, "owner"),
        (Administration::Invite { role: Role::Reader, uses: 1, lasts_ms: 1 }, "owner"),
        (Administration::Invitations, "owner"),
        (Administration::Uninvite { number: 1 }, "owner"),
    ];
    for (asked, least) in all {
        for (name, role) in [("alice", "owner"), ("bob", "writer"), ("rita", "reader"), ("eve", "none")] {
            let mut desk = Desk::staffed();
            let before = desk.core.ledger().clone();
            let rank = |role: &str| ["none", "reader", "writer", "owner"].iter().position(|one| *one == role);
            let is_allowed = rank(role) >= rank(least) || (asked == remove("bob") && name == "bob");
            // These can wait until the space has something left.
            let waits = matches!(
                asked,
                Administration::Create { .. } | Administration::Invite { .. } | Administration::Invitations
            );
            assert_eq!(asked.is_owners(), least == "owner" && !waits, "{asked:?}");
            let done = desk.administer(name, &asked);
            assert_eq!(done.is_ok(), is_allowed, "{asked:?} by {role}: {done:?}");
            if let Err(error) = done {
                assert_eq!(error, if role == "none" { MEMBERS } else { OWNERS }, "{asked:?} by {role}");
                assert_eq!(format!("{:?}", desk.core.ledger()), format!("{before:?}"), "{asked:?} by {role}");
            }
        }
    }
    let mut desk = Desk::staffed();
    for (name, writes, reads) in
        [("alice", true, true), ("bob", true, true), ("rita", false, true), ("eve", false, false)]
    {
        assert_eq!(desk.put_as(name, "client-a", 1, "r").is_ok(), writes, "{name}");
        assert_eq!(desk.pull_as(name).is_ok(), reads, "{name}");
    }
}

#[test]
fn a_removed_member_cannot_push_or_pull_and_a_role_counts_at_once() {
    let mut desk = Desk::staffed();
    assert!(desk.put_as("bob", "client-b", 1, "r").is_ok());
    desk.set("alice", "bob", "reader").expect("a role");
    let reader = ApiError::Forbidden("You are a reader of this space: ask an owner to let you write.");
    assert_eq!(desk.put_as("bob", "client-b", 2, "r"), Err(reader));
    assert!(desk.pull_as("bob").is_ok());
    desk.remove("alice", "bob").expect("an end");
    assert_eq!(desk.put_as("bob", "client-b", 2, "r"), Err(MEMBERS));
    assert_eq!(desk.pull_as("bob"), Err(MEMBERS));
    assert_eq!(desk.administer("bob", &Administration::Show), Err(MEMBERS));
    desk.set("alice", "bob", "writer").expect("a member again");
    assert!(desk.put_as("bob", "client-b", 2, "r").is_ok(), "with the numbers of before");
}

#[test]
fn a_group_is_settled_push_by_push_whatever_the_others_may() {
    let mut desk = Desk::staffed();
    let pushes: Vec<_> = ["alice", "rita", "eve", "bob"]
        .into_iter()
        .map(|name| (user(name), parsed(&body("client-x", &[put(1, name, "{}")]))))
        .collect();
    let answers = desk.core.push(&pushes, desk.now);
    let settled: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(settled, [true, false, false, true]);
    assert_eq!(desk.version(), 5, "and the refused ones took no version");
}

#[test]
fn h20_a_client_id_of_another_member_has_numbers_of_its_own() {
    let mut desk = Desk::staffed();
    assert_eq!(desk.put_as("alice", "client-a", 1, "r1"), Ok(applied(4)));
    assert_eq!(desk.put_as("bob", "client-a", 1, "r2"), Ok(applied(5)));
    assert_eq!(desk.put_as("alice", "client-a", 2, "r3"), Ok(applied(6)));
}

#[test]
fn what_stands_already_takes_no_version() {
    let mut desk = Desk::staffed();
    let at = desk.version();
    desk.set("alice", "bob", "writer").expect("a member");
    desk.remove("alice", "mallory").expect("nothing to do");
    desk.administer("alice", &no_policy("todos")).expect("nothing to do");
    assert_eq!(desk.version(), at);
    desk.administer("alice", &merge("todos")).expect("a policy");
    desk.administer("alice", &merge("todos")).expect("a policy");
    assert_eq!(desk.version(), at + 1);
    let listed = desk.administer("rita", &Administration::Policies);
    assert_eq!(listed, Ok(json!({ "policies": { "todos": "merge" } })));
    assert!(
        desk.pull_as("rita")
            .expect("lines")
            .contains("\"collection\":\"$policies\",\"id\":\"todos\",\"value\":{\"onConflict\":\"merge\"}")
    );
    desk.administer("alice", &no_policy("todos")).expect("an end");
    desk.administer("alice", &no_policy("todos")).expect("an end");
    assert_eq!(desk.version(), at + 2);
    desk.administer("alice", &Administration::AdmitDexie).expect("nothing to do");
    for _ in 0..2 {
        let done = desk.administer("alice", &Administration::ShutDexie);
        assert_eq!(done, Ok(json!({ "access": "none" })));
    }
    assert_eq!(desk.version(), at + 3);
    let listed = desk.administer("rita", &Administration::Policies);
    assert_eq!(listed, Ok(json!({ "policies": {}, "access": { "$dexie": "none" } })));
}

#[test]
fn the_last_owner_stays() {
    let mut desk = Desk::staffed();
    assert_eq!(desk.remove("alice", "alice"), Err(LAST));
    assert_eq!(desk.set("alice", "alice", "writer"), Err(LAST));
    desk.set("alice", "bob", "owner").expect("a second one");
    desk.remove("alice", "alice").expect("now she may leave");
    assert_eq!(desk.remove("bob", "bob"), Err(LAST));
    assert!(desk.set("alice", "alice", "owner").is_err(), "who has left does not come back by herself");
}

#[test]
fn members_are_listed_with_their_subjects() {
    let mut desk = Desk::staffed();
    let listed = desk.administer("rita", &Administration::Members { after: None }).expect("members");
    let mut listed = listed["members"].as_array().expect("a list").clone();
    listed.sort_by_key(|member| member["sub"].to_string());
    let shown = |name: &str, role: &str| json!({ "sub": name, "user": user(name).as_str(), "role": role });
    assert_eq!(listed, [shown("alice", "owner"), shown("bob", "writer"), shown("rita", "reader")]);
    assert_eq!(desk.administer("rita", &Administration::Member(person("bob"))), Ok(shown("bob", "writer")));
    let nobody = ApiError::NotFound("There is no such member.");
    assert_eq!(desk.administer("rita", &Administration::Member(person("eve"))), Err(nobody));
}

#[test]
fn a_private_space_has_one_user_who_may_do_everything_else() {
    let mut desk = Desk::new();
    for asked in [
        Administration::Members { after: None },
        Administration::Member(person("bob")),
        set("bob", Role::Reader),
        remove("bob"),
    ] {
        assert!(matches!(desk.administer("alice", &asked), Err(ApiError::Forbidden(_))), "{asked:?}");
    }
    let shown = json!({ "space": "~", "role": "owner", "epoch": desk.epoch(), "version": 0 });
    assert_eq!(desk.administer("alice", &Administration::Show), Ok(shown));
}

#[test]
fn what_headwater_writes_is_not_counted_among_the_collections() {
    let mut desk = Desk::staffed();
    desk.administer("alice", &merge("c")).expect("a policy");
    let change = |n: u64| format!(r#"{{"op":"put","collection":"c{n}","id":"r","value":{{}}}}"#);
    let changes: Vec<_> = (0..limits::COLLECTIONS_MAX as u64).map(change).collect();
    let mutation = format!(r#"{{"id":1,"changes":[{}]}}"#, changes.join(","));
    assert!(matches!(desk.settle("client-a", &mutation), Settled::Applied(_)));
}

#[test]
fn a_deleted_space_answers_410_for_ever_and_keeps_nothing_but_that() {
    let mut desk = Desk::staffed();
    desk.put_as("bob", "client-b", 1, "r").expect("a change");
    let at = desk.version();
    desk.administer("alice", &Administration::Delete).expect("an end");
    for again in [false, true] {
        if again {
            let ledger = std::mem::take(desk.core.ledger());
            desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a row");
        }
        for name in ["alice", "bob", "eve"] {
            assert_eq!(desk.put_as(name, "client-b", 1, "r"), Err(ApiError::Gone), "{name}");
            assert_eq!(desk.pull_as(name), Err(ApiError::Gone), "{name}");
            for asked in [
                Administration::Create { owner: person(name) },
                Administration::Show,
                Administration::Members { after: None },
                set(name, Role::Reader),
                remove(name),
                Administration::Grant { claim: None },
                Administration::Delete,
                Administration::ResetEpoch,
            ] {
                assert_eq!(desk.administer(name, &asked), Err(ApiError::Gone), "{name} {asked:?}");
            }
            assert_eq!(desk.core.admit(&user(name), Role::Reader), Err(ApiError::Gone));
        }
    }
    let ledger = desk.core.ledger();
    assert_eq!(ledger.newest(), Ok(Version::ZERO));
    assert_eq!(ledger.client(&user("bob"), &ClientId::stored("client-b")), Ok(None));
    assert_eq!(desk.version(), at + 1, "its end is a step of its own");
    for name in ["alice", "bob", "eve"] {
        let Membership { standing, at, .. } = desk.membership(name);
        assert_eq!((standing, at), (Standing::Gone, desk.core.position()));
    }
    assert_eq!(desk.core.poll_alarm(desk.now.plus(1_000_000_000)), None, "and nothing is published any more");
}

#[test]
fn a_put_that_is_under_way_when_the_space_is_deleted_is_not_noted() {
    let mut desk = Desk::team();
    desk.turn();
    desk.put_as("alice", "client-a", 1, "r").expect("a change");
    desk.now = desk.now.plus(BY_DEMAND.max_delay_ms);
    desk.core.begin_turn(desk.now);
    let effect = desk.core.next_effect(desk.now);
    assert!(matches!(effect, Effect::PutHead { .. }), "{effect:?}");
    desk.administer("alice", &Administration::Delete).expect("an end");
    desk.core.head_was_put(PutOutcome::Unknown, desk.now);
    assert_eq!(desk.core.ledger().private("publication", ""), Ok(None));
    assert_eq!(desk.core.next_effect(desk.now), Effect::Sleep(None));
}

#[test]
fn a_space_says_what_a_user_is_since_when_and_where_it_stood_then() {
    let mut desk = Desk::staffed();
    let said = |desk: &mut Desk, name: &str| {
        let Membership { incarnation, standing, at, since } = desk.membership(name);
        assert_eq!((incarnation.as_str(), &at), (desk.epoch().as_str(), &desk.core.position()));
        (standing.as_str(), since.get())
    };
    assert_eq!(said(&mut desk, "alice"), ("owner", 1));
    assert_eq!(said(&mut desk, "bob"), ("writer", 2));
    assert_eq!(said(&mut desk, "eve"), ("none", 0));
    let before = desk.membership("bob");
    desk.put_as("bob", "client-b", 1, "r").expect("a change");
    assert!(before.is_same_as(&desk.membership("bob")), "nothing has become of it");
    assert!(before.at < desk.membership("bob").at);
    desk.remove("alice", "bob").expect("an end");
    assert_eq!(said(&mut desk, "bob"), ("none", 5));
    desk.set("alice", "bob", "writer").expect("a member again");
    assert_eq!(said(&mut desk, "bob"), ("writer", 6));
    assert!(!before.is_same_as(&desk.membership("bob")));
    assert_eq!(
        Desk::new().core.membership(&user("alice")),
        Ok(None),
        "of a private space there is nothing to say"
    );
}

#[test]
fn who_asks_hears_of_their_own_membership_and_who_invites_that_somebody_is_new() {
    let mut desk = Desk::staffed();
    let mut aside = |caller: &str, asked: Administration| {
        let done = desk.core.administer(&user(caller), &asked, desk.now, 9);
        let invites = done.as_ref().is_ok_and(|done| done.invites);
        match desk.core.aside(&user(caller), &asked, &done, invites).expect("a read") {
            Some(Aside::Membership(said)) => said.standing.as_str(),
            Some(Aside::Invited) => "invited",
            Some(Aside::OfSpace | Aside::Rejected(_)) => "what a push is told",
            None => "nothing",
        }
    };
    assert_eq!(aside("alice", set("mallory", Role::Reader)), "invited");
    assert_eq!(aside("alice", set("mallory", Role::Writer)), "owner", "one who was there before");
    assert_eq!(aside("bob", set("eve", Role::Reader)), "writer", "who may not");
    assert_eq!(aside("bob", remove("bob")), "none", "who leaves");
    assert_eq!(aside("eve", Administration::Create { owner: person("eve") }), "none");
    assert_eq!(aside("rita", Administration::Show), "nothing");
    assert_eq!(aside("alice", Administration::Delete), "gone");
    assert_eq!(aside("rita", remove("rita")), "gone");
}

#[test]
fn an_owner_who_begins_an_epoch_begins_it_above_kvs_head() {
    let mut desk = Desk::staffed();
    let key = desk.core.scope().head_key();
    for asked in [Administration::ResetEpoch, Administration::Delete] {
        assert_eq!(desk.core.head_before(&user("alice"), &asked), Some(key.clone()));
        assert_eq!(desk.core.head_before(&user("bob"), &asked), None, "who may not do it costs no read");
    }
    assert_eq!(desk.core.head_before(&user("alice"), &Administration::Show), None);
    desk.core.head_was_read(None, desk.now, 1);
    assert_eq!(
        desk.core.head_before(&user("alice"), &Administration::ResetEpoch),
        None,
        "it is compared once"
    );
}

#[test]
fn an_epoch_that_an_owner_begins_leaves_the_watchdog_of_the_instance_before_alone() {
    let mut desk = Desk::staffed();
    let watchdog = desk.core.begin_turn(desk.now);
    // The instance dies, and a put of it may still land until its watchdog fires.
    let (ledger, config) = (std::mem::take(desk.core.ledger()), BY_DEMAND);
    desk.core = Coordinator::open(ledger, None, config, Some(watchdog), desk.now, 1).expect("a space");
    desk.core.head_was_read(None, desk.now, 1);
    desk.core.administer(&user("alice"), &Administration::ResetEpoch, desk.now, 9).expect("an epoch");
    assert_eq!(desk.core.poll_alarm(desk.now), None, "its head would land over the one of the new epoch");
}

#[test]
fn members_come_in_pages_of_bytes_however_long_their_names_are() {
    let mut desk = Desk::team();
    // Each of these bytes is six in JSON.
    let name = |number: u64| format!("{number:03}{}", "\u{1}".repeat(limits::SUBJECT_BYTES_MAX - 3));
    for number in 0..200 {
        desk.set("alice", &name(number), "reader").expect("a member");
    }
    let (mut all, mut after, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let asked = Administration::Members { after };
        let page = desk.core.administer(&user("alice"), &asked, desk.now, 9);
        let page = page.expect("a page").body.expect("a body");
        assert!(page.len() < limits::JSON_PAGE_BYTES + 8_192, "{}", page.len());
        let page: Value = serde_json::from_str(&page).expect("JSON");
        for member in page["members"].as_array().expect("a list") {
            assert!(all.insert(member["sub"].as_str().expect("a subject").to_owned()), "listed twice");
        }
        pages += 1;
        let Some(next) = page["cursor"].as_str() else { break };
        after = Some(UserHash::parse(next).expect("a hash"));
    }
    assert_eq!((all.len(), pages), (201, 5));
    assert!(all.contains("alice") && (0..200).all(|number| all.contains(&name(number))));
}

#[test]
fn another_owner_is_found_among_many_members_wherever_the_hash_stands() {
    let mut desk = Desk::team();
    for number in 0..200 {
        desk.set("alice", &format!("user {number}"), "reader").expect("a member");
    }
    assert_eq!(desk.remove("alice", "alice"), Err(LAST));
    let mut names: Vec<_> = (0..200).map(|number| format!("user {number}")).collect();
    names.sort_by_key(|name| user(name).as_str().to_owned());
    for name in [&names[0], &names[199]] {
        desk.set("alice", name, "owner").expect("a second one");
        desk.set("alice", "alice", "writer").expect("now she may");
        desk.set(name, "alice", "owner").expect("and back");
        desk.set("alice", name, "reader").expect("a reader again");
    }
    assert_eq!(desk.remove("alice", "alice"), Err(LAST));
}

#[test]
fn a_private_space_that_is_deleted_begins_anew_and_its_clients_know_what_was_applied() {
    let mut desk = Desk::new();
    desk.put("client-a", 1, "r", "{}");
    desk.now = desk.now.plus(BY_DEMAND.max_delay_ms);
    desk.turn();
    let before = desk.core.position();
    assert_eq!(
        desk.core.publisher().row().published.as_ref().map(|put| put.position.clone()),
        Some(before.clone())
    );
    desk.administer("alice", &Administration::Delete).expect("an end");
    let after = desk.core.position();
    assert!(after.epoch > before.epoch && after.version == before.version);
    assert_eq!(desk.core.horizon(), before.version);
    assert_eq!(desk.value("r"), None);
    let lines = desk.pull_as("alice").expect("lines");
    assert_eq!(lines, "");
    let push = format!(
        r#"{{"client":"client-a","epoch":"{}","since":1,"mutations":[{}]}}"#,
        before.epoch,
        put(2, "r", "{}")
    );
    match desk.push(&push) {
        Err(ApiError::EpochMismatch { last, .. }) => assert_eq!(last, 1),
        other => panic!("{other:?}"),
    }
    for again in [false, true] {
        if again {
            let ledger = std::mem::take(desk.core.ledger());
            desk.core = open(ledger, desk.now);
        }
        assert_eq!(desk.core.position(), after, "also after a restart");
        let row = desk.core.publisher().row();
        assert!(row.base.is_none() && row.delta.is_none() && row.building.is_none());
    }
    desk.now = desk.now.plus(BY_DEMAND.interval_ms);
    desk.turn();
    assert_eq!(desk.core.publisher().row().published.as_ref().map(|put| put.position.clone()), Some(after));
}

#[test]
fn what_is_put_while_a_private_space_is_deleted_is_replaced_at_once() {
    let mut desk = Desk::new();
    let filler = "x".repeat(200_000);
    for number in 1..=10 {
        desk.put("client-a", number, &format!("r{number}"), &format!("{{\"x\":\"{filler}\"}}"));
    }
    desk.core.begin_turn(desk.now);
    let mut parts = 0;
    // Once while each of the things that a turn puts is under way.
    for stop_at in 0.. {
        let mut effect = desk.core.next_effect(desk.now);
        let is_put = |effect: &Effect| matches!(effect, Effect::PutObject { .. } | Effect::PutHead { .. });
        for _ in 0..stop_at {
            match effect {
                Effect::ReadHead { .. } => desk.core.head_was_read(None, desk.now, 1),
                Effect::PutObject { .. } => desk.core.object_was_put(PutOutcome::Done, desk.now),
                _ => break,
            }
            effect = desk.core.next_effect(desk.now);
        }
        let is_head = matches!(effect, Effect::PutHead { .. });
        if is_put(&effect) {
            parts += usize::from(!is_head);
            let mut copy = Desk { core: open(desk.core.ledger().clone(), desk.now), now: desk.now };
            std::mem::swap(&mut copy.core.publisher, &mut desk.core.publisher);
            copy.administer("alice", &Administration::Delete).expect("an end");
            match is_head {
                true => copy.core.head_was_put(PutOutcome::Done, copy.now),
                false => copy.core.object_was_put(PutOutcome::Done, copy.now),
            }
            for _ in 0..3 {
                copy.turn();
                copy.now = copy.now.plus(BY_DEMAND.interval_ms);
            }
            let row = copy.core.publisher().row();
            assert_eq!(row.published.as_ref().map(|put| put.position.clone()), Some(copy.core.position()));
            assert!(row.base.is_none() && row.delta.is_none(), "nothing old is named");
        }
        if is_head || stop_at > 20 {
            break;
        }
        desk = Desk::new();
        for number in 1..=10 {
            desk.put("client-a", number, &format!("r{number}"), &format!("{{\"x\":\"{filler}\"}}"));
        }
        desk.core.begin_turn(desk.now);
    }
    assert!(parts > 0);
}

#[test]
fn h6_a_grant_of_an_earlier_space_of_this_id_reads_nothing() {
    let mut desk = Desk::team();
    let old = desk.core.scope().clone();
    desk.put_as("alice", "client-a", 1, "secret").expect("a change");
    // Storage is lost, as no deletion of ours does it, and the id is made again by somebody else.
    let created = Coordinator::create(
        MemoryLedger::default(),
        &team(),
        &person("mallory"),
        BY_DEMAND,
        START.plus(1),
        7,
    );
    desk.core = created.expect("a space");
    desk.set("mallory", "alice", "reader").expect("a member");
    assert_ne!(*desk.core.scope(), old);
    let asked = desk.core.pull(&user("alice"), &old, &Ask::default(), desk.now);
    assert_eq!(asked, Err(ApiError::GrantRequired));
    // Nor does what it claims to have seen there begin an epoch here, which would reset every client.
    desk.set("mallory", "alice", "writer").expect("a member");
    let seen = Position { epoch: desk.core.position().epoch, version: version(99) };
    let claim = Ask { held: Some(seen.clone()), min: Some(seen), ..Ask::default() };
    let later = desk.now.plus(2 * EPOCH_MS_MIN);
    assert_eq!(desk.core.claimed_by(&user("alice"), &old, &claim, later), Err(ApiError::GrantRequired));
    let present = desk.core.scope().clone();
    assert!(matches!(desk.core.claimed_by(&user("alice"), &present, &claim, later), Ok(Some(_))));
    assert!(!desk.pull_as("alice").expect("lines").contains("secret"));
}

#[test]
fn a_reader_cannot_reset_everybody_by_claiming_the_future() {
    let mut desk = Desk::staffed();
    let now = START.plus(2 * EPOCH_MS_MIN);
    let scope = desk.core.scope().clone();
    let min = Some(Position { version: version(99), ..desk.core.position() });
    let ask = Ask { min, ..Ask::default() };
    assert_eq!(desk.core.claimed_by(&user("rita"), &scope, &ask, now), Ok(None));
    assert!(matches!(desk.core.claimed_by(&user("bob"), &scope, &ask, now), Ok(Some(_))));
    assert_eq!(desk.core.claimed_by(&user("eve"), &scope, &ask, now), Err(MEMBERS));
    let held = Ask { held: ask.min.clone(), ..Ask::default() };
    assert!(
        matches!(desk.core.claimed_by(&user("rita"), &scope, &held, now), Ok(Some(_))),
        "a head of ours says so"
    );
}

#[test]
fn whichever_write_of_a_step_fails_nothing_of_it_remains() {
    for asked in [set("mallory", Role::Owner), remove("bob"), merge("todos"), Administration::Delete] {
        for write in 1.. {
            let mut desk = Desk::staffed();
            desk.put_as("bob", "client-b", 1, "r").expect("a change");
            let (before, at) = (format!("{:?}", desk.core.ledger()), desk.core.position());
            desk.core.ledger().fail_writes_after = Some(write);
            let done = desk.administer("alice", &asked);
            desk.core.ledger().fail_writes_after = None;
            if done.is_ok() {
                assert!(write > 1, "{asked:?}");
                break;
            }
            assert_eq!(done, Err(ApiError::Internal), "{asked:?}");
            assert_eq!(
                (format!("{:?}", desk.core.ledger()), desk.core.position()),
                (before, at),
                "{asked:?} {write}"
            );
            assert!(desk.administer("alice", &asked).is_ok(), "{asked:?} again");
        }
    }
}

#[test]
fn in_sqlite_a_space_lives_and_ends_alike() {
    let database = Sqlite::in_memory();
    let ledger = SqlLedger::open(database.clone()).expect("a database");
    let mut desk = Desk { core: create(ledger), now: START };
    desk.set("alice", "bob", "writer").expect("a member");
    let writes = database.writes();
    desk.put_as("bob", "client-b", 1, "r1").expect("a change");
    let first = database.writes() - writes;
    desk.put_as("bob", "client-b", 2, "r2").expect("a change");
    let second = database.writes() - writes - first;
    assert_eq!((first, second), (4, 2), "its record and its client; the first one also counts the client");
    desk.administer("alice", &Administration::Delete).expect("an end");
    assert_eq!(SqlLedger::is_used(&database), Ok(true));
    let ledger = SqlLedger::open(database).expect("a database");
    desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a row");
    assert_eq!(desk.pull_as("alice"), Err(ApiError::Gone));
    assert_eq!(desk.membership("bob").standing, Standing::Gone);
}
