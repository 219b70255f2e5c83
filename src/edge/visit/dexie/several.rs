//! What a sync over several spaces knows while it is under way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use super::{
    super::{Visit, pull::Pulling},
    part::{Brought, PartOfSync},
};
use crate::{
    fronts::dexie::{
        LastPull, NextPull,
        merge::{Found, Invited, Name, Stray, names},
        part::PartAnswer,
        pull::IsNew,
        realm::Realm,
    },
    limits,
};

/// A sync over several spaces, under way.
#[derive(Debug, Default)]
pub(super) struct Several {
    /// What has been brought so far.
    pub(super) found: Vec<Found>,
    /// Realms that the user is invited to.
    pub(super) invited: Vec<Invited>,
    /// Who syncs, and what that client has, as its requests say it.
    pub(super) envelope: Rc<str>,
    /// What the client has; none if it has nothing of ours.
    pub(super) last_pull: Option<LastPull>,
    /// Whether the client gets all there is of each realm.
    pub(super) is_whole: bool,
    pub(super) rejections: Vec<String>,
    pub(super) corrections: String,
    pub(super) stage: Stage,
    /// Of which realms requests are under way, in their order.
    pub(super) asked: Vec<Realm>,
    /// Requests that wait for those, and whether each makes its realm.
    pub(super) queue: VecDeque<(PartOfSync, IsNew)>,
    /// Names of records that are on their way, and of which no more is known yet, by the realm in whose space they stand.
    pub(super) left: BTreeMap<String, BTreeSet<Name>>,
    /// Records that were moved, or could not be.
    pub(super) moved: BTreeSet<Name>,
    /// How often spaces were asked how records stand.
    pub(super) questions: usize,
    /// Whether something had no room in the answer.
    pub(super) is_cut: bool,
}

/// What its visits are for.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// News of realms.
    #[default]
    Pulling,
    /// The push of the client.
    Pushing,
    /// How records stand that are on their way.
    Fetching,
    /// What is on its way into a realm.
    Moving(Vec<Stray>),
    /// What was moved, or could not be.
    Settling,
    /// How records stand of which that is not known. A pull waits for it.
    Asking(Option<Box<Pulling>>),
}

impl Several {
    /// A realm could not be asked just now: its client goes on from where it is, and what is new comes with the next sync.
    pub(super) fn stays(&mut self, realm: Realm) {
        self.is_cut = true;
        if let Some(standing) = self.held(&realm).as_ref().map(NextPull::unmoved) {
            self.found.push(Found { realm, standing, changes: String::new(), touched: String::new() });
        }
    }

    /// What has no room beside the others comes with the next sync: a realm of which the client has nothing is not there yet.
    pub(super) fn trim(&mut self) {
        let mut room = limits::DEXIE_SEVERAL_BYTES_MAX;
        for found in std::mem::take(&mut self.found) {
            let held = self.held(&found.realm);
            match (room.checked_sub(found.changes.len()), held) {
                (Some(left), _) => {
                    room = left;
                    self.found.push(found);
                }
                (None, Some(held)) => {
                    self.is_cut = true;
                    let standing = NextPull::unmoved(&held);
                    self.found.push(Found { standing, changes: String::new(), ..found });
                }
                // What a push makes is told, whatever its size: nobody else would ask for it.
                (None, None) if found.realm.is_own || !found.touched.is_empty() => self.found.push(found),
                (None, None) => self.is_cut = true,
            }
        }
    }

    /// Whether its client knows of an invitation to a realm.
    pub(super) fn is_invited_to(&self, realm: &Realm) -> bool {
        self.last_pull.as_ref().is_some_and(|last| last.invites.contains(&realm.id))
    }

    fn held(&self, realm: &Realm) -> Option<LastPull> {
        let last = self.last_pull.as_ref()?;
        if realm.is_own { Some(last.clone()) } else { last.in_realm(&realm.id) }
    }

    /// What is known of a space is replaced by what it has said last; how records stand that it was asked for is added.
    pub(super) fn take_in(&mut self, realm: Realm, brought: Brought) {
        let found = match brought {
            Brought::Pulled(found) => found,
            Brought::Invited(lines) => return self.invited.push(Invited { realm, lines }),
            Brought::PartAnswer(said) => self.said(realm, said),
        };
        let known = self.found.iter().position(|known| known.realm == found.realm);
        match known.map(|at| self.found.remove(at)) {
            // The answer goes on from where it was, whatever a question was answered with.
            Some(known) if matches!(self.stage, Stage::Asking(_) | Stage::Fetching) => {
                self.found.push(known.with(&found));
            }
            Some(known) => self.found.push(known.then(found)),
            None => self.found.push(found),
        }
    }

    fn said(&mut self, realm: Realm, said: PartAnswer) -> Found {
        let held = self.held(&realm);
        let standing = match (&said.at, &held) {
            (Some(at), held) => NextPull::of(held.as_ref(), at, false),
            (None, Some(held)) => NextPull::unmoved(held),
            (None, None) => panic!("BUG: a client that has nothing lacks everything"),
        };
        if matches!(self.stage, Stage::Pushing) {
            self.rejections.extend(Some(said.rejections).filter(|rejections| !rejections.is_empty()));
            if realm.is_own {
                self.corrections += &said.corrections;
            }
            let left = names(&said.left);
            if !left.is_empty() {
                self.left.insert(realm.id.clone(), left);
            }
        }
        let changes = if standing.sends_changes { said.changes } else { String::new() };
        Found { realm, standing, changes, touched: said.touched }
    }
}

pub(super) fn several(visit: &mut Visit) -> &mut Several {
    let several = visit.sync.as_mut().and_then(|sync| sync.several.as_mut());
    several.expect("BUG: a sync of one space was taken for one of several")
}
