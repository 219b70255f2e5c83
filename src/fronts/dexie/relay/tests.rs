use std::collections::BTreeMap;

use super::*;

const EPOCH: &str = "0mwrnsa6yk3v9q2";
const A: usize = 1;
const B: usize = 2;

fn at(version: u64) -> Position {
    Position::parse(&format!("{EPOCH}.{version}")).expect("a position")
}

/// Where a client is in its home, and in the realms `rlm-a`, `rlm-b`, ….
fn revision(home: u64, realms: &[u64]) -> Revision {
    let names = ('a'..='z').map(|letter| format!("rlm-{letter}"));
    Revision { home: Some(at(home)), realms: names.zip(realms.iter().map(|version| at(*version))).collect() }
}

fn hash_of(revision: &Revision) -> String {
    hash_of_realms("alice", revision.realms.keys().map(String::as_str))
}

fn ready_with(rev: &str, hash: &str) -> String {
    format!(r#"{{"type":"ready","rev":{},"realmSetHash":{}}}"#, json_text(rev), json_text(hash))
}

fn ready(revision: &Revision) -> String {
    ready_with(&revision.to_string(), &hash_of(revision))
}

fn changes(base: u64, new: u64) -> String {
    let hash = hash_of_realms("alice", iter::empty());
    format!(
        r#"{{"type":"changes","baseRev":"{}","realmSetHash":"{hash}","newRev":"{}","changes":[{{"table":"todos","muts":[]}}]}}"#,
        at(base),
        at(new)
    )
}

fn changed(new: u64) -> String {
    format!(r#"{{"type":"realms-changed","realmsHash":"","newRev":"{}"}}"#, at(new))
}

/// What an object is told of a client that has only this space.
fn say(number: usize, version: u64) -> Relayed {
    let hash = hash_of_realms("alice", iter::empty());
    Relayed::Say(number, format!(r#"{{"type":"ready","rev":"{}","realmSetHash":"{hash}"}}"#, at(version)))
}

fn pull() -> Relayed {
    Relayed::Tell(REALMS_CHANGED.to_owned())
}

fn stands(number: usize, version: u64) -> Relayed {
    Relayed::Stands(number, at(version))
}

fn pong() -> Relayed {
    Relayed::Tell(PONG.to_owned())
}

impl Relay {
    fn client(&mut self, text: &str) -> Vec<Relayed> {
        self.client_says(text);
        self.take()
    }

    fn ready(&mut self, home: u64, realms: &[u64]) -> Vec<Relayed> {
        self.client(&ready(&revision(home, realms)))
    }

    fn space(&mut self, number: usize, text: &str) -> Vec<Relayed> {
        self.space_says(number, text);
        self.take()
    }

    fn ping(&mut self) -> Vec<Relayed> {
        self.client(r#"{"type":"ping"}"#)
    }

    fn closed(&mut self, number: usize, code: u16) -> Vec<Relayed> {
        self.space_closed(number, code);
        self.take()
    }
}

/// Of a client that is ready at 5 in its home, and 7 and 9 in its realms.
fn relay() -> Relay {
    let mut relay = Relay::new("alice", &revision(5, &[7, 9]));
    assert_eq!(relay.ready(5, &[7, 9]), [say(HOME, 5), say(A, 7), say(B, 9)]);
    relay
}

#[test]
fn each_object_is_told_where_its_client_is_in_that_space_and_only_what_is_new() {
    let mut relay = relay();
    assert_eq!(relay.ready(5, &[7, 9]), [], "they wait");
    assert_eq!(relay.ready(5, &[8, 9]), [say(A, 8)]);
    let nowhere = Revision { home: None, ..revision(0, &[8]) };
    assert_eq!(relay.client(&ready(&nowhere)), [], "neither its home nor the second realm");
}

#[test]
fn what_its_own_space_tells_is_passed_on_from_exactly_where_it_is_with_the_hash_that_it_said() {
    let mut relay = relay();
    let rev = format!(r#"{{ "~":"{}", "rlm-a":"{}" }}"#, at(5), at(7));
    let hash = hash_of(&Revision::parse(&rev).expect("a revision"));
    assert_eq!(relay.client(&ready_with(&rev, &hash)), []);
    let new = Revision::parse(&rev.replace(".5", ".6")).expect("a revision").to_string();
    assert_eq!(
        relay.space(HOME, &changes(5, 6)),
        [Relayed::Tell(format!(
            r#"{{"type":"changes","baseRev":{},"realmSetHash":"{hash}","newRev":{},"changes":[{{"table":"todos","muts":[]}}]}}"#,
            json_text(&rev),
            json_text(&new)
        ))]
    );
}

#[test]
fn what_its_own_space_has_lost_it_pulls_because_a_realm_may_have_it() {
    let deletes = changes(5, 6).replace(r#""muts":[]"#, r#""muts":[{"type":"delete","keys":["a"]}]"#);
    assert!(deletes.contains("keys"));
    let mut relay = relay();
    assert_eq!(relay.space(HOME, &deletes), [stands(HOME, 6), pull()]);
    assert_eq!(relay.ready(6, &[7, 9]), [say(HOME, 6)]);
}

#[test]
fn who_was_told_something_hears_nothing_until_it_is_ready_again() {
    let mut relay = relay();
    assert_eq!(relay.space(HOME, &changes(5, 6)).len(), 1);
    assert_eq!(relay.space(A, &changes(7, 8)), [stands(A, 8)]);
    assert_eq!(relay.ready(6, &[7, 9]), [pull()], "then what has come meanwhile");
    assert_eq!(relay.space(B, &changes(9, 10)), [stands(B, 10)]);
    assert_eq!(relay.ready(6, &[8, 10]), [say(HOME, 6), say(A, 8), say(B, 10)], "it has that already");
}

#[test]
fn what_its_own_space_tells_while_it_is_not_ready_is_told_again() {
    let mut relay = relay();
    assert_eq!(relay.space(A, &changes(7, 8)), [stands(A, 8), pull()]);
    assert_eq!(relay.space(HOME, &changes(5, 6)), []);
    assert_eq!(relay.ready(5, &[8, 9]), [say(HOME, 5), say(A, 8)]);
}

#[test]
fn changes_from_where_it_was_before_are_left_out() {
    let mut relay = relay();
    assert_eq!(relay.ready(6, &[7, 9]), [say(HOME, 6)]);
    assert_eq!(relay.space(HOME, &changes(5, 6)), []);
    assert_eq!(relay.space(HOME, &changes(6, 7)).len(), 1);
}

#[test]
fn what_a_realm_tells_has_the_client_pull_and_says_where_that_stands() {
    for text in [changes(7, 8), changed(8)] {
        let mut relay = relay();
        assert_eq!(relay.space(A, &text), [stands(A, 8), pull()]);
        assert_eq!(relay.ready(5, &[8, 9]), [say(A, 8)]);
    }
    let mut relay = relay();
    assert_eq!(relay.space(HOME, &changed(8)), [stands(HOME, 8), pull()]);
    assert_eq!(relay.ready(8, &[7, 9]), [say(HOME, 8)]);
}

#[test]
fn what_it_has_already_it_is_not_told_of() {
    let mut relay = relay();
    assert_eq!(relay.ready(5, &[8, 9]), [say(A, 8)]);
    assert_eq!(
        relay.space(A, &changes(7, 8)),
        [stands(A, 8)],
        "its own push, of which the object told first"
    );
}

#[test]
fn a_pull_that_brings_an_older_state_is_not_repeated_at_once() {
    let mut relay = relay();
    assert_eq!(relay.space(A, &changes(7, 8)), [stands(A, 8), pull()]);
    assert_eq!(relay.ready(5, &[7, 9]), [say(A, 8)], "the object waits for what is newer still");
    assert_eq!(relay.space(A, &changes(7, 8)), [], "a message that crossed that");
    assert_eq!(relay.ready(5, &[7, 9]), [say(A, 8)]);
    assert_eq!(relay.space(A, &changes(8, 9)), [stands(A, 9), pull()]);
}

#[test]
fn what_a_client_still_does_not_have_it_is_told_with_its_pings_a_few_times() {
    let mut relay = relay();
    assert_eq!(relay.space(A, &changes(7, 8)), [stands(A, 8), pull()]);
    assert_eq!(relay.ping(), [pong()], "it is pulling");
    relay.ready(5, &[7, 9]);
    for _ in 1..limits::DEXIE_TOLD_MAX {
        assert_eq!(relay.ping(), [pong(), pull()]);
        assert_eq!(relay.ready(5, &[7, 9]), []);
    }
    assert_eq!(relay.ping(), [pong()]);
    assert_eq!(relay.space(A, &changes(8, 9)), [stands(A, 9), pull()], "what is new is told as ever");
}

#[test]
fn an_object_that_cannot_say_what_there_is_sends_its_client_to_pull_once() {
    let mut relay = relay();
    assert_eq!(relay.space(A, REALMS_CHANGED), [pull()]);
    assert_eq!(relay.ready(5, &[7, 9]), [say(A, 7)]);
    assert_eq!(relay.space(A, REALMS_CHANGED), [], "neither the client nor the object is asked for ever");
    assert_eq!(relay.ping(), [pong(), say(A, 7)]);
    assert_eq!(relay.space(A, REALMS_CHANGED), [pull()]);
    assert_eq!(relay.ready(5, &[8, 9]), [say(A, 8)]);
    assert_eq!(relay.space(A, REALMS_CHANGED), [pull()]);
}

#[test]
fn an_object_that_stands_in_another_epoch_is_not_asked_for_ever() {
    let mut relay = relay();
    let elsewhere = changed(3).replace(EPOCH, "0mwrnsa6yk3v9q1");
    let position = Position::parse("0mwrnsa6yk3v9q1.3").expect("a position");
    assert_eq!(relay.space(A, &elsewhere), [Relayed::Stands(A, position), pull()]);
    let told = relay.ready(5, &[7, 9]);
    assert!(matches!(&told[..], [Relayed::Say(A, text)] if text.contains("0mwrnsa6yk3v9q1.3")), "{told:?}");
    assert_eq!(relay.space(A, &elsewhere), []);
}

#[test]
fn a_ping_is_answered_here() {
    let mut relay = Relay::new("alice", &revision(5, &[7]));
    assert_eq!(relay.ping(), [pong()]);
    assert_eq!(self::relay().ping(), [pong()]);
}

#[test]
fn who_has_another_realm_than_those_that_are_held_comes_back_with_the_right_ones() {
    let mut relay = relay();
    assert_eq!(relay.ready(5, &[7, 9, 1]), [Relayed::Close(RESTART)]);
    assert_eq!(relay.ready(5, &[7, 9]), [], "it is over");
    let mut relay = self::relay();
    assert_eq!(relay.client(&ready_with("[1,\"5\"]", "x")), [Relayed::Close(RESTART)]);
}

#[test]
fn who_has_fewer_goes_on_and_does_not_hear_of_the_others() {
    let mut relay = relay();
    assert_eq!(relay.ready(5, &[7]), []);
    assert_eq!(relay.space(B, &changes(9, 10)), [stands(B, 10)]);
    let plain = revision(6, &[]);
    assert_eq!(plain.to_string(), at(6).to_string());
    assert_eq!(relay.client(&ready(&plain)), [say(HOME, 6)]);
}

#[test]
fn a_realm_that_refuses_is_left_out_and_the_others_go_on() {
    for (status, told) in [(Some(429), vec![]), (None, vec![]), (Some(403), vec![pull()])] {
        let mut relay = Relay::new("alice", &revision(5, &[7, 9]));
        relay.space_refused(A, status);
        assert_eq!(relay.take(), []);
        let first = relay.ready(5, &[7, 9]);
        let expected = if told.is_empty() { vec![say(HOME, 5), say(B, 9)] } else { told };
        assert_eq!(first, expected, "{status:?}: what is lost the client hears when it pulls");
        relay.ready(5, &[7, 9]);
        assert_eq!(relay.space(B, &changes(9, 10)), [stands(B, 10), pull()]);
        assert_eq!(relay.space(A, &changes(7, 8)), []);
        assert_eq!(relay.closed(A, 1006), []);
    }
}

#[test]
fn realms_beyond_those_that_there_may_be_are_not_live() {
    let name = |number: usize| format!("rlm{number:03}");
    let realms: BTreeMap<_, _> = (0..=limits::DEXIE_REALMS_MAX).map(|number| (name(number), at(1))).collect();
    let revision = Revision { home: Some(at(5)), realms };
    let mut relay = Relay::new("alice", &revision);
    assert_eq!(relay.realms().map(|(number, _)| number).collect::<Vec<_>>(), (1..=32).collect::<Vec<_>>());
    let told = relay.client(&ready(&revision));
    assert_eq!(told.len(), 33, "and it is not sent away for them: {told:?}");
    assert!(told.iter().all(|told| matches!(told, Relayed::Say(..))));
    let mut nameless = self::revision(5, &[7]);
    nameless.realms.insert("r".repeat(99), at(1));
    let mut relay = Relay::new("alice", &nameless);
    assert_eq!(relay.client(&ready(&nameless)), [say(HOME, 5), say(A, 7)]);
}

#[test]
fn who_loses_a_realm_is_sent_to_pull_once() {
    let mut relay = relay();
    assert_eq!(relay.closed(A, LOST), [pull()]);
    assert_eq!(relay.closed(A, 1006), []);
    assert_eq!(relay.ready(5, &[7, 9]), [], "also where the pull did not leave it out");
    assert_eq!(relay.ping(), [pong()]);
    let mut relay = self::relay();
    relay.space(B, &changes(9, 10));
    assert_eq!(relay.closed(A, LOST), [], "it is pulling");
    let mut without = revision(5, &[7, 10]);
    let mut later = relay.clone();
    assert_eq!(relay.client(&ready(&without)), [pull()], "it is still there");
    without.realms.remove("rlm-a");
    assert_eq!(later.client(&ready(&without)), [say(B, 10)], "the pull has left it out");
}

#[test]
fn a_realm_that_is_full_is_left_out_rather_than_tried_for_ever() {
    let mut relay = relay();
    assert_eq!(relay.closed(A, FULL), []);
    assert_eq!(relay.ready(6, &[7, 9]), [say(HOME, 6)]);
}

#[test]
fn who_loses_a_socket_otherwise_comes_back_and_is_told_as_its_own_space_says() {
    for (number, code, told) in [
        (A, RESTART, RESTART),
        (A, 1006, RESTART),
        (A, NORMAL, RESTART),
        (HOME, RESTART, RESTART),
        (HOME, 1006, RESTART),
        (HOME, LOST, LOST),
        (HOME, FULL, FULL),
    ] {
        let mut relay = relay();
        assert_eq!(relay.closed(number, code), [Relayed::Close(told)], "{number} {code}");
        assert_eq!(relay.closed(B, RESTART), [], "once");
    }
}

#[test]
fn who_leaves_takes_all_sockets_along() {
    let mut relay = relay();
    relay.client_left();
    assert_eq!(relay.take(), [Relayed::Close(NORMAL)]);
    relay.client_left();
    assert_eq!(relay.take(), []);
    assert_eq!(relay.ping(), []);
    assert_eq!(relay.space(A, &changes(7, 8)), []);
    assert_eq!(relay.closed(A, LOST), []);
}

#[test]
fn a_token_that_has_ended_is_told_once_and_ends_all() {
    let mut relay = relay();
    assert_eq!(
        relay.space(A, TOKEN_EXPIRED),
        [Relayed::Tell(TOKEN_EXPIRED.to_owned()), Relayed::Close(NORMAL)]
    );
    assert_eq!(relay.space(HOME, TOKEN_EXPIRED), []);
}

#[test]
fn who_reckons_other_realms_than_it_is_in_is_sent_to_pull_once() {
    let mut relay = Relay::new("alice", &revision(5, &[7]));
    let (revision, reset) = (revision(5, &[7]), hash_of_realms("alice", iter::empty()));
    assert_eq!(relay.client(&ready_with(&revision.to_string(), &reset)), [pull()]);
    let again = relay.client(&ready_with(&revision.to_string(), &reset));
    assert_eq!(again, [say(HOME, 5), say(A, 7)], "that helps once, or never");
}

#[test]
fn what_nobody_understands_is_passed_over() {
    let mut relay = relay();
    let long = format!(r#"{{"type":"ping","text":"{}"}}"#, "x".repeat(limits::DEXIE_READY_MAX));
    for text in ["", "{", "[1]", "7", r#"{"type":"doc-open"}"#, &long] {
        assert_eq!(relay.client(text), [], "{text}");
        assert_eq!(relay.space(A, text), [], "{text}");
    }
    for text in [r#"{"type":"changes"}"#, r#"{"type":"error","error":"x"}"#] {
        assert_eq!(relay.space(HOME, text).iter().filter(|told| **told != pull()).count(), 0, "{text}");
    }
}
