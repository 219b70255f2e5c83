//! `GET /dexie/changes`: the messages of sockets, and what is known of who is at the other end.

use super::answer::muts;
use crate::{
    call::live::News,
    json::{Texts, Written, json_text},
    limits,
    snapshot::lines::version_of,
    version::Position,
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
}

/// Where a client says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ready {
    /// None of another server's.
    at: Option<Position>,
    /// Of its realms, by its own reckoning.
    hash: String,
}

impl Peer {
    /// A client of a user's that has said nothing.
    #[must_use]
    pub fn new(sub: &str) -> Self {
        Self { sub: Some(sub.to_owned()).filter(|sub| json_text(sub).len() <= SUBJECT_MAX), ready: None }
    }

    /// Takes in a message. Whether its client has said where it is: then it is told what it has not.
    pub fn hear(&mut self, message: &str) -> bool {
        if message.len() > limits::DEXIE_MESSAGE_MAX {
            return false;
        }
        let texts = Texts::parse(message).filter(|texts| texts.get("type") == Some("ready"));
        let Some(texts) = texts else { return false };
        let at = texts.get("rev").and_then(Position::parse);
        let hash = texts.get("realmSetHash").unwrap_or_default();
        let (at, hash) = if hash.len() <= HASH_MAX { (at, hash) } else { (None, "") };
        self.ready = Some(Ready { at, hash: hash.to_owned() });
        true
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
        let changes = here.and_then(|here| self.changes(here, &ready.hash, news));
        self.ready.take_if(|_| !planted!(ChangesToUnready));
        Some(changes.unwrap_or_else(|| REALMS_CHANGED.to_owned()))
    }

    /// The changes, if those are all that it has not.
    fn changes(&self, here: &Position, hash: &str, news: &News) -> Option<String> {
        let News::Changes { from, at, lines } = news else { return None };
        if (here.version < *from && !planted!(NewsBegunTooLate)) || lines.len() > limits::DEXIE_NEWS_MAX {
            return None;
        }
        let new: String =
            lines.split_inclusive('\n').filter(|line| version_of(line) > here.version).collect();
        let changes = muts(&new, self.sub.as_ref()?, true);
        let hash = json_text(hash);
        Some(format!(
            r#"{{"type":"changes","baseRev":"{here}","realmSetHash":{hash},"newRev":"{at}","changes":[{changes}]}}"#
        ))
    }

    /// It is told to pull, and waits for nothing until it is ready again.
    pub fn sent_to_pull(&mut self) -> &'static str {
        self.ready = None;
        REALMS_CHANGED
    }

    /// What the platform keeps with the socket while its object sleeps: at most 1 KiB.
    #[must_use]
    pub fn to_text(&self) -> String {
        let ready = self.ready.as_ref();
        Written::default()
            .and_some("sub", self.sub.clone())
            .and_some("hash", ready.map(|ready| ready.hash.clone()))
            .and_some("rev", ready.and_then(|ready| ready.at.as_ref()).map(Position::to_string))
            .end()
    }

    /// Out of [`Self::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let at = texts.get("rev").and_then(Position::parse);
        let ready = texts.get("hash").map(|hash| Ready { at, hash: hash.to_owned() });
        Some(Self { sub: texts.get("sub").map(str::to_owned), ready })
    }
}
