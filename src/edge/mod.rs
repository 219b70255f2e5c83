//! Runs near the user, stateless but for what it remembers: verifies who is calling, passes pushes on, plans pulls.

pub mod blobs;
mod budget;
pub mod config;
pub mod directory;
mod failures;
#[cfg(feature = "dexie")]
mod grants;
pub mod identity;
pub mod isolate;
pub mod known;
pub mod live;
pub mod pull;
#[cfg(feature = "dexie")]
mod realms;
pub mod refusals;
pub mod spent;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod visit;
pub mod writes;
