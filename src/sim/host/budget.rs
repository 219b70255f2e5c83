//! The deployment's budget: an object that is one, and objects that ask it.

use std::{cell::RefCell, rc::Rc};

use super::{Host, tasks::Means};
use crate::{
    call::{BudgetAnswer, BudgetCall, Call, Caller},
    coordinator::budget::BudgetMax,
    time::Millis,
};

impl Host {
    /// Rows that were ever written in it, and alarms set, each of which is one more.
    pub fn rows_written(&mut self) -> u64 {
        self.alarms_set + self.rows().rows_written
    }

    /// From now on a day has so much; `budget` is the object that keeps it. The instance begins anew.
    pub fn set_budget(&mut self, max: BudgetMax, budget: Option<Rc<RefCell<Self>>>) {
        self.config.budget = max;
        self.budget = budget;
        self.kill();
    }

    /// What the budget answers, if it is reached.
    pub(super) fn ask_budget(
        &mut self,
        caller: &Caller,
        call: BudgetCall,
        now: Millis,
    ) -> Option<BudgetAnswer> {
        let budget = self.budget.as_ref();
        let answer = budget.and_then(|budget| budget.borrow_mut().answer_as_budget(caller, call, now));
        self.unbudgeted += u64::from(answer.is_none());
        answer
    }

    /// The object as the deployment's budget. None if it is not reached, or its answer is lost.
    pub fn answer_as_budget(
        &mut self,
        caller: &Caller,
        call: BudgetCall,
        now: Millis,
    ) -> Option<BudgetAnswer> {
        self.requests += 1;
        if self.is_unreachable {
            return None;
        }
        let called = self.call_as(&Call::Budget(call), caller, Means::announced(0), now);
        BudgetAnswer::parse(&called.told().ok()?.into_text()?)
    }
}
