//! Random worlds in every `cargo test`, that they can be replayed, and that their checkers notice planted faults.

mod crashes;
pub(crate) mod planted;
mod schedules;

use super::{
    hunt::{self, Hunt},
    wild::STEPS,
};

/// Worlds that every `cargo test` lives through.
const WORLDS: u64 = 2_000;

#[test]
fn i1_to_i13_hold_in_random_worlds() {
    let worlds = std::env::var("WORLDS").ok().and_then(|worlds| worlds.parse().ok()).unwrap_or(WORLDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let hunt = Hunt { first: 0, worlds, steps: STEPS, threads };
    if let Some(violation) = hunt.run(&|_| ()) {
        panic!("{}", hunt::report(&violation, STEPS));
    }
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (hunt::trace(seed, STEPS), hunt::trace(seed, STEPS));
        assert!(first.len() > 500, "a trace of {} events says little", first.len());
        assert_eq!(first, second, "world {seed} cannot be replayed");
    }
}
