//! Whoever was told to come back later does not reach the object before.

use crate::{
    edge::visit::Outgoing,
    error::ApiError,
    ids::SpaceHash,
    sim::{World, location::SharedIsolate, visits::Driven},
};

impl World {
    /// I8: a loop that ignores refusals does not reach the object before the time, but for what owners may do where it is not their
    /// own use that they are refused for.
    pub(in crate::sim) fn check_waits(&self, driven: &Driven, call: &Outgoing) {
        let now = self.now.plus(driven.waited_ms);
        let until = self.locations[driven.location].told_later(&driven.isolate, call, now);
        assert!(until.is_none(), "I8: an edge asks before {until:?}, as it was told not to: {call:?}");
    }

    pub(in crate::sim) fn learn_refusal(
        &mut self,
        driven: &Driven,
        object: &SpaceHash,
        refused: Option<&ApiError>,
    ) {
        if let Some(ApiError::RateLimited { retry_after_s, of_space }) = refused {
            let now = self.now.plus(driven.waited_ms);
            let until = now.plus(u64::from(*retry_after_s) * 1_000);
            let user = driven.visit.target().caller.user.clone();
            let of = (SharedIsolate::clone(&driven.isolate), user, object.clone());
            self.locations[driven.location].learn_refusal(of, (until, *of_space), now);
        }
    }
}
