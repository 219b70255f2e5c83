//! Who may do what next, and what the world is afterwards.

use stateright::{Model, Property};

use crate::{
    kv::{Head, HeadKey},
    properties::{Event, Invariant, Seen, is_settling, is_watchdog},
    reader::{Answer, Known, Reader, Request},
    rules::{Mistake, Rules},
    world::{Bounds, Fork, World},
    writer::{Alarm, Outcome, Resettle, Stored, Turn, Writer, key_of},
};

/// The model, with its bounds.
#[derive(Debug)]
pub(crate) struct Protocol {
    bounds: Bounds,
    pub(crate) rules: Rules,
    /// What the exploration must come by.
    events: Vec<Event>,
    pub(crate) seen: Seen,
}

/// How a pull ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// By what the location knows, with a min at what is durable or without one.
    Edge { min: bool },
    /// By the coordinator.
    Asked,
    /// By what the location knows, because the coordinator does not answer.
    Unanswered,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Push,
    BeginEpoch { restored: bool },
    DeletionsAge,
    Recreate,
    TakeGrant { reader: usize },
    Crash,
    FireAlarm,
    SettleTimePasses,
    Report(Outcome),
    Land { key: usize, put: usize },
    Lose { key: usize, put: usize },
    Pull(Pull),
}

/// A pull of a reader at a location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pull {
    reader: usize,
    location: usize,
    /// What KV shows, if it is asked and shows something.
    kv: Option<Head>,
    end: End,
    /// An object that the answer needs is not to be had.
    missing: bool,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.writer_actions(world, actions);
        self.kv_actions(world, actions);
        for reader in 0..world.readers.len() {
            if world.readers[reader].grant != world.writer.stored.incarnation {
                actions.push(Action::TakeGrant { reader });
            }
            for location in 0..world.locations.len() {
                self.pulls(world, reader, location, actions);
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        if let Action::Pull(pull) = action {
            return self.pull(before, pull);
        }
        let mut world = before.clone();
        match action {
            Action::TakeGrant { reader } => world.readers[reader].grant = world.writer.stored.incarnation,
            Action::Land { key, put } => self.land(&mut world, key, put),
            Action::Lose { key, put } => drop(world.kv.keys[key].in_flight.remove(put)),
            action => self.writer_step(&mut world, action),
        }
        self.tidy(&mut world);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = Invariant::ALL.iter().map(|invariant| invariant.property());
        always.chain(self.events.iter().map(|event| event.property())).collect()
    }
}

impl Protocol {
    pub(crate) fn new(bounds: Bounds, rules: Rules, events: &[Event]) -> Self {
        Self { bounds, rules, events: events.to_vec(), seen: Seen::default() }
    }

    fn writer_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let (writer, left) = (&world.writer, &world.left);
        let key = &world.kv.keys[writer.key(self.rules)];
        if writer.stored.version < self.bounds.versions {
            actions.push(Action::Push);
        }
        if left.epochs > 0 {
            actions.push(Action::BeginEpoch { restored: false });
            // Nothing would tell a restored coordinator of a put that is under way.
            if writer.stored.version > 0 && key.in_flight.is_empty() {
                actions.push(Action::BeginEpoch { restored: true });
            }
        }
        let deletions = writer.stored.records.iter().flatten().filter(|line| line.value.is_none());
        if left.ages > 0 && deletions.max().is_some() {
            actions.push(Action::DeletionsAge);
        }
        if left.incarnations > 1 && writer.stored.incarnation == 0 && writer.stored.version > 0 {
            actions.push(Action::Recreate);
        }
        if left.crashes > 0 && (writer.turn.is_some() || !writer.fresh) {
            actions.push(Action::Crash);
        }
        match writer.turn {
            None => {
                let settled = writer.stored.alarm == Some(Alarm::Settled);
                if writer.stored.alarm.is_some() && !(settled && key.has_strays()) {
                    actions.push(Action::FireAlarm);
                }
            }
            Some(turn) => {
                let is_on_its_way = matches!(turn, Turn::Head { .. }) && key.awaited().is_some();
                if !is_on_its_way {
                    actions.push(Action::Report(Outcome::Done));
                }
                let may_refuse = is_on_its_way || matches!(turn, Turn::Part(_));
                if left.failures > 0 && may_refuse {
                    actions.push(Action::Report(Outcome::Refused));
                }
                if left.failures > 0 && matches!(turn, Turn::Head { .. }) {
                    actions.push(Action::Report(Outcome::Unknown));
                }
            }
        }
        if writer.stored.resettle == Resettle::Pending && !key.has_strays() {
            actions.push(Action::SettleTimePasses);
        }
    }

    fn kv_actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (key, heads) in world.kv.keys.iter().enumerate() {
            for (put, sent) in heads.in_flight.iter().enumerate() {
                actions.push(Action::Land { key, put });
                if !sent.waited_for {
                    actions.push(Action::Lose { key, put });
                }
            }
        }
    }

    fn pulls(&self, world: &World, reader: usize, location: usize, actions: &mut Vec<Action>) {
        let key = key_of(world.readers[reader].grant, self.rules);
        let known = world.locations[location][key].head.map(|head| head.position);
        // A head that is not above the one in memory teaches the location nothing.
        let newer = world.kv.keys[key].landed.iter().filter(|head| Some(head.position) > known);
        for kv in newer.map(|head| Some(*head)).chain([None]) {
            for end in [End::Edge { min: false }, End::Edge { min: true }, End::Asked, End::Unanswered] {
                for missing in [false, true] {
                    actions.push(Action::Pull(Pull { reader, location, kv, end, missing }));
                }
            }
        }
    }

    fn writer_step(&self, world: &mut World, action: Action) {
        let rules = self.rules;
        let stored = world.writer.stored;
        match action {
            Action::Push => {
                world.writer.stored.version += 1;
                let here = world.writer.position();
                // What was forgotten stays forgotten: only the step's own lines are new.
                let lines = world
                    .history()
                    .lines_at(here)
                    .map(|line| line.filter(|line| line.version == here.version));
                for (record, line) in world.writer.stored.records.iter_mut().zip(lines) {
                    *record = line.or(*record);
                }
                world.writer.poll_alarm(rules);
            }
            Action::BeginEpoch { restored } => {
                world.left.epochs -= 1;
                let undone = u8::from(restored);
                let fork = Fork { epoch: stored.epoch + 1, version: stored.version - undone };
                if restored {
                    // To before anything was published.
                    let mut writer = Writer::new(stored.incarnation, stored.first_epoch);
                    writer.stored.version = fork.version;
                    writer.stored.epoch = stored.epoch;
                    writer.stored.records = world.history().lines_at(writer.position());
                    world.writer = writer;
                }
                world.writer.stored.epoch = fork.epoch;
                world.writer.renew = true;
                world.history().fork = Some(fork);
                world.writer.poll_alarm(rules);
            }
            Action::DeletionsAge => {
                world.left.ages -= 1;
                world.writer.stored.old = stored.version;
            }
            Action::Recreate => {
                world.left.incarnations -= 1;
                world.kv.keys[world.writer.key(rules)].abandon();
                world.writer = Writer::new(stored.incarnation + 1, stored.epoch + 1);
            }
            Action::Crash => {
                world.left.crashes -= 1;
                let parts =
                    stored.building.is_some_and(|building| building.run.parts.iter().any(Option::is_some));
                if parts {
                    self.seen.note(Event::CrashBetweenObjectAndHead);
                }
                world.kv.keys[world.writer.key(rules)].abandon();
                world.writer.crash();
            }
            Action::FireAlarm => {
                if is_watchdog(&world.writer) {
                    self.seen.note(Event::WatchdogBringsTheNextTurn);
                }
                world.writer.begin_turn(rules);
            }
            Action::SettleTimePasses => world.writer.settle_time_passes(),
            Action::Report(outcome) => self.report(world, outcome, &stored),
            _ => unreachable!("not a step of the writer"),
        }
    }

    fn report(&self, world: &mut World, outcome: Outcome, before: &Stored) {
        if outcome == Outcome::Done && is_settling(world.writer.turn) {
            self.seen.note(Event::HeadIsSettled);
        }
        world.left.failures -= u8::from(outcome != Outcome::Done);
        world.writer.report(outcome, &mut world.kv, self.rules);
        let after = &world.writer.stored;
        world.unpublished |= after.published < before.published;
        if after.horizon > before.horizon {
            self.seen.note(Event::DeletionIsForgotten);
        }
        if before.base.is_some() && after.base != before.base {
            self.seen.note(Event::BaseIsFolded);
        }
    }

    fn land(&self, world: &mut World, key: usize, put: usize) {
        let heads = &mut world.kv.keys[key];
        let head = heads.in_flight[put].head;
        if heads.current.is_some_and(|current| current.position > head.position) {
            self.seen.note(Event::LatePutOverwritesANewerHead);
        }
        if head.incarnation < world.writer.stored.incarnation {
            self.seen.note(Event::LatePutOfADeletedSpaceLands);
        }
        heads.land(put);
    }

    /// One pull, from the location's memory as far as it has to go. None if it cannot end that way, or changes nothing.
    fn pull(&self, before: &World, pull: Pull) -> Option<World> {
        let (rules, writer, client) = (self.rules, &before.writer, before.readers[pull.reader]);
        let key = key_of(client.grant, rules);
        let mut known = before.locations[pull.location][key];
        let min = (pull.end == End::Edge { min: true }).then(|| writer.position());
        let request = Request { own: client.position, min };
        if let Some(head) = pull.kv {
            known.learn_head(head);
        }
        // The coordinator asks its members; a grant of an earlier incarnation is nothing to it.
        let may_ask = client.grant == writer.stored.incarnation;
        let mut answer = match pull.end {
            End::Edge { .. } => {
                let answer = known.serve(&request, false, rules);
                if answer.is_none() && pull.kv.is_some_and(|head| Some(head.position) < client.position) {
                    self.seen.note(Event::StaleHeadIsRefused);
                }
                answer?
            }
            End::Asked if may_ask => self.ask(&mut known, &request, writer, &client),
            End::Asked => return None,
            End::Unanswered => known.serve(&request, true, rules)?,
        };
        if pull.missing {
            if !answer.loads || pull.end == End::Unanswered || !may_ask {
                return None;
            }
            self.seen.note(Event::ObjectIsMissing);
            answer = client.page_of(writer, true, rules);
        }
        let mut reader = client;
        reader.apply(&answer);
        let went_back = reader.position < client.position || (may_ask && reader.position < min);
        let another_space = answer.incarnation != client.grant;
        if reader == client && known == before.locations[pull.location][key] && !went_back && !another_space {
            return None;
        }
        self.note_pull(&client, &answer, pull.end);
        let mut world = before.clone();
        world.readers[pull.reader] = reader;
        world.locations[pull.location][key] = known;
        world.went_back |= went_back;
        world.showed_another_space |= another_space;
        self.tidy(&mut world);
        Some(world)
    }

    fn note_pull(&self, client: &Reader, answer: &Answer, end: End) {
        let new_epoch = client.position.is_some_and(|own| own.epoch < answer.position.epoch);
        if new_epoch && answer.reset {
            self.seen.note(Event::ReaderIsResetByANewEpoch);
        }
        if client.position.is_some() && client.shows < answer.incarnation {
            self.seen.note(Event::ReaderIsShownTheNextSpace);
        }
        if end == End::Unanswered {
            self.seen.note(Event::ReadsGoOnWithoutTheCoordinator);
        }
        if answer.layers.iter().filter(|lines| lines.iter().any(Option::is_some)).count() > 1 {
            self.seen.note(Event::LayersAnswerTogether);
        }
    }

    /// The coordinator is asked, and what it says is learnt.
    fn ask(&self, known: &mut Known, request: &Request, writer: &Writer, client: &Reader) -> Answer {
        if known.head.is_some_and(|head| Some(head.position) < request.own) {
            self.seen.note(Event::CoordinatorTakesOver);
        }
        let held = known.held(request, self.rules);
        let epoch = request.own.map(|own| own.epoch);
        known.learn_overlay(writer.overlay(client.since(), epoch, held, self.rules));
        known.serve(request, false, self.rules).unwrap_or_else(|| client.page_of(writer, true, self.rules))
    }

    /// Two states that differ only in which reader or location is called the first are one; and what nobody can see any
    /// more is dropped.
    fn tidy(&self, world: &mut World) {
        let gone = world.writer.stored.incarnation > 0 && world.readers.iter().all(|reader| reader.grant > 0);
        if gone && !self.rules.breaks(Mistake::IncarnationLeftOutOfKeys) {
            world.kv.keys[0] = HeadKey::default();
            world.kv.objects.retain(|(key, ..)| *key > 0);
            world.locations.iter_mut().for_each(|location| location[0] = Known::default());
        }
        world.readers.sort_unstable();
        world.locations.sort_unstable();
    }
}
