//! Runs once per space; the only writer.

pub mod ledger;
