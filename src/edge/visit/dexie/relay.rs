//! The sockets of a client that has several spaces, which one of the Worker's stands for.

#[cfg(test)]
mod tests;

use super::super::{Outgoing, Request, Visit};
use crate::{
    access::target::Target,
    call::{Call, Caller},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{relay::Relay, revision::Revision},
        headwater::pull::query_pairs,
    },
    limits,
    time::Millis,
    version::Position,
};

/// How the objects of realms are asked for such sockets, and what holds them then.
#[derive(Debug)]
pub struct Relaying {
    /// What holds them.
    pub holder: Holder,
    /// The calls, by the numbers of their spaces.
    pub realms: Vec<(usize, Outgoing)>,
}

/// What holds such sockets.
#[derive(Debug, Clone)]
pub struct Holder {
    /// What goes from one to the others.
    pub relay: Relay,
    /// Of each space.
    targets: Vec<Target>,
    host: String,
    id: String,
}

impl Isolate {
    /// Begins to hold the sockets of a client that has said where it is in several spaces, each of which is asked to `listen`.
    pub(super) fn begin_relay(
        &mut self,
        visit: &mut Visit,
        listen: impl Fn() -> Call,
        now: Millis,
    ) -> Result<Option<Box<Relaying>>, ApiError> {
        let query = query_pairs(&visit.request.query)?;
        let revision = query.iter().find(|(name, _)| name == "rev").and_then(|(_, rev)| Revision::parse(rev));
        let is_home = visit.target().id.is_none();
        let Some(revision) = revision.filter(|revision| is_home && !revision.realms.is_empty()) else {
            return Ok(None);
        };
        let caller = visit.target().caller.clone();
        let mut relay = Relay::new(&caller.person.sub, &revision);
        let (mut realms, mut targets) = (Vec::new(), vec![visit.target().clone()]);
        let spaces: Vec<_> = relay.realms().collect();
        for (number, space) in spaces {
            let target = Target::of(caller.clone(), Some(space.as_str()))?;
            let sub = caller.person.sub.clone();
            let call = Outgoing {
                object: target.hash.clone(),
                call: listen(),
                caller: Caller { sub, ..target.as_caller(visit.id(), visit.origin()) },
                timeout_ms: limits::PULL_TIMEOUT_MS,
                body: None,
            };
            targets.push(target);
            if self.check_refusal(&call, now).is_err() {
                relay.space_refused(number, None);
                continue;
            }
            visit.usage.object += 1;
            self.count_object_request(visit, now);
            realms.push((number, call));
        }
        let (host, id) = (visit.request.host.clone(), visit.request.id.clone());
        Ok(Some(Box::new(Relaying { holder: Holder { relay, targets, host, id }, realms })))
    }

    /// The object of a space has said where that stands. What has passed its socket counts as what is written here, so that the
    /// client's pull, whoever of this location answers it, brings what it was told of.
    pub fn relay_hears(&mut self, holder: &Holder, number: usize, position: Position, now: Millis) {
        let Holder { host, id, targets, .. } = holder;
        let request = Request { host: host.clone(), id: id.clone(), ..Request::default() };
        let target = Some(targets[number].clone());
        self.note_written(&Visit { target, ..Visit::of(request, None) }, position, now);
    }
}
