//! How the durable state gets into KV: objects before the head that names them, again when KV loses something, and
//! only when somebody is there to read it.
//!
//! The machine of one turn. The shell calls [`Publisher::begin`] when the alarm fires, then carries out each
//! [`Effect`] it gets from `next` and reports how that ended, until the effect is [`Effect::Sleep`]. Nothing of a turn
//! that a crash would lose is needed: what was put is in the row, and everything else is cut anew.
//!
//! `demand` says when a turn is due, `build` cuts the parts, `head` the head, `replaced` deletes what no head names any more,
//! `row` is what is noted of all that.

mod build;
mod demand;
mod effect;
mod head;
mod replaced;
mod row;

pub use demand::PublicationConfig;
pub use effect::{Effect, PutOutcome};
pub use replaced::ReplacedPart;
pub use row::{Building, Leased, PartRow, PublicationRow, Published, RunRow};

use super::{
    ledger::{Ledger, LedgerResult, Meta},
    metering::{DailyUsage, Day},
};
use crate::{
    limits::Sizes,
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::{Epoch, Position, Version},
};

/// How long objects and heads live, in ms: 30 days. What is still needed is put again in time.
pub const LIFETIME_MS: u64 = 30 * DAY_MS;
/// By how much objects outlive what is noted of them, in ms: a put that was never answered may land over a later one, and
/// brings back its own, earlier expiry.
const LIFETIME_MARGIN_MS: u64 = DAY_MS;
/// Age from which on an object is put again by the next publication.
const REFRESH_AGE_MS: u64 = LIFETIME_MS / 2;
const DAY_MS: u64 = 86_400_000;

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
    /// Whether this instance has had a turn: then it has set the alarm itself.
    had_turn: bool,
    /// Since when something is unpublished, as far as this instance knows.
    behind_since: Option<Millis>,
    pulls_answered: u32,
    unpublished_bytes: usize,
    renewed_at: Millis,
}

#[derive(Debug, Default)]
struct Turn {
    parts: usize,
    deletions: usize,
    part: Option<PartRow>,
    last: Option<(Version, (String, String))>,
    run_ends: bool,
    head: Option<HeadUnderWay>,
}

/// A head that is being put.
#[derive(Debug)]
struct HeadUnderWay {
    position: Position,
    /// Since when it is.
    put_at: Millis,
    /// How many replaced parts were noted when it was cut, none of which it names.
    replaced: usize,
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
            had_turn: false,
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

    /// Notes that all records were removed and `row`, of [`PublicationRow::without_records`], stands in storage.
    pub fn everything_was_removed(&mut self, row: PublicationRow, now: Millis) {
        self.row = row;
        self.unpublished_bytes = 0;
        self.behind_since.get_or_insert(now);
        self.row.renew = true;
    }

    /// Notes that a row stands in storage which says so, and wants to be published.
    pub(in crate::coordinator) fn dexie_is_shut(&mut self, is_shut: bool) {
        (self.row.shuts_dexie, self.row.renew) = (is_shut, true);
    }

    /// Notes what the space has used, for whatever writes the row next.
    pub(in crate::coordinator) fn note_used(&mut self, used: DailyUsage, folded: Day) {
        (self.row.used, self.row.folded) = (used, folded);
    }

    /// How much goes into what is cut and answered.
    #[must_use]
    pub fn sizes(&self) -> &Sizes {
        &self.config.sizes
    }

    /// Whether KV's head has been compared with storage since this instance began.
    #[must_use]
    pub fn has_compared(&self) -> bool {
        self.compared
    }

    /// Whether this instance has had a turn. Until then the alarm that is set is of the instance before.
    #[must_use]
    pub fn had_turn(&self) -> bool {
        self.had_turn
    }

    /// How late a put may land that was never answered, in ms.
    #[must_use]
    pub fn landing_ms(&self) -> u64 {
        self.config.landing_ms()
    }

    /// Whether readers have to be told of another history than the one that KV holds.
    #[must_use]
    pub fn is_urgent(&self, epoch: &Epoch) -> bool {
        self.row.published.as_ref().is_some_and(|published| published.position.epoch != *epoch)
    }

    /// Notes what the day's budget has said. It stands in the row when that is written next.
    pub fn leased(&mut self, leased: Leased) {
        self.row.leased = Some(leased);
    }

    /// The deployment's budget for a day. What was said under another says nothing any more.
    pub fn budget_is(&mut self, kv_writes: Option<u32>) {
        self.row.leased = self.row.leased.filter(|leased| kv_writes.is_some() && leased.of == kv_writes);
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
        if !std::mem::replace(&mut self.had_turn, true) {
            // An instance that is gone has set this alarm. What made it due is not remembered: it is due.
            self.behind_since = self.behind_since.map(|_| Millis(0));
        }
        self.turn = Some(Turn::default());
        self.watchdog(now)
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
        let idle = self.publication_due(durable, now).is_none_or(|due| due > now.plus(1));
        let deletes = idle && self.deletion_due().is_some_and(|due| due <= now);
        let is_fresh = turn.parts == 0 && turn.head.is_none();
        if is_fresh && idle && !deletes {
            return self.sleep(durable, now);
        }
        if !self.compared {
            return Ok(Effect::ReadHead { key: self.scope.head_key() });
        }
        if is_fresh && deletes {
            let deletion = self.delete(ledger, now)?;
            return deletion.map_or_else(|| self.sleep(durable, now), Ok);
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

    /// What KV's head says, as [`Effect::ReadHead`] asked. Where one was put long ago and none is there, KV has lost it. A head that
    /// storage does not know is of an instance that died, or of a time from which storage has gone back: it may have named what
    /// was replaced, and a day after the last that storage knows, parts may have been deleted that storage still names.
    pub fn head_was_read(&mut self, head: Option<&HeadMetadata>, now: Millis) {
        self.compared = true;
        let known = self.row.published.as_ref().map(|put| put.at);
        let is_unknown = head.is_some_and(|head| known.is_none_or(|put_at| head.p > put_at));
        let is_gone = head.is_none() && known.is_some_and(|at| now.since(at) > self.config.landing_ms());
        if is_gone {
            self.nothing_is_there();
        } else if is_unknown {
            self.head_is_unknown(now);
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

    fn sleep(&mut self, durable: Durable<'_>, now: Millis) -> LedgerResult<Effect> {
        self.turn = None;
        Ok(Effect::Sleep(self.due(durable, now)))
    }
}
