//! Requests to the Worker: carries out what the visits of `headwater::edge::visit` ask for.

use headwater::{
    call::Aside,
    edge::{
        known::{CachedTexts, Known, KnownHead},
        visit::{Called, Effect, Event, Outgoing, Passed, PassedBody, Visit, unreached},
    },
    error::ApiError,
    fronts::headwater::{
        body::{Coding, refusal_of},
        reply::{Body, Reply},
    },
    limits,
    version::Position,
};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{ReadableStream, Request, Response};
use worker::{Env, worker_sys::Context};

use crate::{
    analytics, blobs, head, http, isolate, now, panic, several,
    tokens::{self, may_pass},
};

#[wasm_bindgen(module = "/js/kv.js")]
extern "C" {
    #[wasm_bindgen(js_name = pause)]
    fn pause(ms: u32) -> Promise;
    #[wasm_bindgen(js_name = readHead)]
    fn read_head(env: &JsValue, key: &str, ttl_s: u32) -> Promise;
    #[wasm_bindgen(js_name = readObject)]
    fn read_object(env: &JsValue, key: &str, ttls_s: &[u32]) -> Promise;
}

#[wasm_bindgen(module = "/js/cache.js")]
extern "C" {
    #[wasm_bindgen(js_name = readCache)]
    fn read_cache(base: &str, writes: &str) -> Promise;
    #[wasm_bindgen(js_name = cacheHead)]
    fn cache_head(base: &str, metadata: &str, read_at: &str, value: Option<&str>, ttl_s: u32) -> Promise;
    #[wasm_bindgen(js_name = cachedText)]
    fn cached_text(url: &str) -> Promise;
    #[wasm_bindgen(js_name = cacheText)]
    fn cache_text(url: &str, text: &str, ttl_s: u32) -> Promise;
}

#[wasm_bindgen(module = "/js/streams.js")]
extern "C" {
    #[wasm_bindgen(js_name = streamObjects)]
    fn stream_objects(
        env: &JsValue,
        start: &str,
        keys: &Array,
        between: &Array,
        end: &str,
        lasts_ms: u32,
        ttls_s: &[u32],
        ahead: usize,
        sub: Option<&str>,
    ) -> Promise;
    type TextPipe;
    #[wasm_bindgen(constructor)]
    fn new() -> TextPipe;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &TextPipe) -> ReadableStream;
    #[wasm_bindgen(method)]
    fn write(this: &TextPipe, text: &str, slice_bytes: usize, idle_ms: u32) -> Promise;
    #[wasm_bindgen(method)]
    fn close(this: &TextPipe) -> Promise;
}

#[wasm_bindgen(module = "/js/calls.js")]
extern "C" {
    #[wasm_bindgen(js_name = callObject)]
    pub(crate) fn call_object(
        env: &JsValue,
        name: &str,
        call: &str,
        caller: &str,
        body: &str,
        timeout_ms: u32,
    ) -> Promise;
    #[wasm_bindgen(js_name = passOn)]
    fn pass_on(
        env: &JsValue,
        name: &str,
        call: &str,
        caller: &str,
        body: &str,
        ms: u32,
        ask: &str,
    ) -> Promise;
    #[wasm_bindgen(js_name = passBodyOn)]
    fn pass_body_on(
        env: &JsValue,
        name: &str,
        call: &str,
        caller: &str,
        request: &JsValue,
        user: &str,
        is_gzip: bool,
        limit: usize,
        expires: f64,
        timeout_ms: u32,
    ) -> Promise;
    #[wasm_bindgen(js_name = whyUnreached)]
    fn why_unreached(error: &JsValue) -> String;
}

#[wasm_bindgen(module = "/js/body.js")]
extern "C" {
    #[wasm_bindgen(js_name = receiveBody)]
    fn receive_body(request: &JsValue, user: &str, is_gzip: bool, limit: usize) -> Promise;
}

/// What memory can answer is answered at once: a promise, and the turn of the event loop that resolves it, would be a fifth of
/// what a poll costs.
pub(crate) fn answer(request: Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    let incoming = http::read(&request);
    let header = |name: &str| http::header(&request, name);
    let (mut visit, effect) = isolate::with(&env, |isolate| isolate.begin(incoming, &header));
    let mut carrier = Carrier { request: Some(request), ..Carrier::new(env, context) };
    if let Effect::Answer(answer) = effect {
        return carrier.respond(&mut visit, *answer);
    }
    let repeat = visit.reply_to_repeat();
    let headers = http::headers(&repeat, &visit);
    let served = future_to_promise(carrier.run(visit, effect));
    Ok(panic::or_repeat(&served, &repeat, headers).into())
}

/// What carries a visit out.
pub(crate) struct Carrier {
    pub(crate) env: Env,
    context: Context,
    /// None of an errand.
    request: Option<Request>,
    /// What was opened last.
    stream: Option<ReadableStream>,
    /// When it has been sent, if that is waited for.
    sent: Option<Promise>,
    /// What an object has answered to what was passed on.
    passed: Option<Response>,
    /// What an errand writes into.
    pipe: Option<TextPipe>,
}

impl Carrier {
    fn new(env: Env, context: Context) -> Self {
        Self { env, context, request: None, stream: None, sent: None, passed: None, pipe: None }
    }

    /// One beside it, for something that has no request of its own.
    pub(crate) fn beside(&self) -> Self {
        Self::new(self.env.clone(), AsRef::<JsValue>::as_ref(&self.context).clone().unchecked_into())
    }

    /// Brings a visit to its end; gives the response, if it has one.
    async fn run(mut self, mut visit: Visit, effect: Effect) -> Result<JsValue, JsValue> {
        match self.carry(&mut visit, effect).await {
            Some(answer) => self.respond(&mut visit, answer),
            None => Ok(JsValue::UNDEFINED),
        }
    }

    /// Brings a visit to its end; gives the answer, if it has one.
    pub(crate) async fn carry(
        &mut self,
        visit: &mut Visit,
        mut effect: Effect,
    ) -> Option<Result<Reply, ApiError>> {
        loop {
            match effect {
                Effect::Answer(answer) => return Some(*answer),
                Effect::Rest => return None,
                Effect::Several(parts) => {
                    let event = Event::Several(several::carry(self, parts).await);
                    effect = self.step(visit, event);
                    continue;
                }
                _ => {}
            }
            let started = self.start(&effect);
            // What is written is outside now. While nobody reads it, it takes nothing of the module's memory, which never shrinks.
            if let Effect::Write(text) = &mut effect {
                *text = String::new();
            }
            let mut done = JsFuture::from(started).await;
            let value = head::read_value(&effect, &mut done).await;
            let event = self.end(effect, done, value);
            effect = self.step(visit, event);
        }
    }

    fn step(&self, visit: &mut Visit, event: Event) -> Effect {
        let effect = isolate::with(&self.env, |isolate| isolate.step(visit, event, now()));
        self.run_errands();
        effect
    }

    pub(crate) fn run_errands(&self) {
        for errand in isolate::with(&self.env, |isolate| isolate.take_errands()) {
            self.run_errand(errand, None, None);
        }
    }

    fn run_errand(&self, mut errand: Visit, pipe: Option<TextPipe>, sent: Option<Promise>) {
        let effect = isolate::with(&self.env, |isolate| isolate.step(&mut errand, Event::Begun, now()));
        let carrier = Self { sent, pipe, ..self.beside() };
        let ended = future_to_promise(carrier.run(errand, effect));
        self.context.wait_until(&ended).expect("BUG: the request is over and not answered");
    }

    fn request(&self) -> &JsValue {
        self.request.as_ref().expect("BUG: an errand has no request")
    }

    fn pipe(&self) -> &TextPipe {
        self.pipe.as_ref().expect("BUG: nobody reads what is written")
    }

    fn respond(&mut self, visit: &mut Visit, answer: Result<Reply, ApiError>) -> Result<JsValue, JsValue> {
        let reply = visit.reply(answer);
        if analytics::is_on() {
            let (space, route, ms) = visit.ended(now());
            let ended = ("request", route, &*reply.status.to_string());
            analytics::point(&self.env, space, ended, ms, &visit.usage());
        }
        if let Body::Passed = reply.body {
            return Ok(self.passed.take().expect("BUG: nothing was passed on").into());
        }
        let (stream, writer) = (self.stream.take(), visit.take_writer());
        let body = match (&reply.body, writer) {
            (Body::Stream, waiter) => {
                if let Some(waiter) = waiter {
                    let sent = self.sent.take();
                    self.run_errand(waiter, None, sent);
                }
                stream.expect("BUG: no stream was opened").into()
            }
            (Body::Written, Some(writer)) => {
                let pipe = TextPipe::new();
                let readable = pipe.readable();
                self.run_errand(writer, Some(pipe), None);
                readable.into()
            }
            (Body::Empty | Body::Text(_) | Body::Written | Body::Passed, _) => {
                if let Some(stream) = stream {
                    head::drop_stream(&stream);
                }
                http::body(&reply.body)
            }
        };
        http::respond_with(reply.status, &body, http::headers(&reply, visit))
    }

    /// Begins what an effect asks for.
    fn start(&self, effect: &Effect) -> Promise {
        let env: &JsValue = &self.env;
        match effect {
            Effect::Token(effect) => tokens::ask(effect, self.context.as_ref()),
            Effect::AskLimiter(user) => may_pass(env, user.as_str()),
            Effect::Drain => receive_body(self.request(), "", false, 0),
            Effect::ReadBody { user, coding, limit } => {
                receive_body(self.request(), user.as_str(), *coding == Coding::Gzip, *limit)
            }
            Effect::Pause(ms) => pause(u32::try_from(*ms).unwrap_or(u32::MAX)),
            Effect::LookIntoCache { base, writes, .. } => read_cache(base, writes),
            Effect::ReadCachedWrite { writes } => cached_text(writes),
            Effect::CacheHead { base, head, ttl_s } => {
                let metadata = serde_json::to_string(&head.metadata).unwrap_or_default();
                let value = head.body.as_ref().map(|body| body.value.as_str());
                cache_head(base, &metadata, &head.read_at.0.to_string(), value, *ttl_s)
            }
            Effect::CacheOverlay { base, overlay, ttl_s } => {
                cache_text(&format!("{base}/overlay"), &overlay.to_text(), *ttl_s)
            }
            Effect::CacheWrite { writes, position, ttl_s } => {
                cache_text(writes, &position.to_string(), *ttl_s)
            }
            Effect::ReadHead { scope, ttl_s, .. } => read_head(env, &scope.head_key(), *ttl_s),
            Effect::OpenObject { key, ttls_s } => read_object(env, key, ttls_s),
            Effect::StreamObjects { start, objects, end, sub, lasts_ms, ttls_s } => {
                let (keys, between) = (Array::new(), Array::new());
                for (key, text) in objects {
                    keys.push(&key.into());
                    between.push(&text.into());
                }
                let (ahead, sub) = (limits::OBJECTS_AHEAD, sub.as_deref());
                stream_objects(env, start, &keys, &between, end, *lasts_ms, ttls_s, ahead, sub)
            }
            Effect::Blob(effect) => blobs::ask(env, self.request.as_ref(), effect),
            Effect::Call(call) => {
                let (name, caller, body) = (call.object.as_str(), call.caller.to_text(), call.body());
                call_object(env, name, call.call.name(), &caller, &body, call.timeout_ms)
            }
            Effect::Pass(call, source) => self.pass(call, source),
            Effect::AwaitStream => self.sent.clone().expect("BUG: no stream of objects was opened"),
            Effect::Write(text) => {
                self.pipe().write(text, limits::STREAM_SLICE_BYTES, limits::STREAM_IDLE_MS)
            }
            Effect::Close => self.pipe().close(),
            Effect::Several(_) => panic!("BUG: several visits are not one promise"),
            Effect::Answer(_) | Effect::Rest => panic!("BUG: the visit is over"),
        }
    }

    fn pass(&self, outgoing: &Outgoing, source: &PassedBody) -> Promise {
        let body = outgoing.body();
        let Outgoing { object, call, caller, timeout_ms, .. } = outgoing;
        let (env, object, name, text) = (&self.env, object.as_str(), call.name(), caller.to_text());
        match source {
            PassedBody::Call => pass_on(env, object, name, &text, &body, *timeout_ms, "call"),
            PassedBody::Upgrade => pass_on(env, object, name, &text, &body, *timeout_ms, "upgrade"),
            #[cfg(feature = "dexie")]
            PassedBody::Relay(relaying) => crate::relay::open(self.beside(), outgoing, relaying),
            PassedBody::Request { coding, limit, expires } => {
                let (request, user, is_gzip) =
                    (self.request(), caller.user.as_str(), *coding == Coding::Gzip);
                let expires = expires.0 as f64;
                pass_body_on(env, object, name, &text, request, user, is_gzip, *limit, expires, *timeout_ms)
            }
        }
    }

    /// How it has ended; `value` is that of a head, if it was wanted.
    fn end(&mut self, effect: Effect, done: Result<JsValue, JsValue>, value: Option<String>) -> Event {
        match effect {
            Effect::Token(effect) => Event::Token(tokens::found(&effect, done)),
            Effect::AskLimiter(_) => Event::MayPass(done.ok().map(|may| may.is_truthy())),
            Effect::ReadBody { .. } => Event::Body(http::body_of(done)),
            Effect::LookIntoCache { scope, .. } => {
                let read = done.map(|read| Array::from(&read)).unwrap_or_default();
                let text = |at: u32| read.get(at).as_string();
                let texts = CachedTexts { metadata: text(0), read_at: text(2), value, overlay: text(3) };
                Event::Cached(Known::of_cache(texts, &scope), text(4).and_then(|text| Position::parse(&text)))
            }
            Effect::ReadCachedWrite { .. } => {
                let text = done.ok().and_then(|text| text.as_string());
                Event::CachedWrite(text.and_then(|text| Position::parse(&text)))
            }
            Effect::ReadHead { scope, .. } => Event::Head(done.map_err(drop).and_then(|read| {
                KnownHead::of_kv(head::parts_of(&read).0.as_deref(), value, &scope, now()).map_err(drop)
            })),
            Effect::OpenObject { .. } => Event::Opened(done.map_err(drop).map(|stream| self.keep(stream))),
            Effect::StreamObjects { .. } => Event::Opened(done.map_err(drop).and_then(|opened| {
                let Ok(opened) = opened.dyn_into::<Array>() else { return Ok(false) };
                let sent: Promise = opened.get(1).unchecked_into();
                self.context.wait_until(&sent).map_err(drop)?;
                self.sent = Some(sent);
                Ok(self.keep(opened.get(0)))
            })),
            Effect::Blob(effect) => Event::Blob(blobs::found(&effect, done, |stream| self.keep(stream))),
            Effect::Call(_) => Event::Called(match done {
                Ok(answer) => http::called(&answer.unchecked_into()),
                Err(error) => Called::failed(unreached(&why_unreached(&error), now())),
            }),
            Effect::Pass(..) => Event::Passed(match done {
                Ok(answer) => self.passed(&answer),
                Err(error) => Err((unreached(&why_unreached(&error), now()), true)),
            }),
            Effect::Write(_) => Event::Sent(done.is_ok()),
            // A cache that fails costs a read of KV, nothing else.
            Effect::CacheHead { .. }
            | Effect::CacheOverlay { .. }
            | Effect::CacheWrite { .. }
            | Effect::Drain
            | Effect::AwaitStream
            | Effect::Pause(_)
            | Effect::Close => Event::Resumed,
            Effect::Several(_) | Effect::Answer(_) | Effect::Rest => panic!("BUG: no promise was begun"),
        }
    }

    fn keep(&mut self, stream: JsValue) -> bool {
        self.stream = stream.dyn_into().ok();
        self.stream.is_some()
    }

    fn passed(&mut self, answer: &JsValue) -> Result<Passed, (ApiError, bool)> {
        if let Some(word) = answer.as_string() {
            return Err((refusal_of(&word), false));
        }
        let answer: &Array = answer.unchecked_ref();
        let text = |at| answer.get(at).as_string().unwrap_or_default();
        let (position, aside, timing) = (Position::parse(&text(2)), Aside::parse(&text(3)), text(4));
        let response: Response = answer.get(0).unchecked_into();
        let status = response.status();
        let retry_after_s =
            answer.get(1).as_f64().map(|seconds| seconds as u32).filter(|seconds| *seconds > 0);
        self.passed = Some(response);
        Ok(Passed { status, retry_after_s, position, aside, timing })
    }
}
