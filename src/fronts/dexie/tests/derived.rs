//! What transactions come to.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    call::{Caller, Destination, PushRequest, ReadPush, Usage},
    fronts::dexie::push::SyncReading,
    ids::{Collection, Key, RecordId, SpaceHash, UserHash},
    json::json_text,
    limits,
    mutation::{
        Change, Intent, MutationResult, Op, Outcome, RejectCode, Rejection, Scanned, Settled, Unread, View,
    },
    role::Role,
    snapshot::keys::Scope,
    version::{Position, Version},
};

const EPOCH: &str = "0mwrnsa6yk3v9q2";

/// Records in memory.
#[derive(Default)]
struct Store(BTreeMap<Key, String>);

impl View for Store {
    fn role(&self) -> Role {
        Role::Owner
    }

    fn value(&mut self, key: &Key) -> Result<Option<String>, Unread> {
        Ok(self.0.get(key).cloned())
    }

    fn records(
        &mut self,
        of: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> Result<Scanned, Unread> {
        let behind = self
            .0
            .iter()
            .filter(|(key, _)| key.collection == *of && after.is_none_or(|after| key.id > *after));
        let records: Vec<_> =
            behind.take(count).map(|(key, value)| (key.id.clone(), value.clone())).collect();
        let next = records.last().map(|(id, _)| id.clone()).filter(|_| records.len() == count);
        Ok(Scanned { records, next })
    }
}

impl Store {
    fn of(records: &[(&str, &str)]) -> Self {
        let records = records.iter().map(|(id, value)| (key(id), (*value).to_owned()));
        Self(records.collect())
    }

    /// Does all transactions of a push, and says how they ended.
    fn settle(&mut self, push: &PushRequest) -> Vec<Result<usize, Rejection>> {
        let mut ended = Vec::new();
        for submitted in &push.mutations {
            let Intent::Transaction(transaction) = &submitted.intent else { panic!("a transaction") };
            let derived = transaction.derive(self).expect("a store in memory");
            ended.push(derived.map(|changes| {
                let count = changes.len();
                changes.into_iter().for_each(|change| self.apply(change));
                count
            }));
        }
        ended
    }

    fn apply(&mut self, change: Change) {
        assert_eq!(change.base, None);
        match change.op {
            Op::Put(value) => self.0.insert(change.key, value),
            Op::Delete => self.0.remove(&change.key),
            other => panic!("{other:?}"),
        };
    }

    fn get(&self, id: &str) -> Option<&str> {
        self.0.get(&key(id)).map(String::as_str)
    }
}

fn key(id: &str) -> Key {
    Key { collection: Collection::stored("todos"), id: RecordId::stored(id) }
}

fn caller() -> Caller {
    Caller {
        user: UserHash::new("https://issuer.example", "alice"),
        destination: Destination::Private(Scope::private(&space())),
        request: String::new(),
        origin: String::new(),
        sub: "alice".to_owned(),
        iss: String::new(),
        spent: Usage::default(),
    }
}

fn space() -> SpaceHash {
    SpaceHash::private("https://issuer.example", "alice")
}

fn read(changes: &str) -> PushRequest {
    read_with("", changes)
}

fn read_with(members: &str, changes: &str) -> PushRequest {
    let body = format!(r#"{{"v":3,"clientIdentity":"abc",{members}"changes":[{changes}]}}"#);
    SyncReading::of(body.into_bytes(), &caller(), false).expect("an envelope").finish().expect("a push")
}

/// Operations on one table.
fn on(muts: &str) -> PushRequest {
    read(&format!(r#"{{"table":"todos","muts":[{muts}]}}"#))
}

fn last_pull(revision: &str) -> String {
    format!(r#""lastPull":{{"serverRevision":{},"realms":["alice","rlm-public"]}},"#, json_text(revision))
}

#[test]
fn operations_of_one_transaction_are_one_wherever_they_stand() {
    let push = read(
        r#"{"table":"todos","muts":[
            {"type":"insert","keys":["a"],"values":[{"n":1}],"txid":"t1","opNo":1},
            {"type":"insert","keys":["b"],"values":[{"n":2}],"txid":"t2","opNo":1},
            {"type":"update","keys":["c"],"changeSpecs":[{"n":9}],"txid":"t1","opNo":3}]},
        {"table":"other","muts":[{"type":"insert","keys":["a"],"values":[{}],"txid":"t2","opNo":2}]},
        {"table":"todos","muts":[
            {"type":"upsert","keys":["c"],"values":[{"n":3}],"txid":"t1","opNo":2},
            {"type":"upsert","keys":["d"],"values":[{"n":4}]},
            {"type":"upsert","keys":["e"],"values":[{"n":5}]}]}"#,
    );
    let ids: Vec<_> = push.mutations.iter().map(|submitted| submitted.id).collect();
    assert_eq!(ids, [1, 2, 3, 4], "what has no id is one of its own");
    let mut store = Store::default();
    assert_eq!(store.settle(&push), [Ok(2), Ok(2), Ok(1), Ok(1)]);
    assert_eq!(store.get("c"), Some(r#"{"n":9}"#), "by their numbers");
    let touched = push.wording.expect("a wording").touched().len();
    assert_eq!(touched, 6);
}

#[test]
fn a_client_is_named_by_what_it_calls_itself_once_it_has_something_of_ours() {
    let push = read_with(&last_pull("0mwrnsa6yk3v9q2.57"), "");
    assert_eq!(push.client.as_str(), "dx_ba7816bf8f01cfea414140de5dae2223");
    assert_eq!(push.epoch.as_ref().map(|epoch| epoch.as_str()), Some(EPOCH));
    assert_eq!(push.since, Version::new(57));
    let first = read_with(r#""lastPull":{"$t":"undefined"},"#, "");
    assert_eq!((first.client.as_str(), first.epoch, first.since), ("dx_first", None, None));
    let foreign = read_with(&last_pull("[1,\"2823\"]"), "");
    assert_eq!((foreign.epoch, foreign.since), (None, Version::new(1)), "of no history of ours");
}

#[test]
fn values_are_stored_compact_and_without_what_says_that_they_are_their_users() {
    let mut store = Store::default();
    let push = on(
        r#"{"type":"insert","keys":["a","b"],"values":[ {"x" : 1,"owner":"alice","realmId":"alice","_hasBlobRefs":1},{"realmId":"rlm-1","owner":"bob","in":{"owner":"alice"}}]}"#,
    );
    assert_eq!(store.settle(&push), [Ok(2)]);
    assert_eq!(store.get("a"), Some(r#"{"x":1}"#));
    assert_eq!(store.get("b"), Some(r#"{"realmId":"rlm-1","owner":"bob","in":{"owner":"alice"}}"#));
}

#[test]
fn an_update_changes_what_is_there_and_one_change_may_be_for_all_keys() {
    let mut store = Store::of(&[("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#)]);
    let push = on(r#"{"type":"update","keys":["a","b","c"],"changeSpecs":[{"z":1}]}"#);
    assert_eq!(store.settle(&push), [Ok(2)]);
    assert_eq!(
        [store.get("a"), store.get("b"), store.get("c")],
        [Some(r#"{"n":1,"z":1}"#), Some(r#"{"n":2,"z":1}"#), None]
    );
}

#[test]
fn an_update_behind_a_deletion_does_nothing() {
    let mut store = Store::of(&[("a", r#"{"n":1}"#)]);
    let push = on(
        r#"{"type":"delete","keys":["a"],"criteria":{"$t":"undefined"},"txid":"t","opNo":1},{"type":"update","keys":["a"],"changeSpecs":[{"z":1}],"txid":"t","opNo":2}"#,
    );
    assert_eq!(store.settle(&push), [Ok(1)]);
    assert_eq!(store.get("a"), None);
}

#[test]
fn an_upsert_with_a_change_changes_what_is_there_and_puts_what_is_not() {
    let mut store = Store::of(&[("a", r#"{"n":1,"other":2}"#), ("c", r#"{"n":1}"#)]);
    let push = on(
        r#"{"type":"upsert","keys":["a","b","c"],"values":[{"n":5},{"n":6},{"n":7}],"changeSpecs":[{"n":{"@@propmod":{"add":4}}},{"n":6},null]}"#,
    );
    assert_eq!(store.settle(&push), [Ok(3)]);
    assert_eq!(store.get("a"), Some(r#"{"n":5,"other":2}"#));
    assert_eq!([store.get("b"), store.get("c")], [Some(r#"{"n":6}"#), Some(r#"{"n":7}"#)]);
}

#[test]
fn a_primary_key_is_not_changed_if_its_client_says_what_it_is() {
    let mut store = Store::of(&[("a", r#"{"key":"a","n":1}"#)]);
    let changes =
        r#"{"table":"todos","muts":[{"type":"update","keys":["a"],"changeSpecs":[{"key":"b","n":2}]}]}"#;
    let schema = r#""schema":{"todos":{"primaryKey":"key"}},"#;
    store.settle(&read_with(schema, changes));
    assert_eq!(store.get("a"), Some(r#"{"key":"a","n":2}"#));
}

#[test]
fn a_condition_means_what_it_means_now_and_behind_the_operations_before() {
    let mut store = Store::of(&[("a", r#"{"done":0}"#), ("b", r#"{"done":1}"#), ("c", r#"{"done":0}"#)]);
    let range = r#""criteria":{"index":"done","range":{"type":1,"lower":0,"upper":0}}"#;
    let push = on(&format!(
        r#"{{"type":"update","keys":["c"],"changeSpecs":[{{"done":1}}],"txid":"t","opNo":1}},
           {{"type":"insert","keys":["d"],"values":[{{"done":0}}],"txid":"t","opNo":2}},
           {{"type":"modify","keys":["b"],{range},"changeSpec":{{"x":1}},"txid":"t","opNo":3}},
           {{"type":"modify","keys":["b"],{range},"changeSpec":{{"y":1}},"isAdditionalChunk":true,"txid":"t","opNo":3}}"#
    ));
    assert_eq!(store.settle(&push), [Ok(3)]);
    assert_eq!(store.get("a"), Some(r#"{"done":0,"x":1}"#));
    assert_eq!(store.get("b"), Some(r#"{"done":1}"#), "its key alone says nothing");
    assert_eq!(store.get("c"), Some(r#"{"done":1}"#));
    assert_eq!(store.get("d"), Some(r#"{"done":0,"x":1}"#));
}

#[test]
fn a_deletion_with_a_condition_removes_its_keys_too() {
    let mut store = Store::of(&[("n1", "{}"), ("n2", "{}"), ("m", "{}"), ("z", "{}")]);
    let push = on(
        r#"{"type":"delete","keys":["z"],"criteria":{"index":null,"range":{"type":2,"lower":"n","upper":"n\uffff","lowerOpen":false,"upperOpen":false}}}"#,
    );
    assert_eq!(store.settle(&push), [Ok(3)]);
    assert_eq!(store.0.keys().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["m"]);
}

#[test]
fn a_condition_on_more_records_than_are_looked_through_means_the_keys_of_its_client() {
    let mut store = Store::default();
    for number in 0..=limits::DEXIE_SCANNED_MAX {
        store.0.insert(key(&format!("r{number:06}")), "{\"a\":1}".to_owned());
    }
    let any = r#""criteria":{"index":{"$t":"undefined"},"range":{"type":3,"lower":{"$t":"number","v":"-Infinity"},"upper":[[]]}}"#;
    let push = on(&format!(r#"{{"type":"modify","keys":["r000007"],{any},"changeSpec":{{"a":2}}}}"#));
    assert_eq!(store.settle(&push), [Ok(1)]);
    let chunks = on(&format!(
        r#"{{"type":"modify","keys":["r000007"],{any},"changeSpec":{{"a":4}},"txid":"t"}},{{"type":"modify","keys":["r000008"],{any},"changeSpec":{{"a":4}},"isAdditionalChunk":true,"txid":"t"}}"#
    ));
    assert_eq!(store.settle(&chunks), [Ok(2)], "in all operations that its keys stand in");
    store.0.pop_last();
    let push = on(&format!(r#"{{"type":"modify","keys":["r000007"],{any},"changeSpec":{{"a":3}}}}"#));
    assert_eq!(store.settle(&push), [Ok(limits::DEXIE_SCANNED_MAX)]);
}

#[test]
fn what_cannot_be_stored_undoes_its_whole_transaction_and_no_other() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(limits::VALUE_BYTES_MAX));
    for (value, code) in [
        (deep.as_str(), RejectCode::TooLarge),
        (&long, RejectCode::TooLarge),
        (r#"{"a":"\ud800"}"#, RejectCode::InvalidValue),
        (r#"{"a":{"b":1,"b":2}}"#, RejectCode::InvalidValue),
        ("[1]", RejectCode::InvalidValue),
    ] {
        let mut store = Store::default();
        let push = on(&format!(
            r#"{{"type":"insert","keys":["a"],"values":[{{}}],"txid":"t1"}},{{"type":"insert","keys":["b"],"values":[{value}],"txid":"t1"}},
            {{"type":"insert","keys":["c"],"values":[{{}}],"txid":"t2"}}"#
        ));
        let ended = store.settle(&push);
        assert_eq!(ended[0].as_ref().map_err(|rejection| rejection.code), Err(code));
        assert_eq!(ended[1], Ok(1));
        assert_eq!(store.0.len(), 1);
    }
}

#[test]
fn what_is_not_understood_is_passed_over_and_its_records_are_told() {
    let push = on(
        r#"7,{},[],{"type":"later","keys":["a"],"txid":"t"},{"type":"insert","keys":["b",5,null]},{"type":"modify","keys":["c"]},{"type":"update","keys":["d"],"changeSpecs":7}"#,
    );
    let mut store = Store::of(&[("c", "{}"), ("d", "{}")]);
    assert_eq!(store.settle(&push), [Ok(0), Ok(0), Ok(0), Ok(0)]);
    let wording = push.wording.expect("a wording");
    let touched: Vec<_> = wording.touched().into_iter().map(|key| key.id.to_string()).collect();
    assert_eq!(touched, ["a", "b", "c", "d"]);
}

fn lines(records: &[(u64, &str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (version, id, value) in records {
        let rest = value.map_or("\"deleted\":true".to_owned(), |value| format!("\"value\":{value}"));
        let line = writeln!(
            text,
            "{{\"version\":{version},\"collection\":\"todos\",\"id\":{},{rest}}}",
            json_text(id)
        );
        line.expect("a text takes all");
    }
    text
}

#[test]
fn an_answer_says_what_is_new_and_how_what_was_named_stands() {
    let push = read_with(
        &last_pull("0mwrnsa6yk3v9q2.57"),
        r#"{"table":"todos","muts":[{"type":"insert","keys":["b","x\ny"],"values":[{},{}],"txid":"t\u0031"}]},{"table":"$jobs","muts":[{"type":"insert","keys":["j"],"values":[{}]}]},{"table":"to dos","muts":[{"type":"delete","keys":["k","l"]}]}"#,
    );
    let at = Position::parse(&format!("{EPOCH}.60")).expect("a position");
    let rejection = Rejection::new(RejectCode::TooLarge, "too \"large\"");
    let results = [MutationResult { id: 1, settled: Settled::Rejected(rejection), duplicate: false }];
    let (changes, touched) = (
        lines(&[(58, "a", Some(r#"{"n":1}"#)), (59, "c", None), (60, "d\"", Some("{}"))]),
        lines(&[(3, "b", Some(r#"{"owner":"bob"}"#))]),
    );
    let outcome = Outcome { reached: Some(&at), changes: &changes, touched: &touched, results: &results };
    let wording = push.wording.expect("a wording");
    let mine = r#"{"realmId":"alice","owner":"alice""#;
    let head = |revision: &str| {
        format!(
            r#"{{"serverRevision":"{EPOCH}.{revision}","dbId":"{}","realms":["alice","rlm-public"],"inviteRealms":[],"schema":{{}},"rejections":["#,
            space().as_str()
        )
    };
    let rule = "a record id is 1 to 256 bytes of UTF-8 without control characters";
    let of_names = "a collection name is 1 to 64 of A-Z a-z 0-9 _ . -";
    let rejections = format!(
        r#"{{"name":"too_large","message":"too \"large\"","txid":"t\u0031"}},{{"name":"invalid_value","message":"{rule}","table":"todos","key":"x\ny"}},{{"name":"invalid_value","message":"{of_names}","table":"$jobs","key":"j"}},{{"name":"invalid_value","message":"{of_names}","table":"to dos","key":"k"}},{{"name":"invalid_value","message":"{of_names}","table":"to dos","key":"l"}}"#
    );
    let corrections = r#"{"table":"todos","muts":[{"type":"delete","keys":["x\ny"]}]},{"table":"$jobs","muts":[{"type":"delete","keys":["j"]}]},{"table":"to dos","muts":[{"type":"delete","keys":["k","l"]}]}"#;
    let touched_muts = format!(
        r#"{{"table":"todos","muts":[{{"type":"upsert","keys":["b"],"values":[{mine},"owner":"bob"}}]}}]}}"#
    );
    let expected = format!(
        r#"{}{rejections}],"changes":[{{"table":"todos","muts":[{{"type":"upsert","keys":["a"],"values":[{mine},"n":1}}]}}]}},{{"table":"todos","muts":[{{"type":"delete","keys":["c"]}}]}},{{"table":"todos","muts":[{{"type":"upsert","keys":["d\""],"values":[{mine}}}]}}]}},{touched_muts},{corrections}]}}"#,
        head("60")
    );
    assert_eq!(wording.say(&outcome), expected);
    let unmoved = Outcome { reached: None, changes: "", touched: &touched, results: &[] };
    let told = wording.say(&unmoved);
    assert!(told.starts_with(&head("57")), "another history is no reason to move: {told}");
    assert!(told.ends_with(&format!(r#""changes":[{touched_muts},{corrections}]}}"#)), "{told}");
}

#[test]
fn only_an_envelope_fails_and_a_body_is_read_in_parts() {
    for body in ["", "[]", r#"{"clientIdentity":"a","changes":{}}"#, r#"{"changes":[]}"#] {
        assert!(SyncReading::of(body.as_bytes().to_vec(), &caller(), false).is_err(), "{body}");
    }
    let one = r#"{"table":"todos","muts":[{"type":"insert","keys":["a"],"values":[{}]}]}"#;
    let body = format!(r#"{{"clientIdentity":"a","changes":[{}]}}"#, [one; 10].join(","));
    let mut reading = SyncReading::of(body.clone().into_bytes(), &caller(), false).expect("an envelope");
    let mut parts = 1;
    while reading.go_on(100).expect("a part") {
        parts += 1;
    }
    assert!((5..=20).contains(&parts), "{parts}");
    let weight = reading.weight();
    assert!(weight > body.len() && weight < body.len() + 10 * 400, "{weight}");
    assert_eq!(reading.finish().expect("a push").mutations.len(), 10);
}
