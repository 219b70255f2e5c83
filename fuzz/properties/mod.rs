//! What must hold for any bytes that somebody outside may send, one function per parser: it panics where it does not.
//!
//! Included twice: by the fuzz targets, which look for inputs by coverage, and by `tests/parsers.rs`, which tries random
//! ones and those of the corpus wherever `cargo test` runs.
// Each fuzz target includes all of them and runs one.
#![allow(dead_code, unused_imports)]

mod dexie;
mod messages;
mod published;
mod pulls;
mod pushes;
mod spaces;
mod token;
mod values;

pub(crate) use dexie::{dexie, dexie_live};
pub(crate) use messages::messages;
pub(crate) use published::{head, internal, lines, parts};
pub(crate) use pulls::{cursor, pull_body, pull_query, route};
pub(crate) use pushes::{push, resolutions};
pub(crate) use spaces::operations;
pub(crate) use token::{jwks, token};
pub(crate) use values::value;

use headwater::{ids::SpaceHash, sim::reference};

/// Whose private space every input is tried on.
fn space() -> SpaceHash {
    SpaceHash::private("https://issuer.example", "alice")
}
