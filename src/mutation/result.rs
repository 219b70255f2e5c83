//! What a push is answered with.

use serde_json::{Value, json};

use crate::{
    ids::Key,
    json::json_text,
    mutation::Rejection,
    version::{ConflictId, Version},
};

/// How a mutation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is part of the state from this version on, or changed nothing.
    Applied(Version),
    /// The same, but an operation of it found no record, had none to put, and did nothing.
    Missing(Version),
    /// Others changed what it rests on, or it follows a mutation to which that happened: it is parked and changed nothing.
    Conflict {
        /// Where it is parked.
        id: ConflictId,
        /// What stands in its way, as far as the answer has room.
        standing: Vec<Obstacle>,
    },
    /// It cannot be applied and changed nothing.
    Rejected(Rejection),
    /// It was settled, and how has been forgotten.
    Done,
}

/// What stands where a mutation conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The record.
    pub key: Key,
    /// Its last change; 0 where even the deletion has been forgotten.
    pub version: Version,
    /// What is there, as far as it is told.
    pub there: There,
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// A record with this value.
    Value(String),
    /// None.
    Nothing,
    /// That has no room in the answer: its client has it by pulling.
    Untold,
}

/// The result of one mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationResult {
    /// Its number.
    pub id: u64,
    /// How it ended.
    pub settled: Settled,
    /// Whether it had been settled before this push.
    pub duplicate: bool,
}

/// Record lines as the members of a JSON array.
#[must_use]
pub fn joined_lines(lines: &str) -> String {
    lines.strip_suffix('\n').unwrap_or(lines).replace('\n', ",")
}

impl MutationResult {
    /// The result without what stands in the way of a conflict.
    #[must_use]
    pub fn brief(&self) -> Value {
        let mut result = match &self.settled {
            Settled::Applied(version) => json!({ "id": self.id, "status": "applied", "version": version }),
            Settled::Missing(version) => {
                json!({ "id": self.id, "status": "applied", "version": version, "missing": true })
            }
            Settled::Rejected(rejection) => json!({
                "id": self.id, "status": "rejected", "code": rejection.code.as_str(), "detail": rejection.detail
            }),
            Settled::Conflict { id, .. } => {
                json!({ "id": self.id, "status": "conflict", "conflict": id.to_string() })
            }
            Settled::Done => json!({ "id": self.id, "status": "done" }),
        };
        if self.duplicate {
            result["duplicate"] = Value::Bool(true);
        }
        result
    }

    /// The result as it is told.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = self.brief().to_string();
        if let Settled::Conflict { standing, .. } = &self.settled {
            let records: Vec<String> = standing.iter().map(Obstacle::to_json).collect();
            text.truncate(text.len() - 1);
            text += &format!(",\"records\":[{}]}}", records.join(","));
        }
        text
    }
}

impl Obstacle {
    /// As it is told.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { key, version, there } = self;
        let there = match there {
            There::Value(value) => format!(",\"theirs\":{value}"),
            There::Nothing => ",\"deleted\":true".to_owned(),
            There::Untold => String::new(),
        };
        let id = json_text(key.id.as_str());
        format!("{{\"collection\":\"{}\",\"id\":{id},\"version\":{version}{there}}}", key.collection)
    }
}
