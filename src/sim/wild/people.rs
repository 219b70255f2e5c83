//! What people do to spaces at random: members come and go, grants are tried by whoever has them, ids are used again.

use super::Wild;
use crate::{
    call::OnConflict,
    error::ApiError,
    fronts::headwater::{answer::Format, pull::PullRequest},
    role::Role,
    sim::{USERS, check::Deed, host::SectionFault, location::Reader},
    snapshot::keys::Scope,
    time::Millis,
};

/// A grant that was given once.
#[derive(Debug)]
pub(super) struct Given {
    text: String,
    user: usize,
    space: usize,
    scope: Scope,
    at: Millis,
}

impl Wild {
    pub(super) fn administer(&mut self, client: usize) {
        let (caller, space) = (self.world.clients[client].user, self.world.clients[client].space);
        let rng = &mut self.world.rng;
        let collection = ["notes", "todos"][rng.index(2)];
        let about = rng.index(USERS.len());
        let dice = rng.below(48);
        if dice >= 40 {
            return self.invite_or_accept(client, dice < 43);
        }
        let deed = match dice {
            0..=15 => {
                let role = [Role::Reader, Role::Writer, Role::Writer, Role::Owner][rng.index(4)];
                Deed::SetMember(about, role)
            }
            16..=25 => Deed::RemoveMember(about),
            26..=34 => {
                let policy = [OnConflict::Reject, OnConflict::Merge, OnConflict::Overwrite][rng.index(3)];
                Deed::SetPolicy(collection, policy)
            }
            35..=37 => Deed::RemovePolicy(collection),
            _ => Deed::Delete,
        };
        let is_private = self.world.spaces[space].id.is_none();
        if is_private && matches!(deed, Deed::SetMember(..) | Deed::RemoveMember(_)) {
            return;
        }
        let _ = self.world.administer(caller, space, &deed);
    }

    fn invite_or_accept(&mut self, client: usize, invites: bool) {
        let (user, space) = (self.world.clients[client].user, self.world.clients[client].space);
        let rng = &mut self.world.rng;
        if self.links.is_empty() || invites {
            let role = [Role::Reader, Role::Writer, Role::Owner][rng.index(3)];
            let (uses, lasts_ms) = (1 + rng.below(4) / 3, 1 + rng.below(10 * 60_000));
            if self.world.spaces[space].id.is_some() {
                self.links.extend(self.world.invite(user, space, (role, uses), lasts_ms));
            }
        }
        // Half of the time a new one is used at once.
        if self.links.is_empty() || (invites && self.world.rng.chance(50)) {
            return;
        }
        // Links are passed around while they are new.
        let link = self.links.len() - 1 - self.world.rng.index(self.links.len().min(3));
        let link = self.links[link].clone();
        for _ in 0..2 {
            let (user, is_forged) = (self.world.rng.index(USERS.len()), self.world.rng.chance(10));
            if self.world.rng.chance(30) {
                // Whoever still has the link was a member.
                let removes = self.world.rng.chance(50);
                let less = Deed::SetMember(user, Role::Reader);
                let deed = if removes { Deed::RemoveMember(user) } else { less };
                let _ = self.world.administer(1 - user, link.space, &deed);
            }
            self.world.accept(user, &link, is_forged);
        }
    }

    /// I9: a grant opens the space it was given for, to the user it was given to, until it ends.
    pub(super) fn try_grant(&mut self, client: usize) {
        let (user, space) = (self.world.clients[client].user, self.world.clients[client].space);
        if self.world.spaces[space].id.is_none() {
            return;
        }
        if self.grants.is_empty() || self.world.rng.chance(40) {
            let Some(text) = self.world.ask_grant(user, space) else { return };
            let (scope, at) = (self.world.spaces[space].scope.clone(), self.world.now);
            self.world.clients[client].grant = Some(text.clone());
            self.grants.push(Given { text, user, space, scope, at });
            return;
        }
        let given = &self.grants[self.world.rng.index(self.grants.len())];
        let lives = self.world.now.since(given.at) <= 10 * 60_000;
        let may = given.user == user && given.space == space && lives;
        let (grant, scope) = (Some(given.text.clone()), given.scope.clone());
        let hash = &self.world.spaces[space].hash;
        let request = ("{}", &PullRequest::from_body(b"{}", hash).expect("a pull"));
        let location = self.world.rng.index(super::LOCATIONS);
        let reader = Reader { user, space, grant };
        let response = self.world.answer(&reader, location, request, Format::Json, None);
        match &response.body {
            Ok(wire) => {
                assert!(may, "I9: {} reads with a grant that is not for it", USERS[user]);
                self.world.spaces[space]
                    .oracle_of(&scope)
                    .check_brand(wire.text(), "an answer to an old grant");
            }
            Err(error) => {
                let is_refused = *error == ApiError::GrantRequired;
                assert!(may || is_refused, "I9: a grant that is not for it gets {error:?}");
            }
        }
    }

    /// Something happens around the directories: an edge gets on with what it has to do after an answer, or never does; users
    /// look at their lists, or begin to make spaces; an object dies, cannot be reached, fails to write, or loses what it had.
    pub(super) fn directory(&mut self) {
        for _ in 0..4 {
            self.directory_once();
        }
    }

    fn directory_once(&mut self) {
        let rng = &mut self.world.directories.rng;
        let (user, dice, number) = (rng.index(USERS.len()), rng.below(100), rng.below(5));
        let directory = &mut self.world.directories.hosts[user];
        match dice {
            0..=49 => self.world.work_on(),
            50..=55 => self.world.directories.lose_work(),
            56..=65 => drop(self.world.list_spaces(user)),
            66..=77 => self.world.reserve(user, &format!("new{number}")),
            78..=81 => directory.host.kill(),
            82..=85 => directory.host.section_fault = Some(SectionFault::Refused(1 + number)),
            86..=87 => directory.host.section_fault = Some(SectionFault::Kept),
            88 => directory.host.section_fault = Some(SectionFault::Lost),
            89..=91 => directory.host.is_unreachable = number == 0,
            92..=93 => directory.backup(),
            94 => directory.wipe(),
            // Whoever guesses an id.
            _ => {
                let shared: Vec<_> =
                    (0..self.world.spaces.len()).filter(|at| self.world.spaces[*at].id.is_some()).collect();
                let space = shared[usize::try_from(number).expect("small") % shared.len()];
                drop(self.world.ask_grant(user, space));
            }
        }
    }

    pub(super) fn begin_again(&mut self, space: usize) {
        if self.world.spaces[space].id.is_none() {
            return;
        }
        // Half of the time another incarnation begins within the same millisecond, when this one has been read.
        for _ in 0..=self.world.rng.below(2) {
            self.begin_again_once(space);
            for client in 0..self.world.clients.len() {
                if self.world.clients[client].space == space && self.world.rng.chance(50) {
                    self.world.clients[client].forget_pull(0);
                    self.world.clients[client].grant = None;
                    self.world.renew_grant(client);
                    let _ = self.world.pull(client, 0, Format::Json);
                }
            }
        }
    }

    fn begin_again_once(&mut self, space: usize) {
        if self.world.brands_left() == 0 {
            return;
        }
        // What still runs of the old instance cannot write any more.
        let owner = self.world.rng.index(USERS.len());
        self.world.spaces[space].host.section_fault = None;
        self.world.spaces[space].host.alarm_faults.clear();
        let clock = self.some_clock();
        self.world.begin_again(space, owner, clock);
        self.watches[space] = Default::default();
        self.client_copy = self.client_copy.take().filter(|copy| copy.space != space);
        self.storage_copy = self.storage_copy.take().filter(|(of, ..)| *of != space);
    }
}
