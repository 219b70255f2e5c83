//! What a member of a space may do.

/// A member's role. Each may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pulls.
    Reader,
    /// And pushes.
    Writer,
    /// And says who the members are and what the rules are, sees all conflicts, and may delete the space.
    Owner,
}

impl Role {
    const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Owner];

    /// The word on the wire and in the records of `$members`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }

    /// The role that [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}
