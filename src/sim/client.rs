//! A model client: numbers its mutations, keeps them until they are settled, and applies changes as the contract says.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    protocol::{
        error::ApiError,
        push::{PushAnswer, Settled},
    },
    version::{Epoch, Position, Version},
};

/// A record's collection and id.
pub type Name = (String, String);
/// Records as a client sees them.
pub type Records = BTreeMap<Name, String>;

/// A mutation in the outbox.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number.
    pub id: u64,
    /// The JSON text of its changes.
    pub changes: String,
    /// The position of the client when it was made.
    pub base: Option<Position>,
    /// For whoever checks it.
    pub mark: u64,
}

/// A pull under way.
#[derive(Debug, Default)]
struct Incoming {
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
    /// The client has a new state.
    Complete {
        /// Where it stood.
        before: Option<Position>,
        /// Where it stands.
        after: Position,
    },
}

/// One device.
#[derive(Debug)]
pub struct Client {
    /// Its client id.
    pub name: String,
    /// Its records, without its own unsettled mutations.
    pub records: Records,
    /// Where it stands, once it has pulled.
    pub position: Option<Position>,
    /// A position it knows to exist.
    pub min: Option<Position>,
    /// What it has not had settled.
    pub outbox: VecDeque<Queued>,
    /// Whether its next pull asks for the coordinator's word.
    pub is_strict: bool,
    next_id: u64,
    acked: u64,
    names: u32,
    incoming: Option<Incoming>,
}

#[derive(Deserialize)]
struct Line<'a> {
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
}

#[derive(Deserialize)]
struct Page<'a> {
    epoch: Epoch,
    version: Version,
    reset: bool,
    more: bool,
    cursor: Option<String>,
    #[serde(borrow)]
    changes: Vec<Line<'a>>,
}

impl Line<'_> {
    fn change(&self) -> (u64, Name, Option<String>) {
        let name = (self.collection.as_deref().expect("a collection"), self.id.as_deref().expect("an id"));
        let value = self.value.map(|value| value.get().to_owned());
        (self.version.expect("a version"), (name.0.to_owned(), name.1.to_owned()), value)
    }
}

impl Client {
    /// A client that knows nothing.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            records: Records::new(),
            position: None,
            min: None,
            outbox: VecDeque::new(),
            is_strict: false,
            next_id: 1,
            acked: 0,
            names: 0,
            incoming: None,
        }
    }

    /// Puts a mutation with these changes (a JSON array) into the outbox.
    pub fn queue(&mut self, changes: &str, mark: u64) {
        let mutation =
            Queued { id: self.next_id, changes: changes.to_owned(), base: self.position.clone(), mark };
        self.outbox.push_back(mutation);
        self.next_id += 1;
    }

    /// The device is new: nothing is left of what it had, its outbox included.
    pub fn start_over(&mut self) {
        self.names += 1;
        let stem = self.name.split('.').next().unwrap_or_default();
        let stem = stem.split('-').next().unwrap_or_default();
        *self = Self { names: self.names, ..Self::new(&format!("{stem}-n{}", self.names)) };
    }

    /// The app is closed in the middle of a pull and what it had brought is lost.
    pub fn forget_pull(&mut self) {
        self.incoming = None;
    }

    /// Whether a pull is under way.
    #[must_use]
    pub fn is_pulling(&self) -> bool {
        self.incoming.is_some()
    }

    /// The body of its next push.
    #[must_use]
    pub fn push_body(&self) -> String {
        let epoch = self.position.as_ref().map(|position| &position.epoch);
        let mutations: Vec<String> = self.outbox.iter().map(|queued| mutation_text(queued, epoch)).collect();
        let place = self.position.as_ref().map_or_else(String::new, |position| {
            format!("\"epoch\":\"{}\",\"since\":{},", position.epoch, position.version)
        });
        let mutations = mutations.join(",");
        format!(
            "{{\"client\":\"{}\",{place}\"acked\":{},\"mutations\":[{mutations}]}}",
            self.name, self.acked
        )
    }

    /// Takes in the answer to its push; gives its new position if the changes brought it there.
    pub fn take_push_answer(&mut self, answer: &PushAnswer) -> Option<Position> {
        for result in &answer.results {
            assert!(result.settled != Settled::Done || result.duplicate, "a new mutation has a result");
            if self.outbox.front().is_some_and(|queued| queued.id == result.id) {
                self.outbox.pop_front();
                self.acked = result.id;
            }
        }
        let text = answer.to_json();
        let page: Page<'_> = serde_json::from_str(&text).expect("the answer to a push is JSON");
        let here = Position { epoch: page.epoch.clone(), version: page.version };
        let same_epoch = self.position.as_ref().is_some_and(|position| position.epoch == here.epoch);
        if page.more || !same_epoch || self.incoming.is_some() {
            self.min = self.min.take().max(Some(here));
            return None;
        }
        self.apply(page.changes.iter().map(Line::change).collect(), false);
        self.advance(here.clone());
        Some(here)
    }

    /// Takes in why its push was refused.
    pub fn take_push_error(&mut self, error: &ApiError) {
        match error {
            ApiError::EpochMismatch { position, last, .. } => {
                self.outbox.retain(|queued| queued.id > *last);
                self.min = self.min.take().max(Some(position.clone()));
                self.number_anew();
            }
            ApiError::ClientForked { .. } | ApiError::OutOfOrder { .. } => self.number_anew(),
            _ => {}
        }
    }

    fn number_anew(&mut self) {
        self.names += 1;
        let stem = self.name.split('-').next().unwrap_or_default();
        self.name = format!("{stem}-n{}", self.names);
        for (id, queued) in (1..).zip(&mut self.outbox) {
            queued.id = id;
        }
        self.next_id = self.outbox.len() as u64 + 1;
        self.acked = 0;
    }

    /// The body of its next pull, or of the next page of the one under way.
    #[must_use]
    pub fn pull_body(&self) -> String {
        let mut fields = Vec::new();
        if let Some(position) = &self.position {
            fields.push(format!("\"epoch\":\"{}\",\"since\":{}", position.epoch, position.version));
        }
        if let Some(min) = &self.min {
            fields.push(format!("\"min\":\"{min}\""));
        }
        if let Some(cursor) = self.incoming.as_ref().and_then(|incoming| incoming.cursor.as_ref()) {
            fields.push(format!("\"cursor\":\"{cursor}\""));
        }
        if self.is_strict {
            fields.push("\"consistency\":\"strong\"".to_owned());
        }
        format!("{{{}}}", fields.join(","))
    }

    /// Takes in why its pull failed.
    pub fn take_pull_error(&mut self, error: &ApiError) {
        if *error == ApiError::CursorExpired {
            self.incoming = None;
            self.is_strict = true;
        }
    }

    /// Takes in a JSON page.
    pub fn take_page(&mut self, text: &str) -> Taken {
        let page: Page<'_> = serde_json::from_str(text).expect("a page is JSON");
        self.begin_piece(&page.epoch, page.reset);
        let incoming = self.incoming.get_or_insert_default();
        incoming.changes.extend(page.changes.iter().map(Line::change));
        incoming.cursor = page.cursor;
        assert!(page.more == incoming.cursor.is_some(), "a page has more exactly if it has a cursor");
        if page.more {
            return Taken::Incomplete;
        }
        self.complete(Position { epoch: page.epoch, version: page.version })
    }

    /// Takes in a stream, whole or broken. What stands behind the last cursor of a broken one is not stored.
    pub fn take_stream(&mut self, text: &str) -> Taken {
        let mut piece = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line: Line<'_> = serde_json::from_str(line).expect("each line of a stream is JSON");
            if index == 0 {
                let epoch = line.epoch.as_ref().expect("a stream begins with its epoch");
                self.begin_piece(epoch, line.reset.expect("a stream begins with whether it resets"));
                continue;
            }
            let incoming = self.incoming.get_or_insert_default();
            if line.end {
                incoming.changes.append(&mut piece);
                let version = line.version.and_then(Version::new).expect("a stream ends with its version");
                return self.complete(Position {
                    epoch: line.epoch.expect("a stream ends with its epoch"),
                    version,
                });
            }
            if let Some(cursor) = line.cursor {
                incoming.changes.append(&mut piece);
                incoming.cursor = Some(cursor);
            } else {
                piece.push(line.change());
            }
        }
        if self.incoming.as_ref().is_some_and(|incoming| incoming.cursor.is_none()) {
            self.incoming = None;
        }
        Taken::Incomplete
    }

    fn begin_piece(&mut self, epoch: &Epoch, reset: bool) {
        if reset {
            self.incoming = Some(Incoming { is_reset: true, ..Incoming::default() });
        }
        let mine = self.position.as_ref().map(|position| &position.epoch);
        let incoming = self.incoming.get_or_insert_default();
        let last = incoming.epoch.as_ref().or(mine.filter(|_| !incoming.is_reset));
        assert!(
            last.is_none_or(|last| last == epoch),
            "the epoch changed within a pull and nothing was reset"
        );
        incoming.epoch = Some(epoch.clone());
    }

    fn complete(&mut self, after: Position) -> Taken {
        let incoming = self.incoming.take().unwrap_or_default();
        let before = self.position.clone();
        self.apply(incoming.changes, incoming.is_reset);
        self.advance(after.clone());
        self.is_strict = false;
        if self.min.as_ref().is_some_and(|min| *min <= after) {
            self.min = None;
        }
        Taken::Complete { before, after }
    }

    fn apply(&mut self, changes: Vec<(u64, Name, Option<String>)>, is_reset: bool) {
        let known = self.position.as_ref().map_or(0, |position| position.version.get());
        if is_reset {
            self.records.clear();
        }
        for (version, name, value) in changes {
            if version <= known && !is_reset {
                continue;
            }
            match value {
                Some(value) => self.records.insert(name, value),
                None => self.records.remove(&name),
            };
        }
    }

    fn advance(&mut self, to: Position) {
        let back = self.position.as_ref().is_some_and(|position| *position > to);
        assert!(!back, "I3: {} went back from {:?} to {to}", self.name, self.position);
        self.position = Some(to);
    }
}

fn mutation_text(queued: &Queued, epoch: Option<&Epoch>) -> String {
    let base = queued.base.as_ref().map_or_else(
        || "\"base\":0,".to_owned(),
        |base| {
            let other = epoch.filter(|epoch| **epoch != base.epoch);
            let other = other.map_or_else(String::new, |_| format!("\"epoch\":\"{}\",", base.epoch));
            format!("{other}\"base\":{},", base.version)
        },
    );
    format!("{{\"id\":{},{base}\"changes\":{}}}", queued.id, queued.changes)
}
