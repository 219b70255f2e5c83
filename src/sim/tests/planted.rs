//! Faults in the rules, each switched on in one thread of a test, and which checker notices within how many worlds.

use std::cell::Cell;

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// A fault that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A client applies changes at or below its version.
    OldChangesApplied,
    /// A client adds a full state to what it has.
    FullLoadMerged,
    /// A client drops what the history contains without asking how it ended.
    LastTrustedBlindly,
    /// Each tab of a client sends pushes of its own.
    TabsPushApart,
}

/// Whether a fault is planted in this thread.
pub(crate) fn is_on(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}
