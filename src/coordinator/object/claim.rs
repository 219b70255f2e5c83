//! A request that claims a position above the space's own: either the claim is false, or this instance has been superseded, which a
//! confirmed write tells, or storage has gone back, and then a new epoch begins.

use serde_json::json;

use super::{Effect, Moment, Object, State, Storage, Task};
use crate::{
    call::{Administration, Ask, PushRequest},
    error::ApiError,
    log::LogLevel,
    version::Position,
};

/// What goes on once a claim is settled.
#[derive(Debug)]
pub(super) enum Claimant {
    /// A push, with what it has cost to read it, in units.
    Push(Box<PushRequest>, u64),
    /// A pull.
    Pull(Box<Ask>),
    /// A grant, asked for by an edge that has heard of a later position from its user's directory.
    Grant,
}

impl<S: Storage> Object<S> {
    pub(super) fn decide_claim(
        &mut self,
        task: &mut Task,
        claimed: Option<Position>,
        claimant: Claimant,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let Some(claimed) = claimed.filter(|claimed| self.space().is_from_the_future(claimed, at.now)) else {
            return self.claim_is_decided(task, claimant, at);
        };
        self.space().touch().map_err(|error| self.storage_failed(&error, at.now))?;
        task.state = State::Confirming(claimed, claimant);
        Ok(Effect::Confirm)
    }

    pub(super) fn confirmed(
        &mut self,
        task: &mut Task,
        (claimed, is_confirmed): (&Position, bool),
        claimant: Claimant,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        if !is_confirmed {
            return Err(ApiError::Upstream);
        }
        let is_ahead = self.space().is_from_the_future(claimed, at.now);
        if is_ahead && self.space().begin_epoch_after(claimed, at.now, at.random)? {
            self.log.push((LogLevel::Error, "storage went back: a new epoch begins", json!({})));
            if let Some(set) = self.poll_alarm(at).filter(|_| !planted!(ClaimNotArmed)) {
                task.state = State::ClaimArmed(claimant);
                return Ok(set);
            }
        }
        self.claim_is_decided(task, claimant, at)
    }

    pub(super) fn claim_is_decided(
        &mut self,
        task: &mut Task,
        claimant: Claimant,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        match claimant {
            Claimant::Push(push, units) => self.join_queue(task, *push, units),
            Claimant::Pull(ask) => self.answer_pull(task, &ask, at),
            Claimant::Grant => self.do_it(task, &Administration::Grant { claim: None }, at),
        }
    }
}
