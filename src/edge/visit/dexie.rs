//! `POST /dexie/sync` and `GET /dexie/changes`: what the client of Dexie Cloud calls, answered out of the same layers as any pull, or
//! by the same object.
//!
//! A sync with changes is a push and is passed on, unread where it is long. One without is a pull. A shared space is opened by a
//! grant that the edge asks for itself, because this client cannot bring one. Of a client that shares realms, `realms` asks several
//! spaces, each as a visit of its own (`part`), and `moving` brings records from one to another.

mod guests;
mod moving;
mod part;
mod realms;
mod relay;
mod several;

pub use self::relay::{Holder, Relaying};
use self::{part::PartOfSync, several::Several};
use super::{
    Effect, PassedBody, State, Visit,
    call::{Called, Then},
    live,
    pull::Pulling,
    stream::Objects,
};
use crate::{
    call::{Administration, Call},
    edge::isolate::Isolate,
    error::ApiError,
    fronts::{
        dexie::{
            LastPull, NextPull,
            answer::{self, END, NOTHING, further, muts},
            live::Peer,
            pull::SyncRequest,
            realm::Realm,
            route::DexieCall,
        },
        headwater::{
            answer::{Format, Load, PullAnswer, Source},
            body::Coding,
            pull::{Consistency, Cursor, PullRequest, query_pairs},
            reply::{Body, Headers, Reply},
            route::Route,
        },
    },
    ids::SpaceHash,
    json::{text_field, text_of_body},
    limits,
    time::Millis,
};

/// What KV says where an owner has shut this client out; the object says how to admit it again.
const SHUT: ApiError = ApiError::Forbidden("This space is shut to dexie-cloud-addon.");
const JSON_HEADERS: &str = "Content-Type\napplication/json\n";

/// A sync under way, or a file.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// Bytes of its body, if they are known.
    length: Option<u64>,
    /// Whether its client stands where nobody has ever been: then it gets everything anew.
    is_lost: bool,
    /// What a long body holds of the isolate until it is passed on.
    room: Option<u64>,
    /// What its client has; none if it has nothing of ours.
    last_pull: Option<LastPull>,
    /// What of its body requests of the edge's own repeat.
    envelope: String,
    /// What it does with several spaces, …
    several: Option<Box<Several>>,
    /// … each of which is a visit of its own.
    part: Option<PartOfSync>,
}

impl Isolate {
    pub(super) fn begin_sync(
        &mut self,
        visit: &mut Visit,
        length: &str,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        if visit.request.authorization.is_empty() {
            let reply = Reply::json(200, answer::anonymous(&SpaceHash::private("", "rlm-public")));
            return Ok(self.answer(visit, Ok(reply), now));
        }
        self.begin_with_body(visit, length, now)
    }

    /// Begins a call with a session whose body has so many bytes, as it says.
    pub(super) fn begin_with_body(
        &mut self,
        visit: &mut Visit,
        length: &str,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        visit.sync = Some(Box::new(Sync { length: length.parse().ok(), ..Sync::default() }));
        let session = visit.request.authorization.strip_prefix("Bearer ").unwrap_or_default();
        let caller = self.identify_session(session, visit.request.now)?;
        self.begin_as(visit, caller, now)
    }

    /// The token stands in the query, because this client opens its socket without headers of its own.
    pub(super) fn begin_changes(
        &mut self,
        visit: &mut Visit,
        header: &dyn Fn(&str) -> String,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        live::check_upgrade(visit, header)?;
        let query = query_pairs(&visit.request.query)?;
        let token = query.iter().find(|(name, _)| name == "token");
        let session = token.map_or("", |(_, token)| token.as_str());
        let caller = self.identify_session(session, visit.request.now)?;
        self.begin_as(visit, caller, now)
    }

    pub(super) fn serve_dexie(
        &mut self,
        visit: &mut Visit,
        call: DexieCall,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match call {
            DexieCall::Sync => self.sync(visit, now),
            DexieCall::Changes => self.listen_to_changes(visit, now),
            DexieCall::PutBlob(_) | DexieCall::GetBlob(_) => self.serve_blob(visit, call, now),
            DexieCall::Token | DexieCall::Missing => panic!("BUG: nobody has to call for this route"),
        }
    }

    /// What is longer than a pull can be is a push. It is read all the same where it may concern several spaces.
    fn sync(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        match visit.length() {
            Some(length) if length <= limits::DEXIE_PULL_BYTES_MAX as u64 => {
                super::begin::read_body(visit, limits::DEXIE_PULL_BYTES_MAX)
            }
            length if visit.target().id.is_none() => {
                let length = length.map_or(limits::DEXIE_BODY_BYTES_MAX, |length| length as usize);
                let (user, until) =
                    (visit.target().caller.user.clone(), now.plus(limits::CALL_TIMEOUT_MS.into()));
                let bytes = length.min(limits::DEXIE_BODY_BYTES_MAX);
                let Some(room) = self.streams.begin(&user, bytes, until, now) else {
                    visit.state = State::Draining(ApiError::Overloaded);
                    return Ok(Effect::Drain);
                };
                visit.sync = Some(Box::new(Sync { room: Some(room), ..Sync::default() }));
                super::begin::read_body(visit, limits::DEXIE_BODY_BYTES_MAX)
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
        let mut call = visit.call(Call::Dexie { is_part: false });
        call.body = body;
        Ok(self.make_call(visit, call, Then::Pass(source), now))
    }

    /// The body of a sync has come.
    pub(super) fn sync_received(
        &mut self,
        visit: &mut Visit,
        body: Vec<u8>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let room = visit.sync.as_mut().and_then(|sync| sync.room.take());
        let asked = self.read_sync(visit, body, room, now);
        // What goes to one space leaves at once.
        if let Some(room) = room.filter(|_| visit.sync.as_ref().is_none_or(|sync| sync.room.is_none())) {
            self.streams.end(room);
        }
        asked
    }

    fn read_sync(
        &mut self,
        visit: &mut Visit,
        body: Vec<u8>,
        room: Option<u64>,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let (is_long, body) = (body.len() > limits::DEXIE_PULL_BYTES_MAX, text_of_body(body)?);
        if is_long && !SyncRequest::may_concern_realms(&body) {
            return self.pass_sync(visit, (Some(body), PassedBody::Call), now);
        }
        let is_home = visit.target().id.is_none();
        match SyncRequest::read(&body, &visit.target().caller.person.sub)? {
            SyncRequest::Push { realms, last_pull, answers }
                if is_home
                    && (!realms.is_empty()
                        || last_pull.as_ref().is_some_and(|last| !last.invites.is_empty())) =>
            {
                let pushed = self.push_to_several(visit, &body, (&realms, last_pull, &answers), now);
                visit.sync.as_mut().expect("BUG: a push to several spaces is no sync").room = room;
                pushed
            }
            SyncRequest::Push { .. } => self.pass_sync(visit, (Some(body), PassedBody::Call), now),
            SyncRequest::Pull { last_pull, .. } => {
                let envelope = SyncRequest::envelope_of(&body);
                visit.sync = Some(Box::new(Sync { last_pull, envelope, ..Sync::default() }));
                if is_home { self.pull_of_home(visit, now) } else { self.with_grant(visit, now) }
            }
        }
    }

    /// Reads a space, for which a shared one has to be opened.
    pub(super) fn with_grant(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        if visit.target().scope.is_none() {
            let grant = self.grants.get(visit.target(), now);
            let target = visit.target.as_mut().expect("BUG: nobody knows who is calling");
            let is_open = grant.is_some_and(|grant| self.open(target, &grant, now).is_ok());
            if !is_open {
                let call = visit.call(Call::Administer(Administration::Grant { claim: None }));
                return Ok(self.make_call(visit, call, Then::Grant, now));
            }
        }
        self.read_space(visit, now)
    }

    fn read_space(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        if let Some(DexieCall::GetBlob(_)) = visit.dexie_call() {
            return Ok(Self::get_blob(visit));
        }
        let pulling = self.begin_dexie_pull(visit, None, now);
        self.pull_on(visit, Box::new(pulling), now)
    }

    pub(super) fn begin_dexie_pull(&mut self, visit: &Visit, cursor: Option<Cursor>, now: Millis) -> Pulling {
        let own = last_pull(visit).and_then(|last| last.position.as_ref());
        let own = own.filter(|_| !is_lost(visit) && !planted!(AnswerBelowLastPull));
        let request = PullRequest {
            epoch: own.map(|own| own.epoch.clone()),
            since: own.map(|own| own.version).unwrap_or_default(),
            min: None,
            consistency: Consistency::Session,
            cursor,
        };
        self.begin_pull(visit, request, Format::Ndjson, now)
    }

    /// The space does not know the position that the client claims, and does not believe it either. A client of ours would be told
    /// so; this one knows no such answer, and would ask the same for ever.
    pub(super) fn sync_anew(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let sync = visit.sync.as_mut().expect("BUG: a sync is lost that never began");
        sync.is_lost = true;
        self.read_space(visit, now)
    }

    /// The object has given a grant for the space, or not.
    pub(super) fn granted(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let part = visit.sync.as_ref().and_then(|sync| sync.part.as_ref());
        if matches!(called.result, Err(ApiError::Forbidden(_))) && part.is_some_and(|part| !part.is_members())
        {
            return Ok(self.ask_guest(visit, called.aside, now));
        }
        self.take_grant(visit, called, now)?;
        self.read_space(visit, now)
    }

    pub(super) fn take_grant(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<(), ApiError> {
        if visit.sync.as_ref().is_some_and(|sync| sync.part.is_some()) {
            self.take_up(visit, called.aside, now);
        }
        let grant = text_field(&called.result?, "grant").ok_or(ApiError::Upstream)?;
        let target = visit.target.as_mut().expect("BUG: nobody knows who is calling");
        self.open(target, &grant, now)?;
        self.grants.learn(visit.target(), grant, now);
        Ok(())
    }

    /// A pull is answered.
    pub(super) fn sync_answer(
        &mut self,
        visit: &mut Visit,
        pulling: Box<Pulling>,
        answer: PullAnswer,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        // What the object has answered it has let in, whatever an older head says.
        let is_asked = pulling.pull.source() == Source::Coordinator;
        if !is_asked && pulling.pull.known().head.as_ref().is_some_and(|head| head.metadata.d) {
            return Err(SHUT);
        }
        if visit.sync.as_ref().is_some_and(|sync| sync.part.is_some()) {
            return self.part_is_pulled(visit, pulling, answer, now);
        }
        let is_reset = match &answer {
            _ if is_lost(visit) => true,
            PullAnswer::Nothing { .. } => false,
            PullAnswer::Changes { reset, .. } | PullAnswer::Page { reset, .. } => *reset,
            PullAnswer::Load(load) => load.reset,
        };
        let (space, sub) = (&visit.target().hash, &visit.target().caller.person.sub);
        let standing = NextPull::of(last_pull(visit), answer.position(), is_reset);
        if visit.sync.as_ref().is_some_and(|sync| sync.several.is_some()) {
            return self.home_is_pulled(visit, pulling, (answer, standing), now);
        }
        let head = answer::head(&standing, sub, space.as_str(), "");
        let realm = Realm::own(sub);
        let whole = |lines: &str| head.clone() + &muts(lines, &realm) + END;
        let reply = |body| Reply { status: 200, headers: Headers::Named(JSON_HEADERS.to_owned()), body };
        let text = match answer {
            _ if !standing.sends_changes => whole(""),
            PullAnswer::Nothing { .. } => whole(""),
            PullAnswer::Changes { lines, .. } | PullAnswer::Page { lines, next: None, .. } => whole(&lines),
            PullAnswer::Page { position, lines, next, .. } => {
                let (text, sub) = (head + NOTHING + &further(&lines, &realm), Some(sub.clone()));
                self.begin_pages(visit, text, (position, next), sub, now)?;
                return Ok(self.pull_is_done(visit, &pulling, reply(Body::Written), now));
            }
            PullAnswer::Load(load) if load.parts.is_empty() => whole(&load.lines),
            PullAnswer::Load(load) => {
                let end = further(&load.lines, &realm) + END;
                return self.load(visit, pulling, &load, (head, end), now);
            }
        };
        Ok(self.pull_is_done(visit, &pulling, reply(Body::Text(text)), now))
    }

    /// An answer with published parts, between its head and its end.
    pub(super) fn load(
        &mut self,
        visit: &mut Visit,
        mut pulling: Box<Pulling>,
        load: &Load,
        (head, end): (String, String),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        pulling.pull.reads_objects();
        let sub = Some(visit.target().caller.person.sub.clone());
        let objects =
            Objects { start: head + NOTHING, between: vec![String::new(); load.parts.len()], end, sub };
        self.open_objects(visit, pulling, (&load.parts, objects), JSON_HEADERS.to_owned(), now)
    }

    /// `GET /dexie/changes`: the socket is the object's answer, or one of several that the Worker holds.
    fn listen_to_changes(&mut self, visit: &mut Visit, now: Millis) -> Result<Effect, ApiError> {
        let expires = visit.target().caller.expires;
        let peer = Peer::new(&visit.target().caller.person.sub).to_text();
        let listen = || Call::Listen { expires, tells_usage: false, peer: Some(peer.clone()) };
        let call = visit.call(listen());
        let source = match self.begin_relay(visit, listen, now)? {
            Some(relaying) => PassedBody::Relay(relaying),
            None => PassedBody::Upgrade,
        };
        Ok(self.make_call(visit, call, Then::Pass(source), now))
    }
}

impl Visit {
    /// The call that it is, of this front.
    pub(super) fn dexie_call(&self) -> Option<DexieCall> {
        match self.route {
            Some(Route::Dexie(ref route)) => Some(route.call),
            _ => None,
        }
    }

    /// Bytes of its body, if they are known.
    pub(super) fn length(&self) -> Option<u64> {
        self.sync.as_ref()?.length
    }
}

/// Whether it is known that nobody has ever been where the client stands.
pub(super) fn is_lost(visit: &Visit) -> bool {
    visit.sync.as_ref().is_some_and(|sync| sync.is_lost)
}

/// What whoever pulls has; none if it has nothing of ours.
pub(super) fn last_pull(visit: &Visit) -> Option<&LastPull> {
    let sync = visit.sync.as_ref()?;
    match &sync.part {
        Some(part) => part.last_pull.as_ref(),
        None => sync.last_pull.as_ref(),
    }
}
