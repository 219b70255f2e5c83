//! The platform's side of one object: carries out what its tasks ask for, and can kill the instance after any step, with nothing
//! left but storage and the alarm. A turn of the alarm goes one half of an effect at a time. A push may wait for its body, and
//! then waits for a slice. What else a call waits for is over at once: no other task runs in between.

mod budget;
mod messages;
mod metering;
mod peers;
mod pushes;
mod sockets;
mod tasks;
mod turn;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::{Rng, directory::SMALL, kv::Kv, ledger::MemoryLedger};
use crate::{
    access::grant::Granter,
    call::{Administration, Aside, Ask, Call, Person, Usage},
    coordinator::{
        Coordinator,
        budget::BudgetMax,
        ledger::{LedgerResult, MetaTable, PrivateTable, Rows},
        object::{Answer, Object, ObjectConfig, Said, Storage, Task},
        publication::PublicationConfig,
        rate::RateConfig,
    },
    edge::visit::Outgoing,
    error::ApiError,
    fronts::read_push,
    ids::{SpaceId, UserHash},
    snapshot::keys::Scope,
    time::Millis,
    version::{Position, Version},
};
pub use messages::edges;
pub use pushes::{Slice, ToldPush};
use sockets::Sockets;
use tasks::{Called, Died, Means};
use turn::Turn;

/// How the next section of storage ends that writes. Rows and the alarm that is set with them share their fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionFault {
    /// The n-th write, counted from 1, is refused, and with it the whole section.
    Refused(u64),
    /// The instance dies, and nothing of the section remains.
    Lost,
    /// The instance dies before anybody is told, and all of it remains.
    Kept,
}

/// How setting or deleting the alarm ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmFault {
    /// An error, and it is as it was.
    Refused,
    /// An error, and it happened.
    RefusedButSet,
}

/// No bound on what users take of an object.
pub const UNBOUNDED: RateConfig = RateConfig { user_per_s: 0, space_per_s: 0 };

/// How a call has ended.
#[derive(Debug)]
pub struct Ended {
    /// What the edge is told: the body of the answer, if it has one.
    pub told: Result<Option<String>, ApiError>,
    /// What happened.
    pub done: Result<Option<String>, ApiError>,
    /// Where the space stands, if the edge is told that the call has written.
    pub at: Option<Position>,
    /// What the edge is told beside that.
    pub aside: Option<Aside>,
}

impl Ended {
    /// The object cannot be reached.
    fn unknown() -> Self {
        Self { told: Err(ApiError::Upstream), done: Err(ApiError::Upstream), at: None, aside: None }
    }
}

fn said(answer: &Answer) -> Result<Option<String>, ApiError> {
    answer.result.clone().map(Said::into_text)
}

/// The host of one object.
#[derive(Debug)]
pub struct Host {
    /// When the platform will wake the object.
    pub alarm: Option<Millis>,
    /// How the next section that writes ends, if not well.
    pub section_fault: Option<SectionFault>,
    /// How the next times end that the alarm is set or deleted.
    pub alarm_faults: VecDeque<AlarmFault>,
    /// How often the instance has died or was killed.
    pub deaths: u64,
    /// Whether calls fail.
    pub is_unreachable: bool,
    /// Calls that arrived.
    pub requests: u64,
    /// How often the budget was asked in vain.
    pub unbudgeted: u64,
    /// Writes of all sections, refused ones included: whoever goes through them one by one has to know how many there are.
    pub writes: u64,
    /// How often the alarm was to be set or deleted.
    pub alarms_set: u64,
    /// The instance that runs, if one does.
    object: Option<Object<MemoryLedger>>,
    /// The rows, as long as none does.
    rows: MemoryLedger,
    /// Under what a private space's keys stand; a shared space's storage says it.
    scope: Option<Scope>,
    /// The id of a shared space.
    id: Option<SpaceId>,
    config: ObjectConfig,
    rng: Rng,
    /// Pushes whose bodies are on their way, each under a number.
    receiving: BTreeMap<u64, Task>,
    /// Pushes that wait for a slice, in the order in which they came.
    waiting: Vec<Task>,
    /// When the instance began, and how many calls of each user it has admitted since.
    admitted: (Millis, BTreeMap<UserHash, u64>),
    turn: Option<Turn>,
    /// The deployment's budget, if it has one.
    budget: Option<Rc<RefCell<Self>>>,
    /// Handlers of the alarm that failed in a row.
    failed_handlers: u32,
    sockets: Sockets,
    /// What the platform bills, but for rows.
    billed: Usage,
}

impl Host {
    /// An object that was never used: of a private space under `scope`, of the shared one with this id, or of a directory.
    #[must_use]
    pub fn new(scope: Option<Scope>, id: Option<SpaceId>, publication: PublicationConfig, rng: Rng) -> Self {
        Self {
            alarm: None,
            section_fault: None,
            alarm_faults: VecDeque::new(),
            deaths: 0,
            is_unreachable: false,
            requests: 0,
            unbudgeted: 0,
            writes: 0,
            alarms_set: 0,
            object: None,
            rows: MemoryLedger::default(),
            scope,
            id,
            config: ObjectConfig {
                publication,
                rate: UNBOUNDED,
                directory: SMALL,
                budget: BudgetMax::default(),
                read_push,
            },
            rng,
            receiving: BTreeMap::new(),
            waiting: Vec::new(),
            admitted: (Millis(0), BTreeMap::new()),
            turn: None,
            budget: None,
            failed_handlers: 0,
            sockets: Sockets::default(),
            billed: Usage::default(),
        }
    }

    /// The coordinator, opened if it is not running.
    pub fn core(&mut self, now: Millis) -> &mut Coordinator<MemoryLedger> {
        if self.running().is_none() {
            let (mut storage, scope, publication) =
                (self.take_rows(), self.scope.clone(), self.config.publication);
            let core =
                Coordinator::open(storage.opened(), scope, publication, self.alarm, now, self.rng.any());
            self.run(storage, core.expect("storage in memory can be read"), now);
        }
        self.object.as_mut().and_then(Object::core_mut).expect("it was opened")
    }

    /// The coordinator if it is running.
    #[must_use]
    pub fn running(&self) -> Option<&Coordinator<MemoryLedger>> {
        self.object.as_ref()?.core()
    }

    fn run(&mut self, storage: MemoryLedger, core: Coordinator<MemoryLedger>, now: Millis) {
        self.admitted = (now, BTreeMap::new());
        self.object = Some(Object::opened(storage, core, self.config, now));
        self.wake_sockets(now);
    }

    /// From now on users may take so much of it. The instance begins anew.
    pub fn set_rate(&mut self, rate: RateConfig) {
        if self.config.rate != rate {
            self.config.rate = rate;
            self.kill();
        }
    }

    /// A call that an edge makes, but for a push.
    pub fn call_by_edge(&mut self, call: &Outgoing, kv: &mut Kv, granter: &Granter, now: Millis) -> Ended {
        self.requests += 1;
        if self.is_unreachable {
            return Ended::unknown();
        }
        let means = Means { kv: Some(kv), granter: Some(granter), ..Means::announced(0) };
        match self.call_as(&call.call, &call.caller, means, now) {
            Called::Answered(answer) => {
                let told = said(&answer);
                Ended { done: told.clone(), told, at: answer.at, aside: answer.aside }
            }
            Called::Unarmed(answer, error) => {
                Ended { told: Err(error), done: said(&answer), at: None, aside: None }
            }
            Called::Died { would_be } => {
                let unknown = Ended::unknown();
                Ended { done: would_be.map_or(unknown.done, |answer| said(&answer)), ..unknown }
            }
            other => panic!("BUG: a call ends as {other:?}"),
        }
    }

    /// The shared space begins, past all edges, where the clock shows `clock`.
    pub fn create(&mut self, owner: &Person, clock: Millis) {
        let create = Call::Administer(Administration::Create { owner: owner.clone() });
        let created = self.call(&create, &owner.user, None, Means::announced(0), clock);
        assert!(matches!(created, Called::Answered(_)), "storage in memory can be written");
    }

    /// Everything is lost.
    pub fn wipe(&mut self) {
        self.restore(MemoryLedger::default());
        self.alarm = None;
    }

    /// Whether a space was begun in it.
    #[must_use]
    pub fn is_used(&mut self) -> bool {
        self.rows().is_used().is_ok_and(|is_used| is_used)
    }

    /// The instance dies with everything but its storage.
    pub fn kill(&mut self) {
        self.rows = self.take_rows();
        self.object = None;
        self.turn = None;
        self.receiving.clear();
        self.waiting.clear();
        self.end_sockets();
        self.deaths += 1;
    }

    fn take_rows(&mut self) -> MemoryLedger {
        std::mem::take(self.rows())
    }

    pub(super) fn rows(&mut self) -> &mut MemoryLedger {
        match &mut self.object {
            Some(object) => object.rows(),
            None => &mut self.rows,
        }
    }

    /// Storage as it stands, to be restored later.
    pub fn copy_of_storage(&mut self, now: Millis) -> MemoryLedger {
        self.core(now).ledger().clone()
    }

    /// The instance dies and storage becomes `storage`, as after a restore.
    pub fn restore(&mut self, storage: MemoryLedger) {
        self.kill();
        self.rows = storage;
    }

    /// What the coordinator answers to an edge that asks it for records, as the wire between the two carries it.
    ///
    /// # Errors
    /// What it refuses with.
    pub fn pull(
        &mut self,
        user: &UserHash,
        scope: &Scope,
        ask: &Ask,
        now: Millis,
    ) -> Result<String, ApiError> {
        let pull = Call::Pull(Box::new(ask.clone()));
        let called = self.call(&pull, user, Some(scope), Means::announced(0), now);
        Ok(called.told()?.into_text().unwrap_or_default())
    }

    /// What the coordinator answers to whoever asks for the open conflicts.
    ///
    /// # Errors
    /// What it refuses with.
    pub fn conflicts(&mut self, user: &UserHash, now: Millis) -> Result<String, ApiError> {
        let conflicts = Call::Conflicts { after: Version::ZERO };
        let called = self.call(&conflicts, user, None, Means::announced(0), now);
        Ok(called.told()?.into_text().unwrap_or_default())
    }

    /// Begins a new epoch, as an owner may ask for, where the clock shows `clock`.
    ///
    /// # Errors
    /// When storage fails or the instance dies, and the caller cannot know whether it happened.
    pub fn reset_epoch(&mut self, clock: Millis, now: Millis) -> Result<Position, ApiError> {
        let random = self.rng.any();
        self.core(now);
        let (begun, lived) = self.section(|host| {
            let core = host.core(now);
            let epoch = core.position().epoch;
            let begun = core.begin_epoch(&epoch, clock, random).map(|()| core.position());
            let alarm = core.poll_alarm(now);
            ((begun, alarm), alarm)
        });
        lived.map_err(|Died { .. }| ApiError::Upstream)?;
        let position = begun.0.map_err(|_| ApiError::Internal)?;
        self.tell_past_calls(now);
        self.arm_at(begun.1)?;
        Ok(position)
    }

    /// Begins an epoch after the one of `newest`, as an owner does who has restored storage.
    pub fn begin_epoch_after(&mut self, newest: &Position, now: Millis) {
        let random = self.rng.any();
        self.core(now).begin_epoch(&newest.epoch, now, random).expect("storage in memory can be written");
        self.tell_past_calls(now);
        self.arm(now).expect("the alarm can be set");
    }

    /// Sets the alarm if one is needed, as every event does.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn arm(&mut self, now: Millis) -> Result<(), ApiError> {
        let alarm = self.core(now).poll_alarm(now);
        self.arm_at(alarm)
    }

    fn arm_at(&mut self, alarm: Option<Millis>) -> Result<(), ApiError> {
        let Some(at) = alarm else { return Ok(()) };
        if self.set_alarm(Some(at)) {
            return Ok(());
        }
        // Nobody knows which alarm is set now: the next event sets one.
        let core = self.object.as_mut().and_then(Object::core_mut);
        core.expect("it has asked for the alarm").turn_broke_off();
        Err(ApiError::Internal)
    }

    /// Sets the alarm, or deletes it. Whether that went well.
    fn set_alarm(&mut self, at: Option<Millis>) -> bool {
        self.alarms_set += 1;
        self.bill(&Usage { alarms_set: at.is_some().into(), ..Usage::default() });
        let fault = self.alarm_faults.pop_front();
        if fault != Some(AlarmFault::Refused) {
            self.alarm = at;
        }
        fault.is_none()
    }
}

impl Storage for MemoryLedger {
    type Ledger = Self;

    fn is_used(&self) -> LedgerResult<bool> {
        Ok(self.meta()?.is_some())
    }

    fn has_tables(&self) -> LedgerResult<bool> {
        Ok(self.is_used()? || self.private("owner", "")?.is_some())
    }

    fn open(&mut self) -> LedgerResult<Self> {
        Ok(self.opened())
    }

    fn take_rows(&mut self) -> Rows {
        self.take_written()
    }
}
