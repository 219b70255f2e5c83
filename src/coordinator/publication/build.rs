//! Runs under construction: cut into parts by content, put part by part, resumed after a crash.

use serde::Deserialize;

use super::{
    Building, Effect, LIFETIME_MARGIN_MS, LIFETIME_MS, PartRow, Publisher, PutOutcome, REFRESH_AGE_MS, RunRow,
};
use crate::{
    coordinator::ledger::{Ledger, LedgerResult},
    ids::{Collection, ContentHash, Key, RecordId},
    snapshot::{head::ContentHashText, part::first_part},
    time::Millis,
    version::Version,
};

/// A delta is folded into the base when it exceeds an eighth of it, or 1 MiB where that is more.
const DELTA_SHARE: usize = 8;

impl Publisher {
    pub(super) fn begin_run(&mut self, base: bool, from: Version, to: Version) {
        self.give_up_run();
        let run = RunRow { from, to, parts: Vec::new() };
        self.row.building = Some(Building { base, run, behind: None });
    }

    /// Cuts the next part. None when no put is needed: it is there already, or the run is complete.
    pub(super) fn build<L: Ledger>(&mut self, ledger: &mut L, now: Millis) -> LedgerResult<Option<Effect>> {
        let building = self.row.building.as_ref().expect("BUG: no run is under construction");
        let (after, to) = (building.behind.as_ref(), building.run.to);
        let after = after.map(|(version, (collection, id))| {
            (*version, Key { collection: Collection::stored(collection), id: RecordId::stored(id) })
        });
        let bytes_max = self.config.sizes.part_max;
        let lines = match &after {
            after if building.base => {
                ledger.lines_by_key(after.as_ref().map(|(_, key)| key), to, bytes_max)?
            }
            None => ledger.lines_by_version((building.run.from, None), to, bytes_max)?,
            Some((version, key)) => ledger.lines_by_version((*version, Some(key)), to, bytes_max)?,
        };
        let end = first_part(&lines.text, lines.more, &self.config.sizes)
            .expect("BUG: a slice is shorter than a part");
        let text = &lines.text[..end];
        let run_ends = end == lines.text.len() && !lines.more;
        if text.is_empty() {
            self.complete();
            return Ok(None);
        }
        let hash = ContentHash::of(text.as_bytes());
        if let Some(until) = self.is_being_deleted(&hash, now) {
            self.row.retry_at = self.row.retry_at.max(Some(until));
            return Ok(Some(Effect::Sleep(None)));
        }
        let replaced = self.replaced_part(&hash, now);
        let was_replaced = replaced.is_some();
        let known = self.row.parts().find(|part| part.sha256.0 == hash).or(replaced);
        let there = known.filter(|part| now.since(part.put_at) < REFRESH_AGE_MS);
        let part = there.cloned().unwrap_or(PartRow {
            sha256: ContentHashText(hash.clone()),
            bytes: text.len(),
            put_at: now,
        });
        let shared = part.put_at != now || planted!(PartsNotPut);
        let turn = self.turn.as_mut().expect("BUG: no turn is under way");
        turn.parts += 1;
        turn.part = Some(part);
        turn.last = Some(last_of(text));
        turn.run_ends = run_ends;
        if shared {
            self.adopt_part();
            // A head that names it must not be there before it is known that it is not to be deleted.
            if was_replaced {
                self.row.write(ledger)?;
            }
            return Ok(None);
        }
        let key = self.scope.object_key(&hash);
        Ok(Some(Effect::PutObject {
            key,
            body: text.to_owned(),
            ttl_s: (LIFETIME_MS + LIFETIME_MARGIN_MS) / 1000,
        }))
    }

    /// How [`Effect::PutObject`] ended.
    ///
    /// # Errors
    /// When storage cannot note it.
    pub fn object_was_put<L: Ledger>(
        &mut self,
        ledger: &mut L,
        outcome: PutOutcome,
        now: Millis,
    ) -> LedgerResult<()> {
        if outcome == PutOutcome::Done || planted!(FailedPartAdopted) {
            self.adopt_part();
            self.row.attempts = 0;
            self.row.retry_at = None;
        } else {
            self.failed(outcome, now);
        }
        self.row.write(ledger)
    }

    /// Notes the part that is in KV now.
    fn adopt_part(&mut self) {
        // Without these another turn has taken over since, and cuts the part again.
        let Some(turn) = self.turn.as_mut() else { return };
        let Some(part) = turn.part.take() else { return };
        let (last, run_ends) = (turn.last.take(), turn.run_ends);
        let delta_max = self.delta_bytes_max();
        // None if KV was found to have lost everything while the part was put: then the run is begun anew.
        let Some(building) = self.row.building.as_mut() else { return };
        let hash = part.sha256.0.clone();
        building.run.parts.push(part);
        let to = building.run.to;
        building.behind = last;
        let is_too_long = !building.base && building.run.bytes() > delta_max;
        self.row.name(&hash);
        if is_too_long {
            // More is new than a delta may hold: it belongs into the base.
            self.begin_run(true, Version::ZERO, to);
        } else if run_ends || planted!(RunEndedEarly) {
            self.complete();
        }
    }

    /// Above how many bytes a delta is folded into the base.
    pub(super) fn delta_bytes_max(&self) -> usize {
        self.config.sizes.part_min.max(self.row.base.as_ref().map_or(0, RunRow::bytes) / DELTA_SHARE)
    }

    fn complete(&mut self) {
        let building = self.row.building.take().expect("BUG: no run is under construction");
        let (base, delta) = (self.row.base.take(), self.row.delta.take());
        let replaced = if building.base {
            self.row.delta = delta.clone().filter(|_| planted!(DeltaKeptAfterFold));
            self.row.base = Some(building.run);
            [base, delta]
        } else {
            (self.row.base, self.row.delta) = (base, Some(building.run));
            [None, delta]
        };
        let parts = replaced.into_iter().flatten().flat_map(|run| run.parts).collect();
        self.row.replace(parts, self.config.sizes.replaced_min);
    }

    /// What was built of a run that nobody will name is not needed.
    pub(super) fn give_up_run(&mut self) {
        if let Some(building) = self.row.building.take() {
            self.row.replace(building.run.parts, self.config.sizes.replaced_min);
        }
    }
}

/// The version and the key of the last of `lines`.
fn last_of(lines: &str) -> (Version, (String, String)) {
    #[derive(Deserialize)]
    struct Named {
        version: Version,
        collection: String,
        id: String,
    }
    let line = lines.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
    let named: Named = serde_json::from_str(line).expect("BUG: the ledger gave something that is no line");
    (named.version, (named.collection, named.id))
}
