//! Worlds in which everything happens at random, checked after every step, until the faults end and all has to come together.

use super::{
    BY_DEMAND, DAY_MS, EAGER, Rng, Settings, World,
    check::{Edit, Present, Row},
    client::{Client, Name, TABS},
    host::{AlarmFault, SectionFault},
    kv::{Faults, PutFault},
    network::Weather,
};
use crate::{
    coordinator::{ledger::MemoryLedger, publication::PublicationConfig},
    edge::pull::{Format, ReadPlan},
    limits::Sizes,
    time::Millis,
};

/// Steps of a world before it calms down.
pub const STEPS: u64 = 500;
pub(super) const CLIENTS: usize = 4;
pub(super) const LOCATIONS: usize = 3;

/// Sizes by which some dozens of short records overflow a tail and make a base of several parts that takes several turns.
/// As in deployment a delta may grow to several tails, or every tail that overflows would be folded into the base at once.
const SMALL: Sizes = Sizes {
    tail_max: 250,
    part_min: 800,
    part_max: 1_100,
    parts_per_turn: 3,
    purges_per_turn: 3,
    overlay_max: 900,
    piggyback_max: 700,
    page_max: 600,
};

/// What kind of world a seed makes. Each leaves something out, so that the rest happens more often.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the coordinator publishes, and how much at once.
    pub publication: PublicationConfig,
    /// Which layers answer which pulls.
    pub plan: ReadPlan,
    /// Bytes by which records are longer at most.
    pub filler: u64,
    /// How many records there are.
    pub records: u64,
    /// The share of each kind of event.
    pub shares: Vec<(Kind, u64)>,
    /// What messages meet.
    pub weather: Weather,
    /// Whether only moments pass at a time: what races within seconds does so more often.
    pub is_slow: bool,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client changes something and pushes.
    Change,
    /// A client pulls.
    Pull,
    /// What is on its way arrives.
    Arrival,
    /// Time passes.
    Pass,
    /// The alarm fires: when it is due, or early, or once more.
    Alarm,
    /// Half an effect of the turn under way.
    HalfEffect,
    /// The platform drops the alarm after six failures.
    DropAlarm,
    /// The instance dies.
    Kill,
    /// The next section of storage fails.
    FailSection,
    /// The next setting of the alarm fails.
    FailAlarm,
    /// The next put ends in some bad way.
    FailPut,
    /// KV gets better or worse.
    KvFaults,
    /// KV loses a key, or everything.
    KvLoss,
    /// The coordinator cannot be reached, or can again.
    Unreachable,
    /// An isolate is replaced, or a location's cache emptied.
    Forget,
    /// A tab is closed.
    CloseTab,
    /// A device loses its database.
    StartOver,
    /// A copy of a client's database is made, or put back, there or on another device.
    Backup,
    /// A client rewrites a mutation it may have sent.
    Compact,
    /// An owner begins a new epoch.
    ResetEpoch,
    /// Storage is restored to an older state, and the owner begins a new epoch.
    RestoreStorage,
}

/// All kinds with their usual shares.
const SHARES: [(Kind, u64); 21] = [
    (Kind::Change, 200),
    (Kind::Pull, 200),
    (Kind::Arrival, 300),
    (Kind::Pass, 90),
    (Kind::Alarm, 60),
    (Kind::HalfEffect, 120),
    (Kind::DropAlarm, 4),
    (Kind::Kill, 15),
    (Kind::FailSection, 15),
    (Kind::FailAlarm, 8),
    (Kind::FailPut, 15),
    (Kind::KvFaults, 12),
    (Kind::KvLoss, 8),
    (Kind::Unreachable, 6),
    (Kind::Forget, 10),
    (Kind::CloseTab, 10),
    (Kind::StartOver, 6),
    (Kind::Backup, 6),
    (Kind::Compact, 8),
    (Kind::ResetEpoch, 3),
    (Kind::RestoreStorage, 2),
];

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x6f70_7469_6f6e_7321);
        let is_eager = rng.chance(60);
        let retain_ms = [0, 60_000, 30 * DAY_MS][rng.index(3)];
        let sizes = if rng.chance(90) { SMALL } else { Sizes::DEPLOYED };
        let publication = PublicationConfig { retain_ms, sizes, ..if is_eager { EAGER } else { BY_DEMAND } };
        let leaves_out = rng.below(60);
        let shares = SHARES.into_iter().map(|(kind, share)| {
            let usual = matches!(kind, Kind::Change | Kind::Pull | Kind::Arrival | Kind::Pass | Kind::Alarm);
            (kind, if !usual && rng.chance(leaves_out) { 0 } else { share })
        });
        Self {
            publication,
            shares: shares.collect(),
            plan: ReadPlan { increments_from_kv: rng.chance(60) },
            filler: [20, 60, 200][rng.index(3)],
            records: [3, 8, 30][rng.index(3)],
            weather: Weather { lost: rng.below(15), repeated: rng.below(15), slow: rng.below(25) },
            is_slow: rng.chance(40),
        }
    }
}

/// A world and how wild it is.
#[derive(Debug)]
pub struct Wild {
    /// The world.
    pub world: World,
    options: Options,
    total_share: u64,
    client_copy: Option<Client>,
    storage_copy: Option<(MemoryLedger, Present)>,
    /// Whether the platform has lost the alarm, or may have refused to set one.
    pub(super) alarm_is_lost: bool,
    /// Whether storage went back, and with it what was noted of puts that may still land.
    pub(super) went_back: bool,
    /// How often the instance had died when it was looked at last, and when that was seen to have changed.
    pub(super) deaths: (u64, Millis),
}

impl Wild {
    /// The world of a seed. With `is_traced` it writes down what happens.
    #[must_use]
    pub fn new(seed: u64, is_traced: bool) -> Self {
        let options = Options::of(seed);
        let (publication, plan) = (options.publication, options.plan);
        let mut world =
            World::new(&Settings { seed, publication, plan, locations: LOCATIONS, clients: CLIENTS });
        world.trace = is_traced.then(Vec::new);
        world.locations[LOCATIONS - 1].has_cache = false;
        world.network.weather = options.weather;
        let total_share = options.shares.iter().map(|(_, share)| share).sum();
        Self {
            world,
            options,
            total_share,
            client_copy: None,
            storage_copy: None,
            alarm_is_lost: false,
            went_back: false,
            deaths: (0, Millis(0)),
        }
    }

    /// Lives through `steps` events, and then through the calm.
    pub fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
            self.check_published();
            self.check_idle();
        }
        self.calm_down();
    }

    fn kind(&mut self) -> Kind {
        let mut at = self.world.rng.below(self.total_share);
        for (kind, share) in &self.options.shares {
            match at.checked_sub(*share) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        Kind::Arrival
    }

    /// One event.
    pub fn step(&mut self) {
        let kind = self.kind();
        let client = self.world.rng.index(CLIENTS);
        let tab = self.world.rng.index(TABS);
        self.world.note(|| format!("{kind:?}"));
        match kind {
            Kind::Change => self.change(client, tab),
            Kind::Pull => self.pull(client, tab),
            Kind::Arrival => self.arrival(),
            Kind::Pass => self.pass(),
            Kind::Alarm => self.alarm(),
            Kind::HalfEffect => {
                self.world.step();
            }
            Kind::DropAlarm => {
                if self.world.host.alarm_is_due(self.world.now) {
                    self.world.host.alarm = None;
                    self.alarm_is_lost = true;
                }
            }
            Kind::Kill => self.world.host.kill(),
            Kind::FailSection | Kind::FailAlarm | Kind::FailPut => self.fail_next(kind),
            Kind::KvFaults => self.change_faults(),
            Kind::KvLoss => self.lose(),
            Kind::Unreachable => self.world.host.is_unreachable = self.world.rng.chance(30),
            Kind::Forget => self.forget(),
            Kind::CloseTab => self.world.clients[client].forget_pull(tab),
            Kind::StartOver => self.world.clients[client].start_over(),
            Kind::Backup => self.backup(client),
            Kind::Compact => self.compact(client),
            Kind::ResetEpoch => self.reset_epoch(),
            Kind::RestoreStorage => self.restore_storage(),
        }
    }

    fn edits(&mut self) -> Vec<Edit> {
        if self.world.rng.chance(2) {
            // Never none at all: mutations of no changes are the same to everybody but the oracle.
            let one = self.edit();
            return self.world.oracle.names().into_iter().map(Edit::Delete).chain([one]).collect();
        }
        (0..=self.world.rng.below(3)).map(|_| self.edit()).collect()
    }

    fn edit(&mut self) -> Edit {
        let rng = &mut self.world.rng;
        let name: Name =
            (["notes", "todos"][rng.index(2)].to_owned(), format!("r{:02}", rng.below(self.options.records)));
        let filler = rng.index(usize::try_from(self.options.filler).expect("a length"));
        let row = Row { count: 0, tag: rng.any() % 1_000, filler };
        match rng.below(12) {
            0..=3 => Edit::Put(name, row),
            4..=5 => Edit::Patch(name, rng.below(1_000), row),
            6..=7 => Edit::Fill(name, filler),
            8 => Edit::Add(name, 1 + i64::try_from(rng.below(9)).expect("small")),
            _ => Edit::Delete(name),
        }
    }

    fn change(&mut self, client: usize, tab: usize) {
        // Now and then more than fits a push.
        let count = if self.world.rng.chance(3) { 12 } else { self.world.rng.below(3) };
        for _ in 0..count {
            if self.world.rng.chance(3) {
                let mark = self.world.oracle.plan_invalid();
                let changes =
                    format!("[{{\"op\":\"what\",\"mark\":{mark},\"collection\":\"c\",\"id\":\"r\"}}]");
                self.world.clients[client].queue(&changes, mark);
                continue;
            }
            let edits = self.edits();
            let (mark, changes) = self.world.oracle.plan(edits);
            self.world.clients[client].queue(&changes, mark);
        }
        let policy = ["reject", "merge", "overwrite"][self.world.rng.index(3)];
        self.world.clients[client].policy = policy;
        self.world.send_push(client, tab);
    }

    fn pull(&mut self, client: usize, tab: usize) {
        let location = self.world.rng.index(LOCATIONS);
        let format = if self.world.rng.chance(50) { Format::Json } else { Format::Ndjson };
        let chunks = self.world.rng.chance(30).then(|| self.world.rng.index(3));
        self.world.send_pull(client, tab, location, format, chunks);
    }

    /// What arrives next does; if nothing has yet, time passes until it does.
    fn arrival(&mut self) {
        if let Some(at) = self.world.network.next_arrival() {
            let wait = at.since(self.world.now);
            self.world.pass(wait);
            // Most of what was sent is answered before much else happens.
            for _ in 0..=self.world.rng.below(4) {
                self.world.deliver();
            }
        }
    }

    fn pass(&mut self) {
        let ms = match self.world.rng.below(if self.options.is_slow { 8 } else { 20 }) {
            0..=5 => 2_000,
            6..=11 => 40_000,
            12..=15 => 20 * 60_000,
            16..=17 => 5 * 3_600_000,
            18 => 2 * DAY_MS,
            _ => 16 * DAY_MS,
        };
        let ms = self.world.rng.below(ms);
        self.world.pass(ms);
    }

    fn alarm(&mut self) {
        // Usually it is on time, and what happens soon after a failed put is what matters about it.
        let wait = self.world.host.alarm.map_or(0, |alarm| alarm.since(self.world.now));
        if wait < 5 * 60_000 && self.world.rng.chance(50) {
            self.world.pass(wait);
        }
        let is_due = self.world.host.alarm_is_due(self.world.now);
        let is_set = self.world.host.alarm.is_some() && !self.world.host.in_turn();
        if is_due || (is_set && self.world.rng.chance(10)) {
            self.world.host.begin_turn(self.world.now);
            // Half of the turns are carried through at once; in the others anything happens in between.
            if self.world.rng.chance(50) {
                while self.world.step() {}
            }
        }
    }

    fn fail_next(&mut self, kind: Kind) {
        let late_ms = self.late_ms();
        let rng = &mut self.world.rng;
        match kind {
            Kind::FailSection => {
                let write = 1 + rng.below(5);
                self.world.host.section_fault = Some(
                    [SectionFault::Refused(write), SectionFault::Lost, SectionFault::Kept][rng.index(3)],
                );
            }
            Kind::FailAlarm => {
                let fault = [AlarmFault::Refused, AlarmFault::RefusedButSet][rng.index(2)];
                self.world.host.alarm_faults.push_back(fault);
            }
            _ => {
                let late = PutFault::Late(rng.below(late_ms));
                // After the next attempt, which it then overwrites.
                let too_late = PutFault::Late(late_ms - 1 - rng.below(late_ms / 3));
                let fault = [
                    PutFault::Refused,
                    PutFault::Lost,
                    PutFault::Unanswered,
                    late,
                    too_late,
                    PutFault::Exhausted,
                ];
                let fault = fault[rng.index(fault.len())];
                self.world.kv.script.push_back(fault);
            }
        }
    }

    /// By how much a put may land late: less than what the publisher waits for.
    fn late_ms(&self) -> u64 {
        3 * self.options.publication.interval_ms
    }

    fn change_faults(&mut self) {
        let late_ms = self.late_ms();
        let rng = &mut self.world.rng;
        self.world.kv.faults = match rng.below(3) {
            0 => Faults::default(),
            1 => Faults { lag_ms: 60_000, ..Faults::default() },
            _ => Faults { puts: rng.below(60), late_ms, reads: rng.below(30), lag_ms: rng.below(90_000) },
        };
    }

    fn lose(&mut self) {
        let (rng, now) = (&mut self.world.rng, self.world.now);
        if rng.chance(20) {
            return self.world.kv.empty();
        }
        let keys = self.world.kv.keys(now);
        if !keys.is_empty() {
            let key = &keys[rng.index(keys.len())];
            self.world.kv.evict(key, now);
        }
    }

    fn forget(&mut self) {
        let location = self.world.rng.index(LOCATIONS);
        self.world.locations[location].forget_memory();
        if self.world.rng.chance(30) {
            self.world.locations[location].forget_cache();
        }
    }

    fn backup(&mut self, client: usize) {
        match self.client_copy.take() {
            None => self.client_copy = Some(self.world.copy_client(client)),
            Some(copy) => self.world.clients[client].restore(&copy),
        }
    }

    fn compact(&mut self, client: usize) {
        let edits = self.edits();
        let (mark, changes) = self.world.oracle.plan(edits);
        self.world.clients[client].compact(&changes, mark);
    }

    fn reset_epoch(&mut self) {
        let _ = self.world.host.reset_epoch(self.world.now);
        let epoch = self.world.host.core(self.world.now).position().epoch;
        self.world.oracle.learn_epoch(&epoch);
    }

    /// As the operator's guide says: storage goes back, and a new epoch begins before anybody else comes.
    fn restore_storage(&mut self) {
        let world = &mut self.world;
        match self.storage_copy.take() {
            None => {
                self.storage_copy = Some((world.host.copy_of_storage(world.now), world.oracle.copy()));
            }
            Some((storage, present)) => {
                self.went_back = true;
                world.host.section_fault = None;
                world.host.alarm_faults.clear();
                let newest = world.host.core(world.now).position();
                world.host.restore(storage);
                world.oracle.restore(present);
                world.host.begin_epoch_after(&newest, world.now);
                world.oracle.forget_published();
                let epoch = world.host.core(world.now).position().epoch;
                world.oracle.learn_epoch(&epoch);
            }
        }
    }
}
