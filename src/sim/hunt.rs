//! Many wild worlds, on every core, and what to say when one of them breaks a rule.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::wild::{Options, Wild};

/// How many of the last events a report shows.
const EVENTS_SHOWN: usize = 60;

/// Which worlds to live through.
#[derive(Debug, Clone, Copy)]
pub struct Hunt {
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub worlds: u64,
    /// Events per world.
    pub steps: u64,
    /// How many threads.
    pub threads: usize,
}

/// A world that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which world.
    pub seed: u64,
    /// What the checker said; it begins with the invariant.
    pub message: String,
}

impl Hunt {
    /// Lives through the worlds until one breaks a rule, and returns it.
    #[must_use]
    pub fn run(&self) -> Option<Violation> {
        let next = AtomicU64::new(0);
        let found: Mutex<Option<Violation>> = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    while found.lock().is_ok_and(|found| found.is_none()) {
                        let world = next.fetch_add(1, Ordering::Relaxed);
                        if world >= self.worlds {
                            return;
                        }
                        if let Some(violation) = live(self.first + world, self.steps) {
                            *found.lock().expect("no other thread panics here") = Some(violation);
                        }
                    }
                });
            }
        });
        found.into_inner().expect("no other thread panics here")
    }
}

/// Lives through one world.
#[must_use]
pub fn live(seed: u64, steps: u64) -> Option<Violation> {
    let lived = catch_unwind(AssertUnwindSafe(|| Wild::new(seed, false).run(steps)));
    lived.err().map(|panic| Violation { seed, message: text_of(panic.as_ref()) })
}

/// Everything that happens in a world, one event per line, up to its end or to what breaks a rule.
#[must_use]
pub fn trace(seed: u64, steps: u64) -> Vec<String> {
    let mut wild = Wild::new(seed, true);
    let _ = catch_unwind(AssertUnwindSafe(|| wild.run(steps)));
    wild.world.trace.unwrap_or_default()
}

/// What a person needs to look into a violation: the options, the last events, and how to see it again.
#[must_use]
pub fn report(violation: &Violation, steps: u64) -> String {
    let Violation { seed, message } = violation;
    let trace = trace(*seed, steps);
    let last = trace[trace.len().saturating_sub(EVENTS_SHOWN)..].join("\n");
    format!(
        "world {seed} of {steps} steps: {message}\n\noptions: {:?}\n\nthe last of {} events (ms, event):\n{last}\n\n\
         world {seed}: {message}\nsee it again: npm run sim -- --seed {seed} --steps {steps}\n",
        Options::of(*seed),
        trace.len(),
    )
}

/// Panics of worlds are findings, which are reported; the standard library need not print them as well.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text").to_owned()
}
