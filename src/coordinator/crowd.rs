//! Pages and who reads them. Each takes the object some thousandths of a second, and an edge as many; whoever asks for many
//! at once must not have all of them before anybody else is heard.

use crate::{ids::UserHash, limits, time::Millis};

/// Who has just read a page. One user reads one of them at a moment, however many that user asks for.
#[derive(Debug, Default)]
pub struct Crowd {
    readers: Vec<UserHash>,
    /// When they did.
    at: Millis,
}

impl Crowd {
    /// Whether a user may read a page now, or has to wait for another turn of the event loop. Within one turn the clock of the
    /// platform stands still.
    #[must_use]
    pub fn may_read(&self, user: &UserHash, now: Millis) -> bool {
        now != self.at || !self.readers.contains(user)
    }

    /// A user has read so many bytes.
    pub fn has_read(&mut self, user: &UserHash, bytes: usize, now: Millis) {
        if now != self.at {
            self.readers.clear();
            self.at = now;
        }
        if bytes >= limits::RATE_UNIT_BYTES {
            self.readers.push(user.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    #[test]
    fn a_user_reads_one_page_at_a_moment_and_keeps_nobody_else_from_it() {
        let user = |name: &str| UserHash::new("https://issuer.example", name);
        let mut crowd = Crowd::default();
        assert!(crowd.may_read(&user("alice"), START));
        crowd.has_read(&user("alice"), limits::JSON_PAGE_BYTES, START);
        crowd.has_read(&user("bob"), 1_000, START);
        let may = |crowd: &Crowd, name: &str, ms: u64| crowd.may_read(&user(name), START.plus(ms));
        assert_eq!(
            (may(&crowd, "alice", 0), may(&crowd, "bob", 0), may(&crowd, "carol", 0)),
            (false, true, true)
        );
        assert!(may(&crowd, "alice", 1));
        crowd.has_read(&user("bob"), limits::JSON_PAGE_BYTES, START.plus(1));
        assert_eq!((may(&crowd, "alice", 1), may(&crowd, "bob", 1)), (true, false));
    }
}
