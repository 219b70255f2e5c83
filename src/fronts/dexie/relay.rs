//! `GET /dexie/changes` for a client that has several spaces. It has one socket, which the Worker holds together with one to the object
//! of each space: this says what goes from one to the others.
//!
//! Its own space tells it what has been written. What a realm tells goes no further: the client would put it into the wrong realm. So it is
//! told that there is something, and pulls. Each object believes that its client has this one space.

#[cfg(test)]
mod tests;

use std::{iter, mem};

use super::{
    live::{REALMS_CHANGED, TOKEN_EXPIRED, hash_of_realms},
    realm::space_of,
    revision::Revision,
};
use crate::{
    ids::SpaceId,
    json::{Texts, json_text, members},
    limits,
    version::Position,
};

/// The number of the client's own space. Those of its realms follow.
pub const HOME: usize = 0;
/// What the addon's ping is answered.
const PONG: &str = r#"{"type":"pong"}"#;
/// What changes have in them that delete. The record may have moved into a realm whose client has it already: only a pull, which asks all
/// spaces, does not take it away again.
const DELETES: &str = r#""type":"delete""#;
/// The code of the end where something of ours has failed (RFC 6455, 7.4.1), …
pub const FAILED: u16 = 1011;
/// … and others: of an orderly one, of rights that were lost, for a client that is to come back at once, and for one
/// that is not (IANA's registry of WebSocket close codes).
const NORMAL: u16 = 1000;
const LOST: u16 = 1008;
const RESTART: u16 = 1012;
const FULL: u16 = 1013;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relayed {
    /// Tell the client.
    Tell(String),
    /// Say this to the object of a space.
    Say(usize, String),
    /// A space stands here.
    Stands(usize, Position),
    /// Close the client's socket with this code, and all the others.
    Close(u16),
}

/// Such a client's sockets. Events: [`Self::client_says`], [`Self::client_left`], [`Self::space_says`], [`Self::space_refused`] and
/// [`Self::space_closed`]. Output, to be polled after each of them: [`Self::take`].
#[derive(Debug, Clone)]
pub struct Relay {
    sub: String,
    spaces: Vec<Space>,
    /// Realms that are not live, for good: the client hears of them with its syncs. Whether it has to pull because it is in one that is
    /// lost.
    left_out: Vec<(String, bool)>,
    /// Where the client is, if it waits for news: it hears of them once after each time that it says so.
    ready: Option<Ready>,
    /// Whether it has to pull because a space does not say what it has.
    is_due: bool,
    /// The hash of its realms for which it was sent to pull last: that helps once, or never.
    sent_for: Option<String>,
    is_over: bool,
    out: Vec<Relayed>,
}

/// Where a client says that it is.
#[derive(Debug, Clone)]
struct Ready {
    /// As it has said it.
    rev: String,
    revision: Revision,
    hash: String,
}

/// A space of the client's.
#[derive(Debug, Clone, Default)]
struct Space {
    /// None of its own space.
    realm: Option<String>,
    is_open: bool,
    /// Where its object was told last that the client is.
    said: Option<Position>,
    /// Whether the object waits for something newer than that.
    waits: bool,
    /// Where it stands, by what its object has told and the client has not been told itself.
    at: Option<Position>,
    /// Whether the client has to be told of that, and how often it was.
    is_due: bool,
    told: u8,
    /// Where the client was when it was told to pull from an object that does not say where it stands.
    unsure: Option<Position>,
}

impl Relay {
    /// The sockets of a user who is at a revision, none of which is open yet.
    #[must_use]
    pub fn new(sub: &str, revision: &Revision) -> Self {
        let mut relay = Self {
            sub: sub.to_owned(),
            spaces: vec![Space { is_open: true, ..Space::default() }],
            left_out: Vec::new(),
            ready: None,
            is_due: false,
            sent_for: None,
            is_over: false,
            out: Vec::new(),
        };
        for realm in revision.realms.keys() {
            if relay.spaces.len() <= limits::DEXIE_REALMS_MAX && space_of(realm).is_some() {
                relay.spaces.push(Space { realm: Some(realm.clone()), is_open: true, ..Space::default() });
            } else {
                relay.left_out.push((realm.clone(), false));
            }
        }
        relay
    }

    /// The spaces of its realms, by their numbers.
    pub fn realms(&self) -> impl Iterator<Item = (usize, SpaceId)> {
        let space = |space: &Space| space.realm.as_deref().and_then(space_of);
        self.spaces.iter().enumerate().filter_map(move |(number, one)| Some((number, space(one)?)))
    }

    /// What is to be done since the last look.
    pub fn take(&mut self) -> Vec<Relayed> {
        mem::take(&mut self.out)
    }

    /// The client has sent a text.
    pub fn client_says(&mut self, text: &str) {
        let texts = Texts::parse(text).filter(|_| !self.is_over && text.len() <= limits::DEXIE_READY_MAX);
        let Some(texts) = texts else { return };
        match texts.get("type") {
            Some("ping") => self.client_pings(),
            Some("ready") => {
                let text = |name| texts.get(name).unwrap_or_default();
                self.client_is_ready(text("rev"), text("realmSetHash"));
            }
            _ => {}
        }
    }

    /// The client has closed its socket, or lost it.
    pub fn client_left(&mut self) {
        self.close(NORMAL);
    }

    /// The object of a space has sent a text.
    pub fn space_says(&mut self, number: usize, text: &str) {
        let texts = Texts::parse(text).filter(|_| !self.is_over && self.spaces[number].is_open);
        let Some(texts) = texts else { return };
        let at = texts.get("newRev").and_then(Position::parse);
        match (texts.get("type"), at) {
            (Some("changes"), Some(at)) if number == HOME => {
                let base = texts.get("baseRev").and_then(Position::parse);
                self.home_has_changes(base, at, text);
            }
            (Some("changes" | "realms-changed"), at) => self.space_has_news(number, at),
            (Some("token-expired"), _) => {
                self.out.push(Relayed::Tell(TOKEN_EXPIRED.to_owned()));
                self.close(NORMAL);
            }
            _ => {}
        }
    }

    /// The object of a realm has given no socket, but this status, if any.
    pub fn space_refused(&mut self, number: usize, status: Option<u16>) {
        self.leave_out(number, matches!(status, Some(403 | 404 | 410)));
    }

    /// The socket to a space is closed, by its object or by the network.
    pub fn space_closed(&mut self, number: usize, code: u16) {
        match code {
            _ if !self.spaces[number].is_open => {}
            LOST | FULL if number == HOME => self.close(code),
            LOST if number != HOME => self.leave_out(number, true),
            // Whoever came back at once would find it as full.
            FULL if number != HOME => self.leave_out(number, false),
            _ => self.close(RESTART),
        }
    }

    fn client_is_ready(&mut self, rev: &str, hash: &str) {
        let is_held = |realm: &String| {
            self.left_out.iter().any(|(left_out, _)| left_out == realm)
                || self.spaces.iter().any(|space| space.realm.as_ref() == Some(realm))
        };
        // It comes back with what it has now.
        let Some(revision) = Revision::parse(rev).filter(|it| it.realms.keys().all(is_held)) else {
            return self.close(RESTART);
        };
        // A space that has been reset is not among its realms until it has pulled once more.
        let hash_of_all = hash_of_realms(&self.sub, revision.realms.keys().map(String::as_str));
        if hash != hash_of_all && self.sent_for.as_deref() != Some(hash) {
            self.sent_for = Some(hash.to_owned());
            self.is_due = true;
        }
        self.ready = Some(Ready { rev: rev.to_owned(), revision, hash: hash.to_owned() });
        self.settle(true);
    }

    /// It lives, and time has gone by: who did not know where they stand is asked again, and what it still does not have it is told
    /// once more.
    fn client_pings(&mut self) {
        self.out.push(Relayed::Tell(PONG.to_owned()));
        if self.ready.is_some() {
            for space in &mut self.spaces {
                space.unsure = None;
                space.is_due |= space.told < limits::DEXIE_TOLD_MAX;
            }
            self.settle(true);
        }
    }

    fn home_has_changes(&mut self, base: Option<Position>, at: Position, text: &str) {
        let home = &mut self.spaces[HOME];
        if base != home.said {
            // Before it heard where the client is now.
            return;
        }
        home.waits = false;
        if text.contains(DELETES) {
            return self.space_has_news(HOME, Some(at));
        }
        let Some(ready) = self.ready.take_if(|ready| ready.revision.home == base) else {
            // Whoever is not ready is told again from where it is by then.
            return if self.ready.is_some() {
                self.space_has_news(HOME, Some(at))
            };
        };
        let changes =
            members(text).find(|(name, _)| *name == "\"changes\"").map_or("[]", |(_, changes)| changes);
        let new = Revision { home: Some(at), ..ready.revision }.to_string();
        let [base, hash, new] = [&ready.rev, &ready.hash, &new].map(|text| json_text(text));
        let head = format!(r#"{{"type":"changes","baseRev":{base},"realmSetHash":{hash},"newRev":{new}"#);
        self.out.push(Relayed::Tell(format!(r#"{head},"changes":{changes}}}"#)));
    }

    fn space_has_news(&mut self, number: usize, at: Option<Position>) {
        let space = &mut self.spaces[number];
        space.waits = false;
        match at {
            Some(at) if space.at.as_ref() == Some(&at) => {}
            Some(at) => {
                self.out.push(Relayed::Stands(number, at.clone()));
                (space.at, space.is_due, space.told) = (Some(at), true, 0);
            }
            None => {
                let own = self.ready.as_ref().and_then(|ready| space.own(&ready.revision));
                if own.is_some() && space.unsure.as_ref() != own {
                    space.unsure = own.cloned();
                    self.is_due = true;
                }
            }
        }
        self.settle(false);
    }

    /// Tells a client that is ready to pull if it has to, and otherwise the objects where it is. One that has answered is told the same
    /// again only when the client `has_spoken`: it would answer the same for ever.
    fn settle(&mut self, has_spoken: bool) {
        let Some(ready) = self.ready.take_if(|_| !self.is_over) else { return };
        let mut pulls = mem::take(&mut self.is_due);
        for (realm, is_lost) in &mut self.left_out {
            pulls |= ready.revision.realms.contains_key(realm) && mem::take(is_lost);
        }
        for space in &mut self.spaces {
            if space.is_due && space.own(&ready.revision).is_some_and(|own| space.is_ahead_of(own)) {
                (space.is_due, pulls) = (false, true);
                space.told += 1;
            }
        }
        if pulls {
            self.out.push(Relayed::Tell(REALMS_CHANGED.to_owned()));
            return;
        }
        for (number, space) in self.spaces.iter_mut().enumerate().filter(|(_, space)| space.is_open) {
            let Some(own) = space.own(&ready.revision).cloned() else { continue };
            // Whoever was told of a position is not told of it again.
            let at = space.at.clone().filter(|_| space.is_ahead_of(&own)).unwrap_or(own);
            if space.said.as_ref() == Some(&at) && (space.waits || !has_spoken) {
                continue;
            }
            let hash = json_text(&hash_of_realms(&self.sub, iter::empty()));
            let text = format!(r#"{{"type":"ready","rev":"{at}","realmSetHash":{hash}}}"#);
            self.out.push(Relayed::Say(number, text));
            (space.said, space.waits) = (Some(at), true);
        }
        self.ready = Some(ready);
    }

    /// Goes on without a realm. Where it is lost, the next pull says so.
    fn leave_out(&mut self, number: usize, is_lost: bool) {
        let Some(realm) = self.spaces[number].realm.take() else { return };
        self.spaces[number].is_open = false;
        self.left_out.push((realm, is_lost));
        self.settle(false);
    }

    fn close(&mut self, code: u16) {
        if !self.is_over {
            self.is_over = true;
            self.out.push(Relayed::Close(code));
        }
    }
}

impl Space {
    /// Where a revision is in it.
    fn own<'a>(&self, revision: &'a Revision) -> Option<&'a Position> {
        match &self.realm {
            None if self.is_open => revision.home.as_ref(),
            None => None,
            Some(realm) => revision.realms.get(realm),
        }
    }

    /// Whether it has something for whoever is there, as [`super::live::Peer::news`] sees it.
    fn is_ahead_of(&self, own: &Position) -> bool {
        self.at.as_ref().is_some_and(|at| at.epoch != own.epoch || at.version > own.version)
    }
}
