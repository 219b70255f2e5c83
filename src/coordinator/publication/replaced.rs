//! Parts that no head names any more. Keeping one in KV until it expires costs far more than deleting it: $0.50 per GB-month
//! against $5 per million (kv/platform/pricing).

use serde::{Deserialize, Serialize};

use super::{DAY_MS, Effect, PartRow, PublicationRow, Publisher, PutOutcome};
use crate::{
    coordinator::ledger::{Ledger, LedgerResult},
    ids::ContentHash,
    time::Millis,
};

/// How long a part stays after the last head that named it, in ms. Locations go on for a day from what they have cached, and a
/// put that was never answered may bring an older head back for some minutes.
const KEPT_MS: u64 = DAY_MS + HOUR_MS;
const HOUR_MS: u64 = 3_600_000;
/// How late a deletion may land at least, in ms: nobody waits for its answer longer than 25 s.
const DELETION_LANDS_MS: u64 = 5 * 60_000;
/// How many parts are noted, some 160 bytes each. What is beyond that expires.
const REPLACED_MAX: usize = 1_000;
/// Deletions of one turn, one after the other: some seconds.
const DELETIONS_PER_TURN: usize = 32;

/// A part that the row does not name any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedPart {
    /// As it was put.
    pub part: PartRow,
    /// Since when KV's head does not name it, up to an hour later, so that one turn deletes all parts of an hour; absent while
    /// the head may name it.
    pub since: Option<Millis>,
    /// When its deletion was sent, which may land as late as a put.
    pub deleted_at: Option<Millis>,
}

impl PublicationRow {
    /// Notes parts of a run that is given up, unless the row names them elsewhere. Those below `bytes_min` are left to expire.
    pub(super) fn replace(&mut self, parts: Vec<PartRow>, bytes_min: usize) {
        for part in parts {
            let is_named = self.parts().any(|named| named.sha256 == part.sha256);
            let is_noted = self.replaced.iter().any(|one| one.part.sha256 == part.sha256);
            let has_room = self.replaced.len() < REPLACED_MAX;
            if part.bytes >= bytes_min && !is_noted && has_room && (!is_named || planted!(NamedPartReplaced))
            {
                self.replaced.push(ReplacedPart { part, since: None, deleted_at: None });
            }
        }
    }

    /// A part is named, maybe again.
    pub(super) fn name(&mut self, hash: &ContentHash) {
        self.replaced.retain(|one| one.part.sha256.0 != *hash || planted!(PartNamedAgainDeleted));
    }

    /// KV has a head that names none of the first `count` replaced parts.
    pub(super) fn replaced_since(&mut self, count: usize, now: Millis) {
        for one in self.replaced.iter_mut().take(count) {
            one.since.get_or_insert(Millis(now.0.next_multiple_of(HOUR_MS)));
        }
    }

    fn next_deletion(&self) -> Option<Millis> {
        let waiting = self.replaced.iter().filter(|one| one.deleted_at.is_none());
        let kept_ms = if planted!(ReplacedDeletedAtOnce) { 0 } else { KEPT_MS };
        waiting.filter_map(|one| one.since).min().map(|since| since.plus(kept_ms))
    }
}

impl Publisher {
    /// When the next part is to be deleted. None is while KV's head may be another than the last that was put: that one may name
    /// what was replaced.
    pub(super) fn deletion_due(&self) -> Option<Millis> {
        let is_settled = self.row.put_again_at.is_none() && self.row.attempts == 0 && !self.row.renew;
        self.row.next_deletion().filter(|_| is_settled)
    }

    /// Deletes the next part whose time has come. It is noted before, so that whatever becomes of this instance, nobody puts
    /// the part again while its deletion may still land.
    pub(super) fn delete<L: Ledger>(&mut self, ledger: &mut L, now: Millis) -> LedgerResult<Option<Effect>> {
        let turn = self.turn.as_mut().expect("BUG: no turn is under way");
        let due = self.row.next_deletion().filter(|due| *due <= now);
        if due.is_none() || turn.deletions >= DELETIONS_PER_TURN {
            return Ok(None);
        }
        turn.deletions += 1;
        let lands_ms = self.config.landing_ms().max(DELETION_LANDS_MS);
        self.row.replaced.retain(|one| one.deleted_at.is_none_or(|at| now.since(at) <= lands_ms));
        let waiting = self.row.replaced.iter_mut().filter(|one| one.deleted_at.is_none());
        let one =
            waiting.min_by_key(|one| one.since.unwrap_or(now)).expect("BUG: a deletion of nothing is due");
        one.deleted_at = Some(now);
        let key = self.scope.object_key(&one.part.sha256.0);
        self.row.write(ledger)?;
        Ok(Some(Effect::DeleteObject { key }))
    }

    /// How [`Effect::DeleteObject`] ended. Where KV takes no more, the others wait for another day; each is tried once, and
    /// expires otherwise.
    ///
    /// # Errors
    /// When storage cannot note it.
    pub fn object_was_deleted<L: Ledger>(
        &mut self,
        ledger: &mut L,
        outcome: PutOutcome,
        now: Millis,
    ) -> LedgerResult<()> {
        if matches!(outcome, PutOutcome::Done | PutOutcome::Unknown) {
            return Ok(());
        }
        for one in self.row.replaced.iter_mut().filter(|one| one.since.is_some()) {
            one.since = one.since.max(Some(now));
        }
        self.row.write(ledger)
    }

    /// Until when a part may not be put, because its deletion may still land.
    pub(super) fn is_being_deleted(&self, hash: &ContentHash, now: Millis) -> Option<Millis> {
        let one = self.row.replaced.iter().find(|one| one.part.sha256.0 == *hash)?;
        let lands_ms = self.config.landing_ms().max(DELETION_LANDS_MS);
        one.deleted_at.map(|at| at.plus(lands_ms + 1)).filter(|until| *until > now)
    }

    /// A part that is still there although the row does not name it: also if storage has gone back, and has forgotten a deletion.
    pub(super) fn replaced_part(&self, hash: &ContentHash, now: Millis) -> Option<&PartRow> {
        let one = self.row.replaced.iter().find(|one| one.part.sha256.0 == *hash)?;
        let is_kept = one.deleted_at.is_none() && one.since.is_none_or(|since| now < since.plus(KEPT_MS));
        Some(&one.part).filter(|_| is_kept)
    }
}
