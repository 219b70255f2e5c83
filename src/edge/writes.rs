//! Where spaces stood after the writes that passed here: no pull is answered from an older state, whoever asks.

use std::collections::BTreeMap;

use crate::{ids::SpaceHash, time::Millis, version::Position};

/// How long a write is remembered, in ms. A state in which it is missing is not served for longer without asking the
/// coordinator, even where publication is eager and KV lags (`CONFIRM_MS` of [`super::pull`]).
pub const WRITTEN_MS: u64 = 10 * 60_000;
/// Spaces remembered, about 200 bytes each; above it that of the oldest write goes.
const SPACES_MAX: usize = 10_000;

/// The last write of each space that passed this isolate.
#[derive(Debug, Default)]
pub struct Writes(BTreeMap<SpaceHash, (Position, Millis)>);

impl Writes {
    /// A write has passed, after which `space` stood at `position`. Returns the highest position known, for the others of
    /// this location.
    pub fn note(&mut self, space: &SpaceHash, position: Position, now: Millis) -> Position {
        let highest = self.last(space, now).filter(|known| *known > position).unwrap_or(position);
        if planted!(WriteNotNoted) {
            return highest;
        }
        if self.0.len() >= SPACES_MAX && !self.0.contains_key(space) {
            self.0.retain(|_, (_, at)| now.since(*at) <= WRITTEN_MS);
        }
        while self.0.len() >= SPACES_MAX && !self.0.contains_key(space) {
            let oldest = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(space, _)| space.clone());
            self.0.remove(&oldest.expect("BUG: a full map has no oldest entry"));
        }
        self.0.insert(space.clone(), (highest.clone(), now));
        highest
    }

    /// Where `space` stood after the last write.
    #[must_use]
    pub fn last(&self, space: &SpaceHash, now: Millis) -> Option<Position> {
        let (position, at) = self.0.get(space)?;
        (now.since(*at) <= WRITTEN_MS).then(|| position.clone())
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
        assert_eq!(writes.note(&space("a"), at(6), START), at(6));
        assert_eq!(writes.note(&space("a"), at(5), START.plus(1_000)), at(6), "answers overtake each other");
        assert_eq!(writes.last(&space("a"), START.plus(601_000)), Some(at(6)));
        assert_eq!(writes.last(&space("a"), START.plus(601_001)), None);
        assert_eq!(writes.last(&space("b"), START), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_write_goes() {
        let mut writes = Writes::default();
        for number in 0..=SPACES_MAX as u64 {
            writes.note(&space(&number.to_string()), at(1), START.plus(number));
        }
        let now = START.plus(SPACES_MAX as u64);
        assert_eq!(writes.0.len(), SPACES_MAX);
        assert_eq!(writes.last(&space("0"), now), None);
        assert_eq!(writes.last(&space("1"), now), Some(at(1)));
        writes.note(&space("new"), at(1), now.plus(WRITTEN_MS + 1));
        assert_eq!(writes.0.len(), 1, "what is over is forgotten");
    }
}
