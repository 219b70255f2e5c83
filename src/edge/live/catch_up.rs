//! What a client of another front is missing that has said over its socket where it stands. Nobody is asked but the object, which is
//! here.

use crate::{
    call::{Call, decode_reply, live::News},
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
pub struct CatchUp {
    own: Position,
    pull: Box<Pull>,
}

/// How it goes on.
#[derive(Debug)]
pub enum CatchUpStep {
    /// Call the object, and tell [`CatchUp::answered`] what it says.
    Ask(CatchUp, Call),
    /// This is news to the client, if anything is.
    Done(Option<News>),
    /// Nobody can say now what is: whoever pulls hears what is wrong.
    Failed,
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
        let pull = Pull::new(request, Format::Json, ReadPlan::of(true, false), memory, None);
        Self { own: own.clone(), pull: Box::new(pull) }.go_on(now)
    }

    /// The object has answered.
    #[must_use]
    pub fn answered(mut self, body: Result<Option<String>, ApiError>, now: Millis) -> CatchUpStep {
        let body = body.map(Option::unwrap_or_default);
        match body.as_deref().ok().and_then(decode_reply) {
            Some((reply, lines)) => self.pull.learn_reply(reply, lines, now),
            None => return CatchUpStep::Failed,
        }
        self.go_on(now)
    }

    fn go_on(mut self, now: Millis) -> CatchUpStep {
        let news = match self.pull.next(now) {
            Next::Ask(ask) => return CatchUpStep::Ask(self, Call::Pull(ask)),
            Next::Answer(PullAnswer::Nothing { position }) if position == self.own => None,
            Next::Answer(PullAnswer::Changes { position, reset: false, lines }) => {
                Some(News::Changes { from: self.own.version, at: position, lines })
            }
            Next::Answer(answer) => Some(News::Version(answer.position().clone())),
            Next::Fail(_) => return CatchUpStep::Failed,
            Next::Cache | Next::Kv => panic!("BUG: a strong pull asks the coordinator"),
        };
        CatchUpStep::Done(news)
    }
}
