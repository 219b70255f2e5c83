//! What was used, by days.

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::{
    call::Usage,
    time::{DAY_MS, Millis},
};

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(u64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub const fn of(at: Millis) -> Self {
        Self(at.day())
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The day before; of the first one itself.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(in crate::coordinator) const fn is_first(&self) -> bool {
        self.0 == 0
    }

    /// As `2026-11-30`.
    #[must_use]
    pub fn to_date(self) -> String {
        let ms = i64::try_from(self.0.saturating_mul(DAY_MS)).unwrap_or(i64::MAX);
        DateTime::from_timestamp_millis(ms).unwrap_or_default().date_naive().to_string()
    }
}

/// What was used on some days. As text, `20787:1,0,3;20788:2`: days with the numbers of their meters, without the zeros at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct DailyUsage(Vec<(Day, Usage)>);

impl DailyUsage {
    /// Out of its text. What cannot be read is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for (day, numbers) in text.split(';').filter_map(|entry| entry.split_once(':')) {
            let Ok(day) = day.parse() else { continue };
            let numbers: Vec<_> = numbers.split(',').map_while(|number| number.parse().ok()).collect();
            all.count(Day(day), &Usage::of_numbers(&numbers));
        }
        all
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (Day(day), usage) in &self.0 {
            let numbers = usage.numbers();
            let Some(last) = numbers.iter().rposition(|number| *number > 0) else { continue };
            let between = if text.is_empty() { "" } else { ";" };
            text.push_str(&format!("{between}{day}"));
            for (at, number) in numbers[..=last].iter().enumerate() {
                text.push_str(&format!("{}{number}", if at == 0 { ':' } else { ',' }));
            }
        }
        text
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, used)| used.is_nothing())
    }

    /// Each day with what was used on it, the oldest first.
    pub fn days(&self) -> impl Iterator<Item = (Day, &Usage)> {
        self.0.iter().map(|(day, used)| (*day, used))
    }

    /// What was used on all days.
    #[must_use]
    pub fn total(&self) -> Usage {
        let mut total = Usage::default();
        self.0.iter().for_each(|(_, used)| total.add(used));
        total
    }

    /// Counts what was used on a day.
    pub fn count(&mut self, day: Day, used: &Usage) {
        if used.is_nothing() {
            return;
        }
        let at = self.0.iter().position(|(of, _)| *of >= day).unwrap_or(self.0.len());
        match self.0.get_mut(at).filter(|(of, _)| *of == day) {
            Some((_, own)) => own.add(used),
            None => self.0.insert(at, (day, *used)),
        }
    }

    /// Counts all of another.
    pub fn add(&mut self, more: &Self) {
        more.days().for_each(|(day, used)| self.count(day, used));
    }

    /// Without another, which is part of it.
    pub fn take_off(&mut self, less: &Self) {
        for (day, used) in &less.0 {
            self.0.iter_mut().filter(|(of, _)| of == day).for_each(|(_, own)| own.take_off(used));
        }
        self.0.retain(|(_, used)| !used.is_nothing());
    }

    /// The days after one.
    #[must_use]
    pub fn after(&self, day: Day) -> Self {
        Self(self.0.iter().filter(|(of, _)| *of > day).copied().collect())
    }

    /// The days up to one.
    #[must_use]
    pub fn up_to(&self, day: Day) -> Self {
        Self(self.0.iter().filter(|(of, _)| *of <= day).copied().collect())
    }

    /// Forgets all but the last `count` days.
    pub fn keep(&mut self, count: usize) {
        self.0.drain(..self.0.len().saturating_sub(count));
    }
}

impl From<String> for DailyUsage {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<DailyUsage> for String {
    fn from(usage: DailyUsage) -> Self {
        usage.to_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(rows_written: u64) -> Usage {
        Usage { worker: 1, rows_written, ..Usage::default() }
    }

    #[test]
    fn days_have_the_dates_of_the_calendar() {
        for (day, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_787, "2026-11-30")] {
            assert_eq!(Day(day).to_date(), date);
        }
        assert_eq!(Day::of(Millis(20_787 * DAY_MS + DAY_MS - 1)), Day(20_787));
    }

    #[test]
    fn the_text_is_the_one_that_rows_in_the_field_have() {
        let mut usage = DailyUsage::default();
        usage.count(Day(20_788), &used(0));
        usage.count(Day(20_787), &used(3));
        usage.count(Day(20_787), &used(2));
        usage.count(Day(20_789), &Usage::default());
        let text = "20787:2,0,0,0,0,0,0,0,5;20788:1";
        assert_eq!(usage.to_text(), text, "a ledger of rows in the field could not be read any more");
        assert_eq!(DailyUsage::parse(text), usage);
        assert_eq!(DailyUsage::parse(""), DailyUsage::default());
        assert_eq!(DailyUsage::parse("x:1;20788:1;7;8:x;20787:2,0,0,0,0,0,0,0,5").after(Day(9)), usage);
        let newer = DailyUsage::parse("20787:1,2,3,4,5,6,7,8,9,10,11,12,13,14");
        assert_eq!(
            newer.total().numbers(),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            "a meter that newer code has added is left out"
        );
    }

    #[test]
    fn days_are_added_taken_off_parted_and_forgotten() {
        let usage = DailyUsage::parse("1:1;2:2;3:3");
        let mut sum = usage.clone();
        sum.add(&DailyUsage::parse("3:4;4:5"));
        assert_eq!(sum.to_text(), "1:1;2:2;3:7;4:5");
        assert_eq!(sum.total().worker, 15);
        sum.take_off(&usage);
        assert_eq!(sum.to_text(), "3:4;4:5");
        assert_eq!(
            (usage.after(Day(1)).to_text(), usage.up_to(Day(1)).to_text()),
            ("2:2;3:3".into(), "1:1".into())
        );
        sum.keep(1);
        assert_eq!(sum.to_text(), "4:5");
        sum.take_off(&DailyUsage::parse("4:9"));
        assert!(sum.is_empty());
    }
}
