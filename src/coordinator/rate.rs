//! How much of its object one user may take, and all users of the space together.
//!
//! An object has one thread, and everybody of its space waits for it. So each call is paid for out of two token buckets,
//! in units of what a small call costs an object, about a thousandth of a second. A call is admitted while its user is not
//! in debt, and then charged what it cost, which may leave a debt: a big push is admitted as readily as a small one, and
//! delays what follows it.
//!
//! The buckets are in memory alone. When the instance ends they are full again, which is harmless: they bound what is taken
//! of this instance's thread, and nothing waits in an instance that begins. Nobody can bring that about by calling.

use super::ledger::Rows;
use crate::{error::ApiError, ids::UserHash, limits, time::Millis};

/// Units a second that a bucket gains, and how many it holds at most: so many seconds' worth.
pub const BURST_S: u64 = 10;
/// Users whose buckets are kept; of a hundred bytes each.
const USERS_REMEMBERED: usize = 1_000;
/// Balances are kept in thousandths of a unit, which is what a millisecond brings at one unit a second.
const UNIT: i64 = 1_000;

/// Units a second; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// Of one user in one space.
    pub user_per_s: u32,
    /// Of all users of a space together.
    pub space_per_s: u32,
}

/// The buckets of one space.
#[derive(Debug)]
pub struct Rate {
    config: RateConfig,
    space: Bucket,
    /// The longest unused first: it goes first when there are too many.
    users: Vec<(UserHash, Bucket)>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a unit; below 0 it is a debt.
    balance: i64,
    at: Millis,
}

impl Bucket {
    fn full(per_s: u32, now: Millis) -> Self {
        Self { balance: burst(per_s), at: now }
    }

    fn gain(&mut self, per_s: u32, now: Millis) {
        let gained = now.since(self.at).saturating_mul(u64::from(per_s));
        let balance = self.balance.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX));
        *self = Self { balance: balance.min(burst(per_s)), at: now };
    }

    /// Seconds until it holds a unit, if it does not.
    fn wait_s(&self, per_s: u32) -> Option<u32> {
        let missing = u64::try_from(UNIT.saturating_sub(self.balance)).ok().filter(|missing| *missing > 0)?;
        let seconds = missing.div_ceil(u64::from(per_s) * UNIT as u64);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

fn burst(per_s: u32) -> i64 {
    i64::from(per_s) * BURST_S as i64 * UNIT
}

/// Units that a call costs beyond the one it is admitted for: `bytes` that were read or written for it, and `changes`.
#[must_use]
pub fn cost(bytes: usize, changes: usize) -> u64 {
    (bytes / limits::RATE_UNIT_BYTES + changes / limits::RATE_UNIT_CHANGES) as u64
}

/// Units that it costs to read or write rows outside of a push.
#[must_use]
pub fn cost_of_rows(rows: Rows) -> u64 {
    (rows.read as usize + rows.written as usize) as u64 / limits::RATE_UNIT_ROWS as u64
}

fn thousandths(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(UNIT)
}

impl Rate {
    /// Full buckets.
    #[must_use]
    pub fn new(config: RateConfig, now: Millis) -> Self {
        Self { config, space: Bucket::full(config.space_per_s, now), users: Vec::new() }
    }

    /// Admits a call of `user`, who pays a unit for it. The space does not pay before the call is charged: those who may not
    /// do there what they ask for cannot keep out those who may.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] says when it would be admitted. Nothing is paid then.
    pub fn admit(&mut self, user: &UserHash, now: Millis) -> Result<(), ApiError> {
        let space_per_s = self.config.space_per_s;
        let mut wait = None;
        if space_per_s > 0 {
            self.space.gain(space_per_s, now);
            wait = self.space.wait_s(space_per_s);
        }
        self.admit_after(wait, user, now)
    }

    /// Admits a call that only an owner may make, whatever the space has left: whoever uses up what all have together could
    /// not be removed otherwise.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_owners(&mut self, user: &UserHash, now: Millis) -> Result<(), ApiError> {
        self.admit_after(None, user, now)
    }

    /// Admits a call of `user` unless the space has to `wait`, or the user has.
    fn admit_after(&mut self, wait: Option<u32>, user: &UserHash, now: Millis) -> Result<(), ApiError> {
        let user_per_s = self.config.user_per_s;
        let mut own_wait = None;
        if user_per_s > 0 {
            let bucket = self.user(user, now);
            own_wait = bucket.wait_s(user_per_s);
            if wait.max(own_wait).is_none() && !planted!(AdmittedFree) {
                bucket.balance -= UNIT;
            }
        }
        let of_space = own_wait.is_none();
        // Whoever is refused for both hears of their own first: what the space has left keeps no owner out.
        own_wait
            .or(wait)
            .map_or(Ok(()), |retry_after_s| Err(ApiError::RateLimited { retry_after_s, of_space }))
    }

    /// Whether a call that was admitted may go on after it has waited: not if others of its user have meanwhile cost more than
    /// the user has. Without that, all calls that arrive at once would be admitted, whatever the first of them turns out to
    /// cost.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_again(&mut self, user: &UserHash, now: Millis) -> Result<(), ApiError> {
        let per_s = self.config.user_per_s;
        let bucket = (per_s > 0).then(|| *self.user(user, now)).filter(|bucket| bucket.balance < 0);
        let wait = bucket.and_then(|bucket| bucket.wait_s(per_s));
        wait.map_or(Ok(()), |retry_after_s| Err(ApiError::RateLimited { retry_after_s, of_space: false }))
    }

    /// Charges an admitted call what it cost beyond its unit.
    pub fn charge(&mut self, user: &UserHash, units: u64, now: Millis) {
        self.charge_refused(user, units, now);
        let thousandths = thousandths(units).saturating_add(UNIT);
        self.space.balance = self.space.balance.saturating_sub(thousandths);
    }

    /// Charges whoever made a call that was admitted but may not do what it asks for: the user alone, for the same reason
    /// for which [`Self::admit`] takes nothing from the space.
    pub fn charge_refused(&mut self, user: &UserHash, units: u64, now: Millis) {
        if self.config.user_per_s > 0 {
            let bucket = self.user(user, now);
            bucket.balance = bucket.balance.saturating_sub(thousandths(units));
        }
    }

    /// The bucket of a user, who is now the one that called last.
    fn user(&mut self, user: &UserHash, now: Millis) -> &mut Bucket {
        // Whoever called lately is found at once.
        let (name, mut bucket) = match self.users.iter().rposition(|(name, _)| name == user) {
            Some(at) => self.users.remove(at),
            None => {
                if self.users.len() >= USERS_REMEMBERED {
                    self.users.remove(0);
                }
                (user.clone(), Bucket::full(self.config.user_per_s, now))
            }
        };
        bucket.gain(self.config.user_per_s, now);
        self.users.push((name, bucket));
        let last = self.users.len() - 1;
        &mut self.users[last].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    const CONFIG: RateConfig = RateConfig { user_per_s: 100, space_per_s: 500 };

    fn user(name: &str) -> UserHash {
        UserHash::new("https://issuer.example", name)
    }

    /// Calls at once until one is refused; how many were admitted, and when to try again.
    fn drain(rate: &mut Rate, name: &str, now: Millis) -> (usize, u32) {
        for admitted in 0.. {
            match rate.admit(&user(name), now) {
                Ok(()) => rate.charge(&user(name), 0, now),
                Err(ApiError::RateLimited { retry_after_s, .. }) => return (admitted, retry_after_s),
                Err(error) => panic!("{error:?}"),
            }
        }
        unreachable!("a bucket has an end")
    }

    #[test]
    fn a_user_has_ten_seconds_worth_and_then_what_comes_in() {
        let mut rate = Rate::new(CONFIG, START);
        assert_eq!(drain(&mut rate, "alice", START), (1_000, 1));
        assert_eq!(drain(&mut rate, "alice", START.plus(9)), (0, 1));
        assert_eq!(drain(&mut rate, "alice", START.plus(10)), (1, 1));
        assert_eq!(drain(&mut rate, "alice", START.plus(1_010)), (100, 1));
        assert_eq!(drain(&mut rate, "alice", START.plus(3_600_000)), (1_000, 1));
    }

    #[test]
    fn a_refusal_costs_nothing_and_its_wait_is_kept() {
        let mut rate = Rate::new(CONFIG, START);
        drain(&mut rate, "alice", START);
        rate.charge(&user("alice"), 1_234, START);
        let (_, wait) = drain(&mut rate, "alice", START);
        assert_eq!(wait, 13, "1,235 units at 100 a second, rounded up");
        for early in 0..100 {
            assert_eq!(drain(&mut rate, "alice", START.plus(early)).0, 0);
        }
        assert!(rate.admit(&user("alice"), START.plus(u64::from(wait) * 1_000)).is_ok());
    }

    #[test]
    fn whoever_is_in_debt_keeps_out_nobody_else() {
        let mut rate = Rate::new(CONFIG, START);
        drain(&mut rate, "alice", START);
        assert_eq!(drain(&mut rate, "bob", START).0, 1_000);
    }

    #[test]
    fn all_of_a_space_share_its_bucket_and_are_told_the_longer_wait() {
        let mut rate = Rate::new(CONFIG, START);
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(drain(&mut rate, name, START).0, 1_000);
        }
        assert_eq!(drain(&mut rate, "f", START), (0, 1), "the space has had its 5,000");
        rate.charge(&user("a"), 10_000, START);
        assert_eq!(drain(&mut rate, "f", START), (0, 21));
        assert_eq!(drain(&mut rate, "a", START), (0, 101));
    }

    #[test]
    fn a_call_that_is_never_charged_does_not_cost_the_space() {
        let mut rate = Rate::new(CONFIG, START);
        for stranger in 0..100 {
            while rate.admit(&user(&stranger.to_string()), START).is_ok() {}
        }
        assert_eq!(drain(&mut rate, "alice", START).0, 1_000);
    }

    #[test]
    fn whoever_exhausts_the_space_can_be_removed_by_an_owner() {
        let mut rate = Rate::new(CONFIG, START);
        assert!(rate.admit(&user("mallory"), START).is_ok());
        rate.charge(&user("mallory"), 1_000_000, START);
        let of_space = Err(ApiError::RateLimited { retry_after_s: 1_991, of_space: true });
        assert_eq!(rate.admit(&user("owner"), START), of_space);
        assert_eq!(rate.admit_owners(&user("owner"), START), Ok(()));
        rate.charge(&user("owner"), 0, START);
        while rate.admit_owners(&user("owner"), START).is_ok() {}
        let own = Err(ApiError::RateLimited { retry_after_s: 1, of_space: false });
        assert_eq!(rate.admit_owners(&user("owner"), START), own, "it is paid for all the same");
        assert!(matches!(rate.admit_owners(&user("mallory"), START), Err(ApiError::RateLimited { .. })));
    }

    #[test]
    fn a_stranger_pays_for_the_bodies_that_are_not_taken_and_the_space_does_not() {
        let mut rate = Rate::new(CONFIG, START);
        let mut refused = 0;
        while rate.admit(&user("eve"), START).is_ok() {
            rate.charge_refused(&user("eve"), cost(limits::BODY_BYTES_MAX, 0), START);
            refused += 1;
        }
        assert_eq!(refused, 16, "1,000 units, and 65 a time");
        assert_eq!(rate.space.balance, burst(500));
    }

    #[test]
    fn a_big_push_is_admitted_once_and_delays_the_next() {
        let mut rate = Rate::new(RateConfig { user_per_s: 1, space_per_s: 0 }, START);
        assert!(rate.admit(&user("alice"), START).is_ok());
        rate.charge(&user("alice"), cost(4 * 1024 * 1024, 2_000), START);
        assert_eq!(cost(4 * 1024 * 1024, 2_000), 64 + 100);
        assert_eq!(
            drain(&mut rate, "alice", START).1,
            156,
            "the burst of 10 is used up, 155 and one are missing"
        );
    }

    #[test]
    fn what_waits_is_refused_when_its_user_has_come_into_debt_meanwhile() {
        let mut rate = Rate::new(CONFIG, START);
        for name in ["alice", "bob"] {
            for _ in 0..1_000 {
                assert!(rate.admit(&user(name), START).is_ok());
            }
        }
        assert_eq!(rate.admit_again(&user("alice"), START), Ok(()), "it has paid with the last unit");
        rate.charge(&user("alice"), 250, START);
        let refused = Err(ApiError::RateLimited { retry_after_s: 3, of_space: false });
        assert_eq!(rate.admit_again(&user("alice"), START), refused);
        assert_eq!(rate.admit_again(&user("bob"), START), Ok(()), "it is not his debt");
        assert_eq!(rate.admit_again(&user("alice"), START.plus(2_500)), Ok(()));
    }

    #[test]
    fn zero_is_no_bound() {
        let mut rate = Rate::new(RateConfig { user_per_s: 0, space_per_s: 0 }, START);
        for _ in 0..100_000 {
            assert!(rate.admit(&user("alice"), START).is_ok());
            rate.charge(&user("alice"), 1_000, START);
            assert!(rate.admit_again(&user("alice"), START).is_ok());
        }
        assert!(rate.users.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_longest_unused_user_goes_first() {
        let mut rate = Rate::new(RateConfig { user_per_s: 100, space_per_s: 0 }, START);
        drain(&mut rate, "first", START);
        drain(&mut rate, "second", START);
        let name = |number: usize| number.to_string();
        for number in 0..USERS_REMEMBERED - 2 {
            assert!(rate.admit(&user(&name(number)), START).is_ok());
        }
        assert_eq!(drain(&mut rate, "first", START).0, 0, "it is remembered, and the last one used now");
        assert!(rate.admit(&user("newcomer"), START).is_ok());
        assert_eq!(rate.users.len(), USERS_REMEMBERED);
        assert_eq!(drain(&mut rate, "first", START).0, 0);
        assert_eq!(drain(&mut rate, "second", START).0, 1_000, "it was the longest unused");
    }

    #[test]
    fn no_clock_and_no_cost_breaks_it() {
        let mut rate = Rate::new(RateConfig { user_per_s: u32::MAX, space_per_s: u32::MAX }, START);
        for now in [Millis(0), Millis(u64::MAX), Millis(0), START] {
            let _ = rate.admit(&user("alice"), now);
            rate.charge(&user("alice"), u64::MAX, now);
            rate.charge(&user("alice"), u64::MAX, now);
        }
        let mut rate = Rate::new(CONFIG, START);
        drain(&mut rate, "alice", START);
        assert_eq!(
            drain(&mut rate, "alice", Millis(START.0 - 60_000)).0,
            0,
            "a clock that goes back brings nothing"
        );
        assert_eq!(drain(&mut rate, "alice", Millis(START.0 - 59_000)).0, 100, "and takes nothing");
    }
}
