//! How a request ends, and its line in the log.

use serde_json::json;

use super::{Effect, Visit};
use crate::{
    edge::isolate::Isolate,
    error::ApiError,
    fronts::headwater::{reply::Reply, route::Route},
    ids::UserHash,
    log::LogLevel,
    mutation::RejectCode,
    time::Millis,
};

impl Isolate {
    /// Ends a request.
    pub(super) fn answer(&mut self, visit: &Visit, answer: Result<Reply, ApiError>, now: Millis) -> Effect {
        if let Some(target) = &visit.target {
            let mut untold = visit.usage;
            untold.take_off(&visit.told);
            self.spent.note(&target.hash, &untold);
        }
        let status = answer.as_ref().map_or_else(ApiError::status, |reply| reply.status);
        let code = answer.as_ref().err().map(ApiError::code);
        match status {
            500.. => {
                // Whoever cannot be told has no subject.
                let nobody = || UserHash::new("", "");
                let user = visit.target.as_ref().map_or_else(nobody, |target| target.caller.user.clone());
                if let Some(untold) = self.failures.tell(&user, now) {
                    self.log_request(LogLevel::Error, visit, (status, code), Some(untold), now);
                }
            }
            _ => self.log_request(LogLevel::Debug, visit, (status, code), None, now),
        }
        Effect::Answer(Box::new(answer))
    }

    /// `untold` counts requests that have failed before it and got no line.
    fn log_request(
        &mut self,
        level: LogLevel,
        visit: &Visit,
        (status, code): (u16, Option<&str>),
        untold: Option<u64>,
        now: Millis,
    ) {
        if !self.logs(level) {
            return;
        }
        let mut fields = json!({
            "route": visit.route.as_ref().map_or("none", Route::name), "status": status,
            "request": visit.request.id, "ms": now.since(visit.request.now),
        });
        if visit.is_part() {
            // The line of the request has the sum.
            fields["part"] = true.into();
        }
        for (meter, number) in visit.usage.to_log() {
            fields[&meter] = number;
        }
        if let Some(code) = code.or(visit.rejected.map(RejectCode::as_str)) {
            fields["code"] = code.into();
        }
        if let Some(untold @ 1..) = untold {
            fields["untold"] = untold.into();
        }
        self.log(level, "request", fields);
    }
}
