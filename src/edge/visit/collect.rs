//! Files that no record names any more are deleted, once in a while, after somebody has put one: the space's object says whether it is time,
//! looks through its records step by step, and says which are to go; the edge lists and deletes. Whatever breaks off has deleted
//! nothing that a record names.

use super::{
    Called, Effect, Event, Visit,
    errand::{Errand, waits},
};
use crate::{
    call::{Administration, Call},
    edge::{
        blobs::{BlobEffect, BlobEvent},
        isolate::Isolate,
    },
    json::text_field,
    limits,
    time::Millis,
    version::Version,
};

/// How far it has come.
#[derive(Debug)]
pub(super) enum Collecting {
    /// The object is asked whether it is time.
    Asking,
    /// A page of the bucket is listed.
    Listing,
    /// The object looks through records, so many times more at most. The next look begins behind this file.
    Looking { behind: String, steps: usize },
}

impl Isolate {
    pub(super) fn collect(
        &mut self,
        visit: &mut Visit,
        collecting: Collecting,
        event: Event,
        now: Millis,
    ) -> Effect {
        let said = |name: &str| match &event {
            Event::Called(Called { result: Ok(answer), .. }) => text_field(answer, name),
            _ => None,
        };
        match (collecting, &event) {
            (Collecting::Asking, Event::Begun) => {
                self.ask(visit, Administration::Collection, Collecting::Asking, now)
            }
            (Collecting::Asking, _) => {
                let Some(behind) = said("behind") else { return Effect::Rest };
                let prefix = visit.target().scope().blob_key("");
                let list = Effect::Blob(BlobEffect::List { prefix, behind });
                waits(visit, Errand::Collect(Collecting::Listing), list)
            }
            (Collecting::Listing, Event::Blob(BlobEvent::Listed(Ok((ids, behind))))) => {
                let (ids, behind, after) = (ids.clone(), behind.clone(), Version::ZERO);
                let looking = Collecting::Looking { behind: behind.clone(), steps: limits::BLOB_SCANS_MAX };
                self.ask(visit, Administration::Collect { ids, after, behind }, looking, now)
            }
            (Collecting::Looking { behind, steps }, _) => {
                if let Some(deleted) = said("deleted").filter(|deleted| !deleted.is_empty()) {
                    let scope = visit.target().scope();
                    let keys = deleted.split(' ').map(|id| scope.blob_key(id)).collect();
                    return Effect::Blob(BlobEffect::DeleteEach { keys });
                }
                let after = said("after").and_then(|after| Version::parse(&after)).filter(|_| steps > 1);
                let (Some(ids), Some(after)) = (said("ids"), after) else { return Effect::Rest };
                let looking = Collecting::Looking { behind: behind.clone(), steps: steps - 1 };
                self.ask(visit, Administration::Collect { ids, after, behind }, looking, now)
            }
            (Collecting::Listing, _) => Effect::Rest,
        }
    }

    fn ask(
        &mut self,
        visit: &mut Visit,
        administration: Administration,
        then: Collecting,
        now: Millis,
    ) -> Effect {
        let call = visit.call(Call::Administer(administration));
        self.send_unless_refused(visit, call, Errand::Collect(then), now)
    }
}
