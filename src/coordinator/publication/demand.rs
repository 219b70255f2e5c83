//! When a turn is due: what is new, who has asked for it, what KV was seen to lack, and when to try again after a failure.

use super::{DAY_MS, Durable, Publisher, PutOutcome};
use crate::{
    call::{Ask, Seen},
    limits::Sizes,
    time::Millis,
    version::Version,
};

/// Longest wait after a failure.
const BACKOFF_MS_MAX: u64 = 15 * 60_000;

/// When to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationConfig {
    /// Pulls answered by the coordinator that are worth one publication. 0: publish as soon as the interval allows.
    pub after_pulls: u32,
    /// Longest delay after the first unpublished change of a shared space, in ms: polls of its members show what is published.
    pub max_delay_ms: u64,
    /// The same of a private space, in ms. Its polls and first loads ask the coordinator for what is newer, so an older head
    /// costs them a few rows.
    pub private_max_delay_ms: u64,
    /// Shortest time between two publications, in ms. KV's own cache hides anything faster than 30 s.
    pub interval_ms: u64,
    /// How long deletions are remembered, in ms.
    pub retain_ms: u64,
    /// How much goes into a head, a part, a turn, a page.
    pub sizes: Sizes,
}

impl PublicationConfig {
    /// How late a put may land that was never answered, in ms: four intervals, at the default 120 s.
    #[must_use]
    pub const fn landing_ms(&self) -> u64 {
        4 * self.interval_ms
    }

    /// How long KV may still answer "missing" for an object that was put, in ms: at the default one hour.
    pub(super) const fn miss_ms(&self) -> u64 {
        120 * self.interval_ms
    }
}

impl Publisher {
    /// Whether KV's head is not known to hold the durable state.
    #[must_use]
    pub fn is_behind(&self, durable: Durable<'_>) -> bool {
        match self.row.published_in(&durable.meta.epoch) {
            Some(version) => {
                assert!(
                    version <= durable.version,
                    "BUG: published {version} is above durable {}",
                    durable.version
                );
                version < durable.version
            }
            None => {
                // An empty space has no head, unless an earlier epoch of it may have had one.
                let is_later = durable.meta.epoch != durable.meta.incarnation;
                durable.version > Version::ZERO
                    || self.row.published.is_some()
                    || (is_later && !planted!(EmptyEpochNotPublished))
            }
        }
    }

    /// Notes that `bytes` of lines became durable.
    pub fn committed(&mut self, bytes: usize, now: Millis) {
        self.unpublished_bytes += bytes;
        self.behind_since.get_or_insert(now);
    }

    /// Notes that another history began: readers of the old one must be told soon. If that is because storage has gone back,
    /// KV may have a head that storage does not know, and not show it for a while.
    pub fn epoch_began(&mut self, now: Millis) {
        self.behind_since.get_or_insert(now);
        self.head_is_unknown(now);
    }

    /// KV's head is none that storage knows, and names what nobody knows: the time of what was replaced begins anew.
    pub(super) fn head_is_unknown(&mut self, now: Millis) {
        self.forget_replaced();
        self.row.renew = true;
        if self.row.published.as_ref().is_none_or(|put| now.since(put.at) > DAY_MS) {
            self.nothing_is_there();
        }
    }

    /// Notes that the coordinator answered a pull, and what the edge had seen.
    pub fn pulled(&mut self, seen: &Ask, now: Millis) {
        self.pulls_answered = self.pulls_answered.saturating_add(1);
        let Some(published) = self.row.published.clone() else { return };
        let settled = now.since(published.at) > self.config.landing_ms()
            && now.since(self.renewed_at) > 30 * self.config.interval_ms;
        // A location may see what has been replaced for a while; it says nothing new.
        let mut renew = settled && seen.expiring;
        match &seen.seen {
            Seen::Nothing if settled => {
                self.nothing_is_there();
                renew = true;
            }
            Seen::Head(position) if *position < published.position => renew |= settled,
            Seen::Nothing | Seen::Head(_) | Seen::Unknown => {}
        }
        let miss_ms = self.config.miss_ms();
        for part in self.row.parts_mut() {
            let missed = seen.missed.as_ref() == Some(&part.sha256.0);
            if missed && now.since(part.put_at) > miss_ms {
                part.put_at = Millis(0);
                renew = true;
            }
        }
        if renew {
            self.row.renew = true;
            self.renewed_at = now;
        }
    }

    /// KV has lost the head, and who knows what else: it is all put again.
    pub(super) fn nothing_is_there(&mut self) {
        self.give_up_run();
        self.row.parts_mut().for_each(|part| part.put_at = Millis(0));
        self.forget_replaced();
        self.row.renew = true;
    }

    /// Nothing is known of replaced parts: neither that they are there, nor since when no head names them.
    fn forget_replaced(&mut self) {
        for one in &mut self.row.replaced {
            (one.since, one.part.put_at) = (None, Millis(0));
        }
    }

    /// When the next turn is due; none if KV is up to date, and holds nothing that is to be deleted.
    #[must_use]
    pub fn due(&self, durable: Durable<'_>, now: Millis) -> Option<Millis> {
        let deletion = self.deletion_due().map(|due| due.max(now.plus(1)));
        [self.publication_due(durable, now), deletion].into_iter().flatten().min()
    }

    /// When there is something to publish.
    pub(super) fn publication_due(&self, durable: Durable<'_>, now: Millis) -> Option<Millis> {
        let behind = self.is_behind(durable);
        let regular = (behind || self.row.renew).then(|| {
            let urgent = self.row.renew
                || self.pulls_answered >= self.config.after_pulls
                || self.unpublished_bytes > self.config.sizes.tail_max;
            let delay_ms = match durable.meta.space {
                Some(_) => self.config.max_delay_ms,
                None => self.config.private_max_delay_ms,
            };
            let wanted = if urgent { now } else { self.behind_since.unwrap_or(now).plus(delay_ms) };
            let interval =
                self.row.published.as_ref().map(|published| published.at.plus(self.config.interval_ms));
            wanted.max(interval.unwrap_or(now))
        });
        let due = [regular, self.row.put_again_at].into_iter().flatten().min()?;
        // What the day's budget has said does not count where readers hold a history that is over.
        let leased = self.row.leased.filter(|_| !self.is_urgent(&durable.meta.epoch));
        let due = due.max(leased.map_or(due, |leased| leased.wait_until));
        // workerd can lose an alarm that is set to the present from within an alarm (workerd#6866).
        Some(due.max(self.row.retry_at.unwrap_or(due)).max(now.plus(1)))
    }

    /// When the watchdog has to fire for a put that is made now.
    #[must_use]
    pub fn watchdog(&self, now: Millis) -> Millis {
        now.plus(self.config.landing_ms().max(1_000))
    }

    /// Ends a turn that got no further, and says when the next may try.
    pub(super) fn failed(&mut self, outcome: PutOutcome, now: Millis) {
        self.turn = None;
        // What made this turn due was counted for it: the next attempt is due as soon as it may be made.
        self.row.renew = true;
        self.row.attempts = self.row.attempts.saturating_add(1);
        let wait = self.config.interval_ms.max(1_000) << self.row.attempts.min(10);
        self.row.retry_at = Some(match outcome {
            // The day's writes come back at 00:00 UTC (kv/platform/limits).
            PutOutcome::Exhausted => Millis((now.0 / DAY_MS + 1) * DAY_MS),
            // The budget has said when.
            PutOutcome::Unleased => now,
            PutOutcome::Done | PutOutcome::Refused | PutOutcome::Unknown => {
                now.plus(wait.min(BACKOFF_MS_MAX))
            }
        });
    }
}
