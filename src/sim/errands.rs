//! What edges do when nobody waits for it any more.

use super::{
    World,
    directory::Work,
    visits::{Around, Driven},
};
use crate::{
    edge::visit::{Effect, Event},
    time::Millis,
};

impl World {
    /// Errands go on whose time comes until `then`, each at its time.
    pub(super) fn run_errands_due(&mut self, then: Millis) {
        let now = self.now;
        let first = |world: &Self| {
            let due = world.locations.iter().enumerate();
            due.filter_map(|(at, location)| Some((location.next_due()?, at))).min()
        };
        while let Some((at, location)) = first(self).filter(|(at, _)| *at <= then) {
            self.now = at;
            let driven = self.locations[location].take_due(at);
            self.run_errand(driven, Event::Resumed);
        }
        self.now = now;
    }

    /// An errand goes on until it waits, for a time or for an object.
    pub(super) fn run_errand(&mut self, mut driven: Driven, event: Event) {
        let mut effect = self.step_visit(&mut driven, event);
        loop {
            let event = match effect {
                Effect::Rest => return,
                Effect::Pause(ms) => {
                    let at = self.now.plus(ms);
                    return self.locations[driven.location].paused.push((at, driven));
                }
                Effect::Call(call) => {
                    self.check_waits(&driven, &call);
                    return self.directories.leave(Work { driven, call });
                }
                effect => self.carry_out(&mut driven, effect, &mut Around::default()),
            };
            effect = self.step_visit(&mut driven, event);
        }
    }

    /// One of the calls that errands wait for is made.
    pub(super) fn work_on_errand(&mut self, Work { driven, call }: Work) {
        let called = self.carry_call(&driven, &call, &mut Around::default());
        self.note(|| format!("{} asks {:?}: {called:?}", call.caller.user.as_str(), call.call));
        self.run_errand(driven, Event::Called(called));
    }
}
