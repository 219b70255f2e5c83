//! A pull, from one layer to the next.

#[cfg(feature = "dexie")]
use super::dexie::is_lost;
use super::{Called, Effect, Event, State, Visit, call::Then, errand::Errand};
use crate::{
    access::target::Target,
    call::{Call, Left, decode_reply},
    edge::{
        isolate::Isolate,
        known::Known,
        pull::{HEAD_TTL_S, Next, Pull, ReadPlan},
    },
    error::ApiError,
    fronts::headwater::{
        answer::{self, Format, PullAnswer, PullHeaders, Source},
        negotiation::{self, holds_tag},
        pull::{PullRequest, query_pairs},
        reply::{Body, Headers, Reply},
    },
    limits,
    snapshot::keys::Scope,
    time::Millis,
};

/// A pull under way, with what was known when it began.
#[derive(Debug)]
pub(super) struct Pulling {
    pub(super) pull: Pull,
    before: Known,
    /// How long the coordinator is waited for where nobody else can answer, in ms.
    pub(super) waits_ms: u32,
}

impl Pulling {
    /// The answer, if memory has it and it is one page.
    pub(super) fn answer_at_once(&mut self, visit: &Visit, now: Millis) -> Option<Reply> {
        if self.pull.format() != Format::Json {
            return None;
        }
        self.pull.remembered(now).map(|answer| page(visit, &self.pull, &answer, now))
    }
}

impl Isolate {
    pub(super) fn begin_get(&mut self, visit: &Visit, now: Millis) -> Result<Pulling, ApiError> {
        let pairs = query_pairs(&visit.request.query)?;
        let request = PullRequest::from_query(&pairs, &visit.target().hash)?;
        Ok(self.begin_pull(visit, request, negotiation::format(&visit.request.accept), now))
    }

    pub(super) fn begin_post(
        &mut self,
        visit: &Visit,
        body: &[u8],
        now: Millis,
    ) -> Result<Pulling, ApiError> {
        let request = PullRequest::from_body(body, &visit.target().hash)?;
        Ok(self.begin_pull(visit, request, negotiation::format(&visit.request.accept), now))
    }

    pub(super) fn begin_pull(
        &mut self,
        visit: &Visit,
        request: PullRequest,
        format: Format,
        now: Millis,
    ) -> Pulling {
        let target = visit.target();
        let plan = ReadPlan::of(target.id.is_none(), self.config.publishes_eagerly);
        let memory = self.memory.recall(target.scope());
        let before = memory.0.clone();
        let written = self.writes.last(&target.hash, now);
        let mut pull = Pull::new(request, format, plan, memory, written);
        pull.spares_objects(self.object_requests.left(now));
        Pulling { pull, before, waits_ms: limits::CALL_TIMEOUT_MS }
    }

    /// Asks the next layer, until there is an answer.
    pub(super) fn pull_on(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let effect = match pulling.pull.next(now) {
            Next::Cache => {
                // Three looks.
                visit.usage.cache += 3;
                let (target, wanted) = (visit.target(), pulling.pull.wanted());
                let scope = target.scope().clone();
                let (base, writes) = (cache_base(visit), cached_writes(visit));
                Effect::LookIntoCache { base, writes, scope, wanted }
            }
            Next::Kv => {
                visit.usage.kv += 1;
                let (scope, wanted) = (visit.target().scope().clone(), pulling.pull.wanted());
                Effect::ReadHead { scope, wanted, ttl_s: HEAD_TTL_S }
            }
            Next::Ask(ask) => {
                // Whoever takes what there is does not wait for a refusal.
                let Target { caller, hash, .. } = visit.target();
                let refused = match pulling.pull.takes_what_there_is() {
                    true => self.refusals.check(&caller.user, hash, now),
                    false => Ok(()),
                };
                let may_ask = || self.object_requests.check(&caller.user, true, now);
                if let Err(refused) = refused.and_then(|()| may_ask())
                    && (pulling.pull.takes_what_there_is() || pulling.pull.can_do_without())
                {
                    pulling.pull.coordinator_failed(refused);
                    return self.pull_on(visit, pulling, now);
                }
                let mut call = visit.call(Call::Pull(ask));
                let is_spare = pulling.pull.can_do_without();
                call.timeout_ms = if is_spare { limits::PULL_TIMEOUT_MS } else { pulling.waits_ms };
                return Ok(self.make_call(visit, call, Then::Pull(pulling), now));
            }
            #[cfg(feature = "dexie")]
            Next::Fail(ApiError::PositionUnknown { .. }) if visit.sync.is_some() && !is_lost(visit) => {
                return self.sync_anew(visit, now);
            }
            Next::Fail(error) => {
                self.remember_pull(visit, &pulling);
                return Err(error);
            }
            #[cfg(feature = "dexie")]
            Next::Answer(answer) if visit.sync.is_some() => {
                return self.sync_answer(visit, pulling, answer, now);
            }
            Next::Answer(answer) if pulling.pull.format() == Format::Json => {
                let page = page(visit, &pulling.pull, &answer, visit.request.now);
                return Ok(self.pull_is_done(visit, &pulling, page, now));
            }
            Next::Answer(answer) => return self.stream(visit, pulling, answer, now),
        };
        visit.state = State::Pulling(pulling);
        Ok(effect)
    }

    pub(super) fn pull_learns(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        event: Event,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match event {
            Event::Cached(known, written) => {
                if let Some(position) = &written {
                    self.writes.learn(&visit.target().hash, position.clone(), now);
                }
                pulling.pull.learn_cached(known, written, now);
            }
            Event::Head(read) => pulling.pull.learn_kv(read),
            event => panic!("BUG: a pull does not wait for {}", event.as_ref()),
        }
        self.pull_on(visit, pulling, now)
    }

    pub(super) fn pull_is_answered(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let answered = called.result.as_deref().map_err(Clone::clone);
        match answered.and_then(|body| decode_reply(body).ok_or(ApiError::Upstream)) {
            Ok((reply, lines)) => pulling.pull.learn_reply(reply, lines, now),
            Err(error) => pulling.pull.coordinator_failed(error),
        }
        self.pull_on(visit, pulling, now)
    }

    pub(super) fn pull_is_done(
        &mut self,
        visit: &mut Visit,
        pulling: &Pulling,
        reply: Reply,
        now: Millis,
    ) -> Effect {
        self.remember_pull(visit, pulling);
        self.answer(visit, Ok(reply), now)
    }

    /// What a pull has learnt is remembered, and told to the location once the answer has left.
    fn remember_pull(&mut self, visit: &Visit, pulling: &Pulling) {
        let Pulling { pull, before, .. } = pulling;
        let after = pull.known();
        self.memory.remember(visit.target().scope(), after.clone(), pull.checked_at());
        if after != before && pull.source() != Source::Edge {
            let is_news = |head: &_| before.head.as_ref() != Some(head);
            let head = after.head.clone().filter(is_news);
            let overlay = after.overlay.clone();
            let overlay = overlay.filter(|overlay| before.overlay.as_ref() != Some(overlay));
            self.errands.push(visit.errand(Errand::TellLocation { head, overlay }));
        }
    }
}

/// One JSON page; 304 to whoever has it.
fn page(visit: &Visit, pull: &Pull, answer: &PullAnswer, now: Millis) -> Reply {
    let space = &visit.target().hash;
    let tag = pull.tag(answer, space, false);
    let is_held = holds_tag(&visit.request.if_none_match, &tag);
    let headers = Headers::Pull(headers(pull, answer, tag, now));
    if is_held {
        return Reply::empty(304, headers);
    }
    Reply { status: 200, headers, body: Body::Text(answer::json_page(answer, space)) }
}

pub(super) fn headers(pull: &Pull, answer: &PullAnswer, tag: String, now: Millis) -> PullHeaders {
    let position = answer.position().clone();
    let budget = budget(pull.objects_left(), now);
    PullHeaders { tag, position, source: pull.source(), age_ms: pull.age_ms(now), budget }
}

/// What `Headwater-Budget` says, if the day's requests of objects run low.
pub(super) fn budget(left: Left, now: Millis) -> Option<String> {
    let ends_s = now.next_day().since(now).div_ceil(1_000);
    (left > Left::Enough).then(|| format!("object-requests={}, ends={ends_s}", left.as_str()))
}

/// Where a space's entries stand in the location's cache: under our own host, on a path that answers 404 from outside.
pub(super) fn cache_base(visit: &Visit) -> String {
    let target = visit.target();
    let name = match &target.id {
        Some(id) if planted!(CacheKeyedByParameter) => id.as_str(),
        None if planted!(CacheKeyedByParameter) => "~",
        _ => target.scope.as_ref().map_or("", Scope::as_str),
    };
    format!("{}/.headwater/{name}", visit.request.host)
}

/// Where it stands there what was written last in a space. Under its object's name: whoever writes in a shared space need not know
/// its incarnation.
pub(super) fn cached_writes(visit: &Visit) -> String {
    format!("{}/.headwater/{}/written", visit.request.host, visit.target().hash.as_str())
}
