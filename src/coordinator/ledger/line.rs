//! The line of a record, behind its version: what is stored of its value, and what is published.

use super::Record;
use crate::{ids::Key, json::json_text};

/// The published line of a live record, behind its version.
#[must_use]
pub fn live_line(key: &Key, value: &str) -> String {
    let mut line = line_start(key);
    line.reserve(value.len() + 10);
    line.push_str("\"value\":");
    line.push_str(value);
    line.push('}');
    line
}

/// The published line of a deletion, behind its version.
#[must_use]
pub fn deleted_line(key: &Key) -> String {
    line_start(key) + "\"deleted\":true}"
}

impl Record {
    /// The record's value, or none if it is deleted.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<&str> {
        if self.deleted_at.is_some() {
            return None;
        }
        Some(value_of(&self.line, key))
    }

    /// The whole published line, with a line feed.
    #[must_use]
    pub fn published_line(&self) -> String {
        format!("{{\"version\":{},{}\n", self.clock.version, self.line)
    }
}

/// The value in the line of a live record.
pub(super) fn value_of<'a>(line: &'a str, key: &Key) -> &'a str {
    let start = line_start(key).len() + "\"value\":".len();
    line.get(start..line.len() - 1).expect("BUG: a stored line does not belong to its key")
}

fn line_start(key: &Key) -> String {
    // Collection names need no escapes.
    format!("\"collection\":\"{}\",\"id\":{},", key.collection, json_text(key.id.as_str()))
}
