//! What may be done about a space, beside pushing to it and pulling from it.

use crate::value::{json_text, text_field};

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

/// What an administrative call is about. Each act uses some of the fields; the others are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// The hash of the user it is about.
    pub user: String,
    /// That user's subject.
    pub sub: String,
    /// The user's role from now on.
    pub role: String,
    /// The collection that a policy is for.
    pub collection: String,
    /// The policy.
    pub policy: String,
    /// A position of the space that the caller's directory knows of: with a grant, where the space seems to have gone back.
    pub claim: String,
    /// Where a list goes on.
    pub cursor: String,
}

impl Order {
    /// All fields by name. Serde's own way through so many texts costs 4 KB of wasm in each direction.
    fn fields(&mut self) -> [(&'static str, &mut String); 7] {
        let Self { user, sub, role, collection, policy, claim, cursor } = self;
        [
            ("user", user),
            ("sub", sub),
            ("role", role),
            ("collection", collection),
            ("policy", policy),
            ("claim", claim),
            ("cursor", cursor),
        ]
    }

    /// As it travels: a JSON object of the fields that say something.
    #[must_use]
    pub fn into_text(mut self) -> String {
        let mut text = "{".to_owned();
        for (name, value) in self.fields().into_iter().filter(|(_, value)| !value.is_empty()) {
            let comma = if text.len() > 1 { "," } else { "" };
            text.push_str(&format!("{comma}\"{name}\":{}", json_text(value)));
        }
        text.push('}');
        text
    }

    /// Out of [`Self::into_text`]; none if that wrote something else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut order = Self::default();
        let text = std::str::from_utf8(text).ok().filter(|text| text.starts_with('{'))?;
        for (name, value) in order.fields() {
            *value = text_field(text, name).unwrap_or_default();
        }
        Some(order)
    }
}

/// A policy for conflicting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The mutation is a conflict.
    #[default]
    Reject,
    /// A patch conflicts only where somebody else changed a top-level field that it touches.
    Merge,
    /// The change is applied.
    Overwrite,
}

impl OnConflict {
    /// What there is, for whoever names something else.
    pub const RULE: &str = "onConflict is reject, merge or overwrite";

    /// The policy of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "reject" => Some(Self::Reject),
            "merge" => Some(Self::Merge),
            "overwrite" => Some(Self::Overwrite),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_its_text_which_is_pinned_because_worker_and_object_are_deployed_apart() {
        let order = Order { sub: "a\"l\nice é".to_owned(), role: "writer".to_owned(), ..Order::default() };
        let text = order.clone().into_text();
        let consequence = "administrative requests would fail while a deployment is under way";
        assert_eq!(text, r#"{"sub":"a\"l\u000aice é","role":"writer"}"#, "{consequence}");
        assert_eq!(Order::parse(text.as_bytes()), Some(order));
        assert_eq!(Order::parse(br#"{"later":[1]}"#), Some(Order::default()));
        for bad in ["", "[]", " ", "null", "\u{fffd}"] {
            assert_eq!(Order::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
