//! What the platform bills for edges.

use super::World;
use crate::{
    call::Usage,
    edge::visit::{Effect, Visit},
};

impl World {
    /// A request has come.
    pub(super) fn bill_request(&mut self, visit: &Visit) {
        self.bill(visit, &Usage { worker: 1, ..Usage::default() });
    }

    /// An effect is carried out.
    pub(super) fn bill_effect(&mut self, visit: &Visit, effect: &Effect) {
        let nothing = Usage::default();
        let used = match effect {
            Effect::LookIntoCache { .. } => Usage { cache: 3, ..nothing },
            Effect::ReadHead { .. } | Effect::OpenObject { .. } => Usage { kv: 1, ..nothing },
            Effect::StreamObjects { objects, .. } => Usage { kv: objects.len() as u64, ..nothing },
            _ => nothing,
        };
        self.bill(visit, &used);
    }

    /// Something is used for the space that a visit is for.
    fn bill(&mut self, visit: &Visit, used: &Usage) {
        let (object, ..) = visit.ended(self.now);
        if let Some(space) = self.spaces.iter_mut().find(|space| space.hash.as_str() == object) {
            space.host.bill(used);
        }
    }
}
