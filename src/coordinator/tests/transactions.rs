//! Pushes of other fronts, whose transactions say what they want only when their turn comes.

use std::rc::Rc;

use super::*;
use crate::{
    limits,
    mutation::{
        Change, Intent, MutationDigest, MutationResult, Op, Outcome, RejectCode, Rejection, Settled,
        Submitted, Token, Transaction, Unread, View, Wording,
    },
};

const DX: &str = "dx_00000001";

/// Counts the records of `c` and writes the number into each of these.
#[derive(Debug, Clone)]
struct Counts {
    token: Option<&'static str>,
    into: Vec<String>,
    /// Bytes that each value has beside the number.
    padding: usize,
}

impl Transaction for Counts {
    fn token(&self) -> Option<Token> {
        self.token.map(Token::of)
    }

    fn derive(&self, view: &mut dyn View) -> Result<Result<Vec<Change>, Rejection>, Unread> {
        if self.into.is_empty() {
            return Ok(Err(Rejection::new(RejectCode::InvalidValue, "it writes nowhere")));
        }
        let (mut count, mut after) = (0, None);
        while view.may_scan() {
            let some = view.records(&Collection::stored("c"), after.as_ref(), 2)?;
            count += some.records.len();
            match some.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let value = format!(r#"{{"n":{count},"padding":"{}"}}"#, "x".repeat(self.padding));
        let changes =
            self.into.iter().map(|id| Change { key: key(id), base: None, op: Op::Put(value.clone()) });
        Ok(Ok(changes.collect()))
    }

    fn size(&self) -> usize {
        self.into.len()
    }

    fn bytes(&self) -> usize {
        self.into.len() * (self.padding + 10)
    }
}

/// Says all that there is to be said, and how many names cannot be.
#[derive(Debug)]
struct Plainly(Vec<Key>, usize);

impl Wording for Plainly {
    fn touched(&self) -> Vec<Key> {
        self.0.clone()
    }

    fn refused(&self) -> usize {
        self.1
    }

    fn say(&self, outcome: &Outcome<'_>) -> String {
        let Outcome { reached, changes, touched, results } = outcome;
        let reached = reached.map_or("nowhere".to_owned(), |reached| reached.version.to_string());
        let done = results.iter().map(|result| match result.settled {
            Settled::Rejected(_) => "rejected",
            _ if result.duplicate => "again",
            _ => "done",
        });
        let lines = |text: &str| {
            text.lines().map(|line| line.split(',').next().unwrap_or_default()).collect::<String>()
        };
        format!("{reached} {} {} {}", lines(changes), lines(touched), done.collect::<Vec<_>>().join(","))
    }
}

fn key(id: &str) -> Key {
    let (collection, id) = id.split_once('/').unwrap_or(("c", id));
    Key { collection: Collection::stored(collection), id: RecordId::stored(id) }
}

fn counts(token: Option<&'static str>, into: &[&str]) -> Counts {
    Counts { token, into: into.iter().map(|id| (*id).to_owned()).collect(), padding: 0 }
}

fn push(client: &str, since: Option<Position>, transactions: Vec<Counts>, touched: &[&str]) -> PushRequest {
    let mutations = (1..).zip(transactions).map(|(id, transaction)| Submitted {
        id,
        digest: MutationDigest::of(""),
        changes: String::new(),
        intent: Intent::Transaction(Rc::new(transaction)),
    });
    let empty = parsed(&body(client, &[]));
    PushRequest {
        epoch: since.as_ref().map(|since| since.epoch.clone()),
        since: since.map(|since| since.version),
        mutations: mutations.collect(),
        wording: Some(Rc::new(Plainly(touched.iter().map(|id| key(id)).collect(), 0))),
        ..empty
    }
}

/// A push with one transaction that writes these.
pub(super) fn transactions_of(client: &str, into: &[&str]) -> PushRequest {
    push(client, None, vec![counts(None, into)], &[])
}

impl<L: Ledger> Desk<L> {
    fn transact(&mut self, push: PushRequest) -> String {
        let answer = self.core.push(&[(user("alice"), push)], self.now).remove(0).expect("an answer");
        answer.worded.expect("words")
    }

    fn at(&self, version_number: u64) -> Option<Position> {
        Some(Position { epoch: self.epoch(), version: version(version_number) })
    }
}

#[test]
fn a_transaction_is_done_once_however_often_it_comes_and_wherever_the_object_has_slept_meanwhile() {
    let mut desk = Desk::new();
    let once = || push(DX, None, vec![counts(Some("t1"), &["a"])], &[]);
    assert_eq!(desk.transact(once()), r#"1 {"version":1  done"#);
    assert_eq!(desk.transact(once()), r#"1 {"version":1  again"#);
    let mut desk = Desk::on(desk.core.ledger().clone());
    assert_eq!(desk.transact(once()), r#"1 {"version":1  again"#);
    assert_eq!(desk.value("a").as_deref(), Some(r#"{"n":0,"padding":""}"#));
    // Another client has other transactions, whatever it calls them.
    assert_eq!(
        desk.transact(push("dx_00000002", None, vec![counts(Some("t1"), &["a"])], &[])),
        r#"2 {"version":2  done"#
    );
}

#[test]
fn a_transaction_that_its_front_rejects_changes_nothing_and_stops_no_other() {
    let mut desk = Desk::new();
    let transactions = vec![counts(Some("t1"), &[]), counts(Some("t2"), &["a"])];
    let told = desk.transact(push(DX, None, transactions, &["b"]));
    assert_eq!(told, r#"1 {"version":1 {"version":0 rejected,done"#);
}

#[test]
fn what_is_rejected_is_counted_with_names_that_cannot_be_and_the_first_reason_is_told() {
    let mut desk = Desk::new();
    let transactions = || vec![counts(Some("t1"), &["a"]), counts(Some("t2"), &[]), counts(None, &[])];
    let rejected = |desk: &mut Desk, wording: Plainly| {
        let push = PushRequest { wording: Some(Rc::new(wording)), ..push(DX, None, transactions(), &[]) };
        desk.core.push(&[(user("alice"), push)], desk.now).remove(0).expect("an answer").rejected
    };
    assert_eq!(rejected(&mut desk, Plainly(Vec::new(), 3)), (5, Some(RejectCode::InvalidValue)));
    assert_eq!(
        rejected(&mut desk, Plainly(Vec::new(), 3)),
        (4, Some(RejectCode::InvalidValue)),
        "the others were done; nothing remembers names, nor what has no name itself"
    );
    assert_eq!(desk.core.used().expect("a read").total().rejected, 9);
}

#[test]
fn a_transaction_sees_what_those_before_it_have_made_and_taken_away() {
    let mut desk = Desk::new();
    for (number, id) in [(1, "a"), (2, "b"), (3, "d")] {
        desk.put("c_9f2k1m0a", number, id, "{}");
    }
    let transactions = vec![counts(None, &["c", "e"]), counts(None, &["z/n"])];
    desk.transact(push(DX, None, transactions, &[]));
    let counted = desk.core.ledger().record(&key("z/n")).expect("a read").expect("a record");
    assert_eq!(counted.value(&key("z/n")), Some(r#"{"n":5,"padding":""}"#));
}

#[test]
fn a_transaction_of_more_than_a_mutation_may_have_is_cut_into_versions_and_done_whole_or_not_at_all() {
    let many: Vec<_> = (0..2_500).map(|number| format!("r{number:04}")).collect();
    let mut desk = Desk::new();
    let whole = Counts { token: Some("t1"), into: many.clone(), padding: 0 };
    let answer = desk.transact(push(DX, None, vec![whole], &[]));
    assert!(answer.starts_with("3 ") && answer.ends_with(" done"), "{answer}");
    assert_eq!(
        (desk.version(), desk.core.ledger().count_of(&Collection::stored("c")).expect("a count")),
        (3, 2_500)
    );

    let names = (0..=limits::COLLECTIONS_MAX).map(|number| format!("c{number}/r"));
    let too_many = Counts { token: Some("t2"), into: many.into_iter().chain(names).collect(), padding: 0 };
    let next = counts(Some("t3"), &["after"]);
    desk.transact(push(DX, None, vec![too_many, next], &[]));
    assert_eq!((desk.version(), desk.value("after").is_some()), (4, true), "it stops nothing that follows");
}

#[test]
fn an_answer_brings_as_much_as_it_has_room_for_and_says_how_far_that_is_and_how_the_rest_of_what_was_named_stands()
 {
    let mut desk = Desk::new();
    for number in 1..=3 {
        let long = Counts { token: None, into: vec![format!("long{number}")], padding: 200 * 1024 };
        let longs = [1, 2].map(|more| Counts {
            into: vec![format!("long{number}-{more}")],
            token: None,
            ..long.clone()
        });
        desk.transact(push(DX, None, longs.into_iter().chain([long]).collect(), &[]));
    }
    assert_eq!(desk.version(), 9);
    let named = ["never", "long1", "long3"];
    let lines =
        |from: u64, to: u64| (from..=to).map(|number| format!("{{\"version\":{number}")).collect::<String>();
    let answer = desk.transact(push(DX, desk.at(1), vec![counts(Some("t"), &["a"])], &named));
    assert_eq!(answer, format!("6 {} {}{} done", lines(2, 6), "{\"version\":0", "{\"version\":9"));
    let answer = desk.transact(push(DX, desk.at(6), vec![], &[]));
    assert_eq!(answer, format!("10 {}  ", lines(7, 10)));
}

#[test]
fn a_position_of_another_history_is_no_reason_to_leave_its_edits_undone() {
    let mut desk = Desk::new();
    desk.put("c_9f2k1m0a", 1, "a", "{}");
    let elsewhere =
        Some(Position { epoch: Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch"), version: version(9) });
    let answer = desk.transact(push(DX, elsewhere, vec![counts(Some("t1"), &["b"])], &["a", "b"]));
    assert_eq!(answer, r#"nowhere  {"version":1{"version":2 done"#);
    assert!(desk.value("b").is_some());
}

#[test]
fn a_push_that_has_had_a_whole_collection_read_again_and_again_goes_through_no_more_records() {
    let mut desk = Desk::new();
    let long = Counts { token: None, into: vec!["long".to_owned()], padding: 250 * 1024 };
    desk.transact(push(DX, None, vec![long], &[]));
    let times = 2 * limits::SCANNED_BYTES_MAX / (250 * 1024);
    let scans =
        (0..times).map(|number| Counts { token: None, into: vec![format!("z/{number:04}")], padding: 0 });
    desk.transact(push(DX, None, scans.collect(), &[]));
    let mut counted = |number: usize| {
        let key = key(&format!("z/{number:04}"));
        let record = desk.core.ledger().record(&key).expect("a read").expect("a record");
        record.value(&key).expect("a value").starts_with(r#"{"n":1,"#)
    };
    assert_eq!((counted(0), counted(times / 4), counted(times - 1)), (true, true, false));
}

#[test]
fn what_a_writer_did_before_it_became_a_reader_is_done_and_only_the_rest_is_rejected() {
    let mut desk = Desk::staffed();
    let long = || vec![counts(None, &["a"]); 300];
    let mut queue = Queue::default();
    queue.push(
        user("bob"),
        PushRequest { wording: Some(Rc::new(Plainly(Vec::new(), 0))), ..push(DX, None, long(), &[]) },
    );
    assert!(desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now).is_empty(), "one slice does not hold it");
    let begun = queue.begun().next().expect("it has begun").1.len();
    assert!(begun > 0 && begun < 300, "{begun}");
    let reader = Administration::SetMember { person: spaces::person("bob"), role: Role::Reader };
    desk.administer("alice", &reader).expect("its owner");
    let done = desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now).remove(0);
    let answer = done.answer.expect("an answer");
    let is_rejected = |result: &MutationResult| matches!(result.settled, Settled::Rejected(_));
    assert_eq!(answer.results.iter().position(is_rejected), Some(begun), "what is settled is settled");
    assert_eq!(desk.core.used().expect("a read").total().rejected, 300 - begun as u64);
}
