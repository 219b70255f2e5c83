//! Requests in and responses out, each in one crossing between wasm and JavaScript.

use headwater::{
    edge::{
        answer::{PullHeaders, Usage},
        body::Coding,
        cors,
    },
    ids::UserHash,
    limits,
    protocol::{PROBLEM_JSON, error::ApiError},
    time::Millis,
    version::Position,
};
use js_sys::Promise;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{ReadableStream, Request, Response};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(js_name = readRequest)]
    fn read_request(request: &Request) -> String;
    #[wasm_bindgen(js_name = readGrant)]
    fn read_grant(request: &Request) -> String;
    #[wasm_bindgen(js_name = readAskedHeaders)]
    fn read_asked_headers(request: &Request) -> String;
    #[wasm_bindgen(js_name = readCall)]
    fn read_call(request: &Request) -> String;
    #[wasm_bindgen(catch, js_name = respond)]
    fn respond(status: u16, body: &JsValue, headers: &str) -> Result<Response, JsValue>;
    #[wasm_bindgen(catch, js_name = respondPull)]
    fn respond_pull(status: u16, body: &JsValue, values: &str) -> Result<Response, JsValue>;
    #[wasm_bindgen(js_name = orElse)]
    fn or_else(promise: &Promise, status: u16, body: &str, headers: &str) -> Promise;
    /// The length of a call's body; 0 where it is not known, as when an older edge passes a stream on.
    #[wasm_bindgen(js_name = callLength)]
    pub(crate) fn call_length(request: &Request) -> usize;
    #[wasm_bindgen(catch, js_name = bodyOfCall)]
    async fn body_of_call(request: &Request, limit: usize) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(module = "/body.js")]
extern "C" {
    #[wasm_bindgen(js_name = configureBodies)]
    fn configure(held_max: usize, idle_ms: u32, total_ms: u32, bytes_per_s: u32);
    #[wasm_bindgen(js_name = receiveBody)]
    async fn receive_body(request: &Request, user: &str, is_gzip: bool, limit: usize) -> JsValue;
}

/// Sets what bodies may take of the isolate, and how long.
pub(crate) fn configure_bodies() {
    configure(
        limits::BODIES_HELD_MAX_EDGE,
        limits::BODY_IDLE_MS,
        limits::BODY_TOTAL_MS,
        limits::BODY_BYTES_PER_S,
    );
}

/// What is read off a request at once. An absent header is empty.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) origin_of_url: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: String,
    pub(crate) if_none_match: String,
    pub(crate) accept: String,
    pub(crate) origin: String,
    pub(crate) content_type: String,
    pub(crate) content_encoding: String,
    /// Empty unless the request can accept NDJSON before JSON.
    pub(crate) accept_encoding: String,
    pub(crate) now: Millis,
    pub(crate) id: String,
}

impl Incoming {
    pub(crate) fn read(request: &Request) -> Self {
        let text = read_request(request);
        let mut fields = text.split('\n');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let method = field();
        let url = field();
        // Parsed here, because the platform's URL type brings 80 KB of tables for names in other scripts along.
        let host_at = url.find("://").map_or(0, |at| at + 3);
        let path_at = url[host_at..].find(['/', '?', '#']).map_or(url.len(), |at| host_at + at);
        let (origin_of_url, rest) = url.split_at(path_at);
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self {
            origin_of_url: origin_of_url.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            method,
            now: Millis(field().parse().unwrap_or(0)),
            id: field(),
            authorization: field(),
            if_none_match: field(),
            origin: field(),
            accept: field(),
            accept_encoding: field(),
            content_type: field(),
            content_encoding: field(),
        }
    }

    /// Whether only the headers of the answer are wanted.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        Some(self.origin.as_str()).filter(|origin| !origin.is_empty())
    }
}

/// The grant that a request brings along; empty if it has none.
pub(crate) fn grant(request: &Request) -> String {
    read_grant(request)
}

/// The headers that the page behind a preflight wants to send.
pub(crate) fn asked_headers(request: &Request) -> String {
    read_asked_headers(request)
}

/// The name of a call to the object, and who makes it.
pub(crate) fn name_and_caller(request: &Request) -> (String, String) {
    let call = read_call(request);
    let (url, caller) = call.split_once('\n').unwrap_or((&call, ""));
    (url.rsplit('/').next().unwrap_or_default().to_owned(), caller.to_owned())
}

/// The bytes of a user's body, which may come slowly, or never.
///
/// # Errors
/// [`ApiError::UnsupportedCoding`], and those of [`no_body`].
pub(crate) async fn body_bytes(
    incoming: &Incoming,
    request: &Request,
    user: &UserHash,
    limit: usize,
) -> Result<Vec<u8>, ApiError> {
    let is_gzip = Coding::of(&incoming.content_encoding)? == Coding::Gzip;
    let body = receive_body(request, user.as_str(), is_gzip, limit).await;
    let bytes: js_sys::Uint8Array = body.dyn_into().map_err(|why| no_body(&why))?;
    Ok(bytes.to_vec())
}

/// Reads the body of a request that is refused: a sender that is cut off while it writes does not see why.
pub(crate) async fn drain(request: &Request) {
    let _ = receive_body(request, "", false, 0).await;
}

/// What is said instead of a body by whoever receives it, or passes it on.
pub(crate) fn no_body(why: &JsValue) -> ApiError {
    match why.as_string().as_deref() {
        Some("too long") => ApiError::TooLarge(
            "The body is too long. A push has at most 4 MiB, unpacked: split it between mutations.",
        ),
        Some("late") => ApiError::Timeout,
        Some("overloaded") => ApiError::Overloaded,
        Some("broken") => ApiError::Malformed("the body is not gzip, or not all of it".to_owned()),
        Some("expired") => ApiError::TokenExpired,
        _ => ApiError::Internal,
    }
}

/// The bytes of a call's body, in the object: the edge sends it whole.
pub(crate) async fn call_bytes(request: &Request, limit: usize) -> Result<Vec<u8>, ApiError> {
    let bytes = body_of_call(request, limit).await;
    let bytes = bytes.map_err(|_| ApiError::Malformed("the body broke off".to_owned()))?;
    if bytes.is_null() {
        return Err(ApiError::TooLarge("A body has at most 4 MiB."));
    }
    Ok(js_sys::Uint8Array::from(bytes).to_vec())
}

/// What is sent back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Body,
    pub(crate) usage: Usage,
}

/// Headers beside those of every answer.
#[derive(Debug)]
pub(crate) enum Headers {
    /// `name\nvalue\n` pairs.
    Named(String),
    /// Those of a pull that is answered as JSON.
    Pull(PullHeaders),
}

/// A body.
#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Text(String),
    Stream(ReadableStream),
    /// A response that is complete: the object's own, passed on as it is, because copying its headers costs more than
    /// verifying the token does.
    Whole(Response),
}

impl Body {
    fn to_js(&self) -> JsValue {
        match self {
            Self::Empty => JsValue::NULL,
            Self::Text(text) => JsValue::from_str(text),
            Self::Stream(stream) => stream.into(),
            Self::Whole(response) => response.into(),
        }
    }
}

impl Reply {
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self {
            status,
            headers: Headers::Named("Content-Type\napplication/json\n".to_owned()),
            body: Body::Text(body),
            usage: Usage::default(),
        }
    }

    /// Says where the space stands after a write.
    pub(crate) fn at(self, position: &Position) -> Self {
        self.with("Headwater-Position", &position.to_string())
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Headers::Named(headers) = &mut self.headers {
            headers.push_str(&format!("{name}\n{value}\n"));
        }
        self
    }
}

/// Headers of every answer. Nothing is stored on the way or in a browser, where another user of the same device could get it:
/// whoever wants to ask again for what has changed has a position. `respondPull` has them too.
const OF_ALL: &str =
    "Cache-Control\nno-store\nVary\nAuthorization, Origin, Accept, Accept-Encoding, Headwater-Grant\n";

/// The response to the request `id` of an allowed `origin`, with what every answer carries.
pub(crate) fn response(id: &str, origin: Option<&str>, reply: Reply) -> Result<Response, JsValue> {
    let timing = reply.usage.server_timing();
    let mut headers = match (reply.headers, reply.body) {
        (_, Body::Whole(response)) => return Ok(response),
        (Headers::Named(headers), body) => (headers, body.to_js()),
        (Headers::Pull(pull), body) => {
            let (values, exposed) = (pull.values(), cors::EXPOSED);
            let values = format!("{values}{id}\n{timing}\n{}\n{exposed}", origin.unwrap_or_default());
            return respond_pull(reply.status, &body.to_js(), &values);
        }
    };
    let (headers, body) = (&mut headers.0, headers.1);
    complete(headers, id, origin, &timing);
    respond(reply.status, &body, headers)
}

/// Adds what every answer carries.
fn complete(headers: &mut String, id: &str, origin: Option<&str>, timing: &str) {
    headers.push_str(OF_ALL);
    headers.push_str(&cors::headers(origin));
    headers.push_str(&format!("Headwater-Request\n{id}\nServer-Timing\n{timing}\n"));
}

/// `served`, or the answer that the request may be repeated, should the module break off before. Written beforehand, because
/// nothing that runs in the module can write it then.
pub(crate) fn or_repeat(served: &Promise, id: &str, origin: Option<&str>) -> Promise {
    let error = ApiError::Upstream;
    let mut headers = problem_headers(&error, "");
    complete(&mut headers, id, origin, &Usage::default().server_timing());
    or_else(served, error.status(), &error.body(id), &headers)
}

/// The answer that an error is, to a request with this `Authorization`.
pub(crate) fn problem(error: &ApiError, request: &str, authorization: &str, usage: Usage) -> Reply {
    Reply {
        status: error.status(),
        headers: Headers::Named(problem_headers(error, authorization)),
        body: Body::Text(error.body(request)),
        usage,
    }
}

fn problem_headers(error: &ApiError, authorization: &str) -> String {
    let mut headers = format!("Content-Type\n{PROBLEM_JSON}\n");
    if let Some(challenge) = error.challenge(authorization) {
        headers.push_str(&format!("WWW-Authenticate\n{challenge}\n"));
    }
    if let Some(seconds) = error.retry_after_s() {
        headers.push_str(&format!("Retry-After\n{seconds}\n"));
    }
    if let Some((name, value)) = error.instead() {
        headers.push_str(&format!("{name}\n{value}\n"));
    }
    headers
}
