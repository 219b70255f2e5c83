//! The coordinator: what `src/coordinator/publication/` and `src/coordinator/pull.rs` do, effect by effect.

use crate::{
    kv::{Head, Kv, Put, Run},
    reader::Overlay,
    rules::{Mistake, Rules},
    world::{Line, Lines, Position, RECORDS, TAIL_LINES_MAX, lines_in},
};

/// When the object is woken. Time is only before and after: a put that nobody waits for has landed, or never will.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Alarm {
    /// A put that was abandoned before it was set may still land afterwards.
    Soon,
    /// Four intervals after it was set: no such put is left.
    Settled,
}

/// `put_again_at`: the head has to be put once more, because an earlier put may still land.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Resettle {
    No,
    Pending,
    /// Its time has come.
    Due,
}

/// A base under construction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Building {
    pub(crate) run: Run,
    pub(crate) next: usize,
}

/// What survives a crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Stored {
    pub(crate) incarnation: u8,
    pub(crate) first_epoch: u8,
    pub(crate) epoch: u8,
    pub(crate) version: u8,
    pub(crate) horizon: u8,
    /// Deletions up to here are old enough to be forgotten.
    pub(crate) old: u8,
    pub(crate) records: Lines,
    pub(crate) published: Option<Position>,
    pub(crate) base: Option<Run>,
    pub(crate) building: Option<Building>,
    pub(crate) resettle: Resettle,
    /// As it was when the row was last written.
    pub(crate) renew: bool,
    pub(crate) alarm: Option<Alarm>,
}

/// What a turn waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Turn {
    /// That the alarm is set.
    Watchdog,
    /// A part's put.
    Part(Line),
    /// A head's put, and whether it is the one that settles.
    Head { position: Position, settles: bool },
}

/// How a put ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Writer {
    pub(crate) stored: Stored,
    pub(crate) turn: Option<Turn>,
    /// The head has to be put although nothing is new.
    pub(crate) renew: bool,
    /// This instance has not had a turn yet: an alarm that is set may be its predecessor's watchdog.
    pub(crate) fresh: bool,
}

impl Writer {
    pub(crate) fn new(incarnation: u8, epoch: u8) -> Self {
        let stored = Stored {
            incarnation,
            first_epoch: epoch,
            epoch,
            version: 0,
            horizon: 0,
            old: 0,
            records: [None; RECORDS],
            published: None,
            base: None,
            building: None,
            resettle: Resettle::No,
            renew: false,
            alarm: None,
        };
        Self { stored, turn: None, renew: false, fresh: true }
    }

    pub(crate) fn position(&self) -> Position {
        Position { epoch: self.stored.epoch, version: self.stored.version }
    }

    /// Under which key its heads stand.
    pub(crate) fn key(&self, rules: Rules) -> usize {
        key_of(self.stored.incarnation, rules)
    }

    fn is_behind(&self, rules: Rules) -> bool {
        match self.stored.published {
            Some(published) => published != self.position(),
            // Where storage was restored to before the first publication, KV holds heads of the epoch before.
            None => {
                let later_epoch = self.stored.epoch > self.stored.first_epoch;
                self.stored.version > 0 || (later_epoch && !rules.breaks(Mistake::EmptyEpochIsNotPublished))
            }
        }
    }

    fn due(&self, rules: Rules) -> Option<Alarm> {
        match self.stored.resettle {
            _ if self.is_behind(rules) || self.renew => Some(Alarm::Soon),
            Resettle::No => None,
            Resettle::Pending | Resettle::Due => Some(Alarm::Settled),
        }
    }

    /// After every event that is not part of a turn.
    pub(crate) fn poll_alarm(&mut self, rules: Rules) {
        let may_be_watchdog = self.fresh && !rules.breaks(Mistake::WatchdogBroughtForward);
        match (self.stored.alarm, self.due(rules)) {
            _ if self.turn.is_some() => {}
            (None, due) => self.stored.alarm = due,
            (Some(Alarm::Settled), Some(Alarm::Soon)) if !may_be_watchdog => {
                self.stored.alarm = Some(Alarm::Soon);
            }
            _ => {}
        }
    }

    /// The alarm fires. The first effect of the turn sets the next one.
    pub(crate) fn begin_turn(&mut self, rules: Rules) {
        if self.stored.alarm == Some(Alarm::Settled) {
            self.settle_time_passes();
        }
        let watchdog = if rules.breaks(Mistake::WatchdogTooShort) { Alarm::Soon } else { Alarm::Settled };
        self.stored.alarm = (!rules.breaks(Mistake::NoWatchdog)).then_some(watchdog);
        self.turn = Some(Turn::Watchdog);
    }

    pub(crate) fn settle_time_passes(&mut self) {
        if self.stored.resettle == Resettle::Pending {
            self.stored.resettle = Resettle::Due;
        }
    }

    /// What the turn waited for has ended: note it, and send the next effect.
    pub(crate) fn report(&mut self, outcome: Outcome, kv: &mut Kv, rules: Rules) {
        let key = self.key(rules);
        match self.turn.take().expect("a turn is under way") {
            Turn::Watchdog => {
                self.fresh = false;
                let idle = match self.due(rules) {
                    None => true,
                    Some(Alarm::Soon) => false,
                    Some(Alarm::Settled) => self.stored.resettle != Resettle::Due,
                };
                if idle { self.sleep(rules) } else { self.next(kv, rules) }
            }
            Turn::Part(line) => {
                if outcome != Outcome::Done {
                    return self.fail(rules);
                }
                let building = self.stored.building.as_mut().expect("a run is under construction");
                let mut part = [None; RECORDS];
                part[building.next] = Some(line);
                kv.put_objects(key, &part);
                self.adopt(Some(line));
                self.stored.renew = self.renew;
                self.next(kv, rules);
            }
            Turn::Head { position, settles } => match outcome {
                Outcome::Done => self.head_was_put(position, settles, kv, rules),
                Outcome::Refused => {
                    let put = kv.keys[key].awaited().expect("only a put that did not land is refused");
                    kv.keys[key].in_flight.remove(put);
                    self.fail(rules);
                }
                Outcome::Unknown => {
                    kv.keys[key].abandon();
                    if !rules.breaks(Mistake::NoSettling) {
                        self.stored.resettle = Resettle::Pending;
                    }
                    self.fail(rules);
                }
            },
        }
    }

    /// The instance dies with all that is not stored.
    pub(crate) fn crash(&mut self) {
        (self.turn, self.fresh, self.renew) = (None, true, self.stored.renew);
    }

    fn head_was_put(&mut self, position: Position, settles: bool, kv: &mut Kv, rules: Rules) {
        let position =
            if rules.breaks(Mistake::PublishedIsWhatIsDurable) { self.position() } else { position };
        self.stored.published = Some(position);
        let late = rules.breaks(Mistake::SettledByTheTimeOfTheAnswer);
        if settles || (late && self.stored.resettle == Resettle::Due) {
            self.stored.resettle = Resettle::No;
        }
        if rules.breaks(Mistake::HeadBeforeObjects)
            && let Some(base) = self.stored.base
        {
            kv.put_objects(self.key(rules), &base.parts);
        }
        self.forget_deletions(rules);
        self.sleep(rules);
    }

    /// The row is written, and the alarm set.
    fn sleep(&mut self, rules: Rules) {
        self.turn = None;
        self.stored.renew = self.renew;
        self.stored.alarm = self.due(rules);
    }

    fn fail(&mut self, rules: Rules) {
        self.renew = true;
        self.sleep(rules);
    }

    fn next(&mut self, kv: &mut Kv, rules: Rules) {
        while self.turn.is_none() {
            if self.stored.building.is_some() { self.build(rules) } else { self.head(kv, rules) }
        }
    }

    /// Cuts the next part.
    fn build(&mut self, rules: Rules) {
        let building = self.stored.building.as_ref().expect("a run is under construction");
        let to =
            if rules.breaks(Mistake::RunEndsWhenComplete) { self.stored.version } else { building.run.to };
        let Some(part) = lines_in(&self.stored.records, 0, to).get(building.next).copied() else {
            self.stored.base = Some(Run { to, ..building.run });
            self.stored.building = None;
            return;
        };
        let there = self.stored.base.is_some_and(|base| base.parts[building.next] == part);
        match part {
            Some(line) if !there && !rules.breaks(Mistake::HeadBeforeObjects) => {
                self.turn = Some(Turn::Part(line));
            }
            _ => self.adopt(part),
        }
    }

    fn adopt(&mut self, part: Option<Line>) {
        let building = self.stored.building.as_mut().expect("a run is under construction");
        building.run.parts[building.next] = part;
        building.next += 1;
    }

    /// Cuts the tail and puts the head, or begins a base where the tail does not fit.
    fn head(&mut self, kv: &mut Kv, rules: Rules) {
        let tail_from = self.stored.base.map_or(0, |base| base.to);
        let tail = lines_in(&self.stored.records, tail_from, u8::MAX);
        if self.must_fold(rules) || tail.iter().flatten().count() > TAIL_LINES_MAX {
            let run = Run { to: self.stored.version, parts: [None; RECORDS] };
            self.stored.building = Some(Building { run, next: 0 });
            return;
        }
        let position = self.position();
        let Stored { incarnation, horizon, base, .. } = self.stored;
        let head = Head { position, incarnation, horizon, tail_from, tail, base };
        kv.keys[self.key(rules)].in_flight.push(Put { head, waited_for: true });
        self.renew = false;
        if rules.breaks(Mistake::PublishedBeforeThePut) {
            self.stored.published = Some(position);
        }
        self.turn = Some(Turn::Head { position, settles: self.stored.resettle == Resettle::Due });
    }

    /// A deletion that is due and that the base still has as a record.
    fn must_fold(&self, rules: Rules) -> bool {
        let due = |line: &Line| line.value.is_none() && line.version <= self.stored.old;
        !rules.breaks(Mistake::ForgetsUnderAnOlderBase)
            && self.stored.base.is_some_and(|base| {
                self.stored.records.iter().flatten().any(|line| due(line) && line.version > base.to)
            })
    }

    fn forget_deletions(&mut self, rules: Rules) {
        let published = self.stored.published.filter(|published| published.epoch == self.stored.epoch);
        let Some(published) = published.filter(|_| self.stored.resettle == Resettle::No) else { return };
        let base = self.stored.base.filter(|_| !rules.breaks(Mistake::ForgetsUnderAnOlderBase));
        let to = base.map_or(published.version, |base| base.to.min(published.version)).min(self.stored.old);
        for line in &mut self.stored.records {
            if let Some(Line { version, value: None }) = *line
                && version <= to
            {
                *line = None;
                self.stored.horizon = self.stored.horizon.max(version);
            }
        }
    }

    /// An overlay for all readers, from the head that the location holds, or from where the client stands.
    pub(crate) fn overlay(
        &self,
        since: u8,
        own_epoch: Option<u8>,
        held: Option<Position>,
        rules: Rules,
    ) -> Overlay {
        let Stored { incarnation, epoch, version, horizon, records, .. } = self.stored;
        let sound = |held: &Position| {
            let above = held.version >= horizon || rules.breaks(Mistake::HorizonIgnoredAboveHeads);
            held.epoch == epoch && held.version <= version && above
        };
        let from =
            held.filter(sound).map_or_else(|| self.start_of(since, own_epoch, rules), |held| held.version);
        let lines = lines_in(&records, from, version);
        Overlay { incarnation, position: self.position(), from, horizon, lines }
    }

    /// From where a client needs the present state: from 0 where its own says nothing about it.
    pub(crate) fn start_of(&self, since: u8, own_epoch: Option<u8>, rules: Rules) -> u8 {
        let above = since >= self.stored.horizon || rules.breaks(Mistake::HorizonIgnoredForClients);
        if own_epoch == Some(self.stored.epoch) && above { since } else { 0 }
    }
}

/// The number of the key of an incarnation.
pub(crate) fn key_of(incarnation: u8, rules: Rules) -> usize {
    if rules.breaks(Mistake::IncarnationLeftOutOfKeys) { 0 } else { usize::from(incarnation) }
}
