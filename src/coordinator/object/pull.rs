//! Pulls that the edge cannot answer, and the list of open conflicts.

use super::{Answer, Claimant, Effect, Moment, Object, Said, State, Storage, Task};
use crate::{call::Ask, coordinator::rate, error::ApiError, snapshot::keys::Scope, version::Version};

impl<S: Storage> Object<S> {
    /// Whoever has just read a page waits for the next, so that others are heard, and is then admitted once more.
    pub(super) fn pull(&mut self, task: &mut Task, ask: Box<Ask>, at: Moment) -> Result<Effect, ApiError> {
        let has_to_wait = self.crowd.has_to_wait(task.user(), at.now);
        if !has_to_wait || self.space().asks_for_little(&ask) {
            return self.pull_claims(task, ask, at);
        }
        task.state = State::Pausing(ask);
        Ok(Effect::Pause(self.crowd.wait_ms(task.user(), at.now)))
    }

    pub(super) fn pull_paused(
        &mut self,
        task: &mut Task,
        ask: Box<Ask>,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        self.rate.admit_again(task.user(), at.now)?;
        self.pull_claims(task, ask, at)
    }

    fn pull_claims(&mut self, task: &mut Task, ask: Box<Ask>, at: Moment) -> Result<Effect, ApiError> {
        let claimed = self.space().claimed_by(task.user(), served(task)?, &ask, at.now)?;
        self.decide_claim(task, claimed, Claimant::Pull(ask), at)
    }

    pub(super) fn answer_pull(&mut self, task: &mut Task, ask: &Ask, at: Moment) -> Result<Effect, ApiError> {
        self.take_rows();
        let (reply, lines) = self.space().pull(task.user(), served(task)?, ask, at.now)?;
        self.space().write_down_much(at.now);
        let rows = self.take_rows();
        self.rate.charge(task.user(), rate::cost(lines.len(), 0), at.now);
        self.crowd.has_read(task.user(), lines.len(), at.now);
        Ok(Effect::Answer(Answer::said(Said::Pulled(reply, lines), rows)))
    }

    /// A page of the conflicts that are open.
    pub(super) fn conflicts(
        &mut self,
        task: &mut Task,
        after: Version,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        self.take_rows();
        let page = self.space().conflicts(task.user(), after)?.to_json();
        let rows = self.take_rows();
        self.rate.charge(task.user(), rate::cost(page.len(), 0) + rate::cost_of_rows(rows), at.now);
        Ok(Effect::Answer(Answer::said(Said::Text(page), rows)))
    }
}

/// Under what the edge serves the space.
fn served(task: &Task) -> Result<&Scope, ApiError> {
    task.caller().and_then(|caller| caller.destination.scope()).ok_or(ApiError::GrantRequired)
}
