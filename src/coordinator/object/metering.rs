//! What tasks use, counted where it happens: rows by storage, everything else by the effects that they ask for.

use serde_json::Value;

use super::{Effect, Event, Moment, Object, Purpose, Storage, Task};
use crate::{
    call::{Caller, Usage},
    coordinator::{
        ledger::Rows,
        metering::{Day, Meter},
    },
    log::LogLevel,
    time::Millis,
};

/// What an object counts by itself.
#[derive(Debug, Default)]
pub(super) struct Metering {
    /// What was used before the space was open, or by a directory, which keeps no ledger.
    pub(super) before: Meter,
    /// By the clock of whoever drives it, at the last step.
    now: Millis,
    /// Rows of the step.
    step_rows: Rows,
}

impl<S: Storage> Object<S> {
    /// Rows that were read and written since the last look.
    pub(super) fn take_rows(&mut self) -> Rows {
        let rows = self.storage.take_rows();
        self.count(&rows.used());
        self.metering.step_rows.add(rows);
        rows
    }

    /// Counts what was used, for the space's ledger.
    fn count(&mut self, used: &Usage) {
        match &mut self.core {
            Some(core) => core.count_used(used, self.metering.now),
            None => self.metering.before.count(used, Day::default(), self.metering.now),
        }
    }

    fn pass(&mut self, now: Millis) {
        match &mut self.core {
            Some(core) => core.time_passes(now),
            None => self.metering.before.pass(Day::default(), now),
        }
        self.metering.now = now;
    }

    fn meter(&mut self) -> &mut Meter {
        match &mut self.core {
            Some(core) => core.meter(),
            None => &mut self.metering.before,
        }
    }

    /// A message has come over a socket. The platform bills it, whatever becomes of it.
    pub fn message_came(&mut self, now: Millis) {
        self.pass(now);
        self.count(&Usage { messages: 1, ..Usage::default() });
        self.message_came_to_lease();
    }

    /// A step begins. A task that begins is a request of the platform's, unless a message has brought it about, or an answer that
    /// waits to be told.
    pub(super) fn begin_metering(&mut self, task: &mut Task, event: &Event, at: Moment) {
        self.pass(at.now);
        if !matches!(event, Event::Begun) {
            return;
        }
        task.began_at = at.now;
        task.is_running = true;
        self.meter().begin();
        let object = match &task.purpose {
            Purpose::News => 0,
            Purpose::Push { .. } | Purpose::Call { .. } if task.is_message => 0,
            Purpose::Alarm | Purpose::Push { .. } | Purpose::Call { .. } => 1,
        };
        task.used = Usage { object, ..Usage::default() };
        let spent = task.caller().map_or_else(Usage::default, |Caller { spent, .. }| *spent);
        self.count(&Usage { object, ..spent });
    }

    /// A step is over: its rows, and what it asks for, are used by its task.
    pub(super) fn end_metering(&mut self, task: &mut Task, effect: &mut Effect) {
        self.take_rows();
        let rows = std::mem::take(&mut self.metering.step_rows);
        let asked = used_by(effect);
        self.count(&asked);
        task.used.add(&asked);
        match effect {
            Effect::Answer(answer) => {
                task.used.active_ms = self.metering.now.since(task.began_at);
                answer.used.add(&task.used);
            }
            _ if matches!(task.purpose, Purpose::Alarm) => {
                task.used.add(&rows.used());
                self.log_alarm(task, effect);
            }
            _ => {}
        }
    }

    /// One line for each alarm.
    fn log_alarm(&mut self, task: &Task, effect: &Effect) {
        let outcome = match effect {
            Effect::Rest => "done",
            Effect::Fail => "failed",
            _ => return,
        };
        let mut fields = task.used.to_log();
        fields.insert("ms".to_owned(), self.metering.now.since(task.began_at).into());
        fields.insert("outcome".to_owned(), outcome.into());
        self.log.push((LogLevel::Debug, "alarm", Value::Object(fields)));
    }

    /// It has ended, or was given up.
    pub(super) fn task_ends(&mut self, task: &mut Task) {
        if std::mem::take(&mut task.is_running) {
            self.meter().end();
        }
    }
}

/// What carrying out an effect uses. Setting no alarm is not billed.
fn used_by(effect: &Effect) -> Usage {
    let nothing = Usage::default();
    match effect {
        Effect::SetAlarm(Some(_)) => Usage { alarms_set: 1, ..nothing },
        Effect::ReadHead { .. } => Usage { kv: 1, ..nothing },
        Effect::Put { .. } => Usage { kv_written: 1, ..nothing },
        Effect::Delete { .. } => Usage { kv_deleted: 1, ..nothing },
        Effect::AskBudget(..) => Usage { object: 1, ..nothing },
        Effect::ReadAlarm
        | Effect::SetAlarm(None)
        | Effect::ReadBody { .. }
        | Effect::LetOthers
        | Effect::AwaitSlice { .. }
        | Effect::Committed
        | Effect::Confirm
        | Effect::Pause(_)
        | Effect::Sign { .. }
        | Effect::Answer(_)
        | Effect::Rest
        | Effect::Fail => nothing,
    }
}
