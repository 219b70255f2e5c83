//! Runs once per space; the only writer.
//!
//! Pushes wait in a [`Queue`]. [`Coordinator::settle`] takes a slice of them, plans it (`numbering`, `merge`, `plan`), writes
//! it in one section of the ledger, and answers what is done with what its client was missing. A pull that the edge cannot answer: [`Coordinator::pull`]. Publication
//! to KV: `publication`, driven by the alarm (`alarm`). Who may do what, and what is done about it: `sharing`.
//!
//! Beside spaces there are directories: the lists of users' shared spaces ([`sharing::directory`]), and one [`budget`].
//!
//! Nothing here waits. What it keeps in memory can be lost at any moment: it is read again from the ledger.

mod alarm;
mod answer;
pub mod budget;
pub mod cache;
mod conflicts;
pub mod crowd;
pub mod ledger;
pub mod live;
pub mod metering;
pub mod object;
mod places;
pub mod publication;
mod pull;
pub mod push;
pub mod rate;
pub mod sharing;
#[cfg(test)]
mod tests;
mod uploads;

use std::{cell::RefCell, rc::Rc};

use cache::Cache;
use conflicts::parking::Parking;
use ledger::{Ledger, LedgerError, LedgerResult, Meta};
use metering::{Due, Meter};
use publication::{Durable, PublicationConfig, Publisher};
use push::{
    plan::{Part, Plan, rejected_now},
    queue::{Done, MayBegin, Queue, Waiting},
};
pub use sharing::administration::Administered;

use crate::{
    call::{Administration, Usage},
    error::ApiError,
    ids::{SpaceId, UserHash},
    limits,
    role::Role,
    snapshot::keys::Scope,
    time::Millis,
    version::{Epoch, Position, Version},
};

/// A new epoch resets every client, so requests that claim to come from the future begin one this often at most, in ms, …
const EPOCH_MS_MIN: u64 = 3_600_000;
/// … but so many at once: in a space made anew the claims of several former members may each lie above the one before.
const EPOCHS_AT_ONCE: u64 = 3;
/// Clients whose rows are kept in memory, some KB each.
const CLIENTS_REMEMBERED: usize = 100;
/// How far ahead of our clock an epoch may begin before it is taken for nonsense, in ms.
const CLOCK_SKEW_MS_MAX: u64 = 86_400_000;
/// How far ahead of our epoch one may begin, wherever our clock has got to, in ms. Epochs that the clock is behind of follow
/// each other by a millisecond.
const EPOCH_LEAD_MS_MAX: u64 = 1_000;

/// The coordinator of one space.
#[derive(Debug)]
pub struct Coordinator<L> {
    ledger: L,
    meta: Meta,
    version: Version,
    /// Its isolate may empty it between two events.
    cache: Rc<RefCell<Cache>>,
    publisher: Publisher,
    alarm: Option<Millis>,
    failure: Option<LedgerError>,
    meter: Meter,
}

impl<L: Ledger> Coordinator<L> {
    /// Opens the space in `ledger`; a private one that was never used begins its first epoch with `now` and `random`.
    ///
    /// `scope` is under what a private space's keys stand in KV; absent when an alarm opens it, or for a shared space: those
    /// are used already, because a shared one begins with [`Self::create`]. `alarm` is when the platform will wake the
    /// object, if it will.
    ///
    /// # Errors
    /// When storage fails.
    pub fn open(
        mut ledger: L,
        scope: Option<Scope>,
        config: PublicationConfig,
        alarm: Option<Millis>,
        now: Millis,
        random: u64,
    ) -> LedgerResult<Self> {
        let meta = match ledger.meta()? {
            Some(meta) => meta,
            None => {
                let unused = || LedgerError::Failed("a space was opened that was never used".to_owned());
                let scope = scope.ok_or_else(unused)?;
                let epoch = Epoch::begin(now, None, random);
                let meta = Meta {
                    scope,
                    incarnation: epoch.clone(),
                    epoch,
                    floor: Version::ZERO,
                    horizon: Version::ZERO,
                    writers: 0,
                    claims_until: Millis(0),
                    space: None,
                    gone_at: None,
                };
                ledger.put_meta(&meta)?;
                meta
            }
        };
        let floor = if planted!(FloorIgnored) { Version::ZERO } else { meta.floor };
        let version = ledger.newest()?.max(floor);
        assert!(
            meta.horizon <= version,
            "BUG: the horizon {} lies above the version {version}",
            meta.horizon
        );
        let durable = Durable { meta: &meta, version };
        let publisher = Publisher::open(&ledger, config, durable, now)?;
        let meter = Meter::default();
        Ok(Self { ledger, meta, version, cache: Rc::default(), publisher, alarm, failure: None, meter })
    }

    /// Where the space stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.meta.epoch.clone(), version: self.version }
    }

    /// The id of a shared space.
    #[must_use]
    pub fn id(&self) -> Option<&SpaceId> {
        self.meta.space.as_ref()
    }

    /// The newest deletion that has been forgotten.
    #[must_use]
    pub fn horizon(&self) -> Version {
        self.meta.horizon
    }

    /// The storage, for tests.
    pub fn ledger(&mut self) -> &mut L {
        &mut self.ledger
    }

    /// What KV is known to hold.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What went wrong in storage since the last call, for the log.
    pub fn take_failure(&mut self) -> Option<LedgerError> {
        self.failure.take()
    }

    /// Settles the next slice of the pushes that wait, in one transaction, and answers those that are done with it.
    ///
    /// When storage refuses the transaction the pushes of the slice are taken one by one, so that one push's failure is its own.
    pub fn settle(&mut self, queue: &mut Queue, may_begin: MayBegin<'_>, now: Millis) -> Vec<Done> {
        let (slice, mut done) = queue.next_slice(self.publisher.sizes().slice, may_begin);
        let parts = match self.settle_together(&slice, now) {
            Ok(parts) => parts,
            Err(error) if slice.len() < 2 => vec![Err(self.storage_failed(error))],
            Err(_) => self.settle_one_by_one(&slice, now),
        };
        let mut parts = parts.into_iter();
        for mut waiting in slice {
            match parts.next() {
                None => queue.put_back(waiting),
                Some(Err(refusal)) => {
                    let written = waiting.progress.is_some().then(|| self.position());
                    done.push(Done { written, ..waiting.refused(refusal) });
                }
                Some(Ok(part)) if part.is_whole => done.push(self.answer(&waiting, part.progress)),
                Some(Ok(part)) => {
                    waiting.progress = Some(part.progress);
                    queue.put_back(waiting);
                }
            }
        }
        done
    }

    fn settle_one_by_one(&mut self, slice: &[Waiting], now: Millis) -> Vec<Result<Part, ApiError>> {
        let mut parts = Vec::with_capacity(slice.len());
        for alone in slice.chunks(1) {
            let settled = self.settle_together(alone, now);
            parts.extend(settled.unwrap_or_else(|error| vec![Err(self.storage_failed(error))]));
            // As in a slice: the next one may be of the same client.
            if parts.last().is_some_and(|part| part.as_ref().is_ok_and(|part| !part.is_whole)) {
                break;
            }
        }
        parts
    }

    /// What becomes of each push of a slice; of the first ones only, where they turn out to be more than others should wait for.
    fn settle_together(
        &mut self,
        slice: &[Waiting],
        now: Millis,
    ) -> LedgerResult<Vec<Result<Part, ApiError>>> {
        let sizes = *self.publisher.sizes();
        // Taken out, so that a plan that fails leaves nothing behind: what is not put back is read again.
        let Cache { overlay, collections, open_conflicts, mut clients } = self.cache.take();
        let parking = Parking::new(sizes.parked, open_conflicts);
        let mut plan = Plan::new(self.meta.clone(), self.version, collections, parking);
        let mut parts = Vec::with_capacity(slice.len());
        for waiting in slice {
            let rest = waiting.progress.as_ref().filter(|_| planted!(RestNotAdmitted));
            let needed = if waiting.push.wording.is_some() { Role::Reader } else { Role::Writer };
            let admitted = sharing::members::admit(&self.ledger, &self.meta, &waiting.user, needed)?;
            // Where the front is shut out while its push waits.
            let admitted = admitted.and_then(|role| {
                let shut = waiting.push.wording.is_some() && self.publisher.row().shuts_dexie;
                if shut { Err(sharing::administration::DEXIE_IS_SHUT) } else { Ok(role) }
            });
            let role = match admitted {
                Ok(role) => role,
                Err(_) if rest.is_some() || planted!(AnybodyPushes) => Role::Writer,
                Err(refused) => {
                    parts.push(Err(refused));
                    continue;
                }
            };
            let part = plan.part(&self.ledger, &clients, (waiting, role), sizes.slice, now)?;
            let goes_on = part.as_ref().is_ok_and(|part| !part.is_whole);
            parts.push(part);
            // The next one may be of the same client, or there is no room for it.
            if goes_on || plan.work() > limits::GROUP_WORK_MAX {
                break;
            }
        }
        let rejected = rejected_now(slice, &parts);
        if !plan.is_empty() {
            let written = self.write_plan(&mut plan, &rejected, now);
            written.or_else(|error| if planted!(AcknowledgedUnwritten) { Ok(()) } else { Err(error) })?;
        }
        self.count_used(&rejected, now);
        assert!(plan.version() >= self.version, "BUG: a push took the version back");
        let has_grown = plan.version() > self.version;
        if has_grown {
            self.version = plan.version();
            self.publisher.committed(plan.line_bytes(), now);
        }
        if plan.has_newcomers() || clients.len() > CLIENTS_REMEMBERED {
            clients.clear();
        }
        let (meta, collections, open_conflicts, changed) = plan.into_state();
        self.meta = meta;
        clients.extend(changed);
        let overlay = overlay.filter(|_| !has_grown || planted!(OverlayKept));
        self.cache.replace(Cache { overlay, collections, open_conflicts, clients });
        Ok(parts)
    }

    /// Writes a plan, with what the space has used in the row of a client that is written anyway.
    fn write_plan(&mut self, plan: &mut Plan, rejected: &Usage, now: Millis) -> LedgerResult<()> {
        let (meter, folded) = (&self.meter, self.publisher.row().folded);
        // The alarm will be set with the rows of the first change that is not published.
        let arms = plan.version() > self.version && self.alarm.is_none() && !self.publisher.in_turn();
        let mut due = Due::default();
        self.ledger.atomically(&mut |ledger| {
            plan.write(ledger, &mut |ledger, before| {
                let mut counted = *rejected;
                counted.add(&ledger.rows().used());
                due = meter.due(counted, arms, folded, now);
                due.with(before, folded)
            })
        })?;
        self.meter.was_written(&due);
        Ok(())
    }

    /// The lines above `since`, if they are so few that they ride on the answer to a push, or on the news of a commit to whoever
    /// stands there.
    ///
    /// # Errors
    /// When storage fails.
    pub fn changes_since(&mut self, since: Version) -> Result<Option<String>, ApiError> {
        let forgotten =
            since > Version::ZERO && since < self.meta.horizon && !planted!(PushAnsweredBelowHorizon);
        if forgotten || since > self.version {
            return Ok(None);
        }
        let room = self.publisher.sizes().piggyback_max;
        let lines = self.ledger.lines_after(since, room).map_err(|error| self.storage_failed(error))?;
        Ok(lines.are_all(room).then_some(lines.text))
    }

    /// The role of a user who has to have at least `needed`, as the members are at this moment.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`], or storage failures.
    pub fn admit(&mut self, user: &UserHash, needed: Role) -> Result<Role, ApiError> {
        let admitted = sharing::members::admit(&self.ledger, &self.meta, user, needed);
        admitted.map_err(|error| self.storage_failed(error))?
    }

    /// The key of KV's head if that has to be compared with storage ([`Self::head_was_read`]) before `administration` begins an epoch, which
    /// has to lie above the head's: this instance has not compared them yet, and storage may have gone back.
    #[must_use]
    pub fn head_before(&mut self, caller: &UserHash, administration: &Administration) -> Option<String> {
        let begins_epoch = administration.begins_epoch() && !self.publisher.has_compared();
        let may = begins_epoch && self.admit(caller, Role::Owner).is_ok();
        may.then(|| self.meta.scope.head_key())
    }

    /// Under what the space's keys stand in KV.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.meta.scope
    }

    /// Whether `position` claims a state that this space has not reached: either the claim is false, or storage has
    /// gone back and its versions are about to be used twice.
    #[must_use]
    pub fn is_from_the_future(&self, position: &Position, now: Millis) -> bool {
        let own = self.meta.epoch.began().plus(EPOCH_LEAD_MS_MAX);
        let is_plausible = position.epoch.began() <= now.plus(CLOCK_SKEW_MS_MAX).max(own);
        *position > self.position() && is_plausible
    }

    /// Writes to storage without changing anything. Once that is confirmed, this instance is known not to have been
    /// superseded by another, whose state it would not know.
    ///
    /// # Errors
    /// When storage fails.
    pub fn touch(&mut self) -> LedgerResult<()> {
        self.ledger.put_meta(&self.meta)
    }

    /// Begins a new epoch because of a claim from the future at `claimed`, unless claims have begun [`EPOCHS_AT_ONCE`] lately:
    /// then whoever claims the position for itself is refused. Returns whether one began.
    ///
    /// # Errors
    /// When storage fails.
    pub fn begin_epoch_after(
        &mut self,
        claimed: &Position,
        now: Millis,
        random: u64,
    ) -> Result<bool, ApiError> {
        let latest = now.plus(EPOCHS_AT_ONCE * EPOCH_MS_MIN);
        // One that lies further ahead was noted by a clock that has gone back since.
        let until = Some(self.meta.claims_until).filter(|until| *until <= latest);
        let until = until.map_or(now, |until| until.max(now)).plus(EPOCH_MS_MIN);
        if until > latest || planted!(ClaimsNotBelieved) {
            return Ok(false);
        }
        let meta = Meta { claims_until: until, ..self.meta.clone() };
        self.begin_epoch_of(meta, &claimed.epoch, now, random).map_err(|error| self.storage_failed(error))?;
        Ok(true)
    }

    /// Begins a new epoch, later than the present one and than `after`. Records and the count of versions go on.
    ///
    /// # Errors
    /// When storage fails.
    pub fn begin_epoch(&mut self, after: &Epoch, now: Millis, random: u64) -> LedgerResult<()> {
        self.begin_epoch_of(self.meta.clone(), after, now, random)
    }

    fn begin_epoch_of(&mut self, meta: Meta, after: &Epoch, now: Millis, random: u64) -> LedgerResult<()> {
        let previous = Some(after.max(&meta.epoch)).filter(|_| !planted!(EpochUnordered));
        let meta = Meta { epoch: Epoch::begin(now, previous, random), ..meta };
        self.ledger.put_meta(&meta)?;
        self.meta = meta;
        self.forget_overlay();
        self.publisher.epoch_began(now);
        Ok(())
    }

    fn forget_overlay(&self) {
        self.cache.borrow_mut().overlay = None;
    }

    fn storage_failed(&mut self, error: LedgerError) -> ApiError {
        let told = error.told();
        // What the log is told of is what nobody else is.
        if !matches!(self.failure, Some(LedgerError::Failed(_))) {
            self.failure = Some(error);
        }
        told
    }
}
