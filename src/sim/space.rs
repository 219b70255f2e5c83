//! One space of a world: where its coordinator runs, and what ought to be.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    ISSUER, Rng, START, USERS,
    check::{Brand, Oracle},
    host::Host,
    network::{Sender, SentPush},
    user_hash,
};
use crate::{
    call::Person,
    coordinator::{publication::PublicationConfig, queue::Ticket},
    ids::{SpaceHash, SpaceId, UserHash},
    protocol::push::PushRequest,
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
    pub receiving: Vec<(u64, Option<Sender>, Rc<SentPush>)>,
    /// Who waits for pushes.
    pub awaited: BTreeMap<Ticket, Awaited>,
    /// What was, of earlier spaces of this id, each under its scope.
    past: Vec<(Scope, Oracle)>,
}

/// Who waits for a push.
#[derive(Debug)]
pub struct Awaited {
    /// To whom the answer is sent, as long as nothing was.
    pub sender: Option<Sender>,
    /// The push.
    pub sent: Rc<SentPush>,
    /// As the coordinator has it.
    pub push: PushRequest,
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
        let mut host = Host::new(Some(scope.clone()), publication, rng);
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

    /// A shared space, which `owner` has just made.
    #[must_use]
    pub fn shared(id: &str, owner: usize, brand: Brand, publication: PublicationConfig, rng: Rng) -> Self {
        let parsed = SpaceId::parse(id).expect("a space id");
        let mut host = Host::new(None, publication, rng);
        host.create(&parsed, &person(owner), START, START);
        let scope = host.core(START).scope().clone();
        let oracle =
            Oracle::shared(&host.core(START).position().epoch, owner, brand, publication.sizes.parked);
        let (hash, parameter) = (SpaceHash::shared(&parsed), id.to_owned());
        Self {
            parameter,
            hash,
            id: Some(parsed),
            scope,
            host,
            oracle,
            receiving: Vec::new(),
            awaited: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// An operator has wiped the object, and `owner` makes a space of the same id.
    pub fn begin_again(&mut self, owner: usize, brand: Brand, clock: Millis, now: Millis) {
        let id = self.id.clone().expect("a shared space");
        self.host.create(&id, &person(owner), clock, now);
        let core = self.host.core(now);
        let (scope, epoch) = (core.scope().clone(), core.position().epoch);
        let oracle = Oracle::shared(&epoch, owner, brand, core.publisher().sizes().parked);
        let before = (std::mem::replace(&mut self.scope, scope), std::mem::replace(&mut self.oracle, oracle));
        self.past.push(before);
    }

    /// I9: the coordinator answers members, about the space of their grant.
    pub fn check_asker(&self, scope: &Scope, user: &UserHash) {
        let asker = (0..USERS.len()).find(|asker| user_hash(*asker) == *user).expect("a user of this world");
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
