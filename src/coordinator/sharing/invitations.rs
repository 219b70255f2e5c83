//! Invitations by link. The space notes each, with what it makes of people and how many it may still make; the code that leads
//! here is the edge's (`access::invitation`).

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    call::Person,
    coordinator::{
        Coordinator,
        ledger::{Ledger, LedgerResult},
        sharing::{
            administration::Administered,
            members::{self, Member},
        },
    },
    error::ApiError,
    ids::UserHash,
    limits,
    role::Role,
    time::Millis,
    version::{Epoch, Version},
};

const KIND: &str = "invitation";
/// Rows that say at which version a person's membership was set or ended otherwise than by an invitation, under the user's hash. Only
/// what came after an invitation that stands has one.
const SET: &str = "set_member";
const OVER: ApiError = ApiError::NotFound(
    "This invitation was used up, or taken back, or has ended, or your membership has ended since it was made.",
);
/// Rows of the kind above that are forgotten at once. What is left says nothing about later invitations.
const FORGOTTEN_MAX: usize = 1_000;

/// The row of an invitation, under its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    role: String,
    /// How many people it may still make members.
    uses: u64,
    expires: Millis,
    /// The version at which the space stood when it was made.
    #[serde(default)]
    made: u64,
}

impl<L: Ledger> Coordinator<L> {
    /// Notes an invitation, and forgets those that have ended.
    pub(super) fn invite(
        &mut self,
        (role, uses): (Role, u64),
        lasts_ms: u64,
        now: Millis,
        random: u64,
    ) -> Result<Administered, ApiError> {
        self.shared_only()?;
        let rows = self.invitation_rows().map_err(|error| self.storage_failed(error))?;
        let (ended, standing): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.expires <= now);
        if standing.len() >= limits::INVITATIONS_MAX {
            return Err(ApiError::Forbidden("A space has at most 100 invitations: take one back."));
        }
        let is_taken = |number: &u64| standing.iter().any(|(taken, _)| taken == &number.to_string());
        let number = (random..).find(|number| !is_taken(number)).unwrap_or(random);
        let made = self.version.get();
        let row = Row { role: role.as_str().to_owned(), uses, expires: now.plus(lasts_ms), made };
        let noted = self.ledger.atomically(&mut |ledger| {
            for (number, _) in &ended {
                ledger.delete_private(KIND, number)?;
            }
            if standing.is_empty() {
                forget_rows(ledger, SET, FORGOTTEN_MAX)?;
            }
            ledger.put_private(KIND, &number.to_string(), &json!(row).to_string())
        });
        noted.map_err(|error| self.storage_failed(error))?;
        let mut body = shown(&number.to_string(), &row, now);
        body["incarnation"] = self.meta.incarnation.as_str().into();
        Ok(body.to_string().into())
    }

    /// Those that stand, by their numbers.
    pub(super) fn invitations(&mut self, now: Millis) -> Result<String, ApiError> {
        self.shared_only()?;
        let rows = self.invitation_rows().map_err(|error| self.storage_failed(error))?;
        let standing = rows.iter().filter(|(_, row)| row.expires > now);
        let standing: Vec<_> = standing.map(|(number, row)| shown(number, row, now)).collect();
        Ok(json!({ "invitations": standing }).to_string())
    }

    /// Takes one back, if it stands.
    pub(super) fn uninvite(&mut self, number: u64) -> Result<(), ApiError> {
        self.shared_only()?;
        let forgotten = self.ledger.delete_private(KIND, &number.to_string());
        forgotten.map_err(|error| self.storage_failed(error))
    }

    /// Makes somebody a member, if the invitation stands, unless the person's membership was set or has ended since it was made. A member who may do as much already is told so and not counted, also where
    /// it does not stand any more: an answer that was lost can be asked for again.
    pub(super) fn accept(
        &mut self,
        person: &Person,
        incarnation: &Epoch,
        number: u64,
        now: Millis,
    ) -> Result<Administered, ApiError> {
        if self.is_gone() {
            return Err(ApiError::Gone);
        }
        self.shared_only()?;
        let before = members::role_of(&self.ledger, &self.meta, &person.user);
        let before = before.map_err(|error| self.storage_failed(error))?;
        let number = number.to_string();
        let row = self.invitation_row(&number).map_err(|error| self.storage_failed(error))?;
        let set =
            self.ledger.private(SET, person.user.as_str()).map_err(|error| self.storage_failed(error))?;
        let set: Option<u64> = set.and_then(|version| version.parse().ok()).filter(|_| !planted!(LinkUndoes));
        let row = row.filter(|row| {
            (row.expires > now || planted!(InvitationNeverEnds))
                && *incarnation == self.meta.incarnation
                && set.is_none_or(|set| set <= row.made)
        });
        let invited = row.as_ref().and_then(|row| Role::parse(&row.role));
        let role = before.max(invited).ok_or(OVER)?;
        if let Some(row) = row.filter(|_| before != Some(role)) {
            self.has_room_for(before)?;
            let change = (members::key_of(&person.user), Some(Member::value(&person.sub, role)));
            self.step_with(&[change], now, &mut |ledger| match row.uses {
                0..=1 => ledger.delete_private(KIND, &number),
                uses => {
                    let row = Row { uses: uses - 1, ..row.clone() };
                    ledger.put_private(KIND, &number, &json!(row).to_string())
                }
            })?;
        }
        Ok(self.shown(role).into())
    }

    /// Changes what somebody is in the space, by no invitation: those that stand undo nothing of it.
    pub(super) fn set_by_hand(
        &mut self,
        user: &UserHash,
        value: Option<String>,
        now: Millis,
    ) -> Result<(), ApiError> {
        let version = self.version.next();
        let mut note = |ledger: &mut L| note_set_by_hand(ledger, user.as_str(), version);
        self.step_with(&[(members::key_of(user), value)], now, &mut note)
    }

    /// Forgets all of them, with the space.
    pub(super) fn forget_invitations(ledger: &mut L) -> LedgerResult<()> {
        forget_rows(ledger, KIND, usize::MAX)?;
        forget_rows(ledger, SET, usize::MAX)
    }

    fn invitation_row(&self, number: &str) -> LedgerResult<Option<Row>> {
        Ok(self.ledger.private(KIND, number)?.and_then(|text| read(&text)))
    }

    fn invitation_rows(&self) -> LedgerResult<Vec<(String, Row)>> {
        let rows = self.ledger.private_rows(KIND, "", usize::MAX)?;
        Ok(rows.into_iter().filter_map(|(number, text)| Some((number, read(&text)?))).collect())
    }
}

/// Notes that what somebody is in the space has changed by no invitation, if one stands.
pub(in crate::coordinator) fn note_set_by_hand(
    ledger: &mut impl Ledger,
    user: &str,
    version: Version,
) -> LedgerResult<()> {
    if ledger.private_rows(KIND, "", 1)?.is_empty() {
        return Ok(());
    }
    ledger.put_private(SET, user, &version.to_string())
}

fn forget_rows(ledger: &mut impl Ledger, kind: &str, at_once: usize) -> LedgerResult<()> {
    for (key, _) in ledger.private_rows(kind, "", at_once)? {
        ledger.delete_private(kind, &key)?;
    }
    Ok(())
}

/// A row of a later build, which this one does not know, counts as none.
fn read(text: &str) -> Option<Row> {
    serde_json::from_str(text).ok()
}

/// How long it lasts, too: a device's clock may be wrong.
fn shown(number: &str, row: &Row, now: Millis) -> serde_json::Value {
    let Row { role, uses, expires, .. } = row;
    json!({ "invitation": number, "role": role, "uses": uses, "expires": expires, "expiresIn": expires.since(now) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_an_invitation_is_pinned_because_links_that_were_sent_stay_in_use() {
        let row = Row { role: "writer".to_owned(), uses: 3, expires: Millis(1_795_341_782_000), made: 7 };
        let text = r#"{"expires":1795341782000,"made":7,"role":"writer","uses":3}"#;
        let consequence = "links that were sent before the deployment would invite nobody";
        assert_eq!((json!(row).to_string().as_str(), read(text)), (text, Some(row)), "{consequence}");
        assert_eq!(read(r#"{"later":1}"#), None, "a row of a later build is no reason to panic");
    }
}
