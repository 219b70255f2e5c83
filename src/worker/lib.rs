//! The shell: carries the core onto Cloudflare Workers. No sync rule lives here.
//!
//! [`fetch`] is where every request begins: `http` reads it, `isolate` verifies who is calling, and the route's function
//! does what the core says. `object` is the other place that runs: one per space.

mod caller;
mod coordinator;
mod http;
mod isolate;
mod location;
mod log;
mod object;
mod pull;
mod spaces;
mod sql;

use headwater::{
    call::Call,
    edge::{
        answer::Usage,
        authorize::{Caller, Step},
        body::{Coding, is_json},
        config::LogLevel,
        route::Route,
        space::Meant,
    },
    ids::{SpaceHash, SpaceId},
    protocol::{conflict, error::ApiError, pull::query_pairs},
    snapshot::keys::Scope,
};
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use worker::{Context, Env, worker_sys};

use crate::{
    http::{Body, Headers, Incoming, Reply},
    pull::Asked,
};

/// The space that a request is for, and who is calling.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) caller: Caller,
    pub(crate) hash: SpaceHash,
    /// The id of a shared space.
    pub(crate) id: Option<SpaceId>,
    /// Under what its keys stand, if the caller may read them.
    scope: Option<Scope>,
    /// The id of the request.
    pub(crate) request: String,
    /// The origin whose pages may read the answer, or empty.
    pub(crate) origin: String,
}

impl Space {
    /// Under what the keys stand of a space that is read.
    pub(crate) fn scope(&self) -> &Scope {
        self.scope.as_ref().expect("BUG: a space is read that was not opened")
    }
}

/// Where every request begins. What memory can answer is answered at once: a promise, and the turn of the event loop that
/// resolves it, would be a fifth of what a poll costs. `worker`'s own macro would always make one.
///
/// # Errors
/// When the platform refuses to make a response.
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: Env, context: worker_sys::Context) -> Result<JsValue, JsValue> {
    let incoming = Incoming::read(&request);
    let route = Route::of(&incoming.method, &incoming.path);
    let begun = route.and_then(|route| begin(&incoming, route, &request, &env));
    match begun {
        Ok(Begun::Answered(reply)) => send(&incoming, &env, Ok(reply)),
        Err(error) => send(&incoming, &env, Err((error, Usage::default()))),
        Ok(waiting) => {
            let id = incoming.id.clone();
            let origin = isolate::allowed_origin(&env, incoming.origin());
            let served = future_to_promise(async move {
                let served = finish(&incoming, waiting, &request, &env, context).await;
                send(&incoming, &env, served)
            });
            Ok(http::or_repeat(&served, &id, origin.as_deref()).into())
        }
    }
}

type Served = Result<Reply, (ApiError, Usage)>;

/// A request whose answer is there, or has to be waited for.
enum Begun {
    Answered(Reply),
    /// Who is calling is not known yet.
    Unverified(Route, Step),
    Waiting(Job),
}

/// What remains of a request once it is known whose it is.
struct Job {
    route: Route,
    space: Space,
    pull: Option<Box<pull::Begun>>,
}

fn begin(
    incoming: &Incoming,
    route: Route,
    request: &web_sys::Request,
    env: &Env,
) -> Result<Begun, ApiError> {
    match route {
        Route::Health => {
            let body = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }).to_string();
            return Ok(Begun::Answered(Reply::json(200, body)));
        }
        Route::Preflight => {
            let origin = isolate::allowed_origin(env, incoming.origin());
            let headers = isolate::preflight(env, origin.as_deref(), &http::asked_headers(request));
            let headers = Headers::Named(headers);
            let reply = Reply { status: 204, headers, body: Body::Empty, usage: Usage::default() };
            return Ok(Begun::Answered(reply));
        }
        _ => {}
    }
    match isolate::decide(env, &incoming.authorization, incoming.now)? {
        Step::Caller(caller) => begin_as(caller, incoming, route, request, env),
        step => Ok(Begun::Unverified(route, step)),
    }
}

/// What memory can answer is answered; the rest is a job.
fn begin_as(
    caller: Caller,
    incoming: &Incoming,
    route: Route,
    request: &web_sys::Request,
    env: &Env,
) -> Result<Begun, ApiError> {
    let space = space_of(caller, incoming, &route, request, env)?;
    let mut pull = None;
    if matches!(route, Route::Pull { in_body: false }) {
        let mut begun = pull::begin_get(incoming, env, &space)?;
        if let Some(reply) = pull::answer_at_once(incoming, &space, &mut begun) {
            return Ok(Begun::Answered(reply));
        }
        pull = Some(Box::new(begun));
    }
    Ok(Begun::Waiting(Job { route, space, pull }))
}

async fn finish(
    incoming: &Incoming,
    begun: Begun,
    request: &web_sys::Request,
    env: &Env,
    context: worker_sys::Context,
) -> Served {
    let free = |error| (error, Usage::default());
    let begun = match begun {
        Begun::Unverified(route, step) => {
            let caller = caller::find(incoming, step, env, context.as_ref()).await.map_err(free)?;
            begin_as(caller, incoming, route, request, env).map_err(free)?
        }
        begun => begun,
    };
    match begun {
        Begun::Answered(reply) => Ok(reply),
        Begun::Waiting(job) => serve(incoming, job, request, env, &Context::new(context)).await,
        Begun::Unverified(..) => Err(free(ApiError::Internal)),
    }
}

async fn serve(
    incoming: &Incoming,
    job: Job,
    request: &web_sys::Request,
    env: &Env,
    context: &Context,
) -> Served {
    let free = |error| (error, Usage::default());
    let Job { route, space, pull } = job;
    // Not asked before memory was: a refusal costs the same Worker request as an answer from there.
    if let Err(error) = isolate::check_limiter(env, &space.caller.user).await {
        http::drain(request).await;
        return Err(free(error));
    }
    let asked = Asked { incoming, env, context, space: &space };
    match route {
        Route::Push => push(&asked, Call::Push, request).await,
        Route::Pull { .. } => {
            let begun = match pull {
                Some(begun) => *begun,
                None => pull::begin_post(&asked, request).await.map_err(free)?,
            };
            pull::finish(&asked, begun).await
        }
        Route::Conflict { resolves: true } => push(&asked, Call::Resolve, request).await,
        Route::Conflict { resolves: false } => {
            let mut usage = Usage::default();
            let listed = conflicts(&asked, &mut usage).await;
            listed.map(|body| Reply { usage, ..Reply::json(200, body) }).map_err(|error| (error, usage))
        }
        Route::Head => head(&asked).await.map_err(free),
        Route::Object(hash) => object(&asked, &hash).await.map_err(free),
        Route::Spaces => spaces::list(&asked).await,
        Route::Space { route, .. } => spaces::administer(&asked, route, request).await,
        Route::Health | Route::Preflight => Err(free(ApiError::NotFound("There is no such route."))),
    }
}

fn send(incoming: &Incoming, env: &Env, served: Served) -> Result<JsValue, JsValue> {
    let reply = served
        .unwrap_or_else(|(error, usage)| http::problem(&error, &incoming.id, &incoming.authorization, usage));
    if log::is_on(LogLevel::Debug) || reply.status >= 500 {
        log_request(incoming, &reply);
    }
    let origin = isolate::allowed_origin(env, incoming.origin());
    http::response(&incoming.id, origin.as_deref(), reply).map(JsValue::from)
}

/// Who is calling, and for which space. A grant is looked for only where it is needed: a header costs.
fn space_of(
    caller: Caller,
    incoming: &Incoming,
    route: &Route,
    request: &web_sys::Request,
    env: &Env,
) -> Result<Space, ApiError> {
    let mut meant = Meant::of(&caller, route, &incoming.query)?;
    if meant.needs_grant(route) {
        isolate::open_grant(env, &mut meant, &http::grant(request), &caller.user, incoming.now)?;
    }
    let origin = isolate::allowed_origin(env, incoming.origin()).unwrap_or_default();
    let Meant { hash, id, scope } = meant;
    Ok(Space { caller, hash, id, scope, request: incoming.id.clone(), origin })
}

/// Whether what let a request in still does. To be asked once its body has come, which may have taken two minutes: nobody
/// may keep a grant or a token beyond its end by a body that is slow.
pub(crate) fn check_again(asked: &Asked<'_>, request: &web_sys::Request) -> Result<(), ApiError> {
    let (space, now) = (asked.space, location::now());
    if now >= space.caller.expires {
        return Err(ApiError::TokenExpired);
    }
    if space.id.is_none() || space.scope.is_none() {
        return Ok(());
    }
    let mut meant = Meant { hash: space.hash.clone(), id: space.id.clone(), scope: None };
    isolate::open_grant(asked.env, &mut meant, &http::grant(request), &space.caller.user, now)
}

/// `GET /sync/conflict`: only the coordinator knows what is parked.
async fn conflicts(asked: &Asked<'_>, usage: &mut Usage) -> Result<String, ApiError> {
    let query = query_pairs(&asked.incoming.query)?;
    let cursor = query.iter().find(|(name, value)| name == "cursor" && !value.is_empty());
    let after = cursor.map(|(_, cursor)| conflict::parse_cursor(cursor)).transpose()?.unwrap_or_default();
    Ok(coordinator::call(asked.env, asked.space, &Call::Conflicts { after }, usage).await?.body)
}

/// `POST /sync/push` and `/sync/conflict`: the type is looked at, the body is passed on unread.
async fn push(asked: &Asked<'_>, call: Call, request: &web_sys::Request) -> Served {
    let coding = match is_json(&asked.incoming.content_type) {
        true => Coding::of(&asked.incoming.content_encoding),
        false => Err(ApiError::UnsupportedMediaType),
    };
    let coding = coding.map_err(|error| (error, Usage::default()))?;
    let passed = coordinator::pass(asked, &call, request, coding).await;
    passed.map_err(|(error, was_asked)| (error, Usage { object: u32::from(was_asked), ..Usage::default() }))
}

/// `GET /sync/head`: the first line of the published head.
async fn head(asked: &Asked<'_>) -> Result<Reply, ApiError> {
    let (head, kv) = pull::head(asked).await?;
    let body = head.as_ref().and_then(|head| head.body.as_ref());
    let body = body.ok_or(ApiError::NotFound("Nothing has been published yet."))?;
    let line = body.value.split('\n').next().unwrap_or_default();
    let age_s = asked.incoming.now.since(body.head.published_at) / 1000;
    let mut reply = Reply::json(200, line.to_owned());
    reply.headers = Headers::Named(format!("Content-Type\napplication/json\nHeadwater-Age\n{age_s}\n"));
    reply.usage.kv = kv;
    Ok(reply)
}

/// `GET /sync/objects/{sha256}`: only what a head names is looked for, because KV caches misses.
async fn object(asked: &Asked<'_>, hash: &headwater::ids::ContentHash) -> Result<Reply, ApiError> {
    let gone = ApiError::NotFound("No head names this object, or it is gone: read the head again, or pull.");
    let (head, kv) = pull::head(asked).await?;
    let named = head
        .as_ref()
        .and_then(|head| head.body.as_ref())
        .is_some_and(|body| body.head.parts().any(|part| part.sha256.0 == *hash));
    if !named {
        return Err(gone);
    }
    let stream = location::object_in_kv(asked.env, asked.space.scope(), hash).await;
    let stream = stream.map_err(|()| ApiError::Upstream)?.ok_or(gone)?;
    let headers = format!("Content-Type\n{}\n", headwater::protocol::NDJSON);
    let usage = Usage { kv: kv + 1, ..Usage::default() };
    let body = if asked.incoming.is_head() {
        location::drop_stream(&stream);
        Body::Empty
    } else {
        Body::Stream(stream)
    };
    Ok(Reply { status: 200, headers: Headers::Named(headers), body, usage })
}

fn log_request(incoming: &Incoming, reply: &Reply) {
    let route = Route::of(&incoming.method, &incoming.path);
    let route = route.as_ref().map_or("none", Route::name);
    let level = if reply.status >= 500 { LogLevel::Error } else { LogLevel::Debug };
    let ms = location::now().since(incoming.now);
    let usage = reply.usage;
    let fields = json!({
        "route": route, "status": reply.status, "request": incoming.id, "ms": ms,
        "cache": usage.cache, "kv": usage.kv, "object": usage.object,
        "rowsRead": usage.rows_read, "rowsWritten": usage.rows_written,
    });
    log::write(level, "request", fields);
}
