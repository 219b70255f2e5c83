//! Pages and who reads them. Each takes the object some thousandths of a second, and an edge as many; whoever asks for many
//! at once must not have all of them before anybody else is heard.

use crate::{ids::UserHash, limits, time::Millis};

/// From one page of a user to the next, in ms. On a line of its own a client asks for no page before it has the last.
const BETWEEN_PAGES_MS: u64 = 20;

/// Who has just read a page, and when.
#[derive(Debug, Default)]
pub struct Crowd(Vec<(UserHash, Millis)>);

impl Crowd {
    /// How long a user has to wait before reading a page, in ms.
    #[must_use]
    pub fn wait_ms(&self, user: &UserHash, now: Millis) -> u64 {
        let read = self.0.iter().find(|(reader, at)| reader == user && *at <= now);
        read.map_or(0, |(_, at)| BETWEEN_PAGES_MS.saturating_sub(now.since(*at)))
    }

    /// A user has read so many bytes.
    pub fn has_read(&mut self, user: &UserHash, bytes: usize, now: Millis) {
        self.0.retain(|(reader, at)| reader != user && *at <= now && now.since(*at) < BETWEEN_PAGES_MS);
        if bytes >= limits::RATE_UNIT_BYTES {
            self.0.push((user.clone(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    #[test]
    fn pages_of_a_user_keep_their_distance_and_keep_nobody_else_from_reading() {
        let user = |name: &str| UserHash::new("https://issuer.example", name);
        let mut crowd = Crowd::default();
        let wait = |crowd: &Crowd, name: &str, ms: u64| crowd.wait_ms(&user(name), START.plus(ms));
        crowd.has_read(&user("alice"), limits::JSON_PAGE_BYTES, START);
        crowd.has_read(&user("bob"), 1_000, START.plus(5));
        assert_eq!((wait(&crowd, "alice", 5), wait(&crowd, "bob", 5), wait(&crowd, "carol", 5)), (15, 0, 0));
        assert_eq!(wait(&crowd, "alice", 20), 0);
        crowd.has_read(&user("bob"), limits::JSON_PAGE_BYTES, START.plus(20));
        assert_eq!(crowd.0.len(), 1, "who may read again is forgotten");
        assert_eq!(crowd.wait_ms(&user("bob"), Millis(START.0 - 3_600_000)), 0, "a clock went back");
    }
}
