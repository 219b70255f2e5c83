//! What is done about a space beside pushes and pulls.

use serde_json::json;

use super::{Answer, Effect, Event, Moment, Object, Said, State, Storage, Task};
use crate::{
    coordinator::{ledger::Rows, rate},
    protocol::{act::Act, error::ApiError, internal::Order, role::Role},
    time::Millis,
    version::Position,
};

/// What an administrative call waits for.
#[derive(Debug)]
pub(super) enum Administering {
    /// For KV's head, with which storage is compared before an epoch begins.
    Comparing(Act, Box<Order>),
    /// For the grant that allows this role, where the space stood there before.
    Signing(Role),
}

impl<S: Storage> Object<S> {
    pub(super) fn administer(
        &mut self,
        task: &mut Task,
        act: Act,
        body: &[u8],
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let order = Order::parse(body).ok_or(ApiError::Internal)?;
        if let Some(key) = self.space().head_before(task.user(), act).filter(|_| !planted!(HeadNotCompared)) {
            task.state = State::Administering(Administering::Comparing(act, Box::new(order)));
            return Ok(Effect::ReadHead { key });
        }
        self.do_it(task, act, &order, at)
    }

    pub(super) fn administer_on(
        &mut self,
        task: &mut Task,
        step: Administering,
        event: Event,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        match (step, event) {
            (Administering::Comparing(act, order), Event::Head(head)) => {
                let head = head.map_err(|()| ApiError::Upstream)?;
                self.space().head_was_read(head.as_ref(), at.now, at.random);
                self.do_it(task, act, &order, at)
            }
            (Administering::Signing(role), Event::Signed(signed)) => {
                let granted = signed.map(|(grant, expires)| granted(&grant, expires, role, at.now));
                let (rows, here) = (self.storage.take_rows(), self.space().position());
                Ok(self.administered(task, Act::Grant, granted.map(Said::Text), (rows, here), at))
            }
            (step, event) => panic!("BUG: {event:?} does not follow {step:?}"),
        }
    }

    fn do_it(&mut self, task: &mut Task, act: Act, order: &Order, at: Moment) -> Result<Effect, ApiError> {
        let before = self.space().position();
        // What a creation writes it has written when the space was opened, or the home.
        if !matches!(act, Act::Create | Act::NoteMade) {
            self.storage.take_rows();
        }
        if act == Act::Grant
            && let Ok(role) = self.space().admit(task.user(), Role::Reader)
        {
            let (user, scope) = (task.user().clone(), self.space().scope().clone());
            task.state = State::Administering(Administering::Signing(role));
            return Ok(Effect::Sign { user, scope, role });
        }
        let done = self.space().administer(task.user(), act, order, at.now, at.random);
        let said = done.map(|body| body.map_or(Said::Nothing, Said::Text));
        let rows = self.storage.take_rows();
        Ok(self.administered(task, act, said, (rows, before), at))
    }

    fn administered(
        &mut self,
        task: &mut Task,
        act: Act,
        result: Result<Said, ApiError>,
        (rows, before): (Rows, Position),
        at: Moment,
    ) -> Effect {
        // A list may have thousands of rows. A notice is not its user's own doing, and the space does not pay for refusals.
        match act {
            Act::Told => {}
            _ if result.is_ok() => self.rate.charge(task.user(), rate::cost_of_rows(rows), at.now),
            _ => self.rate.charge_refused(task.user(), rate::cost_of_rows(rows), at.now),
        }
        if result.is_ok() && matches!(act, Act::Create | Act::Delete | Act::ResetEpoch) {
            self.log.push((false, act.as_str(), json!({})));
        }
        // What a creation has written stood there before it was asked for.
        let here = self.space().position();
        let wrote = result.is_ok() && (here != before || act == Act::Create);
        // Opening the space may have found something to do, whatever became of the act itself.
        self.arm_and_answer(task, Answer { result, at: wrote.then_some(here), rows }, at)
    }
}

/// How long, too: a device's clock may be wrong.
fn granted(grant: &str, expires: Millis, role: Role, now: Millis) -> String {
    let expires_in = expires.since(now);
    json!({ "grant": grant, "expires": expires, "expiresIn": expires_in, "role": role.as_str() }).to_string()
}
