//! What the platform hands in of a request.

use crate::time::Millis;

/// A request as it comes, but for its body. An absent header is empty.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Scheme and host of its URL.
    pub host: String,
    /// The path of its URL.
    pub path: String,
    /// The query of its URL, as it is written.
    pub query: String,
    /// `Authorization`
    pub authorization: String,
    /// `If-None-Match`
    pub if_none_match: String,
    /// `Accept`
    pub accept: String,
    /// `Accept-Encoding`; empty unless `Accept` can prefer NDJSON.
    pub accept_encoding: String,
    /// `Origin`
    pub origin: String,
    /// `Content-Type`
    pub content_type: String,
    /// `Content-Encoding`
    pub content_encoding: String,
    /// When it came.
    pub now: Millis,
    /// Its id.
    pub id: String,
}
