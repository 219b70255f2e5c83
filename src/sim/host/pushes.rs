//! Pushes, from their arrival to their answers.

use std::collections::BTreeMap;

use super::{
    Host,
    tasks::{Called, Died, Means},
};
use crate::{
    call::{Call, Caller, PushAnswer, PushRequest},
    coordinator::{
        Coordinator,
        ledger::Ledger,
        object::{Event, Object, Task},
        push::queue::{Queue, Ticket},
    },
    error::ApiError,
    ids::UserHash,
    mutation::MutationResult,
    sim::{Rng, ledger::MemoryLedger},
    time::Millis,
    version::Position,
};

/// What a slice of pushes has come to.
#[derive(Debug, Default)]
pub struct Slice {
    /// What it has settled: the results of each push that it has taken on, in order.
    pub settled: Vec<(Ticket, Vec<MutationResult>)>,
    /// The answers of the coordinator to those that are done with it.
    pub answers: Vec<(Ticket, Result<PushAnswer, ApiError>)>,
    /// What is told: nothing if the instance has died.
    pub told: Vec<ToldPush>,
}

/// What whoever waits for a push is told.
#[derive(Debug)]
pub struct ToldPush {
    /// Of which push.
    pub ticket: Ticket,
    /// What.
    pub answer: Result<PushAnswer, ApiError>,
    /// Where the space stands, if anything was written.
    pub at: Option<Position>,
}

impl<L: Ledger> Coordinator<L> {
    /// Settles pushes that arrive together, each to its end, and nobody is heard in between.
    pub fn push(
        &mut self,
        pushes: &[(UserHash, PushRequest)],
        now: Millis,
    ) -> Vec<Result<PushAnswer, ApiError>> {
        let mut queue = Queue::default();
        let (mut done, mut tickets) = (BTreeMap::new(), Vec::with_capacity(pushes.len()));
        for (user, push) in pushes {
            tickets.push(queue.push(user.clone(), push.clone()));
        }
        while !queue.is_empty() {
            let slice = self.settle(&mut queue, &mut |_| Ok(()), now);
            done.extend(slice.into_iter().map(|done| (done.ticket, done.answer)));
        }
        tickets.iter().filter_map(|ticket| done.remove(ticket)).collect()
    }
}

impl Host {
    /// Whether anybody waits for a push. One for which nobody does is settled when the next one comes.
    #[must_use]
    pub fn has_pushes(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether this push waits.
    #[must_use]
    pub fn holds(&self, ticket: Ticket) -> bool {
        self.push_of(ticket).is_some()
    }

    /// A push that waits.
    #[must_use]
    pub fn push_of(&self, ticket: Ticket) -> Option<&PushRequest> {
        self.queue()?.pushes().find(|(held, _)| *held == ticket).map(|(_, push)| push)
    }

    /// The push that has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<Ticket> {
        self.queue()?.pushes().next().map(|(ticket, _)| ticket)
    }

    fn queue(&self) -> Option<&Queue> {
        self.object.as_ref().map(Object::queue)
    }

    /// Pushes that arrive together, each to its end.
    pub fn push(&mut self, pushes: &[(UserHash, &str)], now: Millis) -> Vec<Result<PushAnswer, ApiError>> {
        let arrive = |(user, body): &(UserHash, &str)| self.arrive(user, body, now);
        let tickets: Vec<_> = pushes.iter().map(arrive).collect();
        let mut told = BTreeMap::new();
        while self.has_pushes() {
            told.extend(self.settle(now).told.into_iter().map(|told| (told.ticket, told.answer)));
        }
        let mut answer = |ticket| told.remove(&ticket).unwrap_or(Err(ApiError::Upstream));
        tickets.into_iter().map(|ticket| ticket.and_then(&mut answer)).collect()
    }

    /// A push arrives, whole, and waits.
    ///
    /// # Errors
    /// When it is refused at once.
    pub fn arrive(&mut self, user: &UserHash, body: &str, now: Millis) -> Result<Ticket, ApiError> {
        let number = self.begin_push(&Call::Push, &self.caller(user, None), body.len(), now)?;
        self.body_comes(number, body, now)
    }

    /// A push, or a resolution, whose body is on its way; gives a number to it.
    ///
    /// # Errors
    /// When it is refused before the body is read.
    pub fn begin_push(
        &mut self,
        call: &Call,
        caller: &Caller,
        length: usize,
        now: Millis,
    ) -> Result<u64, ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        match self.call_as(call, caller, Means::announced(length), now) {
            Called::Receives(task) => {
                self.receiving.insert(self.requests, *task);
                Ok(self.requests)
            }
            other => Err(other.refusal()),
        }
    }

    /// The body of a push has come, which waits from now on.
    ///
    /// # Errors
    /// When it is refused, or the instance is another one.
    pub fn body_comes(&mut self, number: u64, body: &str, now: Millis) -> Result<Ticket, ApiError> {
        let mut task = self.receiving.remove(&number).ok_or(ApiError::Upstream)?;
        let body = Ok(body.as_bytes().to_vec());
        match self.go_on(&mut task, Event::Body(body), Means::announced(0), now) {
            Called::Waits => {
                let ticket = task.ticket().expect("whoever waits for a slice has a push in the queue");
                self.waiting.push(task);
                Ok(ticket)
            }
            other => Err(other.refusal()),
        }
    }

    /// Whoever waits for one of the pushes hangs up, or whoever sends one. What came over a socket is done to its end.
    pub fn hang_up(&mut self, rng: &mut Rng) {
        let receiving = self.receiving.len();
        let waiting: Vec<_> =
            (0..self.waiting.len()).filter(|index| !is_message(&self.waiting[*index])).collect();
        if receiving + waiting.len() == 0 {
            return;
        }
        let index = rng.index(receiving + waiting.len());
        let mut task = match index.checked_sub(receiving) {
            Some(index) => self.waiting.remove(waiting[index]),
            None => {
                let number = *self.receiving.keys().nth(index).expect("one of them");
                self.receiving.remove(&number).expect("it is there")
            }
        };
        self.object.as_mut().expect("somebody waits for it").forget(&mut task);
    }

    /// Bytes of bodies that the instance holds, and of those that are on their way or wait.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let tasks = self.receiving.values().chain(&self.waiting).map(Task::held).sum();
        (self.object.as_ref().map_or(0, Object::held), tasks)
    }

    /// The next slice of the pushes that wait.
    pub fn settle(&mut self, now: Millis) -> Slice {
        let mut slice = Slice::default();
        let begun = |object: &Object<MemoryLedger>| {
            let begun = object.queue().begun().map(|(ticket, results)| (ticket, results.to_vec()));
            begun.collect::<BTreeMap<_, _>>()
        };
        let known = self.object.as_ref().map(begun).unwrap_or_default();
        let new = |ticket, results: &[MutationResult]| {
            let known = known.get(&ticket).map_or(0, Vec::len);
            (ticket, results[known..].to_vec())
        };
        let mut look = |object: &Object<MemoryLedger>| {
            for (ticket, answer) in object.settled() {
                // Of one that is refused nothing is taken in, not even what it says.
                slice.settled.extend(answer.as_ref().ok().map(|answer| new(ticket, &answer.results)));
                slice.answers.push((ticket, answer.cloned().map_err(Clone::clone)));
            }
            let begun = object.queue().begun().map(|(ticket, results)| new(ticket, results));
            slice.settled.extend(begun.filter(|(_, results)| !results.is_empty()));
        };
        let messages = self.waiting.iter().filter(|task| is_message(task)).filter_map(Task::ticket);
        let messages: Vec<_> = messages.filter(|_| planted!(SaidBeforeDurable)).collect();
        let ended = self.wake(&mut look, now);
        match ended {
            Ok(told) => slice.told = told,
            Err(Died { has_kept: false }) => {
                let said = slice.answers.into_iter().filter(|(ticket, _)| messages.contains(ticket));
                let told = said.map(|(ticket, answer)| ToldPush { ticket, answer, at: None });
                return Slice { told: told.collect(), ..Slice::default() };
            }
            Err(Died { has_kept: true }) => {}
        }
        slice
    }
}

/// Whether a task is that of a message over a socket, by the name of its request.
fn is_message(task: &Task) -> bool {
    task.caller().is_some_and(|caller| caller.request.starts_with("live-"))
}
