//! The protocol of `dexie-cloud-addon`, as that client speaks it.

pub mod route;
pub mod token;
