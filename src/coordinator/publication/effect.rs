//! What a turn asks of the shell, and how that can end.

use crate::time::Millis;

/// What the shell has to do next in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the metadata of the head and report it with [`super::Publisher::head_was_read`].
    ReadHead {
        /// Where.
        key: String,
    },
    /// Put a part and report it with [`super::Publisher::object_was_put`].
    PutObject {
        /// Where.
        key: String,
        /// What.
        body: String,
        /// Seconds after which KV forgets it.
        ttl_s: u64,
    },
    /// Delete a part and report it with [`super::Publisher::object_was_deleted`].
    DeleteObject {
        /// Where.
        key: String,
    },
    /// Put the head and report it with [`super::Publisher::head_was_put`].
    PutHead {
        /// Where.
        key: String,
        /// What.
        value: String,
        /// JSON.
        metadata: String,
        /// When KV forgets it, in seconds since the Unix epoch.
        expiration_s: u64,
    },
    /// The turn is over: set the alarm to this time, or leave none.
    Sleep(Option<Millis>),
}

/// How a put ended, or a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// KV has it.
    Done,
    /// KV refused it: more than one write per second to a key.
    Refused,
    /// The account's daily writes are used up.
    Exhausted,
    /// It was not sent, because the day's budget has left nothing for what can wait.
    Unleased,
    /// Nobody knows: an error or no answer. It may still land.
    Unknown,
}

impl PutOutcome {
    /// Out of KV's own words about a put that it did not take. Which of its two limits it was it says only so ("KV PUT failed: 429
    /// Too Many Requests").
    #[must_use]
    pub fn of_words(words: &str) -> Self {
        if words.contains("limit exceeded") {
            Self::Exhausted
        } else if words.contains("429") {
            Self::Refused
        } else {
            Self::Unknown
        }
    }
}
