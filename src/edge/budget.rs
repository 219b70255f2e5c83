//! What an isolate makes of the day's budget of object requests: it counts its own, says so in portions, and hears how much is
//! left. Without a budget it does nothing.

use crate::{
    call::{BudgetAnswer, Left},
    error::ApiError,
    ids::UserHash,
    time::Millis,
};

/// Requests of objects that an isolate makes before it says so. Each time is one request more, so it adds 3 %.
pub(super) const COUNTED_AT_ONCE: u32 = 32;
/// Pauses of users that are remembered; above it the oldest goes.
const PAUSES_KEPT: usize = 100;

/// The requests of objects that an isolate makes.
#[derive(Debug)]
pub(super) struct ObjectRequests {
    has_budget: bool,
    /// How many the budget has not been told of. None before the first.
    uncounted: Option<u32>,
    /// What was last said of the day, and until when it holds.
    left: (Left, Left, Millis),
    /// Who pauses, and until when.
    pauses: Vec<(UserHash, Millis)>,
}

impl ObjectRequests {
    pub(super) fn new(has_budget: bool) -> Self {
        Self {
            has_budget,
            uncounted: None,
            left: (Left::Enough, Left::Enough, Millis(0)),
            pauses: Vec::new(),
        }
    }

    /// Whether somebody counts them.
    pub(super) fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// One is made; whether the budget has to be told. An isolate that ends takes what it has not told with it, so each begins with
    /// as many as `chance` says: on average all are told.
    pub(super) fn count(&mut self, chance: u64) -> bool {
        if !self.has_budget {
            return false;
        }
        let first = || u32::try_from(chance % u64::from(COUNTED_AT_ONCE)).unwrap_or(0);
        let uncounted = self.uncounted.unwrap_or_else(first) + 1;
        self.uncounted = Some(uncounted % COUNTED_AT_ONCE);
        uncounted >= COUNTED_AT_ONCE
    }

    /// What the budget has answered to the last count, which was in the name of `user`.
    pub(super) fn learn(&mut self, user: &UserHash, answer: &BudgetAnswer, now: Millis) {
        // What was said of a day that is over says nothing of this one.
        if answer.day < now.day() {
            return;
        }
        self.left = (answer.object_requests, answer.kv_writes, now.next_day());
        self.pauses.retain(|(_, until)| *until > now);
        if answer.pause_s > 0 {
            if self.pauses.len() >= PAUSES_KEPT {
                self.pauses.remove(0);
            }
            self.pauses.push((user.clone(), now.plus(u64::from(answer.pause_s) * 1_000)));
        }
    }

    /// How much is left of the day's requests, as far as this isolate knows.
    pub(super) fn left(&self, now: Millis) -> Left {
        let (left, _, until) = self.left;
        if now < until { left } else { Left::Enough }
    }

    /// The same of its KV writes.
    pub(super) fn kv_writes_left(&self, now: Millis) -> Left {
        let (_, left, until) = self.left;
        if now < until { left } else { Left::Enough }
    }

    /// Whether `user` may make one. The last reserve is for whatever is no pull.
    ///
    /// # Errors
    /// [`ApiError::OverBudget`] with the seconds until then.
    pub(super) fn check(&self, user: &UserHash, is_pull: bool, now: Millis) -> Result<(), ApiError> {
        let pause = self.pauses.iter().find(|(who, until)| who == user && *until > now);
        let ends = (is_pull && self.left(now) >= Left::Reserve).then(|| now.next_day());
        let Some(until) = ends.max(pause.map(|(_, until)| *until)) else { return Ok(()) };
        let left_s = until.since(now).min(now.next_day().since(now)).div_ceil(1_000);
        Err(ApiError::OverBudget { retry_after_s: u32::try_from(left_s).unwrap_or(u32::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::START;

    fn answer(object_requests: Left, pause_s: u32) -> BudgetAnswer {
        BudgetAnswer { object_requests, pause_s, day: START.day(), ..BudgetAnswer::default() }
    }

    #[test]
    fn on_average_every_request_is_told_however_soon_isolates_end() {
        let (mut told, mut made) = (0, 0);
        for chance in 0..3_200_u64 {
            let mut requests = ObjectRequests::new(true);
            for _ in 0..chance % 7 {
                told += u64::from(requests.count(chance.wrapping_mul(0x9e37_79b9) >> 7));
                made += 1;
            }
        }
        let counted = told * u64::from(COUNTED_AT_ONCE);
        assert!(counted.abs_diff(made) < made / 5, "{counted} of {made}");
        assert!((0..100).all(|chance| !ObjectRequests::new(false).count(chance)));
    }

    #[test]
    fn the_reserve_is_for_pushes_and_a_pause_is_for_its_user_and_both_end() {
        let [alice, bob] = ["alice", "bob"].map(|name| UserHash::new("i", name));
        let mut requests = ObjectRequests::new(true);
        requests.learn(&alice, &answer(Left::Low, 60), START);
        let over = |retry_after_s| Err(ApiError::OverBudget { retry_after_s });
        assert_eq!(requests.check(&alice, false, START), over(60));
        assert_eq!((requests.check(&bob, true, START), requests.left(START)), (Ok(()), Left::Low));
        assert_eq!(requests.check(&alice, false, START.plus(60_000)), Ok(()));
        requests.learn(&bob, &answer(Left::Reserve, 0), START);
        let rest_s = u32::try_from(START.next_day().since(START) / 1_000).expect("a day");
        assert_eq!(
            (requests.check(&bob, true, START), requests.check(&bob, false, START)),
            (over(rest_s), Ok(()))
        );
        let tomorrow = START.next_day();
        assert_eq!((requests.check(&bob, true, tomorrow), requests.left(tomorrow)), (Ok(()), Left::Enough));
        requests.learn(&bob, &answer(Left::Nothing, 60), tomorrow);
        assert_eq!(requests.left(tomorrow), Left::Enough, "an answer of yesterday that comes late");
    }
}
