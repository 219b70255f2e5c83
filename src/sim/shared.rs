//! What happens around shared spaces: what owners do, grants, and ids that are used again.

use super::{World, check::Deed, host::Done, space::Space, user_hash};
use crate::{access::role::Role, protocol::error::ApiError, time::Millis};

impl World {
    /// A user does something about a space.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn administer(&mut self, caller: usize, space: usize, deed: &Deed) -> Result<(), ApiError> {
        let Space { host, oracle, .. } = &mut self.spaces[space];
        let Done { told, done, aside } =
            host.administer(&user_hash(caller), deed.administration(), &mut self.kv, self.now);
        oracle.learn_deed(caller, deed, &done.clone().map(drop));
        oracle.learn_epoch(&host.core(self.now).position().epoch);
        oracle.check_position(&host.core(self.now).position());
        self.note(|| format!("user {caller} asks space {space} to {deed:?}: {told:?}, done {done:?}"));
        let about = if let Deed::SetMember(user, _) = deed { *user } else { caller };
        self.take_up(caller, space, aside, about);
        told.map(drop)
    }

    /// A client of a shared space asks for a grant if it has none.
    pub(super) fn renew_grant(&mut self, client: usize) {
        let reader = self.reader(client);
        if reader.grant.is_none() {
            self.clients[client].grant = self.ask_grant(reader.user, reader.space);
        }
    }

    /// A grant for a user, if the space gives one.
    pub fn ask_grant(&mut self, user: usize, space: usize) -> Option<String> {
        let Space { id, host, oracle, .. } = &mut self.spaces[space];
        id.as_ref()?;
        let (granted, aside) = host.grant(&user_hash(user), &self.granter, None, self.now);
        if let Ok((_, ends)) = &granted {
            oracle.learn_grant(user, *ends, self.now);
        }
        self.take_up(user, space, aside, user);
        granted.ok().map(|(grant, _)| grant)
    }

    /// An operator wipes the object of a shared space, and another user makes one of the same id. What users had not sent is
    /// theirs, and of the old space, so they throw it away.
    pub fn begin_again(&mut self, space: usize, owner: usize, clock: Millis) {
        let brand = self.next_brand();
        let id = self.spaces[space].parameter.clone();
        self.reserve(owner, &id);
        self.spaces[space].begin_again(owner, brand, clock, self.now);
        self.made(owner, space);
        for client in self.clients.iter_mut().filter(|client| client.space == space) {
            client.throw_away();
        }
        self.note(|| format!("space {space} begins again, of user {owner}"));
    }

    /// Lets everybody who has a client write, so that all can come together.
    pub(super) fn let_everybody_write(&mut self, space: usize) {
        let oracle = &self.spaces[space].oracle;
        let owner = (0..2).find(|user| oracle.role(*user) == Some(Role::Owner));
        let Some(owner) = owner.filter(|_| self.spaces[space].id.is_some() && !oracle.is_gone()) else {
            return;
        };
        let refused = self.administer(owner, space, &Deed::SetMember(1 - owner, Role::Writer));
        refused.expect("I8: an owner can make others members");
    }
}
