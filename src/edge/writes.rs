//! Where spaces stood after the writes that passed here: no pull is answered from an older state, whoever asks.

use std::collections::BTreeMap;

use crate::{ids::SpaceHash, time::Millis, version::Position};

/// How long a write is remembered, in ms. A state in which it is missing is not served for longer without asking the
/// coordinator, even where publication is eager and KV lags (`CONFIRM_MS` of [`super::pull`]).
pub const WRITTEN_MS: u64 = 10 * 60_000;
/// Spaces of one half of memory, about 200 bytes each.
const SPACES_MAX: usize = 5_000;
/// How often a location is told of the writes in one space at most, in ms. Its other isolates look as often
/// (`MEMORY_MS` of [`super::pull`]), and each telling is a put into the location's cache.
pub const TELL_MS: u64 = 1_000;

/// The last writes that are known of in this isolate, by space. When the younger half is full, the older one is forgotten.
#[derive(Debug, Default)]
pub struct Writes {
    younger: BTreeMap<SpaceHash, Write>,
    older: BTreeMap<SpaceHash, Write>,
}

#[derive(Debug)]
struct Write {
    position: Position,
    at: Millis,
    /// When the location was told last.
    told: Millis,
    /// When it is told next, if somebody sees to that.
    due: Option<Millis>,
}

impl Writes {
    /// A write has passed, after which `space` stood at `position`. Returns in how many milliseconds the location has to be
    /// told of what [`Self::last`] is by then; none if that is seen to already.
    pub fn note(&mut self, space: &SpaceHash, position: Position, now: Millis) -> Option<u64> {
        if planted!(WriteNotNoted) {
            return None;
        }
        let before = self.take(space, now);
        let (told, due) = before.as_ref().map_or((Millis(0), None), |before| (before.told, before.due));
        // One that is about to be told tells of this write too. A clock that went back delays nothing for longer.
        let is_seen_to = due.is_some_and(|due| due >= now && due.since(now) <= TELL_MS);
        let wait = TELL_MS.saturating_sub(now.since(told));
        let (told, due) = match wait {
            _ if is_seen_to => (told, due),
            0 => (now, None),
            wait => (told, Some(now.plus(wait))),
        };
        self.keep(space, Write { position, at: now, told, due }, before);
        (!is_seen_to).then_some(wait)
    }

    /// Where `space` stood after the last write, of which the location is told now.
    pub fn tell(&mut self, space: &SpaceHash, now: Millis) -> Option<Position> {
        let write = self.take(space, now)?;
        let position = write.position.clone();
        self.keep(space, Write { told: now, due: None, ..write }, None);
        Some(position)
    }

    /// Somebody else has told the location of a write.
    pub fn learn(&mut self, space: &SpaceHash, position: Position, now: Millis) {
        if self.last(space, now).is_none_or(|known| known < position) {
            let before = self.take(space, now);
            let (told, due) = before.as_ref().map_or((Millis(0), None), |before| (before.told, before.due));
            self.keep(space, Write { position, at: now, told, due }, before);
        }
    }

    /// Where `space` stood after the last write.
    #[must_use]
    pub fn last(&self, space: &SpaceHash, now: Millis) -> Option<Position> {
        let write = self.younger.get(space).or_else(|| self.older.get(space));
        write.filter(|write| !write.is_over(now)).map(|write| write.position.clone())
    }

    fn take(&mut self, space: &SpaceHash, now: Millis) -> Option<Write> {
        let older = self.older.remove(space);
        self.younger.remove(space).or(older).filter(|write| !write.is_over(now))
    }

    fn keep(&mut self, space: &SpaceHash, write: Write, before: Option<Write>) {
        if self.younger.len() >= SPACES_MAX {
            self.older = std::mem::take(&mut self.younger);
        }
        let highest = before.filter(|before| before.position > write.position);
        let position = highest.map_or(write.position, |before| before.position);
        self.younger.insert(space.clone(), Write { position, ..write });
    }
}

/// What a location is told of a write after which a space stood at `last`, where it was told of `told` before: never of less.
#[must_use]
pub fn to_tell(told: Option<Position>, last: Position) -> Position {
    told.filter(|told| *told > last && !planted!(LaterWriteUntold)).unwrap_or(last)
}

impl Write {
    fn is_over(&self, now: Millis) -> bool {
        now.since(self.at) > WRITTEN_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sim::START,
        version::{Epoch, Version},
    };

    fn at(version: u64) -> Position {
        let epoch = Epoch::begin(START, None, 7);
        Position { epoch, version: Version::new(version).expect("a version") }
    }

    fn space(name: &str) -> SpaceHash {
        SpaceHash::private("i", name)
    }

    #[test]
    fn the_highest_write_of_a_space_counts_for_ten_minutes_after_the_last() {
        let mut writes = Writes::default();
        writes.note(&space("a"), at(6), START);
        // Answers overtake each other.
        writes.note(&space("a"), at(5), START.plus(1_000));
        assert_eq!(writes.last(&space("a"), START.plus(601_000)), Some(at(6)));
        assert_eq!(writes.last(&space("a"), START.plus(601_001)), None);
        assert_eq!(writes.last(&space("b"), START), None);
    }

    #[test]
    fn a_location_is_told_once_a_second_and_of_the_last_write() {
        let mut writes = Writes::default();
        let (mut told, mut due) = (Vec::new(), None);
        for ms in (0..3_000).step_by(10) {
            let now = START.plus(ms);
            if due.take_if(|due| *due <= ms).is_some() {
                assert_eq!(writes.tell(&space("a"), now), Some(at(ms - 9)));
                told.push(ms);
            }
            match writes.note(&space("a"), at(1 + ms), now) {
                Some(0) => told.push(ms),
                Some(wait) => assert_eq!(due.replace(ms + wait), None),
                None => {}
            }
        }
        assert_eq!((told, due), (vec![0, 1_000, 2_000], Some(3_000)));
        let quiet = START.plus(5_000);
        assert_eq!(writes.note(&space("a"), at(9_000), quiet), Some(0));
        let back = Millis(START.0 - 3_600_000);
        assert!(
            writes.note(&space("a"), at(9_001), back).is_some_and(|wait| wait <= TELL_MS),
            "a clock that went back"
        );
    }

    #[test]
    fn a_clock_that_goes_back_a_little_leaves_no_write_untold() {
        let mut writes = Writes::default();
        assert_eq!(writes.note(&space("a"), at(1), START.plus(500)), Some(0));
        assert_eq!(writes.note(&space("a"), at(2), START), Some(TELL_MS));
        assert_eq!(writes.tell(&space("a"), START.plus(100)), Some(at(2)));
        assert!(writes.note(&space("a"), at(3), START.plus(200)).is_some(), "told sooner than it was due");
    }

    #[test]
    fn what_the_location_was_told_is_known_and_told_on_with_the_next_write() {
        let mut writes = Writes::default();
        writes.learn(&space("a"), at(9), START);
        assert_eq!(writes.last(&space("a"), START), Some(at(9)));
        assert_eq!(writes.note(&space("a"), at(8), START), Some(0));
        assert_eq!(writes.last(&space("a"), START), Some(at(9)), "it is never told less than it was");
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut writes = Writes::default();
        writes.note(&space("used"), at(1), START);
        for number in 0..20 * SPACES_MAX as u64 {
            writes.note(&space(&number.to_string()), at(1), START);
            if number % 1_000 == 0 {
                writes.note(&space("used"), at(number), START);
            }
        }
        assert!(writes.younger.len() + writes.older.len() <= 2 * SPACES_MAX);
        assert_eq!(writes.last(&space("0"), START), None);
        assert!(writes.last(&space("used"), START).is_some());
    }
}
