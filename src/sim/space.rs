//! One space of a world: where its coordinator runs, and what ought to be.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    ISSUER, Rng, START, USERS,
    check::{Brand, Oracle},
    host::Host,
    network::{Sender, SentPush, Syncing},
    user_hash,
    visits::Driven,
};
use crate::{
    call::{Person, PushRequest},
    coordinator::{publication::PublicationConfig, push::queue::Ticket},
    ids::{SpaceHash, SpaceId, UserHash},
    snapshot::keys::Scope,
    time::Millis,
    version::Epoch,
};

/// A space with its coordinator.
#[derive(Debug)]
pub struct Space {
    /// What requests call it.
    pub parameter: String,
    /// Its name in cursors.
    pub hash: SpaceHash,
    /// Its id if it is shared.
    pub id: Option<SpaceId>,
    /// Under what its keys stand.
    pub scope: Scope,
    /// Where the coordinator runs.
    pub host: Host,
    /// What ought to be.
    pub oracle: Oracle,
    /// Pushes whose bodies are on their way, by the host's numbers, and to whom the answer is sent.
    pub(super) receiving: Vec<(u64, Option<Waiting>, Rc<SentPush>)>,
    /// Who waits for pushes.
    pub(super) awaited: BTreeMap<Ticket, Awaited>,
    /// What was, of earlier spaces of this id, each under its scope.
    past: Vec<(Scope, Oracle)>,
}

/// Whoever waits for the answer to a push.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Whoever has sent a request, and the visit that the answer passes.
    Request { sender: Sender, driven: Box<Driven> },
    /// Whoever has sent a message over this connection.
    Message(u64),
    /// Whoever has sent a sync of `dexie-cloud-addon`, and the visit that the answer passes.
    Sync { syncing: Syncing, driven: Box<Driven> },
}

/// A push that waits in the coordinator.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Who waits for the answer, as long as nothing was sent.
    pub(super) waiting: Option<Waiting>,
    /// The push.
    pub(super) sent: Rc<SentPush>,
    /// As the coordinator has it.
    pub(super) push: PushRequest,
}

/// A user as the coordinator of a shared space knows one.
#[must_use]
pub fn person(user: usize) -> Person {
    let sub = USERS[user];
    Person { user: user_hash(user), sub: sub.to_owned() }
}

impl Space {
    /// The private space of a user, never used.
    #[must_use]
    pub fn private(user: usize, brand: Brand, publication: PublicationConfig, rng: Rng) -> Self {
        let hash = SpaceHash::private(ISSUER, USERS[user]);
        let scope = Scope::private(&hash);
        let mut host = Host::new(Some(scope.clone()), None, publication, rng);
        let oracle = Oracle::new(host.core(START).position(), brand, publication.sizes.parked);
        Self {
            parameter: "~".to_owned(),
            hash,
            id: None,
            scope,
            host,
            oracle,
            receiving: Vec::new(),
            awaited: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// A shared space that nobody has made yet.
    #[must_use]
    pub fn shared(id: &str, publication: PublicationConfig, rng: Rng) -> Self {
        let parsed = SpaceId::parse(id).expect("a space id");
        let (hash, parameter) = (SpaceHash::shared(&parsed), id.to_owned());
        let epoch = Epoch::begin(START, None, 0);
        let oracle = Oracle::shared(&epoch, 0, Brand('?'), publication.sizes.parked);
        Self {
            parameter,
            scope: Scope::shared(&hash, &epoch),
            hash,
            id: Some(parsed.clone()),
            host: Host::new(None, Some(parsed), publication, rng),
            oracle,
            receiving: Vec::new(),
            awaited: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// `owner` has made the space. There may have been one of this id before.
    pub fn has_begun(&mut self, owner: usize, brand: Brand, now: Millis) {
        let core = self.host.core(now);
        let (scope, epoch) = (core.scope().clone(), core.position().epoch);
        let oracle = Oracle::shared(&epoch, owner, brand, core.publisher().sizes().parked);
        let before = (std::mem::replace(&mut self.scope, scope), std::mem::replace(&mut self.oracle, oracle));
        self.past.push(before);
    }

    /// I9: only its user reaches a private space's object, which stands for good where the first request came from.
    pub fn check_caller(&self, user: &UserHash) {
        let is_users = self.id.is_some() || self.oracle.role(user_of(user)).is_some();
        assert!(is_users, "I9: somebody else reaches the object of a private space");
    }

    /// I9: the coordinator answers members, about the space of their grant.
    pub fn check_asker(&self, scope: &Scope, user: &UserHash) {
        let asker = user_of(user);
        let may = self.oracle.role(asker).is_some() && !self.oracle.is_gone();
        assert!(
            may && *scope == self.scope,
            "I9: the coordinator has answered {} under {scope}",
            USERS[asker]
        );
    }

    /// What ought to be in the space of this scope.
    #[must_use]
    pub fn oracle_of(&self, scope: &Scope) -> &Oracle {
        let past = self.past.iter().find(|(past, _)| past == scope);
        past.map_or(&self.oracle, |(_, oracle)| oracle)
    }

    /// What ought to be in the space that had this epoch.
    #[must_use]
    pub fn oracle_at(&self, epoch: &Epoch) -> &Oracle {
        let past = self.past.iter().find(|(_, oracle)| oracle.had(epoch));
        past.map_or(&self.oracle, |(_, oracle)| oracle)
    }
}

fn user_of(hash: &UserHash) -> usize {
    (0..USERS.len()).find(|user| user_hash(*user) == *hash).expect("a user of this world")
}
