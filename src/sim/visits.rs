//! Requests at locations: carries out what the visits of `edge::visit` ask for, of caches, KV and objects.

use super::{
    World,
    check::EFFECTS_MAX,
    host::Ended,
    kv::ReadFailed,
    location::{Response, SharedIsolate, Wire, authorization},
    pulls::PartNoted,
};
use crate::{
    call::{ASIDE_HEADER, Administration, Aside, Call},
    edge::{
        known::KnownHead,
        visit::{Called, Effect, Event, Outgoing, Passed, PassedBody, Request, Visit},
    },
    error::ApiError,
    fronts::dexie::{answer::further, realm::Realm},
    fronts::headwater::{
        NDJSON,
        answer::{Format, Source},
        reply::{Body, Headers, Reply},
    },
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};

/// A visit under way.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) location: usize,
    pub(super) isolate: SharedIsolate,
    pub(super) visit: Visit,
    /// The space that it is about.
    pub(super) space: usize,
    /// By how much its clock is ahead, because it has waited.
    pub(super) waited_ms: u64,
}

/// What a visit needs, and what is seen on its way.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// The body of the request.
    pub(super) body: &'a str,
    /// Behind how many objects or pages a stream breaks.
    pub(super) chunks: Option<usize>,
    /// What the coordinator has said, if it was asked for records and refused.
    pub(super) refusal: Option<ApiError>,
    /// Whether it has answered.
    pub(super) is_answered: bool,
    /// How a call has ended whose answer was passed on.
    pub(super) ended: Option<Ended>,
    /// What the clock of the object shows that a call begins, if not the true time.
    pub(super) clock: Option<Millis>,
    /// The grant that the edge has asked for.
    pub(super) grant: Option<String>,
    /// The stream that was opened.
    pub(super) stream: String,
    /// How the pulls of a request with several have ended.
    pub(super) parts: Vec<PartNoted>,
}

impl World {
    /// A request of a user comes to a location.
    pub(super) fn begin_visit(
        &mut self,
        location: usize,
        (user, space): (usize, usize),
        (method, path): (&str, &str),
        format: Format,
        grant: &str,
    ) -> (Driven, Effect) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let text = |text: &str| text.to_owned();
        let request = Request {
            method: text(method),
            host: text("https://edge.example"),
            path: text(path),
            query: text(query),
            authorization: authorization(user),
            accept: text(if format == Format::Ndjson { NDJSON } else { "" }),
            content_type: text("application/json"),
            now: self.now,
            ..Request::default()
        };
        let isolate = self.locations[location].isolate();
        let header = |name: &str| text(if name == "headwater-grant" { grant } else { "" });
        let (visit, effect) = isolate.borrow_mut().begin(request, &header);
        self.bill_request(&visit);
        (Driven { location, isolate, visit, space, waited_ms: 0 }, effect)
    }

    /// One step of a visit. What it leaves to be done is begun.
    pub(super) fn step_visit(&mut self, driven: &mut Driven, event: Event) -> Effect {
        let now = self.now.plus(driven.waited_ms);
        let effect = driven.isolate.borrow_mut().step(&mut driven.visit, event, now);
        let errands = driven.isolate.borrow_mut().take_errands();
        for visit in errands {
            let Driven { location, ref isolate, space, .. } = *driven;
            self.run_errand(
                Driven { location, isolate: SharedIsolate::clone(isolate), visit, space, waited_ms: 0 },
                Event::Begun,
            );
        }
        effect
    }

    /// Brings a visit to its end.
    pub(super) fn drive(
        &mut self,
        driven: &mut Driven,
        mut effect: Effect,
        around: &mut Around<'_>,
    ) -> Result<Reply, ApiError> {
        for _ in 0..EFFECTS_MAX {
            let event = match effect {
                Effect::Answer(answer) => return *answer,
                effect => self.carry_out(driven, effect, around),
            };
            effect = self.step_visit(driven, event);
        }
        panic!("I8: a request asked for {EFFECTS_MAX} effects and was not answered");
    }

    pub(super) fn carry_out(
        &mut self,
        driven: &mut Driven,
        effect: Effect,
        around: &mut Around<'_>,
    ) -> Event {
        self.bill_effect(&driven.visit, &effect);
        match effect {
            Effect::ReadBody { .. } => Event::Body(Ok(around.body.as_bytes().to_vec())),
            Effect::Drain | Effect::AwaitStream => Event::Resumed,
            Effect::Pause(ms) => {
                driven.waited_ms += ms;
                Event::Resumed
            }
            Effect::ReadHead { scope, wanted, ttl_s } => {
                let ttl_ms = u64::from(ttl_s) * 1_000;
                let Ok(entry) = self.kv.read(driven.location, &scope.head_key(), ttl_ms, self.now) else {
                    return Event::Head(Err(()));
                };
                let Some(entry) = entry else { return Event::Head(Ok(None)) };
                self.check_brand(driven, &scope, &entry.value, "the head in KV");
                let value = wanted.wants_of(&entry.metadata).then(|| entry.value.clone());
                let head = KnownHead::of_kv(Some(&entry.metadata), value, &scope, self.now).map_err(drop);
                let is_decoded = matches!(&head, Ok(Some(head)) if head.body.is_some());
                let is_garbled = is_decoded && self.kv.is_garbled(&entry);
                assert!(!is_garbled, "I6: a head was taken whose bytes had changed");
                Event::Head(head)
            }
            Effect::StreamObjects { start, objects, end, sub, lasts_ms: _, ttls_s } => {
                around.stream = start;
                let opened = self.stream_objects(driven, sub.as_deref(), &objects, &end, ttls_s, around);
                Event::Opened(opened)
            }
            Effect::Several(parts) => Event::Several(self.carry_parts(driven, parts, around)),
            Effect::Call(call) => {
                self.check_waits(driven, &call);
                let called = self.carry_call(driven, &call, around);
                // An object that cannot be reached refuses at once, or says nothing until nobody waits any more.
                let is_silent = self.spaces[driven.space].host.is_unreachable && self.rng.below(2) == 0;
                driven.waited_ms += if is_silent { u64::from(call.timeout_ms) } else { 0 };
                Event::Called(called)
            }
            Effect::Pass(call, PassedBody::Call) => {
                self.check_waits(driven, &call);
                let ended = self.call_object(driven.space, &call, around.clock);
                self.learn_refusal(driven, &call.object, ended.told.as_ref().err());
                let passed = passed(&ended.told, ended.at.as_ref(), ended.aside.as_ref());
                around.ended = Some(ended);
                Event::Passed(Ok(passed))
            }
            // Clients here have one space each, so that none has a relay; their sockets are opened at the object itself.
            effect => match self.locations[driven.location].carry_out(effect, self.now) {
                Ok(event) => event,
                Err(effect) => panic!("BUG: nobody carries out {effect:?} here"),
            },
        }
    }

    fn check_brand(&self, driven: &Driven, scope: &Scope, text: &str, what: &str) {
        self.spaces[driven.space].oracle_of(scope).check_brand(text, what);
    }

    /// As the platform streams them: if a later one than the first is not to be had, the stream ends there.
    fn stream_objects(
        &mut self,
        driven: &Driven,
        sub: Option<&str>,
        objects: &[(String, String)],
        end: &str,
        [ttl_s, again_s]: [u32; 2],
        around: &mut Around<'_>,
    ) -> Result<bool, ()> {
        for (index, (key, behind)) in objects.iter().enumerate() {
            if around.chunks.is_some_and(|chunks| index >= chunks.max(1)) {
                return Ok(true);
            }
            let mut read = |ttl_s| self.kv.read(driven.location, key, u64::from(ttl_s) * 1_000, self.now);
            match read(ttl_s).and_then(|entry| entry.map_or_else(|| read(again_s), |entry| Ok(Some(entry)))) {
                Ok(Some(entry)) => {
                    let scope = driven.visit.target().scope();
                    self.check_brand(driven, scope, &entry.value, "an object in KV");
                    // To a client of Dexie Cloud its lines are sent as operations.
                    let text = sub.map(|sub| further(&entry.value, &Realm::own(sub)));
                    around.stream.push_str(text.as_deref().unwrap_or(&entry.value));
                    around.stream.push_str(behind);
                }
                Ok(None) if index == 0 => return Ok(false),
                Err(ReadFailed) if index == 0 => return Err(()),
                Ok(None) | Err(ReadFailed) => return Ok(true),
            }
        }
        around.stream.push_str(end);
        Ok(true)
    }

    /// A call by an edge, as the wire between the two carries it. I9: the coordinator answers members, about the space of their
    /// grant.
    pub(super) fn carry_call(&mut self, driven: &Driven, call: &Outgoing, around: &mut Around<'_>) -> Called {
        if let Call::Directory(_) = call.call {
            let called = self.call_directory(call);
            self.learn_refusal(driven, &call.object, called.result.as_ref().err());
            return called;
        }
        let ended = self.call_object(driven.space, call, around.clock);
        let called = called(&ended);
        self.learn_refusal(driven, &call.object, called.result.as_ref().err());
        if let (Call::Administer(Administration::Grant { .. }), Ok(body)) = (&call.call, &called.result) {
            around.grant = Some(body.clone());
        }
        if let Call::Pull(_) = call.call {
            match &called.result {
                Err(error @ (ApiError::Forbidden(_) | ApiError::Gone | ApiError::GrantRequired)) => {
                    around.refusal = Some(error.clone());
                }
                Err(_) => {}
                Ok(body) => {
                    around.is_answered = true;
                    let scope = call.caller.destination.scope().expect("a pull names its scope");
                    let space = &self.spaces[driven.space];
                    space.check_asker(scope, &call.caller.user);
                    space.oracle_of(scope).check_brand(body, "the coordinator's answer");
                }
            }
        }
        around.ended = Some(ended);
        called
    }

    pub(super) fn call_object(&mut self, space: usize, call: &Outgoing, clock: Option<Millis>) -> Ended {
        let now = clock.unwrap_or(self.now);
        assert_eq!(call.object, self.spaces[space].hash, "I9: an edge calls another object");
        self.spaces[space].check_caller(&call.caller.user);
        let ended = self.spaces[space].host.call_by_edge(call, &mut self.kv, &self.granter, now);
        let space = &mut self.spaces[space];
        let may_claim = matches!(call.call, Call::Pull(_) | Call::Administer(Administration::Grant { .. }));
        if let Some(core) = space.host.running().filter(|_| may_claim) {
            // What the request claims may have begun an epoch.
            space.oracle.learn_epoch(&core.position().epoch);
        }
        ended
    }

    pub(super) fn response(
        &mut self,
        driven: Driven,
        reply: Result<Reply, ApiError>,
        around: &mut Around<'_>,
    ) -> Response {
        let usage = driven.visit.usage();
        let Reply { headers, body, .. } = match reply {
            Ok(reply) => reply,
            Err(error) => {
                return Response { body: Err(error), source: Source::Edge, usage, tag: String::new() };
            }
        };
        let (source, tag, is_json) = match headers {
            Headers::Pull(headers) => (headers.source, headers.tag, true),
            Headers::Named(headers) => (source_in(&headers), String::new(), false),
        };
        let text = self.text_of(driven, body, around);
        let body = Ok(if is_json { Wire::Json(text) } else { Wire::Stream(text) });
        Response { body, source, usage, tag }
    }

    /// The text of the answer to a pull, as far as it is read.
    pub(super) fn text_of(&mut self, mut driven: Driven, body: Body, around: &mut Around<'_>) -> String {
        match body {
            Body::Text(text) => text,
            Body::Stream => {
                let waiter = driven.visit.take_writer().expect("BUG: nobody hears when the answer is sent");
                let text = std::mem::take(&mut around.stream);
                self.written_by(Driven { visit: waiter, ..driven }, around);
                text
            }
            Body::Written => {
                let writer = driven.visit.take_writer().expect("BUG: nobody writes the answer");
                self.written_by(Driven { visit: writer, ..driven }, around)
            }
            other => panic!("BUG: a pull is answered with {other:?}"),
        }
    }

    /// What an errand writes, as far as it is read.
    fn written_by(&mut self, mut driven: Driven, around: &mut Around<'_>) -> String {
        let (mut text, mut pieces) = (String::new(), 0);
        let mut effect = self.step_visit(&mut driven, Event::Begun);
        loop {
            let event = match effect {
                Effect::Rest => {
                    let streamed = driven.isolate.borrow().streamed();
                    assert_eq!(streamed, 0, "I8: an answer that is over holds memory");
                    return text;
                }
                Effect::Close => Event::Resumed,
                Effect::Write(piece) => {
                    text.push_str(&piece);
                    pieces += 1;
                    Event::Sent(around.chunks.is_none_or(|chunks| pieces < chunks.max(1)))
                }
                effect => self.carry_out(&mut driven, effect, around),
            };
            effect = self.step_visit(&mut driven, event);
        }
    }
}

/// An object's answer on its way to the edge: status, headers, body.
fn answered(
    told: &Result<Option<String>, ApiError>,
    at: Option<&Position>,
    aside: Option<&Aside>,
) -> (u16, String, String) {
    let Reply { status, headers, body } = Reply::of_object(told.clone(), at, aside, "");
    let Headers::Named(headers) = headers else { panic!("BUG: an object does not answer pulls of clients") };
    (status, headers, if let Body::Text(text) = body { text } else { String::new() })
}

/// What an edge hears of a call.
pub(super) fn called(Ended { told, at, aside, .. }: &Ended) -> Called {
    let (status, headers, body) = answered(told, at.as_ref(), aside.as_ref());
    let [position, aside] = ["Headwater-Position", ASIDE_HEADER].map(|name| header(&headers, name));
    Called::read(status, body, String::new(), position, aside)
}

/// What an edge hears of a call whose answer it passes on.
pub(super) fn passed(
    told: &Result<Option<String>, ApiError>,
    at: Option<&Position>,
    aside: Option<&Aside>,
) -> Passed {
    let (status, headers, _) = answered(told, at, aside);
    let [retry_after, position, aside] =
        ["Retry-After", "Headwater-Position", ASIDE_HEADER].map(|name| header(&headers, name));
    let (position, aside) = (Position::parse(position), Aside::parse(aside));
    Passed { status, retry_after_s: retry_after.parse().ok(), position, aside, timing: String::new() }
}

/// A header, out of `name\nvalue\n` pairs; empty if it is absent.
fn header<'a>(headers: &'a str, name: &str) -> &'a str {
    let mut lines = headers.lines();
    while let (Some(named), Some(value)) = (lines.next(), lines.next()) {
        if named == name {
            return value;
        }
    }
    ""
}

fn source_in(headers: &str) -> Source {
    let sources = [Source::Edge, Source::Kv, Source::Coordinator];
    let value = header(headers, "Headwater-Source");
    sources.into_iter().find(|source| source.as_str() == value).expect("an answer says its source")
}
