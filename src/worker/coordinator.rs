//! Calls from the Worker to a space's object.

use headwater::protocol::{error::ApiError, internal};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::Response;
use worker::Env;

use crate::Space;

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = callObject)]
    async fn call_object(
        env: &JsValue,
        name: &str,
        path: &str,
        caller: &str,
        body: &JsValue,
        wants_text: bool,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_name = isOverloaded)]
    fn is_overloaded(error: &JsValue) -> bool;
}

/// A call whose answer the Worker reads.
pub(crate) enum Call<'a> {
    /// An `Ask` as JSON.
    Pull(&'a str),
    /// A `ConflictsAfter` as JSON.
    Conflicts(&'a str),
    /// Begin a new epoch.
    ResetEpoch,
}

/// Makes a call; gives its body and what it says of its cost.
pub(crate) async fn call(env: &Env, space: &Space, call: Call<'_>) -> Result<(String, String), ApiError> {
    let (path, body) = match call {
        Call::Pull(body) => ("/pull", body),
        Call::Conflicts(body) => ("/conflicts", body),
        Call::ResetEpoch => ("/reset-epoch", ""),
    };
    let answer =
        call_object(env, space.scope.as_str(), path, &caller(space)?, &JsValue::from_str(body), true).await;
    let answer: Array = answer.map_err(|error| unreachable(&error))?.unchecked_into();
    let status = answer.get(0).as_f64().unwrap_or(500.0) as u16;
    let text = answer.get(2).as_string().unwrap_or_default();
    if status == 200 {
        Ok((text, answer.get(1).as_string().unwrap_or_default()))
    } else {
        Err(error_of(status, &text))
    }
}

/// Passes a push or resolutions on, the body unread. The object's response is complete.
pub(crate) async fn push(env: &Env, space: &Space, path: &str, body: &JsValue) -> Result<Response, ApiError> {
    let response = call_object(env, space.scope.as_str(), path, &caller(space)?, body, false).await;
    Ok(response.map_err(|error| unreachable(&error))?.unchecked_into())
}

fn caller(space: &Space) -> Result<String, ApiError> {
    let caller = internal::Caller {
        user: space.user.as_str().to_owned(),
        scope: space.scope.as_str().to_owned(),
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
        Some("forbidden") => ApiError::Forbidden("You are not a member of this space."),
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
