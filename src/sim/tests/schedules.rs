//! Schedules that break simpler designs, by the names they have in the reasons of this one: H1 to H28. Most stand beside
//! the code they are about.
//!
//! | | what must not happen | where |
//! |---|---|---|
//! | H1 | an earlier epoch takes a client back, or keeps it | `edge/tests/resets.rs` `h01_…`, `coordinator/tests/pulls.rs` `h01_…` |
//! | H2 | a client conflicts with itself | `coordinator/tests/conflicts.rs` `h02_…` |
//! | H3 | a parked mutation takes its dependants' ground away | `parked.rs` `h03_…`, `coordinator/tests/parking.rs` `h03_…` |
//! | H4 | a copied or rewritten outbox is swallowed | `coordinator/tests/numbers.rs` `h04_…`, `i2_…`; `coordinator/push/numbering.rs` |
//! | H5 | a queue stops for ever | `queues.rs` `h05_…`; `coordinator/tests/numbers.rs` (gaps, forgotten clients, epochs) |
//! | H6 | a name given again shows the old space | `shared.rs` `h06_…`; `ids.rs` for private ones |
//! | H7 | KV's head stays back | `coordinator/tests/publication/settling.rs` `h07_…`; `crashes.rs` |
//! | H8 | objects expire under a head | `coordinator/tests/publication/lifetimes.rs` `h08_…` |
//! | H9 | a run of several turns loses what moved meanwhile | `runs.rs` `h09_…`, `coordinator/tests/publication.rs` `h09_…` |
//! | H10 | what was deleted and forgotten returns | `coordinator/tests/publication.rs` `h10a_…`, `coordinator/tests/pulls.rs` `h10b_…` `h10c_…`, `edge/tests/resets.rs` `h10c_…`, `runs.rs` `h10b_…` |
//! | H11 | a cursor outlives its head | `pulls.rs` `h11_…`, `edge/tests/resets.rs` `h11_…` |
//! | H12 | a late live message resurrects | the client's part: [`crate::sim::client`] takes no news that do not follow what it has, which the random worlds bring late and out of order |
//! | H13 | a line feed inside a value breaks every reader | `queues.rs` `h13_…` |
//! | H14 | a mutation is half applied when SQL fails | `coordinator/tests/storage.rs` `i10_…`; `crashes.rs` |
//! | H15 | storage that went back uses versions twice | `runs.rs` `h15_…`, `coordinator/tests/publication/settling.rs` `h15_…`, `coordinator/tests/numbers.rs` `h15_…`, `edge/tests/resets.rs` `h15_…` |
//! | H16 | a tag freezes a client | `edge/tests/layers.rs` `h16_…` |
//! | H17 | bases of other epochs, of deleted records, of none | `coordinator/tests/conflicts.rs` `h17_…` (a–d), `queues.rs` `h17e_…` |
//! | H18 | `merge` means two things | `coordinator/tests/conflicts.rs` `h18_…` |
//! | H19 | an op is not defined for some value | `coordinator/tests/pushes.rs`, `value/tests.rs` and its reference model |
//! | H20 | a client id is taken by another user | `shared.rs` `h20_…`, `coordinator/tests/numbers.rs` `h20_…`, `coordinator/tests/spaces.rs` `h20_…` |
//! | H21 | every reader of a new version asks the coordinator | `pulls.rs` `h21_…`, `edge/tests/layers.rs` `h21_…` |
//! | H22 | a reset that breaks off leaves a fragment | the client's part: [`crate::sim::client`] keeps its state until the last page |
//! | H23 | an older line follows a newer one | `pulls.rs` `h23_…` |
//! | H24 | grants and tickets outlive what they are for | `shared.rs` `h24_…`; `access/grant.rs`; there are no tickets |
//! | H25 | a superseded instance judges | `pulls.rs` `h25_…` |
//! | H26 | answers and rows without bound | `queues.rs` `h26_…`, `coordinator/tests/pushes.rs` |
//! | H27 | a device is not told of a conflict | `parked.rs` `h27_…` |
//! | H28 | two ways to resolve get in each other's way | `parked.rs` `h28_…` |

mod parked;
mod pulls;
mod queues;
mod runs;
mod shared;
mod sockets;

use super::super::{
    EAGER, Settings, World,
    check::{Edit, Row},
    client::Name,
};
use crate::{
    call::PushAnswer,
    coordinator::{
        ledger::{ClientTable, MetaTable},
        publication::PublicationConfig,
    },
    error::ApiError,
    fronts::headwater::pull::PullRequest,
    ids::UserHash,
    limits::Sizes,
    snapshot::{head::Head, keys::Scope},
    version::Version,
};

/// A base of a part per few records, one part a turn, and pages of a few records.
const SMALL: PublicationConfig = PublicationConfig {
    retain_ms: 60_000,
    sizes: Sizes {
        tail_max: 800,
        part_min: 1_000,
        part_max: 1_300,
        parts_per_turn: 1,
        replaced_min: 50,
        overlay_max: 800,
        page_max: 700,
        ..Sizes::DEPLOYED
    },
    ..EAGER
};
/// Bytes that make a dozen records a base of several parts.
const FILLER: usize = 300;

fn small() -> World {
    World::new(&Settings { publication: SMALL, ..Settings::eager(1) })
}

/// A published space of `records` records `r00`, `r01`, ….
fn filled(records: usize) -> World {
    let mut world = small();
    for record in 0..records {
        put(&mut world, &format!("r{record:02}"), FILLER);
    }
    world.settle(60);
    world
}

fn name(id: &str) -> Name {
    ("c".to_owned(), id.to_owned())
}

/// One push of client 0.
fn change(world: &mut World, edits: Vec<Edit>) {
    let (mark, changes) = world.spaces[0].oracle.plan(edits);
    world.clients[0].queue(changes, mark);
    world.push(0, false).expect("an answer");
}

fn put(world: &mut World, id: &str, filler: usize) {
    let row = Row { count: 0, tag: world.rng.below(1_000_000), filler };
    change(world, vec![Edit::Put(name(id), row)]);
}

fn delete(world: &mut World, id: &str) {
    change(world, vec![Edit::Delete(name(id))]);
}

/// The head that stands in KV.
fn head(world: &World) -> Head {
    let scope = Scope::private(world.space());
    let value = world.kv.central(&scope.head_key(), world.now).expect("a head").value.clone();
    Head::decode(&value, &scope).expect("a head that can be read").0
}

/// How many parts the base in KV has.
fn base_parts(world: &World) -> usize {
    head(world).base.map_or(0, |base| base.parts.len())
}

fn horizon(world: &mut World) -> Version {
    let now = world.now;
    world.spaces[0].host.core(now).ledger().meta().expect("a read").expect("a space").horizon
}

/// A push as it stands, past the model clients and the oracle.
fn push_text(world: &mut World, client: &str, mutations: &[String]) -> Result<PushAnswer, ApiError> {
    let body = format!("{{\"client\":\"{client}\",\"mutations\":[{}]}}", mutations.join(","));
    let alice = UserHash::new("https://issuer.example", "alice");
    world.spaces[0].host.push(&[(alice, &body)], world.now).remove(0)
}
