//! What may be done about a space, beside pushing to it and pulling from it.

/// An administrative act. The edge names it to the coordinator by [`Self::as_str`], and log lines do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `PUT /spaces/{id}`
    Create,
    /// `GET /spaces/{id}`
    Show,
    /// `DELETE /spaces/{id}`
    Delete,
    /// `GET /spaces/{id}/members`
    Members,
    /// `GET /spaces/{id}/members/{sub}`
    Member,
    /// `PUT /spaces/{id}/members/{sub}`
    SetMember,
    /// `DELETE /spaces/{id}/members/{sub}`
    RemoveMember,
    /// `GET /spaces/{id}/policies`
    Policies,
    /// `PUT /spaces/{id}/policies/{collection}`
    SetPolicy,
    /// `DELETE /spaces/{id}/policies/{collection}`
    RemovePolicy,
    /// `POST /spaces/{id}/grant`
    Grant,
    /// `POST /spaces/{id}/reset-epoch`
    ResetEpoch,
    /// `GET /spaces`, asked of the caller's home.
    Spaces,
    /// The caller is about to make a space: noted in the caller's home, or refused there.
    NoteMade,
    /// What has become of a membership, told to the member's home.
    Told,
}

impl Act {
    const ALL: [Self; 15] = [
        Self::Create,
        Self::Show,
        Self::Delete,
        Self::Members,
        Self::Member,
        Self::SetMember,
        Self::RemoveMember,
        Self::Policies,
        Self::SetPolicy,
        Self::RemovePolicy,
        Self::Grant,
        Self::ResetEpoch,
        Self::Spaces,
        Self::NoteMade,
        Self::Told,
    ];

    /// Whether nobody but an owner may do it; but everybody may remove themselves.
    #[must_use]
    pub const fn is_owners(self) -> bool {
        matches!(
            self,
            Self::SetMember
                | Self::RemoveMember
                | Self::SetPolicy
                | Self::RemovePolicy
                | Self::Delete
                | Self::ResetEpoch
        )
    }

    /// Whether a 429 may mean that this comes too soon after the last, and says nothing of what else its user asks.
    #[must_use]
    pub const fn has_bounds_of_its_own(self) -> bool {
        matches!(self, Self::Delete | Self::NoteMade)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Show => "show",
            Self::Delete => "delete",
            Self::Members => "members",
            Self::Member => "member",
            Self::SetMember => "set-member",
            Self::RemoveMember => "remove-member",
            Self::Policies => "policies",
            Self::SetPolicy => "set-policy",
            Self::RemovePolicy => "remove-policy",
            Self::Grant => "grant",
            Self::ResetEpoch => "reset-epoch",
            Self::Spaces => "spaces",
            Self::NoteMade => "note-made",
            Self::Told => "told",
        }
    }

    /// The act that [`Self::as_str`] named.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == name)
    }
}
