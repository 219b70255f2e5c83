//! The alarm: when it is due, and what a turn of the publisher does (`publication`).

use crate::{
    coordinator::{
        Coordinator,
        ledger::{Ledger, LedgerError, LedgerResult},
        publication::{Durable, Effect, Leased, PutOutcome},
    },
    snapshot::head::HeadMetadata,
    time::Millis,
};

/// How late an alarm may be before it is set again, in ms.
const ALARM_OVERDUE_MS: u64 = 5 * 60_000;

impl<L: Ledger> Coordinator<L> {
    fn durable(&self) -> Durable<'_> {
        Durable { meta: &self.meta, version: self.version }
    }

    /// When the next turn is due. A space that was deleted publishes nothing any more.
    fn due(&self, now: Millis) -> Option<Millis> {
        if self.is_gone() { None } else { self.publisher.due(self.durable(), now) }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.meta.gone_at.is_some()
    }

    /// When the shell has to set the alarm to, if it has to. To be asked after every event, and the alarm to be set
    /// before anything else is awaited, so that it is part of the transaction.
    pub fn poll_alarm(&mut self, now: Millis) -> Option<Millis> {
        if self.publisher.in_turn() || planted!(AlarmNotArmed) {
            return None;
        }
        let due = self.due(now)?;
        let earlier = match self.alarm {
            None => true,
            // The platform gives an alarm up after six failures: one that is long overdue will not come.
            Some(alarm) if now.since(alarm) > ALARM_OVERDUE_MS => !planted!(DroppedAlarmAwaited),
            Some(alarm) => due < alarm && !self.may_be_watchdog(alarm, now),
        };
        earlier.then(|| {
            self.alarm = Some(due);
            due
        })
    }

    /// An alarm that another instance has set for the next moments may be its watchdog, before which a put of it may
    /// still land.
    fn may_be_watchdog(&self, alarm: Millis, now: Millis) -> bool {
        !self.publisher.had_turn() && alarm > now && alarm.since(now) <= self.publisher.landing_ms()
    }

    /// The alarm has fired, early, late or again. Returns what to set it to before anything else.
    pub fn begin_turn(&mut self, now: Millis) -> Millis {
        let watchdog = self.publisher.begin(now);
        self.alarm = Some(watchdog);
        watchdog
    }

    /// When the watchdog has to fire for a put that is made now.
    pub fn watchdog(&mut self, now: Millis) -> Millis {
        let watchdog = self.publisher.watchdog(now);
        self.alarm = Some(watchdog);
        watchdog
    }

    /// The turn broke off outside, and nobody knows which alarm is set: the next event sets one.
    pub fn turn_broke_off(&mut self) {
        self.publisher.break_off();
        self.alarm = None;
    }

    /// The next effect of the turn; see `publication`.
    pub fn next_effect(&mut self, now: Millis) -> Effect {
        let durable = Durable { meta: &self.meta, version: self.version };
        let effect = match self.is_gone() {
            true => Ok(Effect::Sleep(None)),
            false => self.publisher.next(&mut self.ledger, durable, now),
        };
        let effect = effect.unwrap_or_else(|error| {
            self.turn_failed(error, now);
            Effect::Sleep(None)
        });
        if let Effect::Sleep(_) = effect {
            self.publisher.break_off();
            self.alarm = self.due(now);
            return Effect::Sleep(self.alarm);
        }
        effect
    }

    /// What KV's head says. If it knows more of this space than storage does, storage has gone back, and its versions would
    /// be used twice: a new epoch begins.
    pub fn head_was_read(&mut self, metadata: Option<&HeadMetadata>, now: Millis, random: u64) {
        if self.is_gone() {
            return;
        }
        self.publisher.head_was_read(metadata, now);
        let head = metadata.map(HeadMetadata::position).filter(|head| self.is_from_the_future(head, now));
        if let Some(head) = head
            && let Err(error) = self.begin_epoch(&head.epoch, now, random)
        {
            // Until it has begun, a head would stand at a position that was another's.
            self.turn_failed(error, now);
        }
    }

    /// What the day's budget has said.
    pub fn leased(&mut self, leased: Leased) {
        self.publisher.leased(leased);
    }

    /// As [`Publisher::budget_is`](crate::coordinator::publication::Publisher::budget_is).
    pub fn budget_is(&mut self, kv_writes: Option<u32>) {
        self.publisher.budget_is(kv_writes);
    }

    /// How a part's put ended.
    pub fn object_was_put(&mut self, outcome: PutOutcome, now: Millis) {
        if self.is_gone() {
            return;
        }
        let noted = self.write_down(now);
        let noted = noted.and_then(|()| self.publisher.object_was_put(&mut self.ledger, outcome, now));
        noted.unwrap_or_else(|error| self.turn_failed(error, now));
    }

    /// How a part's deletion ended.
    pub fn object_was_deleted(&mut self, outcome: PutOutcome, now: Millis) {
        if self.is_gone() {
            return;
        }
        let noted = self.publisher.object_was_deleted(&mut self.ledger, outcome, now);
        noted.unwrap_or_else(|error| self.turn_failed(error, now));
    }

    /// How a head's put ended.
    pub fn head_was_put(&mut self, outcome: PutOutcome, now: Millis) {
        if self.is_gone() {
            return;
        }
        let noted = self.write_down(now).and_then(|()| {
            let durable = Durable { meta: &self.meta, version: self.version };
            self.publisher.head_was_put(&mut self.ledger, durable, outcome, now)
        });
        let noted = noted.and_then(|()| self.forget_deletions(now));
        noted.unwrap_or_else(|error| self.turn_failed(error, now));
    }

    pub(super) fn turn_failed(&mut self, error: LedgerError, now: Millis) {
        self.storage_failed(error);
        self.publisher.storage_failed(&self.ledger, now);
    }

    /// Forgets deletions that are due, and in the same section raises the floor, as the newest row may be among them,
    /// and the horizon, below which nobody can be told any more what was deleted.
    fn forget_deletions(&mut self, now: Millis) -> LedgerResult<()> {
        let Some((before, to)) = self.publisher.forgettable(&self.meta.epoch, now) else { return Ok(()) };
        let mut meta = self.meta.clone();
        let (version, count) = (self.version, self.publisher.sizes().purges_per_turn);
        self.ledger.atomically(&mut |ledger| {
            if let Some(forgotten) = ledger.forget_deletions(before, to, count)? {
                // Where a clock has gone back between two deletions, the older one is forgotten later.
                meta.horizon =
                    if planted!(HorizonNotRaised) { meta.horizon } else { forgotten.max(meta.horizon) };
                meta.floor = if planted!(FloorNotRaised) { meta.floor } else { version };
                ledger.put_meta(&meta)?;
            }
            Ok(())
        })?;
        if meta.horizon != self.meta.horizon {
            self.meta = meta;
            self.forget_overlay();
        }
        Ok(())
    }
}
