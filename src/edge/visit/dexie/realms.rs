//! A sync of a client that shares realms: each is a space of its own, so each is a visit of its own, and one answer is made of all.
//!
//! A pull asks the spaces of realms, then the user's own. A push goes whole to each space, which takes what is its own; what is on its
//! way into another realm is put there, and removed where it was (`moving`). Where a space has lost a record, all are asked at last.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    super::{Effect, PartDone, State, Visit, pull::Pulling},
    Sync,
    guests::directories_of,
    last_pull,
    part::{Brought, PartOfSync},
};
use crate::{
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{
            InvitationAnswer, LastPull, NextPull,
            answer::{END, further},
            merge::{self, Errands, Found, Invited, unsettled},
            pull::{IsNew, SyncRequest},
            realm::Realm,
        },
        headwater::{
            answer::PullAnswer,
            reply::{Body, Headers, Reply},
        },
    },
    limits,
    time::Millis,
    version::Position,
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
    is_whole: bool,
    pub(super) rejections: Vec<String>,
    pub(super) corrections: String,
    pub(super) stage: Stage,
    /// Of which realms requests are under way, in their order.
    pub(super) asked: Vec<Realm>,
}

/// What its visits are for.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// News of realms.
    #[default]
    Pulling,
    /// The push of the client.
    Pushing,
    /// What is on its way into a realm.
    Moving(Vec<merge::Stray>),
    /// What was moved, or could not be.
    Settling,
    /// How records stand of which that is not known. A pull waits for it.
    Asking(Option<Box<Pulling>>),
}

impl Isolate {
    /// Begins to pull realms, if there are any: what is new in each, or all that there is.
    pub(super) fn pull_realms(
        &mut self,
        visit: &mut Visit,
        is_whole: bool,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let last = last_pull(visit).cloned();
        let held = last.iter().flat_map(|last| last.realms.keys());
        let mut realms: Vec<_> = held.cloned().collect();
        // Whether there is something in each of the others takes a further call to find out.
        let most = realms.len() + (limits::DEXIE_REALMS_MAX - realms.len()).div_ceil(2);
        let directories = directories_of(&visit.target().caller);
        let listed = directories.iter().filter_map(|directory| self.realms.of(directory, now)).flatten();
        for realm in last.iter().flat_map(|last| &last.invites).chain(listed) {
            if realms.len() < most && !realms.contains(realm) {
                realms.push(realm.clone());
            }
        }
        if realms.is_empty() {
            return self.with_grant(visit, now);
        }
        let parts = realms.iter().map(|realm| {
            let held = last.as_ref().and_then(|last| last.in_realm(realm));
            let held = held.map(|held| if is_whole { LastPull { position: None, ..held } } else { held });
            let part = PartOfSync { last_pull: held, ..PartOfSync::of(Realm::shared(realm)) };
            self.begin_part_of_sync(visit, part, false, now)
        });
        let parts: Vec<_> = parts.collect();
        let sync = visit.sync.as_mut().expect("BUG: a sync pulls realms that never began");
        // Those are all that there is of each, unless the client has something of one.
        let is_whole = is_whole || last.as_ref().is_none_or(|last| last.realms.is_empty());
        let envelope = Rc::from(sync.envelope.as_str());
        let several = Several { envelope, last_pull: last, is_whole, ..Several::default() };
        sync.several = Some(Box::new(Several {
            asked: realms.iter().map(|realm| Realm::shared(realm)).collect(),
            ..several
        }));
        visit.state = State::PullingSeveral;
        Ok(Effect::Several(parts))
    }

    /// A push that concerns more than one space goes to each.
    pub(super) fn push_to_several(
        &mut self,
        visit: &mut Visit,
        body: &str,
        (realms, last_pull, answers): (&BTreeMap<String, IsNew>, Option<LastPull>, &[InvitationAnswer]),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let sub = visit.target().caller.person.sub.clone();
        let held = |realm: &str| last_pull.as_ref().and_then(|last| last.in_realm(realm));
        let shared = realms.iter().map(|(realm, is_new)| (Realm::shared(realm), held(realm), *is_new));
        let spaces: Vec<_> = shared.chain([(Realm::own(&sub), last_pull.clone(), false)]).collect();
        let envelope = Rc::from(SyncRequest::envelope_of(body));
        let room = limits::DEXIE_REALMS_MAX.saturating_sub(realms.len()).div_ceil(2);
        let guests =
            last_pull.iter().flat_map(|last| &last.invites).filter(|realm| !realms.contains_key(*realm));
        let guests: Vec<_> = guests.take(room).map(|realm| Realm::shared(realm)).collect();
        let asked = spaces.iter().map(|(realm, ..)| realm).chain(&guests).cloned().collect();
        let several = Several {
            envelope,
            last_pull: last_pull.clone(),
            asked,
            stage: Stage::Pushing,
            ..Several::default()
        };
        let body: Rc<str> = Rc::from(body);
        let parts = spaces.into_iter().map(|(realm, last_pull, is_new)| {
            let part = PartOfSync { last_pull, body: Some(body.clone()), ..PartOfSync::of(realm) };
            self.begin_part_of_sync(visit, part, is_new, now)
        });
        let mut parts: Vec<_> = parts.collect();
        parts.extend(guests.into_iter().map(|realm| {
            let (answers, joins_with) = (answers.to_vec(), Some(body.clone()));
            let part = PartOfSync { answers, joins_with, ..PartOfSync::of(realm) };
            self.begin_part_of_sync(visit, part, false, now)
        }));
        let room = visit.sync.as_ref().and_then(|sync| sync.room);
        visit.sync = Some(Box::new(Sync { several: Some(Box::new(several)), room, ..Sync::default() }));
        visit.state = State::PullingSeveral;
        Ok(Effect::Several(parts))
    }

    /// Pushes of the edge's own to the spaces of some realms.
    pub(super) fn push_errands(
        &mut self,
        visit: &mut Visit,
        errands: Vec<(Realm, Errands)>,
        now: Millis,
    ) -> Effect {
        let several = several(visit);
        let (envelope, last_pull) = (several.envelope.clone(), several.last_pull.clone());
        several.asked = errands.iter().map(|(realm, _)| realm.clone()).collect();
        let parts = errands.into_iter().map(|(realm, errands)| {
            let held = match realm.is_own {
                true => last_pull.clone(),
                false => last_pull.as_ref().and_then(|last| last.in_realm(&realm.id)),
            };
            let body = Some(Rc::from(errands.body(&envelope)));
            self.begin_part_of_sync(
                visit,
                PartOfSync { last_pull: held, body, ..PartOfSync::of(realm) },
                false,
                now,
            )
        });
        let parts = parts.collect();
        visit.state = State::PullingSeveral;
        Effect::Several(parts)
    }

    /// Visits of several spaces have ended. One that its user may not see, or that is not there, is left out, and its client forgets it;
    /// if one fails otherwise, all do.
    pub(in crate::edge::visit) fn parts_are_done(
        &mut self,
        visit: &mut Visit,
        done: Vec<PartDone>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        self.gives_room_back(visit);
        let asked = std::mem::take(&mut several(visit).asked);
        let mut all = Vec::new();
        for (PartDone { visit: mut one, answer }, realm) in done.into_iter().zip(asked) {
            let usage = one.usage();
            visit.usage.add(&usage);
            visit.told.add(&usage);
            visit.rejected = visit.rejected.or(one.rejected);
            let part = one.sync.as_mut().and_then(|sync| sync.part.as_mut());
            match (answer, part.and_then(|part| part.brought.take())) {
                (Ok(_), brought) => all.push((realm, brought.expect("BUG: a space has answered nothing"))),
                (Err(ApiError::Forbidden(_) | ApiError::NotFound(_) | ApiError::Gone), _)
                    if !realm.is_own => {}
                (Err(error), _) => return Err(error),
            }
        }
        let several = several(visit);
        for (realm, brought) in all {
            several.take_in(realm, brought);
        }
        match std::mem::take(&mut several.stage) {
            Stage::Pulling => self.with_grant(visit, now),
            Stage::Pushing => self.move_on(visit, now),
            Stage::Moving(strays) => self.settle_moves(visit, strays, now),
            Stage::Settling => self.ask_for_unsettled(visit, None, now),
            Stage::Asking(pulling) => self.answer_several(visit, pulling, now),
        }
    }

    /// The user's own space has answered a pull, as the last.
    pub(super) fn home_is_pulled(
        &mut self,
        visit: &mut Visit,
        pulling: Box<Pulling>,
        (answer, head): (PullAnswer, NextPull),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let realm = Realm::own(&visit.target().caller.person.sub);
        let several = several(visit);
        if let PullAnswer::Load(load) = &answer
            && !load.parts.is_empty()
        {
            // Published parts may hold what has moved into a realm since, so all of each realm comes behind them.
            let held = several.last_pull.iter().flat_map(|last| last.realms.values());
            match several.is_whole {
                true => return self.load_several(visit, pulling, (answer, head), now),
                false if held.clone().all(|held| held.has_records) => {
                    return self.pull_realms(visit, true, now);
                }
                // It is about to get back what it was told to forget. This comes with its next sync.
                false => {}
            }
            let last = several.last_pull.as_ref().expect("BUG: a client that has nothing has a realm");
            let (standing, text) = (NextPull::unmoved(last), String::new);
            several.found.push(Found { realm, standing, changes: text(), touched: text() });
            return self.ask_for_unsettled(visit, Some(pulling), now);
        }
        let (at, _, changes) = brought_by(answer);
        let revision = if head.sends_changes { at.to_string() } else { head.revision.clone() };
        let changes = if head.sends_changes { changes } else { String::new() };
        let standing = NextPull { revision, ..head };
        several.found.push(Found { realm, standing, changes, touched: String::new() });
        self.ask_for_unsettled(visit, Some(pulling), now)
    }

    /// All that there is: published parts of the user's own space, and behind them what realms have.
    fn load_several(
        &mut self,
        visit: &mut Visit,
        pulling: Box<Pulling>,
        (answer, standing): (PullAnswer, NextPull),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let PullAnswer::Load(load) = answer else { panic!("BUG: what has no parts is taken for a load") };
        let realm = Realm::own(&visit.target().caller.person.sub);
        let (space, lines) = (visit.target().hash.clone(), further(&load.lines, &realm));
        let Several { found, invited, .. } = several(visit);
        let mut end = lines;
        for muts in [merge::muts(found), merge::muts_of_invited(invited)] {
            if !muts.is_empty() {
                end += &format!(",{muts}");
            }
        }
        end += END;
        found.push(Found { realm, standing, changes: String::new(), touched: String::new() });
        let head = merge::head((found, invited), space.as_str(), "");
        self.load(visit, pulling, &load, (head, end), now)
    }

    /// Asks all spaces for the records of which it is not known where they stand.
    pub(super) fn ask_for_unsettled(
        &mut self,
        visit: &mut Visit,
        pulling: Option<Box<Pulling>>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let several = several(visit);
        let unsettled = unsettled(&several.found);
        if unsettled.is_empty() || several.found.len() < 2 {
            return self.answer_several(visit, pulling, now);
        }
        several.stage = Stage::Asking(pulling);
        let realms: Vec<_> = several.found.iter().map(|found| found.realm.clone()).collect();
        let errands = realms.into_iter().map(|realm| {
            let mut errands = Errands::default();
            unsettled.iter().for_each(|name| errands.ask(name));
            (realm, errands)
        });
        let errands = errands.collect();
        Ok(self.push_errands(visit, errands, now))
    }

    fn answer_several(
        &mut self,
        visit: &mut Visit,
        pulling: Option<Box<Pulling>>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let space = visit.target().hash.clone();
        let Several { found, invited, rejections, corrections, .. } = several(visit);
        let text = merge::answer((found, invited), space.as_str(), &rejections.join(","), corrections);
        let headers = Headers::Named("Content-Type\napplication/json\n".to_owned());
        let reply = Reply { status: 200, headers, body: Body::Text(text) };
        Ok(match pulling {
            Some(pulling) => self.pull_is_done(visit, &pulling, reply, now),
            None => self.answer(visit, Ok(reply), now),
        })
    }
}

impl Several {
    /// What has no room beside the others is brought by the next sync: a realm of which the client has nothing is not there yet.
    fn keeps_room(&self, found: Found) -> Option<Found> {
        let bytes = |found: &Found| found.changes.len() + found.touched.len();
        let all: usize = self.found.iter().map(bytes).sum();
        if found.changes.is_empty() || all + found.changes.len() <= limits::DEXIE_SEVERAL_BYTES_MAX {
            return Some(found);
        }
        let held = self.last_pull.as_ref().and_then(|last| match found.realm.is_own {
            true => Some(last.clone()),
            false => last.in_realm(&found.realm.id),
        })?;
        let standing = NextPull::unmoved(&held);
        Some(Found { standing, changes: String::new(), ..found })
    }

    /// What is known of a space is replaced by what it has said last; how records stand that it was asked for is added.
    fn take_in(&mut self, realm: Realm, brought: Brought) {
        let found = match brought {
            Brought::Pulled(found) => found,
            Brought::Invited(lines) => return self.invited.push(Invited { realm, lines }),
            Brought::PartAnswer(said) => {
                let held = match (&self.last_pull, realm.is_own) {
                    (Some(last), false) => last.in_realm(&realm.id),
                    (last, _) => last.clone(),
                };
                let standing = match (&said.at, &held) {
                    (Some(at), held) => NextPull::of(held.as_ref(), at, false),
                    (None, Some(held)) => NextPull::unmoved(held),
                    (None, None) => panic!("BUG: a client that has nothing lacks everything"),
                };
                self.rejections.extend(Some(said.rejections).filter(|rejections| !rejections.is_empty()));
                if realm.is_own {
                    self.corrections += &said.corrections;
                }
                let changes = if standing.sends_changes { said.changes } else { String::new() };
                Found { realm, standing, changes, touched: said.touched }
            }
        };
        let Some(found) = self.keeps_room(found) else { return };
        let known = self.found.iter().position(|known| known.realm == found.realm);
        match known.map(|at| self.found.remove(at)) {
            // A pull goes on from where its client is, whatever a question was answered with.
            Some(known) if matches!(self.stage, Stage::Asking(Some(_))) => self.found.push(known.with(found)),
            Some(known) => self.found.push(known.then(found)),
            None => self.found.push(found),
        }
    }
}

/// Up to where an answer brings its client, whether it is all there is, and its lines.
pub(super) fn brought_by(answer: PullAnswer) -> (Position, bool, String) {
    match answer {
        PullAnswer::Nothing { position } => (position, false, String::new()),
        PullAnswer::Changes { position, reset, lines, .. } => (position, reset, lines),
        PullAnswer::Page { position, reset, next, lines } => {
            let version = next.map_or(position.version, |next| next.reached);
            (Position { version, ..position }, reset, lines)
        }
        PullAnswer::Load(load) => (load.position, load.reset, load.lines),
    }
}

pub(super) fn several(visit: &mut Visit) -> &mut Several {
    let several = visit.sync.as_mut().and_then(|sync| sync.several.as_mut());
    several.expect("BUG: a sync of one space was taken for one of several")
}
