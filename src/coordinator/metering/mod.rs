//! What a space has used, by days: the ledger of its bill, at no row of its own.
//!
//! What is used is counted in memory ([`Meter`]) and goes into a row that a transaction writes anyway: the row of a client that has
//! pushed, or the publication row. Each client's row holds what was written down with its pushes since the last day whose sums
//! stand in the publication row; the first publication of a day takes those of the days before over. So a space's ledger is the
//! publication row, and the clients' rows for the days after, and what memory has not written down yet.
//!
//! Everything here counts at most what was used: what is lost is lost with memory ([decision 34](../../../docs/decisions/0034-metering.md)).

mod daily;

pub use daily::{DailyUsage, Day};

use super::{
    Coordinator,
    ledger::{Ledger, LedgerResult},
};
use crate::{call::Usage, error::ApiError, time::Millis};

/// How many days a space's ledger goes back.
pub const DAYS_KEPT: usize = 35;
/// How many days a client's row holds: more than one only while nothing is published.
const CLIENT_DAYS_KEPT: usize = 3;
/// After how many billed operations that no row has a row is written for them alone: it is a thousandth of them.
const WORTH_A_ROW: u64 = 1_000;

/// What an instance has counted.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// What no row has yet.
    unwritten: DailyUsage,
    /// What a row has that was not counted yet: it is written before storage says what it takes.
    ahead: Usage,
    /// Calls, alarms and the like that are under way.
    running: usize,
    /// Until when the time is counted for which there were some.
    seen: Millis,
}

/// What is about to be written down.
#[derive(Debug, Clone, Default)]
pub(super) struct Due {
    usage: DailyUsage,
    /// The part of it that will be counted later.
    ahead: Usage,
}

impl Due {
    /// What the row of a client says with it.
    pub(super) fn with(&self, before: &DailyUsage, folded: Day) -> DailyUsage {
        let mut usage = before.after(folded);
        usage.add(&self.usage);
        usage.keep(CLIENT_DAYS_KEPT);
        usage
    }
}

impl Meter {
    /// Counts what was used. Where the clock has gone back, it counts for the first day that clients' rows still hold.
    pub(super) fn count(&mut self, used: &Usage, folded: Day, now: Millis) {
        let mut rest = *used;
        rest.take_off(&self.ahead);
        self.ahead.take_off(used);
        self.unwritten.count(Day::of(now).max(folded.next()), &rest);
        self.unwritten.keep(CLIENT_DAYS_KEPT);
    }

    /// Time has passed, which counts if there was something to do.
    pub(super) fn pass(&mut self, folded: Day, now: Millis) {
        if self.running > 0 {
            let used = Usage { active_ms: now.since(self.seen), ..Usage::default() };
            self.count(&used, folded, now);
        }
        self.seen = now;
    }

    pub(super) fn begin(&mut self) {
        self.running += 1;
    }

    pub(super) fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Goes on from what was counted before the space was open.
    fn take_over(&mut self, before: Self) {
        self.unwritten.add(&before.unwritten);
        (self.running, self.seen) = (before.running, before.seen);
    }

    /// What a row may say that is about to be written: all that no row has, with what storage has counted since the last look and
    /// what else will be counted, with this row, and with the alarm if one will be set behind it.
    pub(super) fn due(&self, counted: Usage, arms: bool, folded: Day, now: Millis) -> Due {
        let mut ahead = counted;
        ahead.add(&Usage { rows_written: 1, alarms_set: arms.into(), ..Usage::default() });
        ahead.take_off(&self.ahead);
        let mut usage = self.unwritten.clone();
        usage.count(Day::of(now).max(folded.next()), &ahead);
        Due { usage, ahead }
    }

    /// It was written.
    pub(super) fn was_written(&mut self, due: &Due) {
        if planted!(WrittenDownTwice) {
            return;
        }
        self.unwritten.take_off(&due.usage);
        self.ahead.add(&due.ahead);
    }
}

impl<L: Ledger> Coordinator<L> {
    /// Counts what was used.
    pub(super) fn count_used(&mut self, used: &Usage, now: Millis) {
        self.meter.count(used, self.publisher.row().folded, now);
    }

    /// Time has passed, by the clock of whoever drives the object.
    pub(super) fn time_passes(&mut self, now: Millis) {
        self.meter.pass(self.publisher.row().folded, now);
    }

    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// Counts what was used before the space was open, too.
    pub(super) fn take_over_meter(&mut self, before: Meter) {
        self.meter.take_over(before);
    }

    /// Puts what no row has into the publication row, which whoever calls writes; the first time of a day also what clients' rows
    /// hold of the days before.
    pub(super) fn write_down(&mut self, now: Millis) -> LedgerResult<()> {
        let row = self.publisher.row();
        let (mut used, mut folded) = (row.used.clone(), row.folded);
        let yesterday = Day::of(now).before();
        if yesterday > folded {
            let of_clients = self.ledger.usage_of_clients()?.after(folded);
            if !planted!(ClientsFoldedAgain) {
                folded = yesterday;
            }
            used.add(&of_clients.up_to(yesterday));
        }
        let due = self.meter.due(self.ledger.rows().used(), false, folded, now);
        used.add(&due.usage);
        used.keep(DAYS_KEPT);
        self.meter.was_written(&due);
        self.publisher.note_used(used, folded);
        Ok(())
    }

    /// Writes a row for what no row has, if that has become much: where nothing else is written for long.
    pub(super) fn write_down_much(&mut self, now: Millis) {
        if self.is_gone() || self.meter.unwritten.total().billed() < WORTH_A_ROW {
            return;
        }
        let written = self.write_down(now).and_then(|()| self.publisher.row().write(&mut self.ledger));
        if let Err(error) = written {
            self.storage_failed(error);
        }
    }

    /// What was used, by days: what rows and memory say together.
    ///
    /// # Errors
    /// When storage fails.
    pub fn used(&self) -> LedgerResult<DailyUsage> {
        let row = self.publisher.row();
        let mut used = row.used.clone();
        used.add(&self.ledger.usage_of_clients()?.after(row.folded));
        used.add(&self.meter.unwritten);
        used.keep(DAYS_KEPT);
        Ok(used)
    }

    /// The answer to whoever asks for that, the newest day first.
    pub(super) fn usage(&mut self) -> Result<String, ApiError> {
        let used = self.used().map_err(|error| self.storage_failed(error))?;
        let day = |(day, used): (Day, &Usage)| {
            let meters = used.to_json(true);
            format!("{{\"day\":\"{}\",{}", day.to_date(), &meters[1..])
        };
        let mut days: Vec<_> = used.days().map(day).collect();
        days.reverse();
        Ok(format!("{{\"days\":[{}]}}", days.join(",")))
    }
}
