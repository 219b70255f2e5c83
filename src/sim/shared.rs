//! What happens around shared spaces: what owners do, grants, notices to homes, and ids that are used again.

use super::{
    World,
    check::{Deed, policy_text},
    space::{Space, person},
    user_hash,
};
use crate::{
    coordinator::{Person, Told},
    protocol::{act::Act, error::ApiError, internal::Order, role::Role},
    time::Millis,
};

impl World {
    /// A user does something about a space.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn administer(&mut self, caller: usize, space: usize, deed: &Deed) -> Result<(), ApiError> {
        let Space { host, oracle, .. } = &mut self.spaces[space];
        let (told, done) =
            host.administer(&user_hash(caller), deed.act(), &order_of(deed), &mut self.kv, self.now);
        oracle.learn_deed(caller, deed, &done.clone().map(drop));
        oracle.learn_epoch(&host.core(self.now).position().epoch);
        oracle.check_position(&host.core(self.now).position());
        self.note(|| format!("user {caller} asks space {space} to {deed:?}: {told:?}, done {done:?}"));
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
        let granted = host.grant(&user_hash(user), &self.granter, self.now);
        if let Ok((_, ends)) = &granted {
            oracle.learn_grant(user, *ends, self.now);
        }
        granted.ok().map(|(grant, _)| grant)
    }

    /// The notice that a shared space's turn waits for reaches its home, unless something fails.
    pub(super) fn send_notice(&mut self, space: usize) {
        let Some(notice) = self.spaces[space].host.notice() else { return };
        let Some(home) = self.spaces.iter().position(|home| home.hash == notice.home) else { return };
        let Space { host, oracle, .. } = &mut self.spaces[home];
        let (told, done) = host.administer(&notice.user, Act::Told, &notice.order(), &mut self.kv, self.now);
        if done.is_ok() {
            oracle.learn_epoch(&host.core(self.now).position().epoch);
            oracle.learn_notice(notice.space.as_str(), notice.role, &notice.at);
            oracle.check_position(&host.core(self.now).position());
        }
        let answer = match &told {
            Ok(None) => Told::Noted,
            Ok(Some(body)) => Told::of(200, body),
            Err(_) => Told::Failed,
        };
        self.spaces[space].host.notice_ended(answer);
        self.note(|| format!("home {home} hears of {:?} at {}: {told:?}", notice.role, notice.at));
    }

    /// An operator wipes the object of a shared space, and another user makes one of the same id. What users had not sent is
    /// theirs, and of the old space, so they throw it away.
    pub fn begin_again(&mut self, space: usize, owner: usize, clock: Millis) {
        let brand = self.next_brand();
        self.spaces[space].begin_again(owner, brand, clock, self.now);
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

fn order_of(deed: &Deed) -> Order {
    let about = |user: usize, role: &str| {
        let Person { user, home, sub } = person(user);
        let (user, home) = (user.as_str().to_owned(), home.as_str().to_owned());
        Order { user, home, sub, role: role.to_owned(), ..Order::default() }
    };
    match deed {
        Deed::SetMember(user, role) => about(*user, role.as_str()),
        Deed::RemoveMember(user) => about(*user, ""),
        Deed::SetPolicy(collection, policy) => Order {
            collection: (*collection).to_owned(),
            policy: policy_text(*policy).to_owned(),
            ..Order::default()
        },
        Deed::RemovePolicy(collection) => Order { collection: (*collection).to_owned(), ..Order::default() },
        Deed::Delete => Order::default(),
    }
}
