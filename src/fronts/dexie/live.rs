//! `GET /dexie/changes`: the messages of sockets, and what is known of who is at the other end.

use std::iter;

use sha1::{Digest, Sha1};

use super::{answer::muts, realm::Realm, revision::Revision};
use crate::{
    access::base64,
    call::live::{Closing, News},
    json::{Texts, Written, json_text},
    limits,
    snapshot::lines::version_of,
    version::{Position, Version},
};

/// That there is something to pull. Its client does so whatever it has.
pub const REALMS_CHANGED: &str = r#"{"type":"realms-changed","realmsHash":""}"#;
/// That the token has ended.
pub const TOKEN_EXPIRED: &str = r#"{"type":"token-expired"}"#;
/// Bytes of a subject that is kept with a socket, as JSON: whoever has a longer one is told that there is something, and pulls it.
const SUBJECT_MAX: usize = 512;
/// Bytes of the hash of a client's realms: it is a SHA-1 in base64.
const HASH_MAX: usize = 64;

/// A client at a socket. It hears of changes once after each time that it says where it is: what comes between is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// None of a subject that is too long to be kept.
    sub: Option<String>,
    ready: Option<Ready>,
    /// The hash of its realms for which it was sent to pull last: that helps once, or never.
    sent_for: Option<String>,
}

/// As what this client reckons its realms, its own, these and the one that everybody sees: the SHA-1 of their list, in base64
/// (`computeRealmSetHash` of the addon).
pub(super) fn hash_of_realms<'a>(sub: &'a str, others: impl Iterator<Item = &'a str>) -> String {
    // One by one into their places: they are few, and a sort is 6 KB of the module.
    let mut realms: Vec<&str> = Vec::new();
    for realm in others.chain([sub, "rlm-public"]) {
        let place = realms.iter().take_while(|before| before.encode_utf16().lt(realm.encode_utf16())).count();
        realms.insert(place, realm);
    }
    let each = |realm: &&str| format!(r#"{{"realmId":{},"accepted":true}}"#, json_text(realm));
    let list: Vec<_> = realms.iter().map(each).collect();
    base64::encoded(&Sha1::digest(format!("[{}]", list.join(",")).as_bytes()))
}

/// Where a client says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ready {
    /// None of another server's.
    at: Option<Position>,
    /// Of its realms, by its own reckoning.
    hash: String,
    /// Whether its revision is about other realms too: then it is told that there is news, and not which.
    shares_realms: bool,
}

impl Peer {
    /// A client of a user's that has said nothing.
    #[must_use]
    pub fn new(sub: &str) -> Self {
        let sub = Some(sub.to_owned()).filter(|sub| json_text(sub).len() <= SUBJECT_MAX);
        Self { sub, ready: None, sent_for: None }
    }

    /// Takes in a message. Whether its client has said where it is: then it is told what it has not.
    pub fn hear(&mut self, message: &str) -> bool {
        if message.len() > limits::DEXIE_MESSAGE_MAX {
            return false;
        }
        let texts = Texts::parse(message).filter(|texts| texts.get("type") == Some("ready"));
        let Some(texts) = texts else { return false };
        // Nothing can come behind the last version that can be, so no space stands there.
        let revision = texts.get("rev").and_then(Revision::parse).unwrap_or_default();
        let at = revision.home.filter(|at| at.version < Version::MAX);
        let shares_realms = !revision.realms.is_empty();
        let hash = texts.get("realmSetHash").unwrap_or_default();
        let (at, hash) = if hash.len() <= HASH_MAX { (at, hash) } else { (None, "") };
        self.ready = Some(Ready { at, hash: hash.to_owned(), shares_realms });
        true
    }

    /// What it is told where its realms are not what they should be, because it has just been reset, or where it stands at no position
    /// of ours. Then it waits for nothing until it is ready again.
    pub fn sent_to_pull(&mut self) -> Option<&'static str> {
        let (ready, sub) = (self.ready.as_ref()?, self.sub.as_ref()?);
        let is_right = ready.shares_realms
            || ready.hash == hash_of_realms(sub, iter::empty())
            || self.sent_for.as_ref() == Some(&ready.hash);
        if is_right && ready.at.is_some() {
            return None;
        }
        self.sent_for = self.ready.take().map(|ready| ready.hash);
        Some(REALMS_CHANGED)
    }

    /// Where it is, if it waits for news.
    #[must_use]
    pub fn at(&self) -> Option<&Position> {
        self.ready.as_ref()?.at.as_ref()
    }

    /// Whether it waits for news.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// What it is told of news, if it waits for them and does not have them. Then it waits for none until it is ready again.
    pub fn news(&mut self, news: &News) -> Option<String> {
        let ready = self.ready.as_ref()?;
        let (News::Version(at) | News::Changes { at, .. }) = news;
        let here = ready.at.as_ref().filter(|here| here.epoch == at.epoch);
        if here.is_some_and(|here| here.version >= at.version) {
            return None;
        }
        let here = here.filter(|_| !ready.shares_realms);
        let changes = here.and_then(|here| self.changes(here, &ready.hash, news));
        self.ready.take_if(|_| !planted!(ChangesToUnready));
        Some(changes.unwrap_or_else(|| realms_changed(at)))
    }

    /// What it is told where nobody can say now what it does not have: whoever pulls hears what is wrong.
    pub fn something(&mut self) -> Option<String> {
        self.ready.take().map(|_| REALMS_CHANGED.to_owned())
    }

    /// The changes, if those are all that it has not.
    fn changes(&self, here: &Position, hash: &str, news: &News) -> Option<String> {
        let News::Changes { from, at, lines } = news else { return None };
        if here.version < *from || lines.len() > limits::DEXIE_NEWS_MAX {
            return None;
        }
        let new: String =
            lines.split_inclusive('\n').filter(|line| version_of(line) > here.version).collect();
        let changes = muts(&new, &Realm::own(self.sub.as_ref()?));
        let hash = json_text(hash);
        Some(format!(
            r#"{{"type":"changes","baseRev":"{here}","realmSetHash":{hash},"newRev":"{at}","changes":[{changes}]}}"#
        ))
    }

    /// What the platform keeps with the socket while its object sleeps: at most 1 KiB.
    #[must_use]
    pub fn to_text(&self) -> String {
        let ready = self.ready.as_ref();
        Written::default()
            .and_some("sub", self.sub.clone())
            .and_some("hash", ready.map(|ready| ready.hash.clone()))
            .and_some("rev", ready.and_then(|ready| ready.at.as_ref()).map(Position::to_string))
            .and_some("sent", self.sent_for.clone())
            .and_some("shares", ready.filter(|ready| ready.shares_realms).map(|_| "yes".to_owned()))
            .end()
    }

    /// Out of [`Self::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let at = texts.get("rev").and_then(Position::parse);
        let shares_realms = texts.get("shares") == Some("yes");
        let ready = texts.get("hash").map(|hash| Ready { at, hash: hash.to_owned(), shares_realms });
        let text = |name| texts.get(name).map(str::to_owned);
        Some(Self { sub: text("sub"), ready, sent_for: text("sent") })
    }
}

/// That there is something to pull, and where the space stands, which only a relay reads.
fn realms_changed(at: &Position) -> String {
    format!(r#"{{"type":"realms-changed","realmsHash":"","newRev":"{at}"}}"#)
}

/// What a socket that is closed is told before, and the code of its end and why.
#[must_use]
pub const fn closing(why: &Closing) -> (Option<&'static str>, u16, &'static str) {
    match why {
        Closing::Expired => (Some(TOKEN_EXPIRED), 1000, ""),
        Closing::Lost(_) => (None, 1008, ""),
        Closing::Full => (None, 1013, ""),
        Closing::Restart => (None, 1012, ""),
        Closing::Violation(why) => (None, 1008, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "{\"version\":57,\"collection\":\"todos\",\"id\":\"a\",\"value\":{}}\n{\"version\":58,\"collection\":\"todos\",\"id\":\"b\",\"deleted\":true}\n";

    fn at(version: u64) -> Position {
        Position::parse(&format!("0mwrnsa6yk3v9q2.{version}")).expect("a position")
    }

    fn ready(revision: &str) -> String {
        format!(r#"{{"type":"ready","rev":"{revision}","realmSetHash":"aGFzaA=="}}"#)
    }

    fn changes(from: u64, lines: &str) -> News {
        News::Changes { from: Version::new(from).expect("a version"), at: at(58), lines: lines.to_owned() }
    }

    fn peer(revision: &str) -> Peer {
        let mut peer = Peer::new("alice");
        assert!(peer.hear(&ready(revision)));
        peer
    }

    #[test]
    fn who_is_ready_is_told_once_what_is_new_from_where_they_are() {
        let mut peer = peer("0mwrnsa6yk3v9q2.57");
        let news = peer.news(&changes(50, LINES));
        assert_eq!(
            news.as_deref(),
            Some(
                r#"{"type":"changes","baseRev":"0mwrnsa6yk3v9q2.57","realmSetHash":"aGFzaA==","newRev":"0mwrnsa6yk3v9q2.58","changes":[{"table":"todos","muts":[{"type":"delete","keys":["b"]}]}]}"#
            )
        );
        assert_eq!(peer.news(&changes(50, LINES)), None, "until it is ready again");
        assert!(peer.hear(&ready("0mwrnsa6yk3v9q2.58")));
        assert_eq!(peer.news(&changes(50, LINES)), None, "it has them");
        assert!(peer.is_ready());
    }

    #[test]
    fn who_cannot_be_told_by_changes_is_told_to_pull() {
        let long = LINES.repeat(limits::DEXIE_NEWS_MAX / LINES.len() + 1);
        for (revision, news) in [
            ("0mwrnsa6yk3v9q1.99", changes(0, LINES)),
            ("[1,\\\"5\\\"]", changes(0, LINES)),
            ("0mwrnsa6yk3v9q2.49", changes(50, LINES)),
            ("0mwrnsa6yk3v9q2.57", changes(50, &long)),
            ("0mwrnsa6yk3v9q2.57", News::Version(at(58))),
        ] {
            assert_eq!(peer(revision).news(&news), Some(realms_changed(&at(58))), "{revision}");
        }
        let mut long = Peer::new(&"x".repeat(1024));
        long.hear(&ready("0mwrnsa6yk3v9q2.57"));
        assert_eq!(long.news(&changes(50, LINES)), Some(realms_changed(&at(58))));
        let mut peer = peer("0mwrnsa6yk3v9q2.57");
        assert_eq!(peer.something().as_deref(), Some(REALMS_CHANGED));
        assert_eq!((peer.something(), peer.is_ready()), (None, false));
    }

    #[test]
    fn who_has_said_nothing_is_told_nothing() {
        let mut peer = Peer::new("alice");
        for message in
            ["", "{", r#"{"type":"ping"}"#, r#"{"type":"ready"#, &" ".repeat(limits::DEXIE_MESSAGE_MAX + 1)]
        {
            assert!(!peer.hear(message), "{message}");
        }
        assert_eq!(peer.news(&changes(0, LINES)), None);
    }

    #[test]
    fn what_is_kept_with_a_socket_is_pinned_because_sockets_outlive_deployments() {
        let text = r#"{"sub":"alice","hash":"aGFzaA==","rev":"0mwrnsa6yk3v9q2.57"}"#;
        assert_eq!(peer("0mwrnsa6yk3v9q2.57").to_text(), text);
        let mut long = Peer::new(&"\u{1}".repeat(85));
        long.hear(&format!(
            r#"{{"type":"ready","rev":"{}.1","realmSetHash":"{}"}}"#,
            "a".repeat(32),
            "\\u0001".repeat(64)
        ));
        assert!(long.sub.is_some() && long.to_text().len() <= 1024, "{}", long.to_text().len());
        for peer in
            [peer("0mwrnsa6yk3v9q2.57"), peer("of another server"), Peer::new("alice"), Peer::new(""), long]
        {
            assert_eq!(Peer::parse(&peer.to_text()), Some(peer));
        }
    }

    fn ready_with(hash: &str) -> String {
        format!(r#"{{"type":"ready","rev":"0mwrnsa6yk3v9q2.57","realmSetHash":"{hash}"}}"#)
    }

    #[test]
    fn the_hash_of_realms_is_the_addons() {
        assert_eq!(hash_of_realms("alice", iter::empty()), "D9NBTUYzfhwc4HUh62Q/mncSDOI=");
        assert_eq!(hash_of_realms("zoë \"z\"", iter::empty()), "tuB5MJCuHMuqZBgSQmBJ/TPBS2k=");
        assert_eq!(hash_of_realms("alice", ["rlm0", "Z"].into_iter()), "K1lE5nZMWl3bAaWsxzb42k3cF0M=");
    }

    #[test]
    fn who_has_lost_the_realm_is_sent_to_pull_once() {
        let mut peer = Peer::new("alice");
        assert!(peer.hear(&ready_with("other")));
        assert_eq!(peer.sent_to_pull(), Some(REALMS_CHANGED));
        let mut peer = Peer::parse(&peer.to_text()).expect("a text of ours");
        assert!(!peer.is_ready());
        assert!(peer.hear(&ready_with("other")));
        assert_eq!(peer.sent_to_pull(), None, "where it reckons otherwise it is not sent for ever");
        assert!(peer.hear(&ready_with(&hash_of_realms("alice", iter::empty()))));
        assert_eq!((peer.sent_to_pull(), peer.is_ready()), (None, true));
    }

    #[test]
    fn who_shares_realms_is_told_once_that_there_is_news_of_the_own_and_sent_to_pull_for_nothing_else() {
        let rev = r#"{\"~\":\"0mwrnsa6yk3v9q2.57\",\"rlm1\":\"0mwrnsa6yk3v9q2.3\"}"#;
        let mut peer = peer(rev);
        assert_eq!(peer.sent_to_pull(), None);
        let mut peer = Peer::parse(&peer.to_text()).expect("a text of ours");
        assert_eq!(peer.news(&changes(50, LINES)), Some(realms_changed(&at(58))));
        assert_eq!(peer.news(&changes(50, LINES)), None, "until it is ready again");
    }

    #[test]
    fn nobody_stands_at_the_last_version_that_can_be_behind_which_nothing_could_be_told() {
        let mut peer = Peer::new("alice");
        assert!(peer.hear(&ready("zzzzzzzzzzzz.9007199254740991")));
        assert_eq!(peer.at(), None);
        assert_eq!(peer.sent_to_pull(), Some(REALMS_CHANGED));
    }

    #[test]
    fn who_stands_at_no_position_of_ours_is_sent_to_pull() {
        let mut peer = Peer::new("alice");
        let rev = ready_with(&hash_of_realms("alice", iter::empty())).replace("0mwrnsa6yk3v9q2.57", "[1]");
        assert!(peer.hear(&rev));
        assert_eq!((peer.sent_to_pull(), peer.is_ready()), (Some(REALMS_CHANGED), false));
    }
}
