//! The run: what is pushed, what happens besides, and what the records ought to be after each mutation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::EAGER;
use crate::{coordinator::publication::PublicationConfig, limits::Sizes};

/// So small that a few records make a base of several parts, which takes several turns, and a delta.
const SIZES: Sizes = Sizes {
    tail_max: 800,
    part_min: 1_000,
    part_max: 1_300,
    parts_per_turn: 2,
    replaced_min: 50,
    purges_per_turn: 2,
    ..Sizes::DEPLOYED
};
pub(super) const PUBLICATION: PublicationConfig =
    PublicationConfig { retain_ms: 60_000, sizes: SIZES, ..EAGER };
/// How long half an effect takes: a turn of several parts is so long that its watchdog is renewed.
pub(super) const STEP_MS: u64 = 600;
/// Turns and their halves that are enough for KV's head to reach what is durable.
pub(super) const STEPS_MAX: usize = 300;

/// What a mutation does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Counts up a record, or creates it with text; and counts up the record `count`, which shows what was applied twice.
    Touch(u32),
    /// Deletes it.
    Delete(u32),
}
use Change::{Delete, Touch};

/// What happens in the run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// One push.
    Push(&'static [Change]),
    /// So many halves of effects of a turn, which begins if none is under way.
    Halves(usize),
    /// So many milliseconds with all turns that are due in them.
    Quiet(u64),
    /// The instance is evicted.
    Evict,
    /// An owner begins a new epoch.
    Reset,
    /// A reader claims to come from the future.
    Claim,
}
use Act::{Claim, Evict, Halves, Push, Quiet, Reset};

/// A base of several parts, a delta, changes between the parts of a run, deletions that are forgotten although one is the
/// newest row, epochs. Between some pushes there is so little time that a put which has failed is repeated with newer content.
pub(super) const ACTS: &[Act] = &[
    Push(&[Touch(1), Touch(2), Touch(3), Touch(4)]),
    Push(&[Touch(5), Touch(6), Touch(7), Touch(8), Touch(9), Touch(10)]),
    Halves(4),
    Push(&[Touch(1), Delete(10)]),
    Quiet(3_500),
    Push(&[Touch(9)]),
    Quiet(1_300),
    Push(&[Touch(3)]),
    Quiet(3_500),
    Push(&[Touch(6), Touch(11)]),
    Quiet(3_500),
    Evict,
    Push(&[Touch(4)]),
    Halves(3),
    Push(&[Touch(5)]),
    Quiet(3_500),
    Push(&[Delete(2)]),
    Quiet(70_000),
    Reset,
    Quiet(3_500),
    Evict,
    Push(&[Touch(12)]),
    Quiet(1_300),
    Push(&[Touch(7)]),
    Quiet(4_000_000),
    Claim,
    Quiet(1_300),
    Push(&[Touch(2)]),
];

pub(super) type Records = BTreeMap<String, Value>;

/// The records when each of `changes` was applied: the n-th element is the state at version n.
pub(super) fn states(pushes: &[&[Change]]) -> Vec<Records> {
    let mut states = vec![Records::new()];
    for change in pushes.iter().copied().flatten() {
        let mut state = states.last().expect("the empty state").clone();
        let count = |state: &Records, id: &str| {
            state.get(id).map_or(0, |record| record["n"].as_u64().expect("a number")) + 1
        };
        match change {
            Touch(record) => {
                let (all, id) = (count(&state, "count"), name(*record));
                state.insert("count".to_owned(), json!({ "n": all }));
                state.insert(id.clone(), json!({ "n": count(&state, &id), "text": text() }));
            }
            Delete(record) => drop(state.remove(&name(*record))),
        }
        states.push(state);
    }
    states
}

fn name(record: u32) -> String {
    format!("r{record:02}")
}

fn text() -> String {
    "x".repeat(220)
}

/// The body of push `index`, whose mutations are numbered behind those of the pushes before it.
pub(super) fn body(pushes: &[&[Change]], index: usize) -> String {
    let before: usize = pushes[..index].iter().map(|push| push.len()).sum();
    let count_up = |id: &str, or_put: Value| json!({ "op": "add", "collection": "c", "id": id, "path": "n", "by": 1, "orPut": or_put });
    let changes = |change: &Change| match change {
        Touch(record) => json!([
            count_up("count", json!({ "n": 1 })),
            count_up(&name(*record), json!({ "n": 1, "text": text() })),
        ]),
        Delete(record) => json!([{ "op": "delete", "collection": "c", "id": name(*record) }]),
    };
    let mutations = pushes[index].iter().zip(before + 1..);
    let mutations: Vec<Value> =
        mutations.map(|(change, id)| json!({ "id": id, "changes": changes(change) })).collect();
    json!({ "client": "client-a", "mutations": mutations }).to_string()
}

/// Adds record lines to `records`, in order.
pub(super) fn apply(lines: &str, records: &mut Records) {
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let Some(id) = line["id"].as_str() else { continue };
        match line.get("value") {
            Some(value) => drop(records.insert(id.to_owned(), value.clone())),
            None => drop(records.remove(id)),
        }
    }
}
