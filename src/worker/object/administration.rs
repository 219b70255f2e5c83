//! What is done about a space beside pushes and pulls.

use headwater::{
    edge::{answer::Usage, config::LogLevel},
    ids::UserHash,
    protocol::{act::Act, error::ApiError, internal::Order, role::Role},
};
use serde_json::json;

use super::{Coordinator, random};
use crate::{
    http::{Body, Headers, Reply},
    isolate,
    location::{self, now},
    log,
};

impl Coordinator {
    pub(super) async fn act(&self, user: &UserHash, act: Act, order: &Order) -> Result<Reply, ApiError> {
        if let Some(key) = self.with(|core| core.head_before(user, act)) {
            let metadata = location::head_metadata(&self.env, &key).await;
            let metadata = metadata.map_err(|()| ApiError::Upstream)?;
            self.with(|core| core.head_was_read(metadata.as_ref(), now(), random()));
        }
        let before = self.with(|core| core.position());
        // What a creation writes it has written when the space was opened, or the home.
        if !matches!(act, Act::Create | Act::NoteMade) {
            self.sql.take_rows();
        }
        let done = match act {
            Act::Grant => self.grant(user),
            act => {
                let body = self.with(|core| core.administer(user, act, order, now(), random()));
                body.map(|body| body.map_or_else(nothing, |body| Reply::json(200, body)))
            }
        };
        let rows = self.sql.take_rows();
        // A list may have thousands of rows. A notice is not its user's own doing, and the space does not pay for refusals.
        match act {
            Act::Told => {}
            _ if done.is_ok() => self.charge(user, rows.units()),
            _ => self.rate(|rate| rate.charge_refused(user, rows.units(), now())),
        }
        // Opening the space may have found something to do, whatever became of the act itself.
        self.arm().await?;
        let mut reply = done?;
        let position = self.with(|core| core.position());
        // What a creation has written stood there before it was asked for.
        if position != before || act == Act::Create {
            reply = reply.at(&position);
        }
        if matches!(act, Act::Create | Act::Delete | Act::ResetEpoch) {
            log::write(LogLevel::Info, act.as_str(), json!({}));
        }
        reply.usage =
            Usage { object: 1, rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        Ok(reply)
    }

    /// Signed here, because the space knows its members and its incarnation.
    fn grant(&self, user: &UserHash) -> Result<Reply, ApiError> {
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
        Ok(Reply::json(200, body.to_string()))
    }
}

fn nothing() -> Reply {
    Reply { status: 204, headers: Headers::Named(String::new()), body: Body::Empty, usage: Usage::default() }
}
