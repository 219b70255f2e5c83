//! The routes below `/spaces`: what they ask of a space's object, or of the caller's directory, and how what spaces say of
//! memberships gets into directories.

use super::{Called, Effect, Source, Visit, call::Then, errand::Errand};
use crate::{
    edge::{
        isolate::Isolate,
        reply::Reply,
        route::Route,
        space::{directory_of, directory_of_invited, made_before, not_reserved, order_of},
    },
    ids::{SpaceId, UserHash},
    protocol::{
        act::Act,
        call::Call,
        directory::{Aside, DirectoryCall},
        error::ApiError,
        pull::query_pairs,
    },
    time::Millis,
};

/// The making of a space, with what is asked. The caller's directory counts what its user makes, so it is asked before, but only of
/// what is not there: an id that is taken would be counted for a day.
#[derive(Debug)]
pub(super) enum Creating {
    /// Whether the space is there.
    Showing(String),
    /// Whether the caller's directory has room for it.
    Reserving(String),
    /// The space itself.
    Making,
}

impl Isolate {
    /// `GET /spaces`.
    pub(super) fn list_spaces(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let cursor = cursor(visit, |cursor| SpaceId::parse(cursor).is_ok())?;
        let list = DirectoryCall::List { cursor: SpaceId::parse(&cursor).ok() };
        Ok(self.ask_directory(visit, &list, Then::Answer, now))
    }

    /// Every other route below `/spaces`.
    pub(super) fn administer(
        &mut self,
        visit: &mut Visit,
        body: &[u8],
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let Route::Space { act, about, .. } = visit.route().clone() else {
            panic!("BUG: this route is not below /spaces")
        };
        let target = visit.target();
        let mut order = order_of(&target.caller, target.id.as_ref(), act, &about, body)?;
        if act == Act::Create && target.id.is_some() {
            let order = order.into_text();
            let call = Box::new(visit.call(Call::Administer(Act::Show), order.clone()));
            return Ok(self.make_call(visit, call, Then::Create(Creating::Showing(order)), now));
        }
        if act == Act::Members {
            order.cursor = cursor(visit, |cursor| UserHash::parse(cursor).is_ok())?;
        }
        let call = Box::new(visit.call(Call::Administer(act), order.into_text()));
        Ok(self.make_call(visit, call, Then::Pass(Source::Call), now))
    }

    pub(super) fn go_on_creating(
        &mut self,
        visit: &mut Visit,
        creating: Creating,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match creating {
            Creating::Showing(order) => match called.result {
                Err(ApiError::NotFound(_)) => {
                    let id = visit.target().id.clone().expect("BUG: a private space is made");
                    let reserve = DirectoryCall::Reserve { space: id };
                    let then = Then::Create(Creating::Reserving(order));
                    Ok(self.ask_directory(visit, &reserve, then, now))
                }
                there => Ok(self.answer(visit, Ok(Reply::json(200, made_before(there?)?)), now)),
            },
            Creating::Reserving(order) => {
                called.result.map_err(not_reserved)?;
                let call = Box::new(visit.call(Call::Administer(Act::Create), order));
                Ok(self.make_call(visit, call, Then::Create(Creating::Making), now))
            }
            Creating::Making => {
                let mut reply = Reply::json(200, called.result?);
                if let Some(position) = &called.position {
                    reply = reply.at(position);
                }
                self.take_up(visit, called.aside, now);
                Ok(self.answer(visit, Ok(reply), now))
            }
        }
    }

    fn ask_directory(&mut self, visit: &mut Visit, call: &DirectoryCall, then: Then, now: Millis) -> Effect {
        let mut outgoing = visit.call(Call::Directory, call.to_text());
        let directory = visit.target().directory(directory_of(&visit.target().caller));
        outgoing.caller = directory.as_caller(visit.id(), visit.origin());
        outgoing.object = directory.hash;
        self.make_call(visit, Box::new(outgoing), then, now)
    }

    /// What the space's object has said that is not for the client goes where it belongs, once the client has its answer.
    pub(super) fn take_up(&mut self, visit: &Visit, aside: Option<Aside>, now: Millis) {
        let target = visit.target();
        let (Some(aside), Some(id)) = (aside, &target.id) else { return };
        let errand = match (aside, visit.route()) {
            (Aside::Membership(membership), _) => {
                let delivery = self.directories.deliver(&target.caller.user, id, membership, now);
                delivery.map(|delivery| Errand::Deliver(Box::new(delivery)))
            }
            // Nobody hears whether it was kept: whoever invites can tell whom they have invited by other ways.
            (Aside::Invited, Route::Space { about, .. }) => {
                Some(Errand::Hint(directory_of_invited(&target.caller, about)))
            }
            (Aside::Invited, _) => None,
        };
        self.errands.extend(errand.map(|errand| visit.errand(errand)));
    }
}

/// Where a list goes on; empty if it begins.
fn cursor(visit: &Visit, is_right: fn(&str) -> bool) -> Result<String, ApiError> {
    let mut pairs = query_pairs(&visit.request.query)?.into_iter();
    let cursor = pairs.find_map(|(name, value)| (name == "cursor").then_some(value)).unwrap_or_default();
    if cursor.is_empty() || is_right(&cursor) {
        return Ok(cursor);
    }
    Err(ApiError::Malformed("cursor is not a cursor".to_owned()))
}
