//! Calls from the Worker to a space's object.

use headwater::protocol::{error::ApiError, internal};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::ReadableStream;
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
    /// Begin a new epoch.
    ResetEpoch,
}

/// Makes a call; gives its body and what it says of its cost.
pub(crate) async fn call(env: &Env, space: &Space, call: Call<'_>) -> Result<(String, String), ApiError> {
    let (path, body) = match call {
        Call::Pull(body) => ("/pull", body),
        Call::ResetEpoch => ("/reset-epoch", ""),
    };
    let answer = send(env, space, path, &JsValue::from_str(body), true).await?;
    let text = answer.body.as_string().unwrap_or_default();
    if answer.status == 200 { Ok((text, answer.timing)) } else { Err(error_of(answer.status, &text)) }
}

/// A push's answer as it came.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) timing: String,
    body: JsValue,
}

impl Answer {
    pub(crate) fn into_stream(self) -> Option<ReadableStream> {
        self.body.dyn_into().ok()
    }
}

/// Passes a push on, its body unread.
pub(crate) async fn push(env: &Env, space: &Space, body: &JsValue) -> Result<Answer, ApiError> {
    send(env, space, "/push", body, false).await
}

async fn send(
    env: &Env,
    space: &Space,
    path: &str,
    body: &JsValue,
    wants_text: bool,
) -> Result<Answer, ApiError> {
    let caller = internal::Caller {
        user: space.user.as_str().to_owned(),
        scope: space.scope.as_str().to_owned(),
        request: space.request.clone(),
    };
    let caller = serde_json::to_string(&caller).map_err(|_| ApiError::Internal)?;
    let answer = call_object(env, space.scope.as_str(), path, &caller, body, wants_text).await;
    let answer: Array = answer.map_err(|error| unreachable(&error))?.unchecked_into();
    Ok(Answer {
        status: answer.get(0).as_f64().unwrap_or(500.0) as u16,
        timing: answer.get(1).as_string().unwrap_or_default(),
        body: answer.get(2),
    })
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
        Some("storage_full") => ApiError::StorageFull,
        Some("epoch_mismatch") => {
            let position = problem.as_ref().and_then(|problem| problem.position.as_deref());
            match position.and_then(headwater::version::Position::parse) {
                Some(position) => {
                    ApiError::EpochMismatch { position, last: problem.and_then(|p| p.last).unwrap_or(0) }
                }
                None => ApiError::Internal,
            }
        }
        _ if status == 503 => ApiError::Upstream,
        _ => ApiError::Internal,
    }
}
