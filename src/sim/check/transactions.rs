//! What transactions of `dexie-cloud-addon` come to: each once, whole, and by what stood there at its turn.

use std::{collections::BTreeMap, rc::Rc};

use super::{Intent, Oracle, Sent, pushes::mark_of};
use crate::{
    call::PushRequest,
    mutation::{MutationResult, Settled},
    role::Role,
    sim::{
        USERS,
        client::Name,
        dexie::op::{Op, Row, Rows},
        history::{Brand, State},
        reference::reading::{self, Kind},
    },
    version::Position,
};

/// What an app has done at once.
pub type Operations = Vec<(&'static str, Op)>;

impl Oracle {
    /// By what values written here are known.
    #[must_use]
    pub fn brand(&self) -> Brand {
        self.brand
    }

    /// Notes what a transaction does, and returns the mark it is known by.
    pub fn plan_transaction(&mut self, operations: Operations) -> u64 {
        self.intents.push(Intent::Transaction(operations.into()));
        self.intents.len() as u64 - 1
    }

    /// Takes in what a slice has made of transactions. I2: none is done twice, and none is said to have been done that was not. I1,
    /// I10: it does to records what it says, by what they were at its turn. I11: what cannot be done is not done at all. I9: neither is what its user may not do.
    pub(super) fn learn_transactions(
        &mut self,
        user: usize,
        push: &PushRequest,
        sent: &[Sent],
        results: &[MutationResult],
    ) {
        let writer: Rc<str> = format!("{user}/{}", push.client.as_str()).into();
        for result in results {
            let mark = mark_of(sent, result.id);
            let first = self.now.settled.get(&mark);
            if result.duplicate {
                assert!(first.is_some(), "I2: transaction {mark} was never done and is said to repeat one");
                continue;
            }
            if self.role(user) < Some(Role::Writer) {
                // It is not remembered either: whoever may write by the time that it comes again has it done.
                let is_rejected = matches!(result.settled, Settled::Rejected(_));
                assert!(
                    is_rejected,
                    "I9: {} may not write, and {mark} was {:?}",
                    USERS[user], result.settled
                );
                self.ever_settled.entry(mark).or_default().push(result.settled.clone());
                continue;
            }
            assert!(first.is_none(), "I2: transaction {mark} was done twice, first {first:?}");
            let Intent::Transaction(operations) = self.intent(mark).clone() else {
                panic!("BUG: {mark} is no transaction")
            };
            match (self.effect(user, &operations), &result.settled) {
                (None, Settled::Rejected(_)) => {}
                (Some(edits), Settled::Applied(version) | Settled::Missing(version)) => {
                    self.apply(edits.iter(), &[], &writer, *version);
                }
                (_, settled) => panic!("I11: transaction {mark} was {settled:?}: {operations:?}"),
            }
            self.now.settled.insert(mark, result.settled.clone());
            self.ever_settled.entry(mark).or_default().push(result.settled.clone());
        }
    }

    /// What it does to records now, one edit for each; none if it cannot be done.
    fn effect(&self, user: usize, operations: &Operations) -> Option<Vec<reading::Change>> {
        let before = rows_of(&self.now.records);
        let mut rows = Rows::of(&before);
        for (table, op) in operations {
            rows.take(table, op, true)?;
        }
        let edit = |(name, row): (Name, Option<Row>)| {
            let kind = row.map_or(Kind::Delete, |mut row| {
                row.retain(|name, value| !["realmId", "owner"].contains(&&**name) || *value != USERS[user]);
                Kind::Put(serde_json::Value::Object(row).to_string())
            });
            reading::Change { name, base: None, kind }
        };
        Some(rows.left.into_iter().map(edit).collect())
    }

    /// I12: what an answer takes from a client's queue was done, or rejected.
    pub fn check_confirmed(&self, marks: &[u64]) {
        for mark in marks {
            assert!(
                self.ever_settled.contains_key(mark),
                "I12: transaction {mark} is confirmed and was never done"
            );
        }
    }

    /// What stood in the space at a position.
    pub(in crate::sim) fn rows_at(&self, at: &Position) -> BTreeMap<Name, Row> {
        let state = self.states.get(at);
        let state = state.unwrap_or_else(|| panic!("I1: nothing ever was at {at}, where a client stands"));
        rows_of(&state.rows)
    }
}

/// Records as rows.
#[must_use]
pub fn rows_of(records: &State) -> BTreeMap<Name, Row> {
    records.iter().map(|(name, text)| ((**name).clone(), row_of(text))).collect()
}

fn row_of(text: &str) -> Row {
    serde_json::from_str(text).expect("a record is a JSON object")
}
