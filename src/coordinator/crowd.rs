//! Pages and who reads them. Each takes the object some thousandths of a second, and an edge as many; whoever asks for many
//! at once must not have all of them before anybody else is heard.

use crate::{ids::UserHash, limits, time::Millis};

/// From one page of a user to the next, in ms. On a line of its own a client asks for no page before it has the last.
const BETWEEN_PAGES_MS: u64 = 30;
/// What lies further ahead was noted by a clock that has gone back, in ms.
const AHEAD_MS_MAX: u64 = 60_000;

/// When the last page of each user was read, or is to be.
#[derive(Debug, Default)]
pub struct Crowd(Vec<(UserHash, Millis)>);

impl Crowd {
    /// Whether a user has to wait before reading a page.
    #[must_use]
    pub fn has_to_wait(&self, user: &UserHash, now: Millis) -> bool {
        self.next(user, now) > now
    }

    /// Gives a user the next place, and says how long to wait for it, in ms.
    pub fn wait_ms(&mut self, user: &UserHash, now: Millis) -> u64 {
        let place = self.next(user, now);
        self.note(user, place, now);
        place.since(now)
    }

    /// A user has read so many bytes.
    pub fn has_read(&mut self, user: &UserHash, bytes: usize, now: Millis) {
        if bytes >= limits::RATE_UNIT_BYTES && !self.has_to_wait(user, now) {
            self.note(user, now, now);
        }
    }

    fn next(&self, user: &UserHash, now: Millis) -> Millis {
        let last = self.0.iter().find(|(reader, at)| reader == user && at.since(now) < AHEAD_MS_MAX);
        last.map_or(now, |(_, at)| at.plus(BETWEEN_PAGES_MS).max(now))
    }

    fn note(&mut self, user: &UserHash, at: Millis, now: Millis) {
        let is_over = |last: Millis| now.since(last) >= BETWEEN_PAGES_MS || last.since(now) >= AHEAD_MS_MAX;
        self.0.retain(|(reader, last)| reader != user && !is_over(*last));
        self.0.push((user.clone(), at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    #[test]
    fn pages_of_a_user_keep_their_distance_and_keep_nobody_else_from_reading() {
        let [alice, bob] = ["alice", "bob"].map(|name| UserHash::new("https://issuer.example", name));
        let mut crowd = Crowd::default();
        crowd.has_read(&alice, limits::JSON_PAGE_BYTES, START);
        crowd.has_read(&bob, 1_000, START);
        assert!(crowd.has_to_wait(&alice, START.plus(29)) && !crowd.has_to_wait(&bob, START.plus(5)));
        let waits = [5, 5, 6].map(|ms| crowd.wait_ms(&alice, START.plus(ms)));
        assert_eq!(waits, [25, 55, 84], "each has a place of its own");
        crowd.has_read(&alice, limits::JSON_PAGE_BYTES, START.plus(30));
        assert_eq!(crowd.wait_ms(&alice, START.plus(30)), 90, "who reads in turn moves nobody");
        assert!(!crowd.has_to_wait(&alice, START.plus(150)));
        assert!(!crowd.has_to_wait(&alice, Millis(START.0 - 3_600_000)), "a clock went back");
        crowd.has_read(&bob, limits::JSON_PAGE_BYTES, START.plus(150));
        assert_eq!(crowd.0.len(), 1, "who may read again is forgotten");
    }
}
