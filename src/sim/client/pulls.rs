//! What a client does with changes: pages, streams and live messages, applied as the contract says, whatever came first.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, Name};
use crate::{
    error::ApiError,
    ids::ContentHash,
    snapshot::head::PartName,
    version::{Epoch, Position, Version},
};

/// A pull under way, in the memory of a tab.
#[derive(Debug, Clone, Default)]
pub(super) struct Incoming {
    /// Where the client stood when it began.
    pub(super) since: Option<Position>,
    /// Of the newest page.
    epoch: Option<Epoch>,
    cursor: Option<String>,
    is_reset: bool,
    changes: Vec<(u64, Name, Option<String>)>,
}

/// What became of a piece of a pull.
#[derive(Debug)]
pub enum Taken {
    /// It goes on with a cursor, or from the start.
    Incomplete,
    /// The client has come further meanwhile by other means, and ignored it.
    Stale,
    /// The client has a new state.
    Complete {
        /// Where it stood when the pull began.
        before: Option<Position>,
        /// Where it stands.
        after: Position,
    },
}

#[derive(Deserialize)]
pub(super) struct Line<'a> {
    version: Option<u64>,
    collection: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    cursor: Option<String>,
    epoch: Option<Epoch>,
    reset: Option<bool>,
    #[serde(default)]
    end: bool,
    object: Option<PartName>,
}

/// An object that is being read, and what has come of it.
struct Part(PartName, String);

impl Part {
    /// I6: what comes behind the name of an object is what it is the name of. Whether the line belonged to it.
    fn take(part: &mut Option<Self>, line: &str) -> bool {
        let Some(Self(name, text)) = part else { return false };
        text.push_str(line);
        text.push('\n');
        assert!(text.len() <= name.bytes, "I6: an object is longer than a stream says");
        if text.len() == name.bytes {
            let hash = ContentHash::of(text.as_bytes());
            assert!(hash == name.sha256.0, "I6: an object is not the one that a stream names");
            *part = None;
        }
        true
    }
}

#[derive(Deserialize)]
pub(super) struct Page<'a> {
    pub(super) epoch: Epoch,
    pub(super) version: Version,
    reset: bool,
    pub(super) more: bool,
    cursor: Option<String>,
    #[serde(borrow)]
    pub(super) changes: Vec<Line<'a>>,
}

impl Line<'_> {
    pub(super) fn change(&self) -> (u64, Name, Option<String>) {
        let name = (self.collection.as_deref().expect("a collection"), self.id.as_deref().expect("an id"));
        let value = self.value.map(|value| value.get().to_owned());
        (self.version.expect("a version"), (name.0.to_owned(), name.1.to_owned()), value)
    }
}

impl Client {
    /// The body of its next pull, or of the next page of the one under way.
    #[must_use]
    pub fn pull_body(&self, tab: usize) -> String {
        let mut fields = Vec::new();
        let incoming = self.tabs[tab].as_ref();
        if let Some(position) = incoming.map_or(&self.position, |incoming| &incoming.since) {
            fields.push(format!("\"epoch\":\"{}\",\"since\":{}", position.epoch, position.version));
        }
        if let Some(min) = &self.min {
            fields.push(format!("\"min\":\"{min}\""));
        }
        if let Some(cursor) = incoming.and_then(|incoming| incoming.cursor.as_ref()) {
            fields.push(format!("\"cursor\":\"{cursor}\""));
        }
        if self.is_strict {
            fields.push("\"consistency\":\"strong\"".to_owned());
        }
        format!("{{{}}}", fields.join(","))
    }

    /// Takes in why its pull failed.
    pub fn take_pull_error(&mut self, tab: usize, error: &ApiError) {
        if *error == ApiError::CursorExpired {
            self.tabs[tab] = None;
            self.is_strict = true;
        }
        if *error == ApiError::GrantRequired {
            self.grant = None;
        }
    }

    /// Takes in a JSON page of a pull that began at `since`.
    pub fn take_page(&mut self, tab: usize, since: Option<&Position>, text: &str) -> Taken {
        let page: Page<'_> = serde_json::from_str(text).expect("a page is JSON");
        let incoming = self.begin_piece(tab, since, &page.epoch, page.reset);
        incoming.changes.extend(page.changes.iter().map(Line::change));
        incoming.cursor = page.cursor;
        assert!(page.more == incoming.cursor.is_some(), "a page has more exactly if it has a cursor");
        if page.more {
            return Taken::Incomplete;
        }
        self.complete(tab, Position { epoch: page.epoch, version: page.version })
    }

    /// Takes in a stream, whole or broken. What stands behind the last cursor of a broken one is not stored.
    pub fn take_stream(&mut self, tab: usize, since: Option<&Position>, text: &str) -> Taken {
        let (mut piece, mut part) = (Vec::new(), None);
        for (index, text) in text.lines().enumerate() {
            let is_of_part = Part::take(&mut part, text);
            let line: Line<'_> = serde_json::from_str(text).expect("each line of a stream is JSON");
            if index == 0 {
                let epoch = line.epoch.as_ref().expect("a stream begins with its epoch");
                let reset = line.reset.expect("a stream begins with whether it resets");
                self.begin_piece(tab, since, epoch, reset);
                continue;
            }
            assert!(is_of_part || part.is_none(), "BUG: an object has begun twice");
            if let Some(name) = line.object {
                part = Some(Part(name, String::new()));
                continue;
            }
            let incoming = self.tabs[tab].get_or_insert_default();
            if line.end {
                incoming.changes.append(&mut piece);
                let version = line.version.and_then(Version::new).expect("a stream ends with its version");
                let epoch = line.epoch.expect("a stream ends with its epoch");
                return self.complete(tab, Position { epoch, version });
            }
            if let Some(cursor) = line.cursor {
                incoming.changes.append(&mut piece);
                incoming.cursor = Some(cursor);
            } else {
                piece.push(line.change());
            }
        }
        if self.tabs[tab].as_ref().is_some_and(|incoming| incoming.cursor.is_none()) {
            self.tabs[tab] = None;
        }
        Taken::Incomplete
    }

    fn begin_piece(
        &mut self,
        tab: usize,
        since: Option<&Position>,
        epoch: &Epoch,
        reset: bool,
    ) -> &mut Incoming {
        let begun = || Incoming { since: since.cloned(), ..Incoming::default() };
        let incoming = self.tabs[tab].get_or_insert_with(begun);
        if reset {
            *incoming = Incoming { is_reset: true, since: incoming.since.take(), ..Incoming::default() };
        }
        let mine = incoming.since.as_ref().map(|position| &position.epoch);
        let last = incoming.epoch.as_ref().or(mine.filter(|_| !incoming.is_reset));
        assert!(
            last.is_none_or(|last| last == epoch),
            "I7: the epoch changed within a pull and nothing was reset"
        );
        incoming.epoch = Some(epoch.clone());
        incoming
    }

    fn complete(&mut self, tab: usize, after: Position) -> Taken {
        let incoming = self.tabs[tab].take().unwrap_or_default();
        let before = incoming.since;
        self.is_strict = false;
        if self.position.as_ref().is_some_and(|position| *position > after) {
            let goes_back = before.as_ref().is_some_and(|before| *before > after);
            return if goes_back { Taken::Complete { before, after } } else { Taken::Stale };
        }
        self.apply(incoming.changes, incoming.is_reset || begins_at_nothing(before.as_ref()));
        self.advance(after.clone());
        Taken::Complete { before, after }
    }

    /// Takes in a live message: the changes above `from`, or none if they were too many. Gives the new position if the
    /// changes brought it there.
    pub fn take_live(&mut self, from: Version, at: &Position, lines: Option<&str>) -> Option<Position> {
        let follows = self
            .position
            .as_ref()
            .is_some_and(|own| own.epoch == at.epoch && (own.version >= from || planted!(LiveGapIgnored)));
        let lines = lines.filter(|_| follows && !self.is_pulling());
        let Some(lines) = lines else {
            self.learn_min(at.clone());
            return None;
        };
        let parse = |line| serde_json::from_str::<Line<'_>>(line).expect("a live message has record lines");
        let is_late = self.position.as_ref().is_some_and(|own| own >= at);
        self.apply(lines.lines().map(|line| parse(line).change()).collect(), false);
        if is_late {
            return self.position.clone();
        }
        self.advance(at.clone());
        Some(at.clone())
    }

    pub(super) fn apply(&mut self, changes: Vec<(u64, Name, Option<String>)>, is_reset: bool) {
        let known = self.position.as_ref().map_or(0, |position| position.version.get());
        if is_reset {
            self.records.clear();
        }
        for (version, name, value) in changes {
            if version <= known && !is_reset && !planted!(OldChangesApplied) {
                continue;
            }
            match value {
                Some(value) => self.records.insert(name, value),
                None => self.records.remove(&name),
            };
        }
    }

    pub(super) fn advance(&mut self, to: Position) {
        let back = self.position.as_ref().is_some_and(|position| *position > to);
        assert!(!back, "I3: {} went back from {:?} to {to}", self.name, self.position);
        if self.min.as_ref().is_some_and(|min| *min <= to) {
            self.min = None;
        }
        self.position = Some(to);
    }
}

/// Whether changes since `since` are a full state. It need not name deletions: what the client has got by other means since
/// it asked has to go.
pub(super) fn begins_at_nothing(since: Option<&Position>) -> bool {
    since.is_none_or(|since| since.version == Version::ZERO) && !planted!(FullLoadMerged)
}
