//! Refusals that a space's object has given, kept until they are over: a user who asks again before that does not reach the
//! object, where everybody else of the space would wait for the refusal too. Such a user waits for the answer: a loop without a
//! pause takes the isolate from others, and each of its turns is billed as a Worker request.

use crate::{
    error::ApiError,
    ids::{SpaceHash, UserHash},
    time::Millis,
};

/// Refusals kept, and of one user at most as many as are left for all others; above it the oldest goes, whose user then reaches the object once more.
const REFUSALS_KEPT: usize = 1_000;
/// What another isolate's clock, or the object's, may be ahead is not waited for longer than this, in seconds.
pub const REFUSED_S_MAX: u32 = 60;
/// How long an answer is held back from somebody who asks before the time, in ms: at least this, less than twice. A Worker
/// that waits is billed for no CPU (workers/platform/pricing).
const HOLD_MS: u64 = 1_000;
/// Into how many moments those are spread who come at once, so that they do not come back at once.
const HOLD_MOMENTS: u64 = 16;
/// Answers held back at once by an isolate, which keeps a request in memory for each. Others are sent at once.
const HELD_MAX: usize = 256;

/// Who is refused where, and until when.
#[derive(Debug, Default)]
pub struct Refusals {
    kept: Vec<Kept>,
    /// Whose answers are held back, and until when. Kept as times, because nobody hears of a request whose client has gone away.
    held: Vec<(UserHash, Millis)>,
}

#[derive(Debug)]
struct Kept {
    user: UserHash,
    space: SpaceHash,
    until: Millis,
    of_space: bool,
}

impl Refusals {
    /// The object of `space` has told `user` to come back after some seconds, perhaps because of all users of the space.
    pub fn note(
        &mut self,
        (user, space): (&UserHash, &SpaceHash),
        retry_after_s: u32,
        of_space: bool,
        now: Millis,
    ) {
        self.kept.retain(|kept| kept.until > now && (&kept.user, &kept.space) != (user, space));
        let is_own = |kept: &Kept| kept.user == *user;
        let own = self.kept.iter().filter(|kept| is_own(kept)).count();
        if own >= REFUSALS_KEPT - self.kept.len() {
            let oldest = self.kept.iter().position(is_own).unwrap_or(0);
            self.kept.remove(oldest);
        }
        let until = now.plus(u64::from(retry_after_s.min(REFUSED_S_MAX)) * 1_000);
        self.kept.push(Kept { user: user.clone(), space: space.clone(), until, of_space });
    }

    /// # Errors
    /// [`ApiError::RateLimited`] while a refusal lasts, with what is left of its seconds.
    pub fn check(&self, user: &UserHash, space: &SpaceHash, now: Millis) -> Result<(), ApiError> {
        let mut refused = self.kept.iter().filter(|kept| (&kept.user, &kept.space) == (user, space));
        let Some(Kept { until, of_space, .. }) = refused.next() else { return Ok(()) };
        let left = until.since(now);
        // A clock that went back must not keep anybody out for as long.
        if left == 0 || left > u64::from(REFUSED_S_MAX) * 1_000 {
            return Ok(());
        }
        let retry_after_s = u32::try_from(left.div_ceil(1_000)).unwrap_or(1);
        Err(ApiError::RateLimited { retry_after_s, of_space: *of_space })
    }

    /// For how long to hold back the answer to a user who asks before the time, in ms. One user has at most as many held back as
    /// there is room for others'.
    pub fn hold_ms(&mut self, user: &UserHash, now: Millis) -> u64 {
        self.held.retain(|(_, until)| *until > now && until.since(now) < 2 * HOLD_MS);
        let own = self.held.iter().filter(|(whose, _)| whose == user).count();
        if own >= HELD_MAX - self.held.len() {
            return 0;
        }
        let hold_ms = HOLD_MS + HOLD_MS / HOLD_MOMENTS * (self.held.len() as u64 % HOLD_MOMENTS);
        self.held.push((user.clone(), now.plus(hold_ms)));
        hold_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    fn refused(refusals: &Refusals, name: &str, space: &str, now: Millis) -> Option<u32> {
        match refusals.check(&UserHash::new("i", name), &SpaceHash::private("i", space), now) {
            Ok(()) => None,
            Err(ApiError::RateLimited { retry_after_s, .. }) => Some(retry_after_s),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn note(refusals: &mut Refusals, name: &str, space: &str, seconds: u32, now: Millis) {
        let place = (&UserHash::new("i", name), &SpaceHash::private("i", space));
        refusals.note(place, seconds, false, now);
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
        assert_eq!(refusals.kept.len(), REFUSALS_KEPT);
        assert_eq!(refused(&refusals, "0", "s", START), None);
        note(&mut refusals, "alice", "s", 10, START.plus(11_000));
        assert_eq!(refusals.kept.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn whoever_is_refused_in_many_spaces_keeps_no_refusal_of_others_from_being_remembered() {
        let mut refusals = Refusals::default();
        note(&mut refusals, "bob", "s", 10, START);
        for number in 0..2 * REFUSALS_KEPT {
            note(&mut refusals, "alice", &number.to_string(), 10, START);
        }
        assert_eq!(refused(&refusals, "bob", "s", START), Some(10));
        assert_eq!(refusals.kept.len(), 1 + REFUSALS_KEPT / 2);
    }

    #[test]
    fn answers_are_held_back_as_long_as_memory_has_room_and_one_user_leaves_room_for_others() {
        let mut refusals = Refusals::default();
        let [alice, bob] = ["alice", "bob"].map(|name| UserHash::new("i", name));
        let holds: Vec<u64> = (0..HELD_MAX / 2).map(|_| refusals.hold_ms(&alice, START)).collect();
        assert!(holds.iter().all(|hold_ms| (HOLD_MS..2 * HOLD_MS).contains(hold_ms)));
        assert_eq!(holds[..2], [1_000, 1_062], "those who come at once do not come back at once");
        assert_eq!(refusals.hold_ms(&alice, START.plus(HOLD_MS - 1)), 0, "no room is left for her");
        assert_eq!(refusals.hold_ms(&bob, START), HOLD_MS);
        assert_eq!(refusals.hold_ms(&alice, START.plus(2 * HOLD_MS)), HOLD_MS, "the others are over");
        assert_eq!(refusals.hold_ms(&alice, Millis(START.0 - 3_600_000)), HOLD_MS, "a clock went back");
        assert_eq!(refusals.held.len(), 1);
    }
}
