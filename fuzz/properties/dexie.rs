//! What the `dexie-cloud-addon` sends: requests to sync, and messages over a socket.

use std::collections::{BTreeMap, BTreeSet};

use headwater::{
    call::{Caller, Destination, PushRequest, ReadPush, Usage, live::News},
    error::ApiError,
    fronts::dexie::{
        NextPull,
        live::Peer,
        merge::{self, Errands, Found},
        part::PartAnswer,
        pull::SyncRequest,
        push::SyncReading,
        realm::{Realm, space_of},
    },
    ids::{Collection, Key, RecordId, UserHash},
    limits,
    mutation::{Change, Intent, MutationResult, Op, Outcome, Scanned, Settled, Unread, View},
    role::Role,
    snapshot::keys::Scope,
    value::compact,
    version::{Position, Version},
};
use serde_json::Value;

use super::{
    reference::json::{has_repeated, is_fit, is_json},
    space,
};

/// Records in memory.
#[derive(Clone)]
struct Store(BTreeMap<Key, String>);

impl Store {
    fn new() -> Self {
        let records = [
            ("a", r#"{"n":1,"s":"abc","list":[1,{"x":2},"b"]}"#),
            ("b", r#"{"n":{"$t":"number","v":"NaN"},"o":{"p":{"q":1}}}"#),
            ("c", "{}"),
            (r#"["x",1]"#, r#"{"$$x":{"$$y":[[]]}}"#),
        ];
        let key = |id| Key { collection: Collection::stored("todos"), id: RecordId::stored(id) };
        Self(records.into_iter().map(|(id, value)| (key(id), value.to_owned())).collect())
    }
}

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
        _count: usize,
    ) -> Result<Scanned, Unread> {
        // One at a time, so that there are pages.
        let is_next = |key: &&Key| key.collection == *of && after.is_none_or(|after| key.id > *after);
        let next = self.0.keys().find(is_next).cloned();
        let records = next.iter().map(|key| (key.id.clone(), self.0[key].clone())).collect();
        Ok(Scanned { records, next: next.map(|key| key.id) })
    }
}

fn caller() -> Caller {
    Caller {
        user: UserHash::new("https://issuer.example", "alice"),
        destination: Destination::Private(Scope::private(&space())),
        request: String::new(),
        origin: String::new(),
        sub: "alice".to_owned(),
        iss: "https://issuer.example".to_owned(),
        spent: Usage::default(),
    }
}

/// A body is refused for its envelope or its length, or all that is in it is derived into what can be stored, and answered. The parts in
/// which it is read say nothing.
pub(crate) fn dexie(body: &[u8]) {
    let read = SyncReading::of(body.to_vec(), &caller(), false);
    let not_text = |_| ApiError::Malformed("the body is not UTF-8".to_owned());
    let text = std::str::from_utf8(body).map_err(not_text);
    let asked = text.and_then(|text| SyncRequest::read(text, "alice"));
    let mut reading = match read {
        Ok(reading) => reading,
        Err(ApiError::Malformed(_)) => return assert!(!matches!(asked, Ok(SyncRequest::Pull { .. }))),
        Err(other) => panic!("a request is refused with {other:?}"),
    };
    assert!(asked.is_ok(), "what the object reads, the edge does");
    while reading.go_on(8).expect("nothing within the changes is an error") {}
    assert!(reading.weight() <= limits::push_weight(body.len()) + limits::DEXIE_TRANSACTION_BYTES);
    let parts = reading.finish().expect("a push");
    let whole =
        SyncReading::of(body.to_vec(), &caller(), false).expect("an envelope").finish().expect("a push");
    let ends = settled(&parts);
    assert_eq!(ends, settled(&whole), "read in parts, or as a whole");
    let wording = parts.wording.as_ref().expect("a wording");
    let touched = wording.touched();
    assert!(touched.windows(2).all(|pair| pair[0] < pair[1]), "each once");
    let at = Position::parse("0mwrnsa6yk3v9q2.60").expect("a position");
    let is_known = parts.since.is_none() || parts.epoch.as_ref() == Some(&at.epoch);
    let lines = "{\"version\":58,\"collection\":\"todos\",\"id\":\"a\",\"value\":{}}\n";
    let (reached, changes) = if is_known { (Some(&at), lines) } else { (None, "") };
    let said = wording.say(&Outcome { reached, changes, touched: lines, results: &ends.0 });
    let said: Value = serde_json::from_str(&with_whole_characters(&said)).expect("an answer is JSON");
    for list in ["realms", "inviteRealms", "rejections", "changes"] {
        assert!(said[list].is_array(), "{list}");
    }
    assert!(
        said["realms"].as_array().is_some_and(|realms| realms.contains(&"alice".into())),
        "nothing is wiped"
    );
    assert!(said["serverRevision"].as_str().is_some_and(|revision| !revision.is_empty()));
    sent_to_several(body);
}

/// The same body as the spaces of its client are sent it: what each makes of it is read again as it was said, and one answer is made of
/// all. Of what is on its way another request can be made.
fn sent_to_several(body: &[u8]) {
    let at = Position::parse("0mwrnsa6yk3v9q2.60").expect("a position");
    let lines = "{\"version\":58,\"collection\":\"todos\",\"id\":\"a\",\"value\":{\"realmId\":\"rlm2\"}}\n";
    let realms = [Realm::own("alice"), Realm::shared("rlm1")];
    let mut found = Vec::new();
    for realm in realms {
        let destination = match space_of(&realm.id) {
            None => caller().destination,
            Some(id) => Destination::Shared { id, scope: None },
        };
        let caller = Caller { destination, ..caller() };
        let Ok(reading) = SyncReading::of(body.to_vec(), &caller, true) else { return };
        let push = reading.finish().expect("a push");
        let (results, _) = settled(&push);
        let wording = push.wording.as_ref().expect("a wording");
        let said =
            wording.say(&Outcome { reached: Some(&at), changes: lines, touched: lines, results: &results });
        let said = PartAnswer::parse(&said).expect("what a space says is read");
        assert_eq!((&*said.changes, &*said.touched, said.at.as_ref()), (lines, lines, Some(&at)));
        let standing = NextPull { has_own: true, revision: at.to_string(), sends_changes: true };
        found.push(Found { realm, standing, changes: said.changes, touched: said.touched });
    }
    let answer = merge::answer((&found, &[]), "space", "", "");
    let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert_eq!(answer["realms"].as_array().map(Vec::len), Some(3), "nothing is wiped");
    assert!(merge::unsettled(&found).is_empty(), "all have answered");
    let mut errands = Errands::default();
    found.iter().flat_map(Found::strays).for_each(|stray| errands.put(&stray));
    let text = std::str::from_utf8(body).expect("it was read");
    let request = errands.body(&SyncRequest::envelope_of(text));
    assert!(SyncReading::of(request.into_bytes(), &caller(), true).is_ok(), "an errand is a request");
}

/// What can be read here: a refusal names a table or a key as it was written, and half a character in it is fit for `JSON.parse` and not for
/// serde_json.
fn with_whole_characters(json: &str) -> String {
    json.replace("\\ud", "\\u0d").replace("\\uD", "\\u0D")
}

/// How transactions end, and what they leave.
fn settled(push: &PushRequest) -> (Vec<MutationResult>, BTreeMap<Key, String>) {
    let (mut store, mut results) = (Store::new(), Vec::new());
    for (at, submitted) in push.mutations.iter().enumerate() {
        assert_eq!(submitted.id, at as u64 + 1);
        let Intent::Transaction(transaction) = &submitted.intent else { panic!("a transaction") };
        let settled = match transaction.derive(&mut store).expect("a store in memory") {
            Ok(changes) => {
                let keys: BTreeSet<_> = changes.iter().map(|change| &change.key).collect();
                assert_eq!(keys.len(), changes.len(), "one change for each record");
                changes.into_iter().for_each(|change| apply(&mut store, change));
                Settled::Applied(Version::ZERO)
            }
            Err(rejection) => Settled::Rejected(rejection),
        };
        results.push(MutationResult { id: submitted.id, settled, duplicate: false });
    }
    (results, store.0)
}

/// What may be stored of a native push, and nothing else.
fn apply(store: &mut Store, Change { key, base, op }: Change) {
    assert_eq!(base, None);
    assert_eq!(Collection::parse(key.collection.as_str()).as_ref(), Ok(&key.collection));
    assert_eq!(RecordId::parse(key.id.as_str()).as_ref(), Ok(&key.id));
    match op {
        Op::Put(value) => {
            assert!(value.starts_with('{') && is_json(&value) && value.len() <= limits::VALUE_BYTES_MAX);
            let kept = compact(&value);
            assert_eq!(kept.text, value.as_str());
            assert!(kept.depth <= limits::VALUE_DEPTH_MAX && is_fit(&value) && !has_repeated(&value));
            store.0.insert(key, value);
        }
        Op::Delete => {
            store.0.remove(&key);
        }
        other => panic!("{other:?}"),
    }
}

/// Each line is a message of one socket. Whatever it says, its client is told of news once after it was ready, in JSON, and what
/// is kept of it is short.
pub(crate) fn dexie_live(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut peer = Peer::new("alice");
    let line =
        |version| format!("{{\"version\":{version},\"collection\":\"todos\",\"id\":\"a\",\"value\":{{}}}}\n");
    for (number, message) in text.lines().take(64).enumerate() {
        let is_ready = peer.hear(message);
        assert!(!is_ready || peer.is_ready());
        let kept = peer.to_text();
        assert!(kept.len() <= 1024, "{kept}");
        assert_eq!(Peer::parse(&kept).as_ref(), Some(&peer));
        let at = Position::parse(&format!("0mwrnsa6yk3v9q2.{}", 58 + number)).expect("a position");
        let from = Version::new(50).expect("a version");
        let news = News::Changes { from, at: at.clone(), lines: line(at.version) };
        let before = peer.clone();
        match peer.news(&news) {
            Some(told) => {
                let told: Value = serde_json::from_str(&told).expect("a message is JSON");
                assert!(before.is_ready() && !peer.is_ready());
                if told["type"] == "changes" {
                    assert_eq!(told["baseRev"].as_str(), before.at().map(Position::to_string).as_deref());
                }
                assert_eq!(peer.news(&news), None);
            }
            None => assert_eq!(peer, before),
        }
    }
}
