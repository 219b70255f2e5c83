//! What clients send, what they are answered, and errors. No decision is taken here.

pub mod conflict;
pub mod error;
mod fields;
pub mod pull;
pub mod push;

pub(crate) use fields::{Fields, Misfit};

/// Bodies that are one JSON document.
pub const JSON: &str = "application/json";
/// Bodies that are one JSON document per line.
pub const NDJSON: &str = "application/x-ndjson";
/// Bodies of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
