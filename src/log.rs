//! What is logged.

use std::fmt::{self, Display};

use serde_json::Value;

/// A line: how much it matters, what has happened, and more about it. No token, value, or name of a person or space stands in one.
pub type LogLine = (LogLevel, &'static str, Value);

/// What is logged. A log line costs $0.60 per million, twice the price of the pull it would tell of, so single requests
/// are for debugging only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Faults that somebody has to look at.
    Error,
    /// And changes of state: publications, epochs.
    Info,
    /// And every request.
    Debug,
}

impl LogLevel {
    /// The level of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Error, Self::Info, Self::Debug].into_iter().find(|level| level.as_str() == name)
    }

    /// The level's name in a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Display for LogLevel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
