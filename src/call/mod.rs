//! What the edge and the objects say to each other. During a deployment the two are of different versions, so fields are only
//! ever added, each with a default.

mod administration;
mod caller;
mod directory;
mod pull;

pub use administration::{Act, OnConflict, Order};
pub use caller::Caller;
pub use directory::{
    ASIDE_HEADER, Aside, DirectoryAnswer, DirectoryCall, Entry, Membership, Noted, Standing,
};
pub use pull::{Ask, ConflictsAfter, OrderedCursor, Reply, Seen, decode_reply, encode_reply};

/// A call. The edge names it to the object by [`Self::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `POST /sync/push`
    Push,
    /// `POST /sync/conflict`
    Resolve,
    /// `GET /sync/conflict`
    Conflicts,
    /// A pull that the edge cannot answer.
    Pull,
    /// Whatever else is done about a space.
    Administer(Act),
    /// What is asked of a user's directory.
    Directory,
}

impl Call {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Resolve => "resolve",
            Self::Conflicts => "conflicts",
            Self::Pull => "pull",
            Self::Administer(act) => act.as_str(),
            Self::Directory => "directory",
        }
    }

    /// The call that [`Self::as_str`] named; none for one of an edge that is newer.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let others = [Self::Push, Self::Resolve, Self::Conflicts, Self::Pull, Self::Directory];
        let other = others.into_iter().find(|call| call.as_str() == name);
        other.or_else(|| Act::parse(name).map(Self::Administer))
    }

    /// Whether its body is a user's, as long as those may be, and is let in only for whoever may push.
    #[must_use]
    pub const fn is_push(self) -> bool {
        matches!(self, Self::Push | Self::Resolve)
    }
}
