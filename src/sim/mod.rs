//! A small deterministic world for tests: KV that misbehaves, an object host that can be stopped between any two effects,
//! edge locations and model clients, under a virtual clock. Native only; never part of the module that is deployed.
//!
//! Everything that happens follows from the seed and the calls a test makes. `check` holds one checker per invariant.

pub mod check;
pub mod client;
pub mod host;
pub mod kv;
pub mod location;
#[cfg(test)]
mod tests;

use crate::{
    coordinator::publication::PublicationConfig,
    edge::pull::{Format, ReadPlan},
    ids::{SpaceHash, UserHash},
    limits::Sizes,
    protocol::{error::ApiError, pull::PullRequest, push::PushRequest},
    snapshot::keys::Scope,
    time::Millis,
};
use check::Oracle;
use client::{Client, Taken};
use host::Host;
use kv::Kv;
use location::{Location, Response, Wire};

/// When worlds begin: some day of 2026.
pub const START: Millis = Millis(1_795_000_000_000);

/// A seeded source of choices: splitmix64.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A source that depends on `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound.max(1)
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index into something with `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}

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
    interval_ms: 1_000,
    retain_ms: 30 * DAY_MS,
    sizes: Sizes::DEPLOYED,
};
/// Publication by demand, as it is deployed.
pub const BY_DEMAND: PublicationConfig = PublicationConfig {
    after_pulls: 50,
    max_delay_ms: 15 * 60_000,
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

/// One space with everything around it.
#[derive(Debug)]
pub struct World {
    /// The present.
    pub now: Millis,
    /// For a test's own choices.
    pub rng: Rng,
    /// Where snapshots stand.
    pub kv: Kv,
    /// Where the coordinator runs.
    pub host: Host,
    /// Where pulls arrive.
    pub locations: Vec<Location>,
    /// Devices. All belong to one user.
    pub clients: Vec<Client>,
    /// What ought to be.
    pub oracle: Oracle,
    space: SpaceHash,
    user: UserHash,
    plan: ReadPlan,
}

impl World {
    /// A new space at [`START`].
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut rng = Rng::new(settings.seed);
        let space = SpaceHash::private("https://issuer.example", "alice");
        let scope = Scope::private(&space);
        let mut host = Host::new(scope.clone(), settings.publication, Rng::new(rng.any()));
        let oracle = Oracle::new(host.core(START).position());
        Self {
            now: START,
            kv: Kv::new(settings.locations + 1, Rng::new(rng.any())),
            host,
            locations: (0..settings.locations).map(|index| Location::new(index, scope.clone())).collect(),
            clients: (0..settings.clients).map(|index| Client::new(&format!("client{index:02}"))).collect(),
            oracle,
            space,
            user: UserHash::new("https://issuer.example", "alice"),
            plan: settings.plan,
            rng,
        }
    }

    /// The space's name in keys and cursors.
    #[must_use]
    pub fn space(&self) -> &SpaceHash {
        &self.space
    }

    /// Lets time pass; alarms do not fire by it.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.kv.land(self.now);
    }

    /// Carries one turn of the publisher through if its alarm is due. Returns whether it was.
    pub fn fire_alarm(&mut self) -> bool {
        if !self.host.alarm_is_due(self.now) {
            return false;
        }
        self.host.begin_turn(self.now);
        while self.step() {}
        true
    }

    /// Does the next half of an effect of the turn under way. Returns whether the turn goes on.
    pub fn step(&mut self) -> bool {
        let goes_on = self.host.step(&mut self.kv, self.now);
        self.oracle.check_publication(&mut self.host, &self.kv, self.now);
        goes_on
    }

    /// Lets time pass from alarm to alarm until none is left, at most `turns` times. Returns how many fired.
    pub fn settle(&mut self, turns: usize) -> usize {
        for turn in 0..turns {
            let Some(alarm) = self.host.alarm else { return turn };
            let wait = alarm.since(self.now);
            self.pass(wait);
            self.fire_alarm();
        }
        turns
    }

    /// Sends what `client` has queued. The oracle learns the answer even if `answer_is_lost`.
    pub fn push(&mut self, client: usize, answer_is_lost: bool) -> Result<(), ApiError> {
        let body = self.clients[client].push_body();
        let push = PushRequest::parse(body.as_bytes()).expect("a client's push is well-formed");
        let answers = self.host.push(vec![(self.user.clone(), push)], self.now);
        let answer = answers.into_iter().next().expect("an answer per push");
        let sender = &mut self.clients[client];
        match answer {
            Ok(answer) => {
                self.oracle.learn_push(sender, &answer);
                if !answer_is_lost && let Some(position) = sender.take_push_answer(&answer) {
                    self.oracle.check_client(sender, &position);
                }
                Ok(())
            }
            Err(error) => {
                sender.take_push_error(&error);
                Err(error)
            }
        }
    }

    /// A pull as the location answers it, without a client that would apply it.
    pub fn ask(&mut self, location: usize, body: &str, format: Format) -> Response {
        let request = PullRequest::from_body(body.as_bytes(), &self.space).expect("a pull");
        self.answer(location, request, format, None)
    }

    /// One request of a pull by `client`, which goes on where its last one ended. Returns whether the pull is complete.
    /// The stream ends early behind `chunks` objects or pages.
    pub fn pull_once(
        &mut self,
        client: usize,
        location: usize,
        format: Format,
        chunks: Option<usize>,
    ) -> Result<bool, ApiError> {
        let body = self.clients[client].pull_body();
        let request =
            PullRequest::from_body(body.as_bytes(), &self.space).expect("a client's pull is well-formed");
        let asked = request.clone();
        let response = self.answer(location, request, format, chunks);
        let client = &mut self.clients[client];
        let wire = match response.body {
            Ok(wire) => wire,
            Err(error) => {
                client.take_pull_error(&error);
                return Err(error);
            }
        };
        let taken = match &wire {
            Wire::Json(text) => client.take_page(text),
            Wire::Stream(text) => client.take_stream(text),
        };
        match taken {
            Taken::Incomplete => Ok(false),
            Taken::Complete { before, after } => {
                self.oracle.check_pull(&asked, before.as_ref(), &after);
                self.oracle.check_client(client, &after);
                Ok(true)
            }
        }
    }

    /// A whole pull by `client`, page after page.
    pub fn pull(&mut self, client: usize, location: usize, format: Format) -> Result<(), ApiError> {
        for _ in 0..200 {
            if self.pull_once(client, location, format, None)? {
                return Ok(());
            }
        }
        panic!("I8: a pull did not end after 200 requests");
    }

    fn answer(
        &mut self,
        location: usize,
        request: PullRequest,
        format: Format,
        chunks: Option<usize>,
    ) -> Response {
        let mut around = location::Around {
            kv: &mut self.kv,
            host: &mut self.host,
            space: &self.space,
            now: self.now,
            chunks,
        };
        self.locations[location].pull(request, format, self.plan, &mut around)
    }
}
