//! Refusals that a space's object has given, kept until they are over: a user who asks again before that does not reach the
//! object, where everybody else of the space would wait for the refusal too.

use crate::{
    ids::{SpaceHash, UserHash},
    protocol::error::ApiError,
    time::Millis,
};

/// Refusals kept; above it the oldest goes, whose user then reaches the object once more.
const REFUSALS_KEPT: usize = 1_000;
/// What another isolate's clock, or the object's, may be ahead is not waited for longer than this, in seconds.
const REFUSED_S_MAX: u32 = 60;

/// Who is refused where, and until when.
#[derive(Debug, Default)]
pub struct Refusals(Vec<(UserHash, SpaceHash, Millis)>);

impl Refusals {
    /// The object of `space` has told `user` to come back after some seconds.
    pub fn note(&mut self, user: &UserHash, space: &SpaceHash, retry_after_s: u32, now: Millis) {
        self.0.retain(|(whose, where_, until)| *until > now && (whose, where_) != (user, space));
        if self.0.len() >= REFUSALS_KEPT {
            self.0.remove(0);
        }
        let until = now.plus(u64::from(retry_after_s.min(REFUSED_S_MAX)) * 1_000);
        self.0.push((user.clone(), space.clone(), until));
    }

    /// # Errors
    /// [`ApiError::RateLimited`] while a refusal lasts, with what is left of its seconds.
    pub fn check(&self, user: &UserHash, space: &SpaceHash, now: Millis) -> Result<(), ApiError> {
        let mut refused = self.0.iter().filter(|(whose, where_, _)| (whose, where_) == (user, space));
        let left = refused.next().map_or(0, |(_, _, until)| until.since(now));
        // A clock that went back must not keep anybody out for as long.
        if left == 0 || left > u64::from(REFUSED_S_MAX) * 1_000 {
            return Ok(());
        }
        Err(ApiError::RateLimited { retry_after_s: u32::try_from(left.div_ceil(1_000)).unwrap_or(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    fn refused(refusals: &Refusals, name: &str, space: &str, now: Millis) -> Option<u32> {
        match refusals.check(&UserHash::new("i", name), &SpaceHash::private("i", space), now) {
            Ok(()) => None,
            Err(ApiError::RateLimited { retry_after_s }) => Some(retry_after_s),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn note(refusals: &mut Refusals, name: &str, space: &str, seconds: u32, now: Millis) {
        refusals.note(&UserHash::new("i", name), &SpaceHash::private("i", space), seconds, now);
    }

    #[test]
    fn a_refusal_lasts_for_its_user_and_space_until_it_is_over() {
        let mut refusals = Refusals::default();
        note(&mut refusals, "alice", "s", 3, START);
        assert_eq!(refused(&refusals, "alice", "s", START), Some(3));
        assert_eq!(refused(&refusals, "alice", "s", START.plus(2_999)), Some(1));
        assert_eq!(refused(&refusals, "alice", "s", START.plus(3_000)), None);
        assert_eq!(refused(&refusals, "alice", "other", START), None);
        assert_eq!(refused(&refusals, "bob", "s", START), None);
    }

    #[test]
    fn the_newest_refusal_counts_and_a_clock_that_goes_back_keeps_nobody_out() {
        let mut refusals = Refusals::default();
        note(&mut refusals, "alice", "s", 30, START);
        note(&mut refusals, "alice", "s", 1, START);
        assert_eq!(refused(&refusals, "alice", "s", START), Some(1));
        note(&mut refusals, "alice", "s", u32::MAX, START);
        assert_eq!(refused(&refusals, "alice", "s", START), Some(60), "no longer than a minute from here");
        assert_eq!(refused(&refusals, "alice", "s", Millis(START.0 - 3_600_000)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..REFUSALS_KEPT + 100 {
            note(&mut refusals, &number.to_string(), "s", 10, START);
        }
        assert_eq!(refusals.0.len(), REFUSALS_KEPT);
        assert_eq!(refused(&refusals, "0", "s", START), None);
        note(&mut refusals, "alice", "s", 10, START.plus(11_000));
        assert_eq!(refusals.0.len(), 1, "what is over is forgotten");
    }
}
