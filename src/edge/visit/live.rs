//! `GET /sync/live`: a request that becomes a socket of the space's object. What comes over the socket later passes no edge.

use super::{Effect, PassedBody, Visit, call::Then};
use crate::{
    call::Call,
    edge::isolate::Isolate,
    error::ApiError,
    fronts::headwater::live::{authorization, is_upgrade, tells_usage},
    time::Millis,
};

/// Takes from a request what only a socket has. Browsers do not ask before they open one of another origin, and no answer is kept
/// from a page: so one whose origin may not read answers is refused here.
pub(super) fn prepare(visit: &mut Visit, header: &dyn Fn(&str) -> String) -> Result<(), ApiError> {
    check_upgrade(visit, header)?;
    visit.request.authorization = authorization(&header("sec-websocket-protocol")).unwrap_or_default();
    Ok(())
}

/// Whether a request may become a socket.
pub(super) fn check_upgrade(visit: &Visit, header: &dyn Fn(&str) -> String) -> Result<(), ApiError> {
    if !is_upgrade(&header("upgrade")) {
        return Err(ApiError::Malformed("this route is a WebSocket: send Upgrade: websocket".to_owned()));
    }
    let request = &visit.request;
    let is_foreign = !request.origin.is_empty() && request.origin != request.host && visit.origin.is_none();
    if is_foreign {
        return Err(ApiError::Forbidden(
            "Pages of this origin may not open sockets: list it in ALLOWED_ORIGINS.",
        ));
    }
    Ok(())
}

impl Isolate {
    /// The socket is the object's answer.
    pub(super) fn listen(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let tells_usage = tells_usage(&visit.request.query)?;
        let call =
            visit.call(Call::Listen { expires: visit.target().caller.expires, tells_usage, peer: None });
        Ok(self.make_call(visit, call, Then::Pass(PassedBody::Upgrade), now))
    }
}
