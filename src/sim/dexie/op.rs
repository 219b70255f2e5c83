//! What an app does through `dexie-cloud-addon`, as the addon sends it, and what it means: to the rows of the client that does it, and
//! to the records of a space when its turn comes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::sim::client::Name;

/// A row, or a record.
pub type Row = Map<String, Value>;

/// Keys of one operation by criteria: where more rows are meant, several operations say so.
const KEYS_AT_ONCE: usize = 3;
/// Levels of a value that is too deep for any record.
const TOO_DEEP: usize = 80;

/// What becomes of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is set.
    Set(&'static str, u64),
    /// So much is added to it.
    Add(&'static str, i64),
    /// It is removed.
    Unset(&'static str),
}

/// Which rows are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criteria {
    /// All.
    Any,
    /// Those whose ids are in a range, its upper end left out.
    Ids(String, String),
    /// Those whose property is in a range, both ends included.
    Between(&'static str, u64, u64),
}

/// An operation on rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `add`.
    Insert(Vec<(String, Row)>),
    /// `put`.
    Put(Vec<(String, Row)>),
    /// `upsert`: changes what is there, or puts.
    Upsert(String, Row, Vec<Step>),
    /// `update`, each key by its own steps, or all by the first.
    Update(Vec<String>, Vec<Vec<Step>>),
    /// `where(…).modify(…)`, with the keys that its client has found.
    Modify(Criteria, Vec<Step>, Vec<String>),
    /// `delete`.
    Delete(Vec<String>),
    /// `where(…).delete()`, with the keys that its client has found.
    Clear(Criteria, Vec<String>),
    /// `put` of what cannot be stored.
    PutTooDeep(String, Row),
}

/// What operations leave of rows, of which some others stay as they were.
#[derive(Debug)]
pub struct Rows<'a> {
    /// What was there.
    pub before: &'a BTreeMap<Name, Row>,
    /// What was changed, and none of what was removed.
    pub left: BTreeMap<Name, Option<Row>>,
}

impl<'a> Rows<'a> {
    /// As they are.
    #[must_use]
    pub fn of(before: &'a BTreeMap<Name, Row>) -> Self {
        Self { before, left: BTreeMap::new() }
    }

    /// What stands there now.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Row> {
        self.left.get(name).map_or_else(|| self.before.get(name), Option::as_ref)
    }

    /// The keys of a table that criteria mean now.
    #[must_use]
    pub fn meant(&self, table: &str, criteria: &Criteria) -> Vec<String> {
        let mut names: Vec<&Name> = self.before.keys().chain(self.left.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let of_table = names.into_iter().filter(|(of, _)| of == table);
        let meant = of_table.filter(|name| self.get(name).is_some_and(|row| criteria.means(&name.1, row)));
        meant.map(|(_, key)| key.clone()).collect()
    }

    fn change(&mut self, table: &str, key: &str, steps: &[Step]) -> bool {
        let name = (table.to_owned(), key.to_owned());
        let Some(mut row) = self.get(&name).cloned() else { return false };
        for step in steps {
            step.take(&mut row);
        }
        self.left.insert(name, Some(row));
        true
    }

    fn leave(&mut self, table: &str, key: &str, row: Option<&Row>) {
        self.left.insert((table.to_owned(), key.to_owned()), row.cloned());
    }

    /// Does an operation. With `again` criteria are met now; if not, those rows count whose keys the client has found. None if it
    /// cannot be done.
    pub fn take(&mut self, table: &str, op: &Op, again: bool) -> Option<()> {
        match op {
            Op::Insert(rows) | Op::Put(rows) => {
                rows.iter().for_each(|(key, row)| self.leave(table, key, Some(row)));
            }
            Op::Upsert(key, row, steps) => {
                if !self.change(table, key, steps) {
                    self.leave(table, key, Some(row));
                }
            }
            Op::Update(keys, steps) => {
                for (at, key) in keys.iter().enumerate() {
                    self.change(table, key, steps.get(at).unwrap_or(&steps[0]));
                }
            }
            Op::Modify(criteria, steps, found) => {
                let meant = if again { self.meant(table, criteria) } else { found.clone() };
                for key in &meant {
                    self.change(table, key, steps);
                }
            }
            Op::Delete(keys) => keys.iter().for_each(|key| self.leave(table, key, None)),
            Op::Clear(criteria, found) => {
                let meant = if again { self.meant(table, criteria) } else { Vec::new() };
                meant.iter().chain(found).for_each(|key| self.leave(table, key, None));
            }
            Op::PutTooDeep(key, row) => {
                self.leave(table, key, Some(row));
                return (!again).then_some(());
            }
        }
        Some(())
    }
}

impl Step {
    /// Does it to a row.
    pub fn take(&self, row: &mut Row) {
        match self {
            Self::Set(name, value) => drop(row.insert((*name).to_owned(), (*value).into())),
            Self::Add(name, by) => {
                let before = row.get(*name).and_then(Value::as_i64).unwrap_or(0);
                row.insert((*name).to_owned(), (before + by).into());
            }
            Self::Unset(name) => drop(row.remove(*name)),
        }
    }

    fn of_spec(&self) -> (String, Value) {
        match self {
            Self::Set(name, value) => ((*name).to_owned(), (*value).into()),
            Self::Add(name, by) => ((*name).to_owned(), json!({ "@@propmod": { "add": by } })),
            Self::Unset(name) => ((*name).to_owned(), json!({ "$t": "undefined" })),
        }
    }
}

fn spec(steps: &[Step]) -> Value {
    Value::Object(steps.iter().map(Step::of_spec).collect())
}

impl Criteria {
    fn means(&self, key: &str, row: &Row) -> bool {
        match self {
            Self::Any => true,
            Self::Ids(from, to) => *from.as_str() <= *key && *key < *to.as_str(),
            Self::Between(name, from, to) => row
                .get(*name)
                .and_then(Value::as_i64)
                .is_some_and(|value| u64::try_from(value).is_ok_and(|value| (*from..=*to).contains(&value))),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Any => {
                let lower = json!({ "$t": "number", "v": "-Infinity" });
                let range = json!({ "type": 3, "lower": lower, "lowerOpen": false, "upper": [[]], "upperOpen": false });
                json!({ "index": { "$t": "undefined" }, "range": range })
            }
            Self::Ids(from, to) => {
                let range =
                    json!({ "type": 2, "lower": from, "upper": to, "lowerOpen": false, "upperOpen": true });
                json!({ "index": null, "range": range })
            }
            Self::Between(name, from, to) if from == to => {
                json!({ "index": name, "range": { "type": 1, "lower": from, "upper": to } })
            }
            Self::Between(name, from, to) => {
                let range =
                    json!({ "type": 2, "lower": from, "upper": to, "lowerOpen": false, "upperOpen": false });
                json!({ "index": name, "range": range })
            }
        }
    }
}

impl Op {
    /// The keys that it names.
    #[must_use]
    pub fn keys(&self) -> Vec<&String> {
        match self {
            Self::Insert(rows) | Self::Put(rows) => rows.iter().map(|(key, _)| key).collect(),
            Self::Upsert(key, ..) | Self::PutTooDeep(key, _) => vec![key],
            Self::Update(keys, _) | Self::Modify(_, _, keys) | Self::Delete(keys) | Self::Clear(_, keys) => {
                keys.iter().collect()
            }
        }
    }

    /// The operations of a request that say it, without what says of which transaction they are.
    #[must_use]
    pub fn muts(&self) -> Vec<Row> {
        let rows = |kind: &str, rows: &[(String, Row)]| {
            let (keys, values): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
            json!({ "type": kind, "keys": keys, "values": values })
        };
        let in_chunks = |mut mutation: Value, criteria: &Criteria, keys: &[String]| -> Vec<Value> {
            mutation["criteria"] = criteria.json();
            let chunks = keys.chunks(KEYS_AT_ONCE).chain(keys.is_empty().then_some(keys));
            let chunk = |(at, keys): (usize, &[String])| {
                let mut mutation = mutation.clone();
                mutation["keys"] = json!(keys);
                if at > 0 {
                    mutation["isAdditionalChunk"] = true.into();
                }
                mutation
            };
            chunks.enumerate().map(chunk).collect()
        };
        let muts = match self {
            Self::Insert(inserted) => vec![rows("insert", inserted)],
            Self::Put(put) => vec![rows("upsert", put)],
            Self::PutTooDeep(key, row) => {
                let mut row = row.clone();
                row.insert("deep".to_owned(), (0..TOO_DEEP).fold(json!(1), |inner, _| json!([inner])));
                vec![rows("upsert", &[(key.clone(), row)])]
            }
            Self::Upsert(key, row, steps) => {
                let mut mutation = rows("upsert", &[(key.clone(), row.clone())]);
                mutation["changeSpecs"] = json!([spec(steps)]);
                vec![mutation]
            }
            Self::Update(keys, steps) => {
                let specs: Vec<_> = steps.iter().map(|steps| spec(steps)).collect();
                vec![json!({ "type": "update", "keys": keys, "changeSpecs": specs })]
            }
            Self::Modify(criteria, steps, keys) => {
                in_chunks(json!({ "type": "modify", "changeSpec": spec(steps) }), criteria, keys)
            }
            Self::Delete(keys) => {
                vec![json!({ "type": "delete", "keys": keys, "criteria": { "$t": "undefined" } })]
            }
            Self::Clear(criteria, keys) => in_chunks(json!({ "type": "delete" }), criteria, keys),
        };
        let object = |mutation| match mutation {
            Value::Object(mutation) => mutation,
            _ => Row::new(),
        };
        muts.into_iter().map(object).collect()
    }
}
