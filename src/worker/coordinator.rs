//! Calls from the Worker to a space's object.

use headwater::{
    coordinator::Notice,
    edge::answer::Usage,
    ids::SpaceId,
    limits,
    protocol::{act::Act, error::ApiError, internal, role::Role},
};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;
use worker::Env;

use crate::{
    Space,
    http::{Body, Headers, Reply},
};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(js_name = callObject)]
    fn call_object(
        env: &JsValue,
        name: &str,
        path: &str,
        caller: &str,
        body: &JsValue,
        wants_text: bool,
        timeout_ms: u32,
    ) -> Promise;
    #[wasm_bindgen(js_name = isOverloaded)]
    fn is_overloaded(error: &JsValue) -> bool;
}

/// Makes a call whose answer the Worker reads; gives its body and what it says of its cost.
pub(crate) async fn call(
    env: &Env,
    space: &Space,
    path: &str,
    body: &str,
) -> Result<(String, String), ApiError> {
    let (name, caller, body) = (space.hash.as_str(), caller(space)?, JsValue::from_str(body));
    let answer = JsFuture::from(call_object(env, name, path, &caller, &body, true, 0)).await;
    let answer: Array = answer.map_err(|error| unreachable(&error))?.unchecked_into();
    let status = answer.get(0).as_f64().unwrap_or(500.0) as u16;
    let text = answer.get(2).as_string().unwrap_or_default();
    if matches!(status, 200 | 204) {
        Ok((text, answer.get(1).as_string().unwrap_or_default()))
    } else {
        Err(error_of(status, &text))
    }
}

/// Makes a call whose answer is the answer to the request. The object's response is complete.
pub(crate) async fn pass(env: &Env, space: &Space, path: &str, body: &JsValue) -> Result<Reply, ApiError> {
    let (name, caller) = (space.hash.as_str(), caller(space)?);
    let response = JsFuture::from(call_object(env, name, path, &caller, body, false, 0)).await;
    let response: Response = response.map_err(|error| unreachable(&error))?.unchecked_into();
    let (status, headers) = (response.status(), Headers::Named(String::new()));
    Ok(Reply { status, headers, body: Body::Whole(response), usage: Usage { object: 1, ..Usage::default() } })
}

/// Tells a member's home, from the space's object; returns whether it has noted that.
pub(crate) async fn tell(env: &Env, notice: &Notice) -> bool {
    let order = internal::Order {
        space: notice.space.as_str().to_owned(),
        role: notice.role.map_or("", Role::as_str).to_owned(),
        at: notice.at.to_string(),
        ..internal::Order::default()
    };
    let home = notice.home.as_str();
    let caller = internal::Caller {
        user: notice.user.as_str().to_owned(),
        scope: home.to_owned(),
        space: String::new(),
        request: String::new(),
        origin: String::new(),
    };
    let (order, Ok(caller)) = (order.into_text(), serde_json::to_string(&caller)) else { return false };
    let path = format!("/{}", Act::Told.as_str());
    let body = JsValue::from_str(&order);
    let timeout_ms = limits::NOTICE_TIMEOUT_MS;
    let answer = JsFuture::from(call_object(env, home, &path, &caller, &body, true, timeout_ms)).await;
    answer.is_ok_and(|answer| answer.unchecked_into::<Array>().get(0).as_f64() == Some(204.0))
}

fn caller(space: &Space) -> Result<String, ApiError> {
    let caller = internal::Caller {
        user: space.caller.user.as_str().to_owned(),
        scope: space.scope_text().to_owned(),
        space: space.id.as_ref().map_or("", SpaceId::as_str).to_owned(),
        request: space.request.clone(),
        origin: space.origin.clone(),
    };
    serde_json::to_string(&caller).map_err(|_| ApiError::Internal)
}

/// Retrying an overloaded object makes it worse (durable-objects/best-practices/error-handling), so the client is asked
/// to wait.
fn unreachable(error: &JsValue) -> ApiError {
    if is_overloaded(error) { ApiError::Overloaded } else { ApiError::Upstream }
}

/// The one thing that a coordinator forbids to whoever has a grant, or to own one more space.
const FORBIDDEN: &str = "You are not a member of this space any more, or own as many spaces as a user may.";

/// The error that the object's problem document states.
fn error_of(status: u16, body: &str) -> ApiError {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
        position: Option<String>,
        last: Option<u64>,
    }
    let problem: Option<Problem> = serde_json::from_str(body).ok();
    match problem.as_ref().map(|problem| problem.code.as_str()) {
        Some("cursor_expired") => ApiError::CursorExpired,
        Some("gone") => ApiError::Gone,
        Some("grant_required") => ApiError::GrantRequired,
        Some("forbidden") => ApiError::Forbidden(FORBIDDEN),
        Some("not_found") => ApiError::NotFound("There is no such space."),
        Some("storage_full") => ApiError::StorageFull,
        Some("epoch_mismatch") => {
            let position = problem.as_ref().and_then(|problem| problem.position.as_deref());
            match position.and_then(headwater::version::Position::parse) {
                Some(position) => ApiError::EpochMismatch {
                    position,
                    last: problem.and_then(|p| p.last).unwrap_or(0),
                    settled: Vec::new(),
                },
                None => ApiError::Internal,
            }
        }
        _ if status == 503 => ApiError::Upstream,
        _ => ApiError::Internal,
    }
}
