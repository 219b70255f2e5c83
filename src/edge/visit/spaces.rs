//! The routes below `/spaces`: what they ask of a space's object, or of the caller's directory, and how what spaces say of
//! memberships gets into directories.

use super::{Called, Effect, PassedBody, Visit, call::Then, errand::Errand};
use crate::{
    call::{Administration, Aside, Call, DirectoryCall},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::headwater::{
        reply::Reply,
        route::{Route, SpaceRoute},
        spaces::{
            acceptance_of, administration_of, cursor_of, directory_of, directory_of_invited, invited,
            made_before, not_reserved,
        },
    },
    ids::SpaceId,
    time::Millis,
};

/// The making of a space. The caller's directory counts what its user makes, so it is asked before, but only of what is not
/// there: an id that is taken would be counted for a day.
#[derive(Debug)]
pub(super) enum Creating {
    /// Whether the space is there; then what is asked.
    Showing(Administration),
    /// Whether the caller's directory has room for it.
    Reserving(Administration),
    /// The space itself.
    Making,
}

impl Isolate {
    /// `GET /spaces`.
    pub(super) fn list_spaces(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let cursor = cursor_of(&visit.request.query, |cursor| SpaceId::parse(cursor).ok())?;
        let call = visit.directory_call(directory_of(&visit.target().caller), DirectoryCall::List { cursor });
        Ok(self.make_call(visit, call, Then::Answer, now))
    }

    /// Every other route below `/spaces`.
    pub(super) fn administer(
        &mut self,
        visit: &mut Visit,
        body: &[u8],
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let Route::Space { route, .. } = visit.route().clone() else {
            panic!("BUG: this route is not below /spaces")
        };
        let (target, query) = (visit.target(), &visit.request.query);
        let asked = administration_of(&target.caller, target.id.as_ref(), route, query, body)?;
        if let Administration::Invite { .. } = asked {
            let call = visit.call(Call::Administer(asked));
            return Ok(self.make_call(visit, call, Then::Invite, now));
        }
        if let (Administration::Create { .. }, Some(_)) = (&asked, &target.id) {
            let call = visit.call(Call::Administer(Administration::Show));
            return Ok(self.make_call(visit, call, Then::Create(Creating::Showing(asked)), now));
        }
        let call = visit.call(Call::Administer(asked));
        Ok(self.make_call(visit, call, Then::Pass(PassedBody::Call), now))
    }

    /// `POST /invitations/{code}`
    pub(super) fn accept(&mut self, visit: &mut Visit, code: &str, now: Millis) -> Result<Effect, ApiError> {
        let read = self.inviter.read(code);
        let invitation = self.log_missing_key(read)?;
        let accepts = acceptance_of(&visit.target().caller, invitation);
        let call = visit.call(Call::Administer(accepts));
        Ok(self.make_call(visit, call, Then::Pass(PassedBody::Call), now))
    }

    /// The space has noted an invitation, whose code is signed here.
    pub(super) fn invited(&mut self, visit: &Visit, called: Called, now: Millis) -> Result<Effect, ApiError> {
        let space = visit.target().id.as_ref().expect("BUG: nobody is invited to a private space");
        let invited = invited(&self.inviter, space, &called.result?);
        let invited = self.log_missing_key(invited)?;
        Ok(self.answer(visit, Ok(Reply::json(200, invited)), now))
    }

    pub(super) fn go_on_creating(
        &mut self,
        visit: &mut Visit,
        creating: Creating,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match creating {
            Creating::Showing(asked) => match called.result {
                Err(ApiError::NotFound(_)) if planted!(MadeUnreserved) => {
                    let call = visit.call(Call::Administer(asked));
                    Ok(self.make_call(visit, call, Then::Create(Creating::Making), now))
                }
                Err(ApiError::NotFound(_)) => {
                    let space = visit.target().id.clone().expect("BUG: a private space is made");
                    let directory = directory_of(&visit.target().caller);
                    let call = visit.directory_call(directory, DirectoryCall::Reserve { space });
                    Ok(self.make_call(visit, call, Then::Create(Creating::Reserving(asked)), now))
                }
                there => Ok(self.answer(visit, Ok(Reply::json(200, made_before(there?)?)), now)),
            },
            Creating::Reserving(asked) => {
                called.result.map_err(not_reserved)?;
                let call = visit.call(Call::Administer(asked));
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
            (Aside::Invited, Route::Space { route: SpaceRoute::SetMember(sub), .. }) => {
                Some(Errand::Hint(directory_of_invited(&target.caller, sub)))
            }
            (Aside::Invited | Aside::OfSpace | Aside::Rejected(_), _) => None,
        };
        self.errands.extend(errand.map(|errand| visit.errand(errand)));
    }
}
