//! Who may do what, and until when they may read: I9. What owners do to a space.

use super::{History, OnConflict, Oracle, Position, State};
use crate::{
    error::ApiError,
    limits::ParkedMax,
    role::Role,
    sim::{USERS, history::Brand, user_hash},
    time::Millis,
    version::{Epoch, Version},
};

/// What is done about a space, as the oracle knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Makes a user a member, or changes the role of one.
    SetMember(usize, Role),
    /// A user is a member no more.
    RemoveMember(usize),
    /// What becomes of conflicts in a collection.
    SetPolicy(&'static str, OnConflict),
    /// That is forgotten.
    RemovePolicy(&'static str),
    /// The end of the space.
    Delete,
}

/// An invitation that stands.
#[derive(Debug, Clone)]
pub(super) struct Invited {
    role: Role,
    /// How many people it may still make members.
    uses: u64,
    until: Millis,
    /// Where the space stood when it was made.
    made: Version,
}

impl Oracle {
    /// A shared space that `owner` has just made.
    #[must_use]
    pub fn shared(incarnation: &Epoch, owner: usize, brand: Brand, max: ParkedMax) -> Self {
        let here = Position { epoch: incarnation.clone(), version: Version::ZERO };
        let mut oracle = Self::new(here, brand, max);
        oracle.now.roles = Some([(owner, Role::Owner)].into());
        oracle.step("$members", user_hash(owner).as_str(), Some(member_text(owner, Role::Owner)));
        oracle
    }

    /// What a user may do.
    #[must_use]
    pub fn role(&self, user: usize) -> Option<Role> {
        self.now.roles.as_ref().map_or(Some(Role::Owner), |roles| roles.get(&user).copied())
    }

    /// Whether the space was deleted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.now.is_gone
    }

    /// The policy of a collection.
    pub(super) fn policy_of(&self, collection: &str) -> OnConflict {
        self.now.policies.get(collection).copied().unwrap_or_default()
    }

    /// A step by Headwater itself.
    fn step(&mut self, collection: &str, id: &str, text: Option<String>) {
        self.now.here.version = self.now.here.version.next();
        let name = (collection.to_owned(), id.to_owned());
        match text {
            Some(text) => drop(self.now.own.insert(name.into(), text.into())),
            None => drop(self.now.own.remove(&name)),
        }
        self.note_state();
    }

    /// Whether `caller` may do it.
    fn may(&self, caller: usize, deed: &Deed) -> bool {
        let roles = self.now.roles.iter().flatten();
        let is_owner = self.role(caller) == Some(Role::Owner);
        let is_last = |user: &usize| {
            let owners = roles.clone().filter(|(_, role)| **role == Role::Owner);
            self.role(*user) == Some(Role::Owner) && owners.count() == 1
        };
        match deed {
            _ if self.now.is_gone => false,
            Deed::RemoveMember(user) if *user == caller => self.role(caller).is_some() && !is_last(user),
            Deed::RemoveMember(user) => is_owner && !is_last(user),
            Deed::SetMember(user, role) => is_owner && (*role == Role::Owner || !is_last(user)),
            _ => is_owner,
        }
    }

    /// I9: a deed ends as the members of this moment allow, and what follows from it.
    pub fn learn_deed(&mut self, caller: usize, deed: &Deed, done: &Result<(), ApiError>) {
        let may = self.may(caller, deed);
        match done {
            Ok(()) => assert!(may, "I9: {} may not {deed:?}, and did", USERS[caller]),
            Err(ApiError::Gone) => assert!(self.now.is_gone, "I9: {deed:?} is told that the space is gone"),
            Err(ApiError::Forbidden(why)) => {
                assert!(
                    !may && !self.now.is_gone,
                    "I9: {} may {deed:?} and is refused: {why}",
                    USERS[caller]
                );
            }
            // Storage or the instance failed, and nothing happened.
            Err(_) => {}
        }
        if done.is_ok() {
            let before = self.now.here.version;
            self.carry_out(deed);
            if let Deed::SetMember(user, _) | Deed::RemoveMember(user) = deed
                && self.now.here.version > before
            {
                self.now.set_at.insert(*user, self.now.here.version);
            }
        }
    }

    /// I9: owners invite, and nobody else does.
    pub fn check_inviter<T>(&self, caller: usize, done: &Result<T, ApiError>) {
        let may = self.role(caller) == Some(Role::Owner) && !self.now.is_gone;
        match done {
            Ok(_) => assert!(may, "I9: {} is no owner, and has invited", USERS[caller]),
            Err(ApiError::Forbidden(why)) => {
                assert!(!may || why.contains("at most"), "I9: {} may invite: {why}", USERS[caller]);
            }
            Err(_) => {}
        }
    }

    /// An invitation stands.
    pub fn learn_invitation(&mut self, number: u64, (role, uses): (Role, u64), expires: Millis) {
        let made = self.now.here.version;
        self.now.invitations.insert(number, Invited { role, uses, until: expires, made });
    }

    /// I9: who accepts an invitation becomes a member if it stands, and not otherwise, nor if the membership was set or has ended
    /// since it was made; each is counted. `number` is none if it is
    /// of an earlier space of this id.
    pub fn learn_acceptance(
        &mut self,
        user: usize,
        number: Option<u64>,
        now: Millis,
        done: &Result<(), ApiError>,
    ) {
        let set_at = self.now.set_at.get(&user).copied().unwrap_or(Version::ZERO);
        let standing = number.and_then(|number| Some((number, self.now.invitations.get(&number)?.clone())));
        let standing = standing.filter(|(_, invited)| {
            invited.uses > 0 && now < invited.until && set_at <= invited.made && !self.now.is_gone
        });
        match done {
            Ok(()) => {
                let is_member = self.role(user).is_some() && !self.now.is_gone;
                assert!(is_member || standing.is_some(), "I9: {} accepts what does not stand", USERS[user]);
            }
            Err(ApiError::Gone) => {
                assert!(self.now.is_gone, "I9: who accepts is told that the space is gone")
            }
            Err(ApiError::NotFound(why)) => {
                assert!(standing.is_none(), "I9: an invitation that stands is refused: {why}");
            }
            Err(_) => {}
        }
        let (Ok(()), Some((number, invited))) = (done, standing) else { return };
        if self.role(user) < Some(invited.role) {
            self.carry_out(&Deed::SetMember(user, invited.role));
            self.now.invitations.insert(number, Invited { uses: invited.uses - 1, ..invited });
        }
    }

    fn carry_out(&mut self, deed: &Deed) {
        match deed {
            Deed::SetMember(user, role) if self.role(*user) != Some(*role) => {
                self.now.roles.get_or_insert_default().insert(*user, *role);
                self.step("$members", user_hash(*user).as_str(), Some(member_text(*user, *role)));
            }
            Deed::RemoveMember(user) if self.role(*user).is_some() => {
                self.now.roles.get_or_insert_default().remove(user);
                self.step("$members", user_hash(*user).as_str(), None);
            }
            Deed::SetPolicy(collection, policy) => {
                let before = self.now.policies.insert((*collection).to_owned(), *policy);
                if before != Some(*policy) {
                    let text = format!("{{\"onConflict\":\"{}\"}}", policy.as_str());
                    self.step("$policies", collection, Some(text));
                }
            }
            Deed::RemovePolicy(collection) => {
                if self.now.policies.remove(*collection).is_some() {
                    self.step("$policies", collection, None);
                }
            }
            Deed::Delete if self.now.roles.is_none() => self.empty(),
            Deed::Delete => {
                self.now.is_gone = true;
                self.published = None;
                (self.now.records, self.now.own) = Default::default();
                self.now.conflicts.clear();
                self.now.here.version = self.now.here.version.next();
                self.note_state();
            }
            Deed::SetMember(..) | Deed::RemoveMember(_) => {}
        }
    }

    /// A private space loses everything, and goes on in another epoch, of which the caller has to tell next.
    fn empty(&mut self) {
        self.now.records.clear();
        self.now.own.clear();
        self.now.conflicts.clear();
        self.now.policies.clear();
        self.now.history = History::default();
        self.published = None;
    }

    /// I9: a push ends as the members of this moment allow.
    ///
    /// `needed` is the role that lets in a push of its kind.
    pub fn check_pusher<T>(&self, (user, needed): (usize, Role), answer: &Result<T, ApiError>) {
        let may = self.role(user) >= Some(needed) && !self.now.is_gone;
        match answer {
            Ok(_) => assert!(may, "I9: {} may not write and has pushed", USERS[user]),
            Err(ApiError::Forbidden(_) | ApiError::Gone) => {
                assert!(!may, "I9: {} may write and is refused", USERS[user]);
            }
            Err(_) => {}
        }
    }

    /// I9: a grant is given to members only. It is noted until when.
    pub fn learn_grant(&mut self, user: usize, ends: Millis, now: Millis) {
        assert!(
            self.role(user).is_some() && !self.now.is_gone,
            "I9: {} is no member and got a grant",
            USERS[user]
        );
        assert!(ends.since(now) <= 10 * 60_000, "I9: a grant for more than ten minutes");
        let until = self.granted_until.entry(user).or_default();
        *until = ends.max(*until);
    }

    /// I9: who reads at an edge has a grant that has not ended.
    pub fn check_reader(&self, user: usize, now: Millis) {
        let is_private = self.now.roles.is_none();
        let until = self.granted_until.get(&user).copied().unwrap_or_default();
        assert!(
            is_private || now < until,
            "I9: {} reads at {}, with grants until {}",
            USERS[user],
            now.0,
            until.0
        );
    }

    /// All that Headwater wrote itself.
    #[must_use]
    pub fn own(&self) -> &State {
        &self.now.own
    }
}

fn member_text(user: usize, role: Role) -> String {
    format!("{{\"sub\":\"{}\",\"role\":\"{}\"}}", USERS[user], role.as_str())
}
