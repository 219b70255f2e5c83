//! Faults that tests plant into the rules, to see that a checker of the simulator notices. Other builds have none.

/// Whether a fault is planted in this thread. Always `false` outside of tests, so that nothing of it is left in a build.
#[cfg(not(test))]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

/// Whether a fault is planted in this thread.
#[cfg(test)]
macro_rules! planted {
    ($fault:ident) => {
        $crate::sim::tests::planted::is_on($crate::sim::tests::planted::Fault::$fault)
    };
}
