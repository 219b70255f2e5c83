//! An answer as HTTP has it: status, headers, body.

use crate::{
    access::cors::{self, Credentials},
    call::{ASIDE_HEADER, Aside, Usage},
    error::ApiError,
    fronts::headwater::{PROBLEM_JSON, answer::PullHeaders},
    version::Position,
};

/// Headers of every answer. Nothing is stored on the way or in a browser, where another user of the same device could get it:
/// whoever wants to ask again for what has changed has a position. `respondPull` of the shell has them too.
const OF_ALL: &str =
    "Cache-Control\nno-store\nVary\nAuthorization, Origin, Accept, Accept-Encoding, Headwater-Grant\n";

/// An answer, but for what all answers carry.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Body,
}

/// Headers beside those of every answer.
#[derive(Debug)]
pub enum Headers {
    /// `name\nvalue\n` pairs.
    Named(String),
    /// Those of a pull that is answered as JSON.
    Pull(PullHeaders),
}

/// A body.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// A text.
    Text(String),
    /// The stream that was opened last.
    Stream,
    /// The answer that an object has given to what was passed on, as it is: it is complete.
    Passed,
    /// What an errand writes piece by piece.
    Written,
}

/// All headers of an answer, for whoever makes it.
#[derive(Debug)]
pub enum AllHeaders {
    /// `name\nvalue\n` pairs.
    Named(String),
    /// The values of those of a pull, each with a line feed: `respondPull` of the shell knows their names.
    Pull(String),
}

impl Reply {
    /// A JSON object.
    #[must_use]
    pub fn json(status: u16, body: String) -> Self {
        let headers = Headers::Named("Content-Type\napplication/json\n".to_owned());
        Self { status, headers, body: Body::Text(body) }
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16, headers: Headers) -> Self {
        Self { status, headers, body: Body::Empty }
    }

    /// The answer that an error is, to the request `id` with this `Authorization`.
    #[must_use]
    pub fn problem(error: &ApiError, id: &str, authorization: &str) -> Self {
        let mut headers = format!("Content-Type\n{PROBLEM_JSON}\n");
        if let Some(challenge) = error.challenge(authorization) {
            headers.push_str(&format!("WWW-Authenticate\n{challenge}\n"));
        }
        if let Some(seconds) = error.retry_after_s() {
            headers.push_str(&format!("Retry-After\n{seconds}\n"));
        }
        if let Some((name, value)) = error.instead() {
            headers.push_str(&format!("{name}\n{value}\n"));
        }
        Self { status: error.status(), headers: Headers::Named(headers), body: Body::Text(error.body(id)) }
    }

    /// What an object answers to the request `id`: what it says, where the space stands if that has written, and what is for
    /// the edge alone.
    #[must_use]
    pub fn of_object(
        said: Result<Option<String>, ApiError>,
        at: Option<&Position>,
        aside: Option<&Aside>,
        id: &str,
    ) -> Self {
        let mut reply = match said {
            Ok(Some(text)) => Self::json(200, text),
            Ok(None) => Self::empty(204, Headers::Named(String::new())),
            Err(error) => Self::problem(&error, id, ""),
        };
        if let Some(at) = at {
            reply = reply.at(at);
        }
        match aside {
            Some(aside) => reply.with(ASIDE_HEADER, &aside.to_text()),
            None => reply,
        }
    }

    /// Says where the space stands after a write.
    #[must_use]
    pub fn at(self, position: &Position) -> Self {
        self.with("Headwater-Position", &position.to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Headers::Named(headers) = &mut self.headers {
            headers.push_str(&format!("{name}\n{value}\n"));
        }
        self
    }

    /// The headers, with what every answer carries: to the request `id` from a page of `origin` that may read it. A pull that is
    /// answered as JSON is never one that pages send with credentials.
    #[must_use]
    pub fn all_headers(
        &self,
        id: &str,
        (origin, credentials): (Option<&str>, Credentials),
        usage: Usage,
    ) -> AllHeaders {
        let timing = usage.server_timing();
        match &self.headers {
            Headers::Named(headers) => {
                let cors = cors::headers(origin, credentials);
                AllHeaders::Named(format!(
                    "{headers}{OF_ALL}{cors}Headwater-Request\n{id}\nServer-Timing\n{timing}\n"
                ))
            }
            Headers::Pull(pull) => {
                let (values, origin, exposed) = (pull.values(), origin.unwrap_or_default(), cors::EXPOSED);
                AllHeaders::Pull(format!("{values}{id}\n{timing}\n{origin}\n{exposed}"))
            }
        }
    }
}
