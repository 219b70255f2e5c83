//! A model client: one local database with two tabs on it. It numbers its mutations, keeps them until they are settled, and
//! applies changes as the contract says, also when answers come late or when the other tab has come further meanwhile.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::network::SentPush;
use crate::{
    protocol::{
        error::ApiError,
        push::{MutationResult, PushAnswer, Settled},
    },
    version::{Epoch, Position, Version},
};

/// A record's collection and id.
pub type Name = (String, String);
/// Records as a client sees them.
pub type Records = BTreeMap<Name, String>;

/// Tabs that share a client's database.
pub const TABS: usize = 2;
/// Stands for the outbox where answers are waited for. The tabs share it: one push is under way at a time, and an answer to
/// an earlier one is ignored. Otherwise a late refusal would have the outbox numbered anew while the same mutations are
/// being applied under their old numbers.
pub const OUTBOX: usize = TABS;

/// Mutations that it sends at once.
pub const PUSH_MUTATIONS_MAX: usize = 8;

/// A mutation in the outbox.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number.
    pub id: u64,
    /// The JSON text of its changes.
    pub changes: Rc<str>,
    /// The position of the client when it was made.
    pub base: Option<Position>,
    /// For whoever checks it.
    pub mark: u64,
}

/// A pull under way, in the memory of a tab.
#[derive(Debug, Clone, Default)]
struct Incoming {
    /// Where the client stood when it began.
    since: Option<Position>,
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

/// How an answer to a push left the outbox.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Mutations that left it, with their results.
    pub settled: Vec<(u64, Settled)>,
    /// Mutations that left it without one.
    pub dropped: Vec<u64>,
    /// Whether the rest was numbered anew under another client id.
    pub is_renumbered: bool,
}

/// One device. A clone is a copy of its database, as a backup is.
#[derive(Debug, Clone)]
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
    /// Its policy for conflicts.
    pub policy: &'static str,
    /// Whether its next pull asks for the coordinator's word.
    pub is_strict: bool,
    device: usize,
    next_id: u64,
    acked: u64,
    names: u32,
    tabs: [Option<Incoming>; TABS],
    /// Requests that were sent.
    pub requests: u64,
    /// The request whose answer each tab waits for, and the outbox.
    pub waits_for: [u64; TABS + 1],
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
        let device = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        Self {
            device: device.parse().unwrap_or_default(),
            name: name.to_owned(),
            records: Records::new(),
            position: None,
            min: None,
            outbox: VecDeque::new(),
            is_strict: false,
            policy: "reject",
            next_id: 1,
            acked: 0,
            names: 0,
            tabs: [None, None],
            requests: 0,
            waits_for: [0; TABS + 1],
        }
    }

    /// Puts a mutation with these changes (a JSON array) into the outbox.
    pub fn queue(&mut self, changes: &str, mark: u64) {
        let mutation =
            Queued { id: self.next_id, changes: changes.into(), base: self.position.clone(), mark };
        self.outbox.push_back(mutation);
        self.next_id += 1;
    }

    /// Rewrites the last mutation, although it may have been sent already, as home-made clients do when an answer was
    /// lost. An answer that still arrives is for what was, and is ignored.
    pub fn compact(&mut self, changes: &str, mark: u64) {
        if let Some(last) = self.outbox.back_mut() {
            (last.changes, last.mark) = (changes.into(), mark);
            self.waits_for[OUTBOX] = 0;
        }
    }

    /// The device is new: nothing is left of what it had, its outbox included.
    pub fn start_over(&mut self) {
        let (names, device, requests) = (self.names, self.device, self.requests);
        *self = Self { names, device, requests, ..Self::new("") };
        self.take_new_name();
    }

    /// The database is replaced by a copy of itself, or of another device's; tabs are closed.
    pub fn restore(&mut self, copy: &Self) {
        // Names stay unique in the world, as random client ids are.
        let (names, device, requests) = (self.names.max(copy.names), self.device, self.requests);
        *self =
            Self { names, device, requests, tabs: [None, None], waits_for: [0; TABS + 1], ..copy.clone() };
    }

    /// A tab is closed in the middle of a pull and what it had brought is lost.
    pub fn forget_pull(&mut self, tab: usize) {
        self.tabs[tab] = None;
        self.waits_for[tab] = 0;
    }

    /// Whether a pull is under way in any tab.
    #[must_use]
    pub fn is_pulling(&self) -> bool {
        self.tabs.iter().any(Option::is_some)
    }

    /// Whether a pull is under way in this tab.
    #[must_use]
    pub fn is_pulling_in(&self, tab: usize) -> bool {
        self.tabs[tab].is_some()
    }

    /// Where it stood when the pull of this tab began, or stands if none has.
    #[must_use]
    pub fn pull_began_at(&self, tab: usize) -> Option<Position> {
        self.tabs[tab].as_ref().map_or(&self.position, |incoming| &incoming.since).clone()
    }

    /// The body of its next push.
    #[must_use]
    pub fn push_body(&self) -> String {
        let epoch = self.position.as_ref().map(|position| &position.epoch);
        let mutations = self.outbox.iter().take(PUSH_MUTATIONS_MAX);
        let mutations: Vec<String> = mutations.map(|queued| mutation_text(queued, epoch)).collect();
        let place = self.position.as_ref().map_or_else(String::new, |position| {
            format!("\"epoch\":\"{}\",\"since\":{},", position.epoch, position.version)
        });
        let place = if planted!(EpochLeftOut) { String::new() } else { place };
        let mutations = mutations.join(",");
        format!(
            "{{\"client\":\"{}\",{place}\"acked\":{},\"onConflict\":\"{}\",\"mutations\":[{mutations}]}}",
            self.name, self.acked, self.policy
        )
    }

    /// Takes in the answer to a push; gives its new position if the changes brought it there.
    pub fn take_push_answer(
        &mut self,
        sent: &SentPush,
        answer: &PushAnswer,
        outcome: &mut Outcome,
    ) -> Option<Position> {
        self.take_results(&sent.name, &answer.results, outcome);
        let text = answer.to_json();
        let page: Page<'_> = serde_json::from_str(&text).expect("the answer to a push is JSON");
        let here = Position { epoch: page.epoch.clone(), version: page.version };
        let same_epoch = self.position.as_ref().is_some_and(|position| position.epoch == here.epoch);
        if page.more || !same_epoch || self.is_pulling() {
            self.learn_min(here);
            return None;
        }
        if self.position.as_ref().is_some_and(|position| *position > here) {
            return None;
        }
        self.apply(page.changes.iter().map(Line::change).collect(), begins_at_nothing(sent.since.as_ref()));
        self.advance(here.clone());
        Some(here)
    }

    /// Takes in why a push of `name` was refused. What is settled leaves the outbox with its result.
    pub fn take_push_error(&mut self, name: &str, error: &ApiError, outcome: &mut Outcome) {
        if name != self.name {
            return;
        }
        match error {
            ApiError::EpochMismatch { position, last, settled } => {
                self.learn_min(position.clone());
                self.leave(*last, settled, outcome);
            }
            ApiError::ClientForked { last, settled } => self.leave(*last, settled, outcome),
            ApiError::OutOfOrder { expected } => {
                // What it no longer holds it cannot send: a late answer of an earlier push says less than it knows.
                let first = self.outbox.front().map_or(self.next_id, |queued| queued.id);
                if *expected < first {
                    self.number_anew();
                    outcome.is_renumbered = true;
                }
            }
            _ => {}
        }
    }

    /// Takes in what of a refused push was settled. What is left is numbered anew, unless the history may contain more of it
    /// than was sent: that is asked for in the same way first, or nobody would be told how it ended.
    fn leave(&mut self, last: u64, settled: &[MutationResult], outcome: &mut Outcome) {
        let name = self.name.clone();
        self.take_results(&name, settled, outcome);
        let may_have_more = !settled.is_empty() && self.outbox.front().is_some_and(|next| next.id <= last);
        if may_have_more && !planted!(LastTrustedBlindly) {
            return;
        }
        let gone = self.outbox.iter().take_while(|queued| queued.id <= last).count();
        outcome.dropped.extend(self.outbox.drain(..gone).map(|queued| queued.mark));
        self.number_anew();
        outcome.is_renumbered = true;
    }

    fn take_results(&mut self, name: &str, results: &[MutationResult], outcome: &mut Outcome) {
        // Numbers of a name that it no longer has say nothing about the outbox.
        if name != self.name {
            return;
        }
        for result in results {
            let Some(first) = self.outbox.front().filter(|queued| queued.id == result.id) else { continue };
            outcome.settled.push((first.mark, result.settled.clone()));
            self.acked = result.id;
            self.outbox.pop_front();
        }
    }

    fn learn_min(&mut self, position: Position) {
        if self.position.as_ref().is_none_or(|own| *own < position) {
            self.min = self.min.take().max(Some(position));
        }
    }

    fn number_anew(&mut self) {
        self.take_new_name();
        for (id, queued) in (1..).zip(&mut self.outbox) {
            queued.id = id;
        }
        self.next_id = self.outbox.len() as u64 + 1;
        self.acked = 0;
    }

    fn take_new_name(&mut self) {
        self.names += 1;
        self.name = format!("client{:02}-{}", self.device, self.names);
    }

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
        let mut piece = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line: Line<'_> = serde_json::from_str(line).expect("each line of a stream is JSON");
            if index == 0 {
                let epoch = line.epoch.as_ref().expect("a stream begins with its epoch");
                let reset = line.reset.expect("a stream begins with whether it resets");
                self.begin_piece(tab, since, epoch, reset);
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

    fn apply(&mut self, changes: Vec<(u64, Name, Option<String>)>, is_reset: bool) {
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

    fn advance(&mut self, to: Position) {
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
fn begins_at_nothing(since: Option<&Position>) -> bool {
    since.is_none_or(|since| since.version == Version::ZERO) && !planted!(FullLoadMerged)
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
