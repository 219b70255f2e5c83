//! Answers that are being read: what they hold of an isolate, and for whom. A client that has gone leaves no word, so each is
//! taken for over at some time.

use std::collections::BTreeMap;

use crate::{ids::UserHash, limits, shares::Shares, time::Millis};

/// The answers of an isolate.
#[derive(Debug)]
pub struct Streams {
    held: Shares,
    open: BTreeMap<u64, Open>,
    begun: u64,
}

#[derive(Debug)]
struct Open {
    user: UserHash,
    bytes: usize,
    until: Millis,
}

impl Default for Streams {
    fn default() -> Self {
        Self { held: Shares::new(limits::STREAMS_HELD_MAX), open: BTreeMap::new(), begun: 0 }
    }
}

impl Streams {
    /// An answer to `user` begins that holds so many bytes, until it ends or, if nobody hears of that, until `until`. None if
    /// there is no room for it beside the others.
    pub fn begin(&mut self, user: &UserHash, bytes: usize, until: Millis, now: Millis) -> Option<u64> {
        let lost: Vec<u64> =
            self.open.iter().filter(|(_, open)| open.until <= now).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|id| self.end(id));
        if !self.held.take(user, bytes) {
            return None;
        }
        self.begun += 1;
        self.open.insert(self.begun, Open { user: user.clone(), bytes, until });
        Some(self.begun)
    }

    /// Somebody reads it.
    pub fn is_read(&mut self, stream: u64, until: Millis) {
        if let Some(open) = self.open.get_mut(&stream) {
            open.until = until;
        }
    }

    /// It is over, if it was not taken for that before.
    pub fn end(&mut self, stream: u64) {
        if let Some(Open { user, bytes, .. }) = self.open.remove(&stream) {
            self.held.give_back(&user, bytes);
        }
    }

    /// Bytes that all hold together.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    fn user(name: &str) -> UserHash {
        UserHash::new("i", name)
    }

    #[test]
    fn one_user_leaves_room_for_others_and_what_is_over_makes_room() {
        let mut streams = Streams::default();
        let quarter = limits::STREAMS_HELD_MAX / 4;
        let mut begin = |name: &str, now: Millis| streams.begin(&user(name), quarter, now.plus(1_000), now);
        let first = begin("alice", START).expect("room");
        assert!(begin("alice", START).is_some() && begin("alice", START).is_none());
        assert!(begin("bob", START).is_some() && begin("bob", START).is_none());
        streams.end(first);
        streams.end(first);
        assert_eq!(streams.held(), 2 * quarter);
    }

    #[test]
    fn an_answer_that_nobody_reads_any_more_is_taken_for_over() {
        let mut streams = Streams::default();
        let half = limits::STREAMS_HELD_MAX / 2;
        let first = streams.begin(&user("alice"), half, START.plus(1_000), START).expect("room");
        assert!(streams.begin(&user("alice"), half, START, START.plus(999)).is_none());
        streams.is_read(first, START.plus(2_000));
        assert!(streams.begin(&user("alice"), half, START, START.plus(1_999)).is_none());
        assert!(streams.begin(&user("alice"), half, START.plus(3_000), START.plus(2_000)).is_some());
        streams.is_read(first, START.plus(9_000));
        streams.end(first);
        assert_eq!(streams.held(), half, "the second one's");
    }
}
