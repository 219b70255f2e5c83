//! Answers as NDJSON, of which long ones are streamed.

use super::{
    Effect, State, Visit,
    errand::{Errand, Paging, read_until},
    pull::{Pulling, headers},
};
use crate::{
    call::OrderedCursor,
    edge::{isolate::Isolate, pull::OBJECT_TTLS_S},
    error::ApiError,
    fronts::headwater::{
        answer::{self, Load, PullAnswer},
        negotiation::{holds_tag, takes_gzip},
        pull::Cursor,
        reply::{Body, Headers, Reply},
    },
    ids::{ContentHash, SpaceHash},
    limits,
    snapshot::head::PartName,
    time::Millis,
    version::Position,
};

/// A stream of objects that is being opened.
#[derive(Debug)]
pub(super) struct Streaming {
    pulling: Box<Pulling>,
    headers: String,
    first: ContentHash,
    /// What it holds of the isolate.
    stream: u64,
}

/// What is streamed beside the parts of a load.
#[derive(Debug)]
pub(super) struct Objects {
    /// The first text.
    pub(super) start: String,
    /// The text behind each part.
    pub(super) between: Vec<String>,
    /// The last text.
    pub(super) end: String,
    /// As of [`Effect::StreamObjects`].
    pub(super) sub: Option<String>,
}

impl Isolate {
    /// One stream; 304 to whoever has it. Of a long one, nothing is read for HEAD.
    pub(super) fn stream(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        answer: PullAnswer,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let pull = &mut pulling.pull;
        let whole = answer::whole_stream(&answer);
        // The platform compresses JSON by itself, but not NDJSON (speed/optimization/content/compression); asked to, it does so
        // outside wasm.
        let bytes = whole.as_ref().map_or(usize::MAX, String::len);
        let is_coded = takes_gzip(&visit.request.accept_encoding, bytes);
        let tag = pull.tag(&answer, &visit.target().hash, is_coded);
        if holds_tag(&visit.request.if_none_match, &tag) {
            let headers = Headers::Pull(headers(pull, &answer, tag, now));
            return Ok(self.pull_is_done(visit, &pulling, Reply::empty(304, headers), now));
        }
        if matches!(&answer, PullAnswer::Load(load) if !load.parts.is_empty()) {
            pull.reads_objects();
        }
        let coding = if is_coded { "Content-Encoding\ngzip\n" } else { "" };
        let headers = headers(pull, &answer, tag, now).for_stream() + coding;
        let body = match (whole, answer) {
            (Some(text), _) => Body::Text(text),
            (None, _) if visit.is_head() => Body::Empty,
            (None, PullAnswer::Load(load)) => {
                return self.stream_objects(visit, pulling, &load, headers, now);
            }
            (None, PullAnswer::Page { position, reset, next, lines }) => {
                let text = answer::stream_start(&position, reset) + &lines;
                self.begin_pages(visit, text, (position, next), None, now)?;
                Body::Written
            }
            (None, PullAnswer::Nothing { .. } | PullAnswer::Changes { .. }) => {
                panic!("BUG: what is all there is not streamed")
            }
        };
        let reply = Reply { status: 200, headers: Headers::Named(headers), body };
        Ok(self.pull_is_done(visit, &pulling, reply, now))
    }

    /// Makes room for pages that an errand writes, of which this is the first one.
    pub(super) fn begin_pages(
        &mut self,
        visit: &mut Visit,
        text: String,
        (position, next): (Position, Option<OrderedCursor>),
        sub: Option<String>,
        now: Millis,
    ) -> Result<(), ApiError> {
        let bytes = limits::STREAM_COPIES * text.len().max(limits::STREAM_PAGE_BYTES);
        let stream = self.begin_stream(visit, bytes, read_until(now), now)?;
        let paging = Paging { text, position, next, sub, stream };
        visit.writer = Some(Box::new(visit.errand(Errand::WritePages(paging))));
        Ok(())
    }

    /// Makes room for an answer beside those of others.
    fn begin_stream(
        &mut self,
        visit: &Visit,
        bytes: usize,
        until: Millis,
        now: Millis,
    ) -> Result<u64, ApiError> {
        self.streams.begin(&visit.target().caller.user, bytes, until, now).ok_or(ApiError::Overloaded)
    }

    fn stream_objects(
        &mut self,
        visit: &mut Visit,
        pulling: Box<Pulling>,
        load: &Load,
        headers: String,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let target = visit.target();
        // The name of each stands before it, so behind the one before.
        let name_of = |index: usize| load.parts.get(index).map(answer::stream_object).unwrap_or_default();
        let behind = |index| cursor_after(load, index, &target.hash) + &name_of(index + 1);
        let objects = Objects {
            start: answer::stream_start(&load.position, load.reset) + &name_of(0),
            between: (0..load.parts.len()).map(behind).collect(),
            end: load.lines.clone() + &answer::stream_end(&load.position),
            sub: None,
        };
        self.open_objects(visit, pulling, (&load.parts, objects), headers, now)
    }

    /// Opens a stream of these parts of a load, with texts between them.
    pub(super) fn open_objects(
        &mut self,
        visit: &mut Visit,
        pulling: Box<Pulling>,
        (parts, objects): (&[PartName], Objects),
        headers: String,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let target = visit.target();
        let Objects { start, between, end, sub } = objects;
        let key = |part: &PartName| target.scope().object_key(&part.sha256.0);
        let objects: Vec<_> = parts.iter().map(key).zip(between).collect();
        let first = parts.first().expect("BUG: a load without objects is streamed").sha256.0.clone();
        let between: usize = objects.iter().map(|(key, cursor)| key.len() + cursor.len()).sum();
        // Access ends with the token, also in the middle of an answer.
        let left_ms = u32::try_from(target.caller.expires.since(now)).unwrap_or(u32::MAX);
        let lasts_ms = left_ms.min(limits::STREAM_MS_MAX);
        let bytes = (start.len() + between + end.len()).max(limits::STREAM_LEAST_BYTES);
        let stream = self.begin_stream(visit, bytes, now.plus(u64::from(lasts_ms)), now)?;
        visit.usage.kv += objects.len() as u64;
        visit.state = State::Streaming(Box::new(Streaming { pulling, headers, first, stream }));
        Ok(Effect::StreamObjects { start, objects, end, sub, lasts_ms, ttls_s: OBJECT_TTLS_S })
    }

    /// Nothing has been sent yet: if the first object is not there, the coordinator takes over.
    pub(super) fn stream_opened(
        &mut self,
        visit: &mut Visit,
        streaming: Streaming,
        opened: Result<bool, ()>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let Streaming { mut pulling, headers, first, stream } = streaming;
        if !matches!(opened, Ok(true)) {
            self.streams.end(stream);
        }
        match opened {
            Ok(true) => {
                visit.writer = Some(Box::new(visit.errand(Errand::AwaitStream(stream))));
                let reply = Reply { status: 200, headers: Headers::Named(headers), body: Body::Stream };
                return Ok(self.pull_is_done(visit, &pulling, reply, now));
            }
            Ok(false) => pulling.pull.object_is_missing(Some(first)),
            Err(()) => pulling.pull.object_is_missing(None),
        }
        self.pull_on(visit, pulling, now)
    }
}

/// The line after the part at `index`, from which a broken stream goes on behind it.
fn cursor_after(load: &Load, index: usize, space: &SpaceHash) -> String {
    match &load.cursor {
        Some(Cursor::Parts { epoch, base, done }) if index < load.resumable => {
            let cursor = Cursor::Parts { epoch: epoch.clone(), base: base.clone(), done: done + index };
            answer::stream_cursor(&cursor, space)
        }
        _ => String::new(),
    }
}
