//! `npm run sim`: hunts for a world in which a rule breaks, or shows one again.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command line tool prints, and takes the time"
)]

use std::{process::ExitCode, time::Instant};

use headwater::sim::{
    hunt::{self, Hunt},
    wild::STEPS,
};

/// Worlds are many small texts: a third of a hunt was spent in the allocator of the system.
#[cfg(feature = "fast-allocator")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "npm run sim -- [--worlds N] [--first SEED] [--steps N]   hunt through N worlds (default 20,000), from a seed on
npm run sim -- --seed SEED [--steps N] [--trace]         live through one world, with --trace showing every event";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| -> Option<u64> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let known = ["--worlds", "--first", "--steps", "--seed"];
    let has_number = |name: &&String| known.contains(&name.as_str()) && number(name).is_some();
    let flags = arguments.iter().filter(|argument| argument.starts_with('-'));
    if let Some(odd) = flags.into_iter().find(|flag| !has_number(flag) && *flag != "--trace") {
        eprintln!("{odd} is not understood.\n{USAGE}");
        return ExitCode::from(2);
    }
    hunt::silence_panics();
    let steps = number("--steps").unwrap_or(STEPS);
    match number("--seed") {
        Some(seed) => replay(seed, steps, arguments.iter().any(|argument| argument == "--trace")),
        None => hunt_worlds(number("--first").unwrap_or(0), number("--worlds").unwrap_or(20_000), steps),
    }
}

fn replay(seed: u64, steps: u64, shows_trace: bool) -> ExitCode {
    if shows_trace {
        println!("{}", hunt::trace(seed, steps).join("\n"));
    }
    match hunt::live(seed, steps) {
        None => {
            println!("world {seed}: {steps} steps and the calm after them, no violation");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            eprintln!("{}", hunt::report(&violation, steps));
            ExitCode::FAILURE
        }
    }
}

/// Goes through the worlds in slices: what is printed after each says from where a hunt that was broken off goes on.
fn hunt_worlds(first: u64, worlds: u64, steps: u64) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let slice = (worlds / 20).clamp(1_000, 20_000);
    let mut done = 0;
    while done < worlds {
        let hunt = Hunt { first: first + done, worlds: slice.min(worlds - done), steps, threads };
        if let Some(violation) = hunt.run() {
            eprintln!("{}", hunt::report(&violation, steps));
            return ExitCode::FAILURE;
        }
        done += hunt.worlds;
        let (next, left, speed) = (first + done, worlds - done, done as f64 / began.elapsed().as_secs_f64());
        if left > 0 {
            eprintln!(
                "no violation below seed {next}, {speed:.0} worlds per second; to go on from here: --first {next} --worlds {left}"
            );
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{worlds} worlds from seed {first}, {} steps, {seconds:.1} s on {threads} threads ({:.0} worlds per second): \
         0 violations",
        worlds * steps,
        worlds as f64 / seconds,
    );
    ExitCode::SUCCESS
}
