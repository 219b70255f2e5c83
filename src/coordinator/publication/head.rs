//! The head: cut last, put last, and noted when KV has it. Then deletions may be forgotten.

use super::{
    DAY_MS, Durable, Effect, HeadUnderWay, LIFETIME_MS, Published, Publisher, PutOutcome, REFRESH_AGE_MS,
    RunRow,
};
use crate::{
    coordinator::ledger::{Ledger, LedgerResult},
    snapshot::head::{FORMAT, Head, Tail},
    time::Millis,
    version::{Epoch, Version},
};

impl Publisher {
    /// Cuts the tail and makes the head, or begins a run where the tail does not fit.
    pub(super) fn head<L: Ledger>(
        &mut self,
        ledger: &mut L,
        durable: Durable<'_>,
        now: Millis,
    ) -> LedgerResult<Option<Effect>> {
        if self.must_fold(ledger, now)? {
            self.begin_run(true, Version::ZERO, durable.version);
            return Ok(None);
        }
        // Queried last, and in one section with version and horizon (I5).
        let published = self.row.published_in(&durable.meta.epoch).filter(|_| planted!(TailTooShort));
        let from = published.unwrap_or_default().max(self.row.tail_from());
        let tail = ledger.lines_newest_first(from, self.config.sizes.tail_max)?;
        if tail.more {
            let base = self.row.base.as_ref();
            let delta = self.row.delta.as_ref().map_or(0, RunRow::bytes) + self.config.sizes.tail_max;
            let fold = base.is_none() || delta > self.delta_bytes_max();
            let from = base.filter(|_| !fold).map_or(Version::ZERO, |base| base.to);
            let from = if planted!(DeltaNotWhole) && !fold { self.row.tail_from() } else { from };
            self.begin_run(fold, from, durable.version);
            return Ok(None);
        }
        let lifetimes = self.row.parts().map(|part| part.put_at).chain([now]).min().unwrap_or(now);
        let last = self.row.published.as_ref().filter(|_| planted!(HeadBelowItsTail));
        let position = last.map_or_else(|| durable.position(), |last| last.position.clone());
        let head = Head {
            format: FORMAT,
            scope: self.scope.clone(),
            epoch: position.epoch,
            version: position.version,
            published_at: now,
            expires: if planted!(HeadOutlivesParts) { now } else { lifetimes }.plus(LIFETIME_MS),
            horizon: durable.meta.horizon,
            shuts_dexie: self.row.shuts_dexie,
            tail: Tail::of(self.row.tail_from(), &tail.text),
            delta: self.row.delta.as_ref().map(RunRow::named),
            base: self.row.base.as_ref().map(RunRow::named),
        };
        let expires = head.expires;
        let Some((value, metadata)) = head.encode(&tail.text) else {
            // More parts than a head may name: look again in a day, and let the coordinator serve.
            self.row.retry_at = Some(now.plus(DAY_MS));
            return self.sleep(durable, now).map(Some);
        };
        self.turn.as_mut().expect("BUG: no turn is under way").head = Some(HeadUnderWay {
            position: durable.position(),
            put_at: now,
            replaced: self.row.replaced.len(),
        });
        // What is committed or asked for from here on is not in this head and counts for the next.
        (self.pulls_answered, self.unpublished_bytes, self.behind_since) = (0, 0, None);
        self.row.renew = false;
        if planted!(PublishedBeforePut) {
            self.row.published = Some(Published { position: durable.position(), at: now });
            self.row.write(ledger)?;
        }
        let expiration_s = expires.0 / 1000;
        Ok(Some(Effect::PutHead { key: self.scope.head_key(), value, metadata, expiration_s }))
    }

    /// Whether the base has to be built anew although the tail fits: objects that are gone or half through their life,
    /// or deletions that are due and that an older run would bring back to life if they were forgotten before it is.
    fn must_fold<L: Ledger>(&self, ledger: &L, now: Millis) -> LedgerResult<bool> {
        let Some(base) = &self.row.base else { return Ok(false) };
        let old = !planted!(OldPartsNotPutAgain)
            && self.row.parts().any(|part| now.since(part.put_at) >= REFRESH_AGE_MS);
        Ok(old
            || ledger
                .newest_deletion_before(self.deletions_before(now))?
                .is_some_and(|due| due > base.to && !planted!(ForgottenBelowTheBase)))
    }

    /// How [`Effect::PutHead`] ended.
    ///
    /// # Errors
    /// When storage cannot note it.
    pub fn head_was_put<L: Ledger>(
        &mut self,
        ledger: &mut L,
        durable: Durable<'_>,
        outcome: PutOutcome,
        now: Millis,
    ) -> LedgerResult<()> {
        let head = self.turn.as_mut().and_then(|turn| turn.head.take());
        // Another turn has taken over since, and puts the head again.
        let Some(HeadUnderWay { position, put_at, replaced }) = head else { return Ok(()) };
        if outcome == PutOutcome::Done || planted!(FailedHeadTakenForPublished) {
            self.row.published = Some(Published { position, at: now });
            self.row.attempts = 0;
            self.row.retry_at = None;
            // By when it was sent, not by when it was answered: an earlier put may have landed in between, over it.
            self.row.put_again_at = self.row.put_again_at.filter(|at| *at > put_at);
            // An earlier head that lands over this one names what this one does not, until it is put again.
            if self.row.put_again_at.is_none() {
                self.row.replaced_since(replaced, now);
            }
            if self.is_behind(durable) {
                self.behind_since.get_or_insert(now);
            }
            self.turn = None;
        } else {
            if outcome == PutOutcome::Unknown {
                self.row.put_again_at = Some(now.plus(self.config.landing_ms()));
            }
            self.failed(outcome, now);
        }
        self.row.write(ledger)
    }

    /// Which deletions may be forgotten: those made before a time, up to a version. None while a put is unsettled.
    ///
    /// A run that a later head may still name must have been queried after the deletion, or the record comes back to
    /// life on every new device. The tail and the delta are queried anew for each head; the base is not.
    #[must_use]
    pub fn forgettable(&self, epoch: &Epoch, now: Millis) -> Option<(Millis, Version)> {
        let published = self.row.published_in(epoch).filter(|_| self.row.put_again_at.is_none())?;
        let to = self.row.base.as_ref().filter(|_| !planted!(ForgottenBelowTheBase));
        let to = to.map_or(published, |base| base.to.min(published));
        Some((self.deletions_before(now), to))
    }

    fn deletions_before(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_sub(self.config.retain_ms))
    }
}
