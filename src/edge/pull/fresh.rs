//! For how long what is known is good, and whether another layer could know more.

use super::{LOCATION_MS, Pull};
use crate::{
    call::Left,
    fronts::headwater::{answer::Format, pull::Consistency},
    time::Millis,
    version::Version,
};

/// How long a head is served without asking the coordinator whether it is still the newest, in ms: KV may keep an old
/// one, or lose its writer, for ever.
const CONFIRM_MS: u64 = 10 * 60_000;
/// How many times as long both are where the day's requests of objects run low.
const SPARING: u64 = 10;

impl Pull {
    /// Takes how much is left of the day's requests of objects. Where they run low, what a location knows is good for longer, and
    /// KV is asked before the coordinator.
    pub fn spares_objects(&mut self, left: Left) {
        self.left = left;
        self.plan.increments_from_kv |= left > Left::Enough;
    }

    /// How much is left of them.
    #[must_use]
    pub fn objects_left(&self) -> Left {
        self.left
    }

    /// For how long what is known is good, in ms, where it is for `ms` otherwise.
    fn good_for(&self, ms: u64) -> u64 {
        if self.left > Left::Enough { SPARING * ms } else { ms }
    }

    /// Whether what is known may be served without looking further.
    pub(super) fn is_fresh(&self, now: Millis) -> bool {
        let confirmed_for = now.since(self.confirmed_at());
        if !self.plan.increments_from_kv {
            return confirmed_for <= self.good_for(LOCATION_MS);
        }
        let read_at = self.known.head.as_ref().map(|head| head.read_at);
        let seen_at = read_at.max(self.known.overlay.as_ref().map(|overlay| overlay.asked_at));
        let seen = seen_at.is_some_and(|at| now.since(at) <= self.good_for(LOCATION_MS));
        let is_confirmed = confirmed_for <= self.good_for(CONFIRM_MS);
        let confirmed = is_confirmed || self.request.consistency == Consistency::Eventual;
        seen && confirmed
    }

    /// Whether what is known is as new as the last write that is known of. Where it is not, the coordinator says what is: its
    /// storage may have gone back to before that write.
    pub(super) fn shows_writes(&self) -> bool {
        self.written.is_none() || self.known.position() >= self.written
    }

    /// Whether KV could know more than this location does. It is not asked for what was written a moment ago.
    pub(super) fn kv_may_help(&self, now: Millis) -> bool {
        if self.kv_seen.is_some() {
            return false;
        }
        // What the coordinator is asked about anyway, and can answer alone, needs no key; a stream of objects does.
        let is_load = self.request.since == Version::ZERO && self.format == Format::Ndjson;
        let looks = self.plan.increments_from_kv && self.shows_writes();
        if !is_load && !looks && self.request.consistency != Consistency::Eventual {
            return false;
        }
        self.known.head.as_ref().is_none_or(|head| {
            now.since(head.read_at) > LOCATION_MS
                || (head.body.is_none() && self.wanted().wants(&head.metadata))
        })
    }

    pub(super) fn confirmed_at(&self) -> Millis {
        let published = self.known.head.as_ref().map(|head| head.metadata.p);
        let asked = self.known.overlay.as_ref().map(|overlay| overlay.asked_at);
        published.max(asked).unwrap_or_default()
    }
}
