//! Random worlds in every `cargo test`, that they can be replayed, and that their checkers notice planted faults.

mod crashes;
mod day;
pub(crate) mod planted;
mod schedules;

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Datelike};

use super::{
    hunt::{self, Hunt},
    wild::STEPS,
};

/// Worlds that every `cargo test` lives through.
const WORLDS: u64 = 2_000;

/// The first seed of a day, the same on every machine: its date in UTC, as 20261128, and four zeros.
fn seed_of_day(since_1970: Duration) -> u64 {
    let day =
        i64::try_from(since_1970.as_secs()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let day = day.expect("a date");
    let date = u64::from(day.year().unsigned_abs()) * 10_000 + u64::from(day.month() * 100 + day.day());
    date * 10_000
}

/// Other worlds each day: those of one day are soon all that were ever seen. `SEED` names the first, `WORLDS` how many.
#[test]
fn i1_to_i13_hold_in_random_worlds() {
    #[expect(clippy::disallowed_methods, reason = "which worlds these are depends on the day")]
    let today = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("SEED").unwrap_or_else(|| seed_of_day(today));
    let worlds = number("WORLDS").unwrap_or(WORLDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Not by a macro, which is heard of only when the test fails.
    let said = writeln!(
        io::stderr(),
        "{worlds} random worlds from seed {first}; again: npm run sim -- --first {first} --worlds {worlds}"
    );
    said.expect("standard error can be written");
    let hunt = Hunt { first, worlds, steps: STEPS, threads };
    if let Some(violation) = hunt.run() {
        panic!("{}", hunt::report(&violation, STEPS));
    }
}

#[test]
fn the_worlds_of_a_day_begin_at_its_date() {
    for (seconds, seed) in
        [(0, 197_001_010_000), (1_795_824_000, 202_611_280_000), (1_795_910_399, 202_611_280_000)]
    {
        assert_eq!(seed_of_day(Duration::from_secs(seconds)), seed);
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
