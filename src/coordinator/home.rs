//! A user's home, their private space, keeps the list of the shared spaces they are in: records of `$spaces`, so it syncs.
//!
//! The list is what members' spaces have told (`notices`). What a user may do in a space is said by the space alone.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Coordinator, ledger::Ledger};
use crate::{
    ids::{Collection, Key, RecordId, SpaceId},
    limits,
    protocol::{error::ApiError, internal::Order, role::Role},
    time::Millis,
    version::Position,
};

/// The value of a record of `$spaces`, whose id is the space's.
#[derive(Debug, Deserialize)]
struct Membership {
    /// None when it has ended. The record stays, so that a notice from before the end is known to be old.
    role: Option<String>,
    /// Where the space stood.
    at: String,
}

/// The collection of those records.
#[must_use]
pub(super) fn spaces() -> Collection {
    Collection::stored("$spaces")
}

impl<L: Ledger> Coordinator<L> {
    /// A page of the spaces that this home's user is in.
    pub(super) fn spaces(&mut self, order: &Order) -> Result<Value, ApiError> {
        let after = (!order.cursor.is_empty()).then(|| RecordId::stored(&order.cursor));
        let records = self.memberships(after.as_ref(), limits::SPACES_PAGE)?;
        let last = records.last().filter(|_| records.len() == limits::SPACES_PAGE);
        let cursor = last.map(|(id, _)| id.as_str().to_owned());
        let shown = |(id, membership): &(RecordId, Membership)| {
            let role = membership.role.as_ref()?;
            Some(json!({ "space": id.as_str(), "role": role }))
        };
        let spaces: Vec<_> = records.iter().filter_map(shown).collect();
        Ok(json!({ "spaces": spaces, "cursor": cursor }))
    }

    /// Refuses one space too many. What has not been told yet does not count, so whoever makes several at once can come to
    /// own a few more.
    pub(super) fn may_own(&mut self, order: &Order) -> Result<(), ApiError> {
        let memberships = self.memberships(None, limits::SPACES_LISTED_MAX)?;
        let is_in = |(id, membership): &(RecordId, Membership)| {
            id.as_str() == order.space && membership.role.is_some()
        };
        let owned = |(_, membership): &&(RecordId, Membership)| {
            membership.role.as_deref() == Some(Role::Owner.as_str())
        };
        if memberships.iter().any(is_in)
            || memberships.iter().filter(owned).count() < limits::SPACES_OWNED_MAX
        {
            return Ok(());
        }
        Err(ApiError::Forbidden("A user owns at most 1,000 spaces: delete one first."))
    }

    /// Notes what has become of a membership, unless something newer is known. A list that is full takes no more spaces: who
    /// makes others members could fill their storage.
    pub(super) fn told(&mut self, order: &Order, now: Millis) -> Result<(), ApiError> {
        if self.meta.space.is_some() {
            return Err(ApiError::Internal);
        }
        let space = SpaceId::parse(&order.space).map_err(|_| ApiError::Internal)?;
        let at = Position::parse(&order.at).ok_or(ApiError::Internal)?;
        let role = Role::parse(&order.role).map(Role::as_str);
        let key = Key { collection: spaces(), id: RecordId::stored(space.as_str()) };
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        let known = before.as_ref().and_then(|record| record.value(&key));
        let known = known.and_then(|value| serde_json::from_str::<Membership>(value).ok());
        let is_old =
            known.as_ref().and_then(|known| Position::parse(&known.at)).is_some_and(|known| at <= known);
        if (is_old && !planted!(OldNoticeTaken))
            || (known.is_none() && self.count_of(&spaces())? >= limits::SPACES_LISTED_MAX)
        {
            return Ok(());
        }
        let role = Value::from(role);
        let value = format!(r#"{{"role":{role},"at":"{at}"}}"#);
        self.step(&(key, Some(value)), now, &mut |_, _| Ok(()))
    }

    fn memberships(
        &mut self,
        after: Option<&RecordId>,
        count: usize,
    ) -> Result<Vec<(RecordId, Membership)>, ApiError> {
        if self.meta.space.is_some() {
            return Err(ApiError::Internal);
        }
        let records = self.ledger.records_of(&spaces(), after, count);
        let records = records.map_err(|error| self.storage_failed(error))?;
        // What is none of ours would be left out of the page, and the page still be full: so nothing is left out.
        let read = |(id, value): (RecordId, String)| {
            let membership =
                serde_json::from_str(&value).unwrap_or(Membership { role: None, at: String::new() });
            (id, membership)
        };
        Ok(records.into_iter().map(read).collect())
    }
}
