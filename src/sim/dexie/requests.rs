//! Syncs of `dexie-cloud-addon`, through the same edges and objects as everybody's requests, and what is checked of their answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::Value;

use super::client::{Answer, DexieClient};
use crate::{
    call::Call,
    edge::visit::{Effect, Outgoing, Request},
    error::ApiError,
    fronts::headwater::reply::{Body, Reply},
    sim::{
        World,
        client::Name,
        location::{SharedIsolate, session},
        network::{Message, SentPush, Syncing},
        space::Waiting,
        visits::{Around, Driven},
    },
    time::Millis,
    version::Position,
};

/// How a request has come through an edge.
pub(super) enum Through {
    /// It is passed on to the object.
    Passed(Box<Driven>, Box<Outgoing>),
    /// It is answered.
    Answered(Result<String, ApiError>),
}

impl World {
    /// A client sends what it has to send, or asks what is new.
    pub fn send_sync(&mut self, client: usize, location: usize, chunks: Option<usize>) {
        let addon = &mut self.addons.clients[client];
        let (body, marks) = addon.compose();
        let number = addon.sent.map_or(0, |sent| sent.number);
        self.note(|| format!("addon {client} syncs at {location}: {body}"));
        let syncing = Syncing { client, number, location, marks: marks.into(), body: body.into(), chunks };
        self.network.send(Message::Sync(syncing), self.now);
    }

    /// A sync comes to a location, unless its client has given up the connection.
    pub(in crate::sim) fn sync_comes(&mut self, syncing: Syncing) {
        let addon = &self.addons.clients[syncing.client];
        if !addon.awaits(syncing.number) {
            return;
        }
        if syncing.number.is_multiple_of(3) {
            self.locations[syncing.location].switch_isolate();
        }
        let (user, space, since) = (addon.user, addon.space, addon.position());
        // Some bodies come in pieces, and nobody can say how long they are.
        let length = (!syncing.number.is_multiple_of(5)).then_some(syncing.body.len());
        let mut around = Around { body: &syncing.body, chunks: syncing.chunks, ..Around::default() };
        let request = self.dexie_request((user, space), ("POST", "sync"));
        let begun = self.begin_dexie(syncing.location, space, request, length);
        let (driven, call) = match self.go_through(begun, &mut around) {
            Through::Passed(driven, call) => (driven, call),
            Through::Answered(answer) => {
                let answer = Rc::new(answer);
                return self.network.send(Message::Synced(syncing, answer, None), self.now);
            }
        };
        let sent = SentPush {
            user,
            name: format!("addon {}", syncing.client),
            since,
            body: syncing.body.to_string(),
            call: Call::Dexie { is_part: false },
            marks: (1..).zip(syncing.marks.iter().copied()).collect(),
        };
        let (sent, waiting) = (Rc::new(sent), Waiting::Sync { syncing, driven });
        let (refused, waiting) = match self.begin_push(space, &call.caller, &sent) {
            Err(refused) => (refused, waiting),
            Ok(number) => match self.body_comes(space, number, Some(waiting), &sent) {
                Err((refused, Some(waiting))) => (refused, waiting),
                Ok(_) | Err((_, None)) => {
                    // Often it shares a slice with what comes next.
                    if self.addons.rng.chance(50) {
                        self.settle_slice(space);
                    }
                    return;
                }
            },
        };
        self.answer_push(waiting, sent, Err(refused), None);
    }

    pub(super) fn dexie_request(
        &self,
        (user, space): (usize, usize),
        (method, call): (&str, &str),
    ) -> Request {
        let path = match &self.spaces[space].id {
            Some(id) => format!("/dexie/{id}/{call}"),
            None => format!("/dexie/{call}"),
        };
        Request {
            method: method.to_owned(),
            host: "https://edge.example".to_owned(),
            path,
            authorization: format!("Bearer {}", session(user, self.now)),
            now: self.now,
            ..Request::default()
        }
    }

    /// A request comes to a location, with a body of this length.
    pub(super) fn begin_dexie(
        &mut self,
        location: usize,
        space: usize,
        request: Request,
        length: Option<usize>,
    ) -> (Driven, Effect) {
        let isolate = self.locations[location].isolate();
        let header = |name: &str| match name {
            "content-length" => length.map_or_else(String::new, |length| length.to_string()),
            "upgrade" => "websocket".to_owned(),
            _ => String::new(),
        };
        let (visit, effect) = isolate.borrow_mut().begin(request, &header);
        self.bill_request(&visit);
        let isolate = SharedIsolate::clone(&isolate);
        (Driven { location, isolate, visit, space, waited_ms: 0 }, effect)
    }

    pub(super) fn go_through(
        &mut self,
        (mut driven, mut effect): (Driven, Effect),
        around: &mut Around<'_>,
    ) -> Through {
        loop {
            let event = match effect {
                Effect::Pass(call, _) => {
                    self.check_waits(&driven, &call);
                    return Through::Passed(Box::new(driven), call);
                }
                Effect::Answer(answer) => {
                    let answer = answer.and_then(|reply| self.answered_by_edge(driven, reply, around));
                    return Through::Answered(answer);
                }
                effect => self.carry_out(&mut driven, effect, around),
            };
            if let Some(granted) = around.grant.take() {
                self.learn_grant_of_edge(&driven, &granted);
            }
            effect = self.step_visit(&mut driven, event);
        }
    }

    /// I9: an edge answers who may read, with what is of that space. I14: it is no older than what was written there.
    fn answered_by_edge(
        &mut self,
        driven: Driven,
        Reply { body, .. }: Reply,
        around: &mut Around<'_>,
    ) -> Result<String, ApiError> {
        let (location, space) = (driven.location, driven.space);
        let (scope, user) = (driven.visit.target().scope().clone(), self.user_of(&driven));
        let text = match body {
            Body::Text(_) | Body::Stream | Body::Written => self.text_of(driven, body, around),
            other => panic!("BUG: a sync is answered with {other:?}"),
        };
        let oracle = self.spaces[space].oracle_of(&scope);
        oracle.check_reader(user, self.now);
        oracle.check_brand(&text, "the answer to a sync");
        assert!(around.refusal.is_none(), "I9: the coordinator has refused, and the edge has answered");
        let shown = Answer::read(&text).and_then(|answer| Position::parse(&answer.last_pull.revision));
        let is_whole = Answer::read(&text).is_some_and(|answer| answer.last_pull.realms.len() == 2);
        let written = self.locations[location].written(&self.spaces[space].hash, self.now);
        if let (Some(shown), Some(written)) = (shown, written.filter(|_| is_whole && !around.is_answered)) {
            let is_of_it = shown.epoch == written.epoch;
            assert!(!is_of_it || shown >= *written, "I14: location {location} shows {shown} after {written}");
        }
        Ok(text)
    }

    /// An edge has asked for a grant in the name of a client, and keeps it.
    fn learn_grant_of_edge(&mut self, driven: &Driven, granted: &str) {
        let granted: Value = serde_json::from_str(granted).expect("a grant is JSON");
        let ends = Millis(granted["expires"].as_u64().expect("a grant ends"));
        let user = self.user_of(driven);
        self.spaces[driven.space].oracle.learn_grant(user, ends, self.now);
    }

    fn user_of(&self, driven: &Driven) -> usize {
        let user = &driven.visit.target().caller.user;
        let users = 0..crate::sim::USERS.len();
        users.into_iter().find(|it| crate::sim::user_hash(*it) == *user).expect("a user of this world")
    }

    /// An answer comes to its client, if that still waits for it.
    pub(in crate::sim) fn sync_is_answered(
        &mut self,
        syncing: &Syncing,
        answer: &Result<String, ApiError>,
        stood: Option<Position>,
    ) {
        let client = syncing.client;
        if !self.addons.clients[client].awaits(syncing.number) {
            return;
        }
        self.note(|| format!("addon {client} gets {answer:?}"));
        match answer.as_ref().ok().and_then(|text| Answer::read(text)) {
            Some(answer) => self.take_sync(client, &answer, &syncing.marks, stood),
            None => self.addons.clients[client].give_up(),
        }
        self.addon_is_in_sync(client);
    }

    /// I3: no answer takes a client back. I12: what it takes out of the queue was done.
    fn take_sync(&mut self, client: usize, answer: &Answer, marks: &[u64], stood: Option<Position>) {
        let addon = &mut self.addons.clients[client];
        let (before, had_own) = (addon.position(), addon.last_pull.is_some() && addon.has_own());
        let is_known = answer.last_pull.realms.iter().all(|realm| addon.knows(realm));
        assert!(is_known, "I9: an answer names the realms {:?}", answer.last_pull.realms);
        addon.take(answer);
        let after = addon.position().expect("an answer says where it leads");
        if had_own && !addon.has_own() {
            addon.ahead.clear();
        }
        if let Some(stood) = stood.filter(|stood| *stood > after) {
            let names = DexieClient::names(&answer.changes).into_iter();
            addon.ahead.extend(names.map(|name| (name, stood.clone())));
        }
        assert!(before.is_none_or(|before| before <= after), "I3: a sync takes a client back to {after}");
        self.spaces[addon.space].oracle.check_confirmed(marks);
        self.check_addon(client);
    }

    /// I7: the rows of a client are those of the space where it stands, but for those that it has changed since, and those that an
    /// answer has told it of as they stood later.
    pub(in crate::sim) fn check_addon(&mut self, client: usize) {
        let addon = &mut self.addons.clients[client];
        let Some(at) = addon.position() else { return };
        addon.ahead.retain(|_, ahead| *ahead > at);
        let addon = &self.addons.clients[client];
        let space = &self.spaces[addon.space];
        let oracle = space.oracle_at(&at.epoch);
        assert!(oracle.had(&at.epoch), "I9: a client stands at {at}, which is of another space");
        let unconfirmed = addon.unconfirmed();
        let should = oracle.rows_at(&at);
        let later: BTreeMap<&Name, _> = addon
            .ahead
            .iter()
            .map(|(name, at)| (name, space.oracle_at(&at.epoch).rows_at(at).remove(name)))
            .collect();
        let names: BTreeSet<&Name> =
            addon.rows.keys().chain(should.keys()).chain(later.keys().copied()).collect();
        for name in names.into_iter().filter(|name| !unconfirmed.contains(*name)) {
            let should = later.get(name).map_or_else(|| should.get(name), Option::as_ref);
            let should = should.map(|row| addon.shared_part(row));
            let has = addon.rows.get(name).map(|row| addon.shared_part(row));
            assert!(
                has == should,
                "I7: at {at} addon {client} has {name:?} as {has:?}, where it is {should:?}"
            );
            let row = addon.rows.get(name);
            let is_keyed = row.is_none_or(|row| row.get("id").is_some_and(|id| *id == *name.1));
            let is_owned = row.is_none_or(|row| row.contains_key("owner") && row.contains_key("realmId"));
            assert!(is_keyed && is_owned, "I7: {row:?} of {name:?} does not say whose it is");
        }
    }

    /// Syncs until a client has nothing to send, and has what there is. Nothing else may be on its way.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn sync_to_the_end(&mut self, client: usize, location: usize) -> Result<(), String> {
        let space = self.addons.clients[client].space;
        for _ in 0..6 {
            self.sync_once(client, location);
            let addon = &self.addons.clients[client];
            let here = self.spaces[space].oracle.here();
            if addon.pending.is_empty() && addon.has_own() && addon.position().as_ref() == Some(here) {
                return Ok(());
            }
            // A location may answer for ten minutes with what it knew.
            self.pass(20 * 60_000);
        }
        let addon = &self.addons.clients[client];
        Err(format!("addon {client} stands at {:?}, with {:?} to send", addon.last_pull, addon.pending))
    }

    /// Syncs, and waits for the answer.
    pub fn sync_once(&mut self, client: usize, location: usize) {
        self.addons.clients[client].give_up();
        self.send_sync(client, location, None);
        self.settle_network(self.addons.clients[client].space);
    }

    fn settle_network(&mut self, space: usize) {
        while let Some(at) = self.network.next_arrival() {
            let wait = at.since(self.now);
            self.pass(wait);
            self.deliver();
            self.settle_pushes(space);
        }
    }
}
