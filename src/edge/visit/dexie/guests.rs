//! Whoever is invited to a realm, and is no member of it. Directories know which realms that may be: a user's own, and that of the
//! user's verified address. The space of each says whether the invitation stands, and takes the answer to it.

use super::{
    super::{Called, Effect, Visit, call::Then, errand::Errand},
    part::{Brought, part},
};
use crate::{
    access::token::Bearer,
    call::{Administration, Aside, Call, DirectoryCall, Entry, Guest, Person},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{InvitationAnswer, part::PartAnswer},
        headwater::{
            reply::Reply,
            spaces::{directory_of, directory_of_invited},
        },
    },
    ids::SpaceHash,
    limits,
    mutation::member_row::{MemberRow, address},
    time::Millis,
};

/// Where it stands which realms somebody has, or may have.
pub(super) fn directories_of(caller: &Bearer) -> Vec<SpaceHash> {
    let of_address = |email: &str| SpaceHash::directory_of_address(&caller.person.iss, &address(email));
    [directory_of(caller)].into_iter().chain(caller.email.as_deref().map(of_address)).collect()
}

impl Isolate {
    /// A pull of whoever has a space of their own: directories know which others there are.
    pub(in crate::edge::visit) fn pull_of_home(
        &mut self,
        visit: &mut Visit,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        self.list_realms(visit, 0, now)
    }

    /// Asks directories, from one of them on. That of an address is asked in the name of the address: whoever has it may change.
    fn list_realms(&mut self, visit: &mut Visit, from: usize, now: Millis) -> Result<Effect, ApiError> {
        let directories = directories_of(&visit.target().caller);
        for (at, directory) in directories.into_iter().enumerate().skip(from) {
            if self.realms.of(&directory, now).is_none() {
                let mut call = visit.directory_call(directory.clone(), DirectoryCall::List { cursor: None });
                if at > 0 {
                    call.caller.user = directory.into();
                }
                return Ok(self.make_call(visit, call, Then::ListRealms(at), now));
            }
        }
        self.pull_realms(visit, false, now)
    }

    /// A directory has said which realms there are. Without an answer it is those that the client has.
    pub(in crate::edge::visit) fn realms_are_listed(
        &mut self,
        visit: &mut Visit,
        at: usize,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        if let Ok(page) = called.result {
            self.realms.learn(&directories_of(&visit.target().caller)[at], &page, now);
        }
        self.list_realms(visit, at + 1, now)
    }

    /// Whoever calls has made a realm, or got into one: the directories are asked anew.
    pub(super) fn realms_have_changed(&mut self, visit: &Visit) {
        for directory in directories_of(&visit.target().caller) {
            self.realms.forget(&directory);
        }
    }

    /// Brings a realm's space the answers to invitations that the client sends; which realm each is about it does not say. Then whoever
    /// is let in pushes there too, because the same push may have rows of the realm; and everybody else reads the space, if they may.
    pub(super) fn answer_invitations(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let Some(InvitationAnswer { row, accepts, at }) = part(visit).answers.pop() else {
            return match part(visit).body {
                Some(_) => Ok(self.push_part(visit, now)),
                None => self.with_grant(visit, now),
            };
        };
        let respond = Administration::Respond { guest: guest(visit), row, accepts, at };
        let call = visit.call(Call::Administer(respond));
        Ok(self.make_call(visit, call, Then::Respond, now))
    }

    /// A space has taken an answer, or knows no such invitation.
    pub(in crate::edge::visit) fn responded(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match called.result {
            Ok(role) => {
                self.take_up(visit, called.aside, now);
                self.realms_have_changed(visit);
                // Of a rejection there is nothing to say.
                if !role.is_empty() {
                    let part = part(visit);
                    part.body = part.body.take().or(part.joins_with.take());
                }
            }
            Err(ApiError::Forbidden(_) | ApiError::NotFound(_) | ApiError::Gone) => {}
            Err(error) => return Err(error),
        }
        self.answer_invitations(visit, now)
    }

    /// Asks the space of a realm whether whoever is no member is invited. `aside` is what it has said of the membership.
    pub(super) fn ask_guest(&mut self, visit: &mut Visit, aside: Option<Aside>, now: Millis) -> Effect {
        let guest = guest(visit);
        let call = visit.call(Call::Administer(Administration::Invited(guest)));
        self.make_call(visit, call, Then::AskGuest(aside), now)
    }

    /// It has said so. The directory is told that they are no member only if they are not invited, because it would drop the hint.
    pub(in crate::edge::visit) fn guest_is_known(
        &mut self,
        visit: &mut Visit,
        aside: Option<Aside>,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match called.result {
            Ok(lines) => {
                part(visit).brought = Some(Brought::Invited(lines));
                Ok(self.answer(visit, Ok(Reply::json(200, String::new())), now))
            }
            Err(error) => {
                self.end_hint(visit, aside.as_ref());
                self.take_up(visit, aside, now);
                let realm = part(visit).realm.id.clone();
                for directory in directories_of(&visit.target().caller) {
                    self.realms.leave_out(&directory, &realm);
                }
                Err(error)
            }
        }
    }

    /// The directory of the user's address drops the hint of a realm that does not invite its user: the user's own one is told that they
    /// are no member.
    fn end_hint(&mut self, visit: &Visit, aside: Option<&Aside>) {
        let of_address = directories_of(&visit.target().caller).into_iter().nth(1);
        if let (Some(directory), Some(space), Some(Aside::Membership(membership))) =
            (of_address, &visit.target().id, aside)
        {
            let entry = Entry::of(space, membership);
            self.errands.push(visit.errand(Errand::EndHint(directory, Box::new(entry))));
        }
    }

    /// What a push has made of the members of a realm concerns people whose directories do not know the realm.
    pub(super) fn hint_members(&mut self, visit: &mut Visit, said: &PartAnswer) {
        let body = part(visit).body.clone().unwrap_or_default();
        let caller = visit.target().caller.clone();
        let mut directories = Vec::new();
        let mut concerns_members = false;
        for (_, value) in said.member_rows().filter(|(id, _)| body.contains(id)) {
            concerns_members = true;
            let row = value.map(MemberRow::of).unwrap_or_default();
            let directory = match (row.user_id(), row.email()) {
                (Some(sub), _) if row.member().is_some() || row.is_open() => {
                    (directory_of_invited(&caller, sub), false)
                }
                (None, Some(email)) if row.is_open() => {
                    (SpaceHash::directory_of_address(&caller.person.iss, email), true)
                }
                _ => continue,
            };
            let is_known = directories.contains(&directory) || directory.0 == directory_of(&caller);
            if !is_known && directories.len() < limits::INVITATIONS_HINTED_MAX {
                directories.push(directory);
            }
        }
        if concerns_members {
            self.grants.forget(visit.target());
        }
        for (directory, is_of_address) in directories {
            let errand = if is_of_address { Errand::Invite(directory) } else { Errand::Hint(directory) };
            self.errands.push(visit.errand(errand));
        }
    }
}

fn guest(visit: &mut Visit) -> Guest {
    let realm = part(visit).realm.id.clone();
    let caller = &visit.target().caller;
    let person = Person { user: caller.user.clone(), sub: caller.person.sub.clone() };
    Guest { person, iss: caller.person.iss.clone(), email: caller.email.as_deref().map(str::to_owned), realm }
}

#[cfg(test)]
mod tests;
