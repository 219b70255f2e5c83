//! Runs near the user, stateless but for what it remembers: verifies who is calling, passes pushes on, plans pulls.

pub mod answer;
pub mod authorize;
pub mod body;
pub mod config;
pub mod cors;
pub mod directory;
pub mod grant;
pub mod isolate;
pub mod negotiation;
pub mod pull;
pub mod refusals;
pub mod reply;
pub mod route;
pub mod space;
pub mod state;
pub mod target;
#[cfg(test)]
mod tests;
pub mod visit;
pub mod writes;
