//! A small deterministic world: KV that misbehaves, an object host that can be stopped between any two effects, edge
//! locations, a network, and model clients, under a virtual clock. Native only; never part of the module that is deployed.
//!
//! Everything that happens follows from the seed and the calls a test makes. A test of one schedule calls [`World::push`]
//! and [`World::pull`], which take no time and lose nothing. `wild` lets everything happen at random, with requests and
//! answers on a [`network`] between clients and locations; `hunt` runs many such worlds. `check` holds one checker per
//! invariant, `history` what they compare with.

mod calm;
pub mod check;
pub mod client;
pub mod history;
pub mod host;
pub mod hunt;
pub mod kv;
pub mod location;
pub mod network;
mod rng;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;
pub mod wild;

use std::collections::BTreeSet;

use crate::{
    coordinator::publication::PublicationConfig,
    edge::pull::{Format, ReadPlan},
    ids::{SpaceHash, UserHash},
    limits::Sizes,
    protocol::{
        error::ApiError,
        pull::PullRequest,
        push::{PushAnswer, PushRequest},
    },
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};
use check::Oracle;
use client::{Client, Outcome, PUSH_MUTATIONS_MAX, Taken};
use host::Host;
use kv::Kv;
use location::{Location, Response, Wire};
use network::{Network, SentPush};
pub use rng::Rng;

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
    /// What is on its way between clients and locations.
    pub network: Network,
    /// What ought to be.
    pub oracle: Oracle,
    /// What happened, if somebody wants to read it.
    pub trace: Option<Vec<String>>,
    space: SpaceHash,
    scope: Scope,
    user: UserHash,
    plan: ReadPlan,
    /// Mutations that stand in the outboxes of several copies of one database.
    copied: BTreeSet<u64>,
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
            network: Network::new(Rng::new(rng.any())),
            trace: None,
            locations: (0..settings.locations).map(|index| Location::new(index, scope.clone())).collect(),
            clients: (0..settings.clients).map(|index| Client::new(&format!("client{index:02}"))).collect(),
            oracle,
            space,
            scope,
            user: UserHash::new("https://issuer.example", "alice"),
            plan: settings.plan,
            copied: BTreeSet::new(),
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
        let puts = self.kv.puts.len();
        let goes_on = self.host.step(&mut self.kv, self.now);
        if self.kv.puts.len() > puts {
            let (key, outcome) = (self.kv.puts[puts].0.clone(), self.kv.last_outcome);
            self.note(|| format!("put {key}: {outcome:?}"));
        }
        self.oracle.check_publication(&mut self.host, &self.kv, &self.scope, self.now);
        goes_on
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
            let Some(alarm) = self.host.alarm else { return turn };
            let wait = alarm.since(self.now);
            self.pass(wait);
            self.fire_alarm();
        }
        turns
    }

    /// Sends what `client` has queued. The oracle learns the answer even if `answer_is_lost`.
    ///
    /// # Errors
    /// What the coordinator refuses with.
    pub fn push(&mut self, client: usize, answer_is_lost: bool) -> Result<(), ApiError> {
        let sent = self.compose(client);
        let answer = self.settle_pushes(std::slice::from_ref(&sent)).pop().expect("an answer per push");
        self.note(|| format!("{} pushes {:?}: {}", sent.name, sent.marks, traffic::brief(&answer)));
        if !answer_is_lost {
            self.receive_push_answer(client, &sent, &answer);
        }
        answer.map(drop)
    }

    /// What `client` would send now.
    fn compose(&self, client: usize) -> SentPush {
        let client = &self.clients[client];
        let marks = client.outbox.iter().take(PUSH_MUTATIONS_MAX).map(|queued| (queued.id, queued.mark));
        let (name, since) = (client.name.clone(), client.position.clone());
        SentPush { name, since, body: client.push_body(), marks: marks.collect() }
    }

    /// Lets pushes that arrive together reach the coordinator, and checks what becomes of them.
    fn settle_pushes(&mut self, sent: &[SentPush]) -> Vec<Result<PushAnswer, ApiError>> {
        let parsed = |sent: &SentPush| PushRequest::parse(sent.body.as_bytes());
        let pushes: Vec<_> = sent
            .iter()
            .map(|sent| (self.user.clone(), parsed(sent).expect("a client's push is well-formed")))
            .collect();
        let answers = self.host.push(&pushes, self.now);
        // What the coordinator did although nobody was told.
        let untold = self.host.untold.take();
        let done = untold.as_ref().unwrap_or(&answers);
        let horizon = self.host.core(self.now).horizon();
        let here = self.host.core(self.now).position();
        self.oracle.learn_epoch(&here.epoch);
        for (((_, push), sent), answer) in pushes.iter().zip(sent).zip(done) {
            if let Ok(answer) = answer {
                self.oracle.learn_push(push, &sent.marks, answer, horizon);
            }
        }
        self.oracle.check_position(&here);
        for (_, push) in &pushes {
            self.oracle.check_storage(push, &mut self.host, self.now);
        }
        answers
    }

    fn receive_push_answer(&mut self, client: usize, sent: &SentPush, answer: &Result<PushAnswer, ApiError>) {
        let mut outcome = Outcome::default();
        let receiver = &mut self.clients[client];
        match answer {
            Ok(answer) => {
                if let Some(position) = receiver.take_push_answer(sent, answer, &mut outcome) {
                    self.oracle.check_client(receiver, &position);
                }
            }
            Err(error) => receiver.take_push_error(&sent.name, error, &mut outcome),
        }
        self.oracle.learn_outcome(&outcome);
        if outcome.is_renumbered {
            self.renumbered(client);
        }
    }

    /// A client that numbers its outbox anew must not have in it what is settled already, or it would be applied twice.
    /// Only of what was copied to another device nobody can know, and then it is another mutation.
    fn renumbered(&mut self, client: usize) {
        for queued in &mut self.clients[client].outbox {
            if self.copied.contains(&queued.mark) {
                queued.mark = self.oracle.plan_again(queued.mark);
            } else {
                let is_settled = self.oracle.is_settled(queued.mark);
                assert!(!is_settled, "I2: mutation {} is settled and numbered anew", queued.mark);
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
        let request = self.compose_pull(client, 0);
        let since = self.clients[client].position.clone();
        let response = self.answer(location, request.clone(), format, chunks);
        let taken = self.receive_pull_answer(client, 0, since.as_ref(), &request, response.body)?;
        Ok(matches!(taken, Taken::Complete { .. }))
    }

    fn compose_pull(&self, client: usize, tab: usize) -> PullRequest {
        let body = self.clients[client].pull_body(tab);
        PullRequest::from_body(body.as_bytes(), &self.space).expect("a client's pull is well-formed")
    }

    fn receive_pull_answer(
        &mut self,
        client: usize,
        tab: usize,
        since: Option<&Position>,
        asked: &PullRequest,
        body: Result<Wire, ApiError>,
    ) -> Result<Taken, ApiError> {
        let client = &mut self.clients[client];
        let taken = match body {
            Err(error) => {
                client.take_pull_error(tab, &error);
                return Err(error);
            }
            Ok(Wire::Json(text)) => client.take_page(tab, since, &text),
            Ok(Wire::Stream(text)) => client.take_stream(tab, since, &text),
        };
        if let Taken::Complete { before, after } = &taken {
            self.oracle.check_pull(asked, before.as_ref(), after);
            self.oracle.check_client(client, after);
        }
        Ok(taken)
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
