//! How the durable state gets into KV: objects before the head that names them, again when KV loses something, and
//! only when somebody is there to read it.
//!
//! The machine of one turn. The shell calls [`Publisher::begin`] when the alarm fires, then carries out each
//! [`Effect`] it gets from `next` and reports how that ended, until the effect is [`Effect::Sleep`]. Nothing of a turn
//! that a crash would lose is needed: what was put is in the row, and everything else is cut anew.

mod build;
mod effect;
mod row;

pub use effect::{Effect, PutOutcome};
pub use row::{Building, PartRow, PublicationConfig, PublicationRow, Published, RunRow};

use super::ledger::{Ledger, LedgerResult, Meta};
use crate::{
    limits::Sizes,
    protocol::internal::{Ask, Seen},
    snapshot::{
        head::{Head, HeadParts},
        keys::Scope,
    },
    time::Millis,
    version::{Epoch, Position, Version},
};

/// How long objects and heads live, in ms: 30 days. What is still needed is put again in time; nothing is ever deleted,
/// because an expiry is free and a deletion is billed like a put.
pub const LIFETIME_MS: u64 = 30 * DAY_MS;
/// By how much objects outlive what is noted of them, in ms: a put that was never answered may land over a later one, and
/// brings back its own, earlier expiry.
const LIFETIME_MARGIN_MS: u64 = DAY_MS;
/// Age from which on an object is put again by the next publication.
const REFRESH_AGE_MS: u64 = LIFETIME_MS / 2;
const DAY_MS: u64 = 86_400_000;
/// Longest wait after a failure.
const BACKOFF_MS_MAX: u64 = 15 * 60_000;

/// What the publisher has to know of the space.
#[derive(Debug, Clone, Copy)]
pub struct Durable<'a> {
    /// Which history it is.
    pub meta: &'a Meta,
    /// Its version.
    pub version: Version,
}

impl Durable<'_> {
    fn position(&self) -> Position {
        Position { epoch: self.meta.epoch.clone(), version: self.version }
    }
}

/// Sees to it that KV's head reaches the durable version.
#[derive(Debug)]
pub struct Publisher {
    config: PublicationConfig,
    scope: Scope,
    row: PublicationRow,
    turn: Option<Turn>,
    /// Whether KV's head has been compared with storage since this instance began.
    compared: bool,
    /// Since when something is unpublished, as far as this instance knows.
    behind_since: Option<Millis>,
    pulls_answered: u32,
    unpublished_bytes: usize,
    renewed_at: Millis,
}

#[derive(Debug, Default)]
struct Turn {
    parts: usize,
    part: Option<PartRow>,
    last: Option<(String, String)>,
    run_ends: bool,
    /// What the head that is being put says, and since when it is.
    head: Option<(Position, Millis)>,
}

impl Publisher {
    /// Begins with what an earlier instance has noted.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn open<L: Ledger>(
        ledger: &L,
        config: PublicationConfig,
        durable: Durable<'_>,
        now: Millis,
    ) -> LedgerResult<Self> {
        let mut publisher = Self {
            config,
            scope: durable.meta.scope.clone(),
            row: PublicationRow::read(ledger)?,
            turn: None,
            compared: false,
            behind_since: None,
            pulls_answered: 0,
            unpublished_bytes: 0,
            renewed_at: Millis(0),
        };
        publisher.behind_since = publisher.is_behind(durable).then_some(now);
        Ok(publisher)
    }

    /// What is known of KV.
    #[must_use]
    pub fn row(&self) -> &PublicationRow {
        &self.row
    }

    /// Whether KV's head is not known to hold the durable state.
    #[must_use]
    pub fn is_behind(&self, durable: Durable<'_>) -> bool {
        match self.row.published_in(&durable.meta.epoch) {
            Some(version) => {
                assert!(
                    version <= durable.version,
                    "BUG: published {version} is above durable {}",
                    durable.version
                );
                version < durable.version
            }
            None => {
                // An empty space has no head, unless an earlier epoch of it may have had one.
                let is_later = durable.meta.epoch != durable.meta.incarnation;
                durable.version > Version::ZERO
                    || self.row.published.is_some()
                    || (is_later && !planted!(EmptyEpochNotPublished))
            }
        }
    }

    /// Notes that `bytes` of lines became durable.
    pub fn committed(&mut self, bytes: usize, now: Millis) {
        self.unpublished_bytes += bytes;
        self.behind_since.get_or_insert(now);
    }

    /// Notes that another history began: readers of the old one must be told soon.
    pub fn epoch_began(&mut self, now: Millis) {
        self.behind_since.get_or_insert(now);
        self.row.renew = true;
    }

    /// What is to be noted when all records are removed: nothing that was put may be named by a head again. That something
    /// was published is, and what is unsettled.
    #[must_use]
    pub fn row_of_nothing(&self) -> PublicationRow {
        let PublicationRow { published, attempts, retry_at, resettle_at, .. } = self.row.clone();
        PublicationRow { published, attempts, retry_at, resettle_at, ..PublicationRow::default() }
    }

    /// Notes that all records were removed and `row`, of [`Self::row_of_nothing`], stands in storage.
    pub fn everything_was_removed(&mut self, row: PublicationRow, now: Millis) {
        self.row = row;
        self.unpublished_bytes = 0;
        self.epoch_began(now);
    }

    /// Notes that the coordinator answered a pull, and what the edge had seen.
    pub fn pulled(&mut self, seen: &Ask, now: Millis) {
        self.pulls_answered = self.pulls_answered.saturating_add(1);
        let Some(published) = self.row.published.clone() else { return };
        let settled = now.since(published.at) > self.config.settle_ms()
            && now.since(self.renewed_at) > 30 * self.config.interval_ms;
        // A location may see what has been replaced for a while; it says nothing new.
        let mut renew = settled && seen.expiring;
        match &seen.seen {
            Seen::Nothing if settled => {
                self.nothing_is_there();
                renew = true;
            }
            Seen::Head(position) if *position < published.position => renew |= settled,
            Seen::Nothing | Seen::Head(_) | Seen::Unknown => {}
        }
        let miss_ms = self.config.miss_ms();
        for part in self.row.parts_mut() {
            let missed = seen.missed.as_deref() == Some(part.sha256.0.as_str());
            if missed && now.since(part.put_at) > miss_ms {
                part.put_at = Millis(0);
                renew = true;
            }
        }
        if renew {
            self.row.renew = true;
            self.renewed_at = now;
        }
    }

    /// KV has lost the head, and who knows what else: it is all put again.
    fn nothing_is_there(&mut self) {
        self.row.parts_mut().for_each(|part| part.put_at = Millis(0));
        self.row.building = None;
        self.row.renew = true;
    }

    /// When the next turn is due; none if KV is up to date.
    #[must_use]
    pub fn due(&self, durable: Durable<'_>, now: Millis) -> Option<Millis> {
        let behind = self.is_behind(durable);
        let regular = (behind || self.row.renew).then(|| {
            let urgent = self.row.renew
                || self.pulls_answered >= self.config.after_pulls
                || self.unpublished_bytes > self.config.sizes.tail_max;
            let wanted =
                if urgent { now } else { self.behind_since.unwrap_or(now).plus(self.config.max_delay_ms) };
            let interval =
                self.row.published.as_ref().map(|published| published.at.plus(self.config.interval_ms));
            wanted.max(interval.unwrap_or(now))
        });
        let due = [regular, self.row.resettle_at].into_iter().flatten().min()?;
        // workerd can lose an alarm that is set to the present from within an alarm (workerd#6866).
        Some(due.max(self.row.retry_at.unwrap_or(due)).max(now.plus(1)))
    }

    /// How much goes into what is cut and answered.
    #[must_use]
    pub fn sizes(&self) -> &Sizes {
        &self.config.sizes
    }

    /// Whether this instance has not had a turn yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.compared
    }

    /// How late a put may land that was never answered, in ms.
    #[must_use]
    pub fn settle_ms(&self) -> u64 {
        self.config.settle_ms()
    }

    /// Ends a turn that could not be carried out.
    pub fn break_off(&mut self) {
        self.turn = None;
    }

    /// Whether a turn is under way.
    #[must_use]
    pub fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Begins a turn and returns when the watchdog has to wake the object if the turn dies: the shell sets the alarm to
    /// it *before* anything else. That write is what a superseded instance fails at, it replaces the platform's six
    /// retries, and by the time it fires a put that died with the instance has landed or never will.
    pub fn begin(&mut self, now: Millis) -> Millis {
        if !self.compared {
            // An instance that is gone has set this alarm. What made it due is not remembered: it is due.
            self.behind_since = self.behind_since.map(|_| Millis(0));
        }
        self.turn = Some(Turn::default());
        self.watchdog(now)
    }

    /// When the watchdog has to fire for a put that is made now.
    #[must_use]
    pub fn watchdog(&self, now: Millis) -> Millis {
        now.plus(self.config.settle_ms().max(1_000))
    }

    /// The next thing to do in this turn.
    ///
    /// # Errors
    /// When storage fails; the turn is then over, and the watchdog brings the next.
    pub fn next<L: Ledger>(
        &mut self,
        ledger: &mut L,
        durable: Durable<'_>,
        now: Millis,
    ) -> LedgerResult<Effect> {
        let Some(turn) = &self.turn else { return Ok(Effect::Sleep(self.due(durable, now))) };
        let idle = self.due(durable, now).is_none_or(|due| due > now.plus(1));
        if turn.parts == 0 && turn.head.is_none() && idle {
            return self.sleep(durable, now);
        }
        if !self.compared {
            return Ok(Effect::ReadHead { key: self.scope.head_key() });
        }
        loop {
            if self.row.building.is_some() {
                if self.turn.as_ref().is_some_and(|turn| turn.parts >= self.config.sizes.parts_per_turn) {
                    return self.sleep(durable, now);
                }
                if let Some(effect) = self.build(ledger, now)? {
                    return Ok(effect);
                }
            } else if let Some(effect) = self.head(ledger, durable, now)? {
                return Ok(effect);
            }
        }
    }

    /// Cuts the tail and makes the head, or begins a run where the tail does not fit.
    fn head<L: Ledger>(
        &mut self,
        ledger: &mut L,
        durable: Durable<'_>,
        now: Millis,
    ) -> LedgerResult<Option<Effect>> {
        if self.must_fold(ledger, now)? {
            self.begin_run(true, Version::ZERO, durable.version);
            return Ok(None);
        }
        // Queried last, and in one section with version and horizon (I5).
        let published = self.row.published_in(&durable.meta.epoch).filter(|_| planted!(TailTooShort));
        let from = published.unwrap_or_default().max(self.row.tail_from());
        let tail = ledger.lines_newest_first(from, self.config.sizes.tail_max)?;
        if tail.more {
            let base = self.row.base.as_ref();
            let delta = self.row.delta.as_ref().map_or(0, RunRow::bytes) + self.config.sizes.tail_max;
            let fold = base.is_none() || delta > self.delta_bytes_max();
            let from = base.filter(|_| !fold).map_or(Version::ZERO, |base| base.to);
            let from = if planted!(DeltaNotWhole) && !fold { self.row.tail_from() } else { from };
            self.begin_run(fold, from, durable.version);
            return Ok(None);
        }
        let lifetimes = self.row.parts().map(|part| part.put_at).chain([now]).min().unwrap_or(now);
        let last = self.row.published.as_ref().filter(|_| planted!(HeadBelowItsTail));
        let position = last.map_or_else(|| durable.position(), |last| last.position.clone());
        let parts = HeadParts {
            scope: self.scope.clone(),
            position,
            published_at: now,
            expires: if planted!(HeadOutlivesParts) { now } else { lifetimes }.plus(LIFETIME_MS),
            horizon: durable.meta.horizon,
            tail_from: self.row.tail_from(),
            delta: self.row.delta.as_ref().map(RunRow::named),
            base: self.row.base.as_ref().map(RunRow::named),
        };
        let expires = parts.expires;
        let Some((value, metadata)) = Head::encode(parts, &tail.text) else {
            // More parts than a head may name: look again in a day, and let the coordinator serve.
            self.row.retry_at = Some(now.plus(DAY_MS));
            return self.sleep(durable, now).map(Some);
        };
        self.turn.as_mut().expect("BUG: no turn is under way").head = Some((durable.position(), now));
        // What is committed or asked for from here on is not in this head and counts for the next.
        (self.pulls_answered, self.unpublished_bytes, self.behind_since) = (0, 0, None);
        self.row.renew = false;
        if planted!(PublishedBeforePut) {
            self.row.published = Some(Published { position: durable.position(), at: now });
            self.row.write(ledger)?;
        }
        let expiration_s = expires.0 / 1000;
        Ok(Some(Effect::PutHead { key: self.scope.head_key(), value, metadata, expiration_s }))
    }

    /// Whether the base has to be built anew although the tail fits: objects that are gone or half through their life,
    /// or deletions that are due and that an older run would bring back to life if they were forgotten before it is.
    fn must_fold<L: Ledger>(&self, ledger: &L, now: Millis) -> LedgerResult<bool> {
        let Some(base) = &self.row.base else { return Ok(false) };
        let old = !planted!(OldPartsNotPutAgain)
            && self.row.parts().any(|part| now.since(part.put_at) >= REFRESH_AGE_MS);
        Ok(old
            || ledger
                .newest_deletion_before(self.deletions_before(now))?
                .is_some_and(|due| due > base.to && !planted!(ForgottenBelowTheBase)))
    }

    fn deletions_before(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_sub(self.config.retain_ms))
    }

    /// Whether KV has a head, as [`Effect::ReadHead`] asked. Where one was put long ago and none is there, KV has lost it.
    pub fn head_was_read(&mut self, is_there: bool, now: Millis) {
        self.compared = true;
        let settled =
            self.row.published.as_ref().is_some_and(|put| now.since(put.at) > self.config.settle_ms());
        if !is_there && settled {
            self.nothing_is_there();
        }
    }

    /// Storage failed within a turn, which is thereby over. What memory has noted and storage has not is forgotten: the
    /// next instance would not know it, and would not go on from there. How the turn's put ended may be part of that, so
    /// the next one waits as long as the watchdog does: by then it has landed, or never will.
    pub fn storage_failed<L: Ledger>(&mut self, ledger: &L, now: Millis) {
        if let Ok(row) = PublicationRow::read(ledger) {
            self.row = row;
        }
        self.compared = false;
        self.failed(PutOutcome::Refused, now);
        self.row.retry_at = self.row.retry_at.max(Some(self.watchdog(now)));
    }

    /// How [`Effect::PutObject`] ended.
    ///
    /// # Errors
    /// When storage cannot note it.
    pub fn object_was_put<L: Ledger>(
        &mut self,
        ledger: &mut L,
        outcome: PutOutcome,
        now: Millis,
    ) -> LedgerResult<()> {
        if outcome == PutOutcome::Done || planted!(FailedPartAdopted) {
            self.adopt_part();
            self.row.attempts = 0;
            self.row.retry_at = None;
        } else {
            self.failed(outcome, now);
        }
        self.row.write(ledger)
    }

    /// How [`Effect::PutHead`] ended.
    ///
    /// # Errors
    /// When storage cannot note it.
    pub fn head_was_put<L: Ledger>(
        &mut self,
        ledger: &mut L,
        durable: Durable<'_>,
        outcome: PutOutcome,
        now: Millis,
    ) -> LedgerResult<()> {
        let head = self.turn.as_mut().and_then(|turn| turn.head.take());
        // Another turn has taken over since, and puts the head again.
        let Some((position, put_at)) = head else { return Ok(()) };
        if outcome == PutOutcome::Done || planted!(FailedHeadTakenForPublished) {
            self.row.published = Some(Published { position, at: now });
            self.row.attempts = 0;
            self.row.retry_at = None;
            // By when it was sent, not by when it was answered: an earlier put may have landed in between, over it.
            self.row.resettle_at = self.row.resettle_at.filter(|at| *at > put_at);
            if self.is_behind(durable) {
                self.behind_since.get_or_insert(now);
            }
            self.turn = None;
        } else {
            if outcome == PutOutcome::Unknown {
                self.row.resettle_at = Some(now.plus(self.config.settle_ms()));
            }
            self.failed(outcome, now);
        }
        self.row.write(ledger)
    }

    /// Which deletions may be forgotten: those made before a time, up to a version. None while a put is unsettled.
    ///
    /// A run that a later head may still name must have been queried after the deletion, or the record comes back to
    /// life on every new device. The tail and the delta are queried anew for each head; the base is not.
    #[must_use]
    pub fn forgettable(&self, epoch: &Epoch, now: Millis) -> Option<(Millis, Version)> {
        let published = self.row.published_in(epoch).filter(|_| self.row.resettle_at.is_none())?;
        let to = self.row.base.as_ref().filter(|_| !planted!(ForgottenBelowTheBase));
        let to = to.map_or(published, |base| base.to.min(published));
        Some((self.deletions_before(now), to))
    }

    fn failed(&mut self, outcome: PutOutcome, now: Millis) {
        self.turn = None;
        // What made this turn due was counted for it: the next attempt is due as soon as it may be made.
        self.row.renew = true;
        self.row.attempts = self.row.attempts.saturating_add(1);
        let wait = self.config.interval_ms.max(1_000) << self.row.attempts.min(10);
        self.row.retry_at = Some(match outcome {
            // The day's writes come back at 00:00 UTC (kv/platform/limits).
            PutOutcome::Exhausted => Millis((now.0 / DAY_MS + 1) * DAY_MS),
            PutOutcome::Done | PutOutcome::Refused | PutOutcome::Unknown => {
                now.plus(wait.min(BACKOFF_MS_MAX))
            }
        });
    }

    fn sleep(&mut self, durable: Durable<'_>, now: Millis) -> LedgerResult<Effect> {
        self.turn = None;
        Ok(Effect::Sleep(self.due(durable, now)))
    }
}
