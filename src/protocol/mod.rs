//! What crosses a wire: requests in, answers out, errors. No decision is taken here.

pub mod act;
pub mod call;
pub mod conflict;
pub mod directory;
pub mod error;
mod fields;
pub mod internal;
pub mod pull;
pub mod push;
pub mod role;

pub(crate) use fields::{Fields, Misfit};

/// Bodies that are one JSON document.
pub const JSON: &str = "application/json";
/// Bodies that are one JSON document per line.
pub const NDJSON: &str = "application/x-ndjson";
/// Bodies of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
