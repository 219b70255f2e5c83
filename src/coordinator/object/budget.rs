//! The day's budget, from both ends: the object as the budget, if that is what its name stands for, and a turn of the alarm that
//! leases what it is about to put.

use serde_json::json;

use super::{Answer, Effect, Moment, Object, Said, Storage, Task};
use crate::{
    call::{BudgetAnswer, BudgetCall, Caller, Destination, LeaseAsk, Usage},
    coordinator::{
        budget::Budget,
        ledger::LedgerResult,
        publication::{Leased, PutOutcome},
    },
    error::ApiError,
    log::LogLevel,
    time::{HOUR_MS, Millis},
};

/// Values that a space leases at once while it puts parts; a head is leased alone.
const LEASED_PARTS: u32 = 8;
/// How many messages over sockets are billed as one request (durable-objects/platform/pricing).
const MESSAGES_OF_REQUEST: u32 = 20;

/// What an instance has leased and not put yet. It is lost with the instance, and then costs budget, nothing else.
#[derive(Debug, Default)]
pub(super) struct Lease {
    day: u64,
    writes: u32,
    /// Alarms since the budget was last told, …
    alarms: u32,
    /// … and messages.
    messages: u32,
    /// Until then the budget is not asked, because it was not reached.
    unreached_until: Millis,
}

impl<S: Storage> Object<S> {
    /// Answers a call to the budget.
    pub(super) fn ask_budget(
        &mut self,
        task: &Task,
        call: &BudgetCall,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        self.take_rows();
        let answered = self.budget_answer(task, call, at);
        let rows = self.take_rows();
        let answer = answered.map_err(|error| self.storage_failed(&error, at.now))?;
        Ok(Effect::Answer(Answer::said(Said::Text(answer.to_text()), rows)))
    }

    fn budget_answer(&mut self, task: &Task, call: &BudgetCall, at: Moment) -> LedgerResult<BudgetAnswer> {
        let budget = match &mut self.budget {
            Some(budget) => budget,
            none => none.insert(Budget::open(self.storage.open()?, self.config.budget)?),
        };
        let (answer, news) = budget.answer(task.user(), call, at.now)?;
        self.log.extend(news);
        Ok(answer)
    }

    pub(super) fn message_came_to_lease(&mut self) {
        self.lease.messages = self.lease.messages.saturating_add(1);
    }

    pub(super) fn alarm_came(&mut self) {
        self.lease.alarms = self.lease.alarms.saturating_add(1);
    }

    /// Takes one of the values that are leased for a put. None are where the deployment has a budget and this instance no lease
    /// of today: then it has to ask for one.
    pub(super) fn takes_leased(&mut self, now: Millis) -> bool {
        if self.config.budget.kv_writes.is_none() {
            return true;
        }
        let is_leased = self.lease.writes > 0 && self.lease.day == now.day();
        self.lease.writes -= u32::from(is_leased && !planted!(LeaseNeverEnds));
        is_leased
    }

    /// Whether there is somebody to ask.
    pub(super) fn may_ask_for_lease(&self, now: Millis) -> bool {
        now >= self.lease.unreached_until
    }

    pub(super) fn ask_for_lease(&mut self, is_part: bool, now: Millis) -> Effect {
        let requests = self.lease.alarms + self.lease.messages / MESSAGES_OF_REQUEST;
        (self.lease.alarms, self.lease.messages) = (0, self.lease.messages % MESSAGES_OF_REQUEST);
        let core = self.space();
        let (publisher, epoch) = (core.publisher(), core.position().epoch);
        let ask = LeaseAsk {
            writes: if is_part { LEASED_PARTS } else { 1 },
            is_first: publisher.row().leased.is_none_or(|leased| leased.day != now.day()),
            is_urgent: publisher.is_urgent(&epoch),
            requests,
        };
        let user = core.scope().space().into();
        let (request, origin) = (String::new(), String::new());
        let caller = Caller {
            user,
            destination: Destination::Budget,
            request,
            origin,
            sub: String::new(),
            iss: String::new(),
            spent: Usage::default(),
        };
        Effect::AskBudget(Box::new(caller), BudgetCall::Lease(ask))
    }

    /// What the budget has answered. An error is how the put ends without having been sent.
    pub(super) fn lease_came(&mut self, answer: Option<BudgetAnswer>, now: Millis) -> Result<(), PutOutcome> {
        let kv_writes = self.config.budget.kv_writes;
        let answer = answer.unwrap_or_else(|| self.lease_unanswered(now));
        if answer.day != now.day() {
            // Two clocks do not agree which day it is: they will.
            return Err(PutOutcome::Refused);
        }
        let core = self.space();
        let is_urgent = core.publisher().is_urgent(&core.position().epoch);
        // A turn of many parts leases several times, and waits for all of them.
        let waits = core.publisher().row().leased.filter(|leased| leased.day == answer.day);
        let from = waits.map_or(now, |leased| leased.wait_until.max(now));
        let wait_until = if answer.writes > 0 { from } else { now }.plus(answer.wait_ms);
        core.leased(Leased { day: answer.day, of: kv_writes, wait_until });
        (self.lease.day, self.lease.writes) = (answer.day, answer.writes);
        if self.takes_leased(now) {
            return Ok(());
        }
        Err(if is_urgent { PutOutcome::Exhausted } else { PutOutcome::Unleased })
    }

    /// The space goes on without the budget, but slowly.
    fn lease_unanswered(&mut self, now: Millis) -> BudgetAnswer {
        self.lease.unreached_until = now.plus(HOUR_MS);
        if self.common.unbudgeted.borrow_mut().is_due(now) {
            self.log.push((
                LogLevel::Error,
                "the budget was not reached",
                json!({ "publishes": "once an hour" }),
            ));
        }
        BudgetAnswer { day: now.day(), writes: 1, wait_ms: HOUR_MS, ..BudgetAnswer::default() }
    }
}
