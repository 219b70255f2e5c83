//! Turns of the alarm, one half of an effect at a time.

use super::{Host, tasks::head_in};
use crate::{
    call::Usage,
    coordinator::{
        object::{Effect, Event, Expires, Task},
        publication::PutOutcome,
    },
    sim::kv::{Entry, Kv},
    time::Millis,
};

/// A turn under way, and what has happened since its last step.
#[derive(Debug)]
pub(super) struct Turn {
    task: Task,
    happened: Event,
}

/// How often the platform repeats an alarm whose handler failed (durable-objects/api/alarms).
const RETRIES_MAX: u32 = 6;
/// After how long it does so the first time, in ms; doubled each time.
const RETRY_MS: u64 = 2_000;

impl Host {
    /// Whether the platform would fire the alarm.
    #[must_use]
    pub fn alarm_is_due(&self, now: Millis) -> bool {
        self.turn.is_none() && self.alarm.is_some_and(|alarm| alarm <= now)
    }

    /// Whether a turn is under way.
    #[must_use]
    pub fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The alarm fires, due or not.
    pub fn begin_turn(&mut self, now: Millis) {
        // The platform forgets an alarm when it fires.
        self.alarm = None;
        self.bill(&Usage { object: 1, ..Usage::default() });
        let (mut task, mut event) = (Task::alarm(), Event::Begun);
        loop {
            let Ok(effect) = self.step_task(&mut task, event, &mut |_| {}, now) else { return };
            if matches!(effect, Effect::Fail) {
                return self.handler_failed(now);
            }
            let is_begun = matches!(effect, Effect::SetAlarm(_));
            event = self.at_once(effect);
            if is_begun {
                break;
            }
        }
        self.turn = Some(Turn { task, happened: event });
    }

    /// The platform repeats a handler that has failed, unless an alarm is set.
    fn handler_failed(&mut self, now: Millis) {
        self.failed_handlers += 1;
        if self.alarm.is_none() && self.failed_handlers <= RETRIES_MAX {
            self.alarm = Some(now.plus(RETRY_MS << self.failed_handlers));
        }
    }

    /// Reports what the turn waits for and sends its next effect: everything between two awaits of the shell. Returns
    /// whether the turn goes on.
    pub fn step(&mut self, kv: &mut Kv, now: Millis) -> bool {
        let Some(Turn { mut task, happened }) = self.turn.take() else { return false };
        let mut event = happened;
        let effect = loop {
            let Ok(effect) = self.step_task(&mut task, event, &mut |_| {}, now) else { return false };
            match effect {
                Effect::SetAlarm(_) => event = self.at_once(effect),
                effect => break effect,
            }
        };
        let happened = match effect {
            Effect::Rest => {
                self.failed_handlers = 0;
                return false;
            }
            Effect::Fail => {
                self.handler_failed(now);
                return false;
            }
            Effect::ReadHead { key } => {
                self.bill(&Usage { kv: 1, ..Usage::default() });
                Event::Head(head_in(kv, &key, now))
            }
            Effect::Put { key, value, metadata, expires } => {
                self.bill(&Usage { kv_written: 1, ..Usage::default() });
                let expires = match expires {
                    Expires::In(seconds) => now.plus(seconds * 1000),
                    Expires::At(second) => Millis(second * 1000),
                };
                let entry = Entry { value, metadata: metadata.unwrap_or_default(), expires };
                Event::Put(in_words(kv.put(&key, entry, now)))
            }
            Effect::Delete { key } => {
                self.bill(&Usage { kv_deleted: 1, ..Usage::default() });
                Event::Put(in_words(kv.delete(&key, now)))
            }
            Effect::AskBudget(caller, call) => {
                self.bill(&Usage { object: 1, ..Usage::default() });
                Event::Budget(self.ask_budget(&caller, call, now))
            }
            other => panic!("BUG: no turn asks for {other:?}"),
        };
        self.turn = Some(Turn { task, happened });
        true
    }
}

/// As KV says it.
fn in_words(outcome: PutOutcome) -> Result<(), String> {
    match outcome {
        PutOutcome::Done => Ok(()),
        PutOutcome::Refused => Err("KV PUT failed: 429 Too Many Requests".to_owned()),
        PutOutcome::Exhausted => Err("KV put() limit exceeded for the day.".to_owned()),
        PutOutcome::Unknown => Err("timeout".to_owned()),
        PutOutcome::Unleased => panic!("BUG: KV knows of no budget"),
    }
}
