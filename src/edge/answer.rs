//! Bodies and headers of answers.

use super::pull::{Answer, Source};
use crate::{
    call::OrderedCursor,
    ids::SpaceHash,
    protocol::{pull::Cursor, push::joined_lines},
    version::Position,
};

/// A JSON body for an answer that is one page.
///
/// # Panics
/// For a load, which is only ever streamed.
#[must_use]
pub fn json_page(answer: &Answer, space: &SpaceHash) -> String {
    let (position, reset, next, lines) = match answer {
        Answer::Nothing { position } => (position, false, None, ""),
        Answer::Changes { position, reset, lines } => (position, *reset, None, lines.as_str()),
        Answer::Page { position, reset, next, lines } => (position, *reset, next.as_ref(), lines.as_str()),
        Answer::Load(_) => panic!("BUG: a load was to be answered as JSON"),
    };
    let cursor = next.map_or_else(|| "null".to_owned(), |next| format!("\"{}\"", ordered(next).text(space)));
    format!(
        "{{\"epoch\":\"{}\",\"version\":{},\"reset\":{reset},\"more\":{},\"cursor\":{cursor},\"changes\":[{}]}}",
        position.epoch,
        position.version,
        next.is_some(),
        joined_lines(lines),
    )
}

/// The first line of a stream.
#[must_use]
pub fn stream_start(position: &Position, reset: bool) -> String {
    format!("{{\"epoch\":\"{}\",\"version\":{},\"reset\":{reset}}}\n", position.epoch, position.version)
}

/// A line from which a broken stream goes on.
#[must_use]
pub fn stream_cursor(cursor: &Cursor, space: &SpaceHash) -> String {
    format!("{{\"cursor\":\"{}\"}}\n", cursor.text(space))
}

/// The last line of a stream.
#[must_use]
pub fn stream_end(position: &Position) -> String {
    format!("{{\"end\":true,\"epoch\":\"{}\",\"version\":{}}}\n", position.epoch, position.version)
}

/// A whole stream, of an answer that is all there.
#[must_use]
pub fn whole_stream(answer: &Answer) -> Option<String> {
    let (position, reset, lines) = match answer {
        Answer::Nothing { position } => (position, false, ""),
        Answer::Changes { position, reset, lines } => (position, *reset, lines.as_str()),
        Answer::Load(load) if load.parts.is_empty() => (&load.position, load.reset, load.lines.as_str()),
        Answer::Load(_) | Answer::Page { .. } => return None,
    };
    Some(stream_start(position, reset) + lines + &stream_end(position))
}

/// The cursor as the wire has it.
#[must_use]
pub fn ordered(next: &OrderedCursor) -> Cursor {
    Cursor::Ordered {
        epoch: next.epoch.clone(),
        start: next.start,
        reached: next.reached,
        horizon: next.horizon,
    }
}

/// What an answer cost, counted by the shell: clocks stand still between I/O on the platform, but operations are what is
/// billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Looks into the location's cache. Free.
    pub cache: u32,
    /// KV keys read.
    pub kv: u32,
    /// Requests to the coordinator.
    pub object: u32,
    /// SQL rows read by it.
    pub rows_read: u32,
    /// SQL rows written by it.
    pub rows_written: u32,
}

impl Usage {
    /// The header's value.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let Self { cache, kv, object, rows_read, rows_written } = self;
        format!(
            "cache;desc=\"{cache}\", kv;desc=\"{kv}\", object;desc=\"{object}\", \
             rows_read;desc=\"{rows_read}\", rows_written;desc=\"{rows_written}\""
        )
    }

    /// Takes in what the coordinator says of its own part.
    pub fn add_rows(&mut self, server_timing: &str) {
        let count = |name: &str| {
            let entry = server_timing
                .split(", ")
                .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(";desc=\""));
            entry.and_then(|rest| rest.trim_end_matches('"').parse::<u32>().ok()).unwrap_or(0)
        };
        self.rows_read += count("rows_read");
        self.rows_written += count("rows_written");
    }
}

/// What the headers of a pull's answer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullHeaders {
    /// What a later request may send as `If-None-Match`.
    pub tag: String,
    /// The client's position from now on.
    pub position: Position,
    /// The furthest layer that was asked.
    pub source: Source,
    /// Milliseconds since the state was published.
    pub age_ms: u64,
}

impl PullHeaders {
    /// As `name\nvalue\n` pairs, for a stream.
    #[must_use]
    pub fn for_stream(&self) -> String {
        let Self { tag, position, source, age_ms } = self;
        format!(
            "Content-Type\n{}\nETag\n{tag}\nHeadwater-Version\n{}\nHeadwater-Source\n{}\n\
             Headwater-Age\n{}\n",
            crate::protocol::NDJSON,
            position.version,
            source.as_str(),
            age_ms / 1000,
        )
    }

    /// The values of `ETag`, `Headwater-Version`, `Headwater-Source` and `Headwater-Age`, each with a line feed.
    #[must_use]
    pub fn values(&self) -> String {
        let Self { tag, position, source, age_ms } = self;
        format!("{tag}\n{}\n{}\n{}\n", position.version, source.as_str(), age_ms / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinators_rows_are_part_of_the_bill() {
        let object = Usage { rows_read: 12, rows_written: 3, ..Usage::default() };
        let mut usage = Usage { object: 1, ..Usage::default() };
        usage.add_rows(&object.server_timing());
        assert_eq!(usage, Usage { object: 1, rows_read: 12, rows_written: 3, ..Usage::default() });
    }
}
