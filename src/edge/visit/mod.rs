//! One request, from its first byte to its answer. Without I/O: Worker and simulator only carry out what it says.
//!
//! [`Isolate::begin`] begins a [`Visit`]. Whoever drives it carries out the effect that comes back and tells
//! [`Isolate::step`] how that has ended, until an effect ends the visit ([`Effect::is_end`]). A visit may be given up at any
//! moment: nothing is lost but its answer. [`Isolate::take_errands`] has what steps leave to be done: visits without a listener.
//!
//! A pull: `begin` (what, who and where?), then [`Pull`] says which layer to ask next, and `stream` writes long answers. Several
//! pulls of one request: `pulls` makes visits of them. A push: `begin`, then `call` passes it on. A socket: `live`. The routes below `/spaces`: `spaces`. Errands: `errand`.

mod answer;
mod begin;
#[cfg(feature = "dexie")]
mod blob;
mod call;
#[cfg(feature = "dexie")]
mod collect;
#[cfg(feature = "dexie")]
pub mod dexie;
mod errand;
mod live;
mod pull;
mod pulls;
mod read;
mod request;
mod spaces;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "dexie")]
mod token;

use std::rc::Rc;

pub use self::begin::parts_of_url;
pub use self::call::{Called, Outgoing, Passed, PassedBody, unreached};
pub use self::pulls::{Part, PartDone};
pub use self::request::Request;
#[cfg(feature = "dexie")]
use self::token::Granting;
use self::{call::Then, errand::Errand, pull::Pulling, read::ForHead, stream::Streaming};
use super::isolate::Isolate;
#[cfg(feature = "dexie")]
use crate::fronts::dexie::{
    route::{DexieCall, DexieRoute},
    token::refusal,
};
use crate::{
    access::{cors::Credentials, target::Target},
    call::Usage,
    edge::{
        blobs::{BlobEffect, BlobEvent},
        identity::{Asked, TokenEffect, TokenEvent},
        known::{Known, KnownHead, Overlay, Wanted},
    },
    error::ApiError,
    fronts::{
        credentials_of,
        headwater::{body::Coding, reply::Reply, route::Route},
    },
    ids::{SpaceHash, UserHash},
    mutation::RejectCode,
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};

/// A request under way, or an errand.
#[derive(Debug)]
pub struct Visit {
    request: Request,
    route: Option<Route>,
    /// Once it is known who is calling.
    target: Option<Target>,
    /// The grant that came with it, if it reads a space that may be shared.
    grant: String,
    /// The origin whose pages may read the answer.
    origin: Option<String>,
    usage: Usage,
    /// What of it objects were told.
    told: Usage,
    /// Why something of its push was rejected.
    rejected: Option<RejectCode>,
    /// What a sync of Dexie Cloud knows of itself.
    #[cfg(feature = "dexie")]
    sync: Option<Box<dexie::Sync>>,
    /// What writes the body of its answer, or waits until it is sent.
    writer: Option<Box<Self>>,
    state: State,
}

/// What a visit waits for.
#[derive(Debug, strum::AsRefStr)]
enum State {
    /// For an errand to begin.
    Errand(Box<Errand>),
    Identifying(Asked),
    /// For the platform's rate limiter; a pull may have begun.
    Limiting(Option<Box<Pulling>>),
    /// For a body that nobody wants; then the request is refused.
    Draining(ApiError),
    Receiving,
    /// For the platform, before there are tokens.
    #[cfg(feature = "dexie")]
    Granting(Box<Granting>),
    /// Before an object is called that has told the caller to come back later.
    HeldBack(Box<Outgoing>, Box<Then>),
    Calling(SpaceHash, Box<Then>),
    Passing,
    Pulling(Box<Pulling>),
    /// For the visits of several pulls.
    PullingSeveral,
    Streaming(Box<Streaming>),
    ReadingHead(ForHead),
    OpeningObject,
    /// For the bucket of files.
    #[cfg(feature = "dexie")]
    AskingForBlob,
    Over,
}

/// What has happened.
#[derive(Debug, strum::AsRefStr)]
pub enum Event {
    /// An errand begins.
    Begun,
    /// What was waited for is over.
    Resumed,
    /// What the platform has found out about the token.
    Token(TokenEvent),
    /// Whether the rate limiter lets the user pass; none if it has failed.
    MayPass(Option<bool>),
    /// The body has come.
    Body(Result<Vec<u8>, ApiError>),
    /// What the location's cache holds, and where the space stood after the last write that passed the location.
    Cached(Known, Option<Position>),
    /// The same note alone.
    CachedWrite(Option<Position>),
    /// The head, if there is one. An error if KV failed, or has one of another format, as while a deployment is under way.
    Head(Result<Option<KnownHead>, ()>),
    /// What an object has answered.
    Called(Called),
    /// What an object has answered to what was passed on, or why not and whether it was asked.
    Passed(Result<Passed, (ApiError, bool)>),
    /// Whether the (first) object is there. An error if KV failed.
    Opened(Result<bool, ()>),
    /// What the bucket of files has come to.
    Blob(BlobEvent),
    /// How several pulls have ended, in their order.
    Several(Vec<PartDone>),
    /// Whether somebody has read what was written.
    Sent(bool),
}

/// What a visit asks for.
#[derive(Debug)]
pub enum Effect {
    /// Find something out about the token: [`Event::Token`].
    Token(TokenEffect),
    /// Ask the rate limiter: [`Event::MayPass`].
    AskLimiter(UserHash),
    /// Read the body to its end and keep nothing, because a sender that is cut off while it writes does not see why:
    /// [`Event::Resumed`].
    Drain,
    /// Read the body: [`Event::Body`].
    ReadBody {
        /// Whose it is.
        user: UserHash,
        /// How it is coded.
        coding: Coding,
        /// How many bytes it has at most, unpacked.
        limit: usize,
    },
    /// Wait so long, in ms: [`Event::Resumed`].
    Pause(u64),
    /// Look into the location's cache: [`Event::Cached`], by [`Known::of_cache`].
    LookIntoCache {
        /// Where the entries of the space stand.
        base: String,
        /// Where it stands what was written last.
        writes: String,
        /// Under what the keys of the space stand.
        scope: Scope,
        /// Whether the body of the head is wanted.
        wanted: Wanted,
    },
    /// Look there only for what was written last: [`Event::CachedWrite`].
    ReadCachedWrite {
        /// Where.
        writes: String,
    },
    /// Keep a head in the location's cache: [`Event::Resumed`].
    CacheHead {
        /// As above.
        base: String,
        /// One without its body leaves the body there that is the same head's.
        head: Rc<KnownHead>,
        /// For how long.
        ttl_s: u32,
    },
    /// Keep an overlay there: [`Event::Resumed`].
    CacheOverlay {
        /// As above.
        base: String,
        /// The overlay.
        overlay: Rc<Overlay>,
        /// For how long.
        ttl_s: u32,
    },
    /// Keep there what was written last: [`Event::Resumed`].
    CacheWrite {
        /// As above.
        writes: String,
        /// Where the space stood.
        position: Position,
        /// For how long.
        ttl_s: u32,
    },
    /// Read a head from KV: [`Event::Head`], by [`KnownHead::of_kv`].
    ReadHead {
        /// Under what the keys of the space stand.
        scope: Scope,
        /// Whether its body is wanted.
        wanted: Wanted,
        /// How long KV's own cache may keep it.
        ttl_s: u32,
    },
    /// Open an object in KV as a stream: [`Event::Opened`].
    OpenObject {
        /// Where.
        key: String,
        /// How long KV's own cache may keep it; if it is not there, it is looked for once more, with the second of them.
        ttls_s: [u32; 2],
    },
    /// Open a stream of texts and objects in KV, whose bytes do not enter the module: [`Event::Opened`] of the first object. If
    /// a later one is not to be had, the stream ends there.
    StreamObjects {
        /// The first text.
        start: String,
        /// Where the objects are, each with the text behind it.
        objects: Vec<(String, String)>,
        /// The last text.
        end: String,
        /// Whose records they are, where they are sent as operations of Dexie Cloud.
        sub: Option<String>,
        /// After how long the stream ends, wherever it has got to.
        lasts_ms: u32,
        /// As above, of each object.
        ttls_s: [u32; 2],
    },
    /// Ask the bucket of files: [`Event::Blob`].
    Blob(BlobEffect),
    /// Bring each of these visits to its end, side by side: [`Event::Several`].
    Several(Vec<Part>),
    /// Call an object: [`Event::Called`].
    Call(Box<Outgoing>),
    /// Call an object and pass its answer on: [`Event::Passed`].
    Pass(Box<Outgoing>, PassedBody),
    /// Wait until the stream that was opened has ended: [`Event::Resumed`].
    AwaitStream,
    /// Write a piece of the answer: [`Event::Sent`], also if nobody reads it for [`crate::limits::STREAM_IDLE_MS`].
    Write(String),
    /// The answer is complete: [`Event::Resumed`].
    Close,
    /// The request is answered: [`Visit::reply`].
    Answer(Box<Result<Reply, ApiError>>),
    /// The errand is done.
    Rest,
}

impl Effect {
    /// Whether the visit is over.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Rest)
    }
}

impl Visit {
    /// The id of the request.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request.id
    }

    /// The origin whose pages may read the answer.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Whether those pages send credentials along.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        credentials_of(&self.request.path)
    }

    /// What it has cost.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The object of the space that it was for, if there is one; the name of its route, and after how many ms it is answered.
    #[must_use]
    pub fn ended(&self, now: Millis) -> (&str, &'static str, u64) {
        let space = self.target.as_ref().map_or("", |target| target.hash.as_str());
        (space, self.route.as_ref().map_or("none", Route::name), now.since(self.request.now))
    }

    /// The errand that writes the body of its answer, or waits until that is sent.
    pub fn take_writer(&mut self) -> Option<Self> {
        self.writer.take().map(|writer| *writer)
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.method == "HEAD"
    }

    /// The answer as HTTP has it.
    #[must_use]
    pub fn reply(&self, answer: Result<Reply, ApiError>) -> Reply {
        answer.unwrap_or_else(|error| match &self.route {
            #[cfg(feature = "dexie")]
            Some(Route::Dexie(DexieRoute { call: DexieCall::Token, .. })) => refusal(&error, self.id()),
            _ => Reply::problem(&error, self.id(), &self.request.authorization),
        })
    }

    /// The answer that the request may be repeated, should the module break off before there is another.
    #[must_use]
    pub fn reply_to_repeat(&self) -> Reply {
        Reply::problem(&ApiError::Upstream, self.id(), "")
    }

    /// The space that it is about, and who is calling.
    ///
    /// # Panics
    /// While nobody knows who is calling.
    #[must_use]
    pub fn target(&self) -> &Target {
        self.target.as_ref().expect("BUG: nobody knows who is calling")
    }

    fn route(&self) -> &Route {
        self.route.as_ref().expect("BUG: an errand has no route")
    }

    /// Whether it is one of several pulls of a request. Only a request has a path.
    fn is_part(&self) -> bool {
        self.route.is_some() && self.request.path.is_empty()
    }
}

impl Isolate {
    /// What a visit does about what has happened.
    pub fn step(&mut self, visit: &mut Visit, event: Event, now: Millis) -> Effect {
        let done = self.go_on(visit, event, now);
        done.unwrap_or_else(|error| self.answer(visit, Err(error), now))
    }

    fn go_on(&mut self, visit: &mut Visit, event: Event, now: Millis) -> Result<Effect, ApiError> {
        match (std::mem::replace(&mut visit.state, State::Over), event) {
            (State::Errand(errand), event) => Ok(self.run_errand(visit, *errand, event, now)),
            (State::Identifying(asked), Event::Token(event)) => {
                let identity = self.token_learns(asked, event, (visit.request.now, now))?;
                self.identified(visit, identity, now)
            }
            #[cfg(feature = "dexie")]
            (State::Granting(granting), Event::Token(event)) => {
                self.granting_learns(visit, *granting, event, now)
            }
            (State::Limiting(pulling), Event::MayPass(may_pass)) => {
                self.limited(visit, pulling, may_pass, now)
            }
            (State::Draining(error), Event::Resumed) => Err(error),
            (State::Receiving, Event::Body(body)) => self.received(visit, body, now),
            (State::HeldBack(call, then), Event::Resumed) => self.held_back(visit, call, *then, now),
            (State::Calling(object, then), Event::Called(called)) => {
                self.has_called(visit, (&object, *then), called, now)
            }
            (State::Passing, Event::Passed(passed)) => self.has_passed(visit, passed, now),
            (State::Pulling(pulling), event) => self.pull_learns(visit, pulling, event, now),
            (State::PullingSeveral, Event::Several(done)) => self.pulls_are_done(visit, done, now),
            (State::Streaming(streaming), Event::Opened(opened)) => {
                self.stream_opened(visit, *streaming, opened, now)
            }
            (State::ReadingHead(why), Event::Head(head)) => {
                let head = head.map_err(|()| ApiError::Upstream)?.map(Rc::new);
                self.head_is_known(visit, why, head.as_deref(), now)
            }
            (State::OpeningObject, Event::Opened(opened)) => self.object_opened(visit, opened, now),
            #[cfg(feature = "dexie")]
            (State::AskingForBlob, Event::Blob(event)) => self.blob_learns(visit, event, now),
            // The last that an errand had to do is done.
            (State::Over, Event::Resumed | Event::Blob(_)) => Ok(Effect::Rest),
            (state, event) => panic!("BUG: {} does not follow {}", event.as_ref(), state.as_ref()),
        }
    }
}
