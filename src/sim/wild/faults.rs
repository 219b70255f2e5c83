//! What fails at random: storage, the alarm, KV, and what an owner does to a space.

use super::{Kind, LOCATIONS, Wild};
use crate::{
    fronts::headwater::{answer::Format, pull::PullRequest},
    sim::{
        DAY_MS,
        host::{AlarmFault, SectionFault},
        kv::{Faults, PutFault},
        space::Space,
    },
    time::Millis,
    version::Epoch,
};

impl Wild {
    pub(super) fn fail_next(&mut self, kind: Kind, space: usize) {
        let late_ms = self.late_ms();
        let rng = &mut self.world.rng;
        let host = &mut self.world.spaces[space].host;
        match kind {
            Kind::FailSection => {
                let write = 1 + rng.below(5);
                host.section_fault = Some(
                    [SectionFault::Refused(write), SectionFault::Lost, SectionFault::Kept][rng.index(3)],
                );
            }
            Kind::FailAlarm => {
                let fault = [AlarmFault::Refused, AlarmFault::RefusedButSet][rng.index(2)];
                host.alarm_faults.push_back(fault);
            }
            _ => {
                let late = PutFault::Late(rng.below(late_ms));
                // After the next attempt, which it then overwrites.
                let too_late = PutFault::Late(late_ms - 1 - rng.below(late_ms / 3));
                let fault = [
                    PutFault::Refused,
                    PutFault::Lost,
                    PutFault::Unanswered,
                    late,
                    too_late,
                    PutFault::Exhausted,
                ];
                let fault = fault[rng.index(fault.len())];
                self.world.kv.script.push_back(fault);
            }
        }
    }

    /// By how much a put may land late: less than what the publisher waits for.
    pub(super) fn late_ms(&self) -> u64 {
        3 * self.options.publication.interval_ms
    }

    /// The present by the clock of the machine on which an epoch happens to begin: some are ahead, by moments or by most of
    /// a day. Alarms are set by the true clock: an instance that is five minutes ahead of it would take its forerunner's
    /// watchdog for one that was given up.
    pub(super) fn some_clock(&mut self) -> Millis {
        let ahead_ms = [1, 1, 50, 5_000, 2 * 3_600_000, 20 * 3_600_000][self.world.rng.index(6)];
        self.world.now.plus(self.world.rng.below(ahead_ms))
    }

    /// A position in an epoch that never was, up to a day ahead: what is further ahead is nonsense to everybody.
    pub(super) fn claim_future(&mut self, client: usize) {
        let rng = &mut self.world.rng;
        let (ahead, random) = (rng.below(DAY_MS + 3_600_000), rng.any());
        let epoch = Epoch::begin(self.world.now.plus(ahead), None, random);
        let (location, version) = (rng.index(LOCATIONS), rng.below(20));
        self.world.renew_grant(client);
        let reader = self.world.reader(client);
        let hash = &self.world.spaces[reader.space].hash;
        let body = format!("{{\"min\":\"{epoch}.{version}\"}}");
        let request = PullRequest::from_body(body.as_bytes(), hash).expect("a pull");
        let response = self.world.answer(&reader, location, (&body, &request), Format::Json, None);
        self.world.note(|| format!("a claim of {epoch}.{version} gets {:?}", response.body));
    }

    pub(super) fn change_faults(&mut self) {
        let late_ms = self.late_ms();
        let rng = &mut self.world.rng;
        self.world.kv.faults = match rng.below(3) {
            0 => Faults::default(),
            1 => Faults { lag_ms: 60_000, ..Faults::default() },
            _ => Faults {
                puts: rng.below(60),
                late_ms,
                reads: rng.below(30),
                lag_ms: rng.below(90_000),
                garbled: rng.below(20),
            },
        };
    }

    pub(super) fn lose(&mut self) {
        let (rng, now) = (&mut self.world.rng, self.world.now);
        if rng.chance(20) {
            return self.world.kv.empty();
        }
        let keys = self.world.kv.keys(now);
        if !keys.is_empty() {
            let key = &keys[rng.index(keys.len())];
            self.world.kv.evict(key, now);
        }
    }

    pub(super) fn reset_epoch(&mut self, space: usize) {
        let (clock, now) = (self.some_clock(), self.world.now);
        if self.world.spaces[space].oracle.is_gone() {
            return;
        }
        if clock == now {
            return self.world.reset_epoch(space);
        }
        // An instance elsewhere, whose clock is ahead. Alarms are set by the true one all the same.
        let Space { host, oracle, .. } = &mut self.world.spaces[space];
        let _ = host.reset_epoch(clock, now);
        oracle.learn_epoch(&host.core(now).position().epoch);
    }

    /// As the operator's guide says: storage goes back, and a new epoch begins before anybody else comes.
    pub(super) fn restore_storage(&mut self, space: usize) {
        let now = self.world.now;
        let Some((space, storage, present)) = self.storage_copy.take() else {
            // What was deleted is not brought back, so that its id stays used up.
            if self.world.spaces[space].oracle.is_gone() {
                return;
            }
            let Space { host, oracle, .. } = &mut self.world.spaces[space];
            self.storage_copy = Some((space, host.copy_of_storage(now), oracle.copy()));
            return;
        };
        let Space { host, oracle, .. } = &mut self.world.spaces[space];
        self.watches[space].went_back = true;
        host.section_fault = None;
        host.alarm_faults.clear();
        let newest = host.core(now).position();
        host.restore(storage);
        oracle.restore(present);
        host.begin_epoch_after(&newest, now);
        oracle.forget_published();
        oracle.learn_epoch(&host.core(now).position().epoch);
    }
}
