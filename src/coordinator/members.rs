//! Who may do what in a space: its members are records of `$members`, so they sync like data.

use serde::Deserialize;

use super::ledger::{Ledger, LedgerResult, Meta};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    protocol::role::Role,
};

/// The value of a record of `$members`, whose id is the member's [`UserHash`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Member {
    role: String,
}

/// The record that says what `user` may do.
#[must_use]
pub(super) fn key_of(user: &UserHash) -> Key {
    Key { collection: Collection::stored("$members"), id: RecordId::stored(user.as_str()) }
}

/// What `user` may do in the space, as its members are at this moment. Only its user reaches a private space.
pub(super) fn role_of<L: Ledger>(ledger: &L, meta: &Meta, user: &UserHash) -> LedgerResult<Option<Role>> {
    if !meta.scope.is_shared() {
        return Ok(Some(Role::Owner));
    }
    let key = key_of(user);
    let record = ledger.record(&key)?;
    let value = record.as_ref().and_then(|record| record.value(&key));
    let member = value.and_then(|value| serde_json::from_str::<Member>(value).ok());
    Ok(member.and_then(|member| Role::parse(&member.role)))
}
