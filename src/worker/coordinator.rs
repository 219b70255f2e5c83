//! Calls from the Worker to a space's object.

use headwater::{
    call::{self, Administration, Aside, Call, DirectoryCall, Noted, Target},
    edge::{answer::Usage, body::Coding},
    ids::SpaceHash,
    limits,
    protocol::error::ApiError,
    version::Position,
};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, Response};
use worker::Env;

use crate::{
    Space,
    http::{self, Body, Headers, Reply},
    isolate,
    location::{self, now},
    pull::Asked,
};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(js_name = callObject)]
    fn call_object(
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
        source: &JsValue,
        user: &str,
        is_gzip: bool,
        limit: usize,
        expires: f64,
    ) -> Promise;
    #[wasm_bindgen(js_name = positionOf)]
    fn position_of(response: &Response) -> String;
    #[wasm_bindgen(js_name = withoutAside)]
    fn without_aside(response: &Response) -> JsValue;
    #[wasm_bindgen(js_name = retryAfter)]
    fn retry_after(response: &Response) -> u32;
    #[wasm_bindgen(js_name = isOverloaded)]
    fn is_overloaded(error: &JsValue) -> bool;
}

/// An answer that the Worker reads.
pub(crate) struct Called {
    pub(crate) body: String,
    /// Where the space stands, if the call has changed something.
    pub(crate) position: Option<Position>,
    /// What the object has said beside that.
    pub(crate) aside: Option<Aside>,
}

/// Makes a call whose answer the Worker reads, and notes what it used.
pub(crate) async fn call(
    env: &Env,
    space: &Space,
    asked: &Call,
    usage: &mut Usage,
) -> Result<Called, ApiError> {
    keep_out(env, space).await?;
    usage.object += 1;
    let (name, caller) = (space.hash.as_str(), caller(space));
    let answer = JsFuture::from(call_object(env, name, asked.name(), &caller, &asked.body(), 0)).await;
    let answer: Array = answer.map_err(|error| unreachable(&error))?.unchecked_into();
    let status = answer.get(0).as_f64().unwrap_or(500.0) as u16;
    let text = answer.get(2).as_string().unwrap_or_default();
    if matches!(status, 200 | 204) {
        usage.add_rows(&answer.get(1).as_string().unwrap_or_default());
        let position = answer.get(3).as_string().and_then(|text| Position::parse(&text));
        Ok(Called { body: text, position, aside: aside_in(&answer) })
    } else {
        let error = ApiError::of_object(status, &text);
        if let ApiError::RateLimited { retry_after_s } = error {
            note_refusal(env, space, retry_after_s);
        }
        Err(error)
    }
}

/// Keeps a user from an object that has told that user to come back later. Who asks before the time waits, and is let through if
/// it is over by then.
async fn keep_out(env: &Env, space: &Space) -> Result<(), ApiError> {
    let (user, hash) = (&space.caller.user, &space.hash);
    if isolate::check_refusals(env, user, hash, now()).is_ok() {
        return Ok(());
    }
    location::pause(isolate::hold_ms(env, user, now()) as u32).await;
    isolate::check_refusals(env, user, hash, now())
}

fn note_refusal(env: &Env, space: &Space, retry_after_s: u32) {
    isolate::note_refusal(env, &space.caller.user, &space.hash, retry_after_s, now());
}

fn aside_in(answer: &Array) -> Option<Aside> {
    Aside::parse(&answer.get(4).as_string().unwrap_or_default())
}

/// Passes a request (or a text of our own) on once its body is there, unpacked, which does not enter the module: an object that
/// waited for a slow body would be billed for it. The object's response is complete. An error says whether the object was asked.
pub(crate) async fn pass(
    asked: &Asked<'_>,
    call: &Call,
    source: &JsValue,
    coding: Coding,
) -> Result<Reply, (ApiError, bool)> {
    let (env, space) = (asked.env, asked.space);
    let (user, unasked) = (&space.caller.user, |error| (error, false));
    // The object admits what owners do where it refuses everything else.
    if !call.is_owners()
        && let Err(error) = keep_out(env, space).await
    {
        if let Some(request) = source.dyn_ref::<Request>() {
            http::drain(request).await;
        }
        return Err(unasked(error));
    }
    let (name, caller) = (space.hash.as_str(), caller(space));
    let (limit, expires) = (limits::BODY_BYTES_MAX, space.caller.expires.0 as f64);
    let is_gzip = coding == Coding::Gzip;
    let (call_name, user) = (call.name(), user.as_str());
    let answer = pass_on(env, name, call_name, &caller, source, user, is_gzip, limit, expires);
    let answer = JsFuture::from(answer).await;
    let answer = answer.map_err(|error| (unreachable(&error), true))?;
    let response: Response = answer.dyn_into().map_err(|why| unasked(http::no_body(&why)))?;
    if response.status() == 429 {
        note_refusal(env, space, retry_after(&response));
    }
    if let Some(position) = Position::parse(&position_of(&response)) {
        note_written(asked, &space.hash, position);
    }
    let (status, headers) = (response.status(), Headers::Named(String::new()));
    Ok(Reply { status, headers, body: Body::Whole(response), usage: Usage { object: 1, ..Usage::default() } })
}

/// Notes where the space stands after a write whose answer is about to leave, and tells the location after it has left.
pub(crate) fn note_written(asked: &Asked<'_>, space: &SpaceHash, position: Position) {
    let Some(wait_ms) = isolate::note_written(asked.env, space, position, now()) else { return };
    let (env, space) = (asked.env.clone(), space.clone());
    let origin = asked.incoming.origin_of_url.clone();
    asked.context.wait_until(async move {
        if wait_ms > 0 {
            location::pause(wait_ms as u32).await;
        }
        if let Some(position) = isolate::last_written(&env, &space, now()) {
            location::tell_written(&origin, &space, position).await;
        }
    });
}

/// Calls an object after the answer to the user, who is not kept waiting and hears nothing of it: gives status, body and what
/// the object says beside that.
async fn call_later(env: &Env, space: &Space, call: &Call) -> Option<(u16, String, Option<Aside>)> {
    let (name, caller, body) = (space.hash.as_str(), caller(space), call.body());
    let answer = call_object(env, name, call.name(), &caller, &body, limits::DIRECTORY_TIMEOUT_MS);
    let answer: Array = JsFuture::from(answer).await.ok()?.unchecked_into();
    let status = answer.get(0).as_f64().unwrap_or(500.0) as u16;
    Some((status, answer.get(2).as_string().unwrap_or_default(), aside_in(&answer)))
}

/// Calls a directory after the answer to the user.
pub(crate) async fn call_directory(env: &Env, directory: &Space, call: DirectoryCall) -> Noted {
    let answer = call_later(env, directory, &Call::Directory(call)).await;
    answer.map_or(Noted::Failed, |(status, body, _)| Noted::of(status, &body))
}

/// Asks a space for a grant after the answer to the user, for the sake of what it says beside it.
pub(crate) async fn ask_again(env: &Env, space: &Space, claim: Position) -> Option<Aside> {
    let grant = Administration::Grant { claim: Some(claim) };
    call_later(env, space, &Call::Administer(grant)).await?.2
}

/// Takes what is not for the client out of an object's response.
pub(crate) fn take_aside(response: &Response) -> (Option<Aside>, Response) {
    let taken: Array = without_aside(response).unchecked_into();
    let aside = Aside::parse(&taken.get(0).as_string().unwrap_or_default());
    (aside, taken.get(1).unchecked_into())
}

fn caller(space: &Space) -> String {
    let caller = call::Caller {
        user: space.caller.user.clone(),
        target: Target::of(space.id.clone(), space.scope.clone()),
        request: space.request.clone(),
        origin: space.origin.clone(),
    };
    caller.to_text()
}

/// Retrying an overloaded object makes it worse (durable-objects/best-practices/error-handling), so the client is asked
/// to wait.
fn unreachable(error: &JsValue) -> ApiError {
    if is_overloaded(error) { ApiError::Overloaded } else { ApiError::Upstream }
}
