//! Worlds in which everything happens at random, checked after every step, until the faults end and all has to come together.

mod addons;
mod calm;
mod faults;
mod options;
mod people;

use calm::Watch;
pub use options::{Kind, Options};
use people::Given;

use super::{
    DAY_MS, Rng, Settings, World,
    check::{Change, Deed, Edit, Present, Row, Take, Written},
    client::{Client, Name, TABS},
    invitations::Link,
    ledger::MemoryLedger,
};
use crate::{
    fronts::headwater::answer::Format,
    role::Role,
    version::{ConflictId, Version},
};

/// Steps of a world before it calms down.
pub const STEPS: u64 = 500;
const LOCATIONS: usize = 3;

/// A world and how wild it is.
#[derive(Debug)]
pub struct Wild {
    /// The world.
    pub world: World,
    options: Options,
    total_share: u64,
    client_copy: Option<Client>,
    /// A copy of a space's storage, and what it holds.
    storage_copy: Option<(usize, MemoryLedger, Present)>,
    /// Grants that were ever given.
    grants: Vec<Given>,
    links: Vec<Link>,
    /// One per space.
    watches: Vec<Watch>,
}

impl Wild {
    /// The world of a seed. With `is_traced` it writes down what happens.
    #[must_use]
    pub fn new(seed: u64, is_traced: bool) -> Self {
        let options = Options::of(seed);
        let (publication, plan) = (options.publication, options.plan);
        let mut world = World::new(&Settings { seed, publication, plan, locations: LOCATIONS, clients: 0 });
        world.trace = is_traced.then(Vec::new);
        if options.clients.iter().any(|(_, space)| *space > 0) {
            let team = world.add_shared_space("team", 0);
            world.add_private_space(1);
            let club = world.add_shared_space("club", 1);
            world.administer(0, team, &Deed::SetMember(1, Role::Writer)).expect("nothing fails yet");
            world.administer(1, club, &Deed::SetMember(0, Role::Writer)).expect("nothing fails yet");
        }
        options.clients.iter().for_each(|(user, space)| world.add_client(*user, *space));
        options.addons.iter().for_each(|(user, space)| world.addons.add(*user, *space));
        world.locations[LOCATIONS - 1].has_cache = false;
        world.network.weather = options.weather;
        world.spaces.iter_mut().for_each(|space| space.host.set_rate(options.rate));
        let total_share = options.shares.iter().map(|(_, share)| share).sum();
        let watches = world.spaces.iter().map(|_| Watch::default()).collect();
        Self {
            world,
            options,
            total_share,
            client_copy: None,
            storage_copy: None,
            grants: Vec::new(),
            links: Vec::new(),
            watches,
        }
    }

    /// Lives through `steps` events, and then through the calm.
    pub fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
            for space in 0..self.world.spaces.len() {
                self.check_published(space);
                self.check_idle(space);
                self.check_held(space);
            }
        }
        self.calm_down();
        self.put_addons_away();
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

    /// One event, perhaps behind another slice of pushes.
    pub fn step(&mut self) {
        for space in 0..self.world.spaces.len() {
            if self.world.spaces[space].host.has_pushes() && self.world.rng.chance(60) {
                self.world.settle_slice(space);
            }
        }
        let kind = self.kind();
        let client = self.world.rng.index(self.world.clients.len());
        let tab = self.world.rng.index(TABS);
        // Where many clients are, much happens.
        let space = self.world.clients[client].space;
        self.world.note(|| format!("{kind:?} of client {client}, space {space}"));
        match kind {
            Kind::Change => self.change(client, tab),
            Kind::Pull => self.pull(client, tab),
            Kind::Arrival => self.arrival(),
            Kind::Body => self.world.late_body_comes(space),
            Kind::HangUp => self.world.spaces[space].host.hang_up(&mut self.world.rng),
            Kind::Pass => self.pass(),
            Kind::Alarm => self.alarm(space),
            Kind::HalfEffect => {
                self.world.step(space);
            }
            Kind::DropAlarm => self.drop_alarm(space),
            Kind::Kill => self.world.spaces[space].host.kill(),
            Kind::FailSection | Kind::FailAlarm | Kind::FailPut => self.fail_next(kind, space),
            Kind::KvFaults => self.change_faults(),
            Kind::KvLoss => self.lose(),
            Kind::Unreachable => {
                self.world.spaces[space].host.is_unreachable = self.world.rng.chance(30);
            }
            Kind::Forget => self.forget(),
            Kind::CloseTab => self.world.clients[client].forget_pull(tab),
            Kind::StartOver => self.world.clients[client].start_over(),
            Kind::Backup => self.backup(client),
            Kind::Compact => self.compact(client),
            Kind::Resolve => self.resolve(client, tab),
            Kind::Administer => self.administer(client),
            Kind::Grant => self.try_grant(client),
            Kind::BeginAgain => self.begin_again(space),
            Kind::ClaimFuture => self.claim_future(client),
            Kind::ResetEpoch => self.reset_epoch(space),
            Kind::RestoreStorage => self.restore_storage(space),
            Kind::Directory => self.directory(),
            Kind::Sockets => self.world.change_sockets(client),
        }
        if !self.options.addons.is_empty() {
            self.addon_step();
        }
        (0..self.world.spaces.len()).for_each(|space| self.world.tell_live(space));
    }

    fn edits(&mut self, space: usize) -> Vec<Edit> {
        if self.world.rng.chance(2) {
            // Never none at all: mutations of no changes are the same to everybody but the oracle.
            let one = self.edit();
            return self.world.spaces[space]
                .oracle
                .names()
                .into_iter()
                .map(Edit::Delete)
                .chain([one])
                .collect();
        }
        (0..=self.world.rng.below(3)).map(|_| self.edit()).collect()
    }

    fn edit(&mut self) -> Edit {
        let rng = &mut self.world.rng;
        let (name, row) = record(rng, &self.options);
        let filler = row.filler;
        match rng.below(12) {
            0..=3 => Edit::Put(name, row),
            4..=5 => Edit::Patch(name, rng.below(1_000), row),
            6..=7 => Edit::Fill(name, filler),
            8 => Edit::Add(name, 1 + i64::try_from(rng.below(9)).expect("small")),
            _ => Edit::Delete(name),
        }
    }

    fn change(&mut self, client: usize, tab: usize) {
        let space = self.world.clients[client].space;
        // Now and then more than fits a push.
        let count = if self.world.rng.chance(3) { 12 } else { self.world.rng.below(3) };
        for _ in 0..count {
            if self.world.rng.chance(3) {
                let mark = self.world.spaces[space].oracle.plan_invalid();
                let changes = r#"[{"op":"what","collection":"c","id":"r"}]"#;
                self.world.clients[client].queue(Written::of(changes), mark);
                continue;
            }
            let edits = self.edits(space);
            let changes = edits.into_iter().map(|edit| self.change_of(client, edit)).collect();
            self.queue(client, changes);
        }
        let policy = [None, Some("reject"), Some("merge"), Some("overwrite")][self.world.rng.index(4)];
        self.world.clients[client].policy = policy;
        self.world.send_push(client, tab);
    }

    /// Now and then a change has an older base than its mutation.
    fn change_of(&mut self, client: usize, edit: Edit) -> Change {
        if !self.world.rng.chance(10) {
            return Change::Edit(edit);
        }
        let version = self.world.clients[client].position.as_ref().map_or(0, |own| own.version.get());
        let base = self.world.rng.below(version + 1);
        Change::Since(Version::new(base).expect("below one that was"), edit)
    }

    fn queue(&mut self, client: usize, changes: Vec<Change>) {
        let client = &mut self.world.clients[client];
        let waiting: Vec<u64> = client.outbox.iter().map(|queued| queued.mark).collect();
        let (mark, text) = self.world.spaces[client.space].oracle.plan_behind(changes, &waiting);
        client.queue(text, mark);
    }

    /// A user ends a conflict that this device knows of: one's own or not, open still or not.
    fn resolve(&mut self, client: usize, tab: usize) {
        let (user, space) = (self.world.clients[client].user, self.world.clients[client].space);
        self.world.list_conflicts(user, space);
        let known =
            self.world.clients[client].records.keys().filter(|(collection, _)| collection == "$conflicts");
        let known: Vec<ConflictId> = known.filter_map(|(_, id)| ConflictId::parse(id)).collect();
        if known.is_empty() {
            return;
        }
        let rng = &mut self.world.rng;
        let mut changes = Vec::new();
        // Rarely several at once, and rarely with edits of one's own.
        for _ in 0..=rng.below(8) / 7 {
            let id = known[rng.index(known.len())].clone();
            let take = match rng.below(4) {
                0..=1 => Take::Mine,
                2 => Take::Theirs,
                _ => Take::Records((0..=rng.below(2)).map(|_| merged(rng, &self.options)).collect()),
            };
            changes.push(Change::Resolve(id, take));
        }
        if rng.chance(15) {
            let edit = Change::Edit(self.edit());
            changes.push(edit);
        }
        self.queue(client, changes);
        let has_base = self.world.rng.chance(50);
        self.world.clients[client].outbox.back_mut().expect("it was queued").has_base = has_base;
        self.world.send_push(client, tab);
    }

    fn pull(&mut self, client: usize, tab: usize) {
        let location = self.world.rng.index(LOCATIONS);
        let format = if self.world.rng.chance(50) { Format::Json } else { Format::Ndjson };
        let chunks = self.world.rng.chance(30).then(|| self.world.rng.index(3));
        self.world.send_pull((client, tab), location, format, chunks);
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

    fn alarm(&mut self, space: usize) {
        // Usually it is on time, and what happens soon after a failed put is what matters about it.
        let now = self.world.now;
        let wait = self.world.spaces[space].host.alarm.map_or(0, |alarm| alarm.since(now));
        if wait < 5 * 60_000 && self.world.rng.chance(50) {
            self.world.pass(wait);
        }
        let host = &mut self.world.spaces[space].host;
        let is_set = host.alarm.is_some() && !host.in_turn();
        let is_due = host.alarm_is_due(self.world.now);
        // No platform rings before the time. It does no harm, but to an instance that takes it for the watchdog of one that died.
        let is_early = !is_due && is_set && self.world.rng.chance(10);
        let is_fresh = host.running().is_none_or(|core| !core.publisher().had_turn());
        if is_due || (is_early && (host.deaths == 0 || !is_fresh)) {
            host.begin_turn(self.world.now);
            // Half of the turns are carried through at once; in the others anything happens in between.
            if self.world.rng.chance(50) {
                while self.world.step(space) {}
            }
        }
    }

    fn drop_alarm(&mut self, space: usize) {
        let host = &mut self.world.spaces[space].host;
        if host.alarm_is_due(self.world.now) {
            host.alarm = None;
            self.watches[space].alarm_is_lost = true;
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
            Some(copy) if copy.space == self.world.clients[client].space => {
                let lost = self.world.clients.iter().map(|client| client.made_since(&copy));
                let lost = lost.max_by_key(Vec::len).unwrap_or_default();
                self.world.restore_client(client, &copy);
                if self.world.rng.chance(50) {
                    self.repeat(client, &lost);
                }
            }
            Some(copy) => self.client_copy = Some(copy),
        }
    }

    /// A user makes edits again that are gone with what a backup did not have: under the same numbers, at another time.
    fn repeat(&mut self, client: usize, lost: &[u64]) {
        let client = &mut self.world.clients[client];
        let oracle = &mut self.world.spaces[client.space].oracle;
        for mark in lost {
            let waiting: Vec<u64> = client.outbox.iter().map(|queued| queued.mark).collect();
            let Some((mark, changes)) = oracle.plan_repeated(*mark, &waiting) else { return };
            client.queue(changes, mark);
        }
    }

    fn compact(&mut self, client: usize) {
        let space = self.world.clients[client].space;
        let changes = self.edits(space).into_iter().map(Change::Edit).collect();
        let before = self.world.clients[client].outbox.iter().rev().skip(1).map(|queued| queued.mark);
        let before: Vec<u64> = before.collect();
        let (mark, changes) = self.world.spaces[space].oracle.plan_behind(changes, &before);
        self.world.clients[client].compact(changes, mark);
    }
}

/// A record and what might be put there.
fn record(rng: &mut Rng, options: &Options) -> (Name, Row) {
    let name = (["notes", "todos"][rng.index(2)].to_owned(), format!("r{:02}", rng.below(options.records)));
    let filler = rng.index(usize::try_from(options.filler).expect("a length"));
    (name, Row { count: 0, tag: rng.any() % 1_000, filler })
}

/// What a user makes of a conflict by hand.
fn merged(rng: &mut Rng, options: &Options) -> Edit {
    let (name, row) = record(rng, options);
    if rng.chance(30) { Edit::Delete(name) } else { Edit::Put(name, row) }
}
