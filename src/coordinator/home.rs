//! A user's home, their private space, keeps the list of the shared spaces they are in: records of `$spaces`, so it syncs.
//!
//! The list is what members' spaces have told (`notices`), and what their user has set out to make. What a user may do in a
//! space is said by the space alone.

use super::{Coordinator, Told, ledger::Ledger};
use crate::{
    ids::{Collection, Key, RecordId, SpaceId},
    limits,
    protocol::{
        error::ApiError,
        internal::{GONE, Order},
        role::Role,
    },
    time::Millis,
    value::{json_text, text_field},
    version::{Position, Version},
};

/// The value of a record of `$spaces`, whose id is the space's.
#[derive(Debug)]
struct Membership {
    space: RecordId,
    /// None when it has ended, or the space has not told yet. The record stays, so that a notice from before the end is known
    /// to be old.
    role: Option<Role>,
    /// Where the space stood when what it last told changed; none before it has told anything.
    at: Option<Position>,
    /// Whether the user has set out to make the space. So from before it is made until it is deleted, whoever owns it.
    is_made: bool,
}

/// How the value of a space ends that the user has made.
const MADE: &str = r#","made":true}"#;

impl Membership {
    fn parse((space, value): (RecordId, String)) -> Self {
        Self {
            space,
            role: text_field(&value, "role").and_then(|role| Role::parse(&role)),
            at: text_field(&value, "at").and_then(|at| Position::parse(&at)),
            is_made: value.ends_with(MADE),
        }
    }

    fn value(&self) -> String {
        let role = self.role.map_or_else(|| "null".to_owned(), |role| json_text(role.as_str()));
        let at = self.at.as_ref().map_or_else(String::new, |at| format!(r#","at":"{at}""#));
        format!(r#"{{"role":{role}{at}{}"#, if self.is_made { MADE } else { "}" })
    }
}

/// The collection of those records.
#[must_use]
pub(super) fn spaces() -> Collection {
    Collection::stored("$spaces")
}

/// What a home answers that notes nothing: the space tells it again.
const LATER: ApiError = ApiError::RateLimited { retry_after_s: 60 };
/// For how long a notice may be under way, in ms, with much to spare.
const MINUTE_MS: u64 = 60_000;
/// Memberships forgotten at once, because finding them reads the whole list.
const FORGOTTEN_AT_ONCE: usize = 100;

/// What a home has heard of spaces that its user has not made. Anybody can make spaces with anybody as a member.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// When the present minute began, and where the home stood then.
    minute: Option<(Millis, Version)>,
    count: usize,
    /// What was noted up to here is a minute old: no notice from before it is under way any more, so it may be forgotten
    /// that it ended.
    settled: Option<Version>,
}

impl Heard {
    /// Counts a notice that changes something, or refuses it.
    fn admit(&mut self, version: Version, now: Millis) -> Result<(), ApiError> {
        if self.minute.is_none_or(|(began, _)| now.since(began) >= MINUTE_MS) {
            self.settled = self.minute.map(|(_, version)| version);
            (self.minute, self.count) = (Some((now, version)), 0);
        }
        if self.count >= limits::NOTICES_HEARD_PER_MINUTE {
            return Err(LATER);
        }
        self.count += 1;
        Ok(())
    }
}

impl<L: Ledger> Coordinator<L> {
    /// A page of the spaces that this home's user is in.
    pub(super) fn spaces(&mut self, order: &Order) -> Result<String, ApiError> {
        let after = (!order.cursor.is_empty()).then(|| RecordId::stored(&order.cursor));
        let memberships = self.memberships(after.as_ref(), limits::SPACES_PAGE)?;
        let last = memberships.last().filter(|_| memberships.len() == limits::SPACES_PAGE);
        let cursor = last.map_or_else(|| "null".to_owned(), |last| json_text(last.space.as_str()));
        let mut spaces = String::new();
        for Membership { space, role, .. } in &memberships {
            if let Some(role) = role {
                let comma = if spaces.is_empty() { "" } else { "," };
                let role = role.as_str();
                spaces.push_str(&format!(
                    r#"{comma}{{"space":{},"role":"{role}"}}"#,
                    json_text(space.as_str())
                ));
            }
        }
        Ok(format!(r#"{{"spaces":[{spaces}],"cursor":{cursor}}}"#))
    }

    /// Notes that this user sets out to make a space, or refuses one too many. Noted before it is made, and here, where one
    /// thing happens after the other: so that whoever makes several at once, or leaves what was made, makes no more than that.
    pub(super) fn note_made(&mut self, order: &Order, now: Millis) -> Result<(), ApiError> {
        let space = space_of(order)?;
        let mut memberships = self.memberships(None, usize::MAX)?;
        let made = memberships.iter().filter(|one| one.is_made).count();
        let known = memberships.iter().position(|one| one.space == space);
        let known = known.map(|at| memberships.swap_remove(at));
        if known.as_ref().is_some_and(|one| one.is_made) {
            return Ok(());
        }
        if made >= limits::SPACES_MADE_MAX {
            return Err(ApiError::Forbidden(
                "You have made 1,000 spaces that are not deleted: delete one first.",
            ));
        }
        let known = known.unwrap_or(Membership { space, role: None, at: None, is_made: false });
        self.note(&Membership { is_made: true, ..known }, now)
    }

    /// Notes what has become of a membership. Of what is older than what is known nothing is noted, and the position that is
    /// known is answered: the space has to tell it again in a later epoch.
    ///
    /// What is refused is told again: too much at once, or a list that is full of memberships. Those of spaces that the user
    /// makes have their places in any case.
    ///
    /// An end of what is not known is noted by there being nothing, so nobody writes into the home of somebody of whom they
    /// only know the name. No earlier notice can come behind it: a space tells a home once a minute.
    pub(super) fn told(&mut self, order: &Order, now: Millis) -> Result<Option<String>, ApiError> {
        if self.meta.space.is_some() {
            return Err(ApiError::Internal);
        }
        let space = space_of(order)?;
        let at = Position::parse(&order.at).ok_or(ApiError::Internal)?;
        let key = Key { collection: spaces(), id: space.clone() };
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        let known = before.as_ref().and_then(|record| record.value(&key));
        let known = known.map(|value| Membership::parse((space.clone(), value.to_owned())));
        let role = Role::parse(&order.role);
        let known_at = known.as_ref().and_then(|one| one.at.as_ref()).filter(|_| !planted!(OldNoticeTaken));
        match known_at {
            Some(known_at) if at < *known_at => return Ok(Some(Told::later(known_at))),
            Some(known_at) if at == *known_at => return Ok(None),
            _ if known.is_none() && role.is_none() => return Ok(None),
            _ => {}
        }
        if !known.as_ref().is_some_and(|one| one.is_made) {
            self.heard.admit(self.version, now)?;
            if known.is_none() && self.count_of(&spaces())? >= limits::SPACES_LISTED_MAX {
                self.forget_ended(now)?;
            }
        }
        let is_made = known.is_some_and(|one| one.is_made) && order.role != GONE;
        self.note(&Membership { space, role, at: Some(at), is_made }, now).map(|()| None)
    }

    /// Makes room in a full list: memberships that ended go, the oldest first. Refused where there is none.
    fn forget_ended(&mut self, now: Millis) -> Result<(), ApiError> {
        let settled = self.heard.settled.ok_or(LATER)?;
        let mut ended = Vec::new();
        for one in self.memberships(None, usize::MAX)? {
            let key = Key { collection: spaces(), id: one.space };
            if one.role.is_none() && !one.is_made {
                let version = self.ledger.version_of(&key).map_err(|error| self.storage_failed(error))?;
                ended.push((version, key));
            }
        }
        ended.retain(|(version, _)| *version <= settled);
        ended.sort();
        ended.truncate(FORGOTTEN_AT_ONCE);
        if ended.is_empty() {
            return Err(LATER);
        }
        let changes: Vec<_> = ended.into_iter().map(|(_, key)| (key, None)).collect();
        self.step_all(&changes, now, &mut |_, _| Ok(()))
    }

    fn note(&mut self, membership: &Membership, now: Millis) -> Result<(), ApiError> {
        let key = Key { collection: spaces(), id: membership.space.clone() };
        self.step(&(key, Some(membership.value())), now, &mut |_, _| Ok(()))
    }

    fn memberships(&mut self, after: Option<&RecordId>, count: usize) -> Result<Vec<Membership>, ApiError> {
        if self.meta.space.is_some() {
            return Err(ApiError::Internal);
        }
        let records = self.ledger.records_of(&spaces(), after, count);
        let records = records.map_err(|error| self.storage_failed(error))?;
        Ok(records.into_iter().map(Membership::parse).collect())
    }
}

/// The space that an order is about, by the id of its record.
fn space_of(order: &Order) -> Result<RecordId, ApiError> {
    let space = SpaceId::parse(&order.space).map_err(|_| ApiError::Internal)?;
    Ok(RecordId::stored(space.as_str()))
}
