//! Versions, epochs and positions: where in the history of a space somebody stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A step of an epoch. 0 is the state before the first step.
///
/// At most 2^53-1, so that it is exact in JavaScript and in the platform's SQL, which takes integers as doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Version(u64);

impl Version {
    /// Before the first step.
    pub const ZERO: Self = Self(0);
    /// The last version an epoch can have.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// A version out of a number, if it is in range.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// Plain decimal digits, as they stand in a URL. No sign, no leading zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        text.parse().ok().and_then(Self::new)
    }

    /// A version in a request, as JSON or a query may write it: `2`, `2.0` and `2e0` are one number. What a double cannot
    /// hold exactly is above the last version, so reading it as a double loses nothing.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
                && text.ends_with(|last: char| last.is_ascii_digit());
            let number: f64 = text.parse().ok().filter(|_| is_number)?;
            let is_whole = number.fract() == 0.0 && (0.0..=Self::MAX.0 as f64).contains(&number);
            is_whole.then_some(Self(number as u64))
        })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The step after this one.
    ///
    /// # Panics
    /// At 2^53-1: at 1,000 steps a second that is 285,000 years away.
    #[must_use]
    pub fn next(self) -> Self {
        assert!(self < Self::MAX, "BUG: an epoch ran out of versions");
        Self(self.0 + 1)
    }
}

impl TryFrom<u64> for Version {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a version is at most 2^53-1")
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One history of a space: `[0-9a-z]{12,32}`. A later epoch sorts after an earlier one, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(String);

impl Epoch {
    const TIME_DIGITS: usize = 9;

    /// A new epoch: nine base-36 digits of milliseconds, later than `previous` whatever the clock says, then six of
    /// chance, so that two incarnations of a space that were begun in one millisecond differ.
    #[must_use]
    pub fn begin(now: Millis, previous: Option<&Self>, random: u64) -> Self {
        let after = previous.map_or(0, |epoch| epoch.millis() + 1);
        let time = base36(now.0.max(after), Self::TIME_DIGITS);
        Self(time + &base36(random % 36u64.pow(6), 6))
    }

    /// Parses an epoch.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (12..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        valid.then(|| Self(text.to_owned()))
    }

    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When this epoch says it began.
    #[must_use]
    pub fn began(&self) -> Millis {
        Millis(self.millis())
    }

    fn millis(&self) -> u64 {
        u64::from_str_radix(&self.0[..Self::TIME_DIGITS], 36).unwrap_or(0)
    }
}

impl TryFrom<String> for Epoch {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an epoch is 12 to 32 of 0-9 a-z")
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn base36(mut number: u64, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
    }
    text.into_iter().map(char::from).collect()
}

/// A place in the history of a space: epoch first, then version. A client's position never goes back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The history.
    pub epoch: Epoch,
    /// The step in it.
    pub version: Version,
}

impl Position {
    /// `<epoch>.<version>`
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, version) = text.split_once('.')?;
        Some(Self { epoch: Epoch::parse(epoch)?, version: Version::parse(version)? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.version)
    }
}

/// An open conflict, or one that was: `x_<epoch>_<version>`, by the step that opened it. Never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId {
    /// The history in which it was opened; it may be open in a later one.
    pub epoch: Epoch,
    /// The step that opened it.
    pub opened: Version,
}

impl ConflictId {
    /// `x_<epoch>_<version>`
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, opened) = text.strip_prefix("x_")?.split_once('_')?;
        Some(Self { epoch: Epoch::parse(epoch)?, opened: Version::parse(opened)? })
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x_{}_{}", self.epoch, self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_sorts_after_an_earlier_one_even_when_the_clock_goes_back() {
        let first = Epoch::begin(Millis(1_795_341_182_362), None, 7);
        let second = Epoch::begin(Millis(1_000), Some(&first), 0);
        assert!(second > first);
        assert_eq!(first.as_str().len(), 15);
        assert_eq!(first.began(), Millis(1_795_341_182_362));
    }

    #[test]
    fn positions_are_ordered_by_epoch_first() {
        let parse = |text| Position::parse(text).expect("a position");
        assert!(parse("0mwrnsa6yk3v9q2.9") < parse("0mwrnsa6yk3v9q3.1"));
        assert!(parse("0mwrnsa6yk3v9q2.9") < parse("0mwrnsa6yk3v9q2.10"));
        assert_eq!(parse("0mwrnsa6yk3v9q2.57").to_string(), "0mwrnsa6yk3v9q2.57");
    }

    #[test]
    fn a_conflict_id_is_the_step_that_opened_it_and_nothing_else_is_one() {
        let id = ConflictId::parse("x_0mwrnsa6yk3v9q2_57").expect("an id");
        assert_eq!((id.epoch.as_str(), id.opened.get()), ("0mwrnsa6yk3v9q2", 57));
        assert_eq!(id.to_string(), "x_0mwrnsa6yk3v9q2_57", "clients in the field hold this text");
        for text in
            ["", "x_", "x_0mwrnsa6yk3v9q2", "x_0mwrnsa6yk3v9q2_057", "y_0mwrnsa6yk3v9q2_5", "x_short_5"]
        {
            assert_eq!(ConflictId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_plain_digits_up_to_what_javascript_counts_exactly() {
        assert_eq!(Version::parse("9007199254740991"), Some(Version::MAX));
        for text in ["9007199254740992", "", "-1", "+1", "01", "1.0", "1e3", " 1", "99999999999999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_whole_number_is_a_version_however_it_is_written() {
        for (text, number) in [
            ("2", 2),
            ("2.0", 2),
            ("2e0", 2),
            ("20e-1", 2),
            ("0.2E+1", 2),
            ("0e999", 0),
            ("-0.0", 0),
            ("9.007199254740991e15", 9_007_199_254_740_991),
            ("9007199254740991.0", 9_007_199_254_740_991),
        ] {
            assert_eq!(Version::read(text).map(Version::get), Some(number), "{text}");
        }
        for text in [
            "",
            "-",
            "-1",
            "-1.0",
            "1.5",
            "2e-1",
            "1e16",
            "1e999",
            "9007199254740992.0",
            "9007199254740993",
            "\"2\"",
            "2.",
            "+2",
            " 2",
            "true",
            "null",
            "inf",
            "-inf",
            "nan",
            "0x2",
            "[2]",
        ] {
            assert_eq!(Version::read(text), None, "{text}");
        }
    }
}
