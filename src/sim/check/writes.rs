//! What was written is seen at the location where it was written, whoever asks.

use crate::{
    fronts::headwater::pull::{Consistency, PullRequest},
    ids::SpaceHash,
    sim::{World, location::Response},
    version::{Epoch, Position, Version},
};

impl World {
    /// I14: what a location answers without the coordinator is no older than the last write whose answer has passed there.
    ///
    /// A load that goes on brings what it began with. Whoever asks for no more than is there gets that while the coordinator
    /// does not answer.
    pub(in crate::sim) fn check_shows_writes(
        &self,
        location: usize,
        space: &SpaceHash,
        asked: &PullRequest,
        response: &Response,
    ) {
        let Ok(wire) = &response.body else { return };
        let goes_on = asked.cursor.is_some();
        let is_lenient = asked.consistency == Consistency::Eventual && response.usage.object > 0;
        let written = self.locations[location].written(space, self.now);
        let Some(written) = written.filter(|_| !goes_on && !is_lenient) else { return };
        let shown = position_of(wire.text()).expect("an answer says where it leads");
        assert!(
            shown >= *written,
            "I14: location {location} shows {shown} after a write at {written}: {asked:?} {:?} {:?}",
            response.source,
            response.usage
        );
    }
}

/// Where an answer leads: a page and the first line of a stream begin with it.
fn position_of(text: &str) -> Option<Position> {
    let (epoch, rest) = text.strip_prefix("{\"epoch\":\"")?.split_once("\",\"version\":")?;
    let digits = rest.split(|after: char| !after.is_ascii_digit()).next()?;
    Some(Position { epoch: Epoch::parse(epoch)?, version: Version::parse(digits)? })
}
