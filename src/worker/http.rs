//! Requests in and responses out, each in one crossing between wasm and JavaScript.

use headwater::{
    call::Usage,
    coordinator::object::NoBody,
    edge::visit::{self, Called, Visit},
    error::ApiError,
    fronts::{
        credentials_of_call,
        headwater::{
            body::refusal_of,
            reply::{AllHeaders, Body, Reply},
        },
    },
    limits,
    time::Millis,
};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::Request;

#[wasm_bindgen(module = "/js/request.js")]
extern "C" {
    #[wasm_bindgen(js_name = readRequest)]
    fn read_request(request: &Request) -> String;
    /// A header that only some requests need; empty if it is absent.
    #[wasm_bindgen(js_name = readHeader)]
    pub(crate) fn header(request: &Request, name: &str) -> String;
    #[wasm_bindgen(catch, js_name = respond)]
    fn respond(status: u16, body: &JsValue, headers: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = respondPull)]
    fn respond_pull(status: u16, body: &JsValue, values: &str) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(module = "/js/calls.js")]
extern "C" {
    /// Sets where objects are made and live.
    #[wasm_bindgen(js_name = configureCalls)]
    pub(crate) fn configure_calls(jurisdiction: Option<&str>);
    #[wasm_bindgen(js_name = readCall)]
    fn read_call(request: &Request) -> String;
    /// The length of a call's body.
    #[wasm_bindgen(js_name = callLength)]
    pub(crate) fn call_length(request: &Request) -> usize;
    #[wasm_bindgen(catch, js_name = bodyOfCall)]
    async fn body_of_call(request: &Request, limit: usize) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(module = "/js/body.js")]
extern "C" {
    #[wasm_bindgen(js_name = configureBodies)]
    fn configure(
        held_max: usize,
        idle_ms: u32,
        total_ms: u32,
        bytes_per_s: u32,
        drained_max: usize,
        read_first: usize,
        read_most: usize,
        first_bytes: usize,
        packed_slice: usize,
    );
}

/// Sets what bodies may take of the isolate, and how long.
pub(crate) fn configure_bodies() {
    configure(
        limits::BODIES_HELD_MAX_EDGE,
        limits::BODY_IDLE_MS,
        limits::BODY_TOTAL_MS,
        limits::BODY_BYTES_PER_S,
        limits::BODY_DRAINED_MAX,
        limits::BODY_READ_FIRST,
        limits::BODY_READ_MOST,
        limits::BODY_ARRAY_FIRST,
        limits::BODY_PACKED_SLICE,
    );
}

/// What is read off a request at once.
pub(crate) fn read(request: &Request) -> visit::Request {
    let text = read_request(request);
    let mut fields = text.split('\n');
    let mut field = || fields.next().unwrap_or_default().to_owned();
    // Ours comes first, so that nothing of the request can shift it; and what has no time has come after every token's end.
    let (now, id) = (Millis(field().parse().unwrap_or(u64::MAX)), field());
    let (method, url) = (field(), field());
    let (host, path, query) = visit::parts_of_url(&url);
    visit::Request {
        method,
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        now,
        id,
        authorization: field(),
        if_none_match: field(),
        origin: field(),
        accept: field(),
        accept_encoding: field(),
        content_type: field(),
        content_encoding: field(),
    }
}

/// The name of a call to the object, and who makes it.
pub(crate) fn name_and_caller(request: &Request) -> (String, String) {
    let call = read_call(request);
    let (url, caller) = call.split_once('\n').unwrap_or((&call, ""));
    (url.rsplit('/').next().unwrap_or_default().to_owned(), caller.to_owned())
}

/// The bytes of a call's body, in the object: the edge sends it whole.
pub(crate) async fn call_bytes(request: &Request, limit: usize) -> Result<Vec<u8>, NoBody> {
    let bytes = body_of_call(request, limit).await.map_err(|_| NoBody::BrokenOff)?;
    if bytes.is_null() {
        return Err(NoBody::TooLong);
    }
    Ok(Uint8Array::from(bytes).to_vec())
}

/// The headers of a reply to a visit.
pub(crate) fn headers(reply: &Reply, visit: &Visit) -> AllHeaders {
    reply.all_headers(visit.id(), (visit.origin(), visit.credentials()), visit.usage())
}

/// A body that is there.
pub(crate) fn body(body: &Body) -> JsValue {
    match body {
        Body::Text(text) => JsValue::from_str(text),
        _ => JsValue::NULL,
    }
}

/// A response.
pub(crate) fn respond_with(status: u16, body: &JsValue, headers: AllHeaders) -> Result<JsValue, JsValue> {
    match headers {
        AllHeaders::Named(headers) => respond(status, body, &headers),
        AllHeaders::Pull(values) => respond_pull(status, body, &values),
    }
}

/// What an object answers to the call `name` for the request `id` from a page of `origin`.
pub(crate) fn respond_as_object(
    reply: &Reply,
    name: &str,
    (id, origin): (&str, Option<&str>),
    usage: Usage,
) -> Result<JsValue, JsValue> {
    respond_with(
        reply.status,
        &body(&reply.body),
        reply.all_headers(id, (origin, credentials_of_call(name)), usage),
    )
}

/// A body that was read, or why there is none.
pub(crate) fn body_of(done: Result<JsValue, JsValue>) -> Result<Vec<u8>, ApiError> {
    let body = done.unwrap_or(JsValue::NULL);
    match body.dyn_ref::<Uint8Array>() {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(refusal_of(&body.as_string().unwrap_or_default())),
    }
}

/// What an object has answered.
pub(crate) fn called(answer: &Array) -> Called {
    let text = |at| answer.get(at).as_string().unwrap_or_default();
    let status = answer.get(0).as_f64().unwrap_or(500.0) as u16;
    Called::read(status, text(2), text(1), &text(3), &text(4))
}
