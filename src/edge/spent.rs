//! What the edge has used for spaces whose objects were not told yet: pulls that never reached them. It is handed over with the next
//! call from this isolate, and lost with it.

use crate::{call::Usage, ids::SpaceHash};

/// Spaces that are remembered; for one more, the first goes.
const SPACES_MAX: usize = 256;

/// Per space, what its object was not told.
#[derive(Debug, Default)]
pub struct Spent {
    of: Vec<(SpaceHash, Usage)>,
}

impl Spent {
    /// The edge has used something for a space.
    pub fn note(&mut self, space: &SpaceHash, used: &Usage) {
        let used = of_edge(used);
        if used.is_nothing() {
            return;
        }
        if let Some((_, own)) = self.of.iter_mut().find(|(of, _)| of == space) {
            return own.add(&used);
        }
        if self.of.len() >= SPACES_MAX {
            self.of.remove(0);
        }
        self.of.push((space.clone(), used));
    }

    /// Its object is about to be told. What does not arrive is lost: told twice, it would be counted twice.
    pub fn take(&mut self, space: &SpaceHash) -> Usage {
        let Some(at) = self.of.iter().position(|(of, _)| of == space) else { return Usage::default() };
        if planted!(SpentToldTwice) { self.of[at].1 } else { self.of.swap_remove(at).1 }
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
            assert!(spent.of.iter().any(|(of, _)| *of == space(number)));
        }
    }
}
