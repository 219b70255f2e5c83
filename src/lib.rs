//! Headwater: the sync rules.
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

pub mod value;
