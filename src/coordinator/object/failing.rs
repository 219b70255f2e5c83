//! What is said when the platform does not do what it was asked for.

use serde_json::json;

use super::{Answer, Effect, Event, Object, Storage};
use crate::{coordinator::ledger::LedgerError, error::ApiError, log::LogLevel, time::Millis};

impl<S: Storage> Object<S> {
    /// Storage failed where no space is open.
    pub(super) fn storage_failed(&mut self, error: &LedgerError, now: Millis) -> ApiError {
        self.log_failure(error, now);
        error.told()
    }

    /// On a day that is used up every call and every alarm of every space fails, and the platform repeats the alarms: one line of
    /// the isolate an hour says so.
    pub(super) fn log_failure(&mut self, failure: &LedgerError, now: Millis) {
        let (event, fields) = match failure {
            LedgerError::UsedUp if self.common.used_up.borrow_mut().is_due(now) => {
                ("used up for today", json!({ "where": "storage" }))
            }
            LedgerError::Failed(words) => ("storage failed", json!({ "error": words })),
            LedgerError::UsedUp | LedgerError::Full => return,
        };
        self.log.push((LogLevel::Error, event, fields));
    }

    /// Whether the alarm was set. An alarm is a row, so a day on which the rows are used up has none any more.
    pub(super) fn alarm_was_set(&mut self, set: &Event) -> Result<(), ApiError> {
        if let Event::AlarmSet(true) = set {
            return Ok(());
        }
        // Nobody knows which alarm is set now: the next event sets one.
        self.space().turn_broke_off();
        Err(match set {
            Event::UsedUp => ApiError::UsedUp { retry_after_s: None },
            _ => ApiError::Internal,
        })
    }
}

/// Says how long it takes until the platform goes on.
pub(super) fn tell_until_when(effect: &mut Effect, now: Millis) {
    if let Effect::Answer(Answer { result: Err(error @ ApiError::UsedUp { .. }), .. }) = effect {
        *error = ApiError::used_up(now);
    }
}
