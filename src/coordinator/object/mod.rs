//! What an object does about the calls that reach it, and when its alarm fires. Without I/O: the object of the platform and
//! the simulator's host both only carry out what it says.
//!
//! Each call, and each alarm, is a [`Task`]; several are under way at once. Whoever drives a task tells [`Object::step`] what
//! has happened, first [`Event::Begun`], and carries out the effect that comes back. How that ended is the next event, until an
//! effect ends the task ([`Effect::is_end`]). A task that is given up before goes to [`Object::forget`]. Rows that a step has
//! written, and the alarm that the effect behind it sets, are one transaction: nothing else may be awaited in between.
//!
//! Whoever listens to the space is told of commits from here: after each step, [`Live::take`] says what sockets are sent, and whether
//! one more task has to be begun, [`Task::news`], which waits until more may be told.
//!
//! A push: `begin` (may its user have more of this object?), `opening`, `push` (may its user write? is there room for the body?
//! what does it say? does it claim what is not there?), then the next slice. Any other call: `called`, once its body has come,
//! which says what it asks for; then `opening`, and `pull` or `administer`, or for a directory `directory`. The alarm: `alarm`.

mod administer;
mod alarm;
mod answer;
mod budget;
mod claim;
mod directory;
mod failing;
mod live;
mod metering;
mod opening;
mod pull;
mod push;
mod task;

use std::collections::BTreeMap;

use administer::Administering;
use alarm::Turn;
pub use answer::{Answer, Said};
use budget::Lease;
use claim::Claimant;
use failing::tell_until_when;
pub use live::{Applicant, Joined};
use metering::Metering;
use push::{Waiting, commit};
pub use task::{Effect, Event, Expires, NoBody, Task};
use task::{Purpose, State};

use super::{
    Coordinator,
    budget::{Budget, BudgetMax},
    cache::Common,
    crowd::Crowd,
    ledger::{Ledger, LedgerError, LedgerResult, Rows},
    live::Live,
    publication::PublicationConfig,
    push::queue::{Queue, Ticket},
    rate::{Rate, RateConfig},
    sharing::directory::Directory,
};
use crate::{
    call::{BeginPush, Call, Destination, PushAnswer},
    error::ApiError,
    limits::{self, DirectoryMax},
    log::LogLine,
    shares::Shares,
    time::Millis,
};

/// Where an object's rows are.
pub trait Storage {
    /// What it is once it is opened.
    type Ledger: Ledger;
    /// Whether a space was ever begun in it. Writes nothing.
    ///
    /// # Errors
    /// When storage fails.
    fn is_used(&self) -> LedgerResult<bool>;
    /// Whether it was ever opened. Writes nothing.
    ///
    /// # Errors
    /// When storage fails.
    fn has_tables(&self) -> LedgerResult<bool>;
    /// Opens it, which may write.
    ///
    /// # Errors
    /// When storage fails.
    fn open(&mut self) -> LedgerResult<Self::Ledger>;
    /// Rows that were read and written since the last look.
    fn take_rows(&mut self) -> Rows;
}

/// What an object is set to.
#[derive(Debug, Clone, Copy)]
pub struct ObjectConfig {
    /// How it publishes.
    pub publication: PublicationConfig,
    /// What users may take of it.
    pub rate: RateConfig,
    /// What it keeps as a directory.
    pub directory: DirectoryMax,
    /// What a day has for all objects of the deployment.
    pub budget: BudgetMax,
    /// Begins to read the body of a push, of whichever front.
    pub read_push: BeginPush,
}

/// When something happens, and chance.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock of whoever drives the object.
    pub now: Millis,
    /// Of which each step uses some at most.
    pub random: u64,
}

/// An instance of an object. Whatever it keeps can be lost at any moment. Events: [`Self::step`], [`Self::forget`]. Output, to be
/// polled after each step: [`Self::take_log`]. Everything else asks, and is there for whoever tests.
#[derive(Debug)]
pub struct Object<S: Storage> {
    storage: S,
    config: ObjectConfig,
    /// Once an event has opened it.
    core: Option<Coordinator<S::Ledger>>,
    /// Instead of a space, where the object is a directory.
    directory: Option<Directory<S::Ledger>>,
    /// The same, where it is the deployment's budget.
    budget: Option<Budget<S::Ledger>>,
    /// What it has leased.
    lease: Lease,
    common: Common,
    rate: Rate,
    /// Bodies from their arrival to their answer.
    held: Shares,
    crowd: Crowd,
    queue: Queue,
    /// Who waits for the pushes in the queue, or has not been answered yet.
    waiting: BTreeMap<Ticket, Waiting>,
    /// How many slices were settled.
    slices: u64,
    /// The pushes that the last one has brought to their end, in order.
    last_slice: Vec<Ticket>,
    live: Live,
    log: Vec<LogLine>,
    metering: Metering,
}

impl<S: Storage> Object<S> {
    /// An instance begins.
    #[must_use]
    pub fn new(storage: S, config: ObjectConfig, common: Common, now: Millis) -> Self {
        Self {
            storage,
            config,
            core: None,
            directory: None,
            budget: None,
            lease: Lease::default(),
            common,
            rate: Rate::new(config.rate, now),
            held: Shares::new(limits::BODIES_HELD_MAX),
            crowd: Crowd::default(),
            queue: Queue::default(),
            waiting: BTreeMap::new(),
            slices: 0,
            last_slice: Vec::new(),
            live: Live::default(),
            log: Vec::new(),
            metering: Metering::default(),
        }
    }

    /// An instance whose space is open.
    #[must_use]
    pub fn opened(storage: S, core: Coordinator<S::Ledger>, config: ObjectConfig, now: Millis) -> Self {
        let mut object = Self::new(storage, config, Common::default(), now);
        object.live.opened(core.position());
        Self { core: Some(core), ..object }
    }

    /// Its rows, where storage is the ledger itself.
    pub fn rows(&mut self) -> &mut S::Ledger
    where
        S: Storage<Ledger = S> + Ledger,
    {
        match (&mut self.core, &mut self.directory, &mut self.budget) {
            (Some(core), _, _) => core.ledger(),
            (None, Some(directory), _) => directory.ledger(),
            (None, None, Some(budget)) => budget.ledger(),
            (None, None, None) => &mut self.storage,
        }
    }

    /// The space, if an event has opened it.
    #[must_use]
    pub fn core(&self) -> Option<&Coordinator<S::Ledger>> {
        self.core.as_ref()
    }

    /// The same, to be changed past all calls.
    pub fn core_mut(&mut self) -> Option<&mut Coordinator<S::Ledger>> {
        self.core.as_mut()
    }

    /// Pushes that wait.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many slices this instance has settled.
    #[must_use]
    pub fn slices(&self) -> u64 {
        self.slices
    }

    /// The pushes that the last slice has brought to their end, in order, with what becomes of those that were not answered yet.
    pub fn settled(&self) -> impl Iterator<Item = (Ticket, Result<&PushAnswer, &ApiError>)> {
        self.last_slice.iter().filter_map(|ticket| {
            let settled = self.waiting.get(ticket)?.settled.as_ref()?;
            Some((*ticket, settled.as_ref().map_err(|(error, _)| error)))
        })
    }

    /// Bytes of bodies that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.all()
    }

    /// What is to be logged since the last look.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.log)
    }

    /// What a task does about what has happened.
    pub fn step(&mut self, task: &mut Task, event: Event, at: Moment) -> Effect {
        self.begin_metering(task, &event, at);
        if let Some(place) = task.place {
            self.common.places.borrow_mut().is_seen(place, at.now);
        }
        let could_not_arm = matches!(event, Event::AlarmSet(false) | Event::UsedUp);
        if let Event::UsedUp = event {
            self.log_failure(&LedgerError::UsedUp, at.now);
        }
        let done = self.go_on(task, event, at);
        if let Some(failure) = self.core.as_mut().and_then(Coordinator::take_failure) {
            self.log_failure(&failure, at.now);
        }
        let effect = done.unwrap_or_else(|error| match &task.purpose {
            Purpose::Alarm => self.alarm_failed(&error),
            Purpose::News => Effect::Rest,
            Purpose::Push { .. } | Purpose::Call { .. } => Effect::Answer(Answer::refused(error)),
        });
        let mut effect = match effect {
            // An alarm that could not be set is the next task's.
            Effect::Answer(answer) if !could_not_arm => self.arm_and_answer(task, answer, at),
            effect => effect,
        };
        tell_until_when(&mut effect, at.now);
        self.tell_live(at);
        self.end_metering(task, &mut effect);
        if effect.is_end() {
            self.forget(task);
            if let Some(core) = &self.core {
                self.common.caches.used(&core.cache);
            }
        }
        effect
    }

    /// Nobody waits for what becomes of a task any more. What it has put into the queue is settled all the same, and charged.
    pub fn forget(&mut self, task: &mut Task) {
        let held = std::mem::take(&mut task.held);
        if let (Some(caller), 1..) = (task.caller(), held)
            && !planted!(HeldNotGivenBack)
        {
            self.held.give_back(&caller.user, held);
        }
        if let Purpose::News = task.purpose {
            self.live.has_waited();
        }
        self.task_ends(task);
        if let Some(place) = task.place.take() {
            self.common.places.borrow_mut().leave(place);
        }
        if planted!(HungUpForgotten)
            && let Some(ticket) = &task.ticket
        {
            self.waiting.remove(ticket);
        }
        if let Some(waiting) = task.ticket.take().and_then(|ticket| self.waiting.get_mut(&ticket)) {
            waiting.is_awaited = false;
        }
    }

    fn go_on(&mut self, task: &mut Task, event: Event, at: Moment) -> Result<Effect, ApiError> {
        match (std::mem::replace(&mut task.state, State::Over), event) {
            (_, Event::BrokenOff) => Err(ApiError::Upstream),
            (State::Begun, Event::Begun) => self.begin(task, at),
            (State::Opening(call), Event::Alarm(alarm)) => {
                self.open(task, call.as_ref(), alarm, at)?;
                self.is_open(task, call, at)
            }
            (State::Opening(_), Event::UsedUp) => Err(ApiError::UsedUp { retry_after_s: None }),
            (State::Opening(_), Event::AlarmSet(false)) => Err(ApiError::Internal),
            (State::Entering, Event::Resumed) => self.enter(task, at),
            (State::Receiving, Event::Body(body)) => {
                let body = body.map_err(|why| task.lacks_body(why))?;
                self.received(task, body, at)
            }
            (State::Unread(body), Event::Resumed) => self.read(task, body, at),
            (State::Reading(reading, length), Event::Resumed) => self.read_on(task, reading, length, at),
            (State::Granting(push, units), Event::Signed(signed)) => {
                task.grant = signed.ok().map(|(grant, ends)| (grant, ends.since(at.now)));
                self.claim_of_push(task, push, units, at)
            }
            (State::Pausing(ask), Event::Resumed) => self.pull_paused(task, ask, at),
            (State::Confirming(claimed, claimant), Event::Confirmed(is_confirmed)) => {
                self.confirmed(task, (&claimed, is_confirmed), claimant, at)
            }
            (State::ClaimArmed(claimant), set @ (Event::AlarmSet(_) | Event::UsedUp)) => {
                self.alarm_was_set(&set)?;
                self.claim_is_decided(task, claimant, at)
            }
            (State::Waiting { slice }, Event::Resumed) => self.woken(task, slice, at),
            // What is settled is settled: its answer waits for an alarm, and tries to set it once more.
            (State::Committing, set @ (Event::AlarmSet(_) | Event::UsedUp)) => {
                let _ = self.alarm_was_set(&set);
                Ok(commit(task))
            }
            (State::Syncing, Event::Resumed) => self.await_slice(task),
            (State::Administering(step), event) => self.administer_on(task, step, event, at),
            (State::Answering(answer), set @ (Event::AlarmSet(_) | Event::UsedUp)) => {
                let armed = self.alarm_was_set(&set);
                Ok(Effect::Answer(if answer.result.is_ok() { armed.map(|()| *answer)? } else { *answer }))
            }
            (State::Listening(listener), event) => self.may_listen(listener, event),
            (State::Gathering, Event::Resumed) => Ok(self.news_are_due()),
            (State::Turn(turn), event) => self.turn_on(task, *turn, event, at),
            (state, event) => panic!("BUG: {} does not follow {}", event.as_ref(), state.as_ref()),
        }
    }

    fn begin(&mut self, task: &mut Task, at: Moment) -> Result<Effect, ApiError> {
        match &task.purpose {
            Purpose::Alarm => self.open_first(task, None, at),
            Purpose::News => Ok(self.wait_for_news(task, at)),
            Purpose::Push { caller, push, .. } => {
                self.rate.admit(&caller.user, at.now)?;
                let push = push.clone();
                self.open_first(task, Some(push), at)
            }
            Purpose::Call { caller, name } => {
                match (&caller.destination, Call::is_owners_by_name(name)) {
                    // Nobody but our own objects and isolates asks it.
                    (Destination::Budget, _) => {}
                    (_, true) => self.rate.admit_owners(&caller.user, at.now)?,
                    (_, false) => self.rate.admit(&caller.user, at.now)?,
                }
                task.state = State::Receiving;
                Ok(Effect::ReadBody { limit: limits::CALL_BYTES_MAX })
            }
        }
    }

    fn received(&mut self, task: &mut Task, body: Vec<u8>, at: Moment) -> Result<Effect, ApiError> {
        if let Purpose::Call { name, .. } = &task.purpose {
            // Of an edge that is newer: there will be an object that knows it soon.
            let call = Call::parse(name, &body).ok_or(ApiError::Upstream)?;
            return self.called(task, call, at);
        }
        // Between its coming, which has copied it, and the look for its mutations others are heard.
        if body.len() > limits::READ_BYTES_MAX {
            task.state = State::Unread(body);
            return Ok(Effect::LetOthers);
        }
        self.read(task, body, at)
    }

    fn space(&mut self) -> &mut Coordinator<S::Ledger> {
        self.core.as_mut().expect("BUG: the space was not opened")
    }

    /// The alarm that has to be set before anything else is awaited, so that it shares its transaction with what was written.
    fn poll_alarm(&mut self, at: Moment) -> Option<Effect> {
        self.core.as_mut()?.poll_alarm(at.now).map(|at| Effect::SetAlarm(Some(at)))
    }

    /// Answers once the alarm is set, if it has to be: opening the space may have found something to do, whatever became of what
    /// was asked for.
    fn arm_and_answer(&mut self, task: &mut Task, answer: Answer, at: Moment) -> Effect {
        match self.poll_alarm(at).filter(|_| !planted!(AnswerNotArmed)) {
            None => Effect::Answer(answer),
            Some(set) => {
                task.state = State::Answering(Box::new(answer));
                set
            }
        }
    }
}
