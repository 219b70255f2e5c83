//! Sockets over which `dexie-cloud-addon` speaks, from the object's side, as `src/worker/foreign.rs` drives them.

use super::{Host, sockets::Socket, tasks::Means};
use crate::{
    call::{
        Call, Caller, Usage,
        live::{Closing, News},
    },
    coordinator::{
        live::Listener,
        object::{Moment, Object, Said},
    },
    edge::live::{CatchUp, CatchUpStep},
    error::ApiError,
    fronts::dexie::live::{Peer, closing},
    sim::location::granter,
    time::Millis,
    version::Position,
};

impl Host {
    /// A client opens a socket: the end of a connection. Says its number.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open_peer(
        &mut self,
        (client, connection): (usize, u64),
        call: &Call,
        caller: &Caller,
        now: Millis,
    ) -> Result<u32, ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        let granter = granter();
        let means = Means { granter: Some(&granter), ..Means::announced(0) };
        let called = self.call_as(call, caller, means, now);
        let Said::Listening(applicant) = called.told()? else { panic!("BUG: a listener is told otherwise") };
        let at = Moment { now, random: self.rng.any() };
        let object = self.object.as_mut().expect("it has just answered");
        match object.join(*applicant, at) {
            Ok(joined) => {
                assert!(joined.is_foreign, "BUG: a socket is not whose it is");
                let told = joined.greeting.at.clone();
                self.sockets
                    .open
                    .insert(joined.socket, Socket { client, connection, note: joined.note, told });
                self.carry_out_live(now);
                Ok(joined.socket)
            }
            Err(Closing::Lost(error)) => Err(error),
            Err(_) => Err(ApiError::Overloaded),
        }
    }

    /// A message has come over a socket that is open. A client that says where it stands is told what it is missing.
    pub fn hear_peer(&mut self, socket: u32, text: &str, now: Millis) {
        self.begin_instance(now);
        self.bill(&Usage { messages: 1, ..Usage::default() });
        let object = self.object.as_mut().expect("it runs");
        object.message_came(now);
        let heard = object.live().hear(socket, now).is_ok();
        self.carry_out_live(now);
        let Some(mut peer) = self.peer(socket).filter(|_| heard) else { return };
        if !peer.hear(text) {
            return;
        }
        let own = peer.at().cloned();
        let sent_to_pull = peer.sent_to_pull();
        let live = self.object.as_mut().expect("it runs").live();
        live.keep(socket, peer.to_text());
        let is_told = live.told() == own.as_ref();
        if let Some(text) = sent_to_pull {
            self.say(socket, text.to_owned());
        } else if let Some(own) = own.filter(|_| !is_told) {
            self.sockets.catching_up.insert(socket, own);
        }
        self.carry_out_live(now);
        // Others get their turn before whoever asks the object is answered.
        if self.rng.below(2) == 0 {
            self.catch_up_all(now);
        }
    }

    /// Those are told what they are missing that have said where they stand.
    pub(super) fn catch_up_all(&mut self, now: Millis) {
        while let Some((socket, own)) = self.sockets.catching_up.first_key_value() {
            let (socket, own) = (*socket, own.clone());
            let news = self.catch_up(socket, &own, now);
            self.sockets.catching_up.remove(&socket);
            match news {
                Ok(None) => {}
                Ok(Some(news)) => self.tell_peer(socket, |peer| peer.news(&news)),
                Err(()) => self.tell_peer(socket, Peer::something),
            }
            self.carry_out_live(now);
        }
    }

    fn catch_up(&mut self, socket: u32, own: &Position, now: Millis) -> Result<Option<News>, ()> {
        let mut step = CatchUp::begin(own, now);
        loop {
            match step {
                CatchUpStep::Done(news) => return Ok(news),
                CatchUpStep::Failed => return Err(()),
                CatchUpStep::Ask(looks, call) => {
                    let live = self.object.as_mut().map(Object::live);
                    let caller = live.and_then(|live| live.listener(socket)).map(Listener::as_caller);
                    let Some(caller) = caller else { return Ok(None) };
                    let told = self.call_as(&call, &caller, Means::announced(0), now).told();
                    step = looks.answered(told.map(Said::into_text), now);
                }
            }
        }
    }

    fn peer(&mut self, socket: u32) -> Option<Peer> {
        self.object.as_mut()?.live().peer(socket).and_then(Peer::parse)
    }

    /// Tells a client what it waits for, if this is news to it.
    pub(super) fn tell_peer(&mut self, socket: u32, news: impl FnOnce(&mut Peer) -> Option<String>) {
        let Some(mut peer) = self.peer(socket) else { return };
        if let Some(text) = news(&mut peer) {
            self.object.as_mut().expect("it runs").live().keep(socket, peer.to_text());
            self.say(socket, text);
        }
    }

    fn say(&mut self, socket: u32, text: String) {
        if let Some(Socket { client, connection, .. }) = self.sockets.open.get(&socket) {
            self.sockets.said.push((*client, *connection, text));
        }
    }

    /// Those whose tokens have ended hear so before their sockets are closed.
    pub(super) fn close_peers(&mut self, sockets: &[u32], why: &Closing) {
        for socket in sockets {
            if let (Some(text), ..) = closing(why) {
                self.say(*socket, text.to_owned());
            }
            self.sockets.open.remove(socket);
        }
    }

    /// What clients were told since the last look, in order: each, over which connection, and the text.
    pub fn take_said(&mut self) -> Vec<(usize, u64, String)> {
        std::mem::take(&mut self.sockets.said)
    }

    /// I8: a client that waits for news has what there is; `here` is where the space stands.
    pub(super) fn is_peer_told(socket: &Socket, here: &Position) -> Option<bool> {
        let peer = Listener::parse(&socket.note)?.peer?;
        let peer = Peer::parse(&peer)?;
        Some(!peer.is_ready() || peer.at() == Some(here))
    }
}
