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
    part::PartOfSync,
    several::{Several, Stage, several},
};
use crate::{
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{
            InvitationAnswer, LastPull, NextPull,
            answer::{self, END, further},
            merge::{self, Errands, Found, unsettled},
            pull::{IsNew, SyncRequest},
            realm::Realm,
        },
        headwater::{
            answer::PullAnswer,
            reply::{Body, Headers, Reply},
        },
    },
    limits,
    mutation::RejectCode,
    time::Millis,
    version::Position,
};

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
        let queue = realms.iter().map(|realm| {
            let held = last.as_ref().and_then(|last| last.in_realm(realm));
            let held = held.map(|held| if is_whole { LastPull { position: None, ..held } } else { held });
            (PartOfSync { last_pull: held, ..PartOfSync::of(Realm::shared(realm)) }, false)
        });
        let queue = queue.collect();
        let sync = visit.sync.as_mut().expect("BUG: a sync pulls realms that never began");
        // Those are all that there is of each, unless the client has something of one.
        let is_whole = is_whole || last.as_ref().is_none_or(|last| last.realms.is_empty());
        let envelope = Rc::from(sync.envelope.as_str());
        sync.several =
            Some(Box::new(Several { envelope, last_pull: last, is_whole, queue, ..Several::default() }));
        Ok(self.begin_wave(visit, now))
    }

    /// Asks as many spaces at once as there is memory for: each may answer with a version that has 16 MiB. A long push goes to one after
    /// the other.
    fn begin_wave(&mut self, visit: &mut Visit, now: Millis) -> Effect {
        let several = several(visit);
        let is_long = |part: &PartOfSync| {
            part.body.as_ref().is_some_and(|body| body.len() > limits::DEXIE_PULL_BYTES_MAX)
        };
        let most = if several.queue.iter().any(|(part, _)| is_long(part)) {
            1
        } else {
            limits::DEXIE_SPACES_AT_ONCE
        };
        let wave: Vec<_> = several.queue.drain(..most.min(several.queue.len())).collect();
        several.asked = wave.iter().map(|(part, _)| part.realm.clone()).collect();
        let parts = wave.into_iter().map(|(part, is_new)| self.begin_part_of_sync(visit, part, is_new, now));
        let parts = parts.collect();
        visit.state = State::PullingSeveral;
        Effect::Several(parts)
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
        let guests = guests.take(room).map(|realm| Realm::shared(realm));
        let body: Rc<str> = Rc::from(body);
        let parts = spaces.into_iter().map(|(realm, last_pull, is_new)| {
            (PartOfSync { last_pull, body: Some(body.clone()), ..PartOfSync::of(realm) }, is_new)
        });
        let guests = guests.map(|realm| {
            let (answers, joins_with) = (answers.to_vec(), Some(body.clone()));
            (PartOfSync { answers, joins_with, ..PartOfSync::of(realm) }, false)
        });
        let queue = parts.chain(guests).collect();
        let stage = Stage::Pushing;
        let several = Several { envelope, last_pull: last_pull.clone(), stage, queue, ..Several::default() };
        visit.sync = Some(Box::new(Sync { several: Some(Box::new(several)), ..Sync::default() }));
        Ok(self.begin_wave(visit, now))
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
        let queue = errands.into_iter().map(|(realm, errands)| {
            let held = match realm.is_own {
                true => last_pull.clone(),
                false => last_pull.as_ref().and_then(|last| last.in_realm(&realm.id)),
            };
            let body = Some(Rc::from(errands.body(&envelope)));
            (PartOfSync { last_pull: held, body, ..PartOfSync::of(realm) }, false)
        });
        several.queue = queue.collect();
        self.begin_wave(visit, now)
    }

    /// Visits of several spaces have ended. One that its user may not see, or that is not there, is left out, and its client forgets it.
    /// A pull goes on without a realm that cannot be asked now; a push ends with it, and is sent again.
    pub(in crate::edge::visit) fn parts_are_done(
        &mut self,
        visit: &mut Visit,
        done: Vec<PartDone>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let asked = std::mem::take(&mut several(visit).asked);
        for (PartDone { visit: mut one, answer }, realm) in done.into_iter().zip(asked) {
            let usage = one.usage();
            visit.usage.add(&usage);
            visit.told.add(&usage);
            visit.rejected = visit.rejected.or(one.rejected);
            let part = one.sync.as_mut().and_then(|sync| sync.part.as_mut());
            let brought = part.and_then(|part| part.brought.take());
            let several = several(visit);
            let (is_pull, is_push) =
                (matches!(several.stage, Stage::Pulling), matches!(several.stage, Stage::Pushing));
            match answer {
                Ok(_) => several.take_in(realm, brought.expect("BUG: a space has answered nothing")),
                Err(ApiError::Forbidden(_) | ApiError::NotFound(_) | ApiError::Gone) if !realm.is_own => {
                    if is_push && !several.is_invited_to(&realm) {
                        several.rejections.push(answer::realm_rejection(&realm));
                        visit.rejected = Some(RejectCode::Forbidden);
                    }
                }
                Err(_) if is_pull => several.stays(realm),
                Err(error) => {
                    self.gives_room_back(visit);
                    return Err(error);
                }
            }
        }
        if !several(visit).queue.is_empty() {
            return Ok(self.begin_wave(visit, now));
        }
        self.gives_room_back(visit);
        match std::mem::take(&mut several(visit).stage) {
            Stage::Pulling => self.with_grant(visit, now),
            Stage::Pushing | Stage::Fetching | Stage::Settling => self.move_on(visit, now),
            Stage::Moving(strays) => self.settle_moves(visit, strays, now),
            Stage::Asking(pulling) => self.ask_for_unsettled(visit, pulling, now),
        }
    }

    /// A long body is held no more.
    pub(in crate::edge::visit) fn gives_room_back(&mut self, visit: &mut Visit) {
        if let Some(room) = visit.sync.as_mut().and_then(|sync| sync.room.take()) {
            self.streams.end(room);
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
        several.trim();
        if let PullAnswer::Load(load) = &answer
            && !load.parts.is_empty()
        {
            // Published parts may hold what has moved into a realm since, so all of each realm comes behind them.
            let held = several.last_pull.iter().flat_map(|last| last.realms.values());
            match several.is_whole && (!several.is_cut || several.last_pull.is_none()) {
                true => return self.load_several(visit, pulling, (answer, head), now),
                false if !several.is_whole && held.clone().all(|held| held.has_records) => {
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
        for muts in [merge::muts(found, false), merge::muts_of_invited(invited)] {
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
        several.trim();
        let unsettled = unsettled(&several.found);
        if unsettled.is_empty() || several.found.len() < 2 {
            return self.answer_several(visit, pulling, now);
        }
        several.questions += 1;
        if several.questions > limits::DEXIE_QUESTIONS_MAX {
            return Err(ApiError::Overloaded);
        }
        let some = unsettled.into_iter().take(limits::DEXIE_ASKED_AT_ONCE).collect();
        several.stage = Stage::Asking(pulling);
        let errands = several.found.iter().map(|found| {
            let mut errands = Errands::default();
            errands.ask(&some);
            (found.realm.clone(), errands)
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
