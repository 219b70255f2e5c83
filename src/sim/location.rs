//! An edge location: carries a pull through memory, the location's cache, KV and the coordinator, as the shell does.

use std::rc::Rc;

use super::{
    host::Host,
    kv::{Kv, ReadFailed},
};
use crate::{
    edge::{
        answer::{self, Usage},
        pull::{Answer, Format, LOCATION_MS, Load, Next, Pull, ReadPlan, Source},
        state::{Known, KnownHead, Memory, Overlay},
    },
    ids::{ContentHash, SpaceHash},
    limits,
    protocol::{
        error::ApiError,
        internal::{Ask, OrderedCursor, Reply},
        pull::{Cursor, PullRequest},
    },
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};

const HEAD_TTL_MS: u64 = 30_000;
const OBJECT_TTL_MS: u64 = 86_400_000;

/// What a pull works with.
#[derive(Debug)]
pub struct Around<'a> {
    /// The namespace.
    pub kv: &'a mut Kv,
    /// The coordinator.
    pub host: &'a mut Host,
    /// Whose cursors it writes.
    pub space: &'a SpaceHash,
    /// The present.
    pub now: Millis,
    /// Behind how many objects or pages a stream breaks.
    pub chunks: Option<usize>,
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

/// One location with one isolate.
#[derive(Debug)]
pub struct Location {
    /// Whether there is a cache; on workers.dev there is none.
    pub has_cache: bool,
    index: usize,
    scope: Scope,
    memory: Memory,
    cached_head: Option<(Rc<KnownHead>, Millis)>,
    cached_fresh: Option<(Rc<Overlay>, Millis)>,
}

impl Location {
    /// A location that has seen nothing.
    #[must_use]
    pub fn new(index: usize, scope: Scope) -> Self {
        Self {
            has_cache: true,
            index,
            scope,
            memory: Memory::default(),
            cached_head: None,
            cached_fresh: None,
        }
    }

    /// Another isolate takes over.
    pub fn forget_memory(&mut self) {
        self.memory = Memory::default();
    }

    /// Its cache loses everything.
    pub fn forget_cache(&mut self) {
        (self.cached_head, self.cached_fresh) = (None, None);
    }

    /// Answers a pull.
    pub fn pull(
        &mut self,
        request: PullRequest,
        format: Format,
        plan: ReadPlan,
        around: &mut Around<'_>,
    ) -> Response {
        let memory = self.memory.recall(&self.scope);
        let before = memory.as_ref().map(|(known, _)| known.clone()).unwrap_or_default();
        let mut pull = Pull::new(request, format, plan, memory);
        let mut usage = Usage::default();
        let answered = self.answer(&mut pull, &mut usage, around);
        let after = pull.known();
        if *after != before || usage.cache > 0 {
            self.memory.remember(&self.scope, after.clone(), around.now);
        }
        if *after != before && pull.source() != Source::Edge && self.has_cache {
            let (head, fresh) = (after.head.clone(), after.overlay.clone());
            self.cached_head = head
                .filter(|head| before.head.as_ref() != Some(head))
                .map(|head| (head, around.now.plus(LOCATION_MS)))
                .or(self.cached_head.take());
            self.cached_fresh = fresh
                .filter(|fresh| before.overlay.as_ref() != Some(fresh))
                .map(|fresh| (fresh, around.now.plus(20 * LOCATION_MS)))
                .or(self.cached_fresh.take());
        }
        let is_nothing = matches!(answered, Ok((_, true)));
        Response { body: answered.map(|(wire, _)| wire), source: pull.source(), usage, is_nothing }
    }

    fn answer(
        &self,
        pull: &mut Pull,
        usage: &mut Usage,
        around: &mut Around<'_>,
    ) -> Result<(Wire, bool), ApiError> {
        let now = around.now;
        for _ in 0..20 {
            match pull.next(now) {
                Next::Cache => {
                    usage.cache += 1;
                    let known = self.known_in_cache(now, |metadata| pull.wants_body(metadata));
                    pull.learn_cached(known, now);
                }
                Next::Kv => {
                    usage.kv += 1;
                    let read = self.head_in_kv(around, |metadata| pull.wants_body(metadata));
                    pull.learn_kv(read, now);
                }
                Next::Ask(ask) => {
                    usage.object += 1;
                    match around.host.pull(&ask, now) {
                        Ok((reply, lines)) => pull.learn_reply(reply, &lines, now),
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
                        Format::Json => Wire::Json(answer::json_page(&answer, around.space)),
                        Format::Ndjson => Wire::Stream(stream_pages(answer, usage, around)),
                    };
                    return Ok((wire, is_nothing));
                }
            }
        }
        panic!("I8: a pull asked its layers 20 times");
    }

    fn known_in_cache(&self, now: Millis, wants_body: impl Fn(&HeadMetadata) -> bool) -> Known {
        let head = self.cached_head.as_ref().filter(|(_, until)| *until > now).map(|(head, _)| head);
        let head = head.map(|head| match wants_body(&head.metadata) {
            true => Rc::clone(head),
            false => Rc::new(KnownHead { body: None, ..(**head).clone() }),
        });
        let overlay = self.cached_fresh.as_ref().filter(|(_, until)| *until > now);
        Known { head, overlay: overlay.map(|(overlay, _)| Rc::clone(overlay)) }
    }

    fn head_in_kv(
        &self,
        around: &mut Around<'_>,
        wants_body: impl FnOnce(&HeadMetadata) -> bool,
    ) -> Result<Option<KnownHead>, ()> {
        let entry =
            around.kv.read(self.index, &self.scope.head_key(), HEAD_TTL_MS, around.now).map_err(drop)?;
        let Some(entry) = entry else { return Ok(None) };
        let Some(metadata) = HeadMetadata::parse(&entry.metadata) else { return Ok(None) };
        let value = wants_body(&metadata).then(|| entry.value.clone());
        Ok(KnownHead::new(metadata, value, &self.scope, around.now))
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
            let key = self.scope.object_key(&part.sha256.0);
            match around.kv.read(self.index, &key, OBJECT_TTL_MS, around.now) {
                Ok(Some(entry)) => text.push_str(&entry.value),
                Ok(None) if index == 0 => return Err(Some(part.sha256.0.clone())),
                Err(ReadFailed) if index == 0 => return Err(None),
                Ok(None) | Err(ReadFailed) => return Ok(text),
            }
            if let Some(Cursor::Parts { epoch, base, done }) = &load.cursor
                && index < load.resumable
            {
                let cursor = Cursor::Parts { epoch: epoch.clone(), base: base.clone(), done: done + index };
                text.push_str(&answer::stream_cursor(&cursor, around.space));
            }
        }
        Ok(text + &load.lines + &answer::stream_end(&load.position))
    }
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
        text.push_str(&answer::stream_cursor(&answer::ordered(&cursor), around.space));
        if around.chunks.is_some_and(|chunks| pages >= chunks.max(1)) {
            return text;
        }
        pages += 1;
        usage.object += 1;
        let ask = Ask { cursor: Some(cursor), page_bytes: limits::STREAM_PAGE_BYTES, ..Ask::default() };
        match around.host.pull(&ask, around.now) {
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
