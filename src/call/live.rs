//! What an object says to whoever listens to its space over a socket. Texts are made of it by a front.

use crate::{
    error::ApiError,
    role::Role,
    version::{Position, Version},
};

/// What a socket is told first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Where the space stands: whatever is newer than that will be told.
    pub at: Position,
    /// In how many ms the token ends, and the socket with it unless a new one comes.
    pub token_expires_in_ms: u64,
    /// Within how many ms the client comes back when it loses the socket.
    pub reconnect_within_ms: u64,
    /// In a shared space.
    pub membership: Option<Granted>,
}

/// What a member of a shared space may do, and a grant that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The role.
    pub role: Role,
    /// The grant.
    pub grant: String,
    /// In how many ms it ends.
    pub expires_in_ms: u64,
}

/// What sockets are told of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// That there is something.
    Version(Position),
    /// What there is.
    Changes {
        /// Whoever stands there or above, in the same epoch, …
        from: Version,
        /// … stands here, …
        at: Position,
        /// … once these record lines are taken in.
        lines: String,
    },
}

impl News {
    /// About what it takes to say that there is something.
    pub const BYTES: usize = 128;

    /// About what it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Version(_) => Self::BYTES,
            Self::Changes { lines, .. } => Self::BYTES + lines.len(),
        }
    }
}

/// Why a socket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// Its token has ended.
    Expired,
    /// Its user may not listen any more.
    Lost(ApiError),
    /// The space, or the user, has as many sockets as there may be.
    Full,
    /// Nobody knows whose it is.
    Restart,
    /// What came over it was not of the protocol.
    Violation(&'static str),
}
