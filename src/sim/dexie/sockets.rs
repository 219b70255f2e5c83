//! Sockets of `dexie-cloud-addon`, from the client's side: it says where it stands, and waits for one message each time.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{FIRST_ADDON, client::DexieClient, requests::Through};
use crate::sim::{World, location::session, network::Message, visits::Around};

/// A socket, as its client knows it.
#[derive(Debug)]
pub struct Line {
    socket: u32,
    connection: u64,
    said: VecDeque<String>,
    told: VecDeque<String>,
    /// How often it has said where it stands.
    readies: u64,
    /// How many messages have come.
    heard: u64,
    /// Whether it says so once it is in sync.
    owes: bool,
}

impl World {
    /// Whether a client has a socket, as far as it knows.
    #[must_use]
    pub fn addon_listens(&self, client: usize) -> bool {
        self.addons.lines.contains_key(&client)
    }

    /// A client opens a socket. It does so once it has its realm.
    pub fn connect_addon(&mut self, client: usize, location: usize) {
        let addon = &self.addons.clients[client];
        let (user, space) = (addon.user, addon.space);
        if addon.last_pull.is_none() || !addon.has_own() {
            return;
        }
        self.disconnect_addon(client);
        let mut request = self.dexie_request((user, space), ("GET", "changes"));
        request.query = format!("v=3&token={}", session(user, self.now));
        request.authorization.clear();
        let begun = self.begin_dexie(location, space, request, None);
        let Through::Passed(mut driven, call) = self.go_through(begun, &mut Around::default()) else {
            return;
        };
        self.addons.begun += 1;
        let connection = self.addons.begun;
        let end = (FIRST_ADDON + client, connection);
        let opened = self.spaces[space].host.open_peer(end, &call.call, &call.caller, self.now);
        let oracle = &self.spaces[space].oracle;
        let may = oracle.role(user).is_some() && !oracle.is_gone();
        assert!(may || opened.is_err(), "I9: {user} listens to a space of others");
        self.pass_push(&mut driven, opened.as_ref().err(), None);
        let Ok(socket) = opened else { return };
        let (said, told) = (VecDeque::new(), VecDeque::new());
        let line = Line { socket, connection, said, told, readies: 0, heard: 0, owes: false };
        self.addons.lines.insert(client, line);
        self.say_ready(client);
    }

    /// A client's socket ends.
    pub fn disconnect_addon(&mut self, client: usize) {
        if self.addons.lines.remove(&client).is_some() {
            let space = self.addons.clients[client].space;
            self.spaces[space].host.lose_sockets(FIRST_ADDON + client);
        }
    }

    fn say_ready(&mut self, client: usize) {
        let addon = &self.addons.clients[client];
        let Some((line, last)) = self.addons.lines.get_mut(&client).zip(addon.last_pull.as_ref()) else {
            return;
        };
        let ready = json!({ "type": "ready", "rev": last.revision, "realmSetHash": addon.realms_hash() });
        line.said.push_back(ready.to_string());
        line.readies += 1;
        line.owes = false;
        self.network.send(Message::AddonSays(client), self.now);
    }

    /// What a client has said comes to the object, if the socket is still there; if not, its client hears so.
    pub(in crate::sim) fn addon_says(&mut self, client: usize) {
        let Some(line) = self.addons.lines.get_mut(&client) else { return };
        let space = self.addons.clients[client].space;
        let said: Vec<_> = line.said.drain(..).collect();
        let (socket, connection) = (line.socket, line.connection);
        for text in said {
            if !self.spaces[space].host.has_socket(socket, connection) {
                self.addons.lines.remove(&client);
                return;
            }
            self.spaces[space].host.hear_peer(socket, &text, self.now);
        }
        self.tell_live(space);
    }

    /// What sockets of these clients were told is on its way to them.
    pub(in crate::sim) fn tell_addons(&mut self, space: usize) {
        for (client, connection, text) in self.spaces[space].host.take_said() {
            let client = client - FIRST_ADDON;
            let line = self.addons.lines.get_mut(&client).filter(|line| line.connection == connection);
            let Some(line) = line else { continue };
            line.told.push_back(text);
            self.network.send(Message::AddonHears(client), self.now);
        }
    }

    /// Messages come to a client. They wait while it syncs.
    pub(in crate::sim) fn addon_hears(&mut self, client: usize) {
        while self.addons.clients[client].sent.is_none() {
            let Some(line) = self.addons.lines.get_mut(&client) else { return };
            let Some(text) = line.told.pop_front() else { return };
            line.heard += 1;
            let is_waiting = line.heard <= line.readies;
            self.note(|| format!("addon {client} hears {text}"));
            assert!(is_waiting, "I8: addon {client} waits for nothing and is told {text}");
            self.addon_is_told(client, &text);
        }
    }

    fn addon_is_told(&mut self, client: usize, text: &str) {
        let message: Value = serde_json::from_str(text).expect("a message is JSON");
        let addon = &mut self.addons.clients[client];
        let (own, hash) = (addon.last_pull.as_ref().map(|last| last.revision.clone()), addon.realms_hash());
        let follows = message["baseRev"].as_str() == own.as_deref();
        match message["type"].as_str() {
            Some("changes") if addon.has_failed || message["realmSetHash"] != hash => {
                self.pull_for_line(client)
            }
            Some("changes") if follows => {
                let revision = message["newRev"].as_str().expect("a revision");
                let changes = message["changes"].as_array().expect("changes").clone();
                let before = addon.position();
                addon.take_news(revision, &changes);
                // What an answer said of later, and left the client where it was, is behind this message: it comes again.
                for name in DexieClient::names(&changes) {
                    addon.ahead.remove(&name);
                }
                let (after, space) = (addon.position(), addon.space);
                assert!(before <= after, "I3: news take a client back to {after:?}");
                let epoch = after.expect("a revision of ours").epoch;
                self.spaces[space].oracle_at(&epoch).check_brand(text, "news");
                self.check_addon(client);
                self.say_ready(client);
            }
            Some("changes") => self.say_ready(client),
            Some("realms-changed") => self.pull_for_line(client),
            Some("token-expired") => self.disconnect_addon(client),
            other => panic!("BUG: no such message: {other:?}"),
        }
    }

    fn pull_for_line(&mut self, client: usize) {
        if let Some(line) = self.addons.lines.get_mut(&client) {
            line.owes = true;
        }
        let location = client % self.locations.len();
        self.send_sync(client, location, None);
    }

    /// A client has heard how its sync ended, or has given it up.
    pub(in crate::sim) fn addon_is_in_sync(&mut self, client: usize) {
        if self.addons.lines.get(&client).is_some_and(|line| line.owes) {
            self.say_ready(client);
        }
        self.addon_hears(client);
    }
}
