//! What an isolate keeps between requests: the configuration, verified tokens, known spaces. Losing it costs time, nothing
//! else. Nothing of it is ever borrowed across an await.

use std::cell::RefCell;

use headwater::{
    access::role::Role,
    call::Membership,
    edge::{
        authorize::{Caller, Claimed, Refused, Step, Verifier},
        config::{Config, LogLevel},
        cors::{self, RefusedOrigins},
        directory::{self, Delivered, Delivery},
        grant::Granter,
        refusals::Refusals,
        space::Meant,
        state::{Known, Memory},
        writes::Writes,
    },
    ids::{SpaceHash, SpaceId, UserHash},
    protocol::error::ApiError,
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};
use serde_json::json;
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::{http, log};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(js_name = breakOff)]
    fn break_off();
    #[wasm_bindgen(js_name = mayPass)]
    async fn may_pass(env: &JsValue, key: &str) -> JsValue;
    #[wasm_bindgen(js_name = setting)]
    fn setting(env: &JsValue, name: &str) -> Option<String>;
    #[wasm_bindgen(js_name = settings)]
    fn settings(env: &JsValue) -> String;
}

struct Isolate {
    config: Config,
    verifier: Verifier,
    granter: Granter,
    memory: Memory,
    writes: Writes,
    refusals: Refusals,
    directories: directory::Known,
    refused_origins: RefusedOrigins,
    /// Whether the platform's rate limiter is bound.
    has_limiter: bool,
}

thread_local! {
    static ISOLATE: RefCell<Option<Isolate>> = const { RefCell::new(None) };
}

/// The environment of an isolate never changes: a new configuration is a new deployment with isolates of its own.
fn with<T>(env: &Env, use_it: impl FnOnce(&mut Isolate) -> T) -> T {
    ISOLATE.with_borrow_mut(|isolate| {
        use_it(isolate.get_or_insert_with(|| {
            let config = Config::read(|name| setting(env, name));
            log::configure(&config);
            http::configure_bodies();
            end_what_waits();
            let mut verifier = Verifier::new(&config);
            log_problems(&config.problems);
            log_problems(&verifier.take_problems());
            let names = settings(env);
            let unknown = Config::unknown(names.lines());
            if !unknown.is_empty() {
                log::write(LogLevel::Info, "settings that nothing reads", json!({ "names": unknown }));
            }
            let granter = Granter::new(&config);
            let has_limiter =
                js_sys::Reflect::get(env, &"RATE_LIMITER".into()).is_ok_and(|it| it.is_object());
            let (memory, writes, refusals) = (Memory::default(), Writes::default(), Refusals::default());
            let (directories, refused_origins) = (directory::Known::default(), RefusedOrigins::default());
            Isolate {
                verifier,
                granter,
                config,
                memory,
                writes,
                refusals,
                directories,
                refused_origins,
                has_limiter,
            }
        }))
    })
}

/// A panic ends the instance of the module, but the promises that wait in it would wait for ever: it has to end them too. So
/// has an instance that begins, because what is no panic (a stack that overflows) ends the one before without a word.
fn end_what_waits() {
    break_off();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        break_off();
    }));
}

/// Each is told once per isolate.
fn log_problems(problems: &[String]) {
    for problem in problems {
        log::why(LogLevel::Error, "a setting is not right", problem);
    }
}

pub(crate) fn config(env: &Env) -> Config {
    with(env, |isolate| isolate.config.clone())
}

/// The origin of a request, if its pages may read answers.
pub(crate) fn allowed_origin(env: &Env, origin: Option<&str>) -> Option<String> {
    let origin = origin?;
    with(env, |isolate| {
        let allowed = cors::is_allowed(origin, &isolate.config.allowed_origins);
        if !allowed && isolate.refused_origins.is_news(origin) {
            log::write(LogLevel::Info, "an origin is not in ALLOWED_ORIGINS", json!({ "origin": origin }));
        }
        allowed.then(|| origin.to_owned())
    })
}

/// Headers of the answer to a preflight.
pub(crate) fn preflight(env: &Env, origin: Option<&str>, asked: &str) -> String {
    with(env, |isolate| cors::preflight(origin, asked, isolate.config.allowed_headers.as_deref()))
}

pub(crate) fn publishes_eagerly(env: &Env) -> bool {
    with(env, |isolate| isolate.config.publishes_eagerly())
}

/// What the token of a request comes to.
pub(crate) fn decide(env: &Env, authorization: &str, now: Millis) -> Result<Step, ApiError> {
    with(env, |isolate| {
        let decided = isolate.verifier.decide(authorization, now);
        if let Some(counts) = isolate.verifier.take_refusals(now) {
            let fields = json!({ "counts": counts, "see": "docs/TOKENS.md" });
            log::write(LogLevel::Info, "tokens refused", fields);
        }
        decided.map_err(|refused| log_refusal(&refused))
    })
}

/// Takes whether a signature is good; none where the platform does not know the key for one.
pub(crate) fn learn_signature(
    env: &Env,
    claimed: Claimed,
    is_good: Option<bool>,
    now: Millis,
) -> Result<Caller, ApiError> {
    with(env, |isolate| {
        if is_good.is_none() {
            isolate.verifier.learn_bad_key(&claimed);
            log_problems(&isolate.verifier.take_problems());
        }
        let learnt = isolate.verifier.learn_signature(claimed, is_good == Some(true), now);
        learnt.map_err(|refused| log_refusal(&refused))
    })
}

pub(crate) fn jwks_url(env: &Env) -> String {
    with(env, |isolate| isolate.config.jwks_url.clone().unwrap_or_default())
}

pub(crate) fn learn_keys(env: &Env, document: Option<&str>, now: Millis) {
    let is_learnt = with(env, |isolate| {
        let is_learnt = isolate.verifier.learn_keys(document, now);
        log_problems(&isolate.verifier.take_problems());
        is_learnt
    });
    if !is_learnt {
        let why =
            if document.is_some() { "the answer is not a JWKS document" } else { "there is no good answer" };
        log::why(LogLevel::Error, "the issuer's keys could not be fetched", why);
    }
}

/// Opens a shared space to the bearer of a grant.
pub(crate) fn open_grant(
    env: &Env,
    meant: &mut Meant,
    grant: &str,
    user: &UserHash,
    now: Millis,
) -> Result<(), ApiError> {
    with(env, |isolate| meant.open(&mut isolate.granter, grant, user, now)).inspect_err(log_missing_key)
}

/// A grant, and when it ends.
pub(crate) fn sign_grant(
    env: &Env,
    user: &UserHash,
    scope: &Scope,
    role: Role,
    now: Millis,
) -> Result<(String, Millis), ApiError> {
    with(env, |isolate| isolate.granter.sign(user, scope, role, now)).inspect_err(log_missing_key)
}

fn log_missing_key(error: &ApiError) {
    if *error == ApiError::Internal {
        log::why(
            LogLevel::Error,
            "no grant can be signed or verified",
            "set GRANT_SECRET (at least 32 bytes)",
        );
    }
}

fn log_refusal(refused: &Refused) -> ApiError {
    match refused.error {
        ApiError::Internal => log::why(LogLevel::Error, "no token can be verified", refused.why),
        _ => log::why(LogLevel::Debug, "token refused", refused.why),
    }
    refused.error.clone()
}

/// Asks the platform's rate limiter, if one is bound. It counts per user and location, in all spaces together.
pub(crate) async fn check_limiter(env: &Env, user: &UserHash) -> Result<(), ApiError> {
    if with(env, |isolate| isolate.has_limiter) && !may_pass(env, user.as_str()).await.is_truthy() {
        // It does not say when; the shorter of the two periods that it can have.
        return Err(ApiError::RateLimited { retry_after_s: 10 });
    }
    Ok(())
}

/// Whether the object of `space` may be asked for `user`, whom it may have told to come back later.
pub(crate) fn check_refusals(
    env: &Env,
    user: &UserHash,
    space: &SpaceHash,
    now: Millis,
) -> Result<(), ApiError> {
    with(env, |isolate| isolate.refusals.check(user, space, now))
}

pub(crate) fn note_refusal(env: &Env, user: &UserHash, space: &SpaceHash, retry_after_s: u32, now: Millis) {
    with(env, |isolate| isolate.refusals.note(user, space, retry_after_s, now));
}

/// For how long to hold back the refusal of a user who asks before the time, in ms.
pub(crate) fn hold_ms(env: &Env, user: &UserHash, now: Millis) -> u64 {
    with(env, |isolate| isolate.refusals.hold_ms(user, now))
}

/// Notes where a space stands after a write that has passed; returns when the location has to be told, if it has.
pub(crate) fn note_written(env: &Env, space: &SpaceHash, position: Position, now: Millis) -> Option<u64> {
    with(env, |isolate| isolate.writes.note(space, position, now))
}

/// Notes what the location was told by another isolate.
pub(crate) fn learn_written(env: &Env, space: &SpaceHash, position: Position, now: Millis) {
    with(env, |isolate| isolate.writes.learn(space, position, now));
}

/// Where a space stood after the last write that is known of.
pub(crate) fn last_written(env: &Env, space: &SpaceHash, now: Millis) -> Option<Position> {
    with(env, |isolate| isolate.writes.last(space, now))
}

/// What has to be done about what a space has said of a user, if anything.
pub(crate) fn deliver(
    env: &Env,
    user: &UserHash,
    space: &SpaceId,
    membership: Membership,
    now: Millis,
) -> Option<Delivery> {
    with(env, |isolate| isolate.directories.deliver(user, space, membership, now))
}

/// Notes what stands in a user's directory.
pub(crate) fn learn_delivered(env: &Env, delivered: Delivered, now: Millis) {
    with(env, |isolate| isolate.directories.learn(delivered, now));
}

pub(crate) fn recall(env: &Env, scope: &Scope) -> (Known, Millis) {
    with(env, |isolate| isolate.memory.recall(scope))
}

pub(crate) fn remember(env: &Env, scope: &Scope, known: Known, checked_at: Millis) {
    with(env, |isolate| isolate.memory.remember(scope, known, checked_at));
}
