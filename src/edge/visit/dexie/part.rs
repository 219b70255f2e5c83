//! One of the spaces that a sync asks, as a visit of its own: what its client has not, or what the space takes of a push.

use std::rc::Rc;

use super::{
    super::{Called, Effect, Part, Request, Visit, call::Then, pull::Pulling, spaces::Creating},
    Sync, is_lost, last_pull,
    realms::brought_by,
};
use crate::{
    access::target::Target,
    call::{Administration, Call, DirectoryCall, OrderedCursor, Person},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{
            InvitationAnswer, LastPull, NextPull,
            merge::Found,
            part::PartAnswer,
            realm::{Realm, space_of},
            route::{DexieCall, DexieRoute},
        },
        headwater::{
            answer::PullAnswer,
            pull::Cursor,
            reply::Reply,
            route::Route,
            spaces::{directory_of, not_reserved},
        },
    },
    json::text_field,
    role::Role,
    time::Millis,
    version::{Position, Version},
};

/// A visit that is one of several.
#[derive(Debug)]
pub(super) struct PartOfSync {
    pub(super) realm: Realm,
    /// What the client has of it.
    pub(super) last_pull: Option<LastPull>,
    /// What it pushes; none of a pull.
    pub(super) body: Option<Rc<str>>,
    /// How its user answers invitations, of which one may be this realm's, …
    pub(super) answers: Vec<InvitationAnswer>,
    /// … and what they push there once they are let in.
    pub(super) joins_with: Option<Rc<str>>,
    /// What its space has said in the end.
    pub(super) brought: Option<Brought>,
}

impl PartOfSync {
    /// A pull of whoever has nothing of a realm.
    pub(super) const fn of(realm: Realm) -> Self {
        Self { realm, last_pull: None, body: None, answers: Vec::new(), joins_with: None, brought: None }
    }

    /// Whether it is known that its user is a member.
    pub(super) const fn is_members(&self) -> bool {
        self.realm.is_own || self.body.is_some() || self.last_pull.is_some()
    }
}

#[derive(Debug)]
pub(super) enum Brought {
    Pulled(Found),
    PartAnswer(PartAnswer),
    /// Record lines of an invitation.
    Invited(String),
}

impl Isolate {
    /// What is wrong with one of them is its own answer.
    pub(super) fn begin_part_of_sync(
        &mut self,
        whole: &Visit,
        part: PartOfSync,
        is_new: bool,
        now: Millis,
    ) -> Part {
        let Request { host, id, now: came, .. } = &whole.request;
        let request = Request { host: host.clone(), id: id.clone(), now: *came, ..Request::default() };
        let route = Some(Route::Dexie(DexieRoute { space: None, call: DexieCall::Sync }));
        let mut visit = Visit { route, ..Visit::of(request, whole.origin.clone()) };
        let caller = whole.target().caller.clone();
        let space = (!part.realm.is_own).then(|| space_of(&part.realm.id)).flatten();
        let is_push = part.body.is_some();
        visit.sync = Some(Box::new(Sync { part: Some(part), ..Sync::default() }));
        let begun = Target::of(caller, space.as_ref().map(|space| space.as_str())).and_then(|target| {
            visit.target = Some(target);
            match (is_push, is_new) {
                (false, _) => self.answer_invitations(&mut visit, now),
                (true, false) => Ok(self.push_part(&mut visit, now)),
                (true, true) => {
                    let caller = &visit.target().caller;
                    let owner = Person { user: caller.user.clone(), sub: caller.person.sub.clone() };
                    let creation = Administration::Create { owner };
                    let call = visit.call(Call::Administer(Administration::Show));
                    let then = Then::MakeRealm(Creating::Showing(creation));
                    Ok(self.make_call(&mut visit, call, then, now))
                }
            }
        });
        let effect = begun.unwrap_or_else(|error| self.answer(&visit, Err(error), now));
        Part { visit, effect }
    }

    pub(super) fn push_part(&mut self, visit: &mut Visit, now: Millis) -> Effect {
        let mut call = visit.call(Call::Dexie { is_part: true });
        call.body = part(visit).body.as_deref().map(str::to_owned);
        self.make_call(visit, call, Then::PushPart, now)
    }

    /// The space of a realm is made first, unless it is there.
    pub(in crate::edge::visit) fn make_realm(
        &mut self,
        visit: &mut Visit,
        creating: Creating,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let (call, then) = match creating {
            Creating::Showing(creation) => match called.result {
                Err(ApiError::NotFound(_)) => {
                    let space = visit.target().id.clone().expect("BUG: a realm has a space of its own");
                    let directory = directory_of(&visit.target().caller);
                    let call = visit.directory_call(directory, DirectoryCall::Reserve { space });
                    (call, Creating::Reserving(creation))
                }
                there => {
                    // Somebody else may have made a space of that name, to have what is put into the realm.
                    if text_field(&there?, "role").as_deref() != Some(Role::Owner.as_str()) {
                        return Err(ApiError::Forbidden("The realm is there, and is not its user's."));
                    }
                    return Ok(self.push_part(visit, now));
                }
            },
            Creating::Reserving(creation) => {
                called.result.map_err(not_reserved)?;
                (visit.call(Call::Administer(creation)), Creating::Making)
            }
            Creating::Making => {
                self.take_up(visit, called.aside, now);
                called.result?;
                self.realms_have_changed(visit);
                return Ok(self.push_part(visit, now));
            }
        };
        Ok(self.make_call(visit, call, Then::MakeRealm(then), now))
    }

    /// A space has answered a push.
    pub(in crate::edge::visit) fn part_is_pushed(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        if let Err(ApiError::Forbidden(_) | ApiError::Gone) = called.result {
            // The next pull asks anew, and the directory hears of it.
            self.grants.forget(visit.target());
        }
        self.take_up(visit, called.aside, now);
        let said = PartAnswer::parse(&called.result?).ok_or(ApiError::Upstream)?;
        if !part(visit).realm.is_own {
            self.hint_members(visit, &said);
        }
        part(visit).brought = Some(Brought::PartAnswer(said));
        Ok(self.answer(visit, Ok(Reply::json(200, String::new())), now))
    }

    /// What is new in a realm. Published parts may hold what has left the realm since, so where they are needed its object is asked,
    /// which knows no row but those that stand in it; and it is asked for no more than has room in memory: the next sync goes on.
    pub(super) fn part_is_pulled(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        answer: PullAnswer,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let is_lost = is_lost(visit);
        if let PullAnswer::Load(load) = &answer
            && !load.parts.is_empty()
        {
            let own = last_pull(visit).and_then(|last| last.position.clone());
            match own.filter(|_| !load.reset && !is_lost) {
                None => pulling.pull.object_is_missing(None),
                Some(Position { epoch, version }) => {
                    let cursor =
                        OrderedCursor { epoch, start: version, reached: version, horizon: Version::ZERO };
                    let cursor = Some(Cursor::Ordered(cursor));
                    *pulling = self.begin_dexie_pull(visit, cursor, now);
                }
            }
            return self.pull_on(visit, pulling, now);
        }
        let part = part(visit);
        let (at, is_reset, changes) = brought_by(answer);
        let standing = NextPull::of(part.last_pull.as_ref(), &at, is_reset || is_lost);
        let changes = if standing.sends_changes { changes } else { String::new() };
        let found = Found { realm: part.realm.clone(), standing, changes, touched: String::new() };
        part.brought = Some(Brought::Pulled(found));
        Ok(self.pull_is_done(visit, &pulling, Reply::json(200, String::new()), now))
    }
}

pub(super) fn part(visit: &mut Visit) -> &mut PartOfSync {
    let part = visit.sync.as_mut().and_then(|sync| sync.part.as_mut());
    part.expect("BUG: a sync was taken for a part of one")
}
