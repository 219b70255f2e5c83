//! What is done about a space beside pushes and pulls.

use serde_json::json;
use strum::AsRefStr;

use super::{Answer, Claimant, Effect, Event, Moment, Object, Said, State, Storage, Task};
use crate::{
    call::Administration,
    coordinator::{Administered, rate},
    error::ApiError,
    log::LogLevel,
    role::Role,
    time::Millis,
    version::Position,
};

/// What an administrative call waits for.
#[derive(Debug, AsRefStr)]
pub(super) enum Administering {
    /// For KV's head, with which storage is compared before an epoch begins.
    Comparing(Administration),
    /// For the grant that allows this role.
    Signing(Role),
}

impl<S: Storage> Object<S> {
    pub(super) fn administer(
        &mut self,
        task: &mut Task,
        administration: Administration,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        if let Some(key) = self.space().head_before(task.user(), &administration) {
            task.state = State::Administering(Administering::Comparing(administration));
            return Ok(Effect::ReadHead { key });
        }
        // What a directory knows, spaces have said, so whoever asks is not to blame for it.
        if let Administration::Grant { claim } = administration {
            return self.decide_claim(task, claim, Claimant::Grant, at);
        }
        self.do_it(task, &administration, at)
    }

    pub(super) fn administer_on(
        &mut self,
        task: &mut Task,
        step: Administering,
        event: Event,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        match (step, event) {
            (Administering::Comparing(administration), Event::Head(head)) => {
                let head = head.map_err(|()| ApiError::Upstream)?;
                self.space().head_was_read(head.as_ref(), at.now, at.random);
                self.do_it(task, &administration, at)
            }
            (Administering::Signing(role), Event::Signed(signed)) => {
                let granted = signed.map(|(grant, expires)| granted(&grant, expires, role, at.now).into());
                let here = self.space().position();
                self.administered(task, &Administration::Grant { claim: None }, granted, &here, at)
            }
            (step, event) => panic!("BUG: {} does not follow {}", event.as_ref(), step.as_ref()),
        }
    }

    pub(super) fn do_it(
        &mut self,
        task: &mut Task,
        administration: &Administration,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let before = self.space().position();
        // What a creation writes it has written when the space was opened.
        if !matches!(administration, Administration::Create { .. }) {
            self.take_rows();
        }
        let done = self.space().administer(task.user(), administration, at.now, at.random);
        if let Ok(Administered { grants: Some(role), .. }) = done {
            let (user, scope) = (task.user().clone(), self.space().scope().clone());
            task.state = State::Administering(Administering::Signing(role));
            return Ok(Effect::Sign { user, scope, role });
        }
        self.administered(task, administration, done, &before, at)
    }

    fn administered(
        &mut self,
        task: &mut Task,
        administration: &Administration,
        done: Result<Administered, ApiError>,
        before: &Position,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let invites = done.as_ref().is_ok_and(|done| done.invites);
        // What was done is done, is charged and sets the alarm, also where storage cannot say what the edge is to be told.
        let aside = self.space().aside(task.user(), administration, &done, invites).unwrap_or_default();
        let rows = self.take_rows();
        // A list may have thousands of rows. The space does not pay for refusals.
        let units = rate::cost_of_rows(rows);
        match &done {
            Ok(_) => self.rate.charge(task.user(), units, at.now),
            Err(_) => self.rate.charge_refused(task.user(), units, at.now),
        }
        if done.is_ok() {
            self.close_after(administration);
        }
        let is_creation = matches!(administration, Administration::Create { .. });
        if done.is_ok() && (is_creation || administration.begins_epoch()) {
            self.log.push((LogLevel::Info, administration.name(), json!({})));
        }
        // What a creation has written stood there before it was asked for.
        let here = self.space().position();
        let wrote = done.is_ok() && (here != *before || is_creation);
        let result = done.map(|done| done.body.map_or(Said::Nothing, Said::Text));
        Ok(Effect::Answer(Answer { result, at: wrote.then_some(here), aside, used: rows.used() }))
    }
}

/// How long, too: a device's clock may be wrong.
fn granted(grant: &str, expires: Millis, role: Role, now: Millis) -> String {
    let expires_in = expires.since(now);
    json!({ "grant": grant, "expires": expires, "expiresIn": expires_in, "role": role.as_str() }).to_string()
}
