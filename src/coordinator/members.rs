//! Who may do what in a space: its members are records of `$members`, so they sync like data.

use super::ledger::{Ledger, LedgerResult, Meta};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    protocol::{error::ApiError, role::Role},
    value::{json_text, text_field},
};

/// The value of a record of `$members`, whose id is the member's [`UserHash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) sub: String,
    pub(super) role: Role,
}

impl Member {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let role = Role::parse(&text_field(value, "role")?)?;
        Some(Self { sub: text_field(value, "sub").unwrap_or_default(), role })
    }

    /// The value of a member's record.
    pub(super) fn value(sub: &str, role: Role) -> String {
        format!(r#"{{"sub":{},"role":"{}"}}"#, json_text(sub), role.as_str())
    }
}

/// The collection of the members' records.
#[must_use]
pub(super) fn collection() -> Collection {
    Collection::stored("$members")
}

/// The record that says what `user` may do.
#[must_use]
pub(super) fn key_of(user: &UserHash) -> Key {
    Key { collection: collection(), id: RecordId::stored(user.as_str()) }
}

/// What `user` may do in the space, as its members are at this moment. Only its user reaches a private space.
pub(super) fn role_of<L: Ledger>(ledger: &L, meta: &Meta, user: &UserHash) -> LedgerResult<Option<Role>> {
    if !meta.scope.is_shared() {
        return Ok(Some(Role::Owner));
    }
    let key = key_of(user);
    let record = ledger.record(&key)?;
    let value = record.as_ref().and_then(|record| record.value(&key));
    Ok(value.and_then(Member::parse).map(|member| member.role))
}

/// The role of a user who has to have at least `needed`, or why the request is refused.
pub(super) fn admit<L: Ledger>(
    ledger: &L,
    meta: &Meta,
    user: &UserHash,
    needed: Role,
) -> LedgerResult<Result<Role, ApiError>> {
    if meta.gone_at.is_some() && !planted!(GoneSpaceServes) {
        return Ok(Err(ApiError::Gone));
    }
    Ok(match role_of(ledger, meta, user)? {
        Some(role) if role >= needed => Ok(role),
        Some(_) if needed == Role::Writer => {
            Err(ApiError::Forbidden("You are a reader of this space: ask an owner to let you write."))
        }
        Some(_) => Err(ApiError::Forbidden("Only an owner of the space may do this.")),
        None => Err(ApiError::Forbidden("You are not a member of this space.")),
    })
}
