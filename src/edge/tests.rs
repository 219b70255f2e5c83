//! Pulls through all layers: which of them answers, and that nobody is taken back.

mod layers;
mod resets;
mod writes;

use super::pull::ReadPlan;
use crate::{
    call::Ask,
    coordinator::publication::PublicationConfig,
    error::ApiError,
    fronts::headwater::answer::{Format, Source},
    sim::{
        DAY_MS, EAGER, Settings, World,
        check::{Edit, Row},
        client::Name,
        location::Response,
    },
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};

fn name(id: &str) -> Name {
    ("c".to_owned(), id.to_owned())
}

/// One push of client 0, which does not pull.
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

fn eager() -> World {
    World::new(&Settings::eager(1))
}

/// A published space with `records` of 200 KB each, of which the first 14 make two parts.
fn large(publication: PublicationConfig, records: usize) -> World {
    let mut world = World::new(&Settings { publication, ..Settings::eager(1) });
    for index in 0..records {
        put(&mut world, &format!("r{index:02}"), 200_000);
    }
    world.settle(50);
    world
}

/// A pull of somebody at `since` in the present epoch.
fn since(world: &World, since: u64) -> String {
    format!("{{\"epoch\":\"{}\",\"since\":{since}}}", world.spaces[0].oracle.here().epoch)
}

/// Another isolate, and nothing in the location's cache: KV's own is as it was.
fn forget(world: &mut World, location: usize) {
    world.locations[location].forget_memory();
    world.locations[location].forget_cache();
}

/// What was asked: the cache, which takes three looks, KV keys, and the coordinator.
fn cost(response: &Response) -> (u64, u64, u64) {
    (response.usage.cache / 3, response.usage.kv, response.usage.object)
}

/// Whether its tag is the client's own position: then it is 304 to whoever sends that.
fn is_nothing(response: &Response) -> bool {
    !response.tag.starts_with("W/")
}

fn text(response: &Response) -> &str {
    response.body.as_ref().expect("an answer").text()
}

/// The version a JSON page or a whole stream brings its client to.
fn version(response: &Response) -> u64 {
    let last = text(response).lines().last().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(last).expect("JSON");
    value["version"].as_u64().expect("a version")
}

fn is_reset(response: &Response) -> bool {
    text(response).contains("\"reset\":true")
}
