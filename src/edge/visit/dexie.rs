//! `POST /dexie/sync` and `GET /dexie/changes`: what the client of Dexie Cloud calls, answered out of the same layers as any pull, or
//! by the same object.
//!
//! A sync with changes is a push and is passed on, unread where it is long. One without is a pull. A shared space is opened by a
//! grant that the edge asks for itself, because this client cannot bring one.

use super::{
    Effect, PassedBody, State, Visit,
    call::{Called, Then},
    pull::Pulling,
    stream::Objects,
};
use crate::{
    call::{Administration, Call},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{
            answer::{Answered, END, Owner},
            live::Peer,
            pull::Asked,
        },
        headwater::{
            answer::{Format, PullAnswer},
            body::Coding,
            pull::{Consistency, PullRequest},
            reply::{Body, Headers, Reply},
        },
    },
    json::{text_field, text_of_body},
    limits,
    time::Millis,
};

const JSON_HEADERS: &str = "Content-Type\napplication/json\n";

/// A sync under way.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// Bytes of its body, if they are known.
    length: Option<usize>,
    /// What it pulls, once it has been read.
    asked: Option<Asked>,
}

impl Sync {
    /// A request whose body has so many bytes.
    pub(super) fn of_length(length: &str) -> Self {
        Self { length: length.parse().ok(), asked: None }
    }
}

impl Isolate {
    /// What is longer than a pull can be is a push.
    pub(super) fn sync(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let length = visit.sync.as_ref().and_then(|sync| sync.length);
        match length {
            Some(length) if length <= limits::DEXIE_PULL_BYTES_MAX => {
                super::begin::read_body(visit, limits::DEXIE_PULL_BYTES_MAX)
            }
            _ => {
                let coding = Coding::of(&visit.request.content_encoding)?;
                let expires = visit.target().caller.expires;
                let limit = limits::DEXIE_BODY_BYTES_MAX;
                self.pass_sync(visit, (None, PassedBody::Request { coding, limit, expires }), now)
            }
        }
    }

    fn pass_sync(
        &mut self,
        visit: &mut Visit,
        (body, source): (Option<String>, PassedBody),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let mut call = visit.call(Call::Dexie);
        visit.target().caller.person.sub.clone_into(&mut call.caller.sub);
        call.body = body;
        Ok(self.make_call(visit, call, Then::Pass(source), now))
    }

    /// The body of a short sync has come.
    pub(super) fn sync_received(
        &mut self,
        visit: &mut Visit,
        body: Vec<u8>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let body = text_of_body(body)?;
        let asked = Asked::read(&body)?;
        if asked.has_changes {
            return self.pass_sync(visit, (Some(body), PassedBody::Call), now);
        }
        visit.sync = Some(Box::new(Sync { length: None, asked: Some(asked) }));
        self.sync_pull(visit, now)
    }

    fn sync_pull(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        if visit.target().scope.is_none() {
            let grant = self.grants.get(visit.target(), now);
            let target = visit.target.as_mut().expect("BUG: nobody knows who is calling");
            let is_open = grant.is_some_and(|grant| self.open(target, &grant, now).is_ok());
            if !is_open {
                let call = visit.call(Call::Administer(Administration::Grant { claim: None }));
                return Ok(self.make_call(visit, call, Then::Grant, now));
            }
        }
        let own = asked(visit).position();
        let request = PullRequest {
            epoch: own.as_ref().map(|own| own.epoch.clone()),
            since: own.map(|own| own.version).unwrap_or_default(),
            min: None,
            consistency: Consistency::Session,
            cursor: None,
        };
        let pulling = self.begin_pull(visit, request, Format::Ndjson, now);
        self.pull_on(visit, Box::new(pulling), now)
    }

    /// The object has given a grant for the space, or not.
    pub(super) fn sync_granted(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let grant = text_field(&called.result?, "grant").ok_or(ApiError::Upstream)?;
        let target = visit.target.as_mut().expect("BUG: nobody knows who is calling");
        self.open(target, &grant, now)?;
        self.grants.learn(visit.target(), grant, now);
        self.sync_pull(visit, now)
    }

    /// A pull is answered.
    pub(super) fn sync_answer(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        answer: PullAnswer,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let target = visit.target();
        let owner = Owner::of(&target.caller.person.sub);
        let is_reset = match &answer {
            PullAnswer::Nothing { .. } => false,
            PullAnswer::Changes { reset, .. } | PullAnswer::Page { reset, .. } => *reset,
            PullAnswer::Load(load) => load.reset,
        };
        let answered = Answered::of(asked(visit), &owner, answer.position(), is_reset);
        let head = answered.head(&target.hash);
        let reply = |body| Reply { status: 200, headers: Headers::Named(JSON_HEADERS.to_owned()), body };
        let whole = |lines: &str| head.clone() + &answered.muts(lines, &owner) + END;
        let text = match &answer {
            _ if !answered.brings_changes() => whole(""),
            PullAnswer::Nothing { .. } => whole(""),
            PullAnswer::Changes { lines, .. } | PullAnswer::Page { lines, next: None, .. } => whole(lines),
            PullAnswer::Page { position, lines, next, .. } => {
                let (position, next) = (position.clone(), next.clone());
                let text = head.clone() + &answered.muts(lines, &owner);
                self.begin_pages(visit, text, (position, next), Some(owner.fields()), now)?;
                return Ok(self.pull_is_done(visit, &pulling, reply(Body::Written), now));
            }
            PullAnswer::Load(load) if load.parts.is_empty() => whole(&load.lines),
            PullAnswer::Load(load) => {
                pulling.pull.reads_objects();
                let objects = Objects {
                    start: head,
                    between: vec![String::new(); load.parts.len()],
                    end: answered.muts(&load.lines, &owner) + END,
                    owned: Some(owner.fields()),
                };
                let headers = JSON_HEADERS.to_owned();
                return self.open_objects(visit, pulling, (&load.parts, objects), headers, now);
            }
        };
        Ok(self.pull_is_done(visit, &pulling, reply(Body::Text(text)), now))
    }

    /// `GET /dexie/changes`: the socket is the object's answer.
    pub(super) fn listen_to_changes(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let expires = visit.target().caller.expires;
        let peer = Peer::new(&visit.target().caller.person.sub).to_text();
        let call = visit.call(Call::Listen { expires, tells_usage: false, peer: Some(peer) });
        Ok(self.make_call(visit, call, Then::Pass(PassedBody::Upgrade), now))
    }
}

fn asked(visit: &Visit) -> &Asked {
    let asked = visit.sync.as_ref().and_then(|sync| sync.asked.as_ref());
    asked.expect("BUG: a sync pulls that was not read")
}
