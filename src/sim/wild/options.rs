//! What kinds of worlds there are, and how often what happens in them.

use crate::{
    coordinator::{publication::PublicationConfig, rate::RateConfig},
    edge::pull::ReadPlan,
    limits::{ParkedMax, Sizes, SliceMax},
    sim::{BY_DEMAND, DAY_MS, EAGER, Rng, host::UNBOUNDED, network::Weather},
};

/// Sizes by which some dozens of short records overflow a tail and make a base of several parts that takes several turns.
/// As in deployment what is too much for an overlay is a page already, and a delta may grow to several tails, or every tail
/// that overflows would be folded into the base at once.
const SMALL: Sizes = Sizes {
    tail_max: 250,
    part_min: 800,
    part_max: 1_100,
    parts_per_turn: 3,
    replaced_min: 50,
    purges_per_turn: 3,
    overlay_max: 900,
    piggyback_max: 700,
    page_max: 900,
    slice: SliceMax { changes: 3, bytes: 300 },
    parked: ParkedMax::DEPLOYED,
};

/// What kind of world a seed makes. Each leaves something out, so that the rest happens more often.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the coordinator publishes, and how much at once.
    pub publication: PublicationConfig,
    /// Which layers answer which pulls.
    pub plan: ReadPlan,
    /// The user and the space of each client. Space 0 is alice's private one, 2 bob's; 1 and 3 are shared.
    pub clients: Vec<(usize, usize)>,
    /// The user and the space of each client of Dexie Cloud. In most worlds there is none.
    pub addons: Vec<(usize, usize)>,
    /// Bytes by which records are longer at most.
    pub filler: u64,
    /// How many records there are.
    pub records: u64,
    /// The share of each kind of event.
    pub shares: Vec<(Kind, u64)>,
    /// What messages meet.
    pub weather: Weather,
    /// What users may take of an object.
    pub rate: RateConfig,
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
    /// The body of a push arrives that was on its way to the coordinator.
    Body,
    /// Whoever sends a push, or waits for its answer, hangs up.
    HangUp,
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
    /// A user resolves a conflict.
    Resolve,
    /// A user does something about a space, allowed or not.
    Administer,
    /// A user tries some grant that was ever given to somebody, or asks for another one.
    Grant,
    /// An operator wipes the object of a shared space, and somebody makes a space of that id; perhaps twice in one moment.
    BeginAgain,
    /// A client claims that there is an epoch ahead of the clock.
    ClaimFuture,
    /// An owner begins a new epoch.
    ResetEpoch,
    /// Storage is restored to an older state, and the owner begins a new epoch.
    RestoreStorage,
    /// Something happens around the directories, or to one.
    Directory,
    /// A client gets a socket, or loses it, or an object falls asleep.
    Sockets,
}

/// All kinds with their usual shares.
const SHARES: [(Kind, u64); 30] = [
    (Kind::Change, 200),
    (Kind::Pull, 200),
    (Kind::Arrival, 300),
    (Kind::Body, 40),
    (Kind::HangUp, 8),
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
    (Kind::Resolve, 40),
    (Kind::Administer, 25),
    (Kind::Grant, 25),
    (Kind::BeginAgain, 4),
    (Kind::ClaimFuture, 3),
    (Kind::ResetEpoch, 3),
    (Kind::RestoreStorage, 2),
    (Kind::Directory, 40),
    (Kind::Sockets, 40),
];

/// Whose the clients are, and of which spaces: one space alone, so that much happens in it; or several, most of it in one.
const LAYOUTS: [&[(usize, usize)]; 6] = [
    &[(0, 0), (0, 0), (0, 0), (0, 0)],
    &[(0, 0), (0, 0), (0, 0), (0, 0)],
    &[(0, 0), (0, 0), (0, 0), (0, 0)],
    &[(0, 1), (0, 1), (1, 1), (1, 2)],
    &[(0, 1), (1, 1), (0, 1), (0, 0), (1, 2)],
    &[(0, 1), (1, 1), (0, 3), (1, 3)],
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
        let clients = LAYOUTS[rng.index(LAYOUTS.len())].to_vec();
        let is_shared = clients.iter().any(|(_, space)| space % 2 == 1);
        let leaves_out = rng.below(60);
        let shares = SHARES.into_iter().map(|(kind, share)| {
            let usual = matches!(kind, Kind::Change | Kind::Pull | Kind::Arrival | Kind::Pass | Kind::Alarm);
            let is_idle = !is_shared && matches!(kind, Kind::Grant | Kind::BeginAgain | Kind::Directory);
            (kind, if is_idle || (!usual && rng.chance(leaves_out)) { 0 } else { share })
        });
        let mut options = Self {
            publication,
            shares: shares.collect(),
            plan: ReadPlan { increments_from_kv: rng.chance(60) },
            addons: addons_of(seed, &clients),
            clients,
            filler: [20, 60, 200][rng.index(3)],
            records: [3, 8, 30][rng.index(3)],
            weather: Weather { lost: rng.below(15), repeated: rng.below(15), slow: rng.below(25) },
            rate: UNBOUNDED,
            is_slow: rng.chance(40),
        };
        if rng.chance(15) {
            // Ten seconds' worth is there at once.
            let user_per_s = 1 + u32::try_from(rng.below(3)).expect("small");
            let space_per_s = u32::try_from(rng.below(3)).expect("small") * user_per_s;
            options.rate = RateConfig { user_per_s, space_per_s };
        }
        if rng.chance(60) {
            let of_user = 1 + rng.index(4);
            let (conflicts, unacked) = (of_user + rng.index(4), 1 + rng.index(4));
            // A mutation alone has to fit: one that deletes every record, and one that resolves two conflicts.
            let changes = usize::try_from(2 * options.records + 1).expect("a count").max(7);
            let nested = 1 + rng.index(3);
            options.publication.sizes.parked = ParkedMax { conflicts, of_user, unacked, changes, nested };
        }
        options
    }
}

/// By dice of their own, so that worlds without them are what they would be if there were none anywhere.
fn addons_of(seed: u64, clients: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut rng = Rng::new(seed ^ 0x6465_7869_6521);
    let count = if rng.chance(25) { 1 + rng.index(3) } else { 0 };
    (0..count).map(|_| clients[rng.index(clients.len())]).collect()
}
