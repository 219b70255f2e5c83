//! `POST /sync/pulls`: each of its pulls is a visit of its own, with its own space, rights and answer.

use super::{Effect, Request, State, Visit, pull::budget};
use crate::{
    access::{target::Target, token::Bearer},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::headwater::{
        answer::{BUDGET_HEADER, Format},
        pulls::{OnePull, answers, pulls_of},
        reply::Reply,
        route::Route,
    },
    limits,
    time::Millis,
};

#[cfg(test)]
mod tests;

/// One of several pulls, begun.
#[derive(Debug)]
pub struct Part {
    /// To be brought to its end like that of a request.
    pub visit: Visit,
    /// What it asks for.
    pub effect: Effect,
}

/// How one of several pulls has ended.
#[derive(Debug)]
pub struct PartDone {
    /// The visit.
    pub visit: Visit,
    /// Its answer.
    pub answer: Result<Reply, ApiError>,
}

impl Isolate {
    pub(super) fn begin_pulls(
        &mut self,
        visit: &mut Visit,
        body: &[u8],
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let parts = pulls_of(body)?.into_iter().map(|json| self.begin_part(visit, json, now)).collect();
        visit.state = State::PullingSeveral;
        Ok(Effect::Several(parts))
    }

    /// What is wrong with one of them is its own answer.
    fn begin_part(&mut self, several: &Visit, json: &str, now: Millis) -> Part {
        let Request { host, id, now: came, .. } = &several.request;
        let request = Request { host: host.clone(), id: id.clone(), now: *came, ..Request::default() };
        let route = Some(Route::Pull { in_body: true });
        let mut visit = Visit { route, ..Visit::of(request, several.origin.clone()) };
        let begun = self.begin_as_part(&mut visit, several.target().caller.clone(), json, now);
        let effect = begun.unwrap_or_else(|error| self.answer(&visit, Err(error), now));
        Part { visit, effect }
    }

    fn begin_as_part(
        &mut self,
        visit: &mut Visit,
        caller: Bearer,
        json: &str,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let pull = OnePull::read(json)?;
        let mut target = Target::of(caller, pull.space.as_deref())?;
        self.open(&mut target, &pull.grant, now)?;
        let request = pull.request(&target.hash)?;
        // The tag of an answer that brings nothing new, which has no body then.
        visit.request.if_none_match = request.position().map(|own| format!("\"{own}\"")).unwrap_or_default();
        visit.target = Some(target);
        let mut pulling = self.begin_pull(visit, request, Format::Json, now);
        // The others wait for it.
        pulling.waits_ms = limits::PULL_TIMEOUT_MS;
        self.pull_on(visit, Box::new(pulling), now)
    }

    pub(super) fn pulls_are_done(
        &mut self,
        visit: &mut Visit,
        done: Vec<PartDone>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        #[cfg(feature = "dexie")]
        if visit.sync.is_some() {
            return self.parts_are_done(visit, done, now);
        }
        let (usages, replies): (Vec<_>, Vec<_>) =
            done.into_iter().map(|part| (part.visit.usage(), part.answer)).unzip();
        for usage in usages {
            visit.usage.add(&usage);
            // Each has noted for its own space what it has used.
            visit.told.add(&usage);
        }
        let reply = Reply::json(200, answers(&replies, visit.id()));
        let reply = match budget(self.object_requests.left(now), now) {
            Some(budget) => reply.with(BUDGET_HEADER, &budget),
            None => reply,
        };
        Ok(self.answer(visit, Ok(reply), now))
    }
}
