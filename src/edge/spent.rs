//! What the edge has used for spaces whose objects were not told yet: pulls that never reached them. It is handed over with the next
//! call from this isolate, and lost with it.

use std::collections::BTreeMap;

use crate::{call::Usage, ids::SpaceHash};

/// Spaces that are remembered; for one more, another goes.
const SPACES_MAX: usize = 1_000;

/// Per space, what its object was not told.
#[derive(Debug, Default)]
pub struct Spent {
    of: BTreeMap<SpaceHash, Usage>,
}

impl Spent {
    /// The edge has used something for a space.
    pub fn note(&mut self, space: &SpaceHash, used: &Usage) {
        let used = of_edge(used);
        if used.is_nothing() {
            return;
        }
        if !self.of.contains_key(space) && self.of.len() >= SPACES_MAX {
            // Whichever follows by its hash: as good as any other, and nobody can choose it.
            let next = self.of.range(space..).next().map(|(next, _)| next.clone());
            let goes = next.or_else(|| self.of.keys().next().cloned());
            goes.map(|goes| self.of.remove(&goes));
        }
        self.of.entry(space.clone()).or_default().add(&used);
    }

    /// Its object is about to be told. What does not arrive is lost: told twice, it would be counted twice.
    pub fn take(&mut self, space: &SpaceHash) -> Usage {
        match planted!(SpentToldTwice) {
            true => self.of.get(space).copied().unwrap_or_default(),
            false => self.of.remove(space).unwrap_or_default(),
        }
    }
}

/// What an object does not know by itself.
pub fn of_edge(used: &Usage) -> Usage {
    let Usage { worker, cache, kv, .. } = *used;
    Usage { worker, cache, kv, ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_told_once_and_spaces_have_a_bound() {
        let space = |number: usize| SpaceHash::shared(&crate::ids::SpaceId::stored(&format!("s{number}")));
        let (mut spent, used) = (Spent::default(), Usage { worker: 1, kv: 2, object: 3, ..Usage::default() });
        spent.note(&space(0), &used);
        spent.note(&space(0), &used);
        assert_eq!(
            spent.take(&space(0)),
            Usage { worker: 2, kv: 4, ..Usage::default() },
            "objects count themselves"
        );
        assert!(spent.take(&space(0)).is_nothing());
        for number in 0..3 * SPACES_MAX {
            spent.note(&space(number), &used);
            assert!(spent.of.len() <= SPACES_MAX);
            assert!(spent.of.contains_key(&space(number)));
        }
    }
}
