//! One space of a world: where its coordinator runs, and what ought to be.

use super::{
    Rng, START,
    check::{Brand, Oracle},
    host::Host,
};
use crate::{coordinator::publication::PublicationConfig, ids::SpaceHash, snapshot::keys::Scope};

/// A space with its coordinator.
#[derive(Debug)]
pub struct Space {
    /// What requests call it.
    pub parameter: String,
    /// Its name in keys and cursors.
    pub hash: SpaceHash,
    /// Under what its keys stand.
    pub scope: Scope,
    /// Where the coordinator runs.
    pub host: Host,
    /// What ought to be.
    pub oracle: Oracle,
}

impl Space {
    /// A space that was never used.
    #[must_use]
    pub fn new(
        parameter: &str,
        hash: SpaceHash,
        brand: Brand,
        publication: PublicationConfig,
        rng: Rng,
    ) -> Self {
        let scope = Scope::private(&hash);
        let mut host = Host::new(scope.clone(), publication, rng);
        let oracle = Oracle::new(host.core(START).position(), brand);
        Self { parameter: parameter.to_owned(), hash, scope, host, oracle }
    }
}
