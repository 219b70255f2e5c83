//! Who may do what in a space: its members are records of `$members`, so they sync like data.

use crate::{
    call::{Administration, Aside, Membership, Standing},
    coordinator::{
        Coordinator,
        ledger::{Ledger, LedgerResult, Meta},
    },
    error::ApiError,
    ids::{Collection, Key, RecordId, UserHash},
    json::{json_text, text_field},
    limits,
    role::Role,
};

/// Members that are read at a time: 10,000 subjects do not fit into memory beside everything else.
pub(super) const SLICE: usize = 64;

/// The value of a record of `$members`, whose id is the member's [`UserHash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::coordinator) struct Member {
    pub(in crate::coordinator) sub: String,
    pub(in crate::coordinator) role: Role,
}

impl Member {
    pub(in crate::coordinator) fn parse(value: &str) -> Option<Self> {
        let role = Role::parse(&text_field(value, "role")?)?;
        Some(Self { sub: text_field(value, "sub").unwrap_or_default(), role })
    }

    /// The value of a member's record.
    pub(in crate::coordinator) fn value(sub: &str, role: Role) -> String {
        format!(r#"{{"sub":{},"role":"{}"}}"#, json_text(sub), role.as_str())
    }
}

/// The collection of the members' records.
#[must_use]
pub(in crate::coordinator) fn collection() -> Collection {
    Collection::stored("$members")
}

/// The record that says what `user` may do.
#[must_use]
pub(in crate::coordinator) fn key_of(user: &UserHash) -> Key {
    Key { collection: collection(), id: RecordId::stored(user.as_str()) }
}

/// What `user` may do in the space, as its members are at this moment. Only its user reaches a private space.
pub(in crate::coordinator) fn role_of<L: Ledger>(
    ledger: &L,
    meta: &Meta,
    user: &UserHash,
) -> LedgerResult<Option<Role>> {
    if !meta.scope.is_shared() {
        return Ok(Some(Role::Owner));
    }
    let key = key_of(user);
    let record = ledger.record(&key)?;
    let value = record.as_ref().and_then(|record| record.value(&key));
    Ok(value.and_then(Member::parse).map(|member| member.role))
}

/// The role of a user who has to have at least `needed`, or why the request is refused.
pub(in crate::coordinator) fn admit<L: Ledger>(
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

impl<L: Ledger> Coordinator<L> {
    /// What the space says of the membership of `user`, for the user's directory; none of a private space.
    ///
    /// # Errors
    /// When storage fails.
    pub fn membership(&mut self, user: &UserHash) -> Result<Option<Membership>, ApiError> {
        if self.meta.space.is_none() {
            return Ok(None);
        }
        let (incarnation, at) = (self.meta.incarnation.clone(), self.position());
        if self.is_gone() {
            let since = at.version;
            return Ok(Some(Membership { incarnation, standing: Standing::Gone, at, since }));
        }
        let role = role_of(&self.ledger, &self.meta, user).map_err(|error| self.storage_failed(error))?;
        let since = self.ledger.version_of(&key_of(user)).map_err(|error| self.storage_failed(error))?;
        let standing = role.map_or(Standing::None, Standing::Member);
        Ok(Some(Membership { incarnation, standing, at, since }))
    }

    /// What the space's object says to the edge beside the answer that `done` is to what `caller` has asked for.
    ///
    /// # Errors
    /// When storage fails.
    pub fn aside<T>(
        &mut self,
        caller: &UserHash,
        administration: &Administration,
        done: &Result<T, ApiError>,
        invites: bool,
    ) -> Result<Option<Aside>, ApiError> {
        match done {
            _ if !administration.has_aside() => Ok(None),
            Ok(_) if invites => Ok(Some(Aside::Invited)),
            Ok(_) | Err(ApiError::Forbidden(_) | ApiError::Gone) => {
                Ok(self.membership(caller)?.map(Aside::Membership))
            }
            Err(_) => Ok(None),
        }
    }

    /// A page of the members, by the order of their hashes: about 256 KiB, but one at least.
    pub(in crate::coordinator) fn members(&mut self, after: Option<&UserHash>) -> Result<String, ApiError> {
        self.shared_only()?;
        let after = after.map(|user| RecordId::stored(user.as_str()));
        let (mut members, mut last, mut cursor) = (String::new(), String::new(), "null".to_owned());
        self.each_member(after, &mut |user, member| {
            if members.len() >= limits::JSON_PAGE_BYTES {
                cursor = json_text(&last);
                return false;
            }
            if !members.is_empty() {
                members.push(',');
            }
            members.push_str(&shown(user.as_str(), &member.sub, member.role));
            user.as_str().clone_into(&mut last);
            true
        })?;
        Ok(format!(r#"{{"members":[{members}],"cursor":{cursor}}}"#))
    }

    /// Refuses to take away the last owner, after whom nobody could do anything about the space.
    pub(in crate::coordinator) fn keeps_an_owner(&mut self) -> Result<(), ApiError> {
        let mut owners = 0;
        self.each_member(None, &mut |_, member| {
            owners += usize::from(member.role == Role::Owner);
            owners < 2
        })?;
        let last =
            ApiError::Forbidden("The last owner has to make another one first, or to delete the space.");
        (owners > 1 || planted!(LastOwnerLeaves)).then_some(()).ok_or(last)
    }

    /// Whether an owner's subject is of this issuer: what a space says of subjects and addresses, it says of those of its owners' issuer.
    pub(super) fn has_owner_of(&mut self, iss: &str) -> Result<bool, ApiError> {
        let mut is_found = false;
        self.each_member(None, &mut |user, member| {
            let is_one =
                member.role == Role::Owner && UserHash::new(iss, &member.sub).as_str() == user.as_str();
            is_found |= is_one;
            !is_one
        })?;
        Ok(is_found)
    }

    /// Shows `each` the members behind `after` until it has seen enough and returns false.
    fn each_member(
        &mut self,
        mut after: Option<RecordId>,
        each: &mut dyn FnMut(&RecordId, &Member) -> bool,
    ) -> Result<(), ApiError> {
        loop {
            let slice = self.ledger.records_of(&collection(), after.as_ref(), SLICE);
            let slice = slice.map_err(|error| self.storage_failed(error))?;
            for (user, value) in &slice {
                if Member::parse(value).is_some_and(|member| !each(user, &member)) {
                    return Ok(());
                }
            }
            match slice.last() {
                Some((user, _)) if slice.len() == SLICE => after = Some(user.clone()),
                _ => return Ok(()),
            }
        }
    }
}

/// A member as answers show one.
#[must_use]
pub(in crate::coordinator) fn shown(user: &str, sub: &str, role: Role) -> String {
    format!(r#"{{"sub":{},"user":"{user}","role":"{}"}}"#, json_text(sub), role.as_str())
}
