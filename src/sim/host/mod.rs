//! The object: opens the coordinator on its storage, carries out effects one half at a time, and can be killed between any
//! two of them, with nothing left but storage and the alarm.

mod turn;

use std::collections::{BTreeMap, VecDeque};

use super::Rng;
use crate::{
    coordinator::{
        Administered, Coordinator, Person,
        ledger::MemoryLedger,
        publication::{PublicationConfig, PutOutcome},
        queue::{self, Queue, Ticket},
    },
    edge::grant::Granter,
    ids::{SpaceId, UserHash},
    protocol::{
        act::Act,
        directory::Aside,
        error::ApiError,
        internal::{Ask, Order, Reply, decode_reply, encode_reply},
        push::{MutationResult, PushAnswer, PushRequest},
        role::Role,
    },
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};

/// What the shell waits for in a turn.
#[derive(Debug)]
enum Waiting {
    Watchdog,
    Head(Option<HeadMetadata>),
    Object(PutOutcome),
    HeadPut(PutOutcome),
}

/// How the next section of storage ends. Rows and the alarm that is set with them share their fate.
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

/// What a slice of pushes has come to.
#[derive(Debug, Default)]
pub struct Slice {
    /// What it has settled: the results of each push that it has taken on, in order.
    pub settled: Vec<(Ticket, Vec<MutationResult>)>,
    /// The answers of the coordinator to those that are done with it.
    pub answers: Vec<(Ticket, Result<PushAnswer, ApiError>)>,
    /// What is told: nothing if the instance has died.
    pub told: Vec<(Ticket, Result<PushAnswer, ApiError>)>,
}

/// What an administrative call has come to.
#[derive(Debug)]
pub struct Done {
    /// What the caller is told.
    pub told: Result<Administered, ApiError>,
    /// What happened.
    pub done: Result<Administered, ApiError>,
    /// What the edge is told beside that.
    pub aside: Option<Aside>,
}

/// The instance died during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Died;

/// How often the platform repeats an alarm whose handler failed (durable-objects/api/alarms).
const RETRIES_MAX: u32 = 6;
/// After how long it does so the first time, in ms; doubled each time.
const RETRY_MS: u64 = 2_000;

/// The host of one object.
#[derive(Debug)]
pub struct Host {
    /// When the platform will wake the object.
    pub alarm: Option<Millis>,
    /// How the next section ends, if not well.
    pub section_fault: Option<SectionFault>,
    /// How the next times end that the alarm is set or deleted.
    pub alarm_faults: VecDeque<AlarmFault>,
    /// Pushes that wait.
    pub queue: Queue,
    /// How often the instance has died or was killed.
    pub deaths: u64,
    /// Whether calls fail.
    pub is_unreachable: bool,
    /// Calls that arrived.
    pub requests: u64,
    /// Writes of all sections, refused ones included: whoever goes through them one by one has to know how many there are.
    pub writes: u64,
    /// How often the alarm was to be set or deleted.
    pub alarms_set: u64,
    core: Option<Coordinator<MemoryLedger>>,
    storage: MemoryLedger,
    /// Under what a private space's keys stand; a shared space's storage says it.
    scope: Option<Scope>,
    config: PublicationConfig,
    rng: Rng,
    turn: Option<Waiting>,
    /// Handlers of the alarm that failed in a row.
    failed_handlers: u32,
}

impl Host {
    /// An object that was never used. A shared space's has to be created next.
    #[must_use]
    pub fn new(scope: Option<Scope>, config: PublicationConfig, rng: Rng) -> Self {
        Self {
            alarm: None,
            section_fault: None,
            alarm_faults: VecDeque::new(),
            queue: Queue::default(),
            deaths: 0,
            is_unreachable: false,
            requests: 0,
            writes: 0,
            alarms_set: 0,
            core: None,
            storage: MemoryLedger::default(),
            scope,
            config,
            rng,
            turn: None,
            failed_handlers: 0,
        }
    }

    /// The coordinator, opened if it is not running.
    pub fn core(&mut self, now: Millis) -> &mut Coordinator<MemoryLedger> {
        self.core.get_or_insert_with(|| {
            let (storage, scope) = (std::mem::take(&mut self.storage), self.scope.clone());
            Coordinator::open(storage, scope, self.config, self.alarm, now, self.rng.any())
                .expect("storage in memory can be read")
        })
    }

    /// Everything is lost, and the shared space of this id begins once more, where the clock shows `clock`.
    pub fn create(&mut self, id: &SpaceId, owner: &Person, clock: Millis, now: Millis) {
        self.kill();
        self.alarm = None;
        let core =
            Coordinator::create(MemoryLedger::default(), id, owner, self.config, clock, self.rng.any());
        self.core = Some(core.expect("storage in memory can be written"));
        self.arm(now).expect("the alarm can be set");
    }

    /// What the shell does about a space beside pushes and pulls.
    pub fn administer(&mut self, caller: &UserHash, act: Act, order: &Order, now: Millis) -> Done {
        let nobody = || Err(ApiError::Upstream);
        if self.is_unreachable {
            return Done { told: nobody(), done: nobody(), aside: None };
        }
        let is_kept = self.section_fault == Some(SectionFault::Kept);
        let mut done = nobody();
        let section = self.section(now, |core, random| {
            done = core.administer(caller, act, order, now, random);
        });
        if section == Err(Died) {
            return Done { told: nobody(), done: if is_kept { done } else { nobody() }, aside: None };
        }
        let aside = self.aside(caller, act, &done, now);
        match self.arm(now) {
            Ok(()) => Done { told: done.clone(), done, aside },
            Err(error) => Done { told: Err(error), done, aside: None },
        }
    }

    fn aside(
        &mut self,
        caller: &UserHash,
        act: Act,
        done: &Result<Administered, ApiError>,
        now: Millis,
    ) -> Option<Aside> {
        let invites = done.as_ref().is_ok_and(|done| done.invites);
        self.core(now).aside(caller, act, done, invites).expect("storage in memory can be read")
    }

    /// A grant for a member, as the shell has it signed, and what the edge is told beside it. The edge may say what position
    /// the user's directory knows of.
    pub fn grant(
        &mut self,
        user: &UserHash,
        granter: &Granter,
        claim: Option<&Position>,
        now: Millis,
    ) -> (Result<(String, Millis), ApiError>, Option<Aside>) {
        if self.is_unreachable {
            return (Err(ApiError::Upstream), None);
        }
        if let Err(error) = self.settle_claim(claim.cloned(), now) {
            return (Err(error), None);
        }
        let role = self.core(now).admit(user, Role::Reader);
        let done = role.clone().map(|_| Administered::default());
        let aside = self.aside(user, Act::Grant, &done, now);
        (role.and_then(|role| granter.sign(user, self.core(now).scope(), role, now)), aside)
    }

    /// The coordinator if it is running.
    #[must_use]
    pub fn running(&self) -> Option<&Coordinator<MemoryLedger>> {
        self.core.as_ref()
    }

    /// The instance dies with everything but its storage.
    pub fn kill(&mut self) {
        if let Some(mut core) = self.core.take() {
            self.storage = std::mem::take(core.ledger());
        }
        self.turn = None;
        self.queue.clear();
        self.deaths += 1;
    }

    /// Carries out what shares one section of storage with its alarm, and ends as the fault says.
    fn section<T>(
        &mut self,
        now: Millis,
        work: impl FnOnce(&mut Coordinator<MemoryLedger>, u64) -> T,
    ) -> Result<T, Died> {
        let (fault, random) = (self.section_fault.take(), self.rng.any());
        let before = (fault == Some(SectionFault::Lost)).then(|| self.core(now).ledger().clone());
        let core = self.core(now);
        // Storage counts down to the write that fails, so a count that is never reached tells how many there were.
        let countdown = match fault {
            Some(SectionFault::Refused(write)) => write,
            _ => u64::MAX,
        };
        core.ledger().fail_writes_after = Some(countdown);
        let result = work(core, random);
        let left = core.ledger().fail_writes_after.take().unwrap_or(0);
        self.writes += countdown - left;
        match (fault, before) {
            (Some(SectionFault::Lost), Some(before)) => self.restore(before),
            (Some(SectionFault::Kept), _) => {
                self.alarm = self.core(now).poll_alarm(now).or(self.alarm);
                self.kill();
            }
            _ => return Ok(result),
        }
        Err(Died)
    }

    /// Storage as it stands, to be restored later.
    pub fn copy_of_storage(&mut self, now: Millis) -> MemoryLedger {
        self.core(now).ledger().clone()
    }

    /// The instance dies and storage becomes `storage`, as after a restore.
    pub fn restore(&mut self, storage: MemoryLedger) {
        self.kill();
        self.storage = storage;
    }

    /// Pushes that arrive together, each to its end.
    pub fn push(
        &mut self,
        pushes: &[(UserHash, PushRequest)],
        now: Millis,
    ) -> Vec<Result<PushAnswer, ApiError>> {
        let arrive = |(user, push): &(UserHash, PushRequest)| self.arrive(user, push.clone(), now);
        let tickets: Vec<_> = pushes.iter().map(arrive).collect();
        let mut told = BTreeMap::new();
        while !self.queue.is_empty() {
            told.extend(self.settle(now).told);
        }
        let mut answer = |ticket| told.remove(&ticket).unwrap_or(Err(ApiError::Upstream));
        tickets.into_iter().map(|ticket| ticket.and_then(&mut answer)).collect()
    }

    /// A push arrives, and waits.
    ///
    /// # Errors
    /// When it is refused at once.
    pub fn arrive(&mut self, user: &UserHash, push: PushRequest, now: Millis) -> Result<Ticket, ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        // Who may not push does not get to say that storage has gone back either.
        self.core(now).admit(user, Role::Writer)?;
        let claimed = push.epoch.clone().zip(push.since);
        self.settle_claim(claimed.map(|(epoch, version)| Position { epoch, version }), now)?;
        Ok(self.queue.push(user.clone(), push))
    }

    /// The next slice of the pushes that wait.
    pub fn settle(&mut self, now: Millis) -> Slice {
        let is_kept = self.section_fault == Some(SectionFault::Kept);
        let mut slice = Slice::default();
        let mut queue = std::mem::take(&mut self.queue);
        let woken = queue.oldest();
        let known: BTreeMap<_, _> = queue.begun().map(|(ticket, results)| (ticket, results.len())).collect();
        let settled = self.section(now, |core, _| {
            let done = core.settle(&mut queue, &mut |_| Ok(()), now);
            let new = |ticket, results: &[MutationResult]| {
                (ticket, results[known.get(&ticket).copied().unwrap_or(0)..].to_vec())
            };
            for queue::Done { ticket, answer, .. } in done {
                // Of one that is refused nothing is taken in, not even what it says.
                slice.settled.extend(answer.as_ref().ok().map(|answer| new(ticket, &answer.results)));
                slice.answers.push((ticket, answer));
            }
            let begun = queue.begun().map(|(ticket, results)| new(ticket, results));
            slice.settled.extend(begun.filter(|(_, results)| !results.is_empty()));
        });
        if settled == Err(Died) {
            queue.clear();
            self.queue = queue;
            return if is_kept { slice } else { Slice::default() };
        }
        self.queue = queue;
        slice.told.clone_from(&slice.answers);
        if let Err(error) = self.arm(now) {
            // As in the shell: whoever woke is told, and the rows are there all the same.
            slice.told.retain(|(ticket, _)| Some(*ticket) != woken);
            slice.told.extend(woken.map(|ticket| (ticket, Err(error))));
        }
        slice
    }

    /// A pull that an edge cannot answer, as the wire between the two carries it.
    ///
    /// # Errors
    /// What the coordinator refuses with.
    pub fn pull(
        &mut self,
        user: &UserHash,
        scope: &Scope,
        ask: &Ask,
        now: Millis,
    ) -> Result<(Reply, String), ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        let ask: Ask =
            serde_json::from_str(&serde_json::to_string(ask).expect("an ask is JSON")).expect("an ask");
        let claimed = self.core(now).claimed_by(user, scope, &ask, now)?;
        self.settle_claim(claimed, now)?;
        let (reply, lines) = self.core(now).pull(user, scope, &ask, now)?;
        self.arm(now)?;
        let text = encode_reply(&reply, &lines);
        let (reply, lines) = decode_reply(&text).expect("a reply");
        Ok((reply, lines.to_owned()))
    }

    /// Begins a new epoch, as an owner may ask for, where the clock shows `clock`.
    ///
    /// # Errors
    /// When storage fails or the instance dies, and the caller cannot know whether it happened.
    pub fn reset_epoch(&mut self, clock: Millis, now: Millis) -> Result<Position, ApiError> {
        let begun = self.section(now, |core, random| {
            let epoch = core.position().epoch;
            core.begin_epoch(&epoch, clock, random).map(|()| core.position())
        });
        let position = begun.map_err(|Died| ApiError::Upstream)?.map_err(|_| ApiError::Internal)?;
        self.arm(now)?;
        Ok(position)
    }

    /// Begins an epoch after the one of `newest`, as an owner does who has restored storage.
    pub fn begin_epoch_after(&mut self, newest: &Position, now: Millis) {
        let random = self.rng.any();
        self.core(now).begin_epoch(&newest.epoch, now, random).expect("storage in memory can be written");
        self.arm(now).expect("the alarm can be set");
    }

    fn settle_claim(&mut self, claimed: Option<Position>, now: Millis) -> Result<(), ApiError> {
        let core = self.core(now);
        let Some(claimed) = claimed.filter(|claimed| core.is_from_the_future(claimed, now)) else {
            return Ok(());
        };
        let begun = self.section(now, |core, random| {
            core.touch().map_err(|_| ApiError::Internal)?;
            core.begin_epoch_after(&claimed, now, random)
        });
        begun.map_err(|Died| ApiError::Upstream)??;
        self.arm(now)
    }

    /// Sets the alarm if one is needed, as every event does.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn arm(&mut self, now: Millis) -> Result<(), ApiError> {
        let Some(at) = self.core(now).poll_alarm(now) else { return Ok(()) };
        let set = self.set_alarm(Some(at));
        if set.is_err() {
            // Nobody knows which alarm is set now: the next event sets one.
            self.core(now).turn_broke_off();
        }
        set
    }
}
