//! A push, from its first byte to its answer.

use super::{Answer, Claimant, Effect, Moment, Object, Purpose, Said, State, Storage, Task};
use crate::{
    call::{Aside, Caller, PushAnswer, PushRequest, ReadPush},
    coordinator::{
        ledger::Rows,
        places::Look,
        push::queue::{Done, Ticket},
        rate,
    },
    error::ApiError,
    ids::UserHash,
    limits,
    role::Role,
    version::Position,
};

/// Who waits for a push.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) user: UserHash,
    /// What it has cost to read it, in units.
    pub(super) units: u64,
    /// What slices have cost that have settled parts of it.
    pub(super) rows: Rows,
    /// Whether its task still waits.
    pub(super) is_awaited: bool,
    /// How it has ended. An error says where the space stands if a part of the push was settled before.
    pub(super) settled: Option<Result<PushAnswer, (ApiError, Option<Position>)>>,
}

impl<S: Storage> Object<S> {
    /// Lets the body in, unless its user may not push: then nothing of it enters memory, in which there is room for four such
    /// bodies at once, and the user pays for it.
    pub(super) fn let_in(&mut self, task: &mut Task, at: Moment) -> Result<Effect, ApiError> {
        let Purpose::Push { caller: Caller { user, .. }, push, length } = &task.purpose else {
            panic!("BUG: only a push is let in")
        };
        let core = self.core.as_mut().expect("BUG: the space was not opened");
        if let Err(refused) = core.admit(user, push.role_of_push())
            && !planted!(StrangerLetIn)
        {
            self.rate.charge_refused(user, rate::cost(*length, 0), at.now);
            return Err(refused);
        }
        if !self.held.take(user, *length) {
            return Err(ApiError::Overloaded);
        }
        task.held = *length;
        task.place = Some(self.common.places.borrow_mut().line_up(user, *length, at.now));
        self.enter(task, at)
    }

    /// Asks for the body once it has its place among those of all objects of the isolate.
    pub(super) fn enter(&mut self, task: &mut Task, at: Moment) -> Result<Effect, ApiError> {
        let place = task.place.expect("BUG: it stands in no line");
        match self.common.places.borrow_mut().look(place, at.now) {
            Look::Inside => {
                task.state = State::Receiving;
                let Purpose::Push { push, .. } = &task.purpose else { panic!("BUG: only a push enters") };
                Ok(Effect::ReadBody { limit: push.body_bytes_max() })
            }
            Look::Again(in_ms) => {
                task.state = State::Entering;
                Ok(Effect::Pause(in_ms))
            }
            Look::InVain => Err(ApiError::Overloaded),
        }
    }

    /// Looks for the mutations of a body.
    pub(super) fn read(&mut self, task: &mut Task, body: Vec<u8>, at: Moment) -> Result<Effect, ApiError> {
        let length = body.len();
        let Purpose::Push { caller, push, .. } = &task.purpose else {
            panic!("BUG: only a push has a body of a user's")
        };
        match (self.config.read_push)(push, body, caller) {
            // Others are heard after that too.
            Ok(reading) if length > limits::READ_BYTES_MAX => {
                task.state = State::Reading(reading, length);
                Ok(Effect::LetOthers)
            }
            Ok(reading) => self.read_on(task, reading, length, at),
            Err(error) => Err(self.unread(task, length, error, at)),
        }
    }

    /// Reads as much as a slice has, and then others are heard.
    pub(super) fn read_on(
        &mut self,
        task: &mut Task,
        mut reading: Box<dyn ReadPush>,
        length: usize,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        match reading.go_on(limits::READ_BYTES_MAX) {
            Ok(true) => {
                task.state = State::Reading(reading, length);
                return Ok(Effect::LetOthers);
            }
            Ok(false) => {}
            Err(error) => return Err(self.unread(task, length, error, at)),
        }
        if let Some(place) = task.place {
            self.common.places.borrow_mut().weighs(place, reading.weight());
        }
        match reading.finish() {
            Ok(push) => self.has_read(task, push, length, at),
            Err(error) => Err(self.unread(task, length, error, at)),
        }
    }

    /// A push that is refused when it has come has cost as much as one that is taken.
    fn unread(&mut self, task: &Task, length: usize, error: ApiError, at: Moment) -> ApiError {
        self.rate.charge(task.user(), rate::cost(length, 0), at.now);
        error
    }

    fn has_read(
        &mut self,
        task: &mut Task,
        push: PushRequest,
        length: usize,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let units = rate::cost(length, push.changes());
        // Who may not push does not get to say that storage has gone back either; that may have changed with the body.
        let needed = if push.wording.is_some() { Role::Reader } else { Role::Writer };
        let role = match self.space().admit(task.user(), needed) {
            Ok(role) => role,
            Err(error) => return Err(self.unread(task, length, error, at)),
        };
        // Over a socket, whose caller has a scope, one is brought without being asked for.
        let by_socket = task.caller().is_some_and(|caller| caller.destination.scope().is_some());
        if push.wants_grant && self.space_id().is_some() && !by_socket {
            let (user, scope) = (task.user().clone(), self.space().scope().clone());
            task.state = State::Granting(Box::new(push), units);
            return Ok(Effect::Sign { user, scope, role });
        }
        if role < Role::Writer {
            return self.join_queue(task, push, units);
        }
        self.claim_of_push(task, Box::new(push), units, at)
    }

    /// What a push claims of the space's history is decided before it joins the others.
    pub(super) fn claim_of_push(
        &mut self,
        task: &mut Task,
        push: Box<PushRequest>,
        units: u64,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let claimed = push.epoch.clone().zip(push.since);
        let claimed = claimed.map(|(epoch, version)| Position { epoch, version });
        self.decide_claim(task, claimed, Claimant::Push(push, units), at)
    }

    /// Pushes that are read in the meantime join. Whoever wakes first settles the next slice, so that no push depends on a request
    /// whose client may hang up.
    pub(super) fn join_queue(
        &mut self,
        task: &mut Task,
        push: PushRequest,
        units: u64,
    ) -> Result<Effect, ApiError> {
        let user = task.user().clone();
        let ticket = self.queue.push(user.clone(), push);
        let rows = Rows::default();
        self.waiting.insert(ticket, Waiting { user, units, rows, is_awaited: true, settled: None });
        task.ticket = Some(ticket);
        self.await_slice(task)
    }

    /// Answers a push that is settled; waits for the next slice for any other.
    pub(super) fn await_slice(&mut self, task: &mut Task) -> Result<Effect, ApiError> {
        let ticket = task.ticket.expect("BUG: it has no push in the queue");
        if let Some(mut answer) = self.take_settled(ticket) {
            if let Ok(Said::Pushed(pushed)) = &mut answer.result {
                pushed.grant = task.grant.take();
            }
            return Ok(Effect::Answer(answer));
        }
        if !self.queue.holds(ticket) {
            return Err(ApiError::Internal);
        }
        task.state = State::Waiting { slice: self.slices };
        Ok(Effect::AwaitSlice { is_under_way: self.queue.begun().next().is_some() })
    }

    /// Settles the next slice, in one transaction, unless another task that waited for it has woken before.
    pub(super) fn woken(&mut self, task: &mut Task, slice: u64, at: Moment) -> Result<Effect, ApiError> {
        let is_settled = task.ticket.is_none_or(|ticket| !self.queue.holds(ticket));
        if is_settled || slice != self.slices {
            return self.await_slice(task);
        }
        self.slices += 1;
        self.take_rows();
        let rate = &mut self.rate;
        let concerns = |push: &PushRequest| push.wording.as_ref().is_some_and(|it| it.concerns_members());
        let concerns_members = self.queue.pushes().any(|(_, push)| concerns(push));
        let core = self.core.as_mut().expect("BUG: the space was not opened");
        let done = core.settle(&mut self.queue, &mut |user| rate.admit_again(user, at.now), at.now);
        self.last_slice = done.iter().map(|done| done.ticket).collect();
        if concerns_members {
            self.members_may_have_changed();
        }
        let rows = self.take_rows();
        self.note_settled(done, rows, at);
        match self.poll_alarm(at) {
            Some(set) => {
                task.state = State::Committing;
                Ok(set)
            }
            None => Ok(commit(task)),
        }
    }

    /// Notes what becomes of pushes that are done. Rows are counted for the slice: one push of it carries them all.
    fn note_settled(&mut self, done: Vec<Done>, mut rows: Rows, at: Moment) {
        self.waiting.retain(|_, one| one.is_awaited || one.settled.is_none());
        let begun = self.queue.begun().next().map(|(ticket, _)| ticket);
        if let Some(begun) = begun.and_then(|ticket| self.waiting.get_mut(&ticket)) {
            begun.rows.add(std::mem::take(&mut rows));
        }
        for Done { ticket, answer, work, written } in done {
            let one = self.waiting.get_mut(&ticket).expect("BUG: nobody has pushed what was settled");
            let bytes = work + answer.as_ref().map_or(0, PushAnswer::bytes);
            self.rate.charge(&one.user, one.units + rate::cost(bytes, 0), at.now);
            rows.add(std::mem::take(&mut one.rows));
            if answer.is_ok() {
                one.rows = std::mem::take(&mut rows);
            }
            one.settled = Some(answer.map_err(|error| (error, written)));
        }
    }

    fn take_settled(&mut self, ticket: Ticket) -> Option<Answer> {
        let is_settled = self.waiting.get(&ticket)?.settled.is_some();
        let waiting = is_settled.then(|| self.waiting.remove(&ticket))??;
        Some(match waiting.settled? {
            Ok(answer) => {
                let (at, (rejected, why)) = (Some(answer.position.clone()), answer.rejected);
                let mut said = Answer::said(Said::Pushed(answer), waiting.rows);
                said.used.rejected = rejected;
                Answer { at, aside: why.map(Aside::Rejected), ..said }
            }
            Err((error, at)) => Answer { at, ..Answer::refused(error) },
        })
    }
}

pub(super) fn commit(task: &mut Task) -> Effect {
    task.state = State::Syncing;
    Effect::Committed
}
