//! Shared spaces: who may do what, how they end, and that homes are told.

use serde_json::{Value, json};

use super::*;
use crate::{
    coordinator::{
        ledger::{SqlLedger, tests::sqlite::Sqlite},
        publication::{Effect, PutOutcome},
    },
    ids::SpaceId,
    limits,
    protocol::{
        act::Act,
        internal::{Ask, Order},
    },
};

const OWNERS: ApiError = ApiError::Forbidden("Only an owner of the space may do this.");
const MEMBERS: ApiError = ApiError::Forbidden("You are not a member of this space.");
const LAST: ApiError =
    ApiError::Forbidden("The last owner has to make another one first, or to delete the space.");

fn person(name: &str) -> Person {
    let home = SpaceHash::private("https://issuer.example", name);
    Person { user: user(name), home, sub: name.to_owned() }
}

/// An order about `name`.
fn about(name: &str) -> Order {
    let Person { user, home, sub } = person(name);
    Order { user: user.as_str().to_owned(), home: home.as_str().to_owned(), sub, ..Order::default() }
}

fn team() -> SpaceId {
    SpaceId::parse("team").expect("an id")
}

fn create<L: Ledger>(ledger: L) -> Coordinator<L> {
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
    pub(super) fn act(&mut self, caller: &str, act: Act, order: &Order) -> Result<Value, ApiError> {
        let done = self.core.administer(&user(caller), act, order, self.now, 9);
        done.map(|body| body.map_or(Value::Null, |body| serde_json::from_str(&body).expect("JSON")))
    }

    fn set(&mut self, caller: &str, name: &str, role: &str) -> Result<Value, ApiError> {
        self.act(caller, Act::SetMember, &Order { role: role.to_owned(), ..about(name) })
    }

    fn remove(&mut self, caller: &str, name: &str) -> Result<Value, ApiError> {
        self.act(caller, Act::RemoveMember, &about(name))
    }

    fn put_as(&mut self, name: &str, client: &str, number: u64, id: &str) -> Result<Settled, ApiError> {
        let answer = self.push_as(&user(name), &body(client, &[put(number, id, "{}")]))?;
        Ok(answer.results[0].settled.clone())
    }

    fn pull_as(&mut self, name: &str) -> Result<String, ApiError> {
        let scope = self.core.scope().clone();
        self.core.pull(&user(name), &scope, &Ask::default(), self.now).map(|(_, lines)| lines)
    }

    /// One alarm; returns the notices it sent, which the homes answer as `is_told` says.
    fn turn(&mut self, is_told: bool) -> Vec<Notice> {
        self.turn_answered(|_| if is_told { Told::Noted } else { Told::Failed })
    }

    /// The same; `home` says what the homes answer.
    fn turn_answered(&mut self, mut home: impl FnMut(&Notice) -> Told) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.core.begin_turn(self.now);
        for _ in 0..1_000 {
            match self.core.next_effect(self.now) {
                Effect::Tell(notice) => {
                    let told = home(&notice);
                    self.was_told(&notice, &told);
                    notices.push(*notice);
                }
                Effect::ReadHead { .. } => self.core.head_was_read(None, self.now, 1),
                Effect::PutObject { .. } => self.core.object_was_put(PutOutcome::Done, self.now),
                Effect::PutHead { .. } => self.core.head_was_put(PutOutcome::Done, self.now),
                Effect::Sleep(_) => return notices,
            }
        }
        panic!("the turn has no end")
    }

    fn was_told(&mut self, notice: &Notice, told: &Told) {
        self.core.was_told(&notice.user, notice.at.version, told, self.now, 8);
    }

    /// As [`Self::turn`], a minute later, as `name role version`, until nothing is told any more.
    fn tell(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        self.now = self.now.plus(limits::NOTICE_RETRY_MS);
        loop {
            let notices = self.turn(true);
            if notices.is_empty() {
                return told;
            }
            let names = ["alice", "bob", "rita", "mallory"];
            told.extend(notices.iter().map(|notice| {
                let name = names.into_iter().find(|name| person(name).home == notice.home).unwrap_or("?");
                format!("{name} {} {}", notice.role.map_or("none", Role::as_str), notice.at.version)
            }));
        }
    }
}

#[test]
fn who_makes_a_space_owns_it_and_the_record_says_so() {
    let mut desk = Desk::team();
    assert_eq!(desk.version(), 1);
    let shown = json!({ "space": "team", "role": "owner", "epoch": desk.epoch(), "version": 1 });
    assert_eq!(desk.act("alice", Act::Show, &Order::default()), Ok(shown.clone()));
    assert_eq!(desk.act("alice", Act::Create, &about("alice")), Ok(shown), "a lost answer is repeated");
    assert_eq!(desk.act("mallory", Act::Create, &about("mallory")), Err(MEMBERS), "the id is taken");
    let line = format!(
        "{{\"version\":1,\"collection\":\"$members\",\"id\":\"{}\",\"value\":{{\"sub\":\"alice\",\"role\":\"owner\"}}}}\n",
        user("alice").as_str()
    );
    let consequence = "members of every space would lose their roles, or clients could not read who they are";
    assert_eq!(desk.pull_as("alice"), Ok(line), "{consequence}");
}

#[test]
fn every_role_may_do_what_the_table_says() {
    let policy = Order { collection: "todos".to_owned(), policy: "merge".to_owned(), ..Order::default() };
    let acts = [
        (Act::Show, Order::default(), "reader"),
        (Act::Create, about("bob"), "owner"),
        (Act::Members, Order::default(), "reader"),
        (Act::Member, about("bob"), "reader"),
        (Act::Policies, Order::default(), "reader"),
        (Act::SetMember, Order { role: "reader".to_owned(), ..about("mallory") }, "owner"),
        (Act::RemoveMember, about("bob"), "owner"),
        (Act::SetPolicy, policy.clone(), "owner"),
        (Act::RemovePolicy, policy, "owner"),
        (Act::ResetEpoch, Order::default(), "owner"),
        (Act::Delete, Order::default(), "owner"),
    ];
    for (act, order, least) in acts {
        for (name, role) in [("alice", "owner"), ("bob", "writer"), ("rita", "reader"), ("eve", "none")] {
            let mut desk = Desk::staffed();
            let before = desk.core.ledger().clone();
            let rank = |role: &str| ["none", "reader", "writer", "owner"].iter().position(|one| *one == role);
            let is_allowed = rank(role) >= rank(least) || (act == Act::RemoveMember && name == "bob");
            assert_eq!(act.is_owners(), least == "owner" && act != Act::Create, "{act:?}");
            let done = desk.act(name, act, &order);
            assert_eq!(done.is_ok(), is_allowed, "{act:?} by {role}: {done:?}");
            if let Err(error) = done {
                assert_eq!(error, if role == "none" { MEMBERS } else { OWNERS }, "{act:?} by {role}");
                assert_eq!(format!("{:?}", desk.core.ledger()), format!("{before:?}"), "{act:?} by {role}");
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
    assert_eq!(desk.act("bob", Act::Show, &Order::default()), Err(MEMBERS));
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
    let policy = Order { collection: "todos".to_owned(), policy: "merge".to_owned(), ..Order::default() };
    desk.act("alice", Act::RemovePolicy, &policy).expect("nothing to do");
    assert_eq!(desk.version(), at);
    desk.act("alice", Act::SetPolicy, &policy).expect("a policy");
    desk.act("alice", Act::SetPolicy, &policy).expect("a policy");
    assert_eq!(desk.version(), at + 1);
    let listed = desk.act("rita", Act::Policies, &Order::default());
    assert_eq!(listed, Ok(json!({ "policies": { "todos": "merge" } })));
    assert!(
        desk.pull_as("rita")
            .expect("lines")
            .contains("\"collection\":\"$policies\",\"id\":\"todos\",\"value\":{\"onConflict\":\"merge\"}")
    );
    desk.act("alice", Act::RemovePolicy, &policy).expect("an end");
    desk.act("alice", Act::RemovePolicy, &policy).expect("an end");
    assert_eq!(desk.version(), at + 2);
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
    let listed = desk.act("rita", Act::Members, &Order::default()).expect("members");
    let mut listed = listed["members"].as_array().expect("a list").clone();
    listed.sort_by_key(|member| member["sub"].to_string());
    let shown = |name: &str, role: &str| json!({ "sub": name, "user": user(name).as_str(), "role": role });
    assert_eq!(listed, [shown("alice", "owner"), shown("bob", "writer"), shown("rita", "reader")]);
    assert_eq!(desk.act("rita", Act::Member, &about("bob")), Ok(shown("bob", "writer")));
    let nobody = ApiError::NotFound("There is no such member.");
    assert_eq!(desk.act("rita", Act::Member, &about("eve")), Err(nobody));
}

#[test]
fn a_private_space_has_one_user_who_may_do_everything_else() {
    let mut desk = Desk::new();
    for act in [Act::Members, Act::Member, Act::SetMember, Act::RemoveMember] {
        let order = Order { role: "reader".to_owned(), ..about("bob") };
        assert!(matches!(desk.act("alice", act, &order), Err(ApiError::Forbidden(_))), "{act:?}");
    }
    let shown = json!({ "space": "~", "role": "owner", "epoch": desk.epoch(), "version": 0 });
    assert_eq!(desk.act("alice", Act::Show, &Order::default()), Ok(shown));
}

#[test]
fn what_headwater_writes_is_not_counted_among_the_collections() {
    let mut desk = Desk::staffed();
    let policy = Order { collection: "c".to_owned(), policy: "merge".to_owned(), ..Order::default() };
    desk.act("alice", Act::SetPolicy, &policy).expect("a policy");
    let change = |n: u64| format!(r#"{{"op":"put","collection":"c{n}","id":"r","value":{{}}}}"#);
    let changes: Vec<_> = (0..limits::COLLECTIONS_MAX as u64).map(change).collect();
    let mutation = format!(r#"{{"id":1,"changes":[{}]}}"#, changes.join(","));
    assert!(matches!(desk.settle("client-a", &mutation), Settled::Applied(_)));
}

#[test]
fn a_deleted_space_answers_410_for_ever_and_keeps_nothing_but_that() {
    let mut desk = Desk::staffed();
    desk.put_as("bob", "client-b", 1, "r").expect("a change");
    desk.tell();
    let at = desk.version();
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    for again in [false, true] {
        if again {
            let ledger = std::mem::take(desk.core.ledger());
            desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a row");
        }
        for name in ["alice", "bob", "eve"] {
            assert_eq!(desk.put_as(name, "client-b", 1, "r"), Err(ApiError::Gone), "{name}");
            assert_eq!(desk.pull_as(name), Err(ApiError::Gone), "{name}");
            for act in [
                Act::Create,
                Act::Show,
                Act::Members,
                Act::SetMember,
                Act::RemoveMember,
                Act::Delete,
                Act::ResetEpoch,
            ] {
                assert_eq!(desk.act(name, act, &about(name)), Err(ApiError::Gone), "{name} {act:?}");
            }
            assert_eq!(desk.core.admit(&user(name), Role::Reader), Err(ApiError::Gone));
        }
    }
    let ledger = desk.core.ledger();
    assert_eq!(ledger.newest(), Ok(Version::ZERO));
    assert_eq!(ledger.client(&user("bob"), &ClientId::stored("client-b")), Ok(None));
    assert_eq!(desk.version(), at + 1, "its end is a step of its own");
    assert_eq!(desk.tell(), told(&["alice none", "bob none", "rita none"], at + 1));
    assert_eq!(desk.core.poll_alarm(desk.now.plus(1_000_000_000)), None, "and nothing is published any more");
}

/// `tell`'s words for these, in the order of the users' hashes.
fn told(words: &[&str], at: u64) -> Vec<String> {
    let mut words: Vec<_> = words.iter().map(|words| format!("{words} {at}")).collect();
    by_user(&mut words);
    words
}

fn by_user(words: &mut [String]) {
    words.sort_by_key(|words| user(words.split(' ').next().unwrap_or_default()).as_str().to_owned());
}

#[test]
fn a_put_that_is_under_way_when_the_space_is_deleted_is_not_noted() {
    let mut desk = Desk::team();
    desk.tell();
    desk.put_as("alice", "client-a", 1, "r").expect("a change");
    desk.now = desk.now.plus(BY_DEMAND.max_delay_ms);
    desk.core.begin_turn(desk.now);
    let effect = desk.core.next_effect(desk.now);
    assert!(matches!(effect, Effect::PutHead { .. }), "{effect:?}");
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    let publication = desk.core.ledger().publication();
    desk.core.head_was_put(PutOutcome::Unknown, desk.now);
    assert_eq!(desk.core.ledger().publication(), publication);
    let notice = desk.core.next_effect(desk.now);
    assert!(matches!(notice, Effect::Tell(_)), "{notice:?}");
}

#[test]
fn a_home_is_told_in_an_alarm_that_is_due_at_once_and_again_until_it_knows() {
    let mut desk = Desk::team();
    assert_eq!(desk.core.poll_alarm(desk.now), Some(desk.now.plus(1)));
    assert_eq!(desk.turn(false).len(), 1);
    for wait in [60_000, 120_000, 240_000] {
        desk.now = desk.now.plus(wait - 1);
        assert_eq!(desk.turn(true), [], "not yet");
        desk.now = desk.now.plus(1);
        assert_eq!(desk.turn(false).len(), 1, "{wait}");
        let ledger = std::mem::take(desk.core.ledger());
        desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a space");
    }
    let due = desk.core.poll_alarm(desk.now).map(|at| at.since(desk.now));
    assert_eq!(due, Some(BY_DEMAND.max_delay_ms.min(480_000)), "also after a restart");
    desk.now = desk.now.plus(480_000);
    assert_eq!(desk.tell(), ["alice owner 1"]);
    let ledger = std::mem::take(desk.core.ledger());
    desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a space");
    assert_eq!(desk.turn(true), [], "who knows is not told again");
}

/// The names of as many users, by their hashes.
fn many(count: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..count).map(|number| format!("user {number}")).collect();
    by_user_name(&mut names);
    names
}

fn by_user_name(names: &mut [String]) {
    names.sort_by_key(|name| user(name).as_str().to_owned());
}

#[test]
fn homes_that_do_not_answer_keep_nobody_else_waiting_whatever_goes_on_meanwhile() {
    let mut desk = Desk::team();
    desk.tell();
    let names = many(100);
    for name in &names {
        desk.set("alice", name, "reader").expect("a member");
    }
    // Those who would come first are deaf.
    let deaf: BTreeSet<_> = names[..60].iter().map(|name| person(name).home).collect();
    let mut told = BTreeSet::new();
    for turn in 0..10 {
        desk.set("alice", &names[turn % 2], ["writer", "reader"][turn % 2]).expect("a change");
        desk.core.begin_turn(desk.now);
        while let Effect::Tell(notice) = desk.core.next_effect(desk.now) {
            // Each that hangs takes its time.
            let is_deaf = deaf.contains(&notice.home);
            desk.now = desk.now.plus(if is_deaf { u64::from(limits::NOTICE_TIMEOUT_MS) } else { 10 });
            desk.was_told(&notice, if is_deaf { &Told::Failed } else { &Told::Noted });
            told.insert(notice.home);
        }
    }
    // One that hangs ends its turn, so of the first ten each is heard of once, whoever changes meanwhile.
    assert_eq!(told.len(), 10);
    for _ in 0..100 {
        desk.core.begin_turn(desk.now);
        while let Effect::Tell(notice) = desk.core.next_effect(desk.now) {
            let is_deaf = deaf.contains(&notice.home);
            desk.now = desk.now.plus(if is_deaf { u64::from(limits::NOTICE_TIMEOUT_MS) } else { 10 });
            desk.was_told(&notice, if is_deaf { &Told::Failed } else { &Told::Noted });
            told.insert(notice.home);
        }
        assert!(desk.now < START.plus(3_600_000));
    }
    assert_eq!(told.len(), 100);
    assert!(desk.core.ledger().untold().expect("a read").is_some_and(|untold| deaf.contains(&untold.home)));
}

#[test]
fn homes_that_do_not_answer_do_not_keep_the_space_from_being_published() {
    let mut desk = Desk::team();
    desk.tell();
    for name in &many(100) {
        desk.set("alice", name, "reader").expect("a member");
    }
    desk.now = desk.now.plus(BY_DEMAND.max_delay_ms);
    desk.core.begin_turn(desk.now);
    let effect = desk.core.next_effect(desk.now);
    assert!(matches!(effect, Effect::PutHead { .. }), "{effect:?}");
    desk.core.head_was_put(PutOutcome::Done, desk.now);
    let (mut sent, began) = (0, desk.now);
    while let Effect::Tell(notice) = desk.core.next_effect(desk.now) {
        assert_eq!(desk.core.poll_alarm(desk.now), None, "the turn sets the alarm when it is over");
        desk.now = desk.now.plus(3_000);
        desk.was_told(&notice, &Told::Failed);
        sent += 1;
    }
    assert_eq!((sent, desk.now.since(began)), (4, 12_000));
    desk.put_as("alice", "client-a", 1, "r").expect("a change");
    assert_eq!(desk.core.alarm, Some(desk.now.plus(1)), "the next turn goes on with them at once");
}

#[test]
fn a_home_is_written_into_once_a_minute_however_often_its_member_is_changed() {
    let mut desk = Desk::team();
    desk.tell();
    let mut told = Vec::new();
    for second in 0..150 {
        desk.set("alice", "bob", ["reader", "writer"][second % 2]).expect("a change");
        for _ in 0..3 {
            told.extend(desk.turn(true).into_iter().map(|notice| (second, notice.role)));
        }
        desk.now = desk.now.plus(1_000);
    }
    assert_eq!(told, [(0, Some(Role::Reader)), (60, Some(Role::Reader)), (120, Some(Role::Reader))]);
    assert_eq!(desk.tell().len(), 1, "and the last change is told");
}

#[test]
fn who_was_never_told_of_a_membership_is_not_told_of_its_end_and_nobody_is_kept_for_ever() {
    let mut desk = Desk::team();
    desk.tell();
    let rows = |desk: &Desk| format!("{:?}", desk.core.ledger).matches("untold: ").count();
    assert_eq!(rows(&desk), 1);
    for number in 0..50 {
        let name = format!("invented {number}");
        desk.set("alice", &name, "reader").expect("a member");
        desk.remove("alice", &name).expect("an end");
    }
    assert_eq!((desk.tell(), rows(&desk)), (Vec::new(), 1));
    desk.set("alice", "bob", "reader").expect("a member");
    let at = desk.version();
    assert_eq!(desk.tell(), [format!("bob reader {at}")]);
    desk.remove("alice", "bob").expect("an end");
    assert_eq!(desk.tell(), [format!("bob none {}", at + 1)]);
    assert_eq!(rows(&desk), 1, "who knows of the end is forgotten");
    // A notice that is under way may have been read, even if nobody will know.
    desk.set("alice", "rita", "reader").expect("a member");
    desk.core.begin_turn(desk.now);
    assert!(matches!(desk.core.next_effect(desk.now), Effect::Tell(_)));
    let ledger = std::mem::take(desk.core.ledger());
    desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a space");
    desk.remove("alice", "rita").expect("an end");
    assert_eq!(desk.tell(), [format!("rita none {}", desk.version())]);
    desk.set("alice", "mallory", "reader").expect("a member");
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    assert_eq!(desk.tell(), [format!("alice none {}", desk.version())], "nor of the end of the space");
    assert_eq!(rows(&desk), 0);
}

#[test]
fn who_makes_a_space_is_told_of_its_end_at_once_because_it_counts_among_those_that_are_made() {
    let mut desk = Desk::team();
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    assert_eq!(
        desk.turn(true).iter().map(Notice::order).map(|order| order.role).collect::<Vec<_>>(),
        ["gone"]
    );
}

#[test]
fn after_a_restore_all_homes_are_told_again_in_the_new_epoch() {
    let mut desk = Desk::staffed();
    desk.tell();
    let old = desk.core.ledger().clone();
    desk.set("alice", "bob", "reader").expect("a change");
    desk.set("alice", "bob", "owner").expect("a change");
    desk.tell();
    let known = desk.core.position();
    let mut home = Desk::new();
    let order = |notice: &Notice| notice.order();
    home.act("bob", Act::Told, &notice("team", "owner", &known.to_string())).expect("noted");
    // Storage goes back, and bob is removed before anybody notices.
    desk.core = Coordinator::open(old, None, BY_DEMAND, None, desk.now, 7).expect("a space");
    desk.remove("alice", "bob").expect("an end");
    desk.now = desk.now.plus(limits::NOTICE_RETRY_MS);
    desk.core.begin_turn(desk.now);
    let Effect::Tell(late) = desk.core.next_effect(desk.now) else { panic!("the end is not told") };
    let answer = home.act("bob", Act::Told, &order(&late)).expect("an answer").to_string();
    assert_eq!(
        Told::of(200, &answer),
        Told::Later(known.clone()),
        "what a home holds for old it has not noted"
    );
    desk.was_told(&late, &Told::of(200, &answer));
    assert!(desk.core.position() > known, "so storage has gone back");
    desk.now = desk.now.plus(2 * limits::NOTICE_RETRY_MS);
    let told = desk.turn(true);
    let names: BTreeSet<_> = told.iter().map(|notice| notice.home.clone()).collect();
    assert_eq!(names, ["alice", "bob", "rita"].map(|name| person(name).home).into());
    let of_bob = told.iter().find(|notice| notice.home == person("bob").home).expect("a notice");
    home.act("bob", Act::Told, &order(of_bob)).expect("noted");
    assert_eq!(home.act("bob", Act::Spaces, &Order::default()).expect("a list")["spaces"], json!([]));
    desk.core.begin_epoch(&known.epoch, desk.now, 9).expect("an epoch");
    assert_eq!(desk.tell().len(), 2, "but nobody who knows of the end");
}

#[test]
fn a_space_made_anew_begins_above_what_the_homes_know_of_the_one_before_whatever_the_clock_says() {
    for is_deleted in [false, true] {
        let mut home = Desk::new();
        let ahead = Epoch::begin(START.plus(40 * 86_400_000), None, 1);
        home.act("alice", Act::Told, &notice("team", "writer", &format!("{ahead}.9"))).expect("noted");
        let mut desk = Desk::team();
        if is_deleted {
            desk.act("alice", Act::Delete, &Order::default()).expect("an end");
        }
        let mut answers = Vec::new();
        for _ in 0..2 {
            desk.now = desk.now.plus(2 * limits::NOTICE_RETRY_MS);
            desk.turn_answered(|notice| {
                let answer = home.act("alice", Act::Told, &notice.order()).expect("an answer");
                let told = if answer.is_null() { Told::Noted } else { Told::of(200, &answer.to_string()) };
                answers.push(told.clone());
                told
            });
        }
        assert!(matches!(answers[..], [Told::Later(_), Told::Noted]), "{answers:?}");
        assert!(desk.core.position().epoch > ahead);
        let list = home.act("alice", Act::Spaces, &Order::default()).expect("a list")["spaces"].clone();
        let owned = json!([{ "space": "team", "role": "owner" }]);
        assert_eq!(list, if is_deleted { json!([]) } else { owned });
        assert_eq!(desk.core.ledger().untold(), Ok(None));
    }
}

#[test]
fn a_home_that_takes_nothing_for_a_day_is_told_no_more_until_something_else_becomes_of_it() {
    for role in ["reader", ""] {
        let mut desk = Desk::team();
        desk.tell();
        desk.set("alice", "bob", "writer").expect("a member");
        if role.is_empty() {
            desk.tell();
            desk.remove("alice", "bob").expect("an end");
        }
        let (began, mut tries) = (desk.now, 0);
        while desk.core.ledger().untold().expect("a read").is_some() {
            desk.now = desk.now.plus(limits::NOTICE_RETRY_MS);
            tries += desk.turn(false).len();
            assert!(desk.now.since(began) < 2 * 86_400_000, "an alarm that is refused for ever");
        }
        assert_eq!(tries, 32);
        assert!(desk.now.since(began) > 86_400_000);
        assert_eq!(desk.core.notices.due(desk.now), None, "no alarm is for the homes");
        desk.set("alice", "bob", "owner").expect("a member");
        assert_eq!(desk.tell(), [format!("bob owner {}", desk.version())]);
    }
}

#[test]
fn an_owner_who_begins_an_epoch_begins_it_above_kvs_head() {
    let mut desk = Desk::staffed();
    let key = desk.core.scope().head_key();
    for act in [Act::ResetEpoch, Act::Delete] {
        assert_eq!(desk.core.head_before(&user("alice"), act), Some(key.clone()));
        assert_eq!(desk.core.head_before(&user("bob"), act), None, "who may not do it costs no read");
    }
    assert_eq!(desk.core.head_before(&user("alice"), Act::Show), None);
    desk.core.head_was_read(None, desk.now, 1);
    assert_eq!(desk.core.head_before(&user("alice"), Act::ResetEpoch), None, "it is compared once");
}

#[test]
fn of_a_change_while_a_notice_is_under_way_the_home_is_told_too() {
    let mut desk = Desk::team();
    desk.tell();
    desk.set("alice", "bob", "writer").expect("a member");
    desk.core.begin_turn(desk.now);
    let Effect::Tell(notice) = desk.core.next_effect(desk.now) else { panic!("nobody is told") };
    desk.remove("alice", "bob").expect("an end");
    desk.was_told(&notice, &Told::Noted);
    desk.now = desk.now.plus(limits::NOTICE_RETRY_MS);
    desk.core.begin_turn(desk.now);
    let Effect::Tell(second) = desk.core.next_effect(desk.now) else { panic!("the end is not told") };
    assert_eq!((notice.role, second.role), (Some(Role::Writer), None));
    assert!(second.at > notice.at);
}

#[test]
fn telling_homes_does_not_publish_before_its_time() {
    let mut desk = Desk::team();
    let told = desk.turn(true);
    assert_eq!(told.len(), 1);
    let due = desk.core.poll_alarm(desk.now).or(desk.core.alarm);
    assert_eq!(due, Some(START.plus(BY_DEMAND.max_delay_ms)), "a publication costs as much as 55 pulls");
}

fn notice(space: &str, role: &str, at: &str) -> Order {
    Order { space: space.to_owned(), role: role.to_owned(), at: at.to_owned(), ..Order::default() }
}

#[test]
fn a_home_lists_the_spaces_and_the_newest_notice_holds_whatever_comes_last() {
    let (early, late) = ("0mwrnsa6yk3v9q2", "0mwrnsa6yk3v9q3");
    let mut desk = Desk::new();
    let spaces = |desk: &mut Desk| desk.act("alice", Act::Spaces, &Order::default()).expect("a list");
    assert_eq!(spaces(&mut desk), json!({ "spaces": [], "cursor": null }));
    let tell = |desk: &mut Desk, role: &str, at: String| {
        let told = desk.act("alice", Act::Told, &notice("team", role, &at));
        (told == Ok(Value::Null), spaces(desk)["spaces"][0]["role"].as_str().map(str::to_owned))
    };
    let owner = Some("owner".to_owned());
    assert_eq!(tell(&mut desk, "owner", format!("{early}.5")), (true, owner.clone()));
    assert_eq!(tell(&mut desk, "reader", format!("{early}.4")), (false, owner.clone()), "an older one");
    assert_eq!(tell(&mut desk, "owner", format!("{early}.5")), (true, owner), "a lost answer is repeated");
    assert_eq!(desk.version(), 1, "which takes no version");
    assert_eq!(
        tell(&mut desk, "", format!("{early}.10")),
        (true, None),
        "an end, by number and not by letter"
    );
    assert_eq!(tell(&mut desk, "owner", format!("{early}.9")), (false, None), "an end stays known");
    let writer = Some("writer".to_owned());
    assert_eq!(tell(&mut desk, "writer", format!("{late}.1")), (true, writer), "a later epoch");
    let lines = desk.pull_as("alice").expect("lines");
    let line = format!(
        "{{\"version\":3,\"collection\":\"$spaces\",\"id\":\"team\",\"value\":{{\"role\":\"writer\",\"at\":\"{late}.1\"}}}}\n"
    );
    assert_eq!(lines, line, "clients read where they are members from these records");
}

#[test]
fn a_long_list_comes_in_pages() {
    let mut desk = Desk::new();
    for number in 0..1_001 {
        let order = notice(&format!("s{number:04}"), "owner", "0mwrnsa6yk3v9q2.1");
        desk.now = desk.now.plus(1_000);
        desk.act("alice", Act::Told, &order).expect("noted");
    }
    let first = desk.act("alice", Act::Spaces, &Order::default()).expect("a page");
    assert_eq!(first["spaces"].as_array().map(Vec::len), Some(1_000));
    let cursor = first["cursor"].as_str().expect("a cursor").to_owned();
    let rest = desk.act("alice", Act::Spaces, &Order { cursor, ..Order::default() }).expect("a page");
    assert_eq!(rest, json!({ "spaces": [{ "space": "s1000", "role": "owner" }], "cursor": null }));
}

impl Desk {
    /// A home whose user has made this many spaces, `m0000` and so on, and was told of each.
    fn maker(made: usize) -> Self {
        let mut desk = Self::new();
        for number in 0..made {
            let space = format!("m{number:04}");
            desk.make(&space).expect("noted");
            desk.act("alice", Act::Told, &notice(&space, "owner", "0mwrnsa6yk3v9q2.1")).expect("noted");
        }
        desk
    }

    fn make(&mut self, space: &str) -> Result<Value, ApiError> {
        self.act("alice", Act::NoteMade, &notice(space, "", ""))
    }
}

#[test]
fn a_user_makes_at_most_1000_spaces_and_only_a_deletion_makes_room() {
    let mut desk = Desk::maker(limits::SPACES_MADE_MAX);
    let too_many = ApiError::Forbidden("You have made 1,000 spaces that are not deleted: delete one first.");
    let at = desk.version();
    assert_eq!(desk.make("new"), Err(too_many.clone()));
    assert_eq!(desk.make("m0500"), Ok(Value::Null), "a lost answer is repeated");
    assert_eq!(desk.version(), at, "and nothing is written");
    let tell = |desk: &mut Desk, space: &str, role: &str, version: u64| {
        let order = notice(space, role, &format!("0mwrnsa6yk3v9q2.{version}"));
        desk.act("alice", Act::Told, &order).expect("noted");
    };
    tell(&mut desk, "m0001", "reader", 2);
    tell(&mut desk, "m0002", "", 2);
    assert_eq!(
        desk.make("new"),
        Err(too_many.clone()),
        "who hands a space over and leaves has made it all the same"
    );
    desk.act("alice", Act::Delete, &Order::default()).expect("an empty home");
    assert_eq!(desk.make("new"), Err(too_many.clone()), "nor does it help to empty one's home");
    tell(&mut desk, "m0003", "gone", 2);
    assert_eq!(desk.make("new"), Ok(Value::Null));
    assert_eq!(desk.make("newer"), Err(too_many), "of several at once only as many as there is room for");
    let listed = desk.act("alice", Act::Spaces, &Order::default()).expect("a list").to_string();
    assert!(listed.contains("m0004") && !listed.contains("m0002") && !listed.contains("m0003"));
}

#[test]
fn whoever_is_made_an_owner_by_others_makes_spaces_all_the_same() {
    let mut desk = Desk::new();
    for number in 0..limits::SPACES_MADE_MAX {
        let order = notice(&format!("trap{number}"), "owner", "0mwrnsa6yk3v9q2.1");
        desk.now = desk.now.plus(1_000);
        desk.act("alice", Act::Told, &order).expect("noted");
    }
    assert_eq!(desk.make("new"), Ok(Value::Null));
}

#[test]
fn what_is_being_made_is_listed_once_its_space_has_told() {
    let mut desk = Desk::new();
    desk.make("team").expect("noted");
    let spaces = |desk: &mut Desk| {
        desk.act("alice", Act::Spaces, &Order::default()).expect("a list")["spaces"].clone()
    };
    assert_eq!(spaces(&mut desk), json!([]));
    let lines = |desk: &mut Desk| desk.pull_as("alice").expect("lines");
    let consequence =
        "clients read where they are members from these records, and homes what their users have made";
    assert!(lines(&mut desk).contains(r#""id":"team","value":{"role":null,"made":true}"#), "{consequence}");
    desk.act("alice", Act::Told, &notice("team", "owner", "0mwrnsa6yk3v9q2.1")).expect("noted");
    assert_eq!(spaces(&mut desk), json!([{ "space": "team", "role": "owner" }]));
    let told = r#""value":{"role":"owner","at":"0mwrnsa6yk3v9q2.1","made":true}"#;
    assert!(lines(&mut desk).contains(told), "{consequence}");
    desk.act("alice", Act::Told, &notice("team", "gone", "0mwrnsa6yk3v9q2.9")).expect("noted");
    let gone = r#""value":{"role":null,"at":"0mwrnsa6yk3v9q2.9"}"#;
    assert!(lines(&mut desk).contains(gone), "{consequence}");
}

#[test]
fn a_notice_says_that_the_space_is_gone_and_code_that_does_not_know_the_word_reads_an_end() {
    let mut desk = Desk::staffed();
    desk.tell();
    desk.remove("alice", "bob").expect("an end");
    let orders = |desk: &mut Desk| {
        desk.now = desk.now.plus(limits::NOTICE_RETRY_MS);
        desk.turn(true).iter().map(Notice::order).collect::<Vec<_>>()
    };
    let removed: Vec<_> = orders(&mut desk).into_iter().map(|order| order.role).collect();
    assert_eq!(removed, [""]);
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    let gone = orders(&mut desk);
    assert!(gone.len() == 2 && gone.iter().all(|order| order.role == "gone" && order.space == "team"));
    assert_eq!(Role::parse("gone"), None);
}

#[test]
fn members_come_in_pages_of_bytes_however_long_their_names_are() {
    let mut desk = Desk::team();
    // Each of these bytes is six in JSON.
    let name = |number: u64| format!("{number:03}{}", "\u{1}".repeat(limits::SUBJECT_BYTES_MAX - 3));
    for number in 0..200 {
        desk.set("alice", &name(number), "reader").expect("a member");
    }
    let (mut all, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let order = Order { cursor, ..Order::default() };
        let page = desk.core.administer(&user("alice"), Act::Members, &order, desk.now, 9);
        let page = page.expect("a page").expect("a body");
        assert!(page.len() < limits::JSON_PAGE_BYTES + 8_192, "{}", page.len());
        let page: Value = serde_json::from_str(&page).expect("JSON");
        for member in page["members"].as_array().expect("a list") {
            assert!(all.insert(member["sub"].as_str().expect("a subject").to_owned()), "listed twice");
        }
        pages += 1;
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = next.to_owned();
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

impl Desk {
    /// A home that lists as many spaces as it can, `s0` and so on, all with `role`, and has been there for a while.
    fn full(role: &str) -> Self {
        let mut desk = Self::new();
        for number in 0..limits::SPACES_LISTED_MAX {
            let key = Key { collection: home::spaces(), id: RecordId::stored(&format!("s{number}")) };
            let line = ledger::live_line(&key, &format!(r#"{{"role":{role},"at":"0mwrnsa6yk3v9q2.1"}}"#));
            let version = version(1 + number as u64);
            let clock = ledger::Clock { version, writer: 0, foreign: Version::ZERO };
            let record = ledger::Record { clock, deleted_at: None, line, fields: None };
            desk.core.ledger().put_record(&key, &record).expect("a write");
        }
        desk.core = open(desk.core.ledger.clone(), desk.now);
        desk
    }

    /// Whether the home notes it.
    fn hears(&mut self, space: &str, role: &str, version: u64) -> bool {
        self.act("alice", Act::Told, &notice(space, role, &format!("0mwrnsa6yk3v9q2.{version}"))).is_ok()
    }

    fn lists(&mut self, space: &str) -> Option<String> {
        let key = Key { collection: home::spaces(), id: RecordId::stored(space) };
        let record = self.core.ledger().record(&key).expect("a read")?;
        record.value(&key).map(str::to_owned)
    }
}

#[test]
fn nobody_fills_the_home_of_another_with_memberships_that_have_ended() {
    let mut desk = Desk::full("null");
    let at = desk.version();
    assert!(
        !desk.hears("one-more", "reader", 1),
        "who has just begun does not know what is old, and says so"
    );
    assert_eq!((desk.version(), desk.lists("one-more")), (at, None));
    desk.now = desk.now.plus(60_000);
    assert!(desk.hears("s7", "", 2), "what is listed stays right");
    assert!(desk.hears("one-more", "reader", 1));
    assert!(desk.lists("one-more").is_some_and(|value| value.contains("reader")));
    let gone: Vec<_> = (0..200).filter(|number| desk.lists(&format!("s{number}")).is_none()).collect();
    assert_eq!(gone.len(), 100);
    assert!(!gone.contains(&7) && gone.contains(&100), "the oldest went, and not what ended a moment ago");
    assert_eq!(desk.version(), at + 3, "one version for all that went");
}

#[test]
fn a_list_that_is_full_of_memberships_takes_no_more_and_says_so_but_one_s_own_have_their_places() {
    let mut desk = Desk::full("\"reader\"");
    for _ in 0..2 {
        assert!(!desk.hears("one-more", "reader", 1));
        desk.now = desk.now.plus(60_000);
    }
    desk.make("s0-own").expect("room for one's own");
    assert!(desk.hears("s0-own", "owner", 1));
    assert_eq!(desk.lists("one-more"), None);
    assert!(desk.lists("s0-own").is_some_and(|value| value.contains("owner")));
    assert!(desk.hears("s3", "", 2), "who leaves one");
    assert!(!desk.hears("one-more", "reader", 1), "has room");
    desk.now = desk.now.plus(120_000);
    desk.hears("s5", "writer", 2);
    desk.now = desk.now.plus(60_000);
    assert!(desk.hears("one-more", "reader", 1), "a little later");
}

#[test]
fn all_spaces_together_write_into_a_home_60_times_a_minute_and_its_user_s_own_ones_besides() {
    let mut desk = Desk::new();
    desk.make("own").expect("noted");
    let noted =
        |desk: &mut Desk| (0..200).filter(|number| desk.hears(&format!("s{number}"), "reader", 1)).count();
    assert_eq!(noted(&mut desk), 60);
    assert!(desk.hears("own", "owner", 1));
    let at = desk.version();
    assert!(
        desk.hears("s0", "reader", 1) && desk.hears("nobody-knows", "", 1),
        "what changes nothing is free"
    );
    assert_eq!(desk.version(), at);
    desk.now = desk.now.plus(60_000);
    assert_eq!(noted(&mut desk), 120, "60 are repeated, and 60 new");
}

#[test]
fn a_home_with_a_long_list_is_not_emptied_again_at_once() {
    let mut desk = Desk::full("null");
    desk.now = desk.now.plus(60_000);
    desk.act("alice", Act::Delete, &Order::default()).expect("an empty home");
    let at = desk.version();
    let later = ApiError::RateLimited { retry_after_s: 60 };
    assert_eq!(desk.act("alice", Act::Delete, &Order::default()), Err(later));
    assert_eq!(desk.version(), at);
    desk.now = desk.now.plus(60_000);
    desk.act("alice", Act::Delete, &Order::default()).expect("an empty home");
}

#[test]
fn a_private_space_that_is_deleted_begins_anew_and_its_clients_know_what_was_applied() {
    let mut desk = Desk::new();
    desk.put("client-a", 1, "r", "{}");
    desk.act("alice", Act::Told, &notice("team", "owner", "0mwrnsa6yk3v9q2.5")).expect("noted");
    desk.now = desk.now.plus(BY_DEMAND.max_delay_ms);
    desk.turn(true);
    let before = desk.core.position();
    assert_eq!(
        desk.core.publisher().row().published.as_ref().map(|put| put.position.clone()),
        Some(before.clone())
    );
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    let after = desk.core.position();
    assert!(after.epoch > before.epoch && after.version == before.version.next());
    assert_eq!(desk.core.horizon(), before.version);
    assert_eq!(desk.value("r"), None);
    let lines = desk.pull_as("alice").expect("lines");
    assert!(lines.lines().count() == 1 && lines.contains("$spaces"), "{lines}");
    let push = format!(
        r#"{{"client":"client-a","epoch":"{}","since":2,"mutations":[{}]}}"#,
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
    desk.turn(true);
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
            copy.act("alice", Act::Delete, &Order::default()).expect("an end");
            match is_head {
                true => copy.core.head_was_put(PutOutcome::Done, copy.now),
                false => copy.core.object_was_put(PutOutcome::Done, copy.now),
            }
            for _ in 0..3 {
                copy.turn(true);
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
    let policy = Order { collection: "todos".to_owned(), policy: "merge".to_owned(), ..Order::default() };
    let acts = [
        (Act::SetMember, Order { role: "owner".to_owned(), ..about("mallory") }),
        (Act::RemoveMember, about("bob")),
        (Act::SetPolicy, policy),
        (Act::Delete, Order::default()),
    ];
    for (act, order) in acts {
        for write in 1.. {
            let mut desk = Desk::staffed();
            desk.put_as("bob", "client-b", 1, "r").expect("a change");
            desk.tell();
            let (before, at) = (format!("{:?}", desk.core.ledger()), desk.core.position());
            desk.core.ledger().fail_writes_after = Some(write);
            let done = desk.act("alice", act, &order);
            desk.core.ledger().fail_writes_after = None;
            if done.is_ok() {
                assert!(write > 1, "{act:?}");
                break;
            }
            assert_eq!(done, Err(ApiError::Internal), "{act:?}");
            assert_eq!(
                (format!("{:?}", desk.core.ledger()), desk.core.position()),
                (before, at),
                "{act:?} {write}"
            );
            assert!(desk.act("alice", act, &order).is_ok(), "{act:?} again");
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
    assert_eq!(desk.tell(), ["bob writer 2", "alice owner 1"], "whoever was never told anything comes first");
    desk.act("alice", Act::Delete, &Order::default()).expect("an end");
    assert_eq!(SqlLedger::is_used(&database), Ok(true));
    let ledger = SqlLedger::open(database).expect("a database");
    desk.core = Coordinator::open(ledger, None, BY_DEMAND, None, desk.now, 7).expect("a row");
    assert_eq!(desk.pull_as("alice"), Err(ApiError::Gone));
    assert_eq!(desk.tell(), told(&["alice none", "bob none"], 5));
}
