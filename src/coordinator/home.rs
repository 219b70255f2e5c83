//! A user's home, their private space, keeps the list of the shared spaces they are in: records of `$spaces`, so it syncs.
//!
//! The list is what members' spaces have told (`notices`). What a user may do in a space is said by the space alone.

use super::{Coordinator, ledger::Ledger};
use crate::{
    ids::{Collection, Key, RecordId, SpaceId},
    limits,
    protocol::{error::ApiError, internal::Order, role::Role},
    time::Millis,
    value::{json_text, text_field},
    version::Position,
};

/// The value of a record of `$spaces`, whose id is the space's.
#[derive(Debug)]
struct Membership {
    space: String,
    /// None when it has ended. The record stays, so that a notice from before the end is known to be old.
    role: Option<Role>,
}

/// The collection of those records.
#[must_use]
pub(super) fn spaces() -> Collection {
    Collection::stored("$spaces")
}

impl<L: Ledger> Coordinator<L> {
    /// A page of the spaces that this home's user is in.
    pub(super) fn spaces(&mut self, order: &Order) -> Result<String, ApiError> {
        let after = (!order.cursor.is_empty()).then(|| RecordId::stored(&order.cursor));
        let memberships = self.memberships(after.as_ref(), limits::SPACES_PAGE)?;
        let last = memberships.last().filter(|_| memberships.len() == limits::SPACES_PAGE);
        let cursor = last.map_or_else(|| "null".to_owned(), |last| json_text(&last.space));
        let mut spaces = String::new();
        for Membership { space, role } in &memberships {
            if let Some(role) = role {
                let comma = if spaces.is_empty() { "" } else { "," };
                let role = role.as_str();
                spaces.push_str(&format!(r#"{comma}{{"space":{},"role":"{role}"}}"#, json_text(space)));
            }
        }
        Ok(format!(r#"{{"spaces":[{spaces}],"cursor":{cursor}}}"#))
    }

    /// Refuses one space too many. What has not been told yet does not count, so whoever makes several at once can come to
    /// own a few more.
    pub(super) fn may_own(&mut self, order: &Order) -> Result<(), ApiError> {
        let memberships = self.memberships(None, limits::SPACES_LISTED_MAX)?;
        let is_in = |one: &Membership| one.space == order.space && one.role.is_some();
        let owned = memberships.iter().filter(|one| one.role == Some(Role::Owner)).count();
        if owned < limits::SPACES_OWNED_MAX || memberships.iter().any(is_in) {
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
        let known_at = known.and_then(|value| Position::parse(&text_field(value, "at")?));
        let is_old = known_at.is_some_and(|known_at| at <= known_at);
        if (is_old && !planted!(OldNoticeTaken))
            || (known.is_none() && self.count_of(&spaces())? >= limits::SPACES_LISTED_MAX)
        {
            return Ok(());
        }
        let role = role.map_or_else(|| "null".to_owned(), json_text);
        let value = format!(r#"{{"role":{role},"at":"{at}"}}"#);
        self.step(&(key, Some(value)), now, &mut |_, _| Ok(()))
    }

    fn memberships(&mut self, after: Option<&RecordId>, count: usize) -> Result<Vec<Membership>, ApiError> {
        if self.meta.space.is_some() {
            return Err(ApiError::Internal);
        }
        let records = self.ledger.records_of(&spaces(), after, count);
        let records = records.map_err(|error| self.storage_failed(error))?;
        let read = |(id, value): (RecordId, String)| Membership {
            space: id.as_str().to_owned(),
            role: text_field(&value, "role").and_then(|role| Role::parse(&role)),
        };
        Ok(records.into_iter().map(read).collect())
    }
}
