//! Who listens to the space, and what they are told. Without I/O, and without a clock of its own: nothing here keeps an idle object
//! awake, and what is kept of a socket is rebuilt from what the platform keeps with it ([`Listener::to_text`]).
//!
//! Whoever drives the object tells [`Live::remain`] first which sockets are there. Inputs: [`Live::join`], [`Live::renew`],
//! [`Live::left`], [`Live::close_user`], [`Live::close_all`], and [`Live::look`] after each step. Output, to be polled after each
//! of them: [`Live::take`].

use std::collections::BTreeMap;

use super::{Coordinator, ledger::Ledger};
use crate::{
    call::{
        Caller, Destination, Usage,
        live::{Closing, News},
    },
    ids::{SpaceId, UserHash},
    json::{Texts, Written},
    limits,
    role::Role,
    snapshot::keys::Scope,
    time::Millis,
    version::{Position, Version},
};

/// Whoever listens over one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Who.
    pub user: UserHash,
    /// The space, as its calls name it.
    pub destination: Destination,
    /// Until when the token is good.
    pub expires: Millis,
    /// The role; owner of a private space.
    pub role: Role,
    /// Whether answers say what they have used.
    pub tells_usage: bool,
    /// What a front keeps with the socket that is not our own.
    pub peer: Option<String>,
}

impl Listener {
    /// What the platform keeps with the socket while the object sleeps.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (scope, space) = match &self.destination {
            Destination::Private(scope) => (Some(scope), None),
            Destination::Shared { id, scope } => (scope.as_ref(), Some(id)),
            Destination::Directory | Destination::Budget => (None, None),
        };
        Written::default()
            .and("user", self.user.as_str())
            .and("expires", &self.expires.0.to_string())
            .and("role", self.role.as_str())
            .and_some("scope", scope.map(Scope::to_string))
            .and_some("space", space.map(SpaceId::to_string))
            .and_some("usage", self.tells_usage.then(|| "yes".to_owned()))
            .and_some("peer", self.peer.clone())
            .end()
    }

    /// Out of [`Self::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let scope = Scope::parse(texts.get("scope")?)?;
        let destination = match texts.get("space") {
            Some(id) => Destination::Shared { id: SpaceId::parse(id).ok()?, scope: Some(scope) },
            None => Destination::Private(scope),
        };
        let user = UserHash::parse(texts.get("user")?).ok()?;
        let (expires, role) = (texts.get("expires")?.parse().ok()?, Role::parse(texts.get("role")?)?);
        let tells_usage = texts.get("usage") == Some("yes");
        let peer = texts.get("peer").map(str::to_owned);
        Some(Self { user, destination, expires: Millis(expires), role, tells_usage, peer })
    }

    /// Whoever sends a message over the socket, as a caller.
    #[must_use]
    pub fn as_caller(&self) -> Caller {
        let (user, destination) = (self.user.clone(), self.destination.clone());
        let (request, origin, sub, iss) = (String::new(), String::new(), String::new(), String::new());
        Caller { user, destination, request, origin, sub, iss, spent: Usage::default() }
    }
}

/// What is to be done with sockets. They go by numbers, of which an object uses none twice while it has sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// Tell these.
    Tell(Vec<u32>, News),
    /// Close these, over which our own front speaks.
    Close(Vec<u32>, Closing),
    /// Close these, over which another one does.
    CloseForeign(Vec<u32>, Closing),
    /// Keep this text with that socket.
    Note(u32, String),
    /// Answer pings with this position once all that was written is durable. Nobody may hear before that what can still be lost.
    AnswerPings(Position),
    /// Run a [`super::object::Task::news`]: more has to be told, but not yet.
    Coalesce,
}

/// The listeners of a space.
#[derive(Debug, Default)]
pub struct Live {
    listeners: BTreeMap<u32, Listener>,
    of_user: BTreeMap<UserHash, usize>,
    /// Bytes that sockets were told since their clients were heard last. None after the object has slept.
    unread: BTreeMap<u32, usize>,
    /// The number of the next one.
    next: u32,
    /// Up to where all of them were told, by a greeting or by news.
    told: Option<Position>,
    told_at: Millis,
    /// Whether a task waits until more may be told.
    is_waiting: bool,
    out: Vec<Outlet>,
}

impl Live {
    /// Whoever listens.
    #[must_use]
    pub fn users(&self) -> Vec<UserHash> {
        self.of_user.keys().cloned().collect()
    }

    /// Sockets that are there when an instance begins, each with the text that was kept with it. One whose text cannot be read is
    /// closed, and its client comes back.
    pub fn remain<'a>(&mut self, sockets: impl Iterator<Item = (u32, &'a str)>) {
        for (socket, text) in sockets {
            self.next = self.next.max(socket + 1);
            match Listener::parse(text).filter(|_| !planted!(SleepersForgotten)) {
                Some(listener) => self.add(socket, listener),
                None => self.out.push(Outlet::Close(vec![socket], Closing::Restart)),
            }
        }
    }

    /// The space was opened, and stands at `position`. Whoever listens was told of that before the object fell asleep.
    pub(super) fn opened(&mut self, position: Position) {
        self.told = Some(position);
    }

    /// How many listen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Whether nobody does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Within how many ms their clients come back, should all of them lose their sockets at once.
    #[must_use]
    pub fn reconnect_within_ms(&self) -> u64 {
        let spread = self.len() as u64 * limits::RECONNECT_MS_PER_SOCKET;
        spread.clamp(limits::RECONNECT_MS_MIN, limits::RECONNECT_MS_MAX)
    }

    /// Who listens over a socket.
    #[must_use]
    pub fn listener(&self, socket: u32) -> Option<&Listener> {
        self.listeners.get(&socket)
    }

    /// What a front keeps with a socket that is not our own.
    #[must_use]
    pub fn peer(&self, socket: u32) -> Option<&str> {
        self.listeners.get(&socket)?.peer.as_deref()
    }

    /// Up to where whoever listens was told; none while the space was not opened.
    #[must_use]
    pub fn told(&self) -> Option<&Position> {
        self.told.as_ref()
    }

    /// Whoever listens has a socket more, which gets a number; `here` is where the space stands.
    ///
    /// # Errors
    /// [`Closing::Expired`], [`Closing::Full`].
    pub(super) fn join(&mut self, listener: Listener, here: &Position, now: Millis) -> Result<u32, Closing> {
        if listener.expires <= now {
            return Err(Closing::Expired);
        }
        self.close_ended(now);
        let of_user = self.of_user.get(&listener.user).copied().unwrap_or(0);
        if self.len() >= limits::SOCKETS_MAX || of_user >= limits::SOCKETS_OF_USER_MAX {
            return Err(Closing::Full);
        }
        if self.is_empty() {
            self.told = Some(here.clone());
        }
        let socket = self.next;
        self.next += 1;
        self.add(socket, listener);
        self.out.push(Outlet::AnswerPings(here.clone()));
        Ok(socket)
    }

    /// A new token has come over a socket. Says in how many ms it ends.
    pub fn renew(&mut self, socket: u32, expires: Millis, now: Millis) -> u64 {
        if let Some(listener) = self.listeners.get_mut(&socket) {
            listener.expires = expires;
            self.out.push(Outlet::Note(socket, listener.to_text()));
        }
        expires.since(now)
    }

    /// A front keeps something else with its socket from now on.
    pub fn keep(&mut self, socket: u32, peer: String) {
        if let Some(listener) = self.listeners.get_mut(&socket).filter(|it| it.peer.as_ref() != Some(&peer)) {
            listener.peer = Some(peer);
            self.out.push(Outlet::Note(socket, listener.to_text()));
        }
    }

    /// A socket has ended.
    pub fn left(&mut self, socket: u32) {
        let Some(Listener { user, .. }) = self.listeners.remove(&socket) else { return };
        self.unread.remove(&socket);
        if let Some(count) = self.of_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }

    /// A message has come over a socket: who has sent it, and whether their token is still good.
    ///
    /// # Errors
    /// Why the socket has to be closed, which [`Self::take`] says too.
    pub fn hear(&mut self, socket: u32, now: Millis) -> Result<&Listener, Closing> {
        self.unread.remove(&socket);
        let why = match self.listeners.get(&socket) {
            Some(listener) if listener.expires > now || planted!(EndedTokenHears) => {
                return Ok(&self.listeners[&socket]);
            }
            Some(_) => Closing::Expired,
            None => Closing::Restart,
        };
        self.close(vec![socket], why.clone());
        Err(why)
    }

    /// A user has another role.
    pub(super) fn set_role(&mut self, user: &UserHash, role: Role) {
        if !self.of_user.contains_key(user) {
            return;
        }
        for (socket, listener) in &mut self.listeners {
            if listener.user == *user && listener.role != role {
                listener.role = role;
                self.out.push(Outlet::Note(*socket, listener.to_text()));
            }
        }
    }

    /// A user may not listen any more.
    pub(super) fn close_user(&mut self, user: &UserHash, why: &Closing) {
        if self.of_user.contains_key(user) && !planted!(RemovedStillHears) {
            let of_user = self.listeners.iter().filter(|(_, listener)| listener.user == *user);
            self.close(of_user.map(|(socket, _)| *socket).collect(), why.clone());
        }
    }

    /// Nobody may.
    pub(super) fn close_all(&mut self, why: &Closing) {
        self.close(self.listeners.keys().copied().collect(), why.clone());
    }

    /// Nobody may over sockets of other fronts.
    pub(super) fn close_foreign(&mut self, why: &Closing) {
        let foreign = self.listeners.iter().filter(|(_, listener)| listener.peer.is_some());
        self.close(foreign.map(|(socket, _)| *socket).collect(), why.clone());
    }

    /// Closes sockets.
    pub fn close(&mut self, sockets: Vec<u32>, why: Closing) {
        let is_foreign = |socket: &u32| self.peer(*socket).is_some();
        let (foreign, ours): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_foreign);
        for socket in foreign.iter().chain(&ours) {
            self.left(*socket);
        }
        if !foreign.is_empty() {
            self.out.push(Outlet::CloseForeign(foreign, why.clone()));
        }
        if !ours.is_empty() {
            self.out.push(Outlet::Close(ours, why));
        }
    }

    /// What is to be done with sockets since the last look.
    pub fn take(&mut self) -> Vec<Outlet> {
        std::mem::take(&mut self.out)
    }

    /// In how many ms a task that waits may tell more.
    pub(super) fn waits_ms(&self, now: Millis) -> u64 {
        limits::NEWS_EVERY_MS.saturating_sub(now.since(self.told_at))
    }

    /// It has waited.
    pub(super) fn has_waited(&mut self) {
        self.is_waiting = false;
    }

    /// Tells of what has been committed: the first time at once, then what has gathered meanwhile.
    pub(super) fn look<L: Ledger>(&mut self, space: &mut Coordinator<L>, now: Millis) {
        if self.is_empty() {
            return;
        }
        let here = space.position();
        if self.told.as_ref() == Some(&here) {
            return;
        }
        // A clock that goes back must not keep anybody waiting for as long.
        let is_soon = now >= self.told_at && self.waits_ms(now) > 0;
        if is_soon {
            if !self.is_waiting {
                self.is_waiting = true;
                self.out.push(Outlet::Coalesce);
            }
            return;
        }
        self.close_ended(now);
        let told = self.told.replace(here.clone());
        self.told_at = now;
        let news = self.news(space, told.as_ref(), here.clone());
        if self.is_empty() {
            return;
        }
        self.out.push(Outlet::AnswerPings(here.clone()));
        let (hearing, lagging) = self.told_of(&news);
        for (sockets, news) in [(hearing, news), (lagging, News::Version(here))] {
            if !sockets.is_empty() && !planted!(NewsSkipped) {
                self.out.push(Outlet::Tell(sockets, news));
            }
        }
    }

    /// Who is told the whole of it, and who only that there is something, because nothing was heard of them for so much news. Where
    /// not even that has brought a word, the client is gone or does not read.
    fn told_of(&mut self, news: &News) -> (Vec<u32>, Vec<u32>) {
        let (mut hearing, mut lagging, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let bytes = news.bytes();
        for socket in self.listeners.keys() {
            let unread = self.unread.entry(*socket).or_default();
            let is_whole = *unread + bytes <= limits::NEWS_UNREAD_MAX;
            *unread += if is_whole { bytes } else { News::BYTES };
            match () {
                () if is_whole => hearing.push(*socket),
                () if *unread <= limits::NEWS_UNREAD_END => lagging.push(*socket),
                () => lost.push(*socket),
            }
        }
        self.close(lost, Closing::Restart);
        (hearing, lagging)
    }

    /// Those whose tokens have ended hear nothing more, and take no place from others.
    fn close_ended(&mut self, now: Millis) {
        let ended = self.listeners.iter().filter(|(_, listener)| listener.expires <= now);
        let ended = ended.filter(|_| !planted!(EndedTokenHears)).map(|(socket, _)| *socket).collect();
        self.close(ended, Closing::Expired);
    }

    /// What is newer than `told`, if that is little for each and not too much for all.
    fn news<L: Ledger>(&self, space: &mut Coordinator<L>, told: Option<&Position>, at: Position) -> News {
        let Some(from) = told.filter(|told| told.epoch == at.epoch).map(|told| told.version) else {
            return News::Version(at);
        };
        // What storage does not say now, whoever pulls hears.
        let lines = space.changes_since(from).ok().flatten();
        let from = if planted!(NewsFromTooLow) { Version::ZERO } else { from };
        match lines.filter(|lines| lines.len() * self.len() <= limits::NEWS_BYTES_MAX) {
            Some(_) if planted!(NewsWithoutLines) => News::Changes { from, at, lines: String::new() },
            Some(lines) => News::Changes { from, at, lines },
            None => News::Version(at),
        }
    }

    fn add(&mut self, socket: u32, listener: Listener) {
        *self.of_user.entry(listener.user.clone()).or_default() += 1;
        self.listeners.insert(socket, listener);
    }
}
