//! What is parked: what storage holds of it, and what a list tells of it: I10, I12.

use std::{collections::BTreeSet, rc::Rc};

use super::{Oracle, Planned};
use crate::{
    call::conflict::{ConflictPage, OpenConflict},
    coordinator::ledger::{ConflictTable, Ledger},
    error::ApiError,
    limits,
    mutation::There,
    role::Role,
    sim::{USERS, client::Name, host::Host, user_hash},
    time::Millis,
    version::{ConflictId, Version},
};

/// An open conflict.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) id: ConflictId,
    pub(super) user: usize,
    pub(super) client: String,
    pub(super) at: Millis,
    /// In the order in which `mine` applies them.
    pub(super) changes: Vec<Rc<Planned>>,
    pub(super) touches: BTreeSet<Name>,
    /// Older conflicts whose edits come before these.
    pub(super) rests_on: BTreeSet<Version>,
}

impl Parked {
    /// The name of the record that announces it.
    pub(super) fn name(&self) -> Name {
        ("$conflicts".to_owned(), self.id.to_string())
    }

    /// The text of that record.
    pub(super) fn announcement(&self) -> Rc<str> {
        let named = self.touches.iter().take(limits::CONFLICT_NAMES_MAX);
        let named =
            named.map(|(collection, id)| format!("{{\"collection\":\"{collection}\",\"id\":\"{id}\"}}"));
        let named: Vec<String> = named.collect();
        let (user, client, at) = (user_hash(self.user), &self.client, self.at.0);
        let (names, count) = (named.join(","), self.touches.len());
        format!(
            "{{\"user\":\"{}\",\"client\":\"{client}\",\"at\":{at},\"records\":[{names}],\"count\":{count}}}",
            user.as_str()
        )
        .into()
    }
}

impl Oracle {
    /// I10, I12: storage has the open conflicts, and all that is parked under these.
    pub(super) fn check_parked<'a>(
        &self,
        ids: impl Iterator<Item = &'a ConflictId>,
        host: &mut Host,
        now: Millis,
    ) {
        let ledger = host.core(now).ledger();
        let open: usize = ledger.open_conflicts().expect("storage in memory can be read").values().sum();
        let should = self.now.conflicts.len();
        assert!(open == should, "I12: storage has {open} open conflicts where {should} are");
        for id in ids.filter(|id| self.is_open(id)) {
            self.check_one(&self.now.conflicts[&id.opened], ledger);
        }
    }

    /// I12: everything that was ever parked and not resolved is in storage.
    pub fn check_all_parked(&self, host: &mut Host, now: Millis) {
        self.check_parked(std::iter::empty(), host, now);
        let ledger = host.core(now).ledger();
        self.now.conflicts.values().for_each(|parked| self.check_one(parked, ledger));
    }

    /// I9, I12: a list holds the conflicts that are its reader's to see, with all that is parked and what stands there.
    pub fn check_listed(&self, user: usize, listed: &Result<ConflictPage, ApiError>) {
        let role = self.role(user).filter(|_| !self.is_gone());
        let page = match listed {
            Ok(page) => page,
            Err(error) => {
                assert!(role.is_none(), "I9: {} is refused a list: {error:?}", USERS[user]);
                return;
            }
        };
        let is_seen = |parked: &&Parked| parked.user == user || role == Some(Role::Owner);
        let seen: Vec<&Parked> = self.now.conflicts.values().filter(is_seen).collect();
        let (ids, should): (Vec<_>, Vec<_>) = (
            page.conflicts.iter().map(|open| &open.id).collect(),
            seen.iter().map(|parked| &parked.id).collect(),
        );
        assert!(
            role.is_some() && ids == should,
            "I9, I12: {} is told of {ids:?}, not {should:?}",
            USERS[user]
        );
        for (open, parked) in page.conflicts.iter().zip(seen) {
            self.check_open(open, parked);
        }
    }

    fn check_open(&self, open: &OpenConflict, parked: &Parked) {
        let is_whose = open.user == user_hash(parked.user) && open.client.as_str() == parked.client;
        assert!(is_whose && open.at == parked.at, "I12: {open:?} is listed for {parked:?}");
        let texts: Vec<&String> = open.mutations.iter().flat_map(|mutation| &mutation.changes).collect();
        let is_it = |(planned, text): (&Rc<Planned>, &&String)| planned.written.is(text);
        let is_whole = texts.len() == parked.changes.len() && parked.changes.iter().zip(&texts).all(is_it);
        assert!(is_whole, "I12: {texts:?} is listed under {}, not {:?}", parked.id, parked.changes);
        let standing = open.standing.iter().map(|standing| {
            let name = (standing.key.collection.as_str().to_owned(), standing.key.id.as_str().to_owned());
            (name, standing.there.clone())
        });
        let row = |name: &Name| self.now.records.get(name).map(|text| text.to_string());
        let there = |name: &Name| row(name).map_or(There::Nothing, There::Value);
        let should = parked.touches.iter().map(|name| (name.clone(), there(name)));
        assert!(standing.eq(should), "I7: {:?} is listed with {}", open.standing, parked.id);
    }

    fn check_one(&self, parked: &Parked, ledger: &impl Ledger) {
        let texts = ledger.parked(parked.id.opened).expect("storage in memory can be read");
        let is_it = |(planned, stored): (&Rc<Planned>, &String)| planned.written.is(stored);
        let stored: Vec<String> = texts.into_iter().map(|change| change.text).collect();
        let is_whole = stored.len() == parked.changes.len() && parked.changes.iter().zip(&stored).all(is_it);
        assert!(is_whole, "I12: under {} storage has parked {stored:?}, not {:?}", parked.id, parked.changes);
    }
}
