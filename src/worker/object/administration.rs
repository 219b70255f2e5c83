//! What is done about a space beside pushes and pulls.

use headwater::{
    coordinator::Administered,
    edge::{answer::Usage, config::LogLevel},
    ids::UserHash,
    protocol::{act::Act, directory::ASIDE_HEADER, error::ApiError, internal::Order, role::Role},
    version::Position,
};
use serde_json::json;

use super::{Coordinator, random};
use crate::{
    http::{self, Body, Headers, Reply},
    isolate,
    location::{self, now},
    log,
};

impl Coordinator {
    /// Does what a user asks for. `id` is the request's.
    pub(super) async fn act(
        &self,
        user: &UserHash,
        act: Act,
        order: &Order,
        id: &str,
    ) -> Result<Reply, ApiError> {
        if let Some(key) = self.with(|core| core.head_before(user, act)) {
            let metadata = location::head_metadata(&self.env, &key).await;
            let metadata = metadata.map_err(|()| ApiError::Upstream)?;
            self.with(|core| core.head_was_read(metadata.as_ref(), now(), random()));
        }
        // What a directory knows, spaces have said, so whoever asks is not to blame for it.
        if act == Act::Grant && !order.claim.is_empty() {
            self.settle_claim(Position::parse(&order.claim)).await?;
        }
        let before = self.with(|core| core.position());
        // What a creation writes it has written when the space was opened.
        if act != Act::Create {
            self.sql.take_rows();
        }
        let done = match act {
            Act::Grant => self.grant(user).map(Administered::from),
            act => self.with(|core| core.administer(user, act, order, now(), random())),
        };
        let invites = done.as_ref().is_ok_and(|done| done.invites);
        let aside = self.with(|core| core.aside(user, act, &done, invites))?;
        let rows = self.sql.take_rows();
        // A list may have thousands of rows. The space does not pay for refusals.
        match &done {
            Ok(_) => self.charge(user, rows.units()),
            Err(_) => self.rate(|rate| rate.charge_refused(user, rows.units(), now())),
        }
        // Opening the space may have found something to do, whatever became of the act itself.
        self.arm().await?;
        let is_done = done.is_ok();
        let usage = Usage { object: 1, rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        let mut reply = match done {
            Ok(done) => Reply { usage, ..done.body.map_or_else(nothing, |body| Reply::json(200, body)) },
            Err(error) if aside.is_some() => http::problem(&error, id, "", usage),
            Err(error) => return Err(error),
        };
        let position = self.with(|core| core.position());
        // What a creation has written stood there before it was asked for.
        if is_done && (position != before || act == Act::Create) {
            reply = reply.at(&position);
        }
        if let Some(aside) = aside {
            reply = reply.with(ASIDE_HEADER, &aside.to_text());
        }
        if is_done && matches!(act, Act::Create | Act::Delete | Act::ResetEpoch) {
            log::write(LogLevel::Info, act.as_str(), json!({}));
        }
        Ok(reply)
    }

    /// Signed here, because the space knows its members and its incarnation.
    fn grant(&self, user: &UserHash) -> Result<String, ApiError> {
        let (role, scope) = self.with(|core| {
            let role = core.admit(user, Role::Reader)?;
            Ok::<_, ApiError>((role, core.scope().clone()))
        })?;
        let now = now();
        let (grant, expires) = isolate::sign_grant(&self.env, user, &scope, role, now)?;
        // How long, too: a device's clock may be wrong.
        let expires_in = expires.since(now);
        let body =
            json!({ "grant": grant, "expires": expires, "expiresIn": expires_in, "role": role.as_str() });
        Ok(body.to_string())
    }
}

pub(super) fn nothing() -> Reply {
    Reply { status: 204, headers: Headers::Named(String::new()), body: Body::Empty, usage: Usage::default() }
}
