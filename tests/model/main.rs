//! The protocol of publication and reads as a small model, explored exhaustively: every order of its steps within bounds.
//!
//! Modelled, each as the code has it:
//! - the coordinator (`src/coordinator/`): versions, epoch, horizon, `published`, the base under construction,
//!   `put_again_at`, the alarm and the watchdog; turns, which a crash can end between any two effects;
//! - KV: a location may be shown any head that ever landed, or none, in any order and again; a put may be refused, or go
//!   unanswered and land later, after a newer one too, or never; an object may be missing for any reader at any time;
//! - two locations with their memory (`src/edge/known.rs`), and two readers that pull at either (`src/edge/pull/`);
//! - records: two, of which one is deleted; a tail of one line, so that a base is needed; deletions that are forgotten;
//! - a new epoch, by a reset, or by a reset after storage was restored, which goes on counting from there;
//! - a second incarnation of a space id. Shared spaces do not exist in the code yet. The rule that is modelled is the
//!   design's: the incarnation is part of every key, and the grant says which one its holder may read.
//!
//! Time is not a number. What the code does four intervals later happens here when no unanswered put is left that may
//! land: that this long is long enough is an assumption about KV (`docs/decisions/0004-watchdog.md`), and so is that an
//! alarm is not early. A turn is not begun while another is under way, which is the platform's word.
//!
//! Left out: pushes are single steps without numbering and conflicts; deltas (a tail that overflows is folded into the base);
//! lifetimes and renewal; what edges report of lost heads and objects, which repairs more than I8 asks for here; KV
//! losing what it had; a storage that goes back without a reset (H15); pages, cursors, and the layers' freshness, instead of which a pull
//! may end at any layer; memory that is evicted; pulls in flight while their client makes another.
//!
//! Two readers and every fault at once are too many states for a test. [`world::bounds`] says which are met together;
//! `wider_bounds_hold` takes others.
//!
//! `eventually` of stateright misses cycles, so liveness (I8) is an `always` property: from every state the schedule without
//! further faults ends with KV's head at what is durable and no alarm left.

#![expect(
    clippy::print_stdout,
    reason = "how many states were explored is what a reader of the output wants to know"
)]

mod kv;
mod properties;
mod protocol;
mod reader;
mod rules;
mod world;
mod writer;

use std::collections::BTreeSet;

use properties::Event;
use protocol::Protocol;
use rules::{Mistake, Rules};
use stateright::{Checker, HasDiscoveries, Model};
use world::{
    Bounds,
    bounds::{DELETIONS, INCARNATIONS, ONE_READER, PUBLICATION, TWO_EPOCHS, TWO_READERS},
};

/// Explores everything within `bounds`, and demands that it came by `events`.
fn explore(name: &str, bounds: Bounds, events: &[Event]) {
    let protocol = Protocol::new(bounds, Rules::default(), events);
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps, depth {}", checker.max_depth());
    checker.assert_properties();
    assert!(checker.is_done(), "the exploration was cut off");
}

#[test]
fn the_publication_holds_in_every_order_of_faults() {
    let events = [
        Event::LatePutOverwritesANewerHead,
        Event::CrashBetweenObjectAndHead,
        Event::WatchdogBringsTheNextTurn,
        Event::HeadIsSettled,
        Event::DeletionIsForgotten,
        Event::BaseIsFolded,
    ];
    explore("publication", PUBLICATION, &events);
}

#[test]
fn one_reader_that_moves_holds_in_every_order_of_faults() {
    let events = [
        Event::LatePutOverwritesANewerHead,
        Event::CrashBetweenObjectAndHead,
        Event::HeadIsSettled,
        Event::StaleHeadIsRefused,
        Event::CoordinatorTakesOver,
        Event::ObjectIsMissing,
        Event::ReaderIsResetByANewEpoch,
        Event::ReadsGoOnWithoutTheCoordinator,
    ];
    explore("one reader", ONE_READER, &events);
}

#[test]
fn two_readers_hold_while_heads_land_late_and_the_writer_dies() {
    let events = [
        Event::LatePutOverwritesANewerHead,
        Event::WatchdogBringsTheNextTurn,
        Event::StaleHeadIsRefused,
        Event::CoordinatorTakesOver,
        Event::LayersAnswerTogether,
    ];
    explore("two readers", TWO_READERS, &events);
}

#[test]
fn two_readers_hold_across_a_new_epoch_and_a_late_head_of_the_old_one() {
    let events =
        [Event::LatePutOverwritesANewerHead, Event::ReaderIsResetByANewEpoch, Event::StaleHeadIsRefused];
    explore("two readers, two epochs", TWO_EPOCHS, &events);
}

#[test]
fn a_deletion_that_is_forgotten_returns_to_no_reader() {
    let events = [
        Event::DeletionIsForgotten,
        Event::BaseIsFolded,
        Event::LayersAnswerTogether,
        Event::ReadsGoOnWithoutTheCoordinator,
    ];
    explore("forgotten deletions", DELETIONS, &events);
}

#[test]
fn nothing_of_a_deleted_space_is_shown_to_readers_of_the_next_one() {
    let events = [Event::LatePutOfADeletedSpaceLands, Event::ReaderIsShownTheNextSpace];
    explore("two incarnations", INCARNATIONS, &events);
}

/// For hunting: `MODEL_BOUNDS=2,2,1,1,0,0,1 cargo test --test model -- --ignored --nocapture`, the fields of [`Bounds`]
/// in their order. Memory is what limits it, some 1 KB for each state that waits.
#[test]
#[ignore = "as long as its bounds are wide"]
fn wider_bounds_hold() {
    let text = std::env::var("MODEL_BOUNDS").unwrap_or_else(|_| "1,2,1,1,1,0,1".to_owned());
    let fields: Vec<u8> = text.split(',').map(|field| field.parse().expect("a number")).collect();
    let [readers, versions, crashes, failures, epochs, ages, incarnations] = fields[..] else {
        panic!("MODEL_BOUNDS has seven fields");
    };
    let readers = usize::from(readers);
    explore(&text, Bounds { readers, versions, crashes, failures, epochs, ages, incarnations }, &[]);
}

/// The shortest way in which each wrong rule breaks the invariant that is named for it.
#[test]
fn every_wrong_rule_breaks_the_invariant_named_for_it() {
    for (mistake, invariant, bounds) in Mistake::ALL {
        let rules = Rules { broken: Some(mistake) };
        let protocol = Protocol::new(bounds, rules, &[]);
        let found = HasDiscoveries::AnyOf(BTreeSet::from([invariant.name()]));
        let checker = protocol.checker().threads(2).finish_when(found).spawn_bfs().join();
        let path = checker.discovery(invariant.name());
        let path = path.unwrap_or_else(|| panic!("{mistake:?} does not break {invariant:?}"));
        let steps = path.into_actions().len();
        println!(
            "{mistake:?} breaks {invariant:?} after {steps} steps, {} states",
            checker.unique_state_count()
        );
    }
}
