//! The answer to a push: its results, and what its client was missing. To one of another front, how what it names stands now.

use super::{
    Coordinator,
    ledger::{Ledger, LedgerResult, Lines, deleted_line},
    push::queue::{Done, Progress, Waiting},
};
use crate::{
    call::PushAnswer,
    ids::Key,
    limits,
    mutation::{MutationResult, Outcome, Wording},
    version::{Position, Version},
};

impl<L: Ledger> Coordinator<L> {
    /// The answer to a settled push: its results, and what the client was missing if that is little.
    pub(super) fn answer(&mut self, waiting: &Waiting, progress: Progress) -> Done {
        if let Some(wording) = &waiting.push.wording {
            let worded = self.word(waiting, wording.as_ref(), progress.results);
            let answer = worded.map_err(|error| self.storage_failed(error));
            return Done { ticket: waiting.ticket, answer, work: progress.work, written: None };
        }
        let (position, since) = (self.position(), waiting.push.since);
        let lines = since.map_or(Ok(None), |since| self.changes_since(since));
        let answer = lines.map(|lines| {
            let more = since.is_some() && lines.is_none();
            let changes = lines.unwrap_or_default();
            let rejected = waiting.push.rejected(&progress.results);
            PushAnswer {
                position,
                results: progress.results,
                rejected,
                more,
                changes,
                grant: None,
                worded: None,
            }
        });
        Done { ticket: waiting.ticket, answer, work: progress.work, written: None }
    }

    fn word(
        &self,
        waiting: &Waiting,
        wording: &dyn Wording,
        results: Vec<MutationResult>,
    ) -> LedgerResult<PushAnswer> {
        let position = self.position();
        let from = self.missing_above(waiting);
        let lines = match from {
            Some(from) => self.ledger.lines_after(from, limits::WORDED_BYTES_MAX)?,
            None => Lines::default(),
        };
        let reached = from.map(|_| {
            let version = lines.last.filter(|_| lines.more).unwrap_or(position.version);
            Position { epoch: position.epoch.clone(), version }
        });
        let told = from.zip(reached.as_ref()).map(|(from, reached)| (from, reached.version));
        let told = told.filter(|_| !wording.tells_all_touched());
        let keys = if planted!(TouchedNotAnswered) { Vec::new() } else { wording.touched() };
        let touched = self.standing_of_all(&keys, told)?;
        let outcome =
            Outcome { reached: reached.as_ref(), changes: &lines.text, touched: &touched, results: &results };
        let worded = Some(wording.say(&outcome));
        let (rejected, changes) = (waiting.push.rejected(&results), String::new());
        Ok(PushAnswer { position, results, rejected, more: false, changes, grant: None, worded })
    }

    /// Above which version its client is missing what there is; none if that cannot be said by changes.
    fn missing_above(&self, waiting: &Waiting) -> Option<Version> {
        let since = waiting.push.since.unwrap_or_default();
        if since == Version::ZERO {
            return Some(since);
        }
        let is_ours = waiting.push.epoch.as_ref() == Some(&self.meta.epoch);
        (is_ours && since >= self.meta.horizon && since <= self.version).then_some(since)
    }

    /// The lines of these records, but for those between two versions, as far as the answer has room.
    fn standing_of_all(&self, keys: &[Key], told: Option<(Version, Version)>) -> LedgerResult<String> {
        let mut text = String::new();
        let mut left = keys;
        while !left.is_empty() && text.len() < limits::WORDED_BYTES_MAX {
            let some: Vec<_> = left.iter().take(limits::WORDED_KEYS_AT_ONCE).collect();
            let records = self.ledger.records(&some, limits::WORDED_BYTES_MAX)?;
            for (key, record) in some.iter().zip(&records) {
                match record {
                    None => text.push_str(&format!("{{\"version\":0,{}\n", deleted_line(key))),
                    Some(record) => {
                        let version = record.clock.version;
                        if !told.is_some_and(|(from, reached)| version > from && version <= reached) {
                            text.push_str(&record.published_line());
                        }
                    }
                }
            }
            assert!(!records.is_empty(), "BUG: of records that were asked for none was told");
            left = &left[records.len()..];
        }
        Ok(text)
    }
}
