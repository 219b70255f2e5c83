//! A turn of the alarm, in which the publisher works.

use serde_json::json;
use strum::AsRefStr;

use super::{Effect, Event, Expires, Moment, Object, State, Storage, Task};
use crate::{
    coordinator::{
        ledger::Rows,
        places::Look,
        publication::{self, PutOutcome},
    },
    error::ApiError,
    log::LogLevel,
    snapshot::head::HeadMetadata,
    time::Millis,
    version::Epoch,
};

/// A turn under way.
#[derive(Debug)]
pub(super) struct Turn {
    waits_for: WaitsFor,
    /// Bytes that were put.
    bytes: usize,
    /// Rows that it has cost.
    rows: Rows,
    /// When the watchdog was set.
    watched_from: Millis,
}

#[derive(Debug, AsRefStr)]
enum WaitsFor {
    /// The watchdog to be set: at the beginning, and before a head.
    Watchdog(Option<Head>),
    /// Its place among the turns of all objects of the isolate.
    Place,
    HeadRead,
    /// A lease for what is about to be put, of the state of an epoch.
    Lease(Box<(Put, Epoch)>),
    ObjectPut,
    ObjectDeleted,
    /// With its metadata.
    HeadPut(String),
    /// The alarm of the next turn to be set.
    Sleep,
}

/// What is about to be put.
#[derive(Debug)]
enum Put {
    Part { key: String, value: String, ttl_s: u64 },
    Head(Head),
}

/// A head that is.
#[derive(Debug)]
struct Head {
    key: String,
    value: String,
    metadata: String,
    expiration_s: u64,
}

impl<S: Storage> Object<S> {
    pub(super) fn begin_turn(&mut self, task: &mut Task, at: Moment) -> Effect {
        self.alarm_came();
        let watchdog = self.space().begin_turn(at.now);
        let waits_for = WaitsFor::Watchdog(None);
        task.state =
            State::Turn(Box::new(Turn { waits_for, bytes: 0, rows: Rows::default(), watched_from: at.now }));
        Effect::SetAlarm(Some(watchdog).filter(|_| !planted!(WatchdogNotSet)))
    }

    pub(super) fn turn_on(
        &mut self,
        task: &mut Task,
        mut turn: Turn,
        event: Event,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let Moment { now, random } = at;
        // Those of other tasks, which ran in between.
        self.take_rows();
        let core = self.core.as_mut().expect("BUG: the space was not opened");
        match (&turn.waits_for, event) {
            (WaitsFor::Sleep, Event::AlarmSet(true)) => return Ok(Effect::Rest),
            (WaitsFor::Watchdog(_) | WaitsFor::Sleep, Event::AlarmSet(false)) => {
                return Err(ApiError::Internal);
            }
            (_, Event::UsedUp) => return Err(ApiError::UsedUp { retry_after_s: None }),
            (WaitsFor::Watchdog(None), Event::AlarmSet(true)) | (WaitsFor::Place, Event::Resumed) => {
                if let Look::Again(in_ms) = self.look_for_place(task, now) {
                    task.state = State::Turn(Box::new(Turn { waits_for: WaitsFor::Place, ..turn }));
                    return Ok(Effect::Pause(in_ms));
                }
            }
            (WaitsFor::Watchdog(Some(_)), Event::AlarmSet(true)) => {
                let WaitsFor::Watchdog(Some(head)) = turn.waits_for else {
                    unreachable!("BUG: it has just matched")
                };
                return Ok(put_head(task, Turn { waits_for: WaitsFor::HeadRead, ..turn }, head));
            }
            // A read that fails is tried again with the next turn: without it nothing may be overwritten.
            (WaitsFor::HeadRead, Event::Head(head)) => {
                core.head_was_read(head.map_err(|()| ApiError::Upstream)?.as_ref(), now, random);
            }
            (WaitsFor::Lease(_), Event::Budget(answer)) => {
                let WaitsFor::Lease(waits) = turn.waits_for else { unreachable!("BUG: it has just matched") };
                let (put, epoch) = *waits;
                let turn = Turn { waits_for: WaitsFor::HeadRead, ..turn };
                // What was deleted meanwhile is not put any more.
                if core.is_gone() {
                    return Ok(self.next_of_turn(task, turn, now));
                }
                let is_over = core.position().epoch != epoch;
                return Ok(match self.lease_came(answer, now) {
                    // Nor is what stood there before the space was emptied.
                    Ok(()) if is_over => self.was_not_put(task, turn, &put, PutOutcome::Refused, now),
                    Ok(()) => self.put(task, turn, put, now),
                    Err(outcome) => self.was_not_put(task, turn, &put, outcome, now),
                });
            }
            (WaitsFor::ObjectPut, Event::Put(put)) => {
                let outcome = self.outcome(put);
                self.space().object_was_put(outcome, now);
            }
            (WaitsFor::ObjectDeleted, Event::Put(deleted)) => {
                let outcome = self.outcome(deleted);
                self.space().object_was_deleted(outcome, now);
            }
            (WaitsFor::HeadPut(metadata), Event::Put(put)) => {
                let outcome = self.outcome(put);
                self.space().head_was_put(outcome, now);
                turn.rows.add(self.take_rows());
                self.log_publication(metadata, outcome, &turn);
            }
            (waits_for, event) => panic!("BUG: {} does not follow {}", event.as_ref(), waits_for.as_ref()),
        }
        Ok(self.next_of_turn(task, turn, now))
    }

    /// One that was lost, because it has not looked for so long, stands in line again.
    fn look_for_place(&mut self, task: &mut Task, now: Millis) -> Look {
        let mut places = self.common.places.borrow_mut();
        let look = task.place.map_or(Look::InVain, |place| places.look(place, now));
        if look != Look::InVain {
            return look;
        }
        let place = places.line_up_turn(now);
        task.place = Some(place);
        places.look(place, now)
    }

    fn next_of_turn(&mut self, task: &mut Task, mut turn: Turn, now: Millis) -> Effect {
        let next = self.space().next_effect(now);
        turn.rows.add(self.take_rows());
        let (waits_for, effect) = match next {
            publication::Effect::ReadHead { key } => (WaitsFor::HeadRead, Effect::ReadHead { key }),
            publication::Effect::PutObject { key, body: value, ttl_s } => {
                turn.bytes += value.len();
                return self.lease_and_put(task, turn, Put::Part { key, value, ttl_s }, now);
            }
            publication::Effect::DeleteObject { key } => (WaitsFor::ObjectDeleted, Effect::Delete { key }),
            publication::Effect::PutHead { key, value, metadata, expiration_s } => {
                let head = Head { key, value, metadata, expiration_s };
                turn.bytes += head.value.len();
                return self.lease_and_put(task, turn, Put::Head(head), now);
            }
            publication::Effect::Sleep(alarm) => (WaitsFor::Sleep, Effect::SetAlarm(alarm)),
        };
        task.state = State::Turn(Box::new(Turn { waits_for, ..turn }));
        effect
    }

    /// Puts it, if the day's budget has a lease for it.
    fn lease_and_put(&mut self, task: &mut Task, turn: Turn, put: Put, now: Millis) -> Effect {
        if self.takes_leased(now) {
            return self.put(task, turn, put, now);
        }
        if !self.may_ask_for_lease(now) {
            return self.was_not_put(task, turn, &put, PutOutcome::Unleased, now);
        }
        let asked = self.ask_for_lease(matches!(put, Put::Part { .. }), now);
        let waits = Box::new((put, self.space().position().epoch));
        task.state = State::Turn(Box::new(Turn { waits_for: WaitsFor::Lease(waits), ..turn }));
        asked
    }

    fn put(&mut self, task: &mut Task, mut turn: Turn, put: Put, now: Millis) -> Effect {
        let (waits_for, effect) = match put {
            Put::Part { key, value, ttl_s } => {
                let expires = Expires::In(ttl_s);
                (WaitsFor::ObjectPut, Effect::Put { key, value, metadata: None, expires })
            }
            Put::Head(head) => {
                // After a long turn the watchdog would fire before a head that is put now must have landed.
                if now.since(turn.watched_from) <= self.space().publisher().landing_ms() / 4 {
                    return put_head(task, turn, head);
                }
                turn.watched_from = now;
                let watchdog = self.space().watchdog(now);
                (WaitsFor::Watchdog(Some(head)), Effect::SetAlarm(Some(watchdog)))
            }
        };
        task.state = State::Turn(Box::new(Turn { waits_for, ..turn }));
        effect
    }

    fn was_not_put(
        &mut self,
        task: &mut Task,
        turn: Turn,
        put: &Put,
        outcome: PutOutcome,
        now: Millis,
    ) -> Effect {
        match put {
            Put::Part { .. } => self.space().object_was_put(outcome, now),
            Put::Head(_) => self.space().head_was_put(outcome, now),
        }
        self.next_of_turn(task, turn, now)
    }

    /// Which alarm is set is not known, if any is: the platform's own retries are what is left.
    pub(super) fn alarm_failed(&mut self, error: &ApiError) -> Effect {
        // The log hears of a day that is used up where it is met.
        if !matches!(error, ApiError::UsedUp { .. }) {
            self.log.push((LogLevel::Error, "publication failed", json!({ "code": error.code() })));
        }
        if let Some(core) = self.core.as_mut().filter(|_| !planted!(FailedTurnGoesOn)) {
            core.turn_broke_off();
        }
        Effect::Fail
    }

    fn outcome(&mut self, put: Result<(), String>) -> PutOutcome {
        let Err(words) = put else { return PutOutcome::Done };
        let outcome = PutOutcome::of_words(&words);
        self.log.push((
            LogLevel::Error,
            "put failed",
            json!({ "outcome": format!("{outcome:?}"), "error": words }),
        ));
        outcome
    }

    fn log_publication(&mut self, metadata: &str, outcome: PutOutcome, turn: &Turn) {
        let Some(metadata) = HeadMetadata::parse(metadata) else { return };
        let (outcome, last_group) = (format!("{outcome:?}"), self.last_slice.len());
        let Turn { bytes, rows, .. } = turn;
        let fields = json!({
            "version": metadata.v, "bytes": bytes, "outcome": outcome, "lastGroup": last_group,
            "rowsRead": rows.read, "rowsWritten": rows.written,
        });
        self.log.push((LogLevel::Info, "published", fields));
    }
}

fn put_head(task: &mut Task, turn: Turn, head: Head) -> Effect {
    let Head { key, value, metadata, expiration_s } = head;
    let waits_for = WaitsFor::HeadPut(metadata.clone());
    task.state = State::Turn(Box::new(Turn { waits_for, ..turn }));
    Effect::Put { key, value, metadata: Some(metadata), expires: Expires::At(expiration_s) }
}
