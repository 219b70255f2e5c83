//! Invitations to a realm of Dexie Cloud, which are rows of `members`: who is invited sees the row and the realm's own, and may answer.

use crate::{
    call::Guest,
    coordinator::{
        Coordinator,
        ledger::Ledger,
        sharing::{
            administration::{Administered, DEXIE_IS_SHUT},
            members::{self, Member, SLICE},
        },
    },
    error::ApiError,
    ids::{Key, SpaceId},
    limits,
    mutation::member_row::{MemberRow, answered, member_row_key, member_rows, realm_row_key},
    role::Role,
    time::Millis,
};

const NOT_INVITED: ApiError = ApiError::Forbidden("You are not invited to this realm.");
/// Characters of a moment as a text.
const MOMENT_MAX: usize = 40;

impl<L: Ledger> Coordinator<L> {
    /// The record lines of the realm's row, and of the rows that invite somebody: nobody else learns anything.
    pub(super) fn invited(&mut self, guest: &Guest) -> Result<Administered, ApiError> {
        self.may_be_guest(guest)?;
        let mut keys: Vec<_> = realm_row_key(&guest.realm).into_iter().collect();
        let (realms, mut after, mut seen) = (keys.len(), None, 0);
        while seen < limits::MEMBERS_MAX {
            let slice = self.ledger.records_of(&member_rows(), after.as_ref(), SLICE);
            let slice = slice.map_err(|error| self.storage_failed(error))?;
            let Some((last, _)) = slice.last() else { break };
            (after, seen) = (Some(last.clone()), seen + slice.len());
            let invites = |value: &str| {
                let row = MemberRow::of(value);
                row.is_open() && row.names(&guest.person.sub, guest.email.as_deref())
            };
            let rows = slice.into_iter().filter(|(_, value)| invites(value));
            keys.extend(rows.map(|(id, _)| Key { collection: member_rows(), id }));
        }
        if keys.len() == realms {
            return Err(NOT_INVITED);
        }
        let mut lines = String::new();
        for key in &keys {
            let record = self.ledger.record(key).map_err(|error| self.storage_failed(error))?;
            let line =
                record.filter(|record| record.deleted_at.is_none()).map(|record| record.published_line());
            let line = line.unwrap_or_default();
            if lines.len() + line.len() <= limits::INVITED_BYTES_MAX {
                lines += &line;
            }
        }
        Ok(lines.into())
    }

    /// Writes the answer of somebody into the row that invites them, and makes them a member in the same version if they accept.
    /// Whoever has given that answer before may give it again.
    pub(super) fn respond(
        &mut self,
        guest: &Guest,
        (row, accepts, at): (&str, bool, &str),
        now: Millis,
    ) -> Result<Administered, ApiError> {
        self.may_be_guest(guest)?;
        let is_moment = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b':' | b'.' | b'+' | b'-');
        if at.len() > MOMENT_MAX || !at.bytes().all(is_moment) {
            return Err(ApiError::Malformed("the moment of an answer is no date".to_owned()));
        }
        let key = member_row_key(row).ok_or(NOT_INVITED)?;
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        let value = before.as_ref().and_then(|record| record.value(&key)).ok_or(NOT_INVITED)?;
        let (read, person) = (MemberRow::of(value), &guest.person);
        if !read.names(&person.sub, guest.email.as_deref()) {
            return Err(NOT_INVITED);
        }
        if !read.is_open() {
            // Who was let in may have been removed since: the row alone lets nobody in again.
            return match accepts {
                true => self.admit(&person.user, Role::Reader).map(|role| self.shown(role).into()),
                false => Ok(Administered::default()),
            };
        }
        let mut changes = vec![(key.clone(), Some(answered(value, &person.sub, accepts, at)))];
        let present = members::role_of(&self.ledger, &self.meta, &person.user);
        let present = present.map_err(|error| self.storage_failed(error))?;
        if !accepts {
            self.step_with(&changes, now, &mut |_| Ok(()))?;
            return Ok(Administered::default());
        }
        self.has_room_for(present)?;
        let mut value_of = |key: &Key| {
            let record = self.ledger.record(key)?;
            Ok(record.and_then(|record| record.value(key).map(str::to_owned)))
        };
        let given = read.role(&guest.realm, &mut value_of).map_err(|error| self.storage_failed(error))?;
        let role = present.map_or(given, |present| present.max(given));
        if present != Some(role) {
            changes.push((members::key_of(&person.user), Some(Member::value(&person.sub, role))));
        }
        self.step_with(&changes, now, &mut |_| Ok(()))?;
        Ok(self.shown(role).into())
    }

    /// Whether the space is a realm's, lets in its client at all, and knows the issuer who says who somebody is.
    fn may_be_guest(&mut self, guest: &Guest) -> Result<(), ApiError> {
        if self.is_gone() {
            return Err(ApiError::Gone);
        }
        let governs = |space: &SpaceId| space.governs(&member_rows());
        if !self.meta.space.as_ref().is_some_and(governs) {
            return Err(NOT_INVITED);
        }
        if self.publisher.row().shuts_dexie {
            return Err(DEXIE_IS_SHUT);
        }
        if self.has_owner_of(&guest.iss)? { Ok(()) } else { Err(NOT_INVITED) }
    }
}
