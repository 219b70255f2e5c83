//! The routes that show what is published as it is: the head, and the objects that it names.

use super::{Effect, State, Visit};
use crate::{
    edge::{
        isolate::Isolate,
        known::{KnownHead, Wanted},
        pull::{HEAD_TTL_S, MEMORY_MS, OBJECT_TTLS_S},
    },
    error::ApiError,
    fronts::headwater::{
        NDJSON,
        reply::{Body, Headers, Reply},
        route::Route,
    },
    ids::ContentHash,
    time::Millis,
};

/// What a head is read for.
#[derive(Debug)]
pub(super) enum ForHead {
    /// Its first line.
    Line,
    /// An object that it may name: KV caches misses, so nothing else is looked for.
    Object(ContentHash),
}

impl Isolate {
    /// `GET /sync/head` and `GET /sync/objects/{sha256}`.
    pub(super) fn read_published(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let why = match visit.route() {
            Route::Object(hash) => ForHead::Object(hash.clone()),
            _ => ForHead::Line,
        };
        let (known, checked_at) = self.memory.recall(visit.target().scope());
        if now.since(checked_at) <= MEMORY_MS
            && let Some(head) = known.head.filter(|head| head.body.is_some())
        {
            return self.head_is_known(visit, why, Some(&head), now);
        }
        visit.usage.kv += 1;
        visit.state = State::ReadingHead(why);
        let scope = visit.target().scope().clone();
        Ok(Effect::ReadHead { scope, wanted: Wanted::Always, ttl_s: HEAD_TTL_S })
    }

    pub(super) fn head_is_known(
        &mut self,
        visit: &mut Visit,
        why: ForHead,
        head: Option<&KnownHead>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let body = head.and_then(|head| head.body.as_ref());
        match why {
            ForHead::Line => {
                let body = body.ok_or(ApiError::NotFound("Nothing has been published yet."))?;
                let line = body.value.split('\n').next().unwrap_or_default();
                let age_s = visit.request.now.since(body.head.published_at) / 1000;
                let reply = Reply::json(200, line.to_owned()).with("Headwater-Age", &age_s.to_string());
                Ok(self.answer(visit, Ok(reply), now))
            }
            ForHead::Object(hash) => {
                let mut parts = body.into_iter().flat_map(|body| body.head.parts());
                if !parts.any(|part| part.sha256.0 == hash) {
                    return Err(GONE);
                }
                visit.usage.kv += 1;
                visit.state = State::OpeningObject;
                let key = visit.target().scope().object_key(&hash);
                Ok(Effect::OpenObject { key, ttls_s: OBJECT_TTLS_S })
            }
        }
    }

    pub(super) fn object_opened(
        &mut self,
        visit: &Visit,
        opened: Result<bool, ()>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        if !opened.map_err(|()| ApiError::Upstream)? {
            return Err(GONE);
        }
        let body = if visit.is_head() { Body::Empty } else { Body::Stream };
        let headers = Headers::Named(format!("Content-Type\n{NDJSON}\n"));
        Ok(self.answer(visit, Ok(Reply { status: 200, headers, body }), now))
    }
}

const GONE: ApiError =
    ApiError::NotFound("No head names this object, or it is gone: read the head again, or pull.");
