//! What a call is answered.

use super::Applicant;
use crate::{
    call::{Aside, PullReply, PushAnswer, Usage, encode_reply},
    coordinator::ledger::Rows,
    error::ApiError,
    version::Position,
};

/// What a call is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What is said, or why not.
    pub result: Result<Said, ApiError>,
    /// Where the space stands, if the call has written.
    pub at: Option<Position>,
    /// What is said to the edge beside that.
    pub aside: Option<Aside>,
    /// What the call has used.
    pub used: Usage,
}

/// What an answer says.
#[derive(Debug, Clone)]
pub enum Said {
    /// That it is done.
    Nothing,
    /// A JSON object.
    Text(String),
    /// What becomes of a push.
    Pushed(PushAnswer),
    /// What is newer, for the edge.
    Pulled(PullReply, String),
    /// That there may be a socket: [`super::Object::join`].
    Listening(Box<Applicant>),
}

impl Answer {
    /// It is not done.
    #[must_use]
    pub fn refused(error: ApiError) -> Self {
        let is_of_space = matches!(error, ApiError::RateLimited { of_space: true, .. });
        let aside = is_of_space.then_some(Aside::OfSpace);
        Self { result: Err(error), at: None, aside, used: Usage::default() }
    }

    /// The answer to a call whose caller cannot be read. It comes from an edge that is newer: soon there will be an object that
    /// knows it.
    #[must_use]
    pub fn unreadable() -> Self {
        Self::refused(ApiError::Upstream)
    }

    /// It is done, and there is nothing to say.
    #[must_use]
    pub fn nothing() -> Self {
        Self::said(Said::Nothing, Rows::default())
    }

    pub(super) fn said(said: Said, rows: Rows) -> Self {
        Self { result: Ok(said), at: None, aside: None, used: rows.used() }
    }
}

impl Said {
    /// The body; none where nothing is said.
    #[must_use]
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Nothing | Self::Listening(_) => None,
            Self::Text(text) => Some(text),
            Self::Pushed(answer) => Some(answer.to_json()),
            Self::Pulled(reply, lines) => Some(encode_reply(&reply, &lines)),
        }
    }
}
