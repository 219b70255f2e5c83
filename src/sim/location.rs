//! An edge location: carries a pull through memory, the location's cache, KV and the coordinator, as the shell does.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    kv::{Kv, ReadFailed},
    space::Space,
};
use crate::{
    call::{Ask, OrderedCursor, Reply},
    edge::{
        answer::{self, Usage},
        config::Config,
        directory,
        grant::Granter,
        pull::{Answer, Format, LOCATION_MS, Load, Next, Pull, ReadPlan, Source},
        state::{Known, KnownHead, Memory, Overlay},
        writes::{TELL_MS, WRITTEN_MS, Writes, to_tell},
    },
    ids::{ContentHash, SpaceHash, UserHash},
    limits,
    protocol::{
        error::ApiError,
        pull::{Cursor, PullRequest},
    },
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};

const HEAD_TTL_MS: u64 = 30_000;
const OBJECT_TTL_MS: u64 = 86_400_000;
/// After how long every isolate of a location shows a write: it is told once a second, and an isolate looks as often.
const SEEN_MS: u64 = 2 * TELL_MS;

/// What a pull works with.
#[derive(Debug)]
pub struct Around<'a> {
    /// The namespace.
    pub kv: &'a mut Kv,
    /// The space that is asked for.
    pub space: &'a mut Space,
    /// Who asks.
    pub user: UserHash,
    /// Under what the keys of the space stand, as the request may read them.
    pub scope: Scope,
    /// What the coordinator has said, if it was asked and refused.
    pub refusal: Option<ApiError>,
    /// Whether it has answered.
    pub is_answered: bool,
    /// The present.
    pub now: Millis,
    /// Behind how many objects or pages a stream breaks.
    pub chunks: Option<usize>,
}

impl Around<'_> {
    fn ask(&mut self, ask: &Ask) -> Result<(Reply, String), ApiError> {
        let answer = self.space.host.pull(&self.user, &self.scope, ask, self.now);
        if let Err(error @ (ApiError::Forbidden(_) | ApiError::Gone | ApiError::GrantRequired)) = &answer {
            self.refusal = Some(error.clone());
        }
        self.is_answered |= answer.is_ok();
        if answer.is_ok() {
            self.space.check_asker(&self.scope, &self.user);
        }
        answer
    }
}

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
    /// Whether it would be 304 to a client that sends `If-None-Match`.
    pub is_nothing: bool,
}

impl Response {
    /// An error of the edge itself.
    #[must_use]
    pub fn refused(error: ApiError) -> Self {
        Self { body: Err(error), source: Source::Edge, usage: Usage::default(), is_nothing: false }
    }
}

/// The key of all grants of a world.
#[must_use]
pub fn granter() -> Granter {
    let secret = |name: &str| (name == "GRANT_SECRET").then(|| "0123456789abcdef0123456789abcdef".to_owned());
    Granter::new(&Config::read(secret))
}

/// One location with two isolates, of which one answers at a time.
#[derive(Debug)]
pub struct Location {
    /// Whether there is a cache; on workers.dev there is none.
    pub has_cache: bool,
    index: usize,
    isolates: [Isolate; 2],
    here: usize,
    cache: BTreeMap<String, Cached>,
    cached_writes: BTreeMap<SpaceHash, (Position, Millis)>,
    /// When the location is told of writes, by which isolate, and of what at least.
    tellings: Vec<(Millis, usize, SpaceHash, Position)>,
    /// What the answers to writes that passed here have said, for the checker.
    written: Vec<Written>,
}

/// What an isolate keeps.
#[derive(Debug)]
struct Isolate {
    /// Verifies grants, and remembers them as long as the isolate lives.
    granter: Granter,
    memory: Memory,
    writes: Writes,
    directories: directory::Known,
}

impl Isolate {
    fn new() -> Self {
        let (memory, writes, directories) = Default::default();
        Self { granter: granter(), memory, writes, directories }
    }
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
    fresh: Option<(Rc<Overlay>, Millis)>,
}

impl Location {
    /// A location that has seen nothing.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self {
            has_cache: true,
            index,
            isolates: [Isolate::new(), Isolate::new()],
            here: 0,
            cache: BTreeMap::new(),
            cached_writes: BTreeMap::new(),
            tellings: Vec::new(),
            written: Vec::new(),
        }
    }

    /// What the present isolate knows to stand in directories.
    pub fn directories(&mut self) -> &mut directory::Known {
        &mut self.isolates[self.here].directories
    }

    /// Other isolates take over.
    pub fn forget_memory(&mut self) {
        self.isolates = [Isolate::new(), Isolate::new()];
        self.written.iter_mut().for_each(|written| written.isolate = None);
    }

    /// The other isolate answers from now on.
    pub fn switch_isolate(&mut self) {
        self.here = 1 - self.here;
    }

    /// Verifies grants.
    pub fn granter(&mut self) -> &mut Granter {
        &mut self.isolates[self.here].granter
    }

    /// Its cache loses everything.
    pub fn forget_cache(&mut self) {
        self.cache.clear();
        self.cached_writes.clear();
        self.tellings.clear();
        self.written.iter_mut().for_each(|written| written.is_told = false);
    }

    /// The answer to a write passes, after which `space` stood at `position`.
    pub fn pass_write(&mut self, space: &SpaceHash, position: &Position, now: Millis) {
        let wait = self.isolates[self.here].writes.note(space, position.clone(), now);
        if let Some(wait) = wait.filter(|_| self.has_cache) {
            self.tellings.push((now.plus(wait), self.here, space.clone(), position.clone()));
        }
        // An isolate that is given up meanwhile lives on until it has told what it had to.
        for (at, isolate, told, last) in &mut self.tellings {
            if *isolate == self.here && told == space && *at >= now {
                *last = position.clone().max(last.clone());
            }
        }
        let (space, position) = (space.clone(), position.clone());
        let (isolate, is_told) = (Some(self.here), self.has_cache);
        self.written.retain(|written| now.since(written.at) <= WRITTEN_MS);
        self.written.push(Written { space, position, at: now, isolate, is_told });
    }

    /// Tells the location's cache of writes, as those that passed them on do after their answers have left.
    fn tell_writes(&mut self, now: Millis) {
        let (due, later) = std::mem::take(&mut self.tellings).into_iter().partition(|(at, ..)| *at <= now);
        self.tellings = later;
        for (at, isolate, space, position) in due {
            let last = self.isolates[isolate].writes.last(&space, at);
            let told = self.cached_writes.remove(&space).filter(|(_, until)| *until > at);
            let last = last.unwrap_or_else(|| position.clone()).max(position);
            let highest = to_tell(told.map(|(position, _)| position), last);
            self.cached_writes.insert(space, (highest, at.plus(WRITTEN_MS)));
        }
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

    /// Answers a pull.
    pub fn pull(
        &mut self,
        request: PullRequest,
        format: Format,
        plan: ReadPlan,
        around: &mut Around<'_>,
    ) -> Response {
        self.tell_writes(around.now);
        let scope = around.scope.clone();
        let isolate = &mut self.isolates[self.here];
        let memory = isolate.memory.recall(&scope);
        let before = memory.0.clone();
        let written = isolate.writes.last(&around.space.hash, around.now);
        let mut pull = Pull::new(request, format, plan, memory, written);
        let mut usage = Usage::default();
        let answered = self.answer(&mut pull, &mut usage, around);
        let after = pull.known();
        self.isolates[self.here].memory.remember(&scope, after.clone(), pull.checked_at());
        if *after != before && pull.source() != Source::Edge && self.has_cache {
            let (head, fresh) = (after.head.clone(), after.overlay.clone());
            let cached = self.cache.entry(cache_key(around)).or_default();
            if let Some(head) = head.filter(|head| before.head.as_ref() != Some(head)) {
                cached.head = Some((head, around.now.plus(LOCATION_MS)));
            }
            if let Some(fresh) = fresh.filter(|fresh| before.overlay.as_ref() != Some(fresh)) {
                cached.fresh = Some((fresh, around.now.plus(20 * LOCATION_MS)));
            }
        }
        let is_nothing = matches!(answered, Ok((_, true)));
        Response { body: answered.map(|(wire, _)| wire), source: pull.source(), usage, is_nothing }
    }

    fn answer(
        &mut self,
        pull: &mut Pull,
        usage: &mut Usage,
        around: &mut Around<'_>,
    ) -> Result<(Wire, bool), ApiError> {
        let now = around.now;
        for _ in 0..20 {
            match pull.next(now) {
                Next::Cache => {
                    usage.cache += 1;
                    let known = self.known_in_cache(around, |metadata| pull.wants_body(metadata));
                    let written = self.cached_writes.get(&around.space.hash);
                    let written =
                        written.filter(|(_, until)| *until > now).map(|(position, _)| position.clone());
                    if let Some(position) = &written {
                        let space = around.space.hash.clone();
                        self.isolates[self.here].writes.learn(&space, position.clone(), now);
                    }
                    pull.learn_cached(known, written, now);
                }
                Next::Kv => {
                    usage.kv += 1;
                    let read = self.head_in_kv(around, |metadata| pull.wants_body(metadata));
                    pull.learn_kv(read);
                }
                Next::Ask(ask) => {
                    usage.object += 1;
                    match around.ask(&ask) {
                        Ok((reply, lines)) => {
                            around
                                .space
                                .oracle_of(&around.scope)
                                .check_brand(&lines, "the coordinator's answer");
                            pull.learn_reply(reply, &lines, now);
                        }
                        Err(error) => pull.coordinator_failed(error),
                    }
                }
                Next::Fail(error) => return Err(error),
                Next::Answer(Answer::Load(load)) => match self.stream_load(&load, usage, around) {
                    Ok(text) => return Ok((Wire::Stream(text), false)),
                    Err(missing) => pull.object_is_missing(missing),
                },
                Next::Answer(answer) => {
                    let is_nothing = matches!(answer, Answer::Nothing { .. });
                    let wire = match pull.format() {
                        Format::Json => Wire::Json(answer::json_page(&answer, &around.space.hash)),
                        Format::Ndjson => Wire::Stream(stream_pages(answer, usage, around)),
                    };
                    return Ok((wire, is_nothing));
                }
            }
        }
        panic!("I8: a pull asked its layers 20 times");
    }

    fn known_in_cache(&self, around: &Around<'_>, wants_body: impl Fn(&HeadMetadata) -> bool) -> Known {
        let now = around.now;
        let Some(cached) = self.cache.get(&cache_key(around)) else { return Known::default() };
        let head = cached.head.as_ref().filter(|(_, until)| *until > now).map(|(head, _)| head);
        let head = head.map(|head| match wants_body(&head.metadata) {
            true => Rc::clone(head),
            false => Rc::new(KnownHead { body: None, ..(**head).clone() }),
        });
        let overlay = cached.fresh.as_ref().filter(|(_, until)| *until > now);
        Known { head, overlay: overlay.map(|(overlay, _)| Rc::clone(overlay)) }
    }

    fn head_in_kv(
        &self,
        around: &mut Around<'_>,
        wants_body: impl FnOnce(&HeadMetadata) -> bool,
    ) -> Result<Option<KnownHead>, ()> {
        let scope = &around.scope;
        let entry = around.kv.read(self.index, &scope.head_key(), HEAD_TTL_MS, around.now).map_err(drop)?;
        let Some(entry) = entry else { return Ok(None) };
        around.space.oracle_of(&around.scope).check_brand(&entry.value, "the head in KV");
        let metadata = HeadMetadata::parse(&entry.metadata).ok_or(())?;
        let value = wants_body(&metadata).then(|| entry.value.clone());
        let known = KnownHead::new(metadata, value, scope, around.now);
        let is_decoded = known.as_ref().is_some_and(|known| known.body.is_some());
        assert!(!is_decoded || !around.kv.is_garbled(&entry), "I6: a head was taken whose bytes had changed");
        Ok(known)
    }

    /// `Err(Some(..))` when the first object is missing, so that nothing has been sent yet.
    fn stream_load(
        &self,
        load: &Load,
        usage: &mut Usage,
        around: &mut Around<'_>,
    ) -> Result<String, Option<ContentHash>> {
        let mut text = answer::stream_start(&load.position, load.reset);
        for (index, part) in load.parts.iter().enumerate() {
            if around.chunks.is_some_and(|chunks| index >= chunks.max(1)) {
                return Ok(text);
            }
            usage.kv += 1;
            let key = around.scope.object_key(&part.sha256.0);
            match around.kv.read(self.index, &key, OBJECT_TTL_MS, around.now) {
                Ok(Some(entry)) => {
                    around.space.oracle_of(&around.scope).check_brand(&entry.value, "an object in KV");
                    text.push_str(&entry.value);
                }
                Ok(None) if index == 0 => return Err(Some(part.sha256.0.clone())),
                Err(ReadFailed) if index == 0 => return Err(None),
                Ok(None) | Err(ReadFailed) => return Ok(text),
            }
            if let Some(Cursor::Parts { epoch, base, done }) = &load.cursor
                && index < load.resumable
            {
                let cursor = Cursor::Parts { epoch: epoch.clone(), base: base.clone(), done: done + index };
                text.push_str(&answer::stream_cursor(&cursor, &around.space.hash));
            }
        }
        Ok(text + &load.lines + &answer::stream_end(&load.position))
    }
}

/// The name under which the location's cache has a space, as the shell forms it.
fn cache_key(around: &Around<'_>) -> String {
    if planted!(CacheKeyedByParameter) { around.space.parameter.clone() } else { around.scope.to_string() }
}

fn stream_pages(answer: Answer, usage: &mut Usage, around: &mut Around<'_>) -> String {
    let (position, reset, mut next, lines): (Position, bool, Option<OrderedCursor>, String) = match answer {
        Answer::Nothing { position } => (position, false, None, String::new()),
        Answer::Changes { position, reset, lines } => (position, reset, None, lines),
        Answer::Page { position, reset, next, lines } => (position, reset, next, lines),
        Answer::Load(_) => panic!("BUG: a load is streamed from objects"),
    };
    let mut text = answer::stream_start(&position, reset) + &lines;
    let mut end = position;
    let mut pages = 1;
    while let Some(cursor) = next {
        text.push_str(&answer::stream_cursor(&answer::ordered(&cursor), &around.space.hash));
        if around.chunks.is_some_and(|chunks| pages >= chunks.max(1)) {
            return text;
        }
        pages += 1;
        usage.object += 1;
        let ask = Ask { cursor: Some(cursor), page_bytes: limits::STREAM_PAGE_BYTES, ..Ask::default() };
        match around.ask(&ask) {
            Ok((Reply::Page { epoch, version, reset: false, next: following }, lines)) => {
                text.push_str(&lines);
                end = Position { epoch, version };
                next = following;
            }
            _ => return text,
        }
    }
    text + &answer::stream_end(&end)
}
