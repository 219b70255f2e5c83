//! What a push has put into another realm than the one in whose space it stands: the edge puts it there, and removes it where it was
//! once it is there. A break between the two leaves it with those who had it, until its client sends the push again.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Effect, Visit},
    realms::{Several, Stage, several},
};
use crate::{
    edge::isolate::Isolate,
    error::ApiError,
    fronts::dexie::{
        merge::{Errands, Name, Stray},
        realm::Realm,
    },
    time::Millis,
};

impl Isolate {
    /// Puts what is on its way into the realms that it names.
    pub(super) fn move_on(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let several = several(visit);
        let strays: BTreeMap<Name, Stray> = several
            .found
            .iter()
            .flat_map(|found| found.strays())
            .map(|stray| (stray.name.clone(), stray))
            .collect();
        let strays: Vec<_> = strays.into_values().collect();
        // Whoever has put a record there by the same push has put it there already.
        let to_put = strays.iter().filter(|stray| several.has(&stray.to, &stray.name) == Some(false));
        let errands = by_realm(several, to_put, |stray| (&stray.to, Errands::put));
        if errands.is_empty() {
            return self.settle_moves(visit, strays, now);
        }
        several.stage = Stage::Moving(strays);
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
        let there: BTreeSet<_> = strays
            .iter()
            .filter(|stray| several.has(&stray.to, &stray.name) == Some(true))
            .map(|stray| &stray.name)
            .collect();
        let errands = by_realm(several, strays.iter(), |stray| {
            (&stray.from, if there.contains(&stray.name) { Errands::remove } else { Errands::keep })
        });
        if errands.is_empty() {
            return self.ask_for_unsettled(visit, None, now);
        }
        several.stage = Stage::Settling;
        Ok(self.push_errands(visit, errands, now))
    }
}

impl Several {
    /// Whether the space of a realm has a record; none if that was not asked, or may not be.
    fn has(&self, realm: &str, name: &Name) -> Option<bool> {
        self.found.iter().find(|found| found.realm.id == realm).map(|found| found.has(name))
    }
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
