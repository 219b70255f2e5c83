//! What is said when the platform does not do what it was asked for.

use serde_json::json;

use super::{Answer, Effect, Event, Object, Storage};
use crate::{coordinator::ledger::LedgerError, error::ApiError, log::LogLevel, time::Millis};

impl<S: Storage> Object<S> {
    /// Storage could not be opened.
    pub(super) fn storage_failed(&mut self, error: LedgerError) -> ApiError {
        let (error, failure) = error.told();
        self.log_failure(failure);
        error
    }

    pub(super) fn log_failure(&mut self, failure: Option<String>) {
        if let Some(failure) = failure {
            self.log.push((LogLevel::Error, "storage failed", json!({ "error": failure })));
        }
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

    /// Says how long it takes until the platform goes on, and says so in the log once an hour: every request of the day would be
    /// a line.
    pub(super) fn tell_used_up(&mut self, effect: &mut Effect, now: Millis) {
        if let Effect::Answer(Answer { result: Err(error @ ApiError::UsedUp { .. }), .. }) = effect {
            *error = ApiError::used_up(now);
            if self.used_up.is_due(now) {
                self.log.push((LogLevel::Error, "used up for today", json!({ "where": "storage" })));
            }
        }
    }
}
