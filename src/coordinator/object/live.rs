//! Sockets: who gets one, what comes over them, and who loses them.

use super::{Answer, Coordinator, Effect, Event, Moment, Object, Said, State, Storage, Task};
use crate::{
    call::{
        Administration, Aside, Destination, Guest,
        live::{Closing, Granted, Greeting},
    },
    coordinator::{
        live::{Listener, Live},
        sharing::administration::DEXIE_IS_SHUT,
    },
    error::ApiError,
    ids::SpaceId,
    role::Role,
    time::Millis,
};

/// Whoever may have a socket, unless that changes before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    listener: Listener,
    /// A grant and when it ends, in a shared space.
    grant: Option<(String, Millis)>,
}

/// A socket that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its number.
    pub socket: u32,
    /// What the platform keeps with it.
    pub note: String,
    /// What it is told first, where our own front speaks over it.
    pub greeting: Greeting,
    /// Whether another front does.
    pub is_foreign: bool,
}

impl<S: Storage> Object<S> {
    /// Sockets that are there when an instance begins, each with the text that was kept with it.
    pub fn sockets_remain<'a>(&mut self, sockets: impl Iterator<Item = (u32, &'a str)>) {
        self.live.remain(sockets);
    }

    /// The sockets, for whoever drives them.
    pub fn live(&mut self) -> &mut Live {
        &mut self.live
    }

    /// The id of the space, as sockets are told it; none of a private one.
    #[must_use]
    pub fn space_id(&self) -> Option<&SpaceId> {
        self.core.as_ref().and_then(Coordinator::id)
    }

    /// A socket is there for an applicant. It is told at once where the space stands, so that nothing is committed unheard in between.
    ///
    /// # Errors
    /// Why it is closed again.
    pub fn join(&mut self, applicant: Applicant, at: Moment) -> Result<Joined, Closing> {
        let Applicant { mut listener, grant } = applicant;
        // That may have changed while the alarm was set.
        let role = self.space().admit(&listener.user, Role::Reader).map_err(Closing::Lost)?;
        listener.role = role;
        if listener.peer.is_some() {
            self.space().admit_dexie(&listener.user).map_err(Closing::Lost)?;
        }
        let (here, note, expires) = (self.space().position(), listener.to_text(), listener.expires);
        let is_foreign = listener.peer.is_some();
        let socket = self.live.join(listener, &here, at.now)?;
        let greeting = Greeting {
            at: here,
            token_expires_in_ms: expires.since(at.now),
            reconnect_within_ms: self.live.reconnect_within_ms(),
            membership: grant.map(|(grant, ends)| Granted { role, grant, expires_in_ms: ends.since(at.now) }),
        };
        Ok(Joined { socket, note, greeting, is_foreign })
    }

    /// A user sends a message that costs more than its answer: whether the user may have more of this object.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`].
    pub fn admit_message(&mut self, socket: u32, at: Moment) -> Result<(), ApiError> {
        let Some(listener) = self.live.listener(socket) else { return Ok(()) };
        self.rate.admit(&listener.user, at.now)
    }

    /// Whoever asks gets a socket if they may read, in a shared space with a grant: so no grant need come with the request.
    pub(super) fn listen(
        &mut self,
        task: &mut Task,
        (expires, tells_usage, peer): (Millis, bool, Option<String>),
    ) -> Result<Effect, ApiError> {
        let user = task.user().clone();
        let role = self.space().admit(&user, Role::Reader)?;
        let scope = self.space().scope().clone();
        let destination = match self.space_id().cloned() {
            Some(id) => Destination::Shared { id, scope: Some(scope.clone()) },
            None => Destination::Private(scope.clone()),
        };
        let listener = Listener { user: user.clone(), destination, expires, role, tells_usage, peer };
        if let Destination::Private(_) = listener.destination {
            let said = Said::Listening(Box::new(Applicant { listener, grant: None }));
            return Ok(Effect::Answer(Answer::said(said, self.take_rows())));
        }
        task.state = State::Listening(listener);
        Ok(Effect::Sign { user, scope, role })
    }

    pub(super) fn may_listen(&mut self, listener: Listener, event: Event) -> Result<Effect, ApiError> {
        let Event::Signed(signed) = event else { panic!("BUG: {} is no grant", event.as_ref()) };
        let membership = self.space().membership(&listener.user)?;
        let aside = membership.map(Aside::Membership);
        let said = Said::Listening(Box::new(Applicant { listener, grant: Some(signed?) }));
        Ok(Effect::Answer(Answer { aside, ..Answer::said(said, self.take_rows()) }))
    }

    /// Whoever has lost a space with what was done loses its sockets too, at once.
    pub(super) fn close_after(&mut self, done: &Administration) {
        const LEFT: ApiError = ApiError::Forbidden("You are not a member of this space.");
        match done {
            Administration::RemoveMember(person) => {
                self.live.close_user(&person.user, &Closing::Lost(LEFT));
            }
            Administration::SetMember { person, role } => self.live.set_role(&person.user, *role),
            // Whoever accepts an invitation may be a member already, and more from now on.
            Administration::Accept { person, .. }
            | Administration::Respond { guest: Guest { person, .. }, .. } => {
                if let Ok(role) = self.space().admit(&person.user, Role::Reader) {
                    self.live.set_role(&person.user, role);
                }
            }
            // A private space only loses its records, of which everybody who listens hears.
            Administration::Delete if self.space_id().is_some() => {
                self.live.close_all(&Closing::Lost(ApiError::Gone));
            }
            Administration::ShutDexie => self.live.close_foreign(&Closing::Lost(DEXIE_IS_SHUT)),
            Administration::Delete
            | Administration::Create { .. }
            | Administration::Show
            | Administration::Members { .. }
            | Administration::Member(_)
            | Administration::Policies
            | Administration::SetPolicy { .. }
            | Administration::RemovePolicy(_)
            | Administration::AdmitDexie
            | Administration::Grant { .. }
            | Administration::Usage
            | Administration::Invite { .. }
            | Administration::Invitations
            | Administration::Uninvite { .. }
            | Administration::Upload { .. }
            | Administration::Collection
            | Administration::Collect { .. }
            | Administration::Invited(_)
            | Administration::ResetEpoch => {}
        }
    }

    /// A push may have changed who the members are: whoever listens is what they are now.
    pub(super) fn members_may_have_changed(&mut self) {
        for user in self.live.users() {
            match self.space().admit(&user, Role::Reader) {
                Ok(role) => self.live.set_role(&user, role),
                Err(why) => self.live.close_user(&user, &Closing::Lost(why)),
            }
        }
    }

    /// More may be told once others have been heard for a while. No timer is left behind where nobody commits.
    pub(super) fn wait_for_news(&mut self, task: &mut Task, at: Moment) -> Effect {
        task.state = State::Gathering;
        Effect::Pause(self.live.waits_ms(at.now))
    }

    pub(super) fn news_are_due(&mut self) -> Effect {
        self.live.has_waited();
        Effect::Rest
    }

    /// Tells whoever listens what has been committed: after each step, and after a change past all calls.
    pub fn tell_live(&mut self, at: Moment) {
        if let Some(core) = &mut self.core {
            self.live.look(core, at.now);
        }
    }
}
