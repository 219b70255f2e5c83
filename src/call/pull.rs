//! A pull that the edge cannot answer, and what it is answered.

use serde::{Deserialize, Serialize};

use crate::{
    time::Millis,
    version::{Epoch, Position, Version},
};

/// A pull that the edge cannot answer, with what it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// The client's history, if it has one.
    pub epoch: Option<Epoch>,
    /// The client's version in it.
    pub since: Version,
    /// `<position>` that must be reached.
    pub min: Option<Position>,
    /// A version of the present epoch that must be reached.
    pub min_version: Option<Version>,
    /// Where a paged pull goes on: the `Ordered` cursor without its space.
    pub cursor: Option<OrderedCursor>,
    /// Whether a page is to begin a full state, as something of the published one is missing.
    pub restart: bool,
    /// Bytes after which a page ends.
    pub page_bytes: usize,
    /// The head that the edge holds and wants continued.
    pub held: Option<Position>,
    /// What the edge saw in KV, if it looked.
    pub seen: Seen,
    /// An object that the head named and KV does not have.
    pub missed: Option<String>,
    /// Whether the head's life is in its last third.
    pub expiring: bool,
}

/// A page of open conflicts is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConflictsAfter {
    /// Opened after this version.
    pub after: Version,
}

/// What a look into KV showed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The edge did not look, or could not.
    #[default]
    Unknown,
    /// There is no head.
    Nothing,
    /// A head at this position.
    Head(Position),
}

/// The coordinator's own cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedCursor {
    /// The history.
    pub epoch: Epoch,
    /// Where the pull began.
    pub start: Version,
    /// Up to where it has brought everything.
    pub reached: Version,
    /// The horizon when the page was made.
    pub horizon: Version,
}

/// The first line of the coordinator's answer to an [`Ask`]; record lines follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ReplyLine", into = "ReplyLine")]
pub enum Reply {
    /// Everything in (`from`, `version`], newest first: good for every reader of the space.
    Overlay {
        /// The history.
        epoch: Epoch,
        /// Where it begins.
        from: Version,
        /// Where the space stands.
        version: Version,
        /// The newest deletion that has been forgotten.
        horizon: Version,
        /// When the coordinator was asked.
        asked_at: Millis,
    },
    /// A page for one client, oldest first.
    Page {
        /// The history.
        epoch: Epoch,
        /// Where the space stands.
        version: Version,
        /// Whether this page begins a full state.
        reset: bool,
        /// Where the pull goes on, if it does.
        next: Option<OrderedCursor>,
    },
}

/// A reply's fields side by side: serde's own form of a tagged enum costs 12 KB of wasm.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ReplyLine {
    epoch: Option<Epoch>,
    version: Version,
    /// Present in an overlay, absent in a page.
    from: Option<Version>,
    horizon: Version,
    asked_at: Millis,
    reset: bool,
    next: Option<OrderedCursor>,
}

impl From<Reply> for ReplyLine {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Overlay { epoch, from, version, horizon, asked_at } => {
                Self { epoch: Some(epoch), version, from: Some(from), horizon, asked_at, ..Self::default() }
            }
            Reply::Page { epoch, version, reset, next } => {
                Self { epoch: Some(epoch), version, reset, next, ..Self::default() }
            }
        }
    }
}

impl TryFrom<ReplyLine> for Reply {
    type Error = &'static str;

    fn try_from(line: ReplyLine) -> Result<Self, Self::Error> {
        let ReplyLine { epoch, version, from, horizon, asked_at, reset, next } = line;
        let epoch = epoch.ok_or("a reply has an epoch")?;
        Ok(match from {
            Some(from) => Self::Overlay { epoch, from, version, horizon, asked_at },
            None => Self::Page { epoch, version, reset, next },
        })
    }
}

/// Joins a reply and its lines.
#[must_use]
pub fn encode_reply(reply: &Reply, lines: &str) -> String {
    let mut text = serde_json::to_string(reply).unwrap_or_default();
    text.reserve(lines.len() + 1);
    text.push('\n');
    text.push_str(lines);
    text
}

/// Parts a reply from its lines; none if it is not one.
#[must_use]
pub fn decode_reply(text: &str) -> Option<(Reply, &str)> {
    let (head, lines) = text.split_once('\n')?;
    Some((serde_json::from_str(head).ok()?, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_of_an_older_edge_is_understood() {
        let ask: Ask = serde_json::from_str(r#"{"since":41}"#).expect("an ask");
        assert_eq!(ask.since.get(), 41);
        assert_eq!(ask.seen, Seen::Unknown);
    }

    #[test]
    fn the_reply_is_pinned_because_worker_and_object_are_deployed_apart() {
        let epoch = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let reply = Reply::Overlay {
            epoch,
            from: Version::ZERO,
            version: Version::new(57).expect("a version"),
            horizon: Version::ZERO,
            asked_at: Millis(5),
        };
        let text = encode_reply(&reply, "{}\n");
        assert_eq!(
            text,
            "{\"epoch\":\"0mwrnsa6yk3v9q2\",\"version\":57,\"from\":0,\"horizon\":0,\"asked_at\":5,\
             \"reset\":false,\"next\":null}\n{}\n",
            "pulls would fail while a deployment is under way"
        );
        assert_eq!(decode_reply(&text), Some((reply, "{}\n")));
    }
}
