//! The protocol of `docs/PROTOCOL.md`.

pub mod answer;
pub mod body;
pub mod live;
pub mod negotiation;
pub mod pull;
pub mod pulls;
pub mod reply;
pub mod route;
pub mod spaces;

/// Bodies that are one JSON document.
pub const JSON: &str = "application/json";
/// Bodies that are one JSON document per line.
pub const NDJSON: &str = "application/x-ndjson";
/// Bodies of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
