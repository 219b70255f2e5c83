//! The protocol of the `dexie-cloud-addon`: what it sends, as transactions, and what it is answered. Values stay text. Its own
//! encoding (TSON) is JSON in which an object with the member `$t` is something else, such as a date; names that begin with
//! `$` have one more.
//!
//! A transaction is read where it stands in the body ([`push`]) and derived when its turn comes ([`derive`]): `op` reads an
//! operation, `criteria` and `key` say which records it means, `spec` and `propmod` what becomes of a value.

pub mod answer;
pub mod blob;
mod criteria;
mod derive;
mod envelope;
mod key;
pub mod live;
mod members;
pub mod merge;
mod next_pull;
mod op;
pub mod part;
mod propmod;
pub mod pull;
pub mod push;
pub mod realm;
pub mod relay;
mod request;
pub mod revision;
pub mod route;
mod spec;
pub mod token;
mod tson;

#[cfg(test)]
mod tests;

pub use envelope::{InvitationAnswer, LastPull};
pub use next_pull::NextPull;
