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
}

impl Act {
    const ALL: [Self; 12] = [
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

    /// Whether its answer says what the caller is in the space now, or whom the caller has invited: what directories are to
    /// know.
    #[must_use]
    pub const fn has_aside(self) -> bool {
        match self {
            Self::Create | Self::Delete | Self::SetMember | Self::RemoveMember | Self::Grant => true,
            Self::Show
            | Self::Members
            | Self::Member
            | Self::Policies
            | Self::SetPolicy
            | Self::RemovePolicy
            | Self::ResetEpoch => false,
        }
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
        }
    }

    /// The act that [`Self::as_str`] named.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == name)
    }
}
