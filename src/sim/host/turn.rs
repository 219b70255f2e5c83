//! Turns of the alarm: the handler of the shell, one half of an effect at a time.

use super::{AlarmFault, Died, Host, RETRIES_MAX, RETRY_MS, Waiting};
use crate::{
    coordinator::publication::Effect,
    protocol::error::ApiError,
    sim::kv::{Entry, Kv},
    snapshot::head::HeadMetadata,
    time::Millis,
};

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
        let watchdog = Some(self.core(now).begin_turn(now)).filter(|_| !planted!(WatchdogNotSet));
        match self.set_alarm(watchdog) {
            Ok(()) => self.turn = Some(Waiting::Watchdog),
            Err(_) => self.handler_failed(now),
        }
    }

    /// As the shell's alarm handler does when it cannot go on: the platform repeats it, unless an alarm is set.
    fn handler_failed(&mut self, now: Millis) {
        self.core(now).turn_broke_off();
        self.turn = None;
        self.failed_handlers += 1;
        if self.alarm.is_none() && self.failed_handlers <= RETRIES_MAX {
            self.alarm = Some(now.plus(RETRY_MS << self.failed_handlers));
        }
    }

    /// Sets the alarm, or deletes it.
    pub(super) fn set_alarm(&mut self, at: Option<Millis>) -> Result<(), ApiError> {
        self.alarms_set += 1;
        let fault = self.alarm_faults.pop_front();
        if fault != Some(AlarmFault::Refused) {
            self.alarm = at;
        }
        fault.map_or(Ok(()), |_| Err(ApiError::Internal))
    }

    /// Reports what the turn waits for and sends its next effect: everything between two awaits of the shell. Returns
    /// whether the turn goes on.
    pub fn step(&mut self, kv: &mut Kv, now: Millis) -> bool {
        let Some(waiting) = self.turn.take() else { return false };
        let reported = self.section(now, |core, random| match waiting {
            Waiting::Watchdog => {}
            Waiting::Head(metadata) => core.head_was_read(metadata.as_ref(), now, random),
            Waiting::Object(outcome) => core.object_was_put(outcome, now),
            Waiting::HeadPut(outcome) => core.head_was_put(outcome, now),
        });
        if reported == Err(Died) {
            return false;
        }
        let effect = self.core(now).next_effect(now);
        self.send(effect, kv, now);
        self.turn.is_some()
    }

    fn send(&mut self, effect: Effect, kv: &mut Kv, now: Millis) {
        self.turn = match effect {
            Effect::ReadHead { key } => {
                // The object sees KV from a place of its own. Without the answer nothing may be overwritten.
                let here = kv.locations() - 1;
                let Ok(entry) = kv.read(here, &key, 30_000, now) else { return self.handler_failed(now) };
                Some(Waiting::Head(entry.and_then(|entry| HeadMetadata::parse(&entry.metadata))))
            }
            Effect::PutObject { key, body, ttl_s } => {
                let entry = Entry { value: body, metadata: String::new(), expires: now.plus(ttl_s * 1000) };
                Some(Waiting::Object(kv.put(&key, entry, now)))
            }
            Effect::PutHead { key, value, metadata, expiration_s } => {
                if self.renew_watchdog(now).is_err() {
                    return self.handler_failed(now);
                }
                let entry = Entry { value, metadata, expires: Millis(expiration_s * 1000) };
                Some(Waiting::HeadPut(kv.put(&key, entry, now)))
            }
            Effect::Sleep(alarm) => {
                if self.set_alarm(alarm).is_err() {
                    return self.handler_failed(now);
                }
                self.failed_handlers = 0;
                None
            }
        };
    }

    /// After a long turn the watchdog would fire before a head that is put now must have landed.
    fn renew_watchdog(&mut self, now: Millis) -> Result<(), ApiError> {
        let settle_ms = self.core(now).publisher().settle_ms();
        let left = self.alarm.map_or(0, |alarm| alarm.since(now));
        if left >= settle_ms - settle_ms / 4 {
            return Ok(());
        }
        let watchdog = self.core(now).watchdog(now);
        self.set_alarm(Some(watchdog))
    }
}
