//! Calls to objects: made for an answer that is read here, or passed on with a request whose answer is passed on too.

use super::{Effect, Errand, Event, State, Visit, pull::Pulling, spaces::Creating};
#[cfg(feature = "dexie")]
use crate::access::token::Subject;
use crate::{
    call::{Aside, BUDGET_TIMEOUT_MS, BudgetCall, Call, Caller, Destination, DirectoryCall, conflict},
    edge::{isolate::Isolate, spent::of_edge},
    error::{ApiError, is_used_up},
    fronts::headwater::{
        body::{Coding, is_json},
        pull::query_pairs,
        reply::{Body, Headers, Reply},
        route::{Route, SpaceRoute},
    },
    ids::SpaceHash,
    limits,
    time::Millis,
    version::Position,
};

/// A call on its way to an object.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The object.
    pub object: SpaceHash,
    /// The call.
    pub call: Call,
    /// Who makes it.
    pub caller: Caller,
    /// After how long nobody waits for it any more, in ms.
    pub timeout_ms: u32,
    /// The body of the request, where that was read to know that it has to be passed on.
    pub body: Option<String>,
}

impl Outgoing {
    /// What is sent along.
    #[must_use]
    pub fn body(&self) -> String {
        self.body.clone().unwrap_or_else(|| self.call.body())
    }
}

/// What is passed on.
#[derive(Debug)]
pub enum PassedBody {
    /// The body of the call.
    Call,
    /// The same, with a request for a socket.
    Upgrade,
    /// The same, and if it is given, one to each of other objects too. The client gets one that stands for them all.
    #[cfg(feature = "dexie")]
    Relay(Box<super::dexie::Relaying>),
    /// The body of the request, once it is there, unpacked: an object that waited for a slow body would be billed for it.
    Request {
        /// How it is coded.
        coding: Coding,
        /// How many bytes it has at most, unpacked.
        limit: usize,
        /// Until when the token of its sender is good. One whose body comes later is not passed on.
        expires: Millis,
    },
}

/// What an object has answered.
#[derive(Debug, Clone)]
pub struct Called {
    /// The body, empty if there is nothing to say; or why it was not done.
    pub result: Result<String, ApiError>,
    /// Where the space stands, if the call has written.
    pub position: Option<Position>,
    /// What the object has said beside that.
    pub aside: Option<Aside>,
    /// What it has used, as a `Server-Timing` header says it.
    pub timing: String,
}

impl Called {
    /// Out of a response.
    #[must_use]
    pub fn read(status: u16, body: String, timing: String, position: &str, aside: &str) -> Self {
        let is_done = matches!(status, 200 | 204);
        let mut result = if is_done { Ok(body) } else { Err(ApiError::of_object(status, &body)) };
        let aside = Aside::parse(aside);
        if let Err(ApiError::RateLimited { of_space, .. }) = &mut result {
            *of_space = aside == Some(Aside::OfSpace);
        }
        Self { result, position: Position::parse(position), aside, timing }
    }

    /// It was not reached.
    #[must_use]
    pub fn failed(error: ApiError) -> Self {
        Self { result: Err(error), position: None, aside: None, timing: String::new() }
    }
}

/// What the edge reads of an answer that is passed on.
#[derive(Debug, Clone)]
pub struct Passed {
    /// The status.
    pub status: u16,
    /// Seconds after which to ask again, of a refusal that says so.
    pub retry_after_s: Option<u32>,
    /// Where the space stands, if the call has written.
    pub position: Option<Position>,
    /// What the object has said that is not passed on.
    pub aside: Option<Aside>,
    /// What it has used, as a `Server-Timing` header says it.
    pub timing: String,
}

/// What a call is made for.
#[derive(Debug)]
pub(super) enum Then {
    Pull(Box<Pulling>),
    /// Its answer is the request's.
    Answer,
    Create(Creating),
    /// The code of an invitation is signed.
    Invite,
    /// It gives a grant to a client of Dexie Cloud.
    #[cfg(feature = "dexie")]
    Grant,
    /// It says which realms there are: that of these directories.
    #[cfg(feature = "dexie")]
    ListRealms(usize),
    /// It takes an answer to an invitation.
    #[cfg(feature = "dexie")]
    Respond,
    /// It says whether the caller is invited, who is no member: that is told behind it, unless they are.
    #[cfg(feature = "dexie")]
    AskGuest(Option<Aside>),
    /// The space of a realm is made.
    #[cfg(feature = "dexie")]
    MakeRealm(Creating),
    /// It has taken what is its own of a push to several spaces.
    #[cfg(feature = "dexie")]
    PushPart,
    /// It says whether a file may be put.
    #[cfg(feature = "dexie")]
    Upload,
    Errand(Box<Errand>),
    /// The whole is passed on.
    Pass(PassedBody),
}

impl Visit {
    /// A call by the caller.
    pub(super) fn call(&self, call: Call) -> Box<Outgoing> {
        let target = self.target();
        let caller = target.as_caller(self.id(), self.origin());
        #[cfg(feature = "dexie")]
        let caller = match self.route {
            Some(Route::Dexie(_)) => {
                let Subject { iss, sub } = (*target.caller.person).clone();
                Caller { sub, iss, ..caller }
            }
            _ => caller,
        };
        let timeout_ms = limits::CALL_TIMEOUT_MS;
        Box::new(Outgoing { object: target.hash.clone(), call, caller, timeout_ms, body: None })
    }

    /// What the budget is told in the name of the caller.
    pub(super) fn budget_call(&self, call: BudgetCall) -> Box<Outgoing> {
        let call = self.call(Call::Budget(call));
        let caller = Caller { destination: Destination::Budget, ..call.caller };
        Box::new(Outgoing { object: SpaceHash::budget(), caller, timeout_ms: BUDGET_TIMEOUT_MS, ..*call })
    }

    /// A call by the caller to a directory.
    pub(super) fn directory_call(&self, directory: SpaceHash, call: DirectoryCall) -> Box<Outgoing> {
        let directory = self.target().directory(directory);
        let caller = directory.as_caller(self.id(), self.origin());
        Box::new(Outgoing { object: directory.hash, caller, ..*self.call(Call::Directory(call)) })
    }
}

impl Isolate {
    /// Makes a call, unless its object has told the caller to come back later. Whoever asks before the time waits, and is let
    /// through if it is over by then.
    pub(super) fn make_call(
        &mut self,
        visit: &mut Visit,
        call: Box<Outgoing>,
        then: Then,
        now: Millis,
    ) -> Effect {
        if self.check_refusal(&call, now).is_ok() || planted!(RefusalIgnored) {
            return self.send(visit, call, then, now);
        }
        let hold_ms = self.refusals.hold_ms(&call.caller.user, now);
        visit.state = State::HeldBack(call, Box::new(then));
        Effect::Pause(hold_ms)
    }

    /// Whether an object has told a caller to come back later. What only an owner may do it admits whatever the space has left.
    pub(super) fn check_refusal(&self, call: &Outgoing, now: Millis) -> Result<(), ApiError> {
        let (user, is_pull) = (&call.caller.user, matches!(call.call, Call::Pull(_)));
        self.object_requests.check(user, is_pull, now)?;
        match self.refusals.check(user, &call.object, now) {
            Err(ApiError::RateLimited { of_space: true, .. }) if call.call.is_owners() => Ok(()),
            checked => checked,
        }
    }

    pub(super) fn held_back(
        &mut self,
        visit: &mut Visit,
        call: Box<Outgoing>,
        then: Then,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match (self.check_refusal(&call, now), then) {
            (Ok(()), then) => Ok(self.send(visit, call, then, now)),
            (Err(refused), Then::Pass(PassedBody::Request { .. })) => {
                visit.state = State::Draining(refused);
                Ok(Effect::Drain)
            }
            (Err(refused), then) => self.go_on_with(visit, then, Called::failed(refused), now),
        }
    }

    pub(super) fn has_called(
        &mut self,
        visit: &mut Visit,
        (object, then): (&SpaceHash, Then),
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match called.result {
            Ok(_) => visit.usage.add_object(&called.timing),
            Err(ApiError::RateLimited { retry_after_s, of_space }) => {
                self.refusals.note((&visit.target().caller.user, object), retry_after_s, of_space, now);
            }
            Err(ApiError::UsedUp { .. }) => self.tell_used_up(now),
            Err(_) => {}
        }
        if let Some(position) = &called.position {
            self.note_written(visit, position.clone(), now);
        }
        self.go_on_with(visit, then, called, now)
    }

    fn go_on_with(
        &mut self,
        visit: &mut Visit,
        then: Then,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match then {
            Then::Pull(pulling) => self.pull_is_answered(visit, pulling, called, now),
            Then::Answer => {
                let body = called.result?;
                Ok(self.answer(visit, Ok(Reply::json(200, body)), now))
            }
            Then::Invite => self.invited(visit, called, now),
            #[cfg(feature = "dexie")]
            Then::Grant => self.granted(visit, called, now),
            #[cfg(feature = "dexie")]
            Then::ListRealms(at) => self.realms_are_listed(visit, at, called, now),
            #[cfg(feature = "dexie")]
            Then::Respond => self.responded(visit, called, now),
            #[cfg(feature = "dexie")]
            Then::AskGuest(aside) => self.guest_is_known(visit, aside, called, now),
            #[cfg(feature = "dexie")]
            Then::MakeRealm(creating) => self.make_realm(visit, creating, called, now),
            #[cfg(feature = "dexie")]
            Then::PushPart => self.part_is_pushed(visit, called, now),
            #[cfg(feature = "dexie")]
            Then::Upload => self.may_upload(visit, called, now),
            Then::Create(creating) => self.go_on_creating(visit, creating, called, now),
            Then::Errand(errand) => Ok(self.run_errand(visit, *errand, Event::Called(called), now)),
            Then::Pass(_) => Err(called.result.err().unwrap_or(ApiError::Internal)),
        }
    }

    /// `POST /sync/push` and `/sync/conflict`: the type is looked at, the body is passed on unread.
    pub(super) fn push(&mut self, visit: &mut Visit, call: Call, now: Millis) -> Result<Effect, ApiError> {
        if !is_json(&visit.request.content_type) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let coding = Coding::of(&visit.request.content_encoding)?;
        let expires = visit.target().caller.expires;
        let source = PassedBody::Request { coding, limit: limits::BODY_BYTES_MAX, expires };
        let call = visit.call(call);
        Ok(self.make_call(visit, call, Then::Pass(source), now))
    }

    /// `GET /sync/conflict`: only the coordinator knows what is parked.
    pub(super) fn conflicts(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let query = query_pairs(&visit.request.query)?;
        let cursor = query.iter().find(|(name, value)| name == "cursor" && !value.is_empty());
        let after = cursor.map(|(_, cursor)| conflict::parse_cursor(cursor)).transpose()?.unwrap_or_default();
        let call = visit.call(Call::Conflicts { after });
        Ok(self.make_call(visit, call, Then::Answer, now))
    }

    /// The answer is complete: copying its headers would cost more than verifying the token does.
    pub(super) fn has_passed(
        &mut self,
        visit: &mut Visit,
        passed: Result<Passed, (ApiError, bool)>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        visit.usage.object += u64::from(!matches!(passed, Err((_, false))));
        if let Err((ApiError::UsedUp { .. }, _)) = passed {
            self.tell_used_up(now);
        }
        let Passed { status, retry_after_s, position, aside, timing } = passed.map_err(|(error, _)| error)?;
        visit.usage.add_object(&timing);
        if status == 429 {
            let target = visit.target();
            let (place, of_space) = ((&target.caller.user, &target.hash), aside == Some(Aside::OfSpace));
            self.refusals.note(place, retry_after_s.unwrap_or(1), of_space, now);
        }
        if let Some(position) = position {
            self.note_written(visit, position, now);
        }
        if let Some(Aside::Rejected(why)) = aside {
            visit.rejected = Some(why);
        }
        self.take_up(visit, aside, now);
        let is_deletion = matches!(visit.route(), Route::Space { route: SpaceRoute::Delete, .. });
        if is_deletion && self.has_blobs && matches!(status, 200 | 204) {
            let (before, steps) = (now, limits::BLOB_DELETIONS_MAX);
            self.errands.push(visit.errand(Errand::DeleteBlobs { before, steps }));
        }
        let reply = Reply { status, headers: Headers::Named(String::new()), body: Body::Passed };
        Ok(self.answer(visit, Ok(reply), now))
    }

    /// The call leaves, and a space's object hears with it what was used at this edge. It is counted, but for calls of the
    /// budget, which counts those itself.
    pub(super) fn send(
        &mut self,
        visit: &mut Visit,
        mut call: Box<Outgoing>,
        then: Then,
        now: Millis,
    ) -> Effect {
        if !matches!(call.call, Call::Budget(_)) {
            self.count_object_request(visit, now);
        }
        if visit.target.as_ref().is_some_and(|target| call.object == target.hash) {
            let mut spent = of_edge(&visit.usage);
            spent.take_off(&visit.told);
            visit.told.add(&spent);
            spent.add(&self.spent.take(&call.object));
            call.caller.spent = spent;
        }
        if let Then::Pass(source) = then {
            visit.state = State::Passing;
            return Effect::Pass(call, source);
        }
        visit.usage.object += 1;
        visit.state = State::Calling(call.object.clone(), Box::new(then));
        Effect::Call(call)
    }

    /// Counts a request of an object.
    pub(super) fn count_object_request(&mut self, visit: &Visit, now: Millis) {
        let chance = visit.request.id.bytes().fold(now.0, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        if self.object_requests.count(chance) {
            self.errands.push(visit.errand(Errand::CountRequests));
        }
    }

    /// Notes where the space stands after a write whose answer is about to leave, and tells the location after it has left.
    pub(super) fn note_written(&mut self, visit: &Visit, position: Position, now: Millis) {
        let space = &visit.target().hash;
        if let Some(wait_ms) = self.writes.note(space, position, now) {
            self.errands.push(visit.errand(Errand::TellWritten { wait_ms }));
        }
    }
}

/// Why an object was not reached, by "overloaded" or what the platform says. Retrying an overloaded one makes it worse
/// (durable-objects/best-practices/error-handling), so the client is asked to wait.
#[must_use]
pub fn unreached(why: &str, now: Millis) -> ApiError {
    match why {
        "overloaded" => ApiError::Overloaded,
        words if is_used_up(words) => ApiError::used_up(now),
        _ => ApiError::Upstream,
    }
}
