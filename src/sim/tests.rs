//! Worlds in which everything happens at random, checked against the rules after every step.

mod crashes;
mod schedules;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{
    check::{Edit, Row},
    client::Name,
    kv::Faults,
    *,
};
use crate::edge::pull::ReadPlan;

const WORLDS: u64 = 300;

/// A world and how wild it is.
struct Wild {
    world: World,
    filler: u64,
    steps: u64,
    /// By how much a put may land late: less than what the publisher waits for.
    late_ms: u64,
}

impl Wild {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let is_eager = rng.chance(50);
        let retain_ms = [0, 60_000, 30 * DAY_MS][rng.index(3)];
        let publication = PublicationConfig { retain_ms, ..if is_eager { EAGER } else { BY_DEMAND } };
        let plan = ReadPlan { increments_from_kv: rng.chance(60) };
        let is_large = seed.is_multiple_of(6);
        let mut world = World::new(&Settings { seed, publication, plan, locations: 3, clients: 4 });
        world.locations[2].has_cache = false;
        let (filler, steps) = if is_large { (60_000, 120) } else { (300, 300) };
        Self { world, filler, steps, late_ms: 3 * publication.interval_ms }
    }

    fn name(&mut self) -> Name {
        let rng = &mut self.world.rng;
        (["notes", "todos"][rng.index(2)].to_owned(), format!("r{:02}", rng.below(25)))
    }

    fn edit(&mut self) -> Edit {
        let name = self.name();
        let rng = &mut self.world.rng;
        let filler = usize::try_from(rng.below(self.filler)).expect("a length");
        let row = Row { count: 0, tag: rng.any() % 1_000, filler };
        match rng.below(10) {
            0..=3 => Edit::Put(name, row),
            4..=5 => Edit::Patch(name, rng.below(1_000), row),
            6 => Edit::Add(name, 1 + i64::try_from(rng.below(9)).expect("small")),
            _ => Edit::Delete(name),
        }
    }

    fn step(&mut self) {
        let client = self.world.rng.index(4);
        match self.world.rng.below(100) {
            0..=29 => self.change_and_push(client),
            30..=59 => self.pull(client),
            60..=74 => self.pass(),
            75..=84 => {
                self.world.fire_alarm();
            }
            85..=88 => self.turn_by_halves(),
            89..=90 => self.world.host.kill(),
            91 => self.world.clients[client].start_over(),
            92 => {
                let position = self.world.host.reset_epoch(self.world.now).expect("an epoch");
                self.world.oracle.learn_epoch(&position.epoch);
            }
            93..=95 => self.change_faults(),
            96 => self.world.host.is_unreachable = self.world.rng.chance(30),
            97 => {
                let location = self.world.rng.index(3);
                self.world.locations[location].forget_memory();
            }
            98 => self.world.clients[client].forget_pull(),
            _ => self.lose(),
        }
    }

    fn change_and_push(&mut self, client: usize) {
        for _ in 0..self.world.rng.below(4) {
            let edits = match self.world.rng.below(30) {
                0 => self.world.oracle.names().into_iter().map(Edit::Delete).collect(),
                few => (0..=few % 3).map(|_| self.edit()).collect(),
            };
            let (mark, changes) = self.world.oracle.plan(edits);
            self.world.clients[client].queue(&changes, mark);
        }
        let answer_is_lost = self.world.rng.chance(10);
        let _ = self.world.push(client, answer_is_lost);
    }

    fn pull(&mut self, client: usize) {
        let location = self.world.rng.index(3);
        let format = if self.world.rng.chance(50) { Format::Json } else { Format::Ndjson };
        let chunks = self.world.rng.chance(30).then(|| self.world.rng.index(3));
        for _ in 0..=self.world.rng.below(4) {
            if !matches!(self.world.pull_once(client, location, format, chunks), Ok(false)) {
                break;
            }
        }
    }

    fn pass(&mut self) {
        let ms = match self.world.rng.below(20) {
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

    /// A turn in whose gaps anything happens, and which may not end.
    fn turn_by_halves(&mut self) {
        if self.world.host.in_turn() || self.world.host.alarm.is_none() {
            return;
        }
        self.world.host.begin_turn(self.world.now);
        for _ in 0..self.world.rng.below(12) {
            if !self.world.step() {
                return;
            }
            let client = self.world.rng.index(4);
            match self.world.rng.below(6) {
                0 => self.change_and_push(client),
                1 => self.pull(client),
                2 => {
                    let ms = self.world.rng.below(3_000);
                    self.world.pass(ms);
                }
                _ => {}
            }
        }
        if self.world.rng.chance(50) {
            self.world.host.kill();
        } else {
            while self.world.step() {}
        }
    }

    fn change_faults(&mut self) {
        let rng = &mut self.world.rng;
        self.world.kv.faults = match rng.below(3) {
            0 => Faults::default(),
            1 => Faults { lag_ms: 60_000, ..Faults::default() },
            _ => Faults {
                puts: rng.below(60),
                late_ms: self.late_ms,
                reads: rng.below(30),
                lag_ms: rng.below(90_000),
            },
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

    /// I8: with faults off and readers there, KV's head reaches the durable state and no alarm is left.
    fn calm_down(&mut self) {
        let world = &mut self.world;
        world.kv.faults = Faults::default();
        world.host.is_unreachable = false;
        for round in 0..40 {
            world.settle(50);
            world.pass(20 * 60_000);
            let location = round % 3;
            for client in 0..4 {
                for _ in 0..3 {
                    let _ = world.push(client, false);
                }
                let _ = world.pull(client, location, Format::Json);
            }
            // A new isolate, at a location that was asked nothing for a while, looks into KV.
            world.locations[location].forget_memory();
            world.locations[location].forget_cache();
            world.clients.push(Client::new(&format!("late{round:04}")));
            let last = world.clients.len() - 1;
            for _ in 0..3 {
                if world.pull(last, location, Format::Ndjson).is_ok() {
                    break;
                }
            }
            world.clients.truncate(4);
        }
        world.settle(50);
        assert_eq!(world.host.alarm, None, "I8: an alarm is left");
        let durable = world.host.core(world.now).position();
        let key = Scope::private(world.space()).head_key();
        let head = world.kv.central(&key, world.now);
        let published = head.and_then(|entry| {
            let metadata = crate::snapshot::head::HeadMetadata::parse(&entry.metadata)?;
            Some(metadata.position())
        });
        let is_new = durable.version.get() == 0;
        assert!(
            is_new || published.as_ref() == Some(&durable),
            "I8: KV has {published:?}, durable is {durable}"
        );
        for client in 0..4 {
            world.pull(client, 0, Format::Json).expect("I8: a pull succeeds");
            assert!(world.clients[client].outbox.is_empty(), "I8: an outbox does not empty");
            let strict = world.ask(0, "{\"consistency\":\"strong\"}", Format::Json);
            strict.body.expect("I8: a strong pull succeeds");
        }
    }
}

fn run(seed: u64) {
    let mut wild = Wild::new(seed);
    for _ in 0..wild.steps {
        wild.step();
    }
    wild.calm_down();
}

#[test]
fn i1_to_i8_hold_in_random_worlds() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let worlds = std::env::var("WORLDS").ok().and_then(|worlds| worlds.parse().ok()).unwrap_or(WORLDS);
    for seed in 0..worlds {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("world {seed} failed; run it alone with SEED={seed}");
            resume_unwind(failure);
        }
    }
}
