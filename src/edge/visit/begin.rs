//! The beginning of a request: what it is for, who is calling, and which space it is about.

use serde_json::json;

use super::{Effect, Request, State, Visit, live, pull::Pulling};
#[cfg(feature = "dexie")]
use crate::fronts::dexie::route::{DexieCall, DexieRoute};
use crate::{
    access::{
        cors::{self, Credentials},
        target::Target,
        token::Bearer,
    },
    call::{Call, Usage},
    edge::{identity::Identity, isolate::Isolate},
    error::ApiError,
    fronts::headwater::{
        body::{Coding, is_json},
        reply::{Headers, Reply},
        route::{Route, may_name_space},
    },
    limits,
    time::Millis,
};

#[cfg(feature = "dexie")]
const NOT_HERE: ApiError = ApiError::NotFound("This server does not have that.");

impl Visit {
    /// One of which nothing is known yet, and which has used nothing.
    pub(super) fn of(request: Request, origin: Option<String>) -> Self {
        Self {
            request,
            route: None,
            target: None,
            grant: String::new(),
            origin,
            usage: Usage::default(),
            told: Usage::default(),
            rejected: None,
            #[cfg(feature = "dexie")]
            sync: None,
            writer: None,
            state: State::Over,
        }
    }
}

impl Isolate {
    /// A request begins; `header` gives those of its headers that only some requests need. Memory answers most of them at
    /// once.
    pub fn begin(&mut self, request: Request, header: &dyn Fn(&str) -> String) -> (Visit, Effect) {
        let origin = self.allowed_origin(&request.origin, &request.host);
        let now = request.now;
        let route = Route::of(&request.method, &request.path);
        let usage = Usage { worker: 1, ..Usage::default() };
        let mut visit = Visit { usage, ..Visit::of(request, origin) };
        let begun = route.and_then(|route| self.begin_route(&mut visit, route, header, now));
        let effect = begun.unwrap_or_else(|error| self.answer(&visit, Err(error), now));
        (visit, effect)
    }

    fn begin_route(
        &mut self,
        visit: &mut Visit,
        route: Route,
        header: &dyn Fn(&str) -> String,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match &route {
            Route::Health => {
                let mut body = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") });
                if self.object_requests.has_budget() {
                    let (requests, writes) =
                        (self.object_requests.left(now), self.object_requests.kv_writes_left(now));
                    body["budget"] =
                        json!({ "objectRequests": requests.as_str(), "kvWrites": writes.as_str() });
                }
                let body = body.to_string();
                visit.route = Some(route);
                return Ok(self.answer(visit, Ok(Reply::json(200, body)), now));
            }
            Route::Preflight => {
                let asked = header("access-control-request-headers");
                let listed = self.config.allowed_headers.as_deref();
                let preflight = match visit.credentials() {
                    Credentials::Omitted => cors::preflight(visit.origin(), &asked, listed),
                    Credentials::Included => cors::preflight_with_credentials(visit.origin()),
                };
                visit.route = Some(route);
                return Ok(self.answer(visit, Ok(Reply::empty(204, Headers::Named(preflight))), now));
            }
            Route::Live => live::prepare(visit, header)?,
            #[cfg(feature = "dexie")]
            Route::Dexie(dexie) => {
                let call = dexie.call;
                visit.route = Some(route);
                return self.begin_dexie(visit, call, header, now);
            }
            route if route.reads_published() && may_name_space(&visit.request.query) => {
                visit.grant = header("headwater-grant");
            }
            _ => {}
        }
        visit.route = Some(route);
        let identity = self.identify_token(&visit.request.authorization, visit.request.now)?;
        self.identified(visit, identity, now)
    }

    #[cfg(feature = "dexie")]
    fn begin_dexie(
        &mut self,
        visit: &mut Visit,
        call: DexieCall,
        header: &dyn Fn(&str) -> String,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match call {
            DexieCall::Sync => self.begin_sync(visit, &header("content-length"), now),
            DexieCall::Changes => self.begin_changes(visit, header, now),
            DexieCall::Token => self.read_token_request(visit),
            DexieCall::PutBlob(_) | DexieCall::GetBlob(_) if self.has_blobs => {
                self.begin_with_body(visit, &header("content-length"), now)
            }
            DexieCall::PutBlob(_) | DexieCall::GetBlob(_) | DexieCall::Missing => Err(NOT_HERE),
        }
    }

    /// It is known who is calling, or the platform has to be asked first.
    pub(super) fn identified(
        &mut self,
        visit: &mut Visit,
        identity: Identity,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match identity {
            Identity::Known(caller) => self.begin_as(visit, caller, now),
            Identity::Asked(asked, effect) => {
                visit.state = State::Identifying(asked);
                Ok(Effect::Token(effect))
            }
        }
    }

    /// What memory can answer is answered before the rate limiter is asked: a refusal costs the same Worker request.
    pub(super) fn begin_as(
        &mut self,
        visit: &mut Visit,
        caller: Bearer,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let named = visit.route().space_named(&visit.request.query)?;
        let mut target = Target::of(caller, named.as_deref())?;
        if visit.route().reads_published() {
            self.open(&mut target, &visit.grant, now)?;
        }
        let user = target.caller.user.clone();
        visit.target = Some(target);
        let mut pulling = None;
        if let Route::Pull { in_body: false } = visit.route() {
            let mut begun = self.begin_get(visit, now)?;
            if let Some(reply) = begun.answer_at_once(visit, now) {
                return Ok(self.answer(visit, Ok(reply), now));
            }
            pulling = Some(Box::new(begun));
        }
        if self.has_limiter {
            visit.state = State::Limiting(pulling);
            return Ok(Effect::AskLimiter(user));
        }
        self.serve(visit, pulling, now)
    }

    pub(super) fn limited(
        &mut self,
        visit: &mut Visit,
        pulling: Option<Box<Pulling>>,
        may_pass: Option<bool>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        // One that fails lets everybody pass: it protects a bill, not the data.
        if may_pass.unwrap_or(true) {
            return self.serve(visit, pulling, now);
        }
        // It does not say when; the shorter of the two periods that it can have.
        visit.state = State::Draining(ApiError::RateLimited { retry_after_s: 10, of_space: false });
        Ok(Effect::Drain)
    }

    fn serve(
        &mut self,
        visit: &mut Visit,
        pulling: Option<Box<Pulling>>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match visit.route() {
            Route::Push => self.push(visit, Call::Push, now),
            Route::Conflict { resolves: true } => self.push(visit, Call::Resolve, now),
            Route::Conflict { resolves: false } => self.conflicts(visit, now),
            Route::Pull { in_body } => match pulling {
                Some(pulling) => self.pull_on(visit, pulling, now),
                None => {
                    assert!(*in_body, "BUG: a pull did not begin");
                    let content_type = &visit.request.content_type;
                    if !content_type.is_empty() && !is_json(content_type) {
                        return Err(ApiError::UnsupportedMediaType);
                    }
                    read_body(visit, limits::ORDER_BYTES_MAX)
                }
            },
            Route::Pulls => {
                if !is_json(&visit.request.content_type) {
                    return Err(ApiError::UnsupportedMediaType);
                }
                read_body(visit, limits::ORDER_BYTES_MAX)
            }
            Route::Live => self.listen(visit, now),
            Route::Head | Route::Object(_) => self.read_published(visit, now),
            Route::Spaces => self.list_spaces(visit, now),
            Route::Space { route, .. } if route.has_body() => {
                if !is_json(&visit.request.content_type) {
                    return Err(ApiError::UnsupportedMediaType);
                }
                read_body(visit, limits::ORDER_BYTES_MAX)
            }
            Route::Space { .. } => self.administer(visit, &[], now),
            Route::Accept(code) => {
                let code = code.clone();
                self.accept(visit, &code, now)
            }
            #[cfg(feature = "dexie")]
            Route::Dexie(route) => self.serve_dexie(visit, route.call, now),
            Route::Health | Route::Preflight => panic!("BUG: nobody has to call for this route"),
        }
    }

    pub(super) fn received(
        &mut self,
        visit: &mut Visit,
        body: Result<Vec<u8>, ApiError>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        #[cfg(feature = "dexie")]
        if visit.sync.is_some() {
            let body = self.check_again(visit, now).and(body);
            if body.is_err() {
                self.gives_room_back(visit);
            }
            return self.sync_received(visit, body?, now);
        }
        let is_pull = matches!(visit.route(), Route::Pull { .. });
        let body = body.map_err(|error| match error {
            ApiError::TooLarge(_) if !is_pull => ApiError::TooLarge("A body has at most 16 KiB here."),
            error => error,
        })?;
        #[cfg(feature = "dexie")]
        if let Route::Dexie(DexieRoute { call: DexieCall::Token, .. }) = visit.route() {
            return self.token_requested(visit, &body, now);
        }
        self.check_again(visit, now)?;
        if is_pull {
            let pulling = self.begin_post(visit, &body, now)?;
            return self.pull_on(visit, Box::new(pulling), now);
        }
        if *visit.route() == Route::Pulls {
            return self.begin_pulls(visit, &body, now);
        }
        self.administer(visit, &body, now)
    }

    /// Opens a space that is to be read. Every role reads, so that a grant is all that it takes; one's own takes none.
    pub(super) fn open(&mut self, target: &mut Target, grant: &str, now: Millis) -> Result<(), ApiError> {
        if target.id.is_none() {
            return Ok(());
        }
        let opened = target.open(&mut self.granter, grant, now);
        self.log_missing_key(opened)
    }

    /// Whether what let a request in still does. To be asked once its body has come, which may have taken two minutes: nobody
    /// may keep a grant or a token beyond its end by a body that is slow.
    fn check_again(&mut self, Visit { target, grant, .. }: &mut Visit, now: Millis) -> Result<(), ApiError> {
        let target = target.as_mut().expect("BUG: nobody knows who is calling");
        if now >= target.caller.expires {
            return Err(ApiError::TokenExpired);
        }
        if target.scope.is_some() { self.open(target, grant, now) } else { Ok(()) }
    }
}

pub(super) fn read_body(visit: &mut Visit, limit: usize) -> Result<Effect, ApiError> {
    let (user, coding) = (visit.target().caller.user.clone(), Coding::of(&visit.request.content_encoding)?);
    visit.state = State::Receiving;
    Ok(Effect::ReadBody { user, coding, limit })
}

/// Scheme and host, path and query of a URL. Cut here, because the platform's URL type brings 80 KB of tables for names in other
/// scripts along.
#[must_use]
pub fn parts_of_url(url: &str) -> (&str, &str, &str) {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[host_at..].find(['/', '?', '#']).map_or(url.len(), |at| host_at + at);
    let (host, rest) = url.split_at(path_at);
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    (host, path, query)
}
