//! Carries a pull through the layers and writes its answer.

use std::rc::Rc;

use headwater::{
    call::{Ask, Call, OrderedCursor, Reply as CoordinatorReply, decode_reply},
    edge::{
        answer::{self, PullHeaders, Usage},
        body::is_json,
        negotiation::{self, holds_tag, takes_gzip},
        pull::{Answer, Format, Load, Next, Pull, ReadPlan, Source},
        state::{Known, KnownHead},
    },
    ids::SpaceHash,
    limits,
    protocol::{
        error::ApiError,
        pull::{Cursor, PullRequest, query_pairs},
    },
    time::Millis,
    version::Position,
};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{ReadableStream, Request};
use worker::{Context, Env};

use crate::{
    Space, check_again,
    coordinator::call,
    http::{self, Body, Headers, Incoming, Reply},
    isolate,
    location::{self, now},
};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = streamObjects)]
    async fn stream_objects(
        env: &JsValue,
        start: &str,
        keys: &Array,
        between: &Array,
        end: &str,
        cache_ttl: u32,
    ) -> Result<JsValue, JsValue>;
    type TextPipe;
    #[wasm_bindgen(constructor)]
    fn new() -> TextPipe;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &TextPipe) -> ReadableStream;
    #[wasm_bindgen(method, catch)]
    async fn write(this: &TextPipe, text: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn close(this: &TextPipe) -> Result<JsValue, JsValue>;
}

/// What a route's function gets.
pub(crate) struct Asked<'a> {
    pub(crate) incoming: &'a Incoming,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    pub(crate) space: &'a Space,
}

/// A pull under way, with what was known when it began.
pub(crate) struct Begun {
    pull: Pull,
    before: Known,
}

/// Begins `GET /sync/pull`.
pub(crate) fn begin_get(incoming: &Incoming, env: &Env, space: &Space) -> Result<Begun, ApiError> {
    let pairs = query_pairs(&incoming.query)?;
    Ok(begin(incoming, env, space, PullRequest::from_query(&pairs, &space.hash)?))
}

/// Begins `POST /sync/pull`.
pub(crate) async fn begin_post(asked: &Asked<'_>, request: &Request) -> Result<Begun, ApiError> {
    let content_type = &asked.incoming.content_type;
    if !content_type.is_empty() && !is_json(content_type) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let user = &asked.space.caller.user;
    let body = http::body_bytes(asked.incoming, request, user, limits::BODY_BYTES_MAX).await?;
    check_again(asked, request)?;
    let parsed = PullRequest::from_body(&body, &asked.space.hash)?;
    Ok(begin(asked.incoming, asked.env, asked.space, parsed))
}

fn begin(incoming: &Incoming, env: &Env, space: &Space, request: PullRequest) -> Begun {
    let format = negotiation::format(&incoming.accept);
    let plan = ReadPlan::of(space.id.is_none(), isolate::publishes_eagerly(env));
    let memory = isolate::recall(env, space.scope());
    let before = memory.0.clone();
    let written = isolate::last_written(env, &space.hash, incoming.now);
    Begun { pull: Pull::new(request, format, plan, memory, written), before }
}

/// The answer, if memory has it and it is one page.
pub(crate) fn answer_at_once(incoming: &Incoming, space: &Space, begun: &mut Begun) -> Option<Reply> {
    if begun.pull.format() != Format::Json {
        return None;
    }
    begun.pull.remembered(incoming.now).map(|answer| page(incoming, space, &begun.pull, &answer))
}

/// Brings a pull to its end.
pub(crate) async fn finish(asked: &Asked<'_>, begun: Begun) -> Result<Reply, (ApiError, Usage)> {
    let Begun { mut pull, before } = begun;
    let mut usage = Usage::default();
    let answered = answer(asked, &mut pull, &mut usage).await;
    let after = pull.known();
    isolate::remember(asked.env, asked.space.scope(), after.clone(), pull.checked_at());
    if *after != before && pull.source() != Source::Edge {
        let (origin, scope) = (asked.incoming.origin_of_url.clone(), asked.space.scope().clone());
        let after = after.clone();
        asked
            .context
            .wait_until(async move { location::tell_location(&origin, &scope, &before, &after).await });
    }
    let mut reply = answered.map_err(|error| (error, usage))?;
    reply.usage = usage;
    Ok(reply)
}

/// Asks one layer after the other until there is an answer that can be sent.
async fn answer(asked: &Asked<'_>, pull: &mut Pull, usage: &mut Usage) -> Result<Reply, ApiError> {
    let format = pull.format();
    loop {
        match pull.next(now()) {
            Next::Cache => {
                usage.cache += 3;
                let (origin, space) = (&asked.incoming.origin_of_url, asked.space);
                let wants_body = |metadata: &_| pull.wants_body(metadata);
                let cached = location::known_in_cache(origin, &space.hash, space.scope(), wants_body);
                let (known, written) = cached.await;
                if let Some(position) = &written {
                    isolate::learn_written(asked.env, &space.hash, position.clone(), now());
                }
                pull.learn_cached(known, written, now());
            }
            Next::Kv => {
                usage.kv += 1;
                let wants_body = |metadata: &_| pull.wants_body(metadata);
                let read = location::head_in_kv(asked.env, asked.space.scope(), wants_body).await;
                pull.learn_kv(read);
            }
            Next::Ask(ask) => match ask_coordinator(asked, pull, ask, usage).await {
                Ok((reply, lines)) => pull.learn_reply(reply, &lines, now()),
                Err(error) => pull.coordinator_failed(error),
            },
            Next::Fail(error) => return Err(error),
            Next::Answer(answer) if format == Format::Json => {
                return Ok(page(asked.incoming, asked.space, pull, &answer));
            }
            Next::Answer(answer) => match stream(asked, pull, answer, usage).await {
                Ok(reply) => return Ok(reply),
                Err(missing) => pull.object_is_missing(missing),
            },
        }
    }
}

async fn ask_coordinator(
    asked: &Asked<'_>,
    pull: &Pull,
    ask: Box<Ask>,
    usage: &mut Usage,
) -> Result<(CoordinatorReply, String), ApiError> {
    // Whoever takes what there is does not wait for a refusal.
    if pull.takes_what_there_is() {
        isolate::check_refusals(asked.env, &asked.space.caller.user, &asked.space.hash, now())?;
    }
    let called = call(asked.env, asked.space, &Call::Pull(ask), usage).await?;
    let (reply, lines) = decode_reply(&called.body).ok_or(ApiError::Upstream)?;
    Ok((reply, lines.to_owned()))
}

fn headers(pull: &Pull, answer: &Answer, tag: String, now: Millis) -> PullHeaders {
    let position = answer.position().clone();
    PullHeaders { tag, position, source: pull.source(), age_ms: pull.age_ms(now) }
}

fn reply(status: u16, headers: Headers, body: Body) -> Reply {
    Reply { status, headers, body, usage: Usage::default() }
}

/// One JSON page; 304 to whoever has it.
fn page(incoming: &Incoming, space: &Space, pull: &Pull, answer: &Answer) -> Reply {
    let tag = pull.tag(answer, &space.hash, false);
    let is_held = holds_tag(&incoming.if_none_match, &tag);
    let headers = Headers::Pull(headers(pull, answer, tag, incoming.now));
    if is_held {
        return reply(304, headers, Body::Empty);
    }
    reply(200, headers, Body::Text(answer::json_page(answer, &space.hash)))
}

/// One stream; 304 to whoever has it. Of a long one, nothing is read for HEAD. `Err` as [`stream_load`].
async fn stream(
    asked: &Asked<'_>,
    pull: &mut Pull,
    answer: Answer,
    usage: &mut Usage,
) -> Result<Reply, Option<headwater::ids::ContentHash>> {
    let (incoming, space) = (asked.incoming, asked.space);
    let whole = answer::whole_stream(&answer);
    // The platform compresses JSON by itself, but not NDJSON (speed/optimization/content/compression); asked to, it does so
    // outside wasm.
    let is_coded = takes_gzip(&incoming.accept_encoding, whole.as_ref().map_or(usize::MAX, String::len));
    let tag = pull.tag(&answer, &space.hash, is_coded);
    if holds_tag(&incoming.if_none_match, &tag) {
        return Ok(reply(304, Headers::Pull(headers(pull, &answer, tag, now())), Body::Empty));
    }
    if matches!(&answer, Answer::Load(load) if !load.parts.is_empty()) {
        pull.reads_objects();
    }
    let coding = if is_coded { "Content-Encoding\ngzip\n" } else { "" };
    let headers = Headers::Named(headers(pull, &answer, tag, now()).for_stream() + coding);
    let is_get = !incoming.is_head();
    let body = match (whole, answer) {
        (Some(text), _) => Body::Text(text),
        (None, Answer::Load(load)) if is_get => Body::Stream(stream_load(asked, &load, usage).await?),
        (None, Answer::Page { position, reset, next, lines }) if is_get => {
            Body::Stream(stream_pages(asked, position, reset, next, &lines))
        }
        _ => Body::Empty,
    };
    Ok(reply(200, headers, body))
}

/// Streams published objects. `Err` when the first is not to be had, so that nothing has been sent yet: with its name when
/// KV says that it has none, without when KV failed.
async fn stream_load(
    asked: &Asked<'_>,
    load: &Load,
    usage: &mut Usage,
) -> Result<ReadableStream, Option<headwater::ids::ContentHash>> {
    let (env, scope) = (asked.env, asked.space.scope());
    let start = answer::stream_start(&load.position, load.reset);
    let end = load.lines.clone() + &answer::stream_end(&load.position);
    let Some(first) = load.parts.first() else {
        let pipe = TextPipe::new();
        let readable = pipe.readable();
        asked.context.wait_until(async move {
            let _ = pipe.write(&(start + &end)).await;
            let _ = pipe.close().await;
        });
        return Ok(readable);
    };
    usage.kv += u32::try_from(load.parts.len()).unwrap_or(u32::MAX);
    let (keys, between) = (Array::new(), Array::new());
    for (index, part) in load.parts.iter().enumerate() {
        keys.push(&scope.object_key(&part.sha256.0).into());
        between.push(&cursor_after(load, index, &asked.space.hash).into());
    }
    let streams = stream_objects(env, &start, &keys, &between, &end, location::OBJECT_TTL_S).await;
    let streams = streams.map_err(|_| None)?;
    if streams.is_null() {
        return Err(Some(first.sha256.0.clone()));
    }
    let streams: Array = streams.unchecked_into();
    let sent: js_sys::Promise = streams.get(1).unchecked_into();
    asked.context.wait_until(async move {
        let _ = wasm_bindgen_futures::JsFuture::from(sent).await;
    });
    Ok(streams.get(0).unchecked_into())
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

/// Streams the coordinator's pages one after the other: it answers each at once and sleeps again, and the edge waits for
/// the client. `Server-Timing` tells of the first page only: headers leave before the others are asked for.
fn stream_pages(
    asked: &Asked<'_>,
    mut position: Position,
    reset: bool,
    mut next: Option<OrderedCursor>,
    lines: &str,
) -> ReadableStream {
    let pipe = TextPipe::new();
    let readable = pipe.readable();
    let mut text = answer::stream_start(&position, reset) + lines;
    let (env, space) = (asked.env.clone(), asked.space.clone());
    asked.context.wait_until(async move {
        while let Some(cursor) = next {
            text.push_str(&answer::stream_cursor(&answer::ordered(&cursor), &space.hash));
            if pipe.write(&text).await.is_err() {
                return;
            }
            let ask = Ask { cursor: Some(cursor), page_bytes: limits::STREAM_PAGE_BYTES, ..Ask::default() };
            let answered = call(&env, &space, &Call::Pull(Box::new(ask)), &mut Usage::default()).await;
            let page = answered.as_ref().ok().and_then(|called| decode_reply(&called.body));
            // A page that starts over cannot be part of this stream: the client comes back with the last cursor.
            let Some((CoordinatorReply::Page { epoch, version, reset: false, next: following }, lines)) =
                page
            else {
                let _ = pipe.close().await;
                return;
            };
            text = lines.to_owned();
            position = Position { epoch, version };
            next = following;
        }
        text.push_str(&answer::stream_end(&position));
        let _ = pipe.write(&text).await;
        let _ = pipe.close().await;
    });
    readable
}

/// The head for the routes that show it, and how many KV keys were read for it.
pub(crate) async fn head(asked: &Asked<'_>) -> Result<(Option<Rc<KnownHead>>, u32), ApiError> {
    let (known, checked_at) = isolate::recall(asked.env, asked.space.scope());
    if now().since(checked_at) <= 1_000
        && let Some(head) = known.head.filter(|head| head.body.is_some())
    {
        return Ok((Some(head), 0));
    }
    let read = location::head_in_kv(asked.env, asked.space.scope(), |_| true).await;
    Ok((read.map_err(|()| ApiError::Upstream)?.map(Rc::new), 1))
}
