//! Time in the core. It is always handed in; nothing here reads a clock.

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;

/// Milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This time plus `ms` milliseconds.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The next 00:00 UTC, when the platform counts anew what a day may use.
    #[must_use]
    pub const fn next_day(self) -> Self {
        Self((self.0 / DAY_MS + 1).saturating_mul(DAY_MS))
    }

    /// The day, counted from the Unix epoch, in UTC.
    #[must_use]
    pub const fn day(self) -> u64 {
        self.0 / DAY_MS
    }

    /// Milliseconds from `earlier` to this time; 0 if that lies ahead, as it may between two machines' clocks.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What is said once an hour at most.
#[derive(Debug, Default)]
pub struct Hourly(Option<Millis>);

impl Hourly {
    /// Whether it is to be said now; then it is not for another hour.
    pub fn is_due(&mut self, now: Millis) -> bool {
        let is_due = self.0.is_none_or(|said| now.since(said) >= HOUR_MS);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_and_the_next_one_begins_there() {
        for (now, next) in [(0, DAY_MS), (DAY_MS - 1, DAY_MS), (DAY_MS, 2 * DAY_MS)] {
            assert_eq!(Millis(now).next_day(), Millis(next));
        }
    }

    #[test]
    fn what_is_said_hourly_is_said_at_once_and_again_after_an_hour() {
        let mut hourly = Hourly::default();
        let said: Vec<_> =
            [0, 1, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, 3 * HOUR_MS].map(|ms| hourly.is_due(Millis(ms))).into();
        assert_eq!(said, [true, false, false, true, false, true]);
    }
}
