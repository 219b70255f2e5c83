//! A small deterministic world: KV that misbehaves, an object host that can be stopped after any step, edge
//! locations, a network, and model clients, under a virtual clock. Native only; never part of the module that is deployed.
//!
//! Everything that happens follows from the seed and the calls a test makes. A test of one schedule calls [`World::push`]
//! and [`World::pull`], which take no time and lose nothing. `wild` lets everything happen at random, with requests and
//! answers on a [`network`] between clients and locations; `hunt` runs many such worlds. `check` holds one checker per
//! invariant, `history` what they compare with.

mod billing;
pub mod check;
pub mod client;
pub mod dexie;
pub mod directory;
mod errands;
pub mod history;
pub mod host;
pub mod hunt;
pub mod invitations;
pub mod kv;
pub mod ledger;
pub mod location;
pub mod messages;
pub mod network;
mod pulls;
pub mod reference;
mod requests;
mod rng;
mod shared;
pub mod space;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;
mod visits;
pub mod wild;

use std::sync::LazyLock;

use crate::{
    access::grant::Granter,
    coordinator::publication::PublicationConfig,
    edge::pull::ReadPlan,
    ids::{SpaceHash, UserHash},
    limits::Sizes,
    time::Millis,
};
use check::Brand;
use client::Client;
use dexie::Addons;
use directory::Directories;
use kv::Kv;
use location::Location;
use messages::Connections;
use network::Network;
pub use rng::Rng;
use space::Space;

/// When worlds begin: some day of 2026.
pub const START: Millis = Millis(1_795_000_000_000);

/// How a world is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What everything random follows from.
    pub seed: u64,
    /// When the coordinator publishes.
    pub publication: PublicationConfig,
    /// Which layers answer which pulls.
    pub plan: ReadPlan,
    /// How many edge locations there are.
    pub locations: usize,
    /// How many clients there are.
    pub clients: usize,
}

/// Publication as soon as the interval of one second allows.
pub const EAGER: PublicationConfig = PublicationConfig {
    after_pulls: 0,
    max_delay_ms: 1_000,
    private_max_delay_ms: 1_000,
    interval_ms: 1_000,
    retain_ms: 30 * DAY_MS,
    sizes: Sizes::DEPLOYED,
};
/// Publication by demand, as it is deployed.
pub const BY_DEMAND: PublicationConfig = PublicationConfig {
    after_pulls: 50,
    max_delay_ms: 15 * 60_000,
    private_max_delay_ms: 6 * 3_600_000,
    interval_ms: 30_000,
    retain_ms: 30 * DAY_MS,
    sizes: Sizes::DEPLOYED,
};
/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

impl Settings {
    /// Three locations and three clients of a space that is published eagerly.
    #[must_use]
    pub fn eager(seed: u64) -> Self {
        let plan = ReadPlan { increments_from_kv: true };
        Self { seed, publication: EAGER, plan, locations: 3, clients: 3 }
    }

    /// The same by demand, where increments are looked for in KV, as in shared spaces.
    #[must_use]
    pub fn by_demand(seed: u64) -> Self {
        Self { publication: BY_DEMAND, ..Self::eager(seed) }
    }
}

/// The issuer of everybody's tokens.
pub const ISSUER: &str = "https://issuer.example";
/// The users of a world.
pub const USERS: [&str; 2] = ["alice", "bob"];

/// A user, by the place in [`USERS`].
#[must_use]
pub fn user_hash(user: usize) -> UserHash {
    static HASHES: LazyLock<[UserHash; 2]> = LazyLock::new(|| USERS.map(|user| UserHash::new(ISSUER, user)));
    HASHES[user].clone()
}

/// Spaces with everything around them. All share the namespace, the locations and the network.
#[derive(Debug)]
pub struct World {
    /// The present.
    pub now: Millis,
    /// For a test's own choices.
    pub rng: Rng,
    /// Where snapshots stand.
    pub kv: Kv,
    /// Spaces; the first is alice's private one.
    pub spaces: Vec<Space>,
    /// Where pulls arrive.
    pub locations: Vec<Location>,
    /// Local databases, each of one user and of one space.
    pub clients: Vec<Client>,
    /// Local databases of `dexie-cloud-addon`.
    pub addons: Addons,
    /// What is on its way between clients and locations.
    pub network: Network,
    /// What is said over sockets.
    pub connections: Connections,
    /// The lists of users' spaces.
    pub directories: Directories,
    /// What happened, if somebody wants to read it.
    pub trace: Option<Vec<String>>,
    publication: PublicationConfig,
    puts_checked: usize,
    granter: Granter,
    /// How many brands are used up.
    brands: usize,
}

impl World {
    /// Alice's private space, never used, at [`START`].
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut rng = Rng::new(settings.seed);
        let mut world = Self {
            now: START,
            kv: Kv::new(settings.locations + 1, Rng::new(rng.any())),
            network: Network::new(Rng::new(rng.any())),
            connections: Connections::default(),
            directories: Directories::new(Rng::new(settings.seed ^ 0x6469_7265_6374_6f72)),
            addons: Addons::new(Rng::new(settings.seed ^ 0x6164_646f_6e73)),
            trace: None,
            locations: (0..settings.locations)
                .map(|_| Location::new(settings.plan.increments_from_kv))
                .collect(),
            spaces: Vec::new(),
            clients: Vec::new(),
            publication: settings.publication,
            puts_checked: 0,
            granter: location::granter(),
            brands: 0,
            rng,
        };
        let private = world.add_private_space(0);
        (0..settings.clients).for_each(|_| world.add_client(0, private));
        world
    }

    /// The private space of a user, never used. Returns its place.
    pub fn add_private_space(&mut self, user: usize) -> usize {
        let (brand, rng) = (self.next_brand(), Rng::new(self.rng.any()));
        self.spaces.push(Space::private(user, brand, self.publication, rng));
        self.spaces.len() - 1
    }

    /// A shared space, which `owner` has just made. Returns its place.
    pub fn add_shared_space(&mut self, id: &str, owner: usize) -> usize {
        let (space, rng) = (self.spaces.len(), Rng::new(self.rng.any()));
        self.spaces.push(Space::shared(id, self.publication, rng));
        self.make_space(space, owner, self.now);
        space
    }

    fn next_brand(&mut self) -> Brand {
        let mut letters = (b'A'..=b'Z').chain(b'a'..=b'z').map(char::from);
        let brand = letters.nth(self.brands).expect("a world has fewer spaces than there are letters");
        self.brands += 1;
        Brand(brand)
    }

    /// How many spaces there may be besides those that there were.
    #[must_use]
    pub fn brands_left(&self) -> usize {
        52 - self.brands
    }

    /// Another database of `user` for `space`.
    pub fn add_client(&mut self, user: usize, space: usize) {
        self.clients.push(Client::new(self.clients.len(), user, space));
    }

    /// The first space's name in keys and cursors.
    #[must_use]
    pub fn space(&self) -> &SpaceHash {
        &self.spaces[0].hash
    }

    /// Lets time pass; errands that wait go on by it, alarms do not fire.
    pub fn pass(&mut self, ms: u64) {
        let then = self.now.plus(ms);
        self.run_errands_due(then);
        self.now = then;
        self.kv.land(self.now);
        for space in 0..self.spaces.len() {
            self.spaces[space].host.gather(self.now);
            self.tell_live(space);
        }
    }

    /// Carries one turn of each publisher through whose alarm is due. Returns whether one was.
    pub fn fire_alarm(&mut self) -> bool {
        let mut fired = false;
        for space in 0..self.spaces.len() {
            if self.spaces[space].host.alarm_is_due(self.now) {
                self.spaces[space].host.begin_turn(self.now);
                while self.step(space) {}
                fired = true;
            }
        }
        fired
    }

    /// Does the next half of an effect of the turn under way in a space. Returns whether the turn goes on.
    pub fn step(&mut self, space: usize) -> bool {
        let puts = self.kv.puts.len();
        let Space { host, oracle, scope, .. } = &mut self.spaces[space];
        let goes_on = host.step(&mut self.kv, self.now);
        let first = std::mem::replace(&mut self.puts_checked, self.kv.puts.len());
        oracle.check_publication(host, &self.kv, first, scope, self.now);
        if self.kv.puts.len() > puts {
            let (key, outcome) = (self.kv.puts[puts].0.clone(), self.kv.last_outcome);
            self.note(|| format!("put {key}: {outcome:?}"));
        }
        goes_on
    }

    /// Puts that a test has made itself are nobody's.
    pub fn skip_puts(&mut self) {
        self.puts_checked = self.kv.puts.len();
    }

    /// Notes an event for whoever reads the trace.
    fn note(&mut self, event: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.now.since(START), event()));
        }
    }

    /// Lets time pass from alarm to alarm until none is left, at most `turns` times. Returns how many fired.
    pub fn settle(&mut self, turns: usize) -> usize {
        for turn in 0..turns {
            let Some(alarm) = self.spaces.iter().filter_map(|space| space.host.alarm).min() else {
                return turn;
            };
            let wait = alarm.since(self.now);
            self.pass(wait);
            self.fire_alarm();
        }
        turns
    }
}
