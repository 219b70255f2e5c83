//! One message, from its turn to its answer.

use serde_json::Value;
use strum::AsRefStr;

use super::{Message, Refusal};
use crate::{
    access::token::Bearer,
    call::{Call, Caller, Usage, decode_reply, with_grant},
    edge::{
        identity::{Asked, Identity, TokenEffect, TokenEvent},
        isolate::Isolate,
        known::Known,
        pull::{Next, Pull, ReadPlan},
    },
    error::ApiError,
    fronts::headwater::{
        answer::{self, Format, PullAnswer},
        live::{self, About},
        pull::{Consistency, Cursor, PullRequest},
    },
    ids::SpaceHash,
    limits,
    log::LogLevel,
    role::Role,
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};

/// A message that is being served. Begun by [`Isolate::begin_exchange`]; whoever drives it carries out the effect that comes back and
/// tells [`Isolate::step_exchange`] how that has ended, until [`Effect::Say`] ends it.
#[derive(Debug)]
pub struct Exchange {
    n: u64,
    /// Whoever has sent it. Problem documents name it by the request's id.
    caller: Caller,
    /// The space's object.
    space: SpaceHash,
    /// The role of a member of a shared space whose grant ends soon.
    wants_grant: Option<Role>,
    grant_until: Option<Millis>,
    is_rate_limited: bool,
    /// What the message asks for, for the log.
    about: &'static str,
    status: u16,
    used: Usage,
    tells_usage: bool,
    began_at: Millis,
    state: State,
}

/// Whoever has sent a message.
#[derive(Debug, Clone)]
pub struct Sender {
    /// In whose name the object is called.
    pub caller: Caller,
    /// The role.
    pub role: Role,
    /// Whether answers over the socket say what they have used.
    pub tells_usage: bool,
}

#[derive(Debug, AsRefStr)]
enum State {
    /// For the object to say whether the user may have more of it, where it is not asked for anything else: then this is said, or a
    /// signature is verified.
    Admitting(Option<String>),
    /// For the text in the place of the body.
    Reading(About),
    Identifying(Asked),
    Renewing,
    /// For the object's answer to a push or a resolution.
    Passing,
    /// Where its client stands, and the pull.
    Pulling(Option<Position>, Box<Pull>),
    Over,
}

/// What has happened.
#[derive(Debug, AsRefStr)]
pub enum Event {
    /// Whether the object admits the message.
    Admitted(Result<(), ApiError>),
    /// The text in the place of the body; none if it is too long or no UTF-8.
    Body(Option<String>),
    /// What the platform has found out about the token.
    Token(TokenEvent),
    /// In how many ms the new token ends.
    Renewed(u64),
    /// What the object has answered, and what that has used.
    Called(Result<Option<String>, ApiError>, Usage),
}

/// What an exchange asks for.
#[derive(Debug)]
pub enum Effect {
    /// Ask the object whether the user may have more of it: [`Event::Admitted`].
    Admit,
    /// Read the text in the place of the body: [`Event::Body`].
    ReadBody {
        /// How many bytes it has at most.
        limit: usize,
    },
    /// Find something out about the token: [`Event::Token`].
    Token(TokenEffect),
    /// The socket is good until then: [`Event::Renewed`].
    Renew(Millis),
    /// Call the object, in the name of the socket's user: [`Event::Called`]. The body of a push or a resolution is the message's.
    Call(Call),
    /// Send this. The message is answered.
    Say(String),
}

impl Isolate {
    /// The turn of a message has come, which `caller`, who has this role, has sent over a socket of this number.
    ///
    /// # Panics
    /// Where the caller names no space.
    pub fn begin_exchange<T>(
        &self,
        message: &Message<T>,
        socket: u32,
        Sender { caller, role, tells_usage }: Sender,
        now: Millis,
    ) -> (Exchange, Effect) {
        let n = if planted!(AnswerToAnother) { message.n - 1 } else { message.n };
        let space = caller.destination.scope().expect("BUG: a socket is of a space").space();
        let caller = Caller { request: format!("live-{socket}-{n}"), ..caller };
        let is_shared = caller.destination.scope().is_some_and(Scope::is_shared);
        let mut exchange = Exchange {
            n,
            caller,
            space,
            wants_grant: (is_shared && message.wants_grant).then_some(role),
            grant_until: None,
            is_rate_limited: false,
            about: match &message.asks {
                Err(_) => "refused",
                Ok(About::Push) => "push",
                Ok(About::Conflict) => "resolve",
                Ok(About::Pull) => "pull",
                Ok(About::Token) => "token",
            },
            status: 200,
            used: Usage { messages: 1, ..Usage::default() },
            tells_usage,
            began_at: now,
            state: State::Over,
        };
        let effect = match &message.asks {
            Err(Refusal::UseHttp) => exchange.admit(Some(live::use_http(n))),
            Err(Refusal::Error(error)) => {
                let said = exchange.refusal(error);
                exchange.admit(Some(said))
            }
            Ok(About::Push) => exchange.pass(Call::Push),
            Ok(About::Conflict) => exchange.pass(Call::Resolve),
            Ok(About::Pull) => exchange.read(About::Pull, limits::ORDER_BYTES_MAX),
            Ok(About::Token) => exchange.admit(None),
        };
        (exchange, effect)
    }

    /// What an exchange does about what has happened.
    pub fn step_exchange(&mut self, exchange: &mut Exchange, event: Event, now: Millis) -> Effect {
        if let Event::Called(_, used) = &event {
            exchange.used.add(used);
        }
        let done = self.go_on_or_refuse(exchange, event, now);
        let mut effect = done.unwrap_or_else(|error| exchange.refuse(&error));
        if let Effect::Say(answer) = &mut effect {
            if exchange.tells_usage {
                *answer = live::with_usage(answer, &exchange.used);
            }
            self.log_message(exchange, now);
        }
        effect
    }

    /// One line for each message.
    fn log_message(&mut self, exchange: &Exchange, now: Millis) {
        if !self.logs(LogLevel::Debug) {
            return;
        }
        let mut fields = exchange.used.to_log();
        fields.insert("route".to_owned(), exchange.about.into());
        fields.insert("status".to_owned(), exchange.status.into());
        fields.insert("request".to_owned(), exchange.caller.request.as_str().into());
        fields.insert("ms".to_owned(), now.since(exchange.began_at).into());
        self.log(LogLevel::Debug, "message", Value::Object(fields));
    }

    fn go_on_or_refuse(
        &mut self,
        exchange: &mut Exchange,
        event: Event,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match (std::mem::replace(&mut exchange.state, State::Over), event) {
            (State::Admitting(said), Event::Admitted(admitted)) => {
                admitted?;
                let read = || exchange.read(About::Token, limits::TOKEN_BYTES_MAX);
                Ok(said.map_or_else(read, Effect::Say))
            }
            (State::Reading(about), Event::Body(body)) => {
                let Some(body) = body else {
                    let said =
                        exchange.refusal(&ApiError::TooLarge("A pull has at most 16 KiB, a token 8 KiB."));
                    return Ok(exchange.admit(Some(said)));
                };
                match about {
                    About::Token => {
                        let identity = self.identify_token(&live::authorization_of(&body)?, now)?;
                        exchange.identified(identity)
                    }
                    // What reaches no task of the object is admitted here, or it would cost its sender nothing.
                    About::Pull | About::Push | About::Conflict => {
                        begin_pull(exchange, &body, now).or_else(|error| {
                            let said = exchange.refusal(&error);
                            Ok(exchange.admit(Some(said)))
                        })
                    }
                }
            }
            (State::Identifying(asked), Event::Token(event)) => {
                let identity = self.token_learns(asked, event, (now, now))?;
                exchange.identified(identity)
            }
            (State::Renewing, Event::Renewed(expires_in_ms)) => {
                let body = format!(r#"{{"tokenExpiresIn":{expires_in_ms}}}"#);
                Ok(Effect::Say(live::answer(exchange.n, Some(&body))))
            }
            (State::Passing, Event::Called(called, _)) => {
                let body = called?.unwrap_or_default();
                let body = self.add_grant(exchange, body, now);
                Ok(Effect::Say(live::answer(exchange.n, Some(&body))))
            }
            (State::Pulling(own, mut pull), Event::Called(called, _)) => {
                let body = called?.unwrap_or_default();
                let (reply, lines) = decode_reply(&body).ok_or(ApiError::Upstream)?;
                pull.learn_reply(reply, lines, now);
                exchange.pull_on(own, pull, now)
            }
            (state, event) => panic!("BUG: {} does not follow {}", event.as_ref(), state.as_ref()),
        }
    }

    /// The answer to a push, which only members get, brings a grant in time: so no request is made for one.
    fn add_grant(&mut self, exchange: &mut Exchange, body: String, now: Millis) -> String {
        let (Some(role), Some(scope)) = (exchange.wants_grant, exchange.caller.destination.scope()) else {
            return body;
        };
        match self.sign_grant(&exchange.caller.user, scope, role, now) {
            Ok((grant, ends)) => {
                exchange.grant_until = Some(ends);
                with_grant(&body, &grant, ends.since(now))
            }
            Err(_) => body,
        }
    }
}

/// A pull asks nobody but the object, which is here.
fn begin_pull(exchange: &mut Exchange, body: &str, now: Millis) -> Result<Effect, ApiError> {
    if body.trim_ascii().is_empty() {
        // Of a request that is a pull of everything. A message without a body is no JSON.
        return Err(ApiError::Malformed("a message has a body".to_owned()));
    }
    let mut request = PullRequest::from_body(body.as_bytes(), &exchange.space)?;
    if let Some(Cursor::Parts { .. }) = request.cursor {
        return Ok(exchange.admit(Some(live::use_http(exchange.n))));
    }
    request.consistency = Consistency::Strong;
    let (own, plan) = (request.position(), ReadPlan::of(true, false));
    let pull = Pull::new(request, Format::Json, plan, (Known::default(), Millis(0)), None);
    exchange.pull_on(own, Box::new(pull), now)
}

impl Exchange {
    /// In whose name the object is called.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The space's object.
    #[must_use]
    pub fn space(&self) -> &SpaceHash {
        &self.space
    }

    /// What the message has used.
    #[must_use]
    pub fn used(&self) -> &Usage {
        &self.used
    }

    /// What the message asked for, the status of its answer, and after how many ms it is answered.
    #[must_use]
    pub fn ended(&self, now: Millis) -> (&'static str, String, u64) {
        (self.about, self.status.to_string(), now.since(self.began_at))
    }

    /// Until when a grant is good that the answer brings.
    pub(super) fn grant_until(&self) -> Option<Millis> {
        self.grant_until
    }

    /// Whether it was refused because its user may have no more of the object.
    pub(super) fn is_rate_limited(&self) -> bool {
        self.is_rate_limited
    }

    fn refusal(&mut self, error: &ApiError) -> String {
        self.status = error.status();
        live::refusal(self.n, error, &self.caller.request)
    }

    fn refuse(&mut self, error: &ApiError) -> Effect {
        // Not for what others of the space have taken.
        self.is_rate_limited = matches!(error, ApiError::RateLimited { of_space: false, .. });
        Effect::Say(self.refusal(error))
    }

    /// Nothing is said, and nothing looked at, for somebody who may have no more of the object.
    fn admit(&mut self, said: Option<String>) -> Effect {
        self.state = State::Admitting(said);
        Effect::Admit
    }

    fn read(&mut self, about: About, limit: usize) -> Effect {
        self.state = State::Reading(about);
        Effect::ReadBody { limit }
    }

    fn pass(&mut self, call: Call) -> Effect {
        self.state = State::Passing;
        Effect::Call(call)
    }

    fn identified(&mut self, identity: Identity) -> Result<Effect, ApiError> {
        match identity {
            Identity::Known(bearer) => self.renew(&bearer),
            Identity::Asked(asked, effect) => {
                self.state = State::Identifying(asked);
                Ok(Effect::Token(effect))
            }
        }
    }

    fn renew(&mut self, bearer: &Bearer) -> Result<Effect, ApiError> {
        if bearer.user != self.caller.user {
            return Err(ApiError::Forbidden("The token is of another user than the socket."));
        }
        self.state = State::Renewing;
        Ok(Effect::Renew(bearer.expires))
    }

    fn pull_on(
        &mut self,
        own: Option<Position>,
        mut pull: Box<Pull>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let answer = match pull.next(now) {
            Next::Ask(ask) => {
                self.state = State::Pulling(own, pull);
                return Ok(Effect::Call(Call::Pull(ask)));
            }
            Next::Answer(answer) => answer,
            Next::Fail(error) => return Err(error),
            Next::Cache | Next::Kv => panic!("BUG: a strong pull asks the coordinator"),
        };
        // What has several pages is for nearer layers, and for a stream.
        if matches!(answer, PullAnswer::Page { next: Some(_), .. } | PullAnswer::Load(_)) {
            return Ok(Effect::Say(live::use_http(self.n)));
        }
        let is_nothing =
            matches!(&answer, PullAnswer::Nothing { position } if own.as_ref() == Some(position));
        let page = (!is_nothing).then(|| answer::json_page(&answer, &self.space));
        let is_long = page.as_ref().is_some_and(|page| page.len() > limits::MESSAGE_BYTES_MAX);
        Ok(Effect::Say(match page {
            Some(_) if is_long => live::use_http(self.n),
            page => live::answer(self.n, page.as_deref()),
        }))
    }
}
