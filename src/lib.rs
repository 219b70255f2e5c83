//! Headwater: the sync rules.
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

pub mod coordinator;
pub mod edge;
pub mod ids;
pub mod limits;
pub mod protocol;
#[cfg(not(target_arch = "wasm32"))]
pub mod sim;
pub mod snapshot;
pub mod time;
pub mod value;
pub mod version;
