//! Which requests that fail get a line of the log. Each line is billed, and some requests fail because their user wants them to.

use crate::{ids::UserHash, shares::Shares, time::Millis};

/// Lines that an isolate writes of failed requests in a minute.
const LINES_MAX: usize = 100;
const MINUTE_MS: u64 = 60_000;

/// The lines of this minute, and whose they are.
#[derive(Debug)]
pub(super) struct FailureLines {
    began: Millis,
    told: Shares,
    untold: u64,
}

impl Default for FailureLines {
    fn default() -> Self {
        Self { began: Millis(0), told: Shares::new(LINES_MAX), untold: 0 }
    }
}

impl FailureLines {
    /// Whether a request that has failed gets a line, and if so, how many have got none since the last one that did. Nobody has
    /// more lines than are left for all others.
    pub(super) fn tell(&mut self, user: &UserHash, now: Millis) -> Option<u64> {
        // A clock that went back begins a minute too.
        if now < self.began || now.since(self.began) >= MINUTE_MS {
            self.began = now;
            self.told = Shares::new(LINES_MAX);
        }
        if self.told.take(user, 1) {
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    #[test]
    fn whoever_makes_requests_fail_leaves_lines_for_others_and_the_next_line_counts_what_was_left_out() {
        let mut lines = FailureLines::default();
        let [mallory, alice] = ["mallory", "alice"].map(|name| UserHash::new("i", name));
        let told = (0..1_000).filter(|_| lines.tell(&mallory, START).is_some()).count();
        assert_eq!(told, LINES_MAX / 2);
        assert_eq!(lines.tell(&alice, START), Some(950));
        assert_eq!(lines.tell(&mallory, START.plus(MINUTE_MS - 1)), None);
        assert_eq!(lines.tell(&mallory, START.plus(MINUTE_MS)), Some(1), "each minute has lines of its own");
        assert!(
            lines.tell(&mallory, Millis(START.0 - 1)).is_some(),
            "a clock that goes back silences nobody"
        );
    }
}
