//! What ought to be: the history of the space by the contract alone, and a checker for each invariant that a world can
//! break. A checker that finds a violation panics with a message that begins with the invariant's name.

mod conflicts;
mod directory;
mod members;
mod parked;
mod published;
mod pushes;
mod refusals;
mod transactions;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

pub use directory::{Listed, Shown};
pub use members::Deed;
use members::Invited;
use parked::Parked;
pub use transactions::{Operations, rows_of};

pub use super::history::{Brand, Change, Edit, Row, Take, Written};
use super::{
    client::{Client, Name, Records},
    history::{Planned, Snapshot, State},
    reference::{
        canonical, reading,
        rules::{self, History},
    },
};
use crate::{
    call::OnConflict,
    fronts::headwater::pull::{Consistency, Min, PullRequest},
    limits::ParkedMax,
    mutation::Settled,
    role::Role,
    time::Millis,
    version::{ConflictId, Epoch, Position, Version},
};

/// What a mutation is meant to do.
#[derive(Debug, Clone)]
enum Intent {
    /// These changes, made while mutations on the same records were waiting before it: their marks.
    Changes(Rc<[Rc<Planned>]>, Rc<[u64]>),
    /// Nothing that can be applied: it has to be rejected.
    Invalid,
    /// What an app has done through `dexie-cloud-addon`.
    Transaction(Rc<Operations>),
}

/// As many effects as a request asks for until it is answered.
pub const EFFECTS_MAX: usize = 40;

/// A mutation that was sent: its number, and the mark by which the oracle knows it.
pub type Sent = (u64, u64);

/// The history of the space, position by position.
#[derive(Debug)]
pub struct Oracle {
    now: Present,
    /// What stood at every position that ever was, also in histories that have ended.
    states: BTreeMap<Position, Rc<Snapshot>>,
    intents: Vec<Intent>,
    /// Mutations that stood in the outboxes of several copies of one database, or whose result one of them has acknowledged
    /// before another could hear of it.
    pub(super) copied: BTreeSet<u64>,
    /// The client ids of databases that were copied: whoever goes on under one may send what another copy can make room for.
    pub(super) copied_names: BTreeSet<String>,
    /// How mutations ended in some history, also if storage was restored to before it.
    ever_settled: BTreeMap<u64, Vec<Settled>>,
    published: Option<Position>,
    brand: Brand,
    /// How much may be parked.
    max: ParkedMax,
    /// Until when each user has grants.
    granted_until: BTreeMap<usize, Millis>,
}

/// What a restore of storage takes back.
#[derive(Debug, Clone)]
pub struct Present {
    here: Position,
    records: State,
    own: State,
    history: History,
    /// The members of a shared space; a private one has its user alone.
    roles: Option<BTreeMap<usize, Role>>,
    /// Invitations that stand, by their numbers.
    invitations: BTreeMap<u64, Invited>,
    /// At which version the membership of a user was set or ended last, but by invitations.
    set_at: BTreeMap<usize, Version>,
    /// Policies of collections.
    policies: BTreeMap<String, OnConflict>,
    /// Whether the space was deleted.
    pub(super) is_gone: bool,
    /// Open conflicts by when they were opened.
    conflicts: BTreeMap<Version, Parked>,
    /// Results of each client that name a conflict, by the number of the mutation.
    told: BTreeMap<String, Vec<(u64, ConflictId)>>,
    settled: BTreeMap<u64, Settled>,
    /// The last number of each client id.
    last: BTreeMap<String, u64>,
    /// The highest number of which each client id has acknowledged the result.
    acked: BTreeMap<String, u64>,
}

impl Oracle {
    /// A space that begins empty at `here`, whose values have this brand, and in which so much may be parked.
    #[must_use]
    pub fn new(here: Position, brand: Brand, max: ParkedMax) -> Self {
        let states = BTreeMap::from([(here.clone(), Rc::default())]);
        let now = Present {
            here,
            records: State::new(),
            own: State::new(),
            roles: None,
            invitations: BTreeMap::new(),
            set_at: BTreeMap::new(),
            policies: BTreeMap::new(),
            is_gone: false,
            conflicts: BTreeMap::new(),
            told: BTreeMap::new(),
            history: History::default(),
            settled: BTreeMap::new(),
            last: BTreeMap::new(),
            acked: BTreeMap::new(),
        };
        Self {
            now,
            states,
            intents: Vec::new(),
            copied: BTreeSet::new(),
            copied_names: BTreeSet::new(),
            ever_settled: BTreeMap::new(),
            published: None,
            brand,
            max,
            granted_until: BTreeMap::new(),
        }
    }

    /// Where the space stands.
    #[must_use]
    pub fn here(&self) -> &Position {
        &self.now.here
    }

    /// The names of all records.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.now.records.keys().map(|name| (**name).clone()).collect()
    }

    /// Notes what a mutation does and returns the mark it is known by, with the text of its changes.
    pub fn plan(&mut self, edits: Vec<Edit>) -> (u64, Written) {
        self.plan_behind(edits.into_iter().map(Change::Edit).collect(), &[])
    }

    /// The same for any changes, which are made while the mutations `before` wait in the same outbox.
    pub fn plan_behind(&mut self, changes: Vec<Change>, before: &[u64]) -> (u64, Written) {
        let mark = self.intents.len() as u64;
        let grounds =
            before.iter().copied().filter(|before| self.shares_a_record(*before, &changes)).collect();
        let planned = changes.into_iter().map(|change| Rc::new(Planned::new(change, self.brand)));
        let planned: Rc<[Rc<Planned>]> = planned.collect();
        let list = Written::list(planned.iter().map(|planned| &planned.written));
        self.intents.push(Intent::Changes(planned, grounds));
        (mark, list)
    }

    fn shares_a_record(&self, mark: u64, changes: &[Change]) -> bool {
        // A resolution says what shall stand there, whatever it was made behind; so it joins nothing.
        if changes.iter().any(|change| matches!(change, Change::Resolve(..))) {
            return false;
        }
        let Intent::Changes(others, _) = self.intent(mark) else { return false };
        let mut names = changes.iter().flat_map(Change::names);
        names.any(|name| others.iter().flat_map(|other| other.change.names()).any(|other| other == name))
    }

    /// Notes a mutation that must be rejected, whose changes have this text, and returns its mark.
    pub fn plan_invalid(&mut self) -> u64 {
        self.intents.push(Intent::Invalid);
        self.intents.len() as u64 - 1
    }

    /// Another mutation that does the same: what is numbered anew in two copies of one outbox is two mutations to
    /// everybody else.
    pub fn plan_again(&mut self, mark: u64) -> u64 {
        let again = match self.intent(mark) {
            // What it rested on is another mutation now, too.
            Intent::Changes(changes, _) => Intent::Changes(Rc::clone(changes), Rc::default()),
            Intent::Invalid => Intent::Invalid,
            Intent::Transaction(operations) => Intent::Transaction(Rc::clone(operations)),
        };
        self.intents.push(again);
        self.intents.len() as u64 - 1
    }

    /// The same edit, made once more by a user who sees that it is not there, with the text of its changes.
    pub fn plan_repeated(&mut self, mark: u64, before: &[u64]) -> Option<(u64, Written)> {
        let Intent::Changes(changes, _) = self.intent(mark) else { return None };
        let changes = changes.iter().map(|planned| planned.change.clone()).collect();
        Some(self.plan_behind(changes, before))
    }

    /// Whether the present history contains the mutation, or its refusal.
    #[must_use]
    pub fn is_settled(&self, mark: u64) -> bool {
        self.now.settled.contains_key(&mark)
    }

    fn intent(&self, mark: u64) -> &Intent {
        let intent = self.intents.get(usize::try_from(mark).expect("a mark"));
        // After an id was used again it is a mutation of the earlier space.
        intent.unwrap_or_else(|| panic!("I9: mutation {mark} was made in no space that is here"))
    }

    /// The last answer of a transaction says where the space stands.
    pub fn check_position(&self, position: &Position) {
        assert_eq!(*position, self.now.here, "I1: the space is not where its history ends");
    }

    /// A mutation that was applied, and the conflicts that it has closed.
    fn apply<'a>(
        &mut self,
        edits: impl Iterator<Item = &'a reading::Change>,
        closed: &[Version],
        writer: &Rc<str>,
        version: Version,
    ) {
        let Present { here, records, history, .. } = &mut self.now;
        let left = rules::apply(edits, |name| records.get(name).map(|text| &**text));
        let left = left.expect("what a simulated mutation does is defined on whatever stands there");
        let left = left.into_iter().map(|(name, (tree, was_absent))| {
            let text: Option<Rc<str>> = tree.map(|tree| canonical::text(&tree).into());
            (name, text, was_absent)
        });
        let changed: Vec<_> = left.filter(|(name, text, _)| records.get(name) != text.as_ref()).collect();
        if changed.is_empty() && closed.is_empty() {
            assert_eq!(version, here.version, "I1: a mutation that changes nothing takes no version");
            return;
        }
        here.version = here.version.next();
        assert_eq!(version, here.version, "I1: versions count without gap or repeat");
        for (name, text, was_absent) in changed {
            let change = (records.get(&name).map(|text| &**text), text.as_deref(), was_absent);
            history.note(&name, change, writer, version.get());
            match text {
                Some(text) => records.insert(name.into(), text),
                None => records.remove(&name),
            };
        }
        for opened in closed {
            let conflict = self.now.conflicts.remove(opened).expect("an open conflict");
            self.now.own.remove(&conflict.name());
        }
        self.note_state();
    }

    fn note_state(&mut self) {
        let snapshot = Snapshot { rows: self.now.records.clone(), own: self.now.own.clone() };
        self.states.insert(self.now.here.clone(), Rc::new(snapshot));
    }

    /// Another epoch began; the records and the count of versions go on.
    pub fn learn_epoch(&mut self, epoch: &Epoch) {
        if *epoch == self.now.here.epoch {
            return;
        }
        assert!(*epoch > self.now.here.epoch, "I3: an epoch began that sorts before its predecessor");
        self.now.here.epoch = epoch.clone();
        self.note_state();
    }

    /// I9: what was read or told as this space's holds no value of another space, or of an earlier one of its name.
    pub fn check_brand(&self, text: &str, place: &str) {
        let foreign = self.brand.foreign_in(text);
        assert!(foreign.is_none(), "I9: {place} shows {foreign:?} in the space of {:?}: {text}", self.brand);
    }

    /// Whether an epoch was the space's.
    #[must_use]
    pub fn had(&self, epoch: &Epoch) -> bool {
        let from = Position { epoch: epoch.clone(), version: Version::ZERO };
        self.states.range(from..).next().is_some_and(|(own, _)| own.epoch == *epoch)
    }

    /// What storage holds, to be restored later.
    #[must_use]
    pub fn copy(&self) -> Present {
        self.now.clone()
    }

    /// Storage was restored. What came later is gone from it; readers have seen it all the same.
    pub fn restore(&mut self, copy: Present) {
        self.now = copy;
    }

    /// Storage was restored to `position`: what came later in its epoch never was.
    pub fn go_back_to(&mut self, position: Position) {
        let state = self.states.get(&position).expect("a position that was");
        (self.now.records, self.now.own) = (state.rows.clone(), state.own.clone());
        self.states.retain(|at, _| *at <= position);
        self.now.here = position;
    }

    /// What is known of KV may fall behind, because storage has lost it.
    pub fn forget_published(&mut self) {
        self.published = None;
    }

    /// I7: what a client holds is the state at its position.
    pub fn check_client(&self, client: &Client, at: &Position) {
        let state = self.states.get(at);
        let state = state.unwrap_or_else(|| {
            let is_own = self.states.keys().any(|own| own.epoch == at.epoch);
            let why =
                if is_own { "I1: nothing ever was there" } else { "I9: the space never had that epoch" };
            panic!("{why}: {} stands at {at}", client.name)
        });
        let seen = &client.records;
        if seen.iter().map(|(name, text)| (name, &**text)).eq(state.all()) {
            return;
        }
        let should: BTreeMap<&Name, &str> = state.all().collect();
        let wrong = should.iter().filter(|(name, text)| seen.get(**name).map(String::as_str) != Some(text));
        let wrong: Vec<&Name> = wrong
            .map(|(name, _)| *name)
            .chain(seen.keys().filter(|name| !should.contains_key(name)))
            .collect();
        let name = wrong.first().expect("BUG: two states differ in no record");
        let (has, should) = (seen.get(*name), should.get(name));
        panic!("I7: at {at} {} has {wrong:?} wrong: {has:?} where {should:?} is right", client.name);
    }

    /// I3: nobody goes back, and `session` reaches `min`.
    pub fn check_pull(&self, asked: &PullRequest, before: Option<&Position>, after: &Position) {
        assert!(self.had(&after.epoch), "I9: a pull brought {after}, which is of another space");
        assert!(*after <= self.now.here, "I1: a pull brought {after}, above {}", self.now.here);
        assert!(before.is_none_or(|before| before <= after), "I3: a pull went back to {after}");
        if let Some(Min::Position(min)) = &asked.min {
            let is_reached = min <= after || asked.consistency == Consistency::Eventual;
            assert!(is_reached, "I3: a pull that asked for {min} brought {after}");
        }
    }

    /// The state as a client that has everything holds it.
    #[must_use]
    pub fn records(&self) -> Records {
        let (rows, own) = (self.now.records.clone(), self.now.own.clone());
        Snapshot { rows, own }.all().map(|(name, text)| (name.clone(), text.to_owned())).collect()
    }
}
