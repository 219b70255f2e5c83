//! An edge location: its isolates, and its cache.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::LazyLock};

use super::{ISSUER, USERS, visits::Driven};
use crate::{
    access::{
        grant::Granter,
        invitation::Inviter,
        session::{Account, SESSION_MS, Sessions},
    },
    call::Usage,
    config::Config,
    edge::{
        config::EdgeConfig,
        isolate::Isolate,
        known::{Known, KnownHead, Overlay, Wanted},
        refusals::REFUSED_S_MAX,
        visit::{Effect, Event, Outgoing},
        writes::{TELL_MS, WRITTEN_MS},
    },
    error::ApiError,
    fronts::headwater::{
        answer::Source,
        reply::{Body, Reply},
    },
    ids::{SpaceHash, UserHash},
    time::Millis,
    version::{Epoch, Position},
};

/// After how long every isolate of a location shows a write: it is told once a second, and an isolate looks as often.
const SEEN_MS: u64 = 2 * TELL_MS;
/// The secret of all tokens and grants.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Wire {
    /// A page.
    Json(String),
    /// A stream, perhaps broken.
    Stream(String),
}

impl Wire {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Json(text) | Self::Stream(text) => text,
        }
    }
}

/// Who asks for a space, and with what.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The user.
    pub user: usize,
    /// The space.
    pub space: usize,
    /// The grant for it, if it is shared and the client has one.
    pub grant: Option<String>,
}

/// What a location answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The body, or the problem.
    pub body: Result<Wire, ApiError>,
    /// The furthest layer that was asked.
    pub source: Source,
    /// What it cost.
    pub usage: Usage,
    /// The tag of a page.
    pub tag: String,
}

/// The text of a reply.
pub(super) fn body_text(reply: &Reply) -> &str {
    match &reply.body {
        Body::Text(text) => text,
        other => panic!("BUG: this is no text: {other:?}"),
    }
}

/// The key of all grants of a world.
#[must_use]
pub fn granter() -> Granter {
    Granter::new(Some(SECRET), None)
}

/// The key of all codes of a world.
#[must_use]
pub fn inviter() -> Inviter {
    Inviter::new(Some(SECRET), None)
}

/// What the isolates of a world are set to; `is_eager` is whether increments are looked for in KV.
fn config(is_eager: bool) -> EdgeConfig {
    let config = Config::read(|name| match name {
        "GRANT_SECRET" | "JWT_SECRET" => Some(SECRET.to_owned()),
        "PUBLISH_AFTER_PULLS" => Some(if is_eager { "0" } else { "50" }.to_owned()),
        "LOG_LEVEL" => Some("error".to_owned()),
        _ => None,
    });
    config.edge
}

/// The `Authorization` of a user's requests, which is good as long as any world lasts.
pub(super) fn authorization(user: usize) -> String {
    use jwt_compact::{
        AlgorithmExt, Claims, Header,
        alg::{Hs256, Hs256Key},
    };
    static TOKENS: LazyLock<[String; 2]> = LazyLock::new(|| {
        USERS.map(|user| {
            let claims = serde_json::json!({ "iss": ISSUER, "sub": user, "exp": u32::MAX });
            let key = Hs256Key::new(SECRET.as_bytes());
            let token = Hs256.token(&Header::empty(), &Claims::new(claims), &key).expect("a token");
            format!("Bearer {token}")
        })
    });
    TOKENS[user].clone()
}

/// A session of a user for the routes of Dexie Cloud, which is good for an hour.
pub(super) fn session(user: usize, now: Millis) -> String {
    let account = Account { iss: ISSUER.to_owned(), sub: USERS[user].to_owned(), email: None, name: None };
    let session = Sessions::new(Some(SECRET), None).sign(&account, now.plus(SESSION_MS));
    session.expect("there is a key")
}

/// An isolate, which lives as long as a visit is under way in it.
pub(super) type SharedIsolate = Rc<RefCell<Isolate>>;

/// One location with two isolates, of which one answers at a time.
#[derive(Debug)]
pub struct Location {
    /// Whether there is a cache; on workers.dev there is none.
    pub has_cache: bool,
    is_eager: bool,
    isolates: [SharedIsolate; 2],
    here: usize,
    cache: BTreeMap<String, Cached>,
    cached_writes: BTreeMap<String, (Position, Millis)>,
    /// Errands that wait, with the time until when.
    pub(super) paused: Vec<(Millis, Driven)>,
    /// What the answers to writes that passed here have said, for the checker.
    written: Vec<Written>,
    /// Who was told to ask an object again only then, and by which isolate, for the checker.
    told_later: Vec<(SharedIsolate, UserHash, SpaceHash, Millis, bool)>,
}

/// A write whose answer has passed a location.
#[derive(Debug)]
struct Written {
    space: SpaceHash,
    position: Position,
    at: Millis,
    /// The isolate that it passed, while that lives.
    isolate: Option<usize>,
    /// Whether the location's cache is told of it and has lost nothing since.
    is_told: bool,
}

/// What the location's cache has of one space: each part with the time until when.
#[derive(Debug, Default)]
struct Cached {
    head: Option<(Rc<KnownHead>, Millis)>,
    overlay: Option<(Rc<Overlay>, Millis)>,
}

impl Location {
    /// A location that has seen nothing.
    #[must_use]
    pub fn new(is_eager: bool) -> Self {
        Self {
            has_cache: true,
            is_eager,
            isolates: isolates(is_eager),
            here: 0,
            cache: BTreeMap::new(),
            cached_writes: BTreeMap::new(),
            paused: Vec::new(),
            written: Vec::new(),
            told_later: Vec::new(),
        }
    }

    /// The isolate that answers.
    pub(super) fn isolate(&self) -> SharedIsolate {
        Rc::clone(&self.isolates[self.here])
    }

    /// Other isolates take over.
    pub fn forget_memory(&mut self) {
        self.isolates = isolates(self.is_eager);
        self.written.iter_mut().for_each(|written| written.isolate = None);
        self.told_later.clear();
    }

    /// The other isolate answers from now on.
    pub fn switch_isolate(&mut self) {
        self.here = 1 - self.here;
    }

    /// Its cache loses everything.
    pub fn forget_cache(&mut self) {
        self.cache.clear();
        self.cached_writes.clear();
        self.written.iter_mut().for_each(|written| written.is_told = false);
    }

    /// The answer to a write has passed this isolate, after which `space` stood at `position`.
    pub(super) fn learn_written(
        &mut self,
        isolate: &SharedIsolate,
        space: &SpaceHash,
        position: &Position,
        now: Millis,
    ) {
        let isolate = self.isolates.iter().position(|lives| Rc::ptr_eq(lives, isolate));
        let (space, position) = (space.clone(), position.clone());
        self.written.retain(|written| now.since(written.at) <= WRITTEN_MS);
        self.written.push(Written { space, position, at: now, isolate, is_told: self.has_cache });
    }

    /// A space begins again, with an epoch below that of the space before: an epoch may begin a day ahead of the clock, and is lost
    /// with the storage. What was written there is not in any state that is to come.
    pub(super) fn forget_writes_above(&mut self, space: &SpaceHash, epoch: &Epoch) {
        self.written.retain(|written| written.space != *space || written.position.epoch <= *epoch);
    }

    /// An object has refused a call until then. What is over by the clock of whoever made it, who may have waited and be ahead of
    /// others, the isolate forgets.
    pub(super) fn learn_refusal(
        &mut self,
        (isolate, user, object): (SharedIsolate, UserHash, SpaceHash),
        (until, of_space): (Millis, bool),
        now: Millis,
    ) {
        let lasts = |(of, whose, which, until, _): &(SharedIsolate, UserHash, SpaceHash, Millis, bool)| {
            !Rc::ptr_eq(of, &isolate) || (*until > now && (whose, which) != (&user, &object))
        };
        self.told_later.retain(lasts);
        self.told_later.push((isolate, user, object, until, of_space));
    }

    /// Until when an isolate may not make this call, if it may not by now. A clock that went back delays nobody for longer than a
    /// refusal can.
    pub(super) fn told_later(&self, isolate: &SharedIsolate, call: &Outgoing, now: Millis) -> Option<Millis> {
        let is_owners = call.call.is_owners();
        let mut told = self.told_later.iter().filter(|(of, user, object, _, of_space)| {
            let is_admitted = is_owners && *of_space;
            Rc::ptr_eq(of, isolate) && (user, object) == (&call.caller.user, &call.object) && !is_admitted
        });
        told.next()
            .map(|(_, _, _, until, _)| *until)
            .filter(|until| (1..=u64::from(REFUSED_S_MAX) * 1_000).contains(&until.since(now)))
    }

    /// The highest position that the isolate which answers has to know of: what has passed it, and what its location was told
    /// of before it looked last.
    pub(super) fn written(&self, space: &SpaceHash, now: Millis) -> Option<&Position> {
        let is_known = |written: &&Written| {
            let age = now.since(written.at);
            let is_old = age > WRITTEN_MS || written.space != *space;
            !is_old && (written.isolate == Some(self.here) || (written.is_told && age > SEEN_MS))
        };
        self.written.iter().filter(is_known).map(|written| &written.position).max()
    }

    /// When the next errand goes on that waits.
    pub(super) fn next_due(&self) -> Option<Millis> {
        self.paused.iter().map(|(due, _)| *due).min()
    }

    /// The errand that goes on at this time.
    pub(super) fn take_due(&mut self, at: Millis) -> Driven {
        let first = self.paused.iter().position(|(due, _)| *due == at);
        self.paused.remove(first.expect("BUG: no errand is due")).1
    }

    /// Carries out what is asked of the cache. Any other effect is given back.
    pub(super) fn carry_out(&mut self, effect: Effect, now: Millis) -> Result<Event, Effect> {
        let until = |ttl_s: u32| now.plus(u64::from(ttl_s) * 1_000);
        match effect {
            Effect::LookIntoCache { base, writes, wanted, .. } => {
                Ok(Event::Cached(self.cached(&base, &wanted, now), self.cached_write(&writes, now)))
            }
            Effect::ReadCachedWrite { writes } => Ok(Event::CachedWrite(self.cached_write(&writes, now))),
            Effect::CacheHead { .. } | Effect::CacheOverlay { .. } | Effect::CacheWrite { .. }
                if !self.has_cache =>
            {
                Ok(Event::Resumed)
            }
            Effect::CacheHead { base, head, ttl_s } => {
                let cached = self.cache.entry(base).or_default();
                let before = cached.head.take().map(|(before, _)| before);
                let stays = |before: &Rc<KnownHead>| head.body.is_none() && before.metadata == head.metadata;
                let head = match before.filter(stays) {
                    Some(before) => Rc::new(KnownHead { read_at: head.read_at, ..(*before).clone() }),
                    None => head,
                };
                cached.head = Some((head, until(ttl_s)));
                Ok(Event::Resumed)
            }
            Effect::CacheOverlay { base, overlay, ttl_s } => {
                self.cache.entry(base).or_default().overlay = Some((overlay, until(ttl_s)));
                Ok(Event::Resumed)
            }
            Effect::CacheWrite { writes, position, ttl_s } => {
                self.cached_writes.insert(writes, (position, until(ttl_s)));
                Ok(Event::Resumed)
            }
            effect => Err(effect),
        }
    }

    fn cached_write(&self, writes: &str, now: Millis) -> Option<Position> {
        let cached = self.cached_writes.get(writes).filter(|(_, until)| *until > now);
        cached.map(|(position, _)| position.clone())
    }

    fn cached(&self, base: &str, wanted: &Wanted, now: Millis) -> Known {
        let Some(cached) = self.cache.get(base) else { return Known::default() };
        let head = cached.head.as_ref().filter(|(_, until)| *until > now).map(|(head, _)| head);
        let head = head.map(|head| match wanted.wants(&head.metadata) {
            true => Rc::clone(head),
            false => Rc::new(KnownHead { body: None, ..(**head).clone() }),
        });
        let overlay = cached.overlay.as_ref().filter(|(_, until)| *until > now);
        Known { head, overlay: overlay.map(|(overlay, _)| Rc::clone(overlay)) }
    }
}

fn isolates(is_eager: bool) -> [SharedIsolate; 2] {
    [(); 2].map(|()| Rc::new(RefCell::new(new_isolate(is_eager))))
}

/// An isolate of this world begins, at a location or where an object runs.
pub(super) fn new_isolate(is_eager: bool) -> Isolate {
    // Read once, because worlds begin isolates by the thousand.
    static CONFIGS: LazyLock<[EdgeConfig; 2]> = LazyLock::new(|| [config(false), config(true)]);
    Isolate::new(CONFIGS[usize::from(is_eager)].clone(), &[], &[], false)
}
