//! What is done about a space beside pushes and pulls.

use serde_json::json;

use super::{Answer, Claimant, Effect, Event, Moment, Object, Said, State, Storage, Task};
use crate::{
    access::role::Role,
    call::{Act, Order},
    coordinator::{Administered, rate},
    protocol::error::ApiError,
    time::Millis,
    version::Position,
};

/// What an administrative call waits for.
#[derive(Debug)]
pub(super) enum Administering {
    /// For KV's head, with which storage is compared before an epoch begins.
    Comparing(Act, Box<Order>),
    /// For the grant that allows this role.
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
        let order = Box::new(Order::parse(body).ok_or(ApiError::Internal)?);
        if let Some(key) = self.space().head_before(task.user(), act) {
            task.state = State::Administering(Administering::Comparing(act, order));
            return Ok(Effect::ReadHead { key });
        }
        // What a directory knows, spaces have said, so whoever asks is not to blame for it.
        if act == Act::Grant && !order.claim.is_empty() {
            let claimed = Position::parse(&order.claim);
            return self.settle_claim(task, claimed, Claimant::Grant(order), at);
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
                let granted = signed.map(|(grant, expires)| granted(&grant, expires, role, at.now).into());
                let here = self.space().position();
                self.administered(task, Act::Grant, granted, &here, at)
            }
            (step, event) => panic!("BUG: {event:?} does not follow {step:?}"),
        }
    }

    pub(super) fn do_it(
        &mut self,
        task: &mut Task,
        act: Act,
        order: &Order,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let before = self.space().position();
        // What a creation writes it has written when the space was opened.
        if act != Act::Create {
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
        self.administered(task, act, done, &before, at)
    }

    fn administered(
        &mut self,
        task: &mut Task,
        act: Act,
        done: Result<Administered, ApiError>,
        before: &Position,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        let invites = done.as_ref().is_ok_and(|done| done.invites);
        let aside = self.space().aside(task.user(), act, &done, invites)?;
        let rows = self.storage.take_rows();
        // A list may have thousands of rows. The space does not pay for refusals.
        let units = rate::cost_of_rows(rows);
        match &done {
            Ok(_) => self.rate.charge(task.user(), units, at.now),
            Err(_) => self.rate.charge_refused(task.user(), units, at.now),
        }
        if done.is_ok() && matches!(act, Act::Create | Act::Delete | Act::ResetEpoch) {
            self.log.push((false, act.as_str(), json!({})));
        }
        // What a creation has written stood there before it was asked for.
        let here = self.space().position();
        let wrote = done.is_ok() && (here != *before || act == Act::Create);
        let result = done.map(|done| done.body.map_or(Said::Nothing, Said::Text));
        // Opening the space may have found something to do, whatever became of the act itself.
        Ok(self.arm_and_answer(task, Answer { result, at: wrote.then_some(here), aside, rows }, at))
    }
}

/// How long, too: a device's clock may be wrong.
fn granted(grant: &str, expires: Millis, role: Role, now: Millis) -> String {
    let expires_in = expires.since(now);
    json!({ "grant": grant, "expires": expires, "expiresIn": expires_in, "role": role.as_str() }).to_string()
}
