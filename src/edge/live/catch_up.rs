//! What a client of another front is missing that has said over its socket where it stands. Nobody is asked but the object, which is
//! here.

use crate::{
    call::{Call, decode_reply},
    edge::{
        known::Known,
        pull::{Next, Pull, ReadPlan},
    },
    error::ApiError,
    fronts::headwater::{
        answer::{Format, PullAnswer},
        pull::{Consistency, PullRequest},
    },
    time::Millis,
    version::Position,
};

/// A look for what a client is missing.
#[derive(Debug)]
pub struct CatchUp(Box<Pull>);

/// How it goes on.
#[derive(Debug)]
pub enum CatchUpStep {
    /// Call the object, and tell [`CatchUp::answered`] what it says.
    Ask(CatchUp, Call),
    /// This is missing.
    Done(Missing),
}

/// What a client is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Nothing,
    /// These record lines, with which it stands there.
    Lines(Position, String),
    /// More than a message holds, or nobody can say now: it has to pull.
    More,
}

impl CatchUp {
    /// Begins for a client that stands at `own`.
    #[must_use]
    pub fn begin(own: &Position, now: Millis) -> CatchUpStep {
        let request = PullRequest {
            epoch: Some(own.epoch.clone()),
            since: own.version,
            min: None,
            consistency: Consistency::Strong,
            cursor: None,
        };
        let memory = (Known::default(), Millis(0));
        Self(Box::new(Pull::new(request, Format::Json, ReadPlan::of(true, false), memory, None))).go_on(now)
    }

    /// The object has answered.
    #[must_use]
    pub fn answered(mut self, body: Result<Option<String>, ApiError>, now: Millis) -> CatchUpStep {
        let body = body.map(Option::unwrap_or_default);
        match body.as_deref().ok().and_then(decode_reply) {
            Some((reply, lines)) => self.0.learn_reply(reply, lines, now),
            None => return CatchUpStep::Done(Missing::More),
        }
        self.go_on(now)
    }

    fn go_on(mut self, now: Millis) -> CatchUpStep {
        match self.0.next(now) {
            Next::Ask(ask) => CatchUpStep::Ask(self, Call::Pull(ask)),
            Next::Answer(PullAnswer::Nothing { .. }) => CatchUpStep::Done(Missing::Nothing),
            Next::Answer(PullAnswer::Changes { position, reset: false, lines }) => {
                CatchUpStep::Done(Missing::Lines(position, lines))
            }
            Next::Answer(_) | Next::Fail(_) => CatchUpStep::Done(Missing::More),
            Next::Cache | Next::Kv => panic!("BUG: a strong pull asks the coordinator"),
        }
    }
}
