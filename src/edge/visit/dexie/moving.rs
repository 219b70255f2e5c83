//! What a push has put into another realm than the one in whose space it stands: the edge puts it there, and removes it where it was
//! once it is there. Until then those who had it see it where it was. Nothing is moved that the push of its client has not named or
//! written: what others have left on its way is theirs to move.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Effect, Visit},
    several::{Several, Stage, several},
};
use crate::{
    edge::isolate::Isolate,
    error::ApiError,
    fronts::dexie::{
        merge::{Errands, Name, Stray, names},
        realm::Realm,
    },
    limits,
    time::Millis,
};

impl Isolate {
    /// Puts what is on its way into the realms that it names, as far as it is known; asks for the rest of it behind that.
    pub(super) fn move_on(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let several = several(visit);
        let strays = several.found.iter().flat_map(|found| found.strays());
        let strays: BTreeMap<Name, Stray> = strays.map(|stray| (stray.name.clone(), stray)).collect();
        // No more than there is room for in the answer of the space into which they go.
        let mut room = limits::WORDED_BYTES_MAX / 2;
        let mut fits = |stray: &Stray| {
            let has_room = room > 0;
            room = room.saturating_sub(stray.value.len() + limits::NAME_BYTES * 4);
            has_room
        };
        let strays = strays.into_values().filter(|stray| !several.moved.contains(&stray.name));
        let strays: Vec<_> = strays.take_while(|stray| fits(stray)).collect();
        several.moved.extend(strays.iter().map(|stray| stray.name.clone()));
        if strays.is_empty() {
            return self.fetch_strays(visit, now);
        }
        // Whoever has put a record there by the same push has put it there already; a realm that was not asked, or may not be, gets none.
        let standing = several.standing();
        let to_put = strays
            .iter()
            .filter(|stray| standing.get(&*stray.to).is_some_and(|there| !there.contains(&named(stray))));
        let errands = by_realm(several, to_put, |stray| (&stray.to, Errands::put));
        if errands.is_empty() {
            return self.settle_moves(visit, strays, now);
        }
        several.stage = Stage::Moving(strays);
        Ok(self.push_errands(visit, errands, now))
    }

    fn fetch_strays(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let several = several(visit);
        let mut errands = Vec::new();
        for found in &several.found {
            // What has been told is moved, or is not on its way any more.
            let told = names(&found.touched);
            let left = several.left.remove(&found.realm.id).unwrap_or_default();
            let left: BTreeSet<_> = left.difference(&told).cloned().collect();
            if left.is_empty() {
                continue;
            }
            let mut questions = Errands::default();
            questions.ask(&left.iter().take(limits::DEXIE_ASKED_AT_ONCE).cloned().collect());
            errands.push((found.realm.clone(), questions));
            // What the answer has no room for is asked for again, but not without end.
            several.questions += 1;
            if several.questions < limits::DEXIE_QUESTIONS_MAX {
                several.left.insert(found.realm.id.clone(), left);
            }
        }
        if errands.is_empty() {
            several.questions = 0;
            return self.ask_for_unsettled(visit, None, now);
        }
        several.stage = Stage::Fetching;
        Ok(self.push_errands(visit, errands, now))
    }

    /// Removes where it was what stands now in the realm that it names. What cannot be there stays, and names its realm again.
    pub(super) fn settle_moves(
        &mut self,
        visit: &mut Visit,
        strays: Vec<Stray>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let several = several(visit);
        let standing = several.standing();
        let errands = by_realm(several, strays.iter(), |stray| {
            let is_there = standing.get(&*stray.to).is_some_and(|there| there.contains(&named(stray)));
            (&stray.from, if is_there { Errands::remove } else { Errands::keep })
        });
        several.stage = Stage::Settling;
        Ok(self.push_errands(visit, errands, now))
    }
}

impl Several {
    /// The records that each realm has whose space was asked.
    fn standing(&self) -> BTreeMap<&str, BTreeSet<(&str, &str)>> {
        self.found.iter().map(|found| (&*found.realm.id, found.standing())).collect()
    }
}

fn named(stray: &Stray) -> (&str, &str) {
    (&stray.name.0, &stray.name.1)
}

/// What is to be done about records, for each realm in which something is.
fn by_realm<'a>(
    several: &Several,
    strays: impl Iterator<Item = &'a Stray>,
    what: impl Fn(&'a Stray) -> (&'a String, fn(&mut Errands, &Stray)),
) -> Vec<(Realm, Errands)> {
    let mut errands: BTreeMap<&String, Errands> = BTreeMap::new();
    for stray in strays {
        let (realm, add) = what(stray);
        add(errands.entry(realm).or_default(), stray);
    }
    let known = several.found.iter().map(|found| &found.realm);
    known.filter_map(|realm| Some((realm.clone(), errands.remove(&realm.id)?))).collect()
}
