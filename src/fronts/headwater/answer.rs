//! Bodies and headers of answers.

use crate::{
    call::OrderedCursor, fronts::headwater::pull::Cursor, ids::SpaceHash, mutation::joined_lines,
    snapshot::head::PartName, version::Position,
};

/// How the answer will be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pages.
    Json,
    /// A stream.
    Ndjson,
}

/// The furthest layer that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The isolate's memory or the location's cache.
    Edge,
    /// KV.
    Kv,
    /// The space's coordinator.
    Coordinator,
}

impl Source {
    /// The word in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Kv => "kv",
            Self::Coordinator => "coordinator",
        }
    }
}

/// What a pull is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum PullAnswer {
    /// Nothing is newer than what the client has.
    Nothing {
        /// The client's position from now on.
        position: Position,
    },
    /// Everything that is newer.
    Changes {
        /// The client's position from now on.
        position: Position,
        /// Whether this begins a full state.
        reset: bool,
        /// Record lines.
        lines: String,
    },
    /// A stream of published objects, then lines.
    Load(Load),
    /// A page by the coordinator.
    Page {
        /// Where the space stands.
        position: Position,
        /// Whether this page begins a full state.
        reset: bool,
        /// Where the pull goes on, if it does.
        next: Option<OrderedCursor>,
        /// Record lines.
        lines: String,
    },
}

impl PullAnswer {
    /// Where the client will stand.
    #[must_use]
    pub fn position(&self) -> &Position {
        match self {
            Self::Nothing { position } | Self::Changes { position, .. } | Self::Page { position, .. } => {
                position
            }
            Self::Load(load) => &load.position,
        }
    }
}

/// A load of published objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The client's position when all has arrived.
    pub position: Position,
    /// Whether it begins a full state.
    pub reset: bool,
    /// Objects to stream, in order.
    pub parts: Vec<PartName>,
    /// After each of the first so many parts a cursor makes sense.
    pub resumable: usize,
    /// The cursor after the first part; each further part counts `done` up.
    pub cursor: Option<Cursor>,
    /// Record lines that follow the objects.
    pub lines: String,
}

/// A JSON body for an answer that is one page.
///
/// # Panics
/// For a load, which is only ever streamed.
#[must_use]
pub fn json_page(answer: &PullAnswer, space: &SpaceHash) -> String {
    let (position, reset, next, lines) = match answer {
        PullAnswer::Nothing { position } => (position, false, None, ""),
        PullAnswer::Changes { position, reset, lines } => (position, *reset, None, lines.as_str()),
        PullAnswer::Page { position, reset, next, lines } => {
            (position, *reset, next.as_ref(), lines.as_str())
        }
        PullAnswer::Load(_) => panic!("BUG: a load was to be answered as JSON"),
    };
    let text = |next: &OrderedCursor| format!("\"{}\"", Cursor::Ordered(next.clone()).text(space));
    let cursor = next.map_or_else(|| "null".to_owned(), text);
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

/// A line before the lines of a published object, whose bytes follow as they are: whoever wants to can check them.
#[must_use]
pub fn stream_object(part: &PartName) -> String {
    format!("{{\"object\":{{\"sha256\":\"{}\",\"bytes\":{}}}}}\n", part.sha256.0.as_str(), part.bytes)
}

/// The last line of a stream.
#[must_use]
pub fn stream_end(position: &Position) -> String {
    format!("{{\"end\":true,\"epoch\":\"{}\",\"version\":{}}}\n", position.epoch, position.version)
}

/// A whole stream, of an answer that is all there.
#[must_use]
pub fn whole_stream(answer: &PullAnswer) -> Option<String> {
    let (position, reset, lines) = match answer {
        PullAnswer::Nothing { position } => (position, false, ""),
        PullAnswer::Changes { position, reset, lines } => (position, *reset, lines.as_str()),
        PullAnswer::Load(load) if load.parts.is_empty() => (&load.position, load.reset, load.lines.as_str()),
        PullAnswer::Load(_) | PullAnswer::Page { .. } => return None,
    };
    Some(stream_start(position, reset) + lines + &stream_end(position))
}

/// The header that says how much is left of the day's budget of object requests.
pub const BUDGET_HEADER: &str = "Headwater-Budget";

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
    /// What is left of the day's budget of object requests, if that runs low.
    pub budget: Option<String>,
}

impl PullHeaders {
    /// As `name\nvalue\n` pairs, for a stream.
    #[must_use]
    pub fn for_stream(&self) -> String {
        let Self { tag, position, source, age_ms, budget } = self;
        let budget =
            budget.as_ref().map_or_else(String::new, |budget| format!("{BUDGET_HEADER}\n{budget}\n"));
        format!(
            "Content-Type\n{}\nETag\n{tag}\nHeadwater-Version\n{}\nHeadwater-Source\n{}\n\
             Headwater-Age\n{}\n{budget}",
            crate::fronts::headwater::NDJSON,
            position.version,
            source.as_str(),
            age_ms / 1000,
        )
    }

    /// The values of `ETag`, `Headwater-Version`, `Headwater-Source`, `Headwater-Age` and `Headwater-Budget`, each with a line feed.
    /// The last is empty where there is no such header.
    #[must_use]
    pub fn values(&self) -> String {
        let Self { tag, position, source, age_ms, budget } = self;
        let budget = budget.as_deref().unwrap_or_default();
        format!("{tag}\n{}\n{}\n{}\n{budget}\n", position.version, source.as_str(), age_ms / 1000)
    }
}
