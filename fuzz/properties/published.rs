//! What comes back from KV and the location's cache, and what edge and coordinator say to each other.

use headwater::{
    call::{Ask, Call, Caller, PullReply, PushRequest, decode_reply, encode_reply},
    coordinator::Coordinator,
    edge::known::KnownHead,
    ids::{ContentHash, SpaceHash, UserHash},
    limits::{self, Sizes},
    sim::{BY_DEMAND, START, ledger::MemoryLedger},
    snapshot::{
        head::{Head, HeadMetadata, Tail},
        keys::Scope,
        lines::{are_lines, newer_than, version_of},
        part::first_part,
    },
    time::Millis,
    version::{Position, Version},
};
use serde_json::Value;

use super::{pushes::only, reference::json::string, space};

/// A value is a head of this space and this format whose tail hashes to its name, or none. One that is accepted is written
/// back as the same head, and is none with another tail or for another space.
pub(crate) fn head(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let scope = Scope::private(&space());
    assert_head(text, &scope);
    // No input finds a hash by chance: the same once more with the measures put right.
    if let Some(sealed) = sealed(text, &scope) {
        assert_head(&sealed, &scope);
    }
    if let Some(metadata) = text.lines().next().and_then(HeadMetadata::parse) {
        let written = serde_json::to_string(&metadata).expect("JSON");
        assert_eq!(HeadMetadata::parse(&written), Some(metadata.clone()));
        let known = KnownHead::new(metadata.clone(), None, &scope, Millis(1)).expect("no body to disagree");
        assert_eq!(known.position(), Position { epoch: metadata.e.clone(), version: metadata.v });
        let _ = known.is_expiring(Millis(0));
    }
}

/// `text` with the scope and the tail's measures as they have to be.
fn sealed(text: &str, scope: &Scope) -> Option<String> {
    let (line, tail) = text.split_once('\n')?;
    let mut line: Value = serde_json::from_str(line).ok()?;
    line.as_object()?;
    line["scope"] = scope.as_str().into();
    let measures = line.get_mut("tail")?;
    measures.as_object()?;
    measures["bytes"] = tail.len().into();
    measures["sha256"] = ContentHash::of(tail.as_bytes()).as_str().into();
    Some(format!("{line}\n{tail}"))
}

fn assert_head(text: &str, scope: &Scope) {
    let Some((head, tail)) = Head::decode(text, scope) else { return };
    assert_eq!(text.split_once('\n').map(|(_, tail)| tail), Some(tail));
    assert_eq!(head.tail.sha256, ContentHash::of(tail.as_bytes()).as_str());
    let other = Scope::private(&SpaceHash::private("https://issuer.example", "bob"));
    assert_eq!(Head::decode(text, &other), None, "a head of another space");
    for other in [format!("{text}{{\"version\":0,}}\n"), text.trim_end_matches(tail).to_owned()] {
        assert!(Head::decode(&other, scope).is_none() || other == text, "another tail");
    }
    let written = serde_json::to_string(&head).expect("JSON") + "\n" + tail;
    assert_eq!(Head::decode(&written, scope), Some((head.clone(), tail)));
    lines(tail.as_bytes());
    let below = head.delta.as_ref().or(head.base.as_ref()).map_or(Version::ZERO, |run| run.to);
    if head.tail.from != below || tail.len() > limits::TAIL_BYTES_MAX {
        return;
    }
    let again = Head { tail: Tail::of(head.tail.from, tail), ..head.clone() };
    let Some((value, metadata)) = again.encode(tail) else { return };
    assert_eq!(Head::decode(&value, scope), Some((head.clone(), tail)), "what is read is what is written");
    let metadata = HeadMetadata::parse(&metadata).expect("metadata");
    assert_eq!((metadata.position(), metadata.h + metadata.b), (head.position(), value.len()));
    let known = KnownHead::new(metadata, Some(value), scope, Millis(1)).expect("they agree");
    assert_eq!(known.body.expect("a body").tail(), tail);
}

/// What passes for record lines is read without a panic, and what is newer than any version is a prefix of whole lines,
/// the longest whose versions are all above it.
pub(crate) fn lines(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if !are_lines(text) {
        return;
    }
    let each: Vec<_> = text.split_inclusive('\n').collect();
    assert!(each.iter().all(|line| line.starts_with("{\"version\":") && line.ends_with("}\n")));
    let versions: Vec<_> = each.iter().map(|line| version_of(line)).collect();
    for since in versions.iter().chain(&[Version::ZERO, Version::MAX]) {
        let newer = newer_than(text, *since);
        let count = match *since {
            // Everything, also what claims to be at 0.
            Version::ZERO => each.len(),
            since => versions.iter().take_while(|version| **version > since).count(),
        };
        assert_eq!(newer, each[..count].concat());
    }
}

/// Parts are whole lines that make up the run. All but the last have at least the least size, and at most the largest if
/// any line ends in between. What follows a part never moves its end, and neither do the versions of its records.
pub(crate) fn parts(bytes: &[u8]) {
    const SIZES: Sizes = Sizes { part_min: 1_000, part_max: 1_500, ..Sizes::DEPLOYED };
    let line = |version: u8, (at, length): (usize, &u8)| {
        let filler = "x".repeat(usize::from(*length) * if length % 16 == 0 { 16 } else { 1 });
        format!(
            "{{\"version\":{version},\"collection\":\"c\",\"id\":\"{at:04}{}\",\"value\":{{\"f\":\"{filler}\"}}}}\n",
            length % 7
        )
    };
    let text =
        |version| bytes.iter().take(80).enumerate().map(|each| line(version, each)).collect::<Vec<_>>();
    let (first, second) = (text(1), text(2));
    let mut at = 0;
    while at < first.len() {
        let rest = first[at..].concat();
        let end = first_part(&rest, false, &SIZES).expect("nothing follows");
        let mut count = 0;
        while first[at..at + count].concat().len() < end {
            count += 1;
        }
        assert_eq!(first[at..at + count].concat().len(), end, "a part ends with a line");
        assert_eq!(first_part(&second[at..].concat(), false, &SIZES), Some(end), "only keys count");
        let is_last = at + count == first.len();
        assert!(is_last || end >= SIZES.part_min);
        let without_last_line = end - first[at + count - 1].len();
        assert!(end <= SIZES.part_max || without_last_line < SIZES.part_min, "{end}");
        for known in at..first.len() {
            let sure = first_part(&first[at..=known].concat(), true, &SIZES);
            assert!(sure.is_none_or(|sure| sure == end), "an end that was sure has moved");
        }
        at += count;
    }
}

/// What edge and coordinator say to each other is read as it was written, and nothing that can be said makes a coordinator
/// panic: it answers from a state that is as high as was asked for, or refuses.
pub(crate) fn internal(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some((reply, lines)) = decode_reply(text) {
        if let PullReply::Overlay { from, version, horizon, asked_at, .. } = &reply {
            let read = [from.get(), version.get(), horizon.get(), asked_at.0].map(Some);
            // Which of two members of one name counts is nobody's matter: neither side writes them.
            let line = text.lines().next().unwrap_or_default();
            let number = |name: &str| only(line, name).and_then(string)?.parse().ok();
            let said = ["from", "version", "horizon", "asked_at"].map(number);
            assert!(said.contains(&None) || read == said, "{read:?} {said:?}");
        }
        let written = encode_reply(&reply, lines);
        assert_eq!(decode_reply(&written), Some((reply, lines)));
    }
    if let Some(caller) = Caller::parse(text) {
        assert_eq!(Caller::parse(&caller.to_text()), Some(caller));
    }
    for name in CALLS {
        let Some(call) = Call::parse(name, bytes) else { continue };
        assert_eq!((call.name(), &*call.body()), (name, text), "one text");
        match call {
            Call::Pull(ask) => pulled(&ask),
            Call::Administer(asked) => {
                let _ = small_space().administer(&user(), &asked, START.plus(1), 1);
            }
            Call::Conflicts { .. } | Call::Directory(_) | Call::Listen { .. } | Call::Budget(_) => {}
            Call::Push | Call::Resolve | Call::Dexie { .. } => panic!("the body of a push is a user's"),
        }
    }
}

const CALLS: [&str; 17] = [
    "budget",
    "listen",
    "conflicts",
    "pull",
    "directory",
    "create",
    "show",
    "delete",
    "members",
    "member",
    "set-member",
    "remove-member",
    "policies",
    "set-policy",
    "remove-policy",
    "grant",
    "reset-epoch",
];

fn user() -> UserHash {
    UserHash::new("https://issuer.example", "alice")
}

fn pulled(ask: &Ask) {
    let mut core = small_space();
    let now = START.plus(1);
    let (user, scope) = (user(), Scope::private(&space()));
    if let Ok(Some(claimed)) = core.claimed_by(&user, &scope, ask, now) {
        assert!(claimed > core.position());
    }
    let Ok((reply, lines)) = core.pull(&user, &scope, ask, now) else { return };
    assert!(are_lines(&lines));
    let (PullReply::Overlay { epoch, version, .. } | PullReply::Page { epoch, version, .. }) = &reply;
    let here = Position { epoch: epoch.clone(), version: *version };
    assert_eq!(here, core.position());
    let own = ask.epoch.clone().map(|epoch| Position { epoch, version: ask.since });
    assert!(ask.min.as_ref().is_none_or(|min| *min <= here), "below what was asked for");
    // Whoever asks for less than it has gives its own position up.
    let is_beyond = own.as_ref().is_some_and(|own| *own > here);
    let is_anew = ask.cursor.is_some() || matches!(&reply, PullReply::Page { reset: true, .. });
    assert!(!is_beyond || (ask.min.is_some() && ask.min < own && is_anew), "below what it has");
    assert_eq!(decode_reply(&encode_reply(&reply, &lines)), Some((reply, &*lines)));
}

/// Three records at versions 1, 2 and 3; the first epoch is the same in every run.
fn small_space() -> Coordinator<MemoryLedger> {
    let scope = Scope::private(&space());
    let core = Coordinator::open(MemoryLedger::default(), Some(scope), BY_DEMAND, None, START, 7);
    let mut core = core.expect("a space");
    let put = |id: u64| {
        format!(r#"{{"id":{id},"changes":[{{"op":"put","collection":"c","id":"r{id}","value":{{}}}}]}}"#)
    };
    let body = format!(r#"{{"client":"c_9f2k1m0a","mutations":[{},{},{}]}}"#, put(1), put(2), put(3));
    let push = PushRequest::parse(body.as_bytes()).expect("a push");
    let answers = core.push(&[(UserHash::new("https://issuer.example", "alice"), push)], START);
    assert!(answers.iter().all(Result::is_ok));
    core
}
