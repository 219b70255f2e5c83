//! A model client: one local database with two tabs on it. It numbers its mutations, keeps them until they are settled, and
//! applies changes as the contract says, also when answers come late or when the other tab has come further meanwhile.

mod pulls;
mod pushes;

use std::collections::{BTreeMap, VecDeque};

use pulls::Incoming;
pub use pulls::Taken;
pub use pushes::{Outcome, Queued};

use crate::version::Position;

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

/// One device. A clone is a copy of its database, as a backup is.
#[derive(Debug, Clone)]
pub struct Client {
    /// Whose device it is, by its place among the world's users.
    pub user: usize,
    /// Whose records it has, by the place among the world's spaces.
    pub space: usize,
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
    /// Its policy for conflicts; none: what the space says.
    pub policy: Option<&'static str>,
    /// Its grant for a shared space.
    pub grant: Option<String>,
    /// Whether its next pull asks for the coordinator's word.
    pub is_strict: bool,
    device: usize,
    next_id: u64,
    /// The numbers that it has given out under its name, and to what.
    made: Vec<(u64, u64)>,
    acked: u64,
    names: u32,
    tabs: [Option<Incoming>; TABS],
    /// Requests that were sent.
    pub requests: u64,
    /// The request whose answer each tab waits for, and the outbox.
    pub waits_for: [u64; TABS + 1],
}

impl Client {
    /// A client that knows nothing: the database of `user` for `space` on a device with this number.
    #[must_use]
    pub fn new(device: usize, user: usize, space: usize) -> Self {
        Self {
            user,
            space,
            device,
            name: format!("client{device:02}"),
            records: Records::new(),
            position: None,
            min: None,
            outbox: VecDeque::new(),
            grant: None,
            is_strict: false,
            policy: None,
            next_id: 1,
            made: Vec::new(),
            acked: 0,
            names: 0,
            tabs: [None, None],
            requests: 0,
            waits_for: [0; TABS + 1],
        }
    }

    /// What a client of this name made that a copy of its database does not know, by their marks.
    #[must_use]
    pub fn made_since(&self, copy: &Self) -> Vec<u64> {
        let since = self.made.iter().filter(|(id, _)| self.name == copy.name && *id >= copy.next_id);
        since.map(|(_, mark)| *mark).collect()
    }

    /// Throws away what it has not sent, which is of a space that is no more.
    pub fn throw_away(&mut self) {
        self.outbox.clear();
        self.made.clear();
    }

    /// The device is new: nothing is left of what it had, its outbox included.
    pub fn start_over(&mut self) {
        let (names, requests) = (self.names, self.requests);
        *self = Self { names, requests, ..Self::new(self.device, self.user, self.space) };
        self.take_new_name();
    }

    /// The database is replaced by a copy of itself, or of another device's, perhaps of another user's; tabs are closed.
    pub fn restore(&mut self, copy: &Self) {
        // Names stay unique in the world, as random client ids are.
        let names = self.names.max(copy.names);
        let Self { user, device, requests, .. } = *self;
        // It belongs to the user, not to the database.
        let grant = self.grant.take();
        let (tabs, waits_for) = ([None, None], [0; TABS + 1]);
        *self = Self { user, grant, names, device, requests, tabs, waits_for, ..copy.clone() };
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

    pub(in crate::sim) fn learn_min(&mut self, position: Position) {
        if self.position.as_ref().is_none_or(|own| *own < position) {
            self.min = self.min.take().max(Some(position));
        }
    }

    fn take_new_name(&mut self) {
        self.names += 1;
        self.name = format!("client{:02}-{}", self.device, self.names);
    }
}
