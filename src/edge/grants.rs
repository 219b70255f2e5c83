//! Grants that the edge has asked for itself, on behalf of clients that cannot keep one. They are worth to it what they are worth in a
//! client's hand: each is opened anew with each request.

use std::collections::BTreeMap;

use crate::{
    access::target::Target,
    ids::{SpaceHash, UserHash},
    limits,
    time::Millis,
};

/// Grants, by whom and for what they are.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<(UserHash, SpaceHash), (String, Millis)>);

impl Grants {
    pub(super) fn get(&self, target: &Target, now: Millis) -> Option<String> {
        let (grant, ends) = self.0.get(&name_of(target))?;
        (now < *ends).then(|| grant.clone())
    }

    /// The space has said that there is none for this caller any more, or may say so.
    #[cfg(feature = "dexie")]
    pub(super) fn forget(&mut self, target: &Target) {
        self.0.remove(&name_of(target));
    }

    /// Notes one that the object has just given.
    pub(super) fn learn(&mut self, target: &Target, grant: String, now: Millis) {
        if self.0.len() >= limits::GRANTS_REMEMBERED {
            let known = std::mem::take(&mut self.0);
            self.0.extend(known.into_iter().filter(|(_, (_, ends))| now < *ends));
        }
        // All are asked for once more, rather than every later one with each request.
        if self.0.len() >= limits::GRANTS_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(name_of(target), (grant, now.plus(limits::GRANT_MS)));
    }
}

fn name_of(target: &Target) -> (UserHash, SpaceHash) {
    (target.caller.user.clone(), target.hash.clone())
}
