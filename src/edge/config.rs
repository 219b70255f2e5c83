//! What a deployment sets the edge to.

use std::fmt::{self, Display};

use crate::access::{cors, token::TokenConfig};

/// The settings of an isolate.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Whose tokens are good.
    pub token: TokenConfig,
    /// What signs grants.
    pub grant_secret: Option<String>,
    /// Origins that may read answers in a browser.
    pub allowed_origins: Vec<cors::Allowed>,
    /// Headers that requests of their pages may have beside the protocol's own; absent: any.
    pub allowed_headers: Option<Vec<String>>,
    /// Whether publication keeps KV current by itself, without waiting for readers.
    pub publishes_eagerly: bool,
    /// What is logged.
    pub log_level: LogLevel,
}

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
